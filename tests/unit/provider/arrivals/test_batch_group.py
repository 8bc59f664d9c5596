"""The group that scores batches, when its DAG is parsed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup

from airflow_azureml.errors import ConfigError
from airflow_azureml.operators.pipeline import BatchEndpoint
from airflow_azureml.task_groups.arrivals import Batching, BlobLedger, Sets, SqlLedger, score_arrivals

ACCOUNT_URL = "https://acme.blob.core.windows.net"
RIGHT: dict[str, Any] = {
    "pipeline": BatchEndpoint("scoring"),
    "account_url": ACCOUNT_URL,
    "container": "incoming",
    "outputs": "azureml://datastores/workspaceblobstore/paths/scored/",
}


def group(**changes: Any) -> TaskGroup:
    with DAG("score", schedule=None):
        return score_arrivals("patients", **{**RIGHT, **changes})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"account_url": f"{ACCOUNT_URL}?sv=1&sig=SECRET"}, "account_url: .* must carry no user, no query"),
        ({"account_url": "https://acme.queue.core.windows.net"}, "must be the account's alone"),
        ({"outputs": "scored/"}, "outputs is 'scored/', and no folder of a datastore"),
        ({"staging": "https://other.blob.core.windows.net/x"}, "staging is in the account other"),
        ({"staging": f"{ACCOUNT_URL}/x?sig=SECRET"}, "staging: .* must carry no user, no query"),
        ({"ledger": BlobLedger(account_url=f"{ACCOUNT_URL}?sig=SECRET")}, "the ledger's account_url: .* no query"),
        ({"ledger": BlobLedger(name="../x")}, "'../x' is no ledger's name"),
        ({"ledger": BlobLedger(container="Ledger")}, "the ledger's container 'Ledger' is no container's name"),
        ({"ledger": SqlLedger(conn_id="")}, "the ledger's conn_id is empty"),
        ({"ledger": "ledger_db"}, "ledger is 'ledger_db', and none of ours"),
        ({"batch": 100}, "batch is 100, and must be Batching"),
        ({"batch": Batching(blobs=0)}, "blobs is 0; it must be from 1 to 1000"),
        ({"sets": "_SUCCESS"}, "sets is '_SUCCESS', and must be Sets"),
        ({"sets": Sets()}, "sets need one of"),
        ({"asset": "incoming"}, "asset is 'incoming', and must be Asset"),
        ({"since": "soon"}, "since is 'soon', which is no time"),
        ({"since": "2026-01-31", "until": "+1w"}, r"until is '\+1w'; a span is"),
        ({"since": "{{ ds }}", "late": timedelta(days=-1)}, "late is negative"),
        ({"reconcile_every": timedelta(-1)}, "reconcile_every is negative"),
        ({"reconcile_every": 3600}, "reconcile_every is 3600, and must be timedelta"),
        ({"parallel": 0}, "parallel is 0; it must be 1 or more"),
        ({"format": "parquet"}, "format is 'parquet'; it is csv, or empty for anything"),
        ({"on_rejected": "explode"}, "on_rejected is 'explode'; it is one of warn, fail"),
        ({"inputs": {"data": 1}}, "inputs has 'data', which is the folder of a batch"),
        ({"container": "In"}, "container 'In' is no container's name"),
        ({"suffix": [".csv"]}, r"suffix is \['.csv'\], not a text"),
    ],
)
def test_a_wrong_argument_is_an_error_when_the_dag_is_parsed(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^score_arrivals\('patients'\): {said}|: .*{said}") as raised:
        group(**wrong)

    assert "SECRET" not in str(raised.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        group(outputs="x", format="parquet", parallel=0, since="soon", container="In", on_rejected="explode")

    wrong = ("outputs is", "format is", "parallel is", "since is", "container 'In'", "on_rejected is")
    assert [each for each in wrong if each not in str(raised.value)] == []


@pytest.mark.parametrize(
    "templates",
    [
        {"account_url": "{{ var.value.account }}", "staging": f"{ACCOUNT_URL}/x"},
        {"outputs": "{{ var.value.outputs }}", "staging": "{{ var.value.staging }}"},
        {"since": "{{ partition_key }}", "until": "+1h", "late": timedelta(hours=2)},
        {"container": "{{ params.container }}", "prefix": "in/{{ ds }}/"},
    ],
)
def test_what_a_template_makes_is_left_to_the_tasks(templates: dict[str, Any]) -> None:
    assert {task.rpartition(".")[2] for task in group(**templates).children} == {"claim", "score", "report"}

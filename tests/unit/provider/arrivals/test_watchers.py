from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import Asset

from airflow_azureml.errors import ConfigError
from airflow_azureml.operators.arrivals import ClaimArrivalsOperator
from airflow_azureml.triggers.arrivals import BlobArrivalTrigger
from airflow_azureml.watchers import blob_arrivals

QUEUE = "https://acme.queue.core.windows.net/arrivals"


def trigger_of(asset: Asset) -> Any:
    (watcher,) = asset.watchers
    return watcher.trigger


def test_the_asset_is_watched_by_a_trigger_with_the_arguments_given() -> None:
    asset = blob_arrivals(
        "incoming",
        queue_url=QUEUE,
        container="inc",
        prefix="a/",
        suffix=".csv",
        glob="**/2026/*",
        regex="[a-z/0-9.]+",
        min_size_bytes=0,
        max_size_bytes=9,
        content_types=["text/*"],
        metadata={"kind": "raw"},
        tags={"team": "a"},
        quiet_for=timedelta(seconds=30),
        account="other",
        conn_id="mine",
    )

    assert asset.name == "incoming"
    assert trigger_of(asset).serialize() == (
        "airflow_azureml.triggers.arrivals.BlobArrivalTrigger",
        {
            "queue_url": QUEUE,
            "conn_id": "mine",
            "account": "other",
            "wanted": {
                "container": "inc",
                "prefix": "a/",
                "suffix": ".csv",
                "glob": "**/2026/*",
                "regex": "[a-z/0-9.]+",
                "min_size_bytes": 0,
                "max_size_bytes": 9,
                "content_types": ["text/*"],
                "metadata": {"kind": "raw"},
                "tags": {"team": "a"},
                "quiet_s": 30.0,
            },
        },
    )


def test_a_trigger_is_made_again_from_what_it_serialises_to() -> None:
    trigger = trigger_of(blob_arrivals("incoming", queue_url=QUEUE, container="inc", prefix="a/"))
    _, kwargs = trigger.serialize()

    assert BlobArrivalTrigger(**kwargs).serialize() == trigger.serialize()


def test_assets_of_one_queue_and_connection_share_a_reader_and_others_do_not() -> None:
    def key(queue_url: str = QUEUE, **kwargs: Any) -> Any:
        return trigger_of(blob_arrivals("x", queue_url=queue_url, container="inc", **kwargs)).shared_stream_key()

    assert key(prefix="a/") == key(prefix="b/", account="other")
    assert key() != key(conn_id="mine")
    assert key() != key(QUEUE + "2")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": " "}, "name is empty"),
        ({"queue_url": "arrivals"}, "no address of Azure Storage"),
        ({"queue_url": "http://acme.queue.core.windows.net/arrivals"}, "no address of Azure Storage"),
        ({"queue_url": "https://acme.blob.core.windows.net/arrivals"}, "names the blob service"),
        ({"queue_url": "https://acme.queue.core.windows.net"}, "must end with a queue's name"),
        ({"queue_url": "https://acme.queue.core.windows.net/a/b"}, "must end with a queue's name"),
        ({"queue_url": f"{QUEUE}{'x' * 60}"}, "at most 56 characters"),
        ({"container": "In"}, "'In' is no container's name"),
        ({"container": "in"}, "'in' is no container's name"),
        ({"prefix": "/a"}, "prefix begins with a slash"),
        ({"min_size_bytes": -1}, "min_size_bytes is -1"),
        ({"account": "Acme"}, "'Acme' is no storage account's name"),
        ({"conn_id": ""}, "conn_id is empty"),
        ({"conn_id": None}, "conn_id is None, not a text"),
        ({"queue_url": None}, "queue_url is None, not a text"),
        ({"suffix": [".csv", ".tsv"]}, r"suffix is \['.csv', '.tsv'\], not a text"),
    ],
)
def test_a_wrong_argument_is_an_error_when_the_dag_is_parsed(wrong: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"name": "x", "queue_url": QUEUE, "container": "incoming"}

    with pytest.raises(ConfigError, match=said):
        blob_arrivals(**{**right, **wrong})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        blob_arrivals("x", queue_url="q", container="C", prefix="/", min_size_bytes=-1)

    assert str(refused.value).count("; ") == 3


def test_a_token_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="must carry no user, no query") as refused:
        blob_arrivals("x", queue_url=f"{QUEUE}?sig=secret", container="incoming")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [("metadata", {"kind": "raw"}), ("tags", {"team": "a"}), ("quiet_for", timedelta(seconds=1))],
)
def test_a_claim_that_looks_at_no_blob_refuses_an_asset_whose_filter_needs_a_look(option: str, value: Any) -> None:
    wanted: dict[str, Any] = {"container": "incoming", option: value}

    with pytest.raises(ConfigError, match=f"filtered by {option}, for which blobs have to be looked at"):
        ClaimArrivalsOperator(task_id="claim", asset=blob_arrivals("x", queue_url=QUEUE, **wanted))


def test_parsing_a_dag_loads_neither_azure_nor_aiohttp() -> None:
    program = (
        "import sys; from airflow_azureml.watchers import blob_arrivals;"
        "from airflow_azureml.operators.arrivals import ClaimArrivalsOperator;"
        f"asset = blob_arrivals('x', queue_url={QUEUE!r}, container='incoming');"
        "ClaimArrivalsOperator(task_id='claim', asset=asset);"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in {'azure', 'aiohttp'}))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"

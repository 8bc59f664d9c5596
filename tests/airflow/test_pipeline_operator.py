"""`AzureMLPipelineOperator` in a running Airflow, against the emulator, whose jobs are real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.azure import ACCOUNT_KEY
from demo.stack import Airflow

if TYPE_CHECKING:
    from tests.airflow.conftest import Small


def test_a_pipeline_runs_while_its_task_holds_no_worker_slot(small: Small) -> None:
    run = small.begin("plain", word="deferred", seconds=8)

    small.until(run, "deferred")
    ended = small.until(run)

    assert ended["state"] == "success"
    (job,) = small.jobs(run)
    assert job["status"] == "Completed"
    result = small.xcom(run)
    assert [(step["name"], step["status"], step["reused"]) for step in result["steps"]] == [("say", "Completed", False)]
    assert (result["job"], result["status"], result["attempt"]) == (job["name"], "Completed", 1)
    assert result["outputs"]["result"].endswith(f"/small/{result['key']}/")
    assert len(json.dumps(result)) < 4096


def test_the_link_leads_to_the_jobs_page(small: Small) -> None:
    run = small.begin("plain", word="linked")
    small.until(run)

    path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run/links"
    links = small.airflow.get(path)["extra_links"]

    assert links == {"Azure ML job": small.xcom(run)["url"]}
    assert links["Azure ML job"].startswith(small.emulator.http)


def test_waiting_in_the_worker_does_the_same(small: Small) -> None:
    run = small.begin("waiting_in_the_worker", word="blocking", seconds=1)

    assert small.until(run)["state"] == "success"
    assert [job["status"] for job in small.jobs(run)] == ["Completed"]


def test_a_failed_job_fails_the_task_with_the_jobs_own_words_and_a_retry_is_a_new_attempt(small: Small) -> None:
    run = small.begin("retried", word="the last words", code=3)

    assert small.until(run)["state"] == "failed"
    jobs = small.jobs(run)
    assert [(job["status"], job["airflow.attempt"]) for job in jobs] == [
        ("Failed", "1"),
        ("Failed", "2"),
        ("Failed", "3"),
    ]
    told = small.log(run)
    assert f"Job {jobs[-1]['name']} ended as Failed" in told
    assert "saying the last words" in told
    assert small.emulator.http in told


def test_clearing_a_waiting_task_ends_its_job_before_a_new_one_starts(small: Small) -> None:
    run = small.begin("plain", word="cleared", seconds=12)
    small.until_watched(run)

    small.airflow.call(
        "POST", f"/api/v2/dags/{run[0]}/clearTaskInstances",
        {"dry_run": False, "dag_run_id": run[1], "task_ids": ["run"], "only_failed": False},
    )  # fmt: skip

    assert small.until(run, tries=2)["state"] == "success"
    assert [job["status"] for job in small.jobs(run)] == ["Canceled", "Completed"]


def test_what_befell_another_tasks_job_is_not_taken_for_this_ones(small: Small) -> None:
    ended = small.begin("plain")
    small.until(ended)
    (other,) = small.jobs(ended)

    misled = small.begin("misled", other=other["name"], seconds=12)

    assert small.until(misled)["state"] == "success", small.log(misled)
    (mine,) = small.jobs(misled)
    assert f"Airflow told of job {other['name']}; this task's is {mine['name']}" in small.log(misled)
    assert (small.xcom(misled)["job"], mine["status"]) == (mine["name"], "Completed")


def test_the_same_key_in_another_run_is_answered_by_the_job_that_is_there(small: Small, tmp_path: Path) -> None:
    first = small.begin("keyed", key=str(tmp_path), word="once")
    small.until(first)
    second = small.begin("keyed", key=str(tmp_path), word="once")

    assert small.until(second)["state"] == "success"
    assert small.jobs(second) == []
    assert small.xcom(second)["job"] == small.xcom(first)["job"]


def test_a_registered_component_runs_as_a_job_whose_name_is_its_key(small: Small) -> None:
    run = small.begin("component", word="named", code=0)

    assert small.until(run)["state"] == "success"
    result = small.xcom(run)
    assert result["job"] == f"airflow-{result['key']}-1"
    assert [job["status"] for job in small.jobs(run)] == ["Completed"]


def test_each_attempt_at_a_component_has_a_name_of_its_own(small: Small) -> None:
    run = small.begin("component", word="failing", code=2)

    assert small.until(run)["state"] == "failed"
    names = [job["name"] for job in small.jobs(run)]
    assert [name.rsplit("-", 1)[1] for name in names] == ["1", "2", "3"]
    assert len({name.rsplit("-", 1)[0] for name in names}) == 1


def test_a_job_that_takes_too_long_is_cancelled_and_the_task_says_so(small: Small) -> None:
    run = small.begin("short", seconds=300)

    assert small.until(run)["state"] == "failed"
    small.until_jobs(run, "Canceled")
    assert "still Running after" in small.log(run)
    assert "the limit is 4 s" in small.log(run)


@pytest.mark.parametrize(
    ("kind", "conf", "told"),
    [
        ("named", {"endpoint": "nowhere", "deployment": ""}, "Read batch endpoint nowhere in workspace local: 404"),
        ("named", {"endpoint": "small", "deployment": "two"}, "Read deployment two of batch endpoint small"),
        ("wrong_inputs", {}, "input 'wrod' is not declared (declared: code, seconds, word)"),
        ("component", {"name": "say_nothing"}, "Read pipeline component say_nothing in workspace local: 404"),
        ("wrong_inputs", {}, "required input 'word' (string) is missing"),
        ("wrong_inputs", {}, "input 'code' is a integer, and 'many' is none"),
        ("elsewhere", {}, "The Resource 'Microsoft.MachineLearningServices/workspaces/elsewhere'"),
    ],
)
def test_a_mistake_is_told_at_once_and_nothing_is_submitted(
    small: Small, kind: str, conf: dict[str, str], told: str
) -> None:
    if kind == "elsewhere":
        _connect(small.airflow, "azureml_elsewhere", workspace="elsewhere", endpoint=small.emulator.http)
    run = small.begin(kind, **conf)

    ended = small.until(run)

    assert ended["state"] == "failed"
    assert told in small.log(run)
    assert "AirflowFailException" in small.log(run), "which Airflow does not retry"
    assert small.jobs(run) == []


def test_a_triggerer_that_dies_loses_no_job_and_starts_none(small: Small) -> None:
    run = small.begin("plain", word="survived", seconds=6)
    small.until(run, "deferred")

    small.airflow.kill("triggerer", signal.SIGKILL)
    small.airflow.start("triggerer")

    assert small.until(run)["state"] == "success"
    assert [job["status"] for job in small.jobs(run)] == ["Completed"]


def test_a_worker_that_dies_while_it_waits_leaves_its_job_to_the_next_try(small: Small) -> None:
    run = small.begin("waiting_in_the_worker", word="adopted", seconds=12)
    small.until_jobs(run, "Running")

    os.kill(small.task(run)["pid"], signal.SIGKILL)

    ended = small.until(run, deadline_s=120)
    assert ended["state"] == "success"
    assert ended["try_number"] == 2
    assert [job["status"] for job in small.jobs(run)] == ["Completed"]
    assert "is this task's already; nothing is submitted" in small.log(run)


@pytest.mark.parametrize(
    ("change", "works", "told"),
    [
        ({}, True, "Its jobs may be listed."),
        ({"workspace": "nope"}, False, "Look at the field workspace."),
        ({"resource_group": "nope"}, False, "Look at the field resource_group."),
        ({"subscription_id": "00000000-0000-0000-0000-00000000dead"}, False, "Look at the field subscription_id."),
        ({"workspce": "local"}, False, "unknown workspce"),
        ({"authentication": "service_principal"}, False, "needs password (client secret)"),
    ],
)
def test_the_test_button_says_what_is_wrong(small: Small, change: dict[str, str], works: bool, told: str) -> None:
    body = _connection("azureml_tested", endpoint=small.emulator.http, **change)

    answer = small.airflow.call("POST", "/api/v2/connections/test", body)

    assert answer["status"] is works
    assert told in answer["message"]


def test_no_secret_is_in_the_database_or_the_logs(small: Small) -> None:
    run = small.begin("plain", word="quiet", seconds=2)
    small.until(run)

    found = [
        str(path)
        for path in Path(small.airflow.folder).rglob("*")
        if path.is_file() and (ACCOUNT_KEY.encode() in path.read_bytes() or b"eyJhbGciOiJub25lI" in path.read_bytes())
    ]

    assert found == []


def _connection(name: str, **change: str) -> dict[str, Any]:
    extra = {
        "subscription_id": "00000000-0000-0000-0000-000000000001",
        "resource_group": "local",
        "workspace": "local",
        "authentication": "emulator",
        **change,
    }
    return {"connection_id": name, "conn_type": "azureml", "extra": json.dumps(extra)}


def _connect(airflow: Airflow, name: str, **change: str) -> None:
    known = [one["connection_id"] for one in airflow.get("/api/v2/connections")["connections"]]
    if name not in known:
        airflow.call("POST", "/api/v2/connections", _connection(name, **change))

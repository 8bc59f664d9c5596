"""The sensors in a running Airflow: what they wait for is started, registered or published by somebody else."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import wait_until
from tests.airflow.housekeeping import Workspace

if TYPE_CHECKING:
    from tests.airflow.conftest import Small


@pytest.fixture(scope="module")
def workspace(small: Small, dags_folder: Path) -> Workspace:
    return Workspace.with_dags(small, dags_folder)


def _name(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def _until(file: Path) -> str:
    return f"while [ ! -e '{file}' ]; do sleep 0.2; done"


def _final(small: Small, run: tuple[str, str]) -> str:
    """Wait for the failure that no retry is to follow, and return its log.

    Airflow 3.3.2 may follow it with one all the same, when its scheduler hears of the process's end before the state.
    """
    assert small.until(run)["state"] == "failed"
    told = small.log(run)
    assert "AirflowFailException" in told or "AirflowSensorTimeout" in told, told
    return told


def test_the_sensor_of_a_job_waits_in_the_triggerer_and_passes_when_it_is_completed(
    small: Small, workspace: Workspace, tmp_path: Path
) -> None:
    job = workspace.job(_until(tmp_path / "go"))
    run = small.begin("job_sensor", job=job)
    small.until(run, "deferred")

    (tmp_path / "go").touch()

    assert small.until(run)["state"] == "success"
    assert workspace.status(job) == "Completed"
    result = small.xcom(run)
    assert result == {"job": job, "status": "Completed", "url": result["url"]}
    assert result["url"].startswith(small.emulator.http)
    assert small.xcom(run, "azureml_job_url") == result["url"]


def test_the_sensor_of_a_job_waits_in_the_worker_when_told_to(small: Small, workspace: Workspace) -> None:
    job = workspace.job("sleep 3")
    run = small.begin("job_sensor_in_worker", job=job)

    assert small.until(run)["state"] == "success"
    assert small.xcom(run)["status"] == "Completed"


def test_a_job_that_failed_fails_its_sensor_once_with_its_own_words(small: Small, workspace: Workspace) -> None:
    job = workspace.job("sleep 5; echo the last words; exit 3")
    run = small.begin("job_sensor", job=job)

    told = _final(small, run)
    assert f"Job {job} ended as Failed" in told
    assert "the last words" in told


def test_a_job_that_was_cancelled_is_no_success_and_skips_a_soft_sensor(small: Small, workspace: Workspace) -> None:
    job = workspace.job("sleep 300")
    workspace.until_status(job, "Running")
    workspace.cancel(job)
    workspace.until_status(job, "Canceled")
    hard, soft = small.begin("job_sensor", job=job), small.begin("job_sensor_soft", job=job)

    assert small.until(hard)["state"] == "failed"
    assert f"Job {job} ended as Canceled" in small.log(hard)
    assert small.until(soft)["state"] == "skipped"


def test_a_job_that_does_not_exist_is_told_at_once_also_by_a_soft_sensor(small: Small, workspace: Workspace) -> None:
    del workspace
    for kind in ("job_sensor", "job_sensor_in_worker", "job_sensor_soft"):
        run = small.begin(kind, job="never-was")

        told = _final(small, run)
        assert "Look at job never-was: 404" in told


def test_a_sensor_whose_time_is_up_fails_without_a_retry_and_leaves_the_job(small: Small, workspace: Workspace) -> None:
    job = workspace.job("sleep 300")
    run = small.begin("job_sensor_short", job=job)

    told = _final(small, run)
    assert "still Running after" in told
    assert workspace.status(job) == "Running"
    workspace.cancel(job)


def test_ending_a_waiting_sensor_leaves_the_job(small: Small, workspace: Workspace, tmp_path: Path) -> None:
    job = workspace.job(_until(tmp_path / "go"))
    run = small.begin("job_sensor", job=job)
    small.until_watched(run)

    small.airflow.call("PATCH", f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run", {"new_state": "failed"})
    assert wait_until(lambda: "job " + job + " is left running" in small.log(run), deadline_s=60), small.log(run)

    (tmp_path / "go").touch()

    workspace.until_status(job, "Completed")


def test_an_option_that_is_not_for_this_sensor_is_refused(small: Small, workspace: Workspace) -> None:
    run = small.begin("job_sensor_rescheduling", job=workspace.job("true"))

    assert small.until(run)["state"] == "failed"
    assert "mode: not for this sensor; set deferrable" in small.log(run)


def test_the_sensor_of_a_model_version_waits_until_it_is_registered(small: Small, workspace: Workspace) -> None:
    model = _name("ridge")
    workspace.register(model, "4")
    run = small.begin("version_sensor", model=model, version="5")
    small.until(run, "deferred")
    assert wait_until(lambda: f"Version 5 of model {model} is not there" in small.log(run), deadline_s=60)

    workspace.register(model, "5")

    assert small.until(run)["state"] == "success"
    result = small.xcom(run)
    assert (result["model"], result["version"], result["job"]) == (model, "5", "")
    assert result["uri"].endswith(f"models/{model}/5")


def test_an_archived_version_does_not_count(small: Small, workspace: Workspace) -> None:
    model = _name("ridge")
    workspace.register(model, "1", archived=True)
    run = small.begin("version_sensor", model=model, version="1")
    small.until(run, "deferred")
    assert f"Version 1 of model {model} is archived" in small.log(run)

    workspace.register(model, "1")

    assert small.until(run)["state"] == "success"


def test_the_highest_version_from_a_number_on_is_taken_wherever_the_sensor_waits(
    small: Small, workspace: Workspace
) -> None:
    model = _name("ridge")
    run = small.begin("number_sensor", model=model)
    small.until(run, "deferred")
    for version in ("1", "10", "9"):
        workspace.register(model, version)
    there = small.begin("number_sensor_in_worker", model=model, least="9")

    assert small.until(run)["state"] == "success"
    assert small.until(there)["state"] == "success"
    assert small.xcom(run)["version"] in {"10", "9"}
    assert small.xcom(there)["version"] == "10"


def test_a_version_that_never_comes_fails_its_sensor_and_says_what_there_is(small: Small, workspace: Workspace) -> None:
    model = _name("ridge")
    workspace.register(model, "3")
    run = small.begin("number_sensor_short", model=model)

    told = _final(small, run)
    assert f"A version of model {model} from 7 on still is not there (the highest is 3) after" in told


def test_a_sensor_of_a_model_is_told_what_to_wait_for(small: Small, workspace: Workspace) -> None:
    del workspace
    run = small.begin("vague_sensor", model="any")

    assert small.until(run)["state"] == "failed"
    assert "either version or at_least" in small.log(run)


def test_the_sensor_of_an_endpoint_waits_until_it_is_created(small: Small, workspace: Workspace) -> None:
    name = _name("ep")
    run = small.begin("endpoint_sensor", endpoint=name)
    small.until(run, "deferred")
    assert f"Batch endpoint {name} is not there" in small.log(run)

    body = {"location": "westeurope", "properties": {"authMode": "AADToken"}}
    workspace.call("PUT", f"batchEndpoints/{name}", body)

    assert small.until(run)["state"] == "success"
    assert small.xcom(run) == {"endpoint": name, "deployment": "", "default_deployment": ""}


def test_the_sensor_of_a_deployment_passes_when_it_is_ready_and_skips_softly_when_it_never_is(
    small: Small, workspace: Workspace
) -> None:
    del workspace
    ready = small.begin("endpoint_sensor", endpoint="small", deployment="one")
    never = small.begin("endpoint_sensor_soft", endpoint="small", deployment="two")

    assert small.until(ready)["state"] == "success"
    assert small.xcom(ready)["default_deployment"] == "one"
    assert small.until(never)["state"] == "skipped"


def test_a_workspace_that_does_not_exist_is_not_waited_for(small: Small, workspace: Workspace) -> None:
    del workspace
    extra = {
        "subscription_id": "00000000-0000-0000-0000-000000000001",
        "resource_group": "local",
        "workspace": "somewhere",
        "authentication": "emulator",
        "endpoint": small.emulator.http,
    }
    body = {"connection_id": "azureml_somewhere", "conn_type": "azureml", "extra": json.dumps(extra)}
    small.airflow.call("POST", "/api/v2/connections", body)
    run = small.begin("sensor_elsewhere", endpoint="small")

    told = _final(small, run)
    assert "Look at batch endpoint small: 404" in told

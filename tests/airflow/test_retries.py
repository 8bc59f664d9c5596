"""`AzureMLRetryPolicy` in a running Airflow, with jobs that fail for the reasons that Azure ML was seen to give."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Azurite
from demo.stack import Airflow, Emulator
from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Emulator]:
    """An emulator of its own, whose jobs may be scripted."""
    with Emulator(tmp_path_factory.mktemp("scripted"), azurite, arguments=("--control",)) as server:
        yield server


@pytest.fixture(scope="module")
def failing(airflow: Airflow, scripted: Emulator, dags_folder: Path) -> Small:
    """The running whole, with a connection to the emulator whose jobs are scripted."""
    extra = {
        "subscription_id": SUBSCRIPTION,
        "resource_group": RESOURCE_GROUP,
        "workspace": WORKSPACE,
        "authentication": "emulator",
        "endpoint": scripted.http,
    }
    body = {"connection_id": "azureml_scripted", "conn_type": "azureml", "extra": json.dumps(extra)}
    airflow.call("POST", "/api/v2/connections", body)
    shutil.copy(HERE / "retry_dags.py", dags_folder / "retry_dags.py")
    return Small(airflow, scripted)


def _begin(failing: Small, kind: str, says: str) -> tuple[str, str]:
    dag = f"retry_{kind}"
    failing.airflow.unpause(dag)
    body = {"logical_date": None, "conf": {"says": says}}
    return dag, failing.airflow.call("POST", f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"]


def _reasons(failing: Small, run: tuple[str, str], tried: int) -> list[Any]:
    path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run/logs/{tried}"
    lines = failing.airflow.get(path, full_content=True)["content"]
    return [line["reason"] for line in lines if line.get("event") == "Retry policy decision"]


def test_a_preempted_job_is_run_again_at_once_whatever_the_tasks_delay(failing: Small) -> None:
    run = _begin(failing, "patient", "AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted.")

    ended = failing.until(run, "failed", tries=2, deadline_s=200)

    assert ended["try_number"] == 2
    assert _reasons(failing, run, 1) == ["Azure ML: preempted; retry now"]
    assert [job["status"] for job in failing.jobs(run)] == ["Failed", "Failed"]


def test_a_job_without_quota_waits_as_long_as_the_policy_says(failing: Small) -> None:
    run = _begin(failing, "quick", "OutOfQuota: Not enough cluster CPU quota.")

    waiting = failing.until(run, "up_for_retry", "failed", deadline_s=150)

    assert waiting["state"] == "up_for_retry"
    assert _reasons(failing, run, 1) == ["Azure ML: quota; retry in 7200 s"]
    assert [job["status"] for job in failing.jobs(run)] == ["Failed"]


def test_a_failure_that_nobody_knows_is_retried_as_the_task_says(failing: Small) -> None:
    run = _begin(failing, "quick", "InternalServerError")

    ended = failing.until(run, "failed", tries=2, deadline_s=200)

    assert ended["try_number"] == 2
    assert len(failing.jobs(run)) == 2


def test_a_missing_input_is_not_tried_again(failing: Small) -> None:
    run = _begin(failing, "quick", "Error Code: ScriptExecution.StreamAccess.NotFound")

    ended = failing.until(run, deadline_s=150)

    assert (ended["state"], ended["try_number"]) == ("failed", 1)
    assert _reasons(failing, run, 1) == ["Azure ML: input missing; fail now"]
    assert len(failing.jobs(run)) == 1

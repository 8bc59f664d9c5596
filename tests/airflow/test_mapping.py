"""Pipelines that are mapped, grouped, and used as setup and teardown, in a running Airflow; the jobs are scripted."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from azureml_emulator.tokens import issue
from demo.airflow import Airflow
from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID, Azurite, Emulator
from demo.processes import wait_until

HERE = Path(__file__).resolve().parent
DAG = "mapping"
MANY = 100
OVER = ("success", "failed")


@attrs.frozen
class Ran:
    """A run of the DAG that has ended.

    Attributes:
        state: The run's.
        tasks: Every task instance, as Airflow shows it.
        jobs: The owner of every job, by name; ``dag/run/task/map index/try``.
        words: The input of every job that tells it.
    """

    state: str
    tasks: list[dict[str, Any]]
    jobs: dict[str, str]
    words: dict[str, str]

    def owners(self, task: str) -> Counter[str]:
        """Count the jobs of each task instance of a task, by map index."""
        return Counter(owner.split("/")[-2] for owner in self.jobs.values() if f"/{task}/" in owner)

    def states(self, task: str) -> Counter[str]:
        """Count how the task instances of a task ended."""
        return Counter(one["state"] for one in self.tasks if one["task_id"] == task)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Emulator]:
    """An emulator whose jobs go as they are told, with a published pipeline."""
    folder = tmp_path_factory.mktemp("mapping")
    with Emulator(folder, azurite, event_queues=(), arguments=["--control"]) as server:
        publish(server)
        yield server


def publish(emulator: Emulator) -> None:
    """Publish a pipeline as a component and as a deployment, whose jobs are completed as soon as they are posted."""
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    with httpx.Client(base_url=emulator.http, headers=bearer, trust_env=False, timeout=30) as http:

        def put(path: str, tags: dict[str, str] | None = None, **properties: Any) -> str:
            body = {"properties": properties, "tags": tags}
            answer = http.put(f"{WORKSPACE_ID}/{path}?api-version=2024-01-01-preview", json=body)
            made: dict[str, Any] = answer.raise_for_status().json()
            return str(made["id"])

        step = put("components/step/versions/1", componentSpec={"type": "command", "name": "step", "command": "exit 7"})
        spec = {
            "type": "pipeline",
            "name": DAG,
            "inputs": {"word": {"type": "string"}},
            "jobs": {"step": {"type": "command", "componentId": step}},
        }
        component = put(f"components/{DAG}/versions/1", componentSpec=spec)
        put(f"batchEndpoints/{DAG}", {"emulator.script": '[["Completed", 0]]'})
        how = {
            "deploymentConfigurationType": "PipelineComponent",
            "componentId": {"assetId": component, "referenceType": "Id"},
        }
        put(f"batchEndpoints/{DAG}/deployments/one", deploymentConfiguration=how)
        put(f"batchEndpoints/{DAG}", {"emulator.script": '[["Completed", 0]]'}, defaults={"deploymentName": "one"})


def jobs_of(emulator: Emulator) -> tuple[dict[str, str], dict[str, str]]:
    """Read the owner of each job, and the input of those that tell it."""
    owners, words = {}, {}
    url = f"{emulator.http}{WORKSPACE_ID}/jobs?api-version=2024-01-01-preview"
    while url:
        page = httpx.get(url, trust_env=False, timeout=30).raise_for_status().json()
        for one in page["value"]:
            body = one["properties"]
            owners[one["name"]] = body["properties"]["airflow.owner"]
            words[one["name"]] = ((body.get("inputs") or {}).get("word") or {}).get("value", "")
        url = page.get("nextLink", "")
    return owners, words


@pytest.fixture(scope="module")
def ran(airflow: Airflow, scripted: Emulator, dags_folder: Path) -> Ran:
    """Let Airflow run the DAG once."""
    extra = (
        f'{{"subscription_id": "{SUBSCRIPTION}", "resource_group": "{RESOURCE_GROUP}", "workspace": "{WORKSPACE}",'
        f' "authentication": "emulator", "endpoint": "{scripted.http}"}}'
    )
    connection = {"connection_id": "azureml_mapping", "conn_type": "azureml", "extra": extra}
    airflow.call("POST", "/api/v2/connections", connection)
    shutil.copy(HERE / "mapping_dags.py", dags_folder)
    airflow.unpause(DAG)
    run = airflow.call("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None})["dag_run_id"]

    def state() -> str:
        return str(airflow.get(f"/api/v2/dags/{DAG}/dagRuns/{run}")["state"])

    assert wait_until(lambda: state() in OVER, deadline_s=500), state()
    tasks = airflow.get(f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances", limit=100)["task_instances"]
    tasks += airflow.get(f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances", limit=100, offset=100)["task_instances"]
    return Ran(state(), tasks, *jobs_of(scripted))


@pytest.mark.timeout(600)
def test_a_hundred_mapped_runs_end_well_and_each_has_exactly_one_job(ran: Ran) -> None:
    assert ran.states("group.many") == {"success": MANY}
    assert ran.owners("group.many") == dict.fromkeys(map(str, range(MANY)), 1)


def test_mapped_arguments_of_the_operator_wait_and_come_back_each_to_its_own_job(ran: Ran) -> None:
    assert ran.states("group.few") == {"success": 3}
    few = {owner.split("/")[-2]: ran.words[job] for job, owner in ran.jobs.items() if "/group.few/" in owner}
    assert few == {"0": "set 0", "1": "set 1", "2": "set 2"}


def test_what_another_task_returned_is_an_input(ran: Ran) -> None:
    assert [ran.words[job] for job, owner in ran.jobs.items() if "/group.given/" in owner] == ["one word"]


def test_a_pipeline_is_a_setup_and_a_teardown(ran: Ran) -> None:
    assert ran.state == "success"
    began = {one["task_id"]: one["start_date"] for one in ran.tasks if one["map_index"] == -1}
    ended = [one["end_date"] for one in ran.tasks if one["task_id"].startswith("group.")]
    assert ran.states("before") == ran.states("after") == {"success": 1}
    assert began["after"] > max(ended)
    assert began["before"] < min(ended)

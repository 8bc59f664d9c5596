"""A model that is registered wakes the DAG that releases it, once; a worker that is killed on the way loses nothing."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from airflow_azureml.client.models import open_registrar
from airflow_azureml.core.models import Registration
from airflow_azureml.core.workspace import ConnectionSettings
from azureml_emulator.tokens import issue
from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID, Emulator
from demo.processes import wait_until
from demo.stack import Airflow
from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent
#: Reserve, write the version, crown, tag it, tag the one before.
WRITES = 5
FOLDERS = ["first", *(f"w{number}" for number in range(WRITES))]


@attrs.define
class World:
    """The running whole, with a job whose output has a folder for each model."""

    small: Small
    http: httpx.Client
    job: str = ""

    def call(self, method: str, path: str, body: object = None) -> Any:
        params = {"api-version": "2023-08-01-preview", "listViewType": "All"}
        answer = self.http.request(method, f"{WORKSPACE_ID}/{path}", params=params, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def train(self) -> None:
        self.job = f"train-{uuid.uuid4().hex[:10]}"
        command = f"cd ${{{{outputs.model}}}} && for f in {' '.join(FOLDERS)}; do mkdir $f; echo $f > $f/model; done"
        outputs = {"model": {"jobOutputType": "uri_folder", "uri": self.source}}
        spec = {"jobType": "Command", "command": command, "outputs": outputs}
        environment = "azureml://registries/azureml/environments/x/versions/1"
        self.call("PUT", f"jobs/{self.job}", {"properties": {**spec, "environmentId": environment}})
        assert wait_until(lambda: self.status() == "Completed", deadline_s=60), self.status()

    def status(self) -> str:
        return str(self.call("GET", f"jobs/{self.job}")["properties"]["status"])

    @property
    def settings(self) -> ConnectionSettings:
        told = {"subscription_id": SUBSCRIPTION, "resource_group": RESOURCE_GROUP, "workspace": WORKSPACE}
        told |= {"authentication": "emulator", "endpoint": self.small.emulator.http}
        return ConnectionSettings.parse(told, conn_id="test")

    @property
    def source(self) -> str:
        return f"azureml://datastores/workspaceblobstore/paths/trained/{self.job}/"

    def begin(self, dag: str, model: str, path: str, *, expected: str = "", **conf: Any) -> tuple[str, str]:
        """Start a run that registers what is in a folder."""
        result = {"job": self.job, "status": "Completed", "outputs": {"model": self.source}}
        told = {"model": model, "path": path, "expected": f"'{expected}'", "result": result, **conf}
        body = {"logical_date": None, "conf": told}
        begun = self.small.airflow.call("POST", f"/api/v2/dags/small_{dag}/dagRuns", body)
        return f"small_{dag}", str(begun["dag_run_id"])

    def stages(self, model: str) -> dict[str, str]:
        """Tell the tag of each version, by the folder that it was made of."""
        versions = self.call("GET", f"models/{model}/versions")["value"]
        told = [one["properties"] for one in versions]
        return {one["modelUri"].rpartition("/")[2]: one["tags"]["stage"] for one in told}

    def released(self) -> list[dict[str, Any]]:
        """Tell what woke the DAG that releases, in all its runs."""
        runs = self.small.airflow.get("/api/v2/dags/small_release/dagRuns", limit=50)["dag_runs"]
        names = [("small_release", one["dag_run_id"]) for one in runs]
        for name in names:
            self.small.until(name, "success")
        return [event for name in names for event in self.small.xcom(name)]


@pytest.fixture(scope="module")
def world(airflow: Airflow, emulator: Emulator, dags_folder: Path) -> Iterator[World]:
    shutil.copy(HERE / "register_dags.py", dags_folder / "register_dags.py")
    for dag in ("small_register", "small_mortal", "small_release"):
        airflow.unpause(dag)
    headers = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    with httpx.Client(base_url=emulator.http, headers=headers, trust_env=False, timeout=30) as http:
        made = World(Small(airflow, emulator), http)
        made.train()
        yield made


def test_a_version_that_is_registered_wakes_the_dag_that_releases_it_once_however_often_its_task_runs(
    world: World,
) -> None:
    model, told = f"m-{uuid.uuid4().hex[:10]}", []
    runs = []
    for _ in range(2):
        runs.append(world.begin("register", model, "first"))
        assert world.small.until(runs[-1])["state"] == "success", world.small.log(runs[-1])
        told.append(world.small.xcom(runs[-1]))
    body = {"dry_run": False, "dag_run_id": runs[0][1], "task_ids": ["run"], "only_failed": False}
    world.small.airflow.call("POST", f"/api/v2/dags/{runs[0][0]}/clearTaskInstances", body)
    assert world.small.until(runs[0], tries=2)["state"] == "success", world.small.log(runs[0])

    assert [(each["version"], each["stage"]) for each in told] == [("1", "champion")] * 2
    assert wait_until(lambda: bool(world.released()), deadline_s=60)
    (event,) = [each for each in world.released() if each["model"] == model]
    assert event == {name: told[0][name] for name in ("model", "version", "stage", "job", "digest")}
    for run in runs:
        assert "was told of version 1 before" in world.small.log(run)
    assert "was told of version 1 before" not in world.small.log(runs[0], 1)


def test_a_worker_that_is_killed_between_any_two_writes_is_made_up_for_by_its_next_try(world: World) -> None:
    models = {f"m{writes}-{uuid.uuid4().hex[:10]}": writes for writes in range(WRITES)}
    with open_registrar(world.settings) as registrar:
        for model in models:
            first = Registration(model=model, job=world.job, output="model", path="first")
            registrar.register(first, source=world.source)
            assert registrar.crown(model, "1", expected="").crowned

    runs = {
        model: world.begin("mortal", model, f"w{writes}", expected="1", writes=str(writes))
        for model, writes in models.items()
    }
    for run in runs.values():
        found = world.small.until(run, "success", "failed", deadline_s=180)
        assert (found["state"], found["try_number"]) == ("success", 2), world.small.log(run)

    for model, writes in models.items():
        told = world.small.xcom(runs[model])
        assert (told["version"], told["stage"], told["champion"]) == ("2", "champion", "2")
        assert world.stages(model) == {"first": "retired", f"w{writes}": "champion"}

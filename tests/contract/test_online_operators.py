"""The provider's tasks for online endpoints, on the emulator: real processes answer, and fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.triggers.base import TriggerEvent
from attrs import define
from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.core.deploying import DIGEST_TAG
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import DeploymentTimeoutError, NoCapacityError
from airflow_azureml.operators.online import (
    AzureMLDeleteDeploymentOperator,
    AzureMLOnlineDeploymentOperator,
    AzureMLOnlineEndpointOperator,
    AzureMLOnlineTrafficOperator,
)
from airflow_azureml.wire import live_metrics, online
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator
from tests.contract.controlled import client_of, controlled_emulator

#: The SDK uses what its own dependencies will not have much longer.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
NO_CONTEXT = cast("Context", {})
SCORE = """
import json, os, pathlib
def init():
    global slope
    slope = float(next(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("slope.txt")).read_text())
def run(raw_data):
    asked = json.loads(raw_data)
    if "raise" in asked:
        raise ValueError("a value that no model knows")
    return [slope * value for value in asked["data"]]
"""


@define
class World:
    """An emulator that can be told to fail, an endpoint's name of the test's own, and a model that is registered."""

    emulator: Emulator
    http: httpx.Client
    folder: Path
    endpoint: str

    @property
    def settings(self) -> ConnectionSettings:
        fields = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
        fields |= {"authentication": "emulator", "endpoint": self.emulator.addresses.http}
        return ConnectionSettings.parse(fields, conn_id="mine")

    def spec(self, score: str = SCORE) -> Path:
        """Write a deployment's YAML and its code."""
        (self.folder / "code").mkdir(exist_ok=True)
        (self.folder / "code/score.py").write_text(score)
        file = self.folder / "deployment.yml"
        file.write_text(
            "model: azureml:slope:1\n"
            "code_configuration:\n  code: code\n  scoring_script: score.py\n"
            "environment:\n  image: mcr.microsoft.com/azureml/minimal-py312-inference\n"
            "instance_type: Standard_DS3_v2\n"
        )
        return file

    def ensure(self, **options: Any) -> dict[str, Any]:
        return run(AzureMLOnlineEndpointOperator(task_id="endpoint", endpoint=self.endpoint, **options))

    def deploy(self, name: str = "blue", **options: Any) -> dict[str, Any]:
        told = {"spec": str(self.folder / "deployment.yml"), **options}
        return run(AzureMLOnlineDeploymentOperator(task_id="deploy", endpoint=self.endpoint, deployment=name, **told))

    def move(self, **traffic: int) -> dict[str, Any]:
        return run(AzureMLOnlineTrafficOperator(task_id="move", endpoint=self.endpoint, traffic=traffic))

    def take_away(self, name: str) -> dict[str, Any]:
        return run(AzureMLDeleteDeploymentOperator(task_id="away", endpoint=self.endpoint, deployment=name))

    def ask(self, **data: Any) -> httpx.Response:
        """Ask the endpoint as its callers do: at its own address, with its key."""
        with Client(self.settings) as client:
            found = client.run(online.read_endpoint(self.settings.workspace, self.endpoint))
            keys = client.run(online.list_keys(self.settings.workspace, self.endpoint))
        assert found is not None
        with emulator_in_reach(self.settings):
            return httpx.post(
                found.scoring_uri, json=data, headers={"Authorization": f"Bearer {keys.primary}"}, timeout=30
            )

    def fail(self, *faults: dict[str, Any]) -> None:
        self.http.put("/control/online", json=list(faults)).raise_for_status()


def run(operator: Any) -> dict[str, Any]:
    """Run a task to its end in this process, as a worker does that may not defer."""
    operator.deferrable = False
    operator.poll_interval = timedelta(seconds=0.2)
    told: dict[str, Any] = operator.execute(NO_CONTEXT)
    return told


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, azurite: tuple[int, int]) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("serving"), azurite) as made:
        _register_slope(made)
        yield made


def _register_slope(emulator: Emulator) -> None:
    credential = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
    with (
        client_of(emulator) as http,
        BlobServiceClient(f"{emulator.addresses.blob}/{DEV_ACCOUNT}", credential=credential) as service,
    ):
        store = http.get(f"{ARM_ID}/datastores/workspaceblobstore?api-version=2024-10-01").raise_for_status().json()
        container = service.get_container_client(store["properties"]["containerName"])
        for version, slope in (("1", "2.5"), ("2", "10")):
            container.upload_blob(f"slopes/{version}/slope.txt", slope, overwrite=True)
            uri = f"azureml://datastores/workspaceblobstore/paths/slopes/{version}/"
            body = {"properties": {"modelUri": uri, "modelType": "custom_model"}}
            http.put(f"{ARM_ID}/models/slope/versions/{version}?api-version=2024-10-01", json=body).raise_for_status()


@pytest.fixture
def world(served: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    extra = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    extra |= {"authentication": "emulator", "endpoint": served.addresses.http}
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", json.dumps({"conn_type": "azureml", "extra": extra}))
    with client_of(served) as http:
        made = World(served, http, tmp_path, f"slope-{uuid.uuid4().hex[:8]}")
        made.spec()
        yield made
        http.delete("/control/online")
        http.delete(f"{ARM_ID}/onlineEndpoints/{made.endpoint}?api-version=2024-04-01")


def test_a_model_comes_to_serve_and_doing_it_all_again_changes_nothing(world: World) -> None:
    first = [world.ensure(tags={"team": "a"}), world.deploy(), world.move(blue=100)]
    answered = world.ask(data=[1, 2])
    again = [world.ensure(tags={"team": "a"}), world.deploy(), world.move(blue=100)]

    assert answered.json() == [2.5, 5.0]
    assert answered.headers["azureml-model-deployment"] == "blue"
    assert [each["done"] for each in first[:2]] == [["endpoint created"], ["deployment created"]]
    assert first[1]["model"].endswith("/models/slope/versions/1")
    assert DIGEST_TAG in first[1]["tags"]
    assert first[2]["traffic"] == {"blue": 100}
    assert [each["done"] for each in again] == [[], [], []]


def test_another_model_comes_beside_the_first_and_the_first_goes_when_it_has_no_traffic(world: World) -> None:
    world.ensure()
    world.deploy("blue")
    world.move(blue=100)
    world.deploy("green", model="slope:2", instances=2)

    assert world.ask(data=[1]).json() == [2.5]
    with pytest.raises(AirflowFailException, match="takes 100 % of the traffic and was not deleted"):
        world.take_away("blue")

    moved = world.move(green=100)
    gone = world.take_away("blue")

    assert moved["traffic"] == {"green": 100}
    assert world.ask(data=[1]).json() == [10.0]
    assert gone["done"] == ["deployment deleted"]
    assert world.take_away("blue")["done"] == []


def test_a_deployment_without_yaml_is_made_by_rest_alone_and_only_its_instances_change_in_its_place(
    world: World,
) -> None:
    world.ensure()
    world.deploy("blue")
    url = f"{ARM_ID}/onlineEndpoints/{world.endpoint}/deployments/blue"
    blue = world.http.get(url, params={"api-version": "2024-04-01"}).raise_for_status().json()["properties"]
    parts = {name: blue[name] for name in ("codeConfiguration", "environmentId")}
    plain = {"spec": None, "model": "slope:2", "instance_type": "Standard_DS3_v2", "properties": parts}

    made = world.deploy("green", **plain)
    world.move(green=100)
    again = world.deploy("green", tags={"run": "another"}, **plain)
    scaled = world.deploy("green", instances=2, **plain)

    assert world.ask(data=[1]).json() == [10.0]
    assert (made["done"], again["done"], scaled["done"]) == (["deployment created"], [], ["deployment scaled"])
    assert (made["instances"], scaled["instances"]) == (1, 2)


def test_a_deployment_that_takes_traffic_does_not_become_another_in_its_place(world: World) -> None:
    world.ensure()
    world.deploy()
    world.move(blue=100)

    with pytest.raises(AirflowFailException, match=r"takes 100 % of the traffic and is of model .*nothing was changed"):
        world.deploy(model="slope:2")

    assert world.ask(data=[1]).json() == [2.5]
    assert world.deploy(model="slope:2", replace_live=True)["done"] == ["deployment changed"]
    assert world.ask(data=[1]).json() == [10.0]


def test_code_that_does_not_start_is_told_with_its_log_and_its_mended_successor_takes_its_place(world: World) -> None:
    world.ensure()
    world.deploy()
    world.move(blue=100)
    world.spec("import no_such_module\n" + SCORE)

    with pytest.raises(AirflowFailException) as raised:
        world.deploy("green")

    told = str(raised.value)
    assert told.startswith("Deployment green of online endpoint slope-")
    assert "ResourceNotReady" in told
    assert "No module named 'no_such_module'" in told
    assert f"Online endpoint {world.endpoint} is Succeeded, with 100 % to blue now." in told
    assert world.ask(data=[1]).json() == [2.5]

    world.spec()
    mended = world.deploy("green")
    assert mended["done"] == ["deployment deleted, since it had failed", "deployment created"]


def test_a_quota_that_is_used_up_has_a_name_and_a_later_try_succeeds(world: World) -> None:
    world.ensure()
    world.fail({"deployment": "blue", "fails": "OutOfQuota", "count": 1})

    with pytest.raises(NoCapacityError, match=r"Not enough quota.*Ask for more quota"):
        world.deploy()

    assert world.deploy()["state"] == "Succeeded"


def test_a_deployment_that_never_becomes_ready_is_given_up_in_time(world: World) -> None:
    world.ensure()
    world.fail({"deployment": "blue", "never_ready": True})

    with pytest.raises(
        DeploymentTimeoutError, match=r"the limit is 2 s\. Online endpoint slope-.* with no traffic now"
    ):
        world.deploy(timeout=timedelta(seconds=2))


def test_an_endpoint_that_failed_takes_no_deployment(world: World) -> None:
    world.fail({"endpoint": world.endpoint, "fails": "InternalServerError", "count": 1})

    with pytest.raises(AirflowFailException, match=r"Online endpoint slope-\S+ is Failed.*InternalServerError"):
        world.ensure()
    with pytest.raises(AirflowFailException, match=r"Online endpoint slope-\S+ is Failed"):
        world.deploy()

    assert world.ensure()["state"] == "Succeeded"


def test_how_callers_prove_themselves_is_not_changed_and_what_takes_traffic_is_not_deleted(world: World) -> None:
    world.ensure()
    world.deploy()
    world.move(blue=100)

    with pytest.raises(AirflowFailException, match="with Key, not with AMLToken"):
        world.ensure(auth_mode="AMLToken")
    with pytest.raises(AirflowFailException, match="100 % to blue, and was not deleted"):
        world.ensure(action="delete")

    assert world.ensure(action="delete", with_traffic=True)["done"] == ["endpoint deleted"]
    assert world.ensure(action="delete")["done"] == []


def test_a_task_that_defers_goes_on_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "0")
    world.ensure()
    world.fail({"deployment": "blue", "fails": "ImageBuildFailure", "count": 1})
    with pytest.raises(AirflowFailException, match="Look at the image build's log"):
        world.deploy()
    task = AzureMLOnlineDeploymentOperator(
        task_id="deploy", endpoint=world.endpoint, deployment="blue", spec=str(world.folder / "deployment.yml"),
        poll_interval=timedelta(seconds=0.2),
    )  # fmt: skip

    told, rounds = _through_the_triggerer(task)

    assert told["done"] == ["deployment deleted, since it had failed", "deployment created"]
    assert rounds >= 1


def _through_the_triggerer(task: Any) -> tuple[dict[str, Any], int]:
    """Run a task as Airflow does: what is deferred is written as JSON, read again, and waited for in a loop."""
    rounds = 0
    work: Any = task.execute
    arguments: dict[str, Any] = {}
    while True:
        try:
            return work(NO_CONTEXT, **arguments), rounds
        except TaskDeferred as deferred:
            _, fields = deferred.trigger.serialize()
            trigger = type(deferred.trigger)(**json.loads(json.dumps(fields)))
            event = asyncio.run(_event(trigger))
            work = getattr(task, deferred.method_name)
            arguments = {"event": json.loads(json.dumps(event.payload)), **json.loads(json.dumps(deferred.kwargs))}
            rounds += 1


async def _event(trigger: Any) -> TriggerEvent:
    async with contextlib.aclosing(trigger.run()) as events:
        found: TriggerEvent = await anext(events)
    return found


def test_what_callers_got_is_counted_by_whose_fault_it_was(world: World) -> None:
    world.ensure()
    world.deploy()
    world.move(blue=100)
    since = time.time()
    statuses = [world.ask(**each).status_code for each in ({"data": [1]}, {"data": [2]}, {"raise": 1})]
    world.http.post("/control/clock/advance", json={"seconds": 120}).raise_for_status()

    with Client(world.settings) as client:
        found = client.run(
            live_metrics.live_metrics(
                world.settings.workspace, world.endpoint, "blue", since=since - 120, until=since + 240
            )
        )

    assert statuses == [200, 200, 424]
    assert (found.requests, found.failures, found.client_errors) == (3, 1, 0)
    assert found.p50_ms is not None
    assert found.p50_ms > 0

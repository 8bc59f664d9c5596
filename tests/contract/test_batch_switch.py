"""Batch endpoints, blue and green, on the emulator: outputs are compared before another deployment is the default."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from attrs import define, field
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.core.output_rules import OutputRules
from airflow_azureml.operators.batch_switch import AzureMLBatchDefaultOperator, AzureMLBatchSwitchOperator
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator
from tests.contract.controlled import client_of

pytestmark = pytest.mark.timeout(120)

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
VERSION = {"api-version": "2023-10-01"}
RULES = OutputRules(key=["row"], changed_at_most=0.1, tolerance=1.0, distribution=None)


@define
class Instance:
    """What a task sees of its instance."""

    pushed: dict[str, Any] = field(factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


@define
class World:
    """A batch endpoint with two deployments, and what they have made of the same."""

    http: httpx.Client
    container: ContainerClient
    endpoint: str
    instance: Instance = field(factory=Instance)

    def made(self, name: str, *scores: float) -> dict[str, Any]:
        """Write an output, as a job would, and say what the task that ran it returned."""
        lines = "\n".join(["row,score", *(f"{row},{score}" for row, score in enumerate(scores)), ""])
        self.container.upload_blob(f"{self.endpoint}/{name}/part-1.csv", lines, overwrite=True)
        self.container.upload_blob(f"{self.endpoint}/{name}/_SUCCESS", b"", overwrite=True)
        uri = f"azureml://datastores/workspaceblobstore/paths/{self.endpoint}/{name}/"
        return {"job": name, "status": "Completed", "outputs": {"predictions": uri}}

    def switch(self, deployment: str = "green", **options: Any) -> dict[str, Any]:
        task = AzureMLBatchSwitchOperator(
            task_id="switch",
            endpoint=self.endpoint,
            deployment=deployment,
            output_name="predictions",
            deferrable=False,
            poll_interval=timedelta(seconds=0.2),
            **options,
        )
        told = task.execute(cast("Context", {"ti": self.instance}))
        assert told is not None
        return told

    @property
    def now(self) -> tuple[str, str]:
        """The default deployment, and the one before it."""
        found = self.http.get(f"{ARM_ID}/batchEndpoints/{self.endpoint}", params=VERSION).raise_for_status().json()
        default = found["properties"]["defaults"]["deploymentName"] or ""
        return default, found["tags"].get("airflow.previous_default", "")


@pytest.fixture
def world(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    extra = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    extra |= {"authentication": "emulator", "endpoint": emulator.addresses.http}
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", json.dumps({"conn_type": "azureml", "extra": extra}))
    credential = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
    with (
        client_of(emulator) as http,
        BlobServiceClient(f"{emulator.addresses.blob}/{DEV_ACCOUNT}", credential=credential) as service,
    ):
        store = http.get(f"{ARM_ID}/datastores/workspaceblobstore", params=VERSION).raise_for_status().json()
        container = service.get_container_client(store["properties"]["containerName"])
        made = World(http, container, f"switch-{uuid.uuid4().hex[:8]}")
        _publish(made)
        yield made


def _publish(world: World) -> None:
    """Publish two deployments of the same small pipeline; there is no default yet."""

    def put(path: str, properties: dict[str, Any]) -> dict[str, Any]:
        answer = world.http.put(f"{ARM_ID}/{path}", params=VERSION, json={"properties": properties, "tags": {"a": "b"}})
        assert answer.status_code in {200, 201}, answer.text
        found: dict[str, Any] = answer.json()
        return found

    spec = {"type": "command", "name": "one", "command": "exit 0"}
    step = put("components/switch-step/versions/1", {"componentSpec": spec})
    jobs = {"one": {"type": "command", "componentId": step["id"]}}
    pipeline = put(
        "components/switch-all/versions/1", {"componentSpec": {"type": "pipeline", "name": "all", "jobs": jobs}}
    )
    put(f"batchEndpoints/{world.endpoint}", {"authMode": "AADToken"})
    configuration = {
        "deploymentConfigurationType": "PipelineComponent",
        "componentId": {"assetId": pipeline["id"], "referenceType": "Id"},
    }
    for name in ("blue", "green"):
        put(f"batchEndpoints/{world.endpoint}/deployments/{name}", {"deploymentConfiguration": configuration})


def test_where_there_is_no_default_yet_nothing_is_compared(world: World) -> None:
    with pytest.raises(AirflowSkipException, match="no default deployment yet"):
        AzureMLBatchDefaultOperator(task_id="d", endpoint=world.endpoint, candidate="blue").execute(cast("Context", {}))

    told = world.switch("blue")

    assert told == {
        "endpoint": world.endpoint,
        "default": "blue",
        "before": "",
        "done": ["default moved from none to blue"],
    }
    assert world.now == ("blue", "")


def test_a_deployment_that_says_the_same_becomes_the_default_once(world: World) -> None:
    world.switch("blue")
    default = AzureMLBatchDefaultOperator(task_id="d", endpoint=world.endpoint, candidate="green")
    expected = default.execute(cast("Context", {}))
    runs: dict[str, Any] = {
        "current": world.made("old", *range(20)),
        "candidate": world.made("new", 0.5, *range(1, 20)),
    }

    first = world.switch(expected=expected, rules=RULES, **runs)
    again = world.switch(expected=expected, rules=RULES, **runs)

    assert expected == "blue"
    assert (first["default"], first["before"], first["done"]) == ("green", "blue", ["default moved from blue to green"])
    assert again == {**first, "done": []}
    assert world.instance.pushed["verdict"]["accepted"] is True
    with pytest.raises(AirflowSkipException, match="green as its default already"):
        default.execute(cast("Context", {}))


def test_a_deployment_that_says_something_else_does_not(world: World) -> None:
    world.switch("blue")
    runs: dict[str, Any] = {"current": world.made("old", *range(20)), "candidate": world.made("new", *range(100, 120))}

    with pytest.raises(AirflowFailException, match=r"score differs in 1 of the rows.*blue is still the default"):
        world.switch(expected="blue", rules=RULES, **runs)

    assert world.now == ("blue", "")
    assert world.instance.pushed["verdict"]["accepted"] is False


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"expected": "red"}, "somebody has switched meanwhile"),
        ({"deployment": "pink"}, r"no deployment pink \(it has: blue, green\)"),
        ({"expected": "blue", "current": None}, "names no output 'predictions'"),
        ({"rules": OutputRules(tolerance=-1.0)}, "less than 0"),
        ({"action": "roll_back", "deployment": "blue"}, "does not say which deployment was the default before blue"),
    ],
)
def test_what_cannot_be_right_is_refused_and_the_default_stays(
    world: World, options: dict[str, Any], told: str
) -> None:
    world.switch("blue")

    with pytest.raises(AirflowFailException, match=told):
        world.switch(**{"current": world.made("old", 1.0), "candidate": world.made("new", 1.0), **options})

    assert world.now == ("blue", "")


def test_a_rollback_goes_back_once_however_often_it_is_tried(world: World) -> None:
    world.switch("blue")
    world.switch("green", rules=None)
    assert world.now == ("green", "blue")

    first = world.switch("green", action="roll_back")
    again = world.switch("green", action="roll_back")

    assert (first["default"], first["done"]) == ("blue", ["default moved from green to blue"])
    assert (again["default"], again["done"]) == ("blue", [])
    assert world.now == ("blue", "")

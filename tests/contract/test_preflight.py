"""What a preflight finds in an emulated workspace in which something is missing, and that it submits nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen
from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.azureml import Client
from airflow_azureml.core.jobs import JobKey, Situation
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import BatchEndpoint, Pipeline, PipelineComponent
from airflow_azureml.core.triage import Cause, cause_of, may_pass
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, NotReadyError
from airflow_azureml.operators import preflight
from airflow_azureml.operators.backends import Order, backend_of
from airflow_azureml.operators.start import Try, find_or_start
from azureml_emulator.names import WorkspaceName, blob_store_container
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import ARM_ID, JUDGES, WORKSPACE, Emulator
from tests.contract.controlled import client_of, controlled_emulator

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
DSV2 = "Standard DSv2 Family Cluster Dedicated vCPUs"
DATA = "azureml://datastores/workspaceblobstore/paths/in/rows.csv"
OUT = "azureml://datastores/workspaceblobstore/paths/out/"
BOX = "preflight-box"
CONFIGURATION = {"deploymentConfigurationType": "PipelineComponent"}


@frozen(kw_only=True)
class Shop:
    """A workspace in which everything is there, and few words to take something away."""

    http: httpx.Client
    client: Client
    settings: ConnectionSettings

    def put(self, path: str, **properties: Any) -> str:
        answer = self.http.put(f"{ARM_ID}/{path}", json={"properties": properties})
        assert answer.status_code in {200, 201}, answer.text
        return f"{ARM_ID}/{path}"

    def tell(self, what: str, said: Any) -> None:
        answer = self.http.put(f"/control/{what}", json=said)
        assert answer.status_code == 200, answer.text

    def cluster(self, name: str, *, most: int = 2, size: str = "Standard_DS3_v2", priority: str = "Dedicated") -> None:
        scale = {"maxNodeCount": most, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT2M"}
        inner = {"vmSize": size, "vmPriority": priority, "scaleSettings": scale}
        body = {"location": "westeurope", "properties": {"computeType": "AmlCompute", "properties": inner}}
        assert self.http.put(f"{ARM_ID}/computes/{name}", json=body).status_code in {200, 201}

    def pipeline(self, *, environment: str = "azureml:rows:1", compute: str = "cpu", **node: Any) -> BatchEndpoint:
        """Publish a pipeline of one step behind an endpoint of its own."""
        name = f"p{uuid.uuid4().hex[:10]}"
        takes = {"inputs": {"data": {"type": "uri_file"}}, "outputs": {"out": {"type": "uri_folder"}}}
        step = {"type": "command", "name": "score", "command": "exit 7", "environment": environment, **takes}
        step_id = self.put(f"components/{name}-step/versions/1", componentSpec=step)
        jobs = {"score": {"type": "command", "componentId": step_id, **node}}
        spec = {"type": "pipeline", "name": name, "jobs": jobs, **takes}
        component = self.put(f"components/{name}/versions/1", componentSpec=spec)
        self.put(f"batchEndpoints/{name}", authMode="AADToken")
        reference = {"componentId": {"assetId": component, "referenceType": "Id"}}
        settings = {"default_compute": compute} if compute else {}
        self.put(
            f"batchEndpoints/{name}/deployments/only",
            deploymentConfiguration={**CONFIGURATION, **reference, "settings": settings},
        )
        return BatchEndpoint(name, "only")

    def look(self, pipeline: Pipeline, *, data: str = DATA, out: str = OUT, **settings: Any) -> None:
        """Hold the preflight of a pipeline, and nothing else."""
        order = Order(passed=Passed.parse({"data": data}, {}), outputs={"out": out}, settings=settings)
        preflight.of_pipeline(self.client, self.settings, pipeline, order).check()

    def requests(self) -> int:
        """Count requests since the last time."""
        seen = self.http.get("/control/requests").json()["count"]
        self.http.delete("/control/requests")
        return int(seen)


@pytest.fixture(scope="module")
def opened(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with controlled_emulator(tmp_path_factory.mktemp("preflight"), azurite) as emulator:
        settings = _settings(emulator)
        with client_of(emulator) as http, Client(settings) as client:
            made = Shop(http=http, client=client, settings=settings)
            made.put("environments/rows/versions/1", image="python:3.11")
            made.cluster("cpu")
            place = {"datastoreType": "AzureBlob", "accountName": DEV_ACCOUNT, "containerName": BOX}
            made.put("datastores/keyless", **place, credentials={"credentialsType": "None"})
            key = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
            with BlobServiceClient(f"{emulator.addresses.blob}/{DEV_ACCOUNT}", credential=key) as service:
                for container in (blob_store_container(WorkspaceName.parse(WORKSPACE)), BOX):
                    service.get_container_client(container).upload_blob("in/rows.csv", b"a,b\n1,2\n", overwrite=True)
            yield made


def _settings(emulator: Emulator) -> ConnectionSettings:
    names = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    fields = {**names, "authentication": "emulator", "endpoint": emulator.addresses.http}
    return ConnectionSettings.parse(fields, conn_id="mine")


@pytest.fixture
def shop(opened: Shop) -> Iterator[Shop]:
    """Everything is there again when a test begins."""
    opened.tell("quotas", {})
    opened.tell("computes", {})
    opened.tell("permissions", [{"actions": ["*"], "dataActions": ["*"]}])
    opened.http.delete("/control/faults")
    yield opened
    opened.http.delete("/control/faults")


def test_where_everything_is_there_nothing_is_found_and_a_dozen_requests_are_sent(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = shop.pipeline()
    shop.requests()

    with caplog.at_level(logging.INFO, logger="airflow_azureml"):
        shop.look(pipeline)

    assert shop.requests() <= 12
    assert [record.levelname for record in caplog.records] == ["INFO"]


Taking = Callable[[Shop], tuple[Pipeline, dict[str, Any]]]


def _states(provisioning: str, **more: Any) -> Taking:
    def take(shop: Shop) -> tuple[Pipeline, dict[str, Any]]:
        shop.tell("computes", {"cpu": {"provisioningState": provisioning, **more}})
        return shop.pipeline(), {}

    return take


def _no_nodes(shop: Shop) -> tuple[Pipeline, dict[str, Any]]:
    shop.cluster("empty", most=0)
    return shop.pipeline(compute="empty"), {}


def _quota(limit: int, used: int = 0, *, owner: str = "") -> Taking:
    def take(shop: Shop) -> tuple[Pipeline, dict[str, Any]]:
        shop.tell("quotas", {f"{owner}{DSV2}": {"limit": limit, "used": used}})
        return shop.pipeline(), {}

    return take


def _may_not_write(shop: Shop) -> tuple[Pipeline, dict[str, Any]]:
    shop.tell("permissions", [{"dataActions": ["Microsoft.Storage/*/read"]}])
    return shop.pipeline(), {"out": OUT.replace("workspaceblobstore", "keyless")}


def _may_not_read(shop: Shop) -> tuple[Pipeline, dict[str, Any]]:
    fault = {"path": f".*/{BOX}.*", "status": 403, "code": "AuthorizationPermissionMismatch"}
    shop.tell("faults", [fault])
    return shop.pipeline(), {"data": DATA.replace("workspaceblobstore", "keyless")}


WRONG: dict[str, tuple[Taking, str]] = {
    "no such compute": (
        lambda shop: (shop.pipeline(compute="gpu"), {}),
        r"Compute gpu \(step score\) is not in workspace",
    ),
    "the compute failed": (_states("Failed"), r"Compute cpu \(step score\) is Failed: repair or delete it"),
    "the compute is deleted": (_states("Deleting"), r"Compute cpu \(step score\) is Deleting: name another"),
    "the instance is stopped": (_states("Succeeded", state="Stopped"), r"is Stopped: start it, or name a cluster"),
    "no node may be had": (_no_nodes, r"Compute empty \(step score\) may have 0 nodes, and 1 are needed"),
    "too few nodes": (
        lambda shop: (shop.pipeline(resources={"instance_count": 3}), {}),
        r"Compute cpu \(step score\) may have 2 nodes, and 3 are needed",
    ),
    "no quota": (
        _quota(0),
        rf"needs 4 vCPUs for 1 node\(s\), and the quota of {DSV2} in westeurope is 0: ask for more",
    ),
    "no quota for the workspace": (_quota(2, owner=f"{NAME}/"), rf"{DSV2} in westeurope for workspace {NAME} is 2"),
    "no such environment": (
        lambda shop: (shop.pipeline(environment="azureml:rows:9"), {}),
        r"Environment rows:9 \(step score\) is not in workspace",
    ),
    "no such environment at all": (
        lambda shop: (shop.pipeline(environment=f"azureml:{ARM_ID}/environments/none/labels/latest"), {}),
        r"Environment none@latest \(step score\) is not in workspace",
    ),
    "no such datastore of an input": (
        lambda shop: (shop.pipeline(), {"data": "azureml://datastores/gone/paths/x.csv"}),
        r"Input 'data': datastore gone is not in workspace",
    ),
    "no such datastore of an output": (
        lambda shop: (shop.pipeline(), {"out": "azureml://datastores/gone/paths/x/"}),
        r"Output 'out': datastore gone is not in workspace",
    ),
    "nothing at the input": (
        lambda shop: (shop.pipeline(), {"data": DATA.replace("rows", "row")}),
        r"Input 'data' \(azureml://\S+/in/row.csv\): there is nothing; look at the path",
    ),
    "no such container": (
        lambda shop: (shop.pipeline(), {"data": f"https://{DEV_ACCOUNT}.blob.core.windows.net/none-such/rows.csv"}),
        r"Input 'data' \(https://\S+/none-such/rows.csv\): there is no such container",
    ),
    "no such data": (
        lambda shop: (shop.pipeline(), {"data": "azureml:measurements:4"}),
        r"Input 'data' \(data measurements:4\) is not in workspace",
    ),
    "may not write": (
        _may_not_write,
        r"may not write to container preflight-box .* Storage Blob Data Contributor has it",
    ),
    "may not read": (
        _may_not_read,
        r"Input 'data' .* may not be read by this identity: .* 403 AuthorizationPermissionM",
    ),
    "no such deployment": (
        lambda shop: (BatchEndpoint(shop.pipeline().name, "another"), {}),
        r"Deployment another of batch endpoint \S+ is not there",
    ),
    "no default deployment": (
        lambda shop: (BatchEndpoint(shop.pipeline().name), {}),
        r"Batch endpoint \S+ has no default deployment: name one",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_missing_is_one_plain_sentence_that_no_retry_can_help(
    shop: Shop, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    take, told = WRONG[what]
    pipeline, passed = take(shop)

    with pytest.raises(ConfigError, match=told) as found:
        shop.look(pipeline, **passed)

    assert "found 1 thing(s) wrong. (1) " in str(found.value)
    assert not may_pass(found.value)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_all_that_is_missing_stands_in_one_error(shop: Shop) -> None:
    pipeline = shop.pipeline(compute="gpu", environment="azureml:rows:9")

    with pytest.raises(ConfigError) as found:
        shop.look(pipeline, data=DATA.replace("rows", "row"), out="azureml://datastores/gone/paths/x/")

    for number, part in enumerate(("Compute gpu", "Environment rows:9", "Output 'out'", "Input 'data'"), start=1):
        assert f"({number}) {part}" in str(found.value)


NOT_NOW: dict[str, tuple[Taking, str, Cause]] = {
    "quota in use": (
        _quota(100, 98),
        rf"needs 4 more vCPUs for 1 node\(s\), and of the quota of {DSV2} in westeurope 98 of 100 are in use",
        Cause.QUOTA,
    ),
    "compute is made": (_states("Creating"), r"Compute cpu \(step score\) is Creating: wait until", Cause.UNKNOWN),
}


@pytest.mark.parametrize("what", NOT_NOW)
def test_what_may_come_is_an_error_that_a_retry_may_help(shop: Shop, what: str) -> None:
    take, told, cause = NOT_NOW[what]
    pipeline, passed = take(shop)

    with pytest.raises(NotReadyError, match=told) as found:
        shop.look(pipeline, **passed)

    assert may_pass(found.value)
    assert cause_of(found.value) is cause


def test_a_cluster_that_has_a_node_needs_no_quota_for_it(shop: Shop) -> None:
    shop.tell("quotas", {DSV2: {"limit": 100, "used": 100}})
    shop.tell("computes", {"cpu": {"currentNodeCount": 1}})

    shop.look(shop.pipeline())


def test_machines_of_low_priority_have_a_quota_of_their_own(shop: Shop) -> None:
    shop.cluster("cheap", priority="LowPriority")
    shop.tell("quotas", {DSV2: {"limit": 0}})

    shop.look(shop.pipeline(compute="cheap"))


UNKNOWN: dict[str, tuple[str, dict[str, str], str]] = {
    "usages": (r".*/locations/[^/]+/usages", {}, "Read the usages of region westeurope: 403"),
    "machine sizes": (r".*/locations/[^/]+/vmSizes", {}, "Read the machine sizes of region westeurope: 403"),
    "computes": (r".*/computes/cpu", {}, "Look at compute cpu in workspace"),
    "environments": (r".*/environments/rows/.*", {}, "Look for Environment rows:1"),
    "datastores": (r".*/datastores/workspaceblobstore", {}, "Read datastore workspaceblobstore"),
    "rights": (r".*/permissions", {"out": OUT.replace("workspaceblobstore", "keyless")}, "Read this identity's rights"),
    "the input, which the job opens with the datastore's key": (
        r".*/in/rows.csv",
        {},
        "could not be looked at: Look at blob",
    ),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_may_not_be_looked_at_is_one_warning_and_no_failure(
    shop: Shop, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, passed, told = UNKNOWN[what]
    pipeline = shop.pipeline()
    shop.tell("faults", [{"path": path, "status": 403, "code": "AuthorizationFailed"}])

    shop.look(pipeline, **passed)

    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told in warning


def test_the_compute_of_a_step_goes_before_the_default(shop: Shop) -> None:
    pipeline = shop.pipeline(compute="gpu", computeId=f"{ARM_ID}/computes/cpu")

    shop.look(pipeline)


def test_a_registered_component_is_looked_through_with_the_settings_of_its_job(shop: Shop) -> None:
    component = PipelineComponent(shop.pipeline(compute="").name, "1")

    shop.look(component, default_compute="azureml:cpu")
    with pytest.raises(
        ConfigError, match=r"preflight of pipeline component \S+, version 1 .*Compute gpu \(step score\)"
    ):
        shop.look(component, default_compute="azureml:gpu")


def test_steps_of_a_pipeline_within_a_pipeline_are_looked_at(shop: Shop) -> None:
    inner = shop.pipeline(compute="", environment="azureml:rows:9")
    node = {"type": "pipeline", "componentId": f"{ARM_ID}/components/{inner.name}/versions/1"}
    spec = {"type": "pipeline", "name": "outer", "jobs": {"inside": node}}
    shop.put("components/outer/versions/1", componentSpec=spec)

    with pytest.raises(ConfigError) as found:
        shop.look(PipelineComponent("outer", "1"), default_compute="gpu")

    assert "(1) Compute gpu (step inside/score)" in str(found.value)
    assert "(2) Environment rows:9 (step inside/score)" in str(found.value)


@pytest.mark.parametrize("path", ["in/rows.csv", "in/", "in", "in/*.csv", ""])
def test_an_input_is_a_blob_or_a_folder_with_something_in_it(shop: Shop, path: str) -> None:
    shop.look(shop.pipeline(), data=f"azureml://datastores/keyless/paths/{path}")


@pytest.mark.parametrize("path", ["in/rows.cs", "i", "in/rows.csv/", "on/*.csv"])
def test_what_only_begins_alike_is_no_input(shop: Shop, path: str) -> None:
    with pytest.raises(ConfigError, match="there is nothing"):
        shop.look(shop.pipeline(), data=f"azureml://datastores/keyless/paths/{path}")


def test_nothing_is_submitted_where_something_is_missing_and_something_is_where_it_is_there(shop: Shop) -> None:
    pipeline = shop.pipeline()
    order = Order(passed=Passed.parse({"data": DATA}, {}), outputs={})
    key = JobKey.of_task("d", uuid.uuid4().hex, "t", -1)
    this = Try(key=key, memory=None, number=1, situation=Situation(), owner="d/r/t/-1/1", preflight=True)
    jobs = f"/mferp/managementfrontend{ARM_ID}/batchEndpoints/{pipeline.name}/jobs"

    def run() -> None:
        backend = backend_of(shop.client, shop.settings, pipeline, order)
        first = preflight.looking_first(backend, shop.client, shop.settings, pipeline=pipeline, order=order)
        find_or_start(shop.client, shop.settings.workspace, this, first)

    shop.tell("quotas", {DSV2: {"limit": 0}})
    with pytest.raises(ConfigError, match="Nothing was submitted"):
        run()
    before = shop.http.get(jobs).json()["value"]
    shop.tell("quotas", {})
    run()

    assert before == []
    assert len(shop.http.get(jobs).json()["value"]) == 1


# what azure-ai-ml loads, in a process of its own


def _job(emulator_settings: ConnectionSettings, folder: Path, text: str) -> str:
    """Hold the preflight of a job file; give back what it complains of."""
    (folder / "job.yml").write_text(text)
    (folder / "local").mkdir(exist_ok=True)
    (folder / "local/rows.csv").write_text("a,b\n")
    workspace = emulator_settings.workspace
    asked = {"endpoint": workspace.endpoint, "job": str(folder / "job.yml"), "names": WORKSPACE.split("/")}
    command = [sys.executable, str(JUDGES / "preflight_story.py")]
    done = subprocess.run(
        command, input=json.dumps(asked), cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: str = json.loads(done.stdout.splitlines()[-1])
    return told


COMMAND = """
$schema: https://azuremlschemas.azureedge.net/latest/commandJob.schema.json
command: echo
environment: azureml:rows@latest
"""


def test_a_job_of_azure_ai_ml_is_looked_at_and_what_it_brings_along_is_not(shop: Shop, tmp_path: Path) -> None:
    inputs = "inputs: {rows: {type: uri_file, path: ./local/rows.csv}, n: 3}"

    assert _job(shop.settings, tmp_path, f"{COMMAND}\ncompute: azureml:cpu\n{inputs}\n") == ""


def test_what_a_job_of_azure_ai_ml_lacks_is_told(shop: Shop, tmp_path: Path) -> None:
    data = "data: {type: uri_file, path: 'azureml://datastores/gone/paths/x'}"
    inputs = f"inputs: {{{data}, m: {{type: mlflow_model, path: 'azureml:ridge:7'}}}}"

    told = _job(shop.settings, tmp_path, f"{COMMAND}\ncompute: gpu\n{inputs}\n")

    assert "found 3 thing(s)" in told
    for part in (
        "Compute gpu (the job) is not in",
        "Input 'data': datastore gone",
        "Input 'm' (models ridge:7) is not in",
    ):
        assert part in told


def test_the_steps_of_a_pipeline_job_of_azure_ai_ml_are_looked_at(shop: Shop, tmp_path: Path) -> None:
    text = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
settings: {default_compute: azureml:cpu}
jobs:
  here: {type: command, command: echo, environment: azureml:rows:1}
  there: {type: command, command: echo, environment: azureml:rows:9, compute: azureml:gpu}
  inline: {type: command, command: echo, environment: {image: python}, resources: {instance_count: 3}}
"""

    told = _job(shop.settings, tmp_path, text)

    assert "found 3 thing(s)" in told
    for part in ("Compute gpu (step there)", "Environment rows:9 (step there)", "2 nodes, and 3 are needed"):
        assert part in told

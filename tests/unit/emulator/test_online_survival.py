"""An emulator that is killed while it serves: its processes end with it, and the next one serves the same again."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import httpx
import pytest
from azure.storage.blob import BlobServiceClient

from azureml_emulator.processes import processes_below
from azureml_emulator.serving_process import serving_folder
from azureml_emulator.tokens import issue
from demo.azure import ACCOUNT, WORKSPACE_ID, Azurite, Emulator
from tests.unit.emulator.serving import KEY

pytestmark = pytest.mark.timeout(180)

BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
PATIENCE_S = 60.0
SCRIPT = """
import json, os, subprocess
def init():
    subprocess.Popen(["sleep", "1000"])  # a process that the script leaves behind
def run(raw):
    return 2 * json.loads(raw)
"""


def wait_for(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"still not so after {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.05)


@attrs.frozen
class Site:
    """An endpoint of a test's own, and words for it."""

    emulator: Emulator
    name: str
    workspace: str = WORKSPACE_ID

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.emulator.http, headers=BEARER, timeout=20, trust_env=False)

    @property
    def path(self) -> str:
        return f"{self.workspace}/onlineEndpoints/{self.name}"

    @property
    def blue(self) -> str:
        return f"{self.path}/deployments/blue"

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self.client() as client:
            answer = client.put(path, json=body)
            assert answer.is_success, answer.text
            found: dict[str, Any] = answer.json()
            return found

    def get(self, path: str) -> dict[str, Any]:
        with self.client() as client:
            found: dict[str, Any] = client.get(path).raise_for_status().json()
            return found

    def key(self) -> str:
        with self.client() as client:
            answer = client.post(f"{self.path}/listKeys").raise_for_status()
            return str(answer.json()["primaryKey"])

    def deploy(self) -> None:
        """Make an endpoint whose only deployment has all the traffic."""
        container, code = f"c{uuid.uuid4().hex}", f"code-{uuid.uuid4().hex}"
        with BlobServiceClient(f"{self.emulator.blob}/{ACCOUNT}", credential=KEY) as service:
            service.create_container(container)
            service.get_blob_client(container, "code/score.py").upload_blob(SCRIPT)
        uri = f"{self.emulator.blob}/{ACCOUNT}/{container}/code"
        self.put(f"{self.workspace}/codes/{code}/versions/1", {"properties": {"codeUri": uri}})
        made = {"modelUri": uri, "modelType": "custom_model"}
        model = self.put(f"{self.workspace}/models/{code}/versions/1", {"properties": made})
        self.put(f"{self.workspace}/environments/any/versions/1", {"properties": {"image": "python"}})
        self.put(self.path, {"location": "westeurope", "properties": {"authMode": "Key"}})
        properties = {
            "model": model["id"],
            "codeConfiguration": {"codeId": f"{self.workspace}/codes/{code}/versions/1", "scoringScript": "score.py"},
            "environmentId": f"{self.workspace}/environments/any/versions/1",
        }
        self.put(self.blue, {"properties": properties, "sku": {"capacity": 2}})
        wait_for(lambda: self.state() == "Succeeded", "blue is deployed")
        self.put(self.path, {"properties": {"authMode": "Key", "traffic": {"blue": 100}}})

    def state(self) -> str:
        return str(self.get(self.blue)["properties"]["provisioningState"])

    def score(self, key: str, value: int) -> httpx.Response:
        url = self.get(self.path)["properties"]["scoringUri"]
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        return httpx.post(url, content=json.dumps(value), headers=headers, timeout=20, trust_env=False)

    def processes(self) -> set[int]:
        return set(processes_below(serving_folder(self.emulator.state_dir)))


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("online"), azurite, arguments=["--control"]) as made:
        yield made


@pytest.fixture
def site(emulator: Emulator) -> Iterator[Site]:
    made = Site(emulator, f"line-{uuid.uuid4().hex[:8]}")
    yield made
    with made.client() as client:
        client.delete("/control/online")
        client.delete(made.path)
        wait_for(lambda: not made.processes(), "its processes have ended")


def test_processes_end_with_an_emulator_that_is_killed_and_the_next_one_serves_the_same(site: Site) -> None:
    site.deploy()
    key = site.key()
    before, running = site.score(key, 21), site.processes()

    site.emulator.kill()
    wait_for(lambda: not site.processes(), "all processes have ended with the emulator, and what they had started")
    site.emulator.start()
    wait_for(lambda: site.score(key, 21).status_code == 200, "blue serves again")

    assert (before.status_code, before.json(), len(running)) == (200, 42, 4)
    assert site.score(key, 4).json() == 8
    assert site.get(site.path)["properties"]["traffic"] == {"blue": 100}
    assert site.state() == "Succeeded"


def test_faults_of_online_endpoints_are_set_by_the_control_interface(site: Site) -> None:
    site.deploy()
    fault = {"endpoint": site.name, "fails": "InternalServerError", "count": 1}
    with site.client() as client:
        shown = client.put("/control/online", json=[fault]).raise_for_status().json()
        refused = client.put("/control/online", json=[{"endpoint": site.name}])

    body = {"properties": {"authMode": "Key", "traffic": {}}}
    answer = site.put(site.path, body)
    failed = site.get(site.path)["properties"]
    with site.client() as client:
        operation = client.get(failed["properties"]["AzureAsyncOperationUri"]).json()
    site.put(site.path, body)
    healed = site.get(site.path)["properties"]

    assert shown == [fault | {"struck": 0}]
    assert refused.status_code == 400
    assert answer["properties"]["provisioningState"] == "Updating"
    assert (failed["provisioningState"], failed["traffic"]) == ("Failed", {"blue": 100})
    assert (operation["status"], operation["error"]["code"]) == ("Failed", "InternalServerError")
    assert (healed["provisioningState"], healed["traffic"]) == ("Succeeded", {})


def test_an_endpoint_has_its_name_alone_in_the_region_whatever_its_kind(site: Site) -> None:
    site.put(site.path, {"properties": {"authMode": "Key"}})
    site.put(f"{WORKSPACE_ID}/batchEndpoints/batch", {"properties": {}})
    with site.client() as client:
        online = client.put(f"{WORKSPACE_ID}/onlineEndpoints/batch", json={"properties": {}})
        batch = client.put(f"{WORKSPACE_ID}/batchEndpoints/{site.name}", json={"properties": {}})

    assert [online.status_code, batch.status_code] == [400, 400]
    assert "There is already an endpoint with the name batch" in online.json()["error"]["message"]
    assert f"There is already an endpoint with the name {site.name}" in batch.json()["error"]["message"]


def test_what_is_being_changed_is_not_changed_by_another(site: Site) -> None:
    site.deploy()
    with site.client() as client:
        client.put("/control/online", json=[{"deployment": "blue", "takes_s": 3000}]).raise_for_status()
        body = site.get(site.blue)
        first = client.patch(site.blue, json={"sku": {"capacity": 1}})
        second, third = client.put(site.blue, json=body), client.patch(site.blue, json={"tags": {"a": "b"}})
        client.post("/control/clock/advance", json={"seconds": 3000}).raise_for_status()
        wait_for(lambda: site.state() == "Succeeded", "the first change has ended")
        skus = client.get(f"{site.blue}/skus").json()["value"]

    assert [first.status_code, second.status_code, third.status_code] == [202, 409, 409]
    assert "blue is Updating: another operation is in progress on it" in second.json()["error"]["message"]
    assert site.get(site.blue)["sku"]["capacity"] == 1
    assert skus[0]["capacity"]["maximum"] == 50


def test_what_a_workspace_serves_ends_with_it_and_its_names_are_free_again(site: Site) -> None:
    other = attrs.evolve(site, workspace=WORKSPACE_ID.replace("/workspaces/local", "/workspaces/passing"))
    with site.client() as client:
        client.put(other.workspace, json={"location": "westeurope", "properties": {}}).raise_for_status()
        other.deploy()
        taken = client.put(site.path, json={"properties": {}})
        client.delete(other.workspace).raise_for_status()
        wait_for(lambda: not site.processes(), "its processes have ended")
        free = client.put(site.path, json={"properties": {}})

    assert [taken.status_code, free.status_code] == [400, 201]


def test_a_deployment_that_is_deleted_is_not_left_in_the_traffic(site: Site) -> None:
    site.deploy()
    body = site.get(site.blue)
    site.put(f"{site.path}/deployments/green", body)
    site.put(site.path, {"properties": {"authMode": "Key", "traffic": {"blue": 100, "green": 0}}})

    with site.client() as client:
        client.delete(f"{site.path}/deployments/green").raise_for_status()

    assert site.get(site.path)["properties"]["traffic"] == {"blue": 100}

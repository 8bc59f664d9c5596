"""An online endpoint of a test's own, made and asked over REST alone."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import httpx
from azure.storage.blob import BlobServiceClient

from azureml_emulator.names import WorkspaceName, blob_store_container
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import ARM_ID, JUDGES, WORKSPACE, Emulator, wait_for
from tests.contract.controlled import client_of

Json = dict[str, Any]
CONTAINER = blob_store_container(WorkspaceName.parse(WORKSPACE))
VERSION = "api-version=2024-10-01"


@attrs.frozen
class Scoring:
    """An endpoint, and a client of the emulator's plain port."""

    emulator: Emulator
    client: httpx.Client
    name: str = attrs.field(factory=lambda: f"ep-{uuid.uuid4().hex[:8]}")

    @classmethod
    @contextlib.contextmanager
    def of(cls, emulator: Emulator) -> Iterator[Scoring]:
        with client_of(emulator) as client:
            yield cls(emulator, client)

    @property
    def arm_id(self) -> str:
        return f"{ARM_ID}/onlineEndpoints/{self.name}"

    @property
    def uri(self) -> str:
        return str(self.client.get(f"{self.arm_id}?{VERSION}").json()["properties"]["scoringUri"])

    @property
    def key(self) -> str:
        return str(self.client.post(f"{self.arm_id}/listKeys?{VERSION}").json()["primaryKey"])

    @property
    def blobs(self) -> BlobServiceClient:
        credential = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
        return BlobServiceClient(f"{self.emulator.addresses.blob}/{DEV_ACCOUNT}", credential=credential)

    def put(self, mode: str = "Key", *, mirror: dict[str, int] | None = None, **traffic: int) -> None:
        """Create the endpoint, or change its traffic."""
        properties = {"authMode": mode, "traffic": traffic, "mirrorTraffic": mirror or {}}
        self._done(self.client.put(f"{self.arm_id}?{VERSION}", json=_resource(properties)))

    def deploy(self, color: str, folder: str = "collecting", *, instances: int = 1, **properties: Any) -> None:
        """Create a deployment of a judge's script, or change one."""
        environment = f"{ARM_ID}/environments/scoring/versions/1"
        image = {"image": "mcr.microsoft.com/azureml/minimal-py312-inference"}
        assert self.client.put(f"{environment}?{VERSION}", json={"properties": image}).is_success
        code = self._code(JUDGES / "online" / folder)
        sent = {
            "endpointComputeType": "Managed",
            "instanceType": "Standard_DS3_v2",
            "codeConfiguration": {"codeId": code, "scoringScript": "score.py"},
            "environmentId": environment,
            "environmentVariables": {"COLOR": color},
            "requestSettings": {"requestTimeout": "PT20S", "maxConcurrentRequestsPerInstance": 100},
            **properties,
        }
        body = _resource(sent) | {"sku": {"name": "Default", "capacity": instances}}
        self._done(self.client.put(f"{self.arm_id}/deployments/{color}?{VERSION}", json=body))

    def delete(self, color: str) -> None:
        self._done(self.client.delete(f"{self.arm_id}/deployments/{color}?{VERSION}"))

    def ask(self, given: Json, *, key: str | None = None, **headers: str) -> httpx.Response:
        """Ask for a score."""
        sent = {} if key == "" else {"Authorization": f"Bearer {key or self.key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(self.uri, json=given, headers=sent, timeout=30, trust_env=False)

    def metrics(self, names: str, dimensions: str, *, deployment: str = "") -> Json:
        """Read metrics of the last hour by name, as Azure Monitor serves them."""
        at = int(datetime.fromisoformat(self.client.get("/control/clock").json()["now"]).timestamp()) // 60 * 60
        span = "/".join(f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}" for moment in (at - 3600, at + 60))
        query = {
            "api-version": "2023-10-01",
            "metricnames": names,
            "aggregation": "Average,Total",
            "interval": "PT1M",
            "timespan": span,
            "$filter": dimensions,
            "top": "500",
        }
        resource = f"{self.arm_id}/deployments/{deployment}" if deployment else self.arm_id
        answer = self.client.get(f"{resource}/providers/Microsoft.Insights/metrics", params=query)
        assert answer.status_code == 200, answer.text
        return {one["name"]["value"]: one for one in answer.json()["value"]}

    def _code(self, folder: Path) -> str:
        """Upload a script, and register it as code."""
        name = str(uuid.uuid4())
        blob = self.blobs.get_blob_client(CONTAINER, f"LocalUpload/{name}/score.py")
        blob.upload_blob((folder / "score.py").read_bytes(), overwrite=True)
        uri = blob.url.rpartition("/")[0]
        arm_id = f"{ARM_ID}/codes/{name}/versions/1"
        answer = self.client.put(f"{arm_id}?{VERSION}", json={"properties": {"codeUri": uri}})
        assert answer.is_success, answer.text
        return arm_id

    def _done(self, answer: httpx.Response) -> None:
        """Wait until an operation has succeeded."""
        assert answer.is_success, answer.text
        operation = answer.headers["Azure-AsyncOperation"]
        last: Json = {}

        def ended() -> bool:
            last.update(self.client.get(operation).json())
            return last["status"] in {"Succeeded", "Failed", "Canceled"}

        wait_for(ended, f"{operation} has ended")
        assert last["status"] == "Succeeded", last


def _resource(properties: Json) -> Json:
    return {"location": "westeurope", "tags": {}, "properties": properties}


@attrs.define
class Load:
    """Requests at a steady rate, each on its own time whatever the others take.

    Attributes:
        seen: How many answers there were of each status and deployment.
    """

    uri: str
    key: str
    rate: float
    seen: Counter[tuple[int, str]] = attrs.field(factory=Counter)
    stopped: bool = False

    async def during(self, *steps: Callable[[], object]) -> None:
        """Ask before, between and after some steps, each of which blocks in a thread."""
        asking = asyncio.create_task(self._ask_all())
        try:
            for step in steps:
                await asyncio.sleep(0.5)
                await asyncio.to_thread(step)
            await asyncio.sleep(0.5)
        finally:
            self.stopped = True
            await asking

    async def _ask_all(self) -> None:
        loop = asyncio.get_running_loop()
        began, tasks = loop.time(), set[asyncio.Task[None]]()
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as client:
            while not self.stopped:
                tasks.add(asyncio.create_task(self._ask(client)))
                await asyncio.sleep(max(0.0, began + len(tasks) / self.rate - loop.time()))
            await asyncio.gather(*tasks)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        try:
            answer = await client.post(self.uri, json={"data": [[1]]}, headers={"Authorization": f"Bearer {self.key}"})
            self.seen[answer.status_code, answer.headers.get("azureml-model-deployment", "")] += 1
        except httpx.HTTPError as error:
            self.seen[0, repr(error)] += 1

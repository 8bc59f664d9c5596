"""Blobs that are tested by tasks, on a real Azurite and a real emulator; Airflow's part is a few lines."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
from attrs import define, field
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.operators.data_tests import AzureMLDataTestOperator
from azureml_emulator.tokens import issue
from demo.azure import ACCOUNT, WORKSPACE_ID, Emulator
from tests.unit.provider.arrivals.scoring import Store, TaskInstance

HEAD = "id,age,sex"
RULES: dict[str, Any] = {
    "schema": 1,
    "name": "patients",
    "columns": {"id": {"type": "integer", "unique": True}, "age": {"type": "number", "at_least": 0, "at_most": 120}},
    "rows": {"at_least": 2},
}
DRIFT = {**RULES, "distribution": {"columns": {"age": {"psi": 0.2}, "sex": {"psi": 0.2}}}}


def table(rows: int = 400, *, age: float = 50, seed: int = 1, bad: bool = False) -> bytes:
    """Make a CSV of people of about that age."""
    made = random.Random(seed)  # noqa: S311  # data of a test
    lines = [f"{number},{min(max(made.gauss(age, 8), 1), 119):.2f},{made.choice('fm')}" for number in range(rows)]
    return "\n".join([HEAD, *lines, *(["0,-7,f"] if bad else [])]).encode() + b"\n"


GOOD, BAD = table(), table(bad=True)


@define
class World:
    """A container of blobs, and tasks that test them."""

    emulator: Emulator
    service: BlobServiceClient
    incoming: ContainerClient
    memory: Store = field(factory=Store)
    ti: TaskInstance = field(factory=lambda: TaskInstance(run_id="r1", task_id="test"))

    @property
    def kept(self) -> str:
        return f"kept{self.incoming.container_name}"

    def put(self, path: str, content: bytes) -> str:
        """Write a blob; its eTag."""
        written = self.incoming.upload_blob(path, content, overwrite=True)
        return str(written.get_blob_properties().etag).strip('"')

    def uri(self, path: str) -> str:
        return f"{self.incoming.url}/{path}"

    def arrival(self, path: str, etag: str) -> dict[str, Any]:
        """Write a blob's arrival as a claim returns it."""
        return Arrival(
            account=ACCOUNT,
            container=str(self.incoming.container_name),
            path=path,
            etag=etag,
            size_bytes=None,
            sequencer="",
            time="2026-11-21T10:00:00+00:00",
            api="PutBlob",
            url=self.uri(path),
        ).to_wire()

    def operator(self, data: Any, *, kind: type[AzureMLDataTestOperator] = AzureMLDataTestOperator, **more: Any) -> Any:
        given = {
            "spec": None if "schema" in more else RULES,
            "quarantine": f"{self.emulator.blob}/{ACCOUNT}/{self.kept}",
            "deferrable": False,
            "poll_interval": timedelta(seconds=0.1),
            "follow": "none",
        }
        return kind(task_id="test", data=data, **{**given, **more})

    def test(self, data: Any, **more: Any) -> Any:
        return self.operator(data, **more).execute(self.context)

    @property
    def context(self) -> Any:
        return {"ti": self.ti, "task_state_store": self.memory}

    @property
    def told(self) -> Any:
        """What a no has left in XCom."""
        return self.ti.pushed["return_value"]

    def read(self, uri: str) -> bytes:
        """Read what a datastore's URI names."""
        url = f"{self.emulator.http}{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01"
        bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        found = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
        container = self.service.get_container_client(found["properties"]["containerName"])
        return bytes(container.download_blob(uri.partition("/paths/")[2]).readall())

    def in_quarantine(self) -> dict[str, bytes]:
        container = self.service.get_container_client(self.kept)
        if not container.exists():
            return {}
        return {str(name): container.download_blob(name).readall() for name in container.list_blob_names()}

    def jobs(self) -> list[str]:
        """Name the jobs of this world's task."""
        url = f"{self.emulator.http}{WORKSPACE_ID}/jobs?api-version=2024-01-01-preview"
        page = httpx.get(url, trust_env=False, timeout=30).raise_for_status().json()
        return [one["name"] for one in page["value"] if self.incoming.container_name in json.dumps(one)]


@contextmanager
def world_of(emulator: Emulator) -> Iterator[World]:
    """Make a container of blobs."""
    with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
        incoming = service.create_container(f"in{uuid.uuid4().hex[:12]}")
        yield World(emulator=emulator, service=service, incoming=incoming)

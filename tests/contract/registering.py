"""Registering models on the real emulator and the real Azurite: jobs to register, and registrars that die."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import attrs
import httpx

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.models import Registrar, open_registrar
from airflow_azureml.client.register_store import Shelf
from airflow_azureml.client.sdk import environment
from airflow_azureml.core.documents import Document
from airflow_azureml.core.models import Registration
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.wire.http import Request, Response
from azureml_emulator.tokens import issue
from demo.processes import wait_until
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator

T = TypeVar("T")

BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}


def settings_of(emulator: Emulator, named: str = WORKSPACE) -> ConnectionSettings:
    """Name a workspace of the emulator, as a connection does."""
    subscription, group, workspace = named.split("/")
    told = {
        "subscription_id": subscription,
        "resource_group": group,
        "workspace": workspace,
        "authentication": "emulator",
        "endpoint": emulator.addresses.http,
    }
    return ConnectionSettings.parse(told, conn_id="test")


@attrs.frozen
class Trained:
    """A job that is completed, whose output `model` has a folder for each model."""

    job: str
    source: str

    def registration(self, model: str, path: str = "a", **more: Any) -> Registration:
        return Registration(model=model, job=self.job, output="model", path=path, **more)


@attrs.define
class Workspace:
    """The workspace, as somebody outside sees it and changes it."""

    emulator: Emulator
    http: httpx.Client

    def call(self, method: str, path: str, body: object = None) -> Any:
        params = {"api-version": "2023-08-01-preview", "listViewType": "All"}
        answer = self.http.request(method, f"{ARM_ID}/{path}", params=params, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def train(
        self,
        folders: Sequence[str] = ("a", "b", "c"),
        *,
        command: str = "",
        ends: Sequence[str] = ("Completed", "Failed"),
    ) -> Trained:
        """Run a job that writes a file into each of these folders of its output."""
        name = f"train-{uuid.uuid4().hex[:10]}"
        write = f"cd ${{{{outputs.model}}}} && for f in {' '.join(folders)}; do mkdir -p $f; echo $f > $f/MLmodel; done"
        source = f"azureml://datastores/workspaceblobstore/paths/trained/{name}/"
        job = {
            "jobType": "Command",
            "command": command or write,
            "environmentId": "azureml://registries/azureml/environments/x/versions/1",
            "outputs": {"model": {"jobOutputType": "uri_folder", "uri": source}},
        }
        self.call("PUT", f"jobs/{name}", {"properties": job})
        assert wait_until(lambda: self.status(name) in ends, deadline_s=60), self.status(name)
        return Trained(name, source)

    def status(self, job: str) -> str:
        return str(self.call("GET", f"jobs/{job}")["properties"]["status"])

    def versions(self, model: str) -> dict[str, dict[str, Any]]:
        """List all versions of a model, by number, with Azure's properties of each."""
        found: dict[str, dict[str, Any]] = {}
        link = f"{ARM_ID}/models/{model}/versions?api-version=2023-08-01-preview&listViewType=All"
        while link:
            answer = self.http.get(link)
            page = {"value": []} if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()
            found |= {one["name"]: one["properties"] for one in page["value"]}
            link = page.get("nextLink", "")
        return found

    def stages(self, model: str) -> dict[str, str]:
        """Tell the tag of each version."""
        return {name: one["tags"].get("stage", "") for name, one in self.versions(model).items()}

    def put(self, model: str, version: str, **properties: Any) -> None:
        """Register a version, as somebody outside does."""
        body = {"modelType": "custom_model", "modelUri": "azureml://datastores/a/paths/b/", **properties}
        self.call("PUT", f"models/{model}/versions/{version}", {"properties": body})

    def delete(self, model: str, version: str) -> None:
        self.call("DELETE", f"models/{model}/versions/{version}")

    def archive(self, model: str, version: str) -> None:
        found = self.versions(model)[version]
        self.put(model, version, **{**found, "isArchived": True})


class Died(BaseException):
    """The worker is gone."""


@attrs.define
class Life:
    """How many writes a worker gets done before it dies."""

    left: int = 1_000_000
    done: int = 0

    def spend(self) -> None:
        if self.done >= self.left:
            raise Died
        self.done += 1


class MortalClient(Client):
    """Dies before one of its writes."""

    life: Life

    def _send(self, request: Request) -> Response:
        if request.method != "GET":
            self.life.spend()
        return super()._send(request)


@attrs.define
class MortalShelf:
    """Dies before one of its writes."""

    inner: Shelf
    life: Life

    @property
    def url(self) -> str:
        return self.inner.url

    def read(self, name: str) -> Document | None:
        return self.inner.read(name)

    def write(self, name: str, text: str, *, over: str = "") -> Document | None:
        self.life.spend()
        return self.inner.write(name, text, over=over)


@contextlib.contextmanager
def mortal_registrar(settings: ConnectionSettings, life: Life) -> Iterator[Registrar]:
    """Open a registrar that dies."""
    with open_registrar(settings) as opened, MortalClient(settings) as client:
        client.life = life
        yield Registrar(settings=settings, client=client, shelf=MortalShelf(opened.shelf, life))


@contextlib.contextmanager
def in_reach(emulator: Emulator) -> Iterator[None]:
    """Let all threads of this process reach the emulator's blobs, for as long as the block lasts."""
    wanted = {name: value for name, value in emulator.env.items() if name not in os.environ or name.isupper()}
    with environment(wanted):
        yield

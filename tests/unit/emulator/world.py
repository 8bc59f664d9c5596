"""A workspace of a test's own: store, storage and runner on the real Azurite, with few words to use them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from azure.storage.blob.aio import ContainerClient

from azureml_emulator.names import WorkspaceName
from azureml_emulator.runner import Runner
from azureml_emulator.settings import Addresses, Settings
from azureml_emulator.storage import Storage
from azureml_emulator.store import Run, Store

Json = dict[str, Any]

DEADLINE_S = 60.0
#: Nobody listens there: jobs in these tests do not speak to the emulator.
ADDRESSES = Addresses(
    http="http://127.0.0.1:9",
    tls="https://127.0.0.1:9",
    proxy="http://127.0.0.1:9",
    blob="http://127.0.0.1:9",
    queue="",
)


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until something is true, or fail saying what was not."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(0.02)


@attrs.frozen(kw_only=True)
class World:
    """One workspace, and the runner of its jobs."""

    store: Store
    storage: Storage
    settings: Settings
    runner: Runner
    workspace: str
    shared: Path

    @classmethod
    def make(cls, settings: Settings, shared: Path) -> World:
        store = Store(settings.state_dir)
        storage = Storage(store, settings)
        workspace = WorkspaceName.parse(settings.workspaces[0]).arm_id
        for datastore in ("workspaceblobstore", "workspaceartifactstore"):
            container = f"{datastore[9:12]}-{WorkspaceName.parse(settings.workspaces[0]).guid}"
            properties = {"datastoreType": "AzureBlob", "containerName": container}
            store.put(f"{workspace}/datastores/{datastore}", {"properties": properties})
        runner = Runner(store, storage, settings, ADDRESSES)
        return cls(store=store, storage=storage, settings=settings, runner=runner, workspace=workspace, shared=shared)

    def again(self) -> World:
        """What a new process would see: the same files, nothing of what was in memory."""
        return World.make(self.settings, self.shared)

    # jobs

    def command(self, command: str, **more: Any) -> Run:
        """Submit a command job."""
        run = Run(
            workspace=self.workspace,
            name=f"job-{uuid.uuid4().hex[:12]}",
            kind="Command",
            status="Starting",
            spec={"jobType": "Command", "command": command, **more.pop("spec", {})},
            **more,
        )
        return self._submit(run)

    def component(self, command: str, **spec: Any) -> str:
        """Put a command component; it is run every time unless the specification says otherwise."""
        return self.put_component({"type": "command", "command": command, "is_deterministic": "False", **spec})

    def put_component(self, spec: Json) -> str:
        arm_id = f"{self.workspace}/components/c-{uuid.uuid4().hex[:12]}/versions/1"
        self.store.put(arm_id, {"id": arm_id, "properties": {"componentSpec": {"name": "c", **spec}}})
        return arm_id

    def pipeline(self, jobs: Mapping[str, Json], *, settings: Json | None = None, **more: Any) -> Run:
        """Submit a pipeline job."""
        spec = {"jobType": "Pipeline", "jobs": dict(jobs), "settings": settings or {}}
        return self._submit(self._pipeline(spec, more))

    def invoke(self, component_id: str, **more: Any) -> Run:
        """Submit what an endpoint would for a pipeline component."""
        spec = {"jobType": "Pipeline", "componentId": component_id, "settings": {}}
        return self._submit(self._pipeline(spec, more))

    def _pipeline(self, spec: Json, more: Json) -> Run:
        name = f"pipe-{uuid.uuid4().hex[:12]}"
        return Run(workspace=self.workspace, name=name, kind="Pipeline", status="Preparing", spec=spec, **more)

    def _submit(self, run: Run) -> Run:
        assert self.store.add_run(run)
        self.runner.submit(run)
        return run

    def now(self, run: Run) -> Run:
        found = self.store.run(run.workspace, run.name)
        assert found is not None
        return found

    def steps(self, run: Run) -> dict[str, Run]:
        return {str(step.node): step for step in self.store.runs(run.workspace, parent=run.name)}

    async def ended(self, run: Run) -> Run:
        await eventually(lambda: self.now(run).is_final, f"{run.name} ended (it is {self.now(run).status})")
        return self.now(run)

    async def said(self, run: Run, text: str) -> None:
        """Wait until a job has written a text to its log."""
        await eventually(lambda: text in self.runner.log(run.workspace, run.name), f"{run.name} said {text!r}")

    # blobs

    async def put_blob(self, path: str, data: bytes = b"x") -> str:
        """Put a blob into the workspace's datastore and give its URI."""
        uri = f"azureml://datastores/workspaceblobstore/paths/{path}"
        place = self.storage.resolve(uri, self.workspace)
        await self.storage.ensure_container(place.container)
        await self.container(place.container).upload_blob(place.path, data, overwrite=True)
        return uri

    async def blobs(self, uri: str) -> dict[str, bytes]:
        """Read all blobs whose names begin with the path of a URI; keys are what follows."""
        place = self.storage.resolve(uri, self.workspace)
        container = self.container(place.container)
        names = [name async for name in container.list_blob_names(name_starts_with=place.path)]
        return {name.removeprefix(place.path): await (await container.download_blob(name)).readall() for name in names}

    def container(self, name: str) -> ContainerClient:
        return self.storage._service.get_container_client(name)


def node(component: str, inputs: Mapping[str, str] | None = None, **more: Any) -> Json:
    """Write a pipeline's node as the SDK does."""
    outputs = {name: {"value": value, "type": "literal"} for name, value in more.pop("outputs", {}).items()}
    given = {name: {"job_input_type": "literal", "value": value} for name, value in (inputs or {}).items()}
    return {"type": "command", "componentId": component, "inputs": given, "outputs": outputs, **more}


def text(**values: str) -> dict[str, Json]:
    return {name: {"jobInputType": "literal", "value": value} for name, value in values.items()}


def files(*uris: tuple[str, str], kind: str = "uri_file") -> dict[str, Json]:
    return {name: {"jobInputType": kind, "uri": uri, "mode": "ReadOnlyMount"} for name, uri in uris}


def declared(kind: str, names: Sequence[str]) -> dict[str, Json]:
    return {name: {"type": kind} for name in names}

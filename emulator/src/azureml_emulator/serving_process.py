"""One process of an online deployment, seen from the emulator, and the files that it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path

import attrs
from azure.core.exceptions import AzureError

from azureml_emulator.batch_driver import place_model
from azureml_emulator.names import WorkspaceName
from azureml_emulator.online_specs import Spec
from azureml_emulator.processes import INHERITED, SYSTEM_PATH
from azureml_emulator.storage import Storage, StorageError

WORKER = Path(__file__).with_name("serving_worker.py")


class StartError(Exception):
    """A deployment cannot be brought to what it should be.

    Attributes:
        code: Azure's word for the error.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = code


@attrs.define(eq=False)
class Instance:
    """A process that is ready.

    Attributes:
        url: Its root; scores at ``/score``.
        busy: The requests that are in it now, as whoever sends them counts.
    """

    url: str
    busy: int = 0


def serving_folder(state_dir: Path) -> Path:
    """Where deployments have their folders; all in it is of one that serves, or of one that an emulator left dying."""
    return state_dir.absolute() / "serving"


@attrs.frozen
class Bundle:
    """The files of a deployment as it is at one time, all below ``folder``.

    Attributes:
        python: What runs it.
        collecting: The environment variables by which a process knows what to collect.
    """

    spec: Spec
    folder: Path
    python: Path
    collecting: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def code(self) -> Path:
        """Where the code lies and the processes start."""
        return self.folder / "code"

    @property
    def models(self) -> Path:
        """Azure's AZUREML_MODEL_DIR."""
        return self.folder / "azureml-models"

    @classmethod
    async def fetch(cls, spec: Spec, storage: Storage, folder: Path, *, python: Path) -> Bundle:
        """Bring model and code into a folder of their own.

        Args:
            spec: What is to be run.
            storage: Where the files are.
            folder: Where the folder is made.
            python: What runs it.

        Raises:
            StartError: One is not there.
        """
        bundle = cls(spec, folder / uuid.uuid4().hex, python)
        bundle.code.mkdir(parents=True)
        try:
            await bundle._download(storage)
        except BaseException:
            bundle.remove()
            raise
        return bundle

    async def _download(self, storage: Storage) -> None:
        spec = self.spec
        try:
            if spec.code:
                await storage.download(storage.resolve(spec.code, spec.workspace), self.code)
            if spec.model:
                place = storage.resolve(spec.model, spec.workspace)
                found = await storage.download(place, self.folder / "fetched")
                place_model(found, place.path.rstrip("/").rpartition("/")[2] or "model", self.models)
        except (StorageError, AzureError, OSError) as error:
            raise StartError("ResourceNotFound", f"The files of the deployment cannot be read: {error}") from error

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def variables(bundle: Bundle, *, temporary: Path) -> dict[str, str]:
    """Make the environment variables of a process; the deployment's own win."""
    spec, workspace = bundle.spec, WorkspaceName.of_arm_id(bundle.spec.workspace)
    model = {"AZUREML_MODEL_DIR": str(bundle.models)} if spec.model else {}
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "PATH": f"{bundle.python.parent}:{SYSTEM_PATH}",
        "TMPDIR": str(temporary),
        "PYTHONUNBUFFERED": "1",
        "AML_APP_ROOT": str(bundle.code),
        "AZUREML_ENTRY_SCRIPT": spec.script,
        "AZUREML_ARM_SUBSCRIPTION": workspace.subscription,
        "AZUREML_ARM_RESOURCEGROUP": workspace.group,
        "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
        "SERVICE_NAME": spec.name,
        **model,
        **bundle.collecting,
        **spec.variables,
    }


@attrs.define(eq=False)
class ScoringProcess:
    """A process that prepares itself, or scores."""

    process: asyncio.subprocess.Process
    told: asyncio.StreamReader
    temporary: Path

    @classmethod
    async def start(cls, bundle: Bundle, log: Path) -> ScoringProcess:
        """Start one; it ends when this process does, however that ends.

        Args:
            bundle: What it runs.
            log: What it prints is appended to this file.
        """
        temporary = bundle.folder / f"tmp-{uuid.uuid4().hex[:8]}"
        temporary.mkdir()
        spec = bundle.spec
        said = {"script": spec.script, "code": str(bundle.code), "name": spec.endpoint, "workers": spec.workers}
        ready, write = os.pipe()
        try:
            with log.open("ab") as out:
                process = await asyncio.create_subprocess_exec(
                    str(bundle.python),
                    str(WORKER),
                    json.dumps(said),
                    str(write),
                    cwd=bundle.code,
                    env=variables(bundle, temporary=temporary),
                    stdin=asyncio.subprocess.PIPE,  # nothing is written: its end is ours
                    stdout=out,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(write,),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(ready)
            raise StartError("ResourceNotReady", f"No process can be started: {error}") from error
        finally:
            os.close(write)
        return cls(process, await _reading(ready), temporary)

    async def ready(self) -> str | None:
        """Wait until it is ready, and return its URL; None when it ended instead."""
        line = await self.told.readline()
        return f"http://127.0.0.1:{json.loads(line)['port']}" if line else None

    async def ended(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        return await self.process.wait()

    async def end(self) -> None:
        """End it and all that it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        shutil.rmtree(self.temporary, ignore_errors=True)


async def _reading(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader

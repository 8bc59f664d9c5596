"""Running one command: its code and inputs fetched, its process watched, its outputs and log brought away."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from azure.core.exceptions import AzureError

from azureml_emulator import output_assets
from azureml_emulator.durations import seconds
from azureml_emulator.environments import EnvironmentBuildError, Environments
from azureml_emulator.joblogs import JobLog, log_name, log_path
from azureml_emulator.layout import compute_name
from azureml_emulator.names import is_plain
from azureml_emulator.processes import GRACE_S, LOOK_S, ProcessGroup, environment
from azureml_emulator.queues import ComputeError, NodeQueues
from azureml_emulator.settings import Addresses, Settings
from azureml_emulator.steps import FILE_TYPES, LITERAL_TYPES, SpecificationError, output_uri, substitute
from azureml_emulator.storage import BlobPlace, Storage, StorageError, long_uri
from azureml_emulator.store import Run, Store, now

Json = dict[str, Any]

#: How often the log's blob follows the log, in seconds.
SHIP_S = 0.5
ARTIFACTS = "workspaceartifactstore"
#: The mode of an input of which the job is given the URI alone.
DIRECT = "direct"


class JobError(Exception):
    """A job ended badly.

    Attributes:
        error: Run history's inner error object.
        status: The run's final word.
        exit_code: The process's, where there was one.
    """

    def __init__(self, message: str, *inner: str, code: str = "UserError", **ending: Any) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "innerError": {"code": inner[0]} if inner else None}
        self.status: str = ending.get("status", "Failed")
        self.exit_code: int | None = ending.get("exit_code")


@attrs.frozen(kw_only=True)
class Bench:
    """The folders of one run, all below ``folder``, which is removed at its end."""

    folder: Path

    @classmethod
    def make(cls, state_dir: Path) -> Bench:
        """Make the folders of a run, under a name of their own."""
        bench = cls(folder=runs_folder(state_dir) / uuid.uuid4().hex)
        for folder in (bench.code, bench.folder / "tmp"):
            folder.mkdir(parents=True)
        return bench

    @property
    def code(self) -> Path:
        """Where the job's code lies and the job starts."""
        return self.folder / "code"

    def input(self, name: str) -> Path:
        """Where an input lies; made ready."""
        folder = self._place("inputs", name)
        folder.mkdir(parents=True)
        return folder

    def output(self, name: str, kind: str) -> Path:
        """Where the job writes an output: a folder, or the path of one file; made ready."""
        folder = self._place("outputs", name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name if kind in FILE_TYPES else folder

    def _place(self, what: str, name: str) -> Path:
        if not is_plain(name):
            raise SpecificationError(f"{name!r} is no name for one of its {what}.")
        return self.folder / what / name


def runs_folder(state_dir: Path) -> Path:
    """Where runs have their folders; all in it is of a run that lives, or of one that an emulator left dying."""
    return state_dir.absolute() / "runs"


class CommandRunner:
    """Runs command jobs and steps, as many at once as their computes have nodes and this machine may have processes."""

    def __init__(self, store: Store, storage: Storage, settings: Settings, addresses: Addresses) -> None:
        self._store = store
        self._storage = storage
        self._settings = settings
        self._http = addresses.http
        self._slots = asyncio.Semaphore(settings.max_steps)
        self._environments = Environments(store, settings)
        self.queues = NodeQueues(store, settings)
        self.grace_s = GRACE_S

    async def run(self, run: Run) -> None:
        """Run it to its end.

        Raises:
            JobError: It did not succeed.
            SpecificationError: It cannot be run as it is written.
            asyncio.CancelledError: It was told to end; its process group has ended.
        """
        compute, nodes = compute_name(run.spec.get("computeId")), _instances(run)
        try:
            async with self.queues.hold(run.workspace, compute, nodes=nodes, waits=lambda: self._queue(run)):
                await self._run_on_nodes(run)
        except ComputeError as error:
            raise JobError(f"Job {run.name}: {error}", error.code) from error

    async def _run_on_nodes(self, run: Run) -> None:
        if self._slots.locked():
            self._queue(run)
        async with self._slots:
            self._change(run, status="Preparing")
            bench = Bench.make(self._settings.state_dir)
            try:
                await self._run(run, bench)
            except (StorageError, AzureError, OSError) as error:
                raise JobError(f"Job {run.name}: {error}", "StorageAccessFailed") from error
            finally:
                shutil.rmtree(bench.folder, ignore_errors=True)

    async def _run(self, run: Run, bench: Bench) -> None:
        job_log = self._log(run)
        job_log.open()
        await job_log.ship()
        code = run.spec.get("codeId") or run.spec.get("code")
        if code:
            await self._storage.download(self._storage.resolve(str(code), run.workspace), bench.code)
        values = await self._fetch_inputs(run, bench)
        outputs = self._outputs(run)
        paths = {name: bench.output(name, output["jobOutputType"]) for name, output in outputs.items()}
        values |= {f"outputs.{name}": str(path) for name, path in paths.items()}
        command = substitute(str(run.spec["command"]), values)
        env = environment(run, await self._python(run, job_log), http=self._http, folder=bench.folder)
        data = [name for name, given in run.inputs.items() if given.get("jobInputType", "literal") not in LITERAL_TYPES]
        env |= {f"AZURE_ML_INPUT_{name}": values[f"inputs.{name}"] for name in data}
        env |= {f"AZURE_ML_OUTPUT_{name}": str(path) for name, path in paths.items()}
        self._change(run, status="Running", started=now())
        exit_code = await self._watch(
            ProcessGroup.start(command, cwd=bench.code, env=env, log=job_log.path), job_log, _limit(run)
        )
        self._change(run, status="Finalizing", exit_code=exit_code)
        await self._keep_artifacts(run, bench)
        if exit_code != 0:
            raise JobError(
                f"Execution failed. The process of job {run.display_name or run.name} exited with status code"
                f" {exit_code}. The last lines of its log:\n{job_log.tail()}",
                "UserTrainingScriptFailed",
                exit_code=exit_code,
            )
        await self._keep_outputs(run, outputs, paths)

    async def _python(self, run: Run, job_log: JobLog) -> Path:
        """Find or make the Python of the run's environment; how that goes is in the log."""
        try:
            return await self._environments.python(
                run.spec.get("environmentId") or run.spec.get("environment"), job_log.path
            )
        except EnvironmentBuildError as error:
            raise JobError(f"Image build failed: {error}", "ImageBuildFailure") from error
        finally:
            await job_log.try_ship()

    async def _fetch_inputs(self, run: Run, bench: Bench) -> dict[str, str]:
        """Bring all inputs, and say what each placeholder of the command means.

        Raises:
            JobError: One is not there; the process is not started.
        """
        values = {}
        for name, given in run.inputs.items():
            kind = str(given.get("jobInputType", "literal"))
            if kind in LITERAL_TYPES:
                values[f"inputs.{name}"] = str(given["value"])
                continue
            if str(given.get("mode")).lower() == DIRECT:
                values[f"inputs.{name}"] = self._direct(run, name, given)
                continue
            folder = bench.input(name)
            wanted = "file" if kind in FILE_TYPES else "folder" if kind in ("uri_folder", "mlflow_model") else "any"
            try:
                place = self._storage.resolve(given["uri"], run.workspace)
                values[f"inputs.{name}"] = str(await self._storage.download(place, folder, kind=wanted))
            except StorageError as error:
                if name in run.spec.get("may_be_empty", ()):
                    values[f"inputs.{name}"] = str(folder)
                    continue
                raise JobError(
                    f"DataAccessError(NotFound): input {name!r} ({kind}) at {given['uri']} cannot be read: {error}",
                    "DataAccessError",
                ) from error
        return values

    def _direct(self, run: Run, name: str, given: Json) -> str:
        try:
            return self._storage.direct(given["uri"], run.workspace)
        except StorageError as error:
            raise JobError(f"DataAccessError(NotFound): input {name!r}: {error}", "DataAccessError") from error

    async def _watch(self, group: ProcessGroup, job_log: JobLog, limit_s: float | None) -> int:
        """Wait for the end of a process while its log goes to the blob; whatever happens, its group ends."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        try:
            ship_at = 0.0
            while (exit_code := group.exit_code) is None:
                if deadline is not None and time.monotonic() >= deadline:
                    raise JobError(
                        f"The job ran into its time limit of {limit_s:g} s.", "JobTimeout", status="Canceled"
                    )
                if time.monotonic() >= ship_at:
                    await job_log.try_ship()
                    ship_at = time.monotonic() + SHIP_S
                await asyncio.sleep(LOOK_S)
            return exit_code
        finally:
            await group.end(0 if group.exit_code is not None else self.grace_s)
            await job_log.try_ship()

    # outputs

    def _outputs(self, run: Run) -> dict[str, Json]:
        """Give each named output its place; ``default`` is the job's own ./outputs."""
        found = {}
        for name, output in run.outputs.items():
            if name != "default":
                kind = str(output.get("jobOutputType") or "uri_folder")
                uri = output_uri(run.name, name, kind=kind, given=output.get("uri"))
                found[name] = {**output, "jobOutputType": kind, "uri": long_uri(uri, run.workspace)}
        return found

    async def _keep_outputs(self, run: Run, outputs: Mapping[str, Json], paths: Mapping[str, Path]) -> None:
        for name, output in outputs.items():
            if not paths[name].exists():
                raise JobError(f"The job succeeded, but did not write its output {name} ({output['jobOutputType']}).")
            await self._storage.upload(paths[name], self._storage.resolve(output["uri"], run.workspace))
            if output.get("assetName"):
                output_assets.register(self._store, run, output)
        self._change(run, outputs={**run.outputs, **outputs})

    async def _keep_artifacts(self, run: Run, bench: Bench) -> None:
        """Keep ./outputs and ./logs, of a job that failed too."""
        for name in ("outputs", "logs"):
            if (folder := bench.code / name).is_dir():
                await self._storage.upload(folder, self.artifact(run, name))

    # logs

    def artifact(self, run: Run, path: str) -> BlobPlace:
        """Where a run keeps a file of its own."""
        uri = f"azureml://datastores/{ARTIFACTS}/paths/ExperimentRun/dcid.{run.name}/{path}"
        return self._storage.resolve(uri, run.workspace)

    def _log(self, run: Run) -> JobLog:
        path = log_path(self._settings.state_dir, run.workspace, run.name)
        return JobLog(path, self._storage, self.artifact(run, log_name(run)))

    def _queue(self, run: Run) -> None:
        self._change(run, status="Queued")

    def _change(self, run: Run, **changes: Any) -> None:
        self._store.change_run(run.workspace, run.name, **changes)


def _limit(run: Run) -> float | None:
    """Read the job's time limit in seconds; None for none."""
    timeout = (run.spec.get("limits") or {}).get("timeout")
    return seconds(str(timeout)) if timeout else None


def _instances(run: Run) -> int:
    """Read how many nodes a job asks for."""
    resources = run.spec.get("resources") or {}
    return max(1, int(resources.get("instanceCount") or resources.get("instance_count") or 1))

"""The jobs that live: started, watched over, cancelled, and ended in the store whatever happens to them."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs

from azureml_emulator.commands import CommandRunner, JobError, runs_folder
from azureml_emulator.joblogs import log_name, log_path
from azureml_emulator.pipelines import PipelineRunner
from azureml_emulator.processes import end_orphans
from azureml_emulator.queues import Nodes
from azureml_emulator.reuse import REUSED_RUN
from azureml_emulator.settings import Addresses, Settings
from azureml_emulator.steps import SpecificationError
from azureml_emulator.storage import Storage
from azureml_emulator.store import Run, Store, now
from azureml_emulator.sweeps import SweepRunner
from azureml_emulator.unrun import not_run

log = logging.getLogger(__name__)

Json = dict[str, Any]
_Key = tuple[str, str]


@attrs.define(eq=False)
class _Live:
    """A run with a task; ``stopped_by`` says why the task was cancelled: ``cancel`` or ``close``."""

    task: asyncio.Task[None]
    stopped_by: str = ""


class Runner:
    """Runs jobs on the event loop it was made on.

    A run that was submitted always gets a final status: from its own end, from `cancel`, from `close`, or from
    `recover` after an emulator that was killed.
    """

    def __init__(self, store: Store, storage: Storage, settings: Settings, addresses: Addresses) -> None:
        self._store = store
        self._storage = storage
        self._settings = settings
        self._commands = CommandRunner(store, storage, settings, addresses)
        self._sweeps = SweepRunner(store, storage, settings, commands=self._commands, lives=self)
        self._pipelines = PipelineRunner(
            store, storage, settings, commands=self._commands, sweeps=self._sweeps.run_step, lives=self
        )
        self._live: dict[_Key, _Live] = {}
        self._scripted_logs: set[_Key] = set()

    # what the server calls

    def recover(self) -> int:
        """End what an emulator that was killed left behind; say how many runs that were.

        Its processes are killed and its temporary folders removed.
        """
        folder = runs_folder(self._settings.state_dir)
        if ended := end_orphans(folder):
            log.warning("Killed %d processes that the emulator before had left running", ended)
        shutil.rmtree(folder, ignore_errors=True)
        lost = self._store.runs(live=True)
        for run in lost:
            log.warning("Job %s was %s when the emulator stopped: Failed", run.name, run.status)
            self._store.change_run(run.workspace, run.name, status="Failed", ended=now(), error=_stopped(run))
        return len(lost)

    def submit(self, run: Run) -> None:
        """Start a run that is in the store; its status says how it goes."""
        works = {"Pipeline": self._pipelines.run, "Sweep": self._sweeps.run}
        self.start(run, not_run(run) or works.get(run.kind, self._commands.run))

    async def cancel(self, workspace: str, name: str, *, ends: bool = True) -> bool:
        """Tell a run and its steps to end, and return at once; False when it has ended already.

        The processes have 5 s after SIGTERM; then the status goes from CancelRequested to Canceled. Without ``ends``
        nothing is told to end: the status is CancelRequested, and processes go on.
        """
        run = self._store.run(workspace, name)
        if run is None or run.is_final:
            return False
        if (script := self._store.script_of(run)) is not None:
            self._store.cancel_scripted(run, takes_s=script.cancel_s if ends else None)
            return True
        family = [run, *(step for step in self._below(run) if not step.is_final)]
        for one in family:
            self._store.change_run(one.workspace, one.name, status="CancelRequested")
        if not ends:
            return True
        if _key(run) in self._live:
            self.stop(run, "cancel")
        else:  # a step whose turn has not come
            self._end(run, {"status": "Canceled"})
        return True

    def _below(self, run: Run) -> list[Run]:
        """List the steps of a pipeline, and those of the pipelines in it."""
        steps = self._store.runs(run.workspace, parent=run.name)
        return steps + [inner for step in steps for inner in self._below(step)]

    async def close(self) -> None:
        """End all runs now: their processes are killed, and they are Failed with that reason."""
        self._commands.grace_s = 0
        tasks = [live.task for live in self._live.values()]
        for live in self._live.values():
            if not live.stopped_by:
                live.stopped_by = "close"
        for run in self._store.runs(live=True):
            if run.parent is None:
                self.stop(run, "close")
        await asyncio.gather(*tasks, return_exceptions=True)

    def log(self, workspace: str, name: str) -> str:
        """Read a run's log so far; empty when there is none."""
        run = self._store.run(workspace, name)
        if run and (script := self._store.script_of(run)):
            return script.log if run.started else ""
        if run and REUSED_RUN in run.properties:  # it has the log of whoever really ran
            name = run.properties[REUSED_RUN]
        try:
            return log_path(self._settings.state_dir, workspace, name).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    async def ship_scripted_log(self, run: Run) -> None:
        """Bring a scripted run's log to where clients read it, once; whoever really runs ships its own."""
        text = self.log(run.workspace, run.name) if run.script else ""
        if not text or _key(run) in self._scripted_logs:
            return
        place = self._commands.artifact(run, log_name(run))
        await self._storage.start_log(place)
        await self._storage.append(place, text.encode())
        self._scripted_logs.add(_key(run))

    def nodes(self, compute_id: str) -> Nodes:
        """Count the nodes of a compute."""
        return self._commands.queues.nodes(compute_id)

    def look_at_queue(self, compute_id: str) -> None:
        """See who of those that wait for a compute can go on, now that it was changed or deleted."""
        self._commands.queues.serve(compute_id)

    # the life of a run

    def start(self, run: Run, work: Callable[[Run], Awaitable[None]]) -> asyncio.Task[None]:
        """Start a run's work; whatever becomes of it, the run gets a final status."""
        key = _key(run)
        task = asyncio.create_task(self._live_through(run, work), name=f"run {run.name}")
        self._live[key] = _Live(task)
        task.add_done_callback(partial(self._done, run))
        return task

    def stop(self, run: Run, why: str) -> None:
        """Cancel a run's task, but never twice: the second time would interrupt its tidying up."""
        live = self._live.get(_key(run))
        if live is not None and not live.task.cancelling():
            live.stopped_by = live.stopped_by or why
            live.task.cancel()

    async def _live_through(self, run: Run, work: Callable[[Run], Awaitable[None]]) -> None:
        """Do a run's work and write down how it ended."""
        try:
            await work(run)
            ending: Json = {"status": "Completed"}
        except asyncio.CancelledError:
            ending = self._ending_of_stop(run)
        except JobError as error:
            ending = {"status": error.status, "error": error.error, "exit_code": error.exit_code}
        except SpecificationError as error:
            ending = {"status": "Failed", "error": JobError(f"Job {run.name} cannot run: {error}", "BadArgument").error}
        except Exception as error:  # a run must end, whatever goes wrong
            log.exception("Job %s failed of the emulator itself", run.name)
            message = f"The emulator could not run job {run.name}: {error!r}. Its log has the traceback."
            ending = {"status": "Failed", "error": JobError(message, code="ServiceError").error}
        self._end(run, ending)

    def _done(self, run: Run, task: asyncio.Task[None]) -> None:
        """Forget a task that ended; one that was cancelled before its first step has not written its end."""
        if task.cancelled():
            self._end(run, self._ending_of_stop(run))
        self._live.pop(_key(run), None)

    def _ending_of_stop(self, run: Run) -> Json:
        if self._live[_key(run)].stopped_by == "close":
            # What it was when it was stopped, not when it began.
            return {"status": "Failed", "error": _stopped(self._store.run(run.workspace, run.name) or run)}
        return {"status": "Canceled"}

    def _end(self, run: Run, ending: Json) -> None:
        ended = now()
        found = self._store.run(run.workspace, run.name)
        started = found.started if found else None
        if started is None and ending["status"] != "Canceled":
            started = ended  # as run history has it for a run that failed before it began
        self._store.change_run(run.workspace, run.name, ended=ended, started=started, **ending)
        log.info("Job %s: %s", run.name, ending["status"])

    def end_unstarted(self, run: Run) -> None:
        """End the steps of a pipeline that nobody will start any more."""
        live = self._live.get(_key(run))
        closing = live is not None and live.stopped_by == "close"
        for child in self._store.runs(run.workspace, parent=run.name, live=True):
            ending: Json = {"status": "Failed", "error": _stopped(child)} if closing else {"status": "Canceled"}
            self._store.change_run(child.workspace, child.name, ended=now(), **ending)


def _key(run: Run) -> _Key:
    return run.workspace.lower(), run.name


def _stopped(run: Run) -> Json:
    message = f"The emulator stopped while job {run.name} was {run.status}. Submit it again under another name."
    return JobError(message, "EmulatorStopped", code="ServiceError").error

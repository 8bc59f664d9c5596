"""The jobs that live: started, watched over, cancelled, and ended in the store whatever happens to them."""

from __future__ import annotations

import asyncio
import logging
import shutil
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs

from azureml_emulator.commands import CommandRunner, JobError, runs_folder
from azureml_emulator.joblogs import JobLog, log_name, log_path
from azureml_emulator.processes import end_orphans
from azureml_emulator.settings import Addresses, Settings
from azureml_emulator.steps import (
    SpecificationError,
    Step,
    effective_inputs,
    failed_nodes_message,
    lay_out,
    ready,
)
from azureml_emulator.storage import Storage, long_uri
from azureml_emulator.store import Run, Store, now

log = logging.getLogger(__name__)

Json = dict[str, Any]
_Key = tuple[str, str]

DEFAULT_DATASTORE = "workspaceblobstore"


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
        self._start(run, self._pipeline if run.kind == "Pipeline" else self._commands.run)

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
        family = [run, *(step for step in self._store.runs(workspace, parent=name) if not step.is_final)]
        for one in family:
            self._store.change_run(one.workspace, one.name, status="CancelRequested")
        if not ends:
            return True
        if _key(run) in self._live:
            self._stop(run, "cancel")
        else:  # a step whose turn has not come
            self._end(run, {"status": "Canceled"})
        return True

    async def close(self) -> None:
        """End all runs now: their processes are killed, and they are Failed with that reason."""
        self._commands.grace_s = 0
        tasks = [live.task for live in self._live.values()]
        for live in self._live.values():
            if not live.stopped_by:
                live.stopped_by = "close"
        for run in self._store.runs(live=True):
            if run.parent is None:
                self._stop(run, "close")
        await asyncio.gather(*tasks, return_exceptions=True)

    def log(self, workspace: str, name: str) -> str:
        """Read a run's log so far; empty when there is none."""
        run = self._store.run(workspace, name)
        if run and (script := self._store.script_of(run)):
            return script.log if run.started else ""
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

    # the life of a run

    def _start(self, run: Run, work: Callable[[Run], Awaitable[None]]) -> asyncio.Task[None]:
        key = _key(run)
        task = asyncio.create_task(self._live_through(run, work), name=f"run {run.name}")
        self._live[key] = _Live(task)
        task.add_done_callback(partial(self._done, run))
        return task

    def _stop(self, run: Run, why: str) -> None:
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
            return {"status": "Failed", "error": _stopped(run)}
        return {"status": "Canceled"}

    def _end(self, run: Run, ending: Json) -> None:
        ended = now()
        found = self._store.run(run.workspace, run.name)
        started = found.started if found else None
        if started is None and ending["status"] != "Canceled":
            started = ended  # as run history has it for a run that failed before it began
        self._store.change_run(run.workspace, run.name, ended=ended, started=started, **ending)
        log.info("Job %s: %s", run.name, ending["status"])

    # pipelines

    async def _pipeline(self, run: Run) -> None:
        """Run a pipeline's steps.

        Raises:
            JobError: A step failed or was cancelled.
            SpecificationError: The pipeline cannot be run as it is written.
        """
        self._store.change_run(run.workspace, run.name, status="Running", started=now())
        diary = self._diary(run)
        steps = {step.node: step for step in self._plan(run)}
        children = {node: _child(run, step) for node, step in steps.items()}
        for child in children.values():
            self._store.add_run(child)
        await _note(diary, f"Starting run {run.name} with {len(steps)} steps: {', '.join(steps)}.")
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._run_steps(run, steps, children, started=tasks, diary=diary)
        finally:
            for child in children.values():
                self._stop(child, "cancel")
            await asyncio.gather(*tasks, return_exceptions=True)
            self._end_unstarted(run)
            await _note(diary, f"Finishing run {run.name}: no steps left to run.")
        ends = {node: self._status(child) for node, child in children.items()}
        if failed := [node for node, status in ends.items() if status == "Failed"]:
            raise JobError(failed_nodes_message(failed), "PipelineHasFailedSteps")
        if stopped := [node for node, status in ends.items() if status != "Completed"]:
            raise JobError(
                f"Steps of the pipeline were canceled: {', '.join(stopped)}.", "StepCanceled", status="Canceled"
            )

    async def _run_steps(
        self,
        run: Run,
        steps: Mapping[str, Step],
        children: Mapping[str, Run],
        *,
        started: list[asyncio.Task[None]],
        diary: JobLog,
    ) -> None:
        """Start each step when those before it have completed, until nothing is left to start."""
        goes_on = str((run.spec.get("settings") or {}).get("continue_on_step_failure")).lower() == "true"
        after = {node: step.after for node, step in steps.items()}
        running: dict[asyncio.Task[None], str] = {}
        completed: frozenset[str] = frozenset()
        submitted: frozenset[str] = frozenset()
        while True:
            for node in ready(after, started=submitted, completed=completed):
                submitted |= {node}
                if self._status(children[node]) == "Canceled":
                    continue
                task = self._start(children[node], self._commands.run)
                running[task] = node
                started.append(task)
                await _note(diary, f"Submitted step {node} as run {children[node].name}.")
            if not running:
                return
            ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for node in [running.pop(task) for task in ended]:
                status = self._status(children[node])
                await _note(diary, f"Step {node}: {status}.")
                if status == "Completed":
                    completed |= {node}
                    self._hand_up(run, steps[node])
                elif not goes_on:
                    return

    def _plan(self, run: Run) -> list[Step]:
        """Bind the pipeline's nodes, of the run itself or of the pipeline component it names."""
        settings = run.spec.get("settings") or {}
        jobs, inputs, outputs = run.spec.get("jobs") or {}, run.inputs, run.outputs
        if component_id := str(run.spec.get("componentId") or ""):
            component = self._component(component_id, "pipeline", whose=f"Job {run.name}")
            whose = f"Pipeline component {component.get('name', component_id)}"
            declared = component.get("outputs") or {}
            if unknown := sorted(outputs.keys() - declared.keys() - {"default"}):
                raise SpecificationError(f"{whose} has no output {', '.join(unknown)}.")
            jobs, inputs = (
                component.get("jobs") or {},
                effective_inputs(component.get("inputs") or {}, inputs, whose=whose),
            )
            outputs = {
                name: {"jobOutputType": one.get("type"), **outputs.get(name, {})} for name, one in declared.items()
            }
        if not jobs:
            raise SpecificationError("The pipeline has no nodes.")
        return lay_out(
            jobs,
            {node: self._component_of(node, spec) for node, spec in jobs.items()},
            inputs=inputs,
            outputs=outputs,
            names={node: str(uuid.uuid4()) for node in jobs},
            datastore=str(settings.get("default_datastore") or DEFAULT_DATASTORE).rpartition("/")[2].rpartition(":")[2],
        )

    def _component_of(self, node: str, spec: Mapping[str, Any]) -> Json:
        """Find a node's command component; the node's own settings go over it."""
        named = spec.get("componentId") or spec.get("component")
        if not named:
            raise SpecificationError(f"Node {node} names no component.")
        inline = dict(named) if isinstance(named, Mapping) else None
        component = inline or self._component(str(named), "command", whose=f"Node {node}")
        own = {name: spec[name] for name in ("limits",) if spec.get(name)}
        variables = {**(component.get("environment_variables") or {}), **(spec.get("environment_variables") or {})}
        return {**component, **own, "environment_variables": variables}

    def _component(self, arm_id: str, kind: str, *, whose: str) -> Json:
        arm_id = arm_id.removeprefix("azureml:")
        found = self._store.get(arm_id)
        if found is None:
            raise SpecificationError(f"{whose} names component {arm_id}, which is not there.")
        component: Json = found["properties"]["componentSpec"]
        has = str(component.get("type", "command"))
        if has != kind:
            raise SpecificationError(
                f"{whose} names component {arm_id} of type {has}, where the emulator runs only a {kind} component:"
                " nested pipelines, parallel, sweep and Spark steps are not emulated."
            )
        return component

    def _hand_up(self, run: Run, step: Step) -> None:
        """Let the pipeline's outputs point at those of the step that made them."""
        outputs = dict(self._found(run.workspace, run.name).outputs)
        made = self._found(run.workspace, step.run).outputs
        for name, of_pipeline in step.feeds.items():
            outputs[of_pipeline] = {**outputs.get(of_pipeline, {}), **made[name]}
        self._store.change_run(run.workspace, run.name, outputs=outputs)

    def _end_unstarted(self, run: Run) -> None:
        live = self._live.get(_key(run))
        closing = live is not None and live.stopped_by == "close"
        for child in self._store.runs(run.workspace, parent=run.name, live=True):
            ending: Json = {"status": "Failed", "error": _stopped(child)} if closing else {"status": "Canceled"}
            self._store.change_run(child.workspace, child.name, ended=now(), **ending)

    def _found(self, workspace: str, name: str) -> Run:
        found = self._store.run(workspace, name)
        if found is None:
            raise LookupError(f"Run {name} of {workspace} is gone from the store.")
        return found

    def _status(self, run: Run) -> str:
        return self._found(run.workspace, run.name).status

    def _diary(self, run: Run) -> JobLog:
        """The pipeline's own log: what it started and how that ended."""
        path = log_path(self._settings.state_dir, run.workspace, run.name)
        diary = JobLog(path, self._storage, self._commands.artifact(run, log_name(run)))
        diary.open()
        return diary


async def _note(diary: JobLog, line: str) -> None:
    diary.write(f"[{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z] {line}")
    await diary.try_ship()


def _key(run: Run) -> _Key:
    return run.workspace.lower(), run.name


def _child(run: Run, step: Step) -> Run:
    """Make the run of a step."""
    component = step.component
    named = {"azureml.moduleid": step.component_id.rpartition("/")[2], "azureml.moduleName": component.get("name", "")}
    return Run(
        workspace=run.workspace,
        name=step.run,
        kind="Step",
        parent=run.name,
        node=step.node,
        display_name=step.node,
        experiment=run.experiment,
        spec={
            "command": component.get("command", ""),
            "code": component.get("code"),
            "environment": component.get("environment"),
            "environment_variables": component.get("environment_variables") or {},
            "component": step.component_id,
            "limits": component.get("limits"),
            "may_be_empty": sorted(step.handed_on),
        },
        properties={name: str(value) for name, value in named.items() if value},
        inputs=step.inputs,
        outputs={
            name: {**output, "uri": long_uri(output["uri"], run.workspace)} for name, output in step.outputs.items()
        },
    )


def _stopped(run: Run) -> Json:
    message = f"The emulator stopped while job {run.name} was {run.status}. Submit it again under another name."
    return JobError(message, "EmulatorStopped", code="ServiceError").error

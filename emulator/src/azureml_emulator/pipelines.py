"""Pipeline runs: their steps run in order, are reused or left out, and pipelines in them run the same way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import attrs

from azureml_emulator.commands import CommandRunner, JobError
from azureml_emulator.joblogs import JobLog, log_name, log_path
from azureml_emulator.layout import Step, failed_nodes_message
from azureml_emulator.plans import Course, child_of, plan
from azureml_emulator.reuse import MADE_BY, ReuseCache, digest_of, may_be_reused, reused_properties
from azureml_emulator.settings import Settings
from azureml_emulator.steps import ready
from azureml_emulator.storage import Storage
from azureml_emulator.store import Run, Store, now

Json = dict[str, Any]
Work = Callable[[Run], Awaitable[None]]


class Lives(Protocol):
    """Who starts runs and ends them."""

    def start(self, run: Run, work: Work) -> asyncio.Task[None]:
        """Start a run's work; whatever becomes of it, the run gets a final status."""

    def stop(self, run: Run, why: str) -> None:
        """Stop a run's work, once."""

    def end_unstarted(self, run: Run) -> None:
        """End the steps of a pipeline that nobody will start any more."""


@attrs.define(eq=False, kw_only=True)
class _Family:
    """A pipeline run with its steps, while it runs.

    Attributes:
        children: The steps' runs as they were when they were added.
        tasks: Every step that was started.
        running: Those that still run, with their nodes.
    """

    run: Run
    course: Course
    steps: Mapping[str, Step]
    children: Mapping[str, Run]
    diary: JobLog
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list)
    running: dict[asyncio.Task[None], str] = attrs.field(factory=dict)
    submitted: frozenset[str] = frozenset()
    completed: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()

    def ready(self) -> list[str]:
        """Name the nodes that may start now."""
        lacks = {node: step.may_lack for node, step in self.steps.items()} if self.course.goes_on_without else {}
        return ready(
            {node: step.after for node, step in self.steps.items()},
            started=self.submitted,
            completed=self.completed,
            may_lack=lacks,
            failed=self.failed,
        )


class PipelineRunner:
    """Runs pipeline jobs and the pipelines inside of them."""

    def __init__(
        self, store: Store, storage: Storage, settings: Settings, *, commands: CommandRunner, sweeps: Work, lives: Lives
    ) -> None:
        self._store = store
        self._storage = storage
        self._settings = settings
        self._commands = commands
        self._sweeps = sweeps
        self._lives = lives
        self._cache = ReuseCache(store)

    async def run(self, run: Run) -> None:
        """Run a pipeline's steps.

        Raises:
            JobError: A step failed or was cancelled.
            SpecificationError: The pipeline cannot be run as it is written.
        """
        self._store.change_run(run.workspace, run.name, status="Running", started=now())
        diary = self._diary(run)
        course = Course.of(run)
        steps = {step.node: step for step in plan(self._store, run, course)}
        children = {node: child_of(run, step, course) for node, step in steps.items()}
        for child in children.values():
            self._store.add_run(child)
        await _note(diary, f"Starting run {run.name} with {len(steps)} steps: {', '.join(steps)}.")
        family = _Family(run=run, course=course, steps=steps, children=children, diary=diary)
        try:
            await self._run_steps(family)
        finally:
            for child in children.values():
                self._lives.stop(child, "cancel")
            await asyncio.gather(*family.tasks, return_exceptions=True)
            self._lives.end_unstarted(run)
            await _note(diary, f"Finishing run {run.name}: no steps left to run.")
        self._judge(run, {node: self._status(child) for node, child in children.items()})

    def _judge(self, run: Run, ends: Mapping[str, str]) -> None:
        if any(status == "Failed" for status in ends.values()):
            raise JobError(failed_nodes_message(self._failed_paths(run)), "PipelineHasFailedSteps")
        if stopped := [node for node, status in ends.items() if status != "Completed"]:
            raise JobError(
                f"Steps of the pipeline were canceled: {', '.join(stopped)}.", "StepCanceled", status="Canceled"
            )

    def _failed_paths(self, run: Run) -> list[str]:
        """List the steps that failed, those of inner pipelines with the path to them; oldest first."""
        found = []
        for child in reversed(self._store.runs(run.workspace, parent=run.name)):
            if child.status == "Failed" and child.node is not None:  # not a run that a step's code has begun
                inner = self._failed_paths(child)
                found += [f"{child.node}/{path}" for path in inner] or [str(child.node)]
        return found

    async def _run_steps(self, family: _Family) -> None:
        """Start each step when those before it have completed, until nothing is left to start."""
        while True:
            for node in family.ready():
                await self._submit(family, node)
            if not family.running:
                return
            ended, _ = await asyncio.wait(family.running, return_when=asyncio.FIRST_COMPLETED)
            for node in [family.running.pop(task) for task in ended]:
                found = self._found(family.children[node])
                await _note(family.diary, f"Step {node}: {found.status}{_whence(found)}.")
                if found.status == "Completed":
                    family.completed |= {node}
                    self._hand_up(family, node)
                elif family.course.goes_on:
                    family.failed |= {node}
                else:
                    return

    async def _submit(self, family: _Family, node: str) -> None:
        family.submitted |= {node}
        child = family.children[node]
        if self._status(child) == "Canceled":
            return
        step = family.steps[node]
        work = self.run if step.is_pipeline else self._sweeps if step.is_sweep else partial(self._step, family, step)
        inputs = self._inputs(family, step)
        child = self._store.change_run(child.workspace, child.name, inputs=inputs)
        task = self._lives.start(child, work)
        family.running[task] = node
        family.tasks.append(task)
        await _note(family.diary, f"Submitted step {node} as run {child.name}.")

    async def _step(self, family: _Family, step: Step, child: Run) -> None:
        """Run a step, or take the results of the run that did the same before."""
        if family.course.force_rerun or not may_be_reused(step.component):
            # Nor may its results be reused: https://learn.microsoft.com/azure/machine-learning/how-to-debug-pipeline-reuse-issues
            await self._commands.run(child)
            return
        compute = step.compute or family.course.compute
        digest = digest_of(step, child.inputs, workspace=child.workspace, compute=compute)
        if (original := self._cache.find(child.workspace, digest)) is not None:
            self._store.change_run(
                child.workspace,
                child.name,
                outputs=original.outputs,
                exit_code=original.exit_code,
                properties=child.properties | reused_properties(original),
            )
            return
        await self._commands.run(child)
        self._cache.keep(child.workspace, digest, child.name)

    def _inputs(self, family: _Family, step: Step) -> dict[str, Json]:
        """Say what a step is really given: where the steps before have put it, or nothing where one failed."""
        given = dict(step.inputs)
        for name, (node, output) in step.sources.items():
            if node in family.failed:
                del given[name]
                continue
            made = self._found(family.children[node]).outputs[output]
            kept = {member: made[member] for member in ("uri", MADE_BY) if made.get(member)}
            given[name] = {**given[name], **kept}
        return given

    def _hand_up(self, family: _Family, node: str) -> None:
        """Let the pipeline's outputs point at those of the step that made them."""
        run, step = family.run, family.steps[node]
        outputs = dict(self._found(run).outputs)
        made = self._found(family.children[node]).outputs
        for name, of_pipeline in step.feeds.items():
            outputs[of_pipeline] = {**outputs.get(of_pipeline, {}), **made[name]}
            if run.parent is None:
                outputs[of_pipeline].pop(MADE_BY, None)
        self._store.change_run(run.workspace, run.name, outputs=outputs)

    def _found(self, run: Run) -> Run:
        found = self._store.run(run.workspace, run.name)
        if found is None:
            raise LookupError(f"Run {run.name} of {run.workspace} is gone from the store.")
        return found

    def _status(self, run: Run) -> str:
        return self._found(run).status

    def _diary(self, run: Run) -> JobLog:
        """The pipeline's own log: what it started and how that ended."""
        path = log_path(self._settings.state_dir, run.workspace, run.name)
        diary = JobLog(path, self._storage, self._commands.artifact(run, log_name(run)))
        diary.open()
        return diary


def _whence(run: Run) -> str:
    if "azureml.reusedrunid" not in run.properties:
        return ""
    return f", reused from run {run.properties['azureml.reusedrunid']}"


async def _note(diary: JobLog, line: str) -> None:
    diary.write(f"[{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z] {line}")
    await diary.try_ship()

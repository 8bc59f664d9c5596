"""Sweep jobs: their trials run as runs of their own, so many at once, and the best one is named."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from azureml_emulator import output_assets
from azureml_emulator.commands import CommandRunner, JobError
from azureml_emulator.joblogs import JobLog, log_name, log_path
from azureml_emulator.pipelines import Lives
from azureml_emulator.sampling import Sweep, Values, fill_in
from azureml_emulator.settings import Settings
from azureml_emulator.steps import output_uri
from azureml_emulator.storage import Storage, long_uri
from azureml_emulator.store import Run, Store, now

Json = dict[str, Any]
_BEST = "best_child_run_id"
#: What a trial takes over from the sweep's ``trial``.
_OF_TRIAL = ("codeId", "environmentId", "environmentVariables", "resources")


@attrs.define(eq=False, kw_only=True)
class _Family:
    """A sweep with its trials, while it runs.

    Attributes:
        ends_at: When its time is up, on `time.monotonic`'s clock; None for never.
    """

    run: Run
    sweep: Sweep
    diary: JobLog
    ends_at: float | None
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list)
    children: list[Run] = attrs.field(factory=list)


class SweepRunner:
    """Runs sweep jobs."""

    def __init__(
        self, store: Store, storage: Storage, settings: Settings, *, commands: CommandRunner, lives: Lives
    ) -> None:
        self._store = store
        self._storage = storage
        self._settings = settings
        self._commands = commands
        self._lives = lives

    async def run(self, run: Run) -> None:
        """Run a sweep's trials, and name the best.

        Raises:
            JobError: No trial was completed, or the time was up.
            SpecificationError: The sweep cannot be run as it is written.
        """
        sweep = Sweep.from_wire(run.spec)
        trials = sweep.trials(name=run.name)
        commands = [fill_in(str(run.spec["trial"]["command"]), values) for values in trials]
        self._store.change_run(run.workspace, run.name, status="Running", started=now())
        diary = JobLog(
            log_path(self._settings.state_dir, run.workspace, run.name),
            self._storage,
            self._commands.artifact(run, log_name(run)),
        )
        diary.open()
        ends_at = None if sweep.timeout_s is None else time.monotonic() + sweep.timeout_s
        family = _Family(run=run, sweep=sweep, diary=diary, ends_at=ends_at)
        await self._note(family, f"Starting sweep {run.name} with {len(trials)} trials, {sweep.at_once} at once.")
        if run.spec.get("earlyTermination"):
            await self._note(family, "Early termination is not emulated: every trial runs to its own end.")
        try:
            await self._run_trials(family, trials, commands)
        finally:
            for child in family.children:
                self._lives.stop(child, "cancel")
            await asyncio.gather(*family.tasks, return_exceptions=True)
            self._lives.end_unstarted(run)
        await self._judge(family)

    async def run_step(self, run: Run) -> None:
        """Run a sweep that is a step of a pipeline: its outputs are those of the best trial.

        Raises:
            JobError: As of `run`; or no completed trial has logged the metric, so that there is no best one.
            SpecificationError: As of `run`.
        """
        # Each trial writes to a place of its own, and is no asset.
        own = {name: {**one, "uri": None, "assetName": None} for name, one in run.outputs.items()}
        await self.run(attrs.evolve(run, outputs=own))
        named = str(self._found(run).properties.get(_BEST) or "")
        best = self._store.run(run.workspace, named)
        if best is None and run.outputs:
            raise JobError(f"No completed trial of step {run.node} has logged the primary metric.", "NoBestTrial")
        outputs = {}
        for name, asked in run.outputs.items():
            made = best.outputs[name] if best else {}
            outputs[name] = {**asked, "uri": await self._bring(run, str(made["uri"]), asked)}
            if asked.get("assetName"):
                output_assets.register(self._store, run, outputs[name])
        self._store.change_run(run.workspace, run.name, outputs=outputs)

    async def _bring(self, run: Run, uri: str, asked: Json) -> str:
        """Copy an output of the best trial to where the pipeline's author wants it; say where it is then."""
        if not asked.get("uri"):
            return uri
        wanted = output_uri(run.name, "", kind=str(asked["jobOutputType"]), given=str(asked["uri"]))
        with tempfile.TemporaryDirectory(dir=self._settings.state_dir) as scratch:
            brought = await self._storage.download(self._storage.resolve(uri, run.workspace), Path(scratch) / "best")
            await self._storage.upload(brought, self._storage.resolve(wanted, run.workspace))
        return long_uri(wanted, run.workspace)

    async def _run_trials(self, family: _Family, trials: Sequence[Values], commands: Sequence[str]) -> None:
        left = list(enumerate(zip(trials, commands, strict=True)))[::-1]
        running: dict[asyncio.Task[None], Run] = {}
        while left or running:
            while left and len(running) < family.sweep.at_once:
                number, (values, command) = left.pop()
                child = self._add(family, number, values, command)
                task = self._lives.start(child, self._commands.run)
                running[task] = child
                family.tasks.append(task)
                await self._note(family, f"Submitted trial {child.name}: {json.dumps(values)}")
            within_s = None if family.ends_at is None else max(0.0, family.ends_at - time.monotonic())
            ended, _ = await asyncio.wait(running, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if not ended:
                message = f"The sweep ran into its time limit of {family.sweep.timeout_s:g} s."
                raise JobError(message, "JobTimeout", status="Canceled")
            for child in [running.pop(task) for task in ended]:
                await self._note(family, f"Trial {child.name}: {self._found(child).status}.")

    def _add(self, family: _Family, number: int, values: Values, command: str) -> Run:
        """Add a trial's run; the sweep's tags tell what each trial was given, as recorded of Azure ML."""
        run, trial = family.run, family.run.spec["trial"]
        taken_over = {member: trial[member] for member in _OF_TRIAL if trial.get(member)}
        limits = {"timeout": family.sweep.trial_timeout} if family.sweep.trial_timeout else None
        child = Run(
            workspace=run.workspace,
            name=f"{run.name}_{number}",
            kind="Step",
            parent=run.name,
            display_name=f"{run.display_name}_{number}",
            experiment=run.experiment,
            spec={**taken_over, "command": command, "computeId": run.spec.get("computeId"), "limits": limits},
            properties={"azureml.runsource": "hyperdrive"},
            inputs=run.inputs,
            outputs=run.outputs,
        )
        self._store.add_run(child)
        family.children.append(child)
        tags = self._found(run).tags | {f"_aml_system_{child.name}": json.dumps(values)}
        self._store.change_run(run.workspace, run.name, tags=tags)
        return child

    async def _judge(self, family: _Family) -> None:
        """Name the trial whose metric was the best of all that were completed.

        Raises:
            JobError: None was.
        """
        run, ended = family.run, [self._found(child) for child in family.children]
        completed = [child for child in ended if child.status == "Completed"]
        if not completed:
            told = ", ".join(f"{child.name} is {child.status}" for child in ended[:10])
            raise JobError(f"No trial of the sweep was completed: {told}.", "SweepHasNoCompletedTrial")
        best, score = self._best(family.sweep, completed)
        found = self._found(run)
        changes: Json = {"tags": found.tags | {"_aml_system_all_jobs_generated": "true"}}
        if best is None:
            await self._note(family, f"No completed trial has logged {family.sweep.metric}; there is no best one.")
        else:
            await self._note(family, f"The best trial is {best}: {family.sweep.metric} is {score}.")
            # Clients download this one's outputs as the sweep's. Source: azure-ai-ml 1.35, JobOperations.download.
            named = {_BEST: best, "score": str(score), "best_data_container_id": f"dcid.{best}"}
            changes["properties"] = found.properties | named
        self._store.change_run(run.workspace, run.name, **changes)

    def _best(self, sweep: Sweep, completed: Sequence[Run]) -> tuple[str | None, float | None]:
        best, score = None, None
        for child in completed:
            for metric in self._store.metrics(child.workspace, child.name):
                if metric.key == sweep.metric and sweep.better(metric.value, score):
                    best, score = child.name, metric.value
        return best, score

    def _found(self, run: Run) -> Run:
        found = self._store.run(run.workspace, run.name)
        if found is None:
            raise LookupError(f"Run {run.name} of {run.workspace} is gone from the store.")
        return found

    async def _note(self, family: _Family, line: str) -> None:
        family.diary.write(f"[{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z] {line}")
        await family.diary.try_ship()


def first_tags(spec: Mapping[str, Any], sweep: Sweep) -> dict[str, str]:
    """Say what the service adds to the tags of a sweep that is submitted. Source: a recorded answer of 2023-04."""
    most_minutes = 10080 if sweep.timeout_s is None else round(sweep.timeout_s / 60)
    policy = spec.get("earlyTermination") or {}
    generator = {
        "name": sweep.algorithm.upper(),
        "parameter_space": spec["searchSpace"],
        "properties": {"rule": "Random", "logbase": None, "seed": sweep.seed},
    }
    told: dict[str, Any] = {
        "max_concurrent_jobs": str(sweep.at_once),
        "max_total_jobs": str(sweep.most_trials),
        "max_duration_minutes": str(most_minutes),
        "policy_config": _compact({"name": policy.get("policyType") or "Default", "properties": {}}),
        "generator_config": _compact(generator),
        "primary_metric_config": primary_metric(sweep),
    }
    return {f"_aml_system_{name}": value for name, value in told.items()}


def first_properties(sweep: Sweep) -> dict[str, str]:
    """Say what the service adds to the properties of a sweep that is submitted. Source: as above."""
    return {
        "primary_metric_config": primary_metric(sweep),
        "resume_from": "null",
        "runTemplate": "HyperDrive",
        "azureml.runsource": "hyperdrive",
        "platform": "AML",
    }


def primary_metric(sweep: Sweep) -> str:
    """Write the primary metric as the service does."""
    return _compact({"name": sweep.metric, "goal": sweep.goal})


def _compact(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))

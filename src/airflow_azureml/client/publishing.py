"""Publishing a folder: what is there is looked at, what is to do is said, and then it is done; from a worker.

Whoever is killed in the middle leaves nothing half-done that matters: each step makes one thing, and the next one who
publishes looks anew and does what is left.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.making import Maker
from airflow_azureml.client.publication_claims import Claims
from airflow_azureml.client.smoke_runs import Pending, SmokeRuns
from airflow_azureml.core.bundle_parts import Kind
from airflow_azureml.core.jobs import JobSnapshot, Phase
from airflow_azureml.core.publication import (
    PREVIOUS_TAG,
    SMOKE_TAG,
    EndpointNow,
    Now,
    Step,
    Verb,
    Wanted,
    plan,
)
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, JobError, RefusedError, UnavailableError
from airflow_azureml.wire import assets, batch_endpoints, compute, jobs

log = logging.getLogger(__name__)

#: Seconds between two looks at a smoke run, the first and the longest; and how long it may go without a certain answer.
JOB_LOOK_S, JOB_SILENCE_S = (1.0, 20.0), 15 * 60.0
#: A publication that has not come to its end after so many rounds does not: somebody undoes what it does.
MOST_ROUNDS = 50
#: Azure's answer where another change of the same thing is under way.
_CONFLICT = 409


@define(kw_only=True)
class Publisher:
    """One publication of one commit of a folder to one environment.

    Args:
        client: Speaks with the workspace.
        settings: The environment's connection.
        wanted: What is to be there.
        folder: The files at the commit.
        claimant: Who publishes; the same on every try, and another when it is asked for anew.
        owner: Whose the jobs of smoke runs are, as ``dag/run/task/map index/try``.
        marks: What else these jobs are to say, among their properties.
        say: Told each step before it is done.
    """

    client: Client
    settings: ConnectionSettings
    wanted: Wanted
    folder: Path
    claimant: str
    owner: str
    say: Callable[[str], None]
    marks: Mapping[str, str] = field(factory=dict)
    changed: list[str] = field(factory=list)
    _maker: Maker = field(init=False)
    _smoke: SmokeRuns = field(init=False)
    _claims: Claims = field(init=False)
    _has_begun: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.wanted.environment.check_writer(self.settings)
        given: dict[str, Any] = {
            "client": self.client,
            "settings": self.settings,
            "wanted": self.wanted,
            "folder": self.folder,
        }
        self._maker = Maker(**given)
        self._smoke = SmokeRuns(**given, owner=self.owner, marks=self.marks)
        version = self.wanted.source.version
        self._claims = Claims(self.settings, self.wanted.bundle.name, owner=self.claimant, version=version)

    def plan(self) -> Sequence[Step]:
        """Say what is to be done; nothing is changed.

        Raises:
            ConfigError: Something that is needed is missing or is something else; or a file is none for azure-ai-ml.
            RefusedError: We may not look.
            UnavailableError: The service did not say; asking again is safe.
        """
        steps = plan(self.now(), self.wanted)
        self._validate(steps)
        return steps

    def go_on(self) -> Pending | None:
        """Do what is to be done, until all is done or a smoke run has to be waited for.

        Returns:
            What has to be waited for; then go on. None when all is done.

        Raises:
            OvertakenError: Another publication of the folder has begun since.
            JobError: A smoke run that had to pass did not.
            ConfigError: As for `plan`.
            RefusedError: The service refuses a step; the steps before it are done.
            UnavailableError: The service did not take a step; going on again is safe.
        """
        for _ in range(MOST_ROUNDS):
            steps = self.plan()
            self._begin(steps)
            if not steps:
                return None
            making = [step for step in steps if step.verb in (Verb.CREATE, Verb.DEPLOY)]
            running = [step for step in steps if step.verb is Verb.SMOKE]
            if making:
                self._do_all(making)
            elif running:
                pending = self._start(running)
                if pending is not None:
                    return pending
            else:
                self._do_all(steps)
        raise UnavailableError(
            f"Publish {self.wanted.bundle.name}",
            message=f"After {MOST_ROUNDS} rounds there is still something to do: somebody else undoes it.",
        )

    def wait(self, pending: Pending) -> None:
        """Wait until a smoke run has passed.

        Raises:
            JobError: It did not, or took too long and was cancelled.
        """
        began = certain_at = time.monotonic()
        pause, status, job = JOB_LOOK_S[0], "", pending.job
        while not job.phase.is_final:
            now = time.monotonic()
            if now - began > pending.timeout_s or now - certain_at > JOB_SILENCE_S:
                raise self.given_up(pending, f"it is still {job.status} after {now - began:.0f} s")
            time.sleep(pause)
            pause = min(JOB_LOOK_S[1], pause * 1.2)
            try:
                job = self.client.run(jobs.get(self.settings.workspace, pending.job.name))
            except UnavailableError as error:
                log.warning("Job %s could not be looked at: %s", pending.job.name, error)
                continue
            if job.phase is not Phase.UNCERTAIN:
                certain_at = time.monotonic()
            if job.status != status:
                status = job.status
                self.say(f"job {job.name}, the smoke run of endpoint {pending.endpoint}, is {status}")
        self.judge(pending.endpoint, job)

    def judge(self, endpoint: str, job: JobSnapshot) -> None:
        """See that a smoke run that has ended has passed.

        Raises:
            JobError: It has not.
        """
        if job.phase is not Phase.SUCCEEDED:
            raise self._smoke.failure(endpoint, job)

    def given_up(self, pending: Pending, why: str) -> JobError:
        """Cancel a smoke run that takes too long, and say so."""
        told = "it was told to stop"
        try:
            self.client.run(jobs.cancel(self.settings.workspace, pending.job.name))
        except AzureMLError as error:
            told = f"it could NOT be told to stop, and may go on: {error}"
        return JobError(
            f"The smoke run of endpoint {pending.endpoint} (job {pending.job.name}) did not pass: {why}; {told}. No"
            " default deployment was switched."
        )

    def now(self) -> Now:
        """Look at what there is."""
        workspace, version = self.settings.workspace, self.wanted.source.version
        found = {
            part.key: self.client.run(assets.tags_of(workspace, part.kind, part.name, version))
            for part in self.wanted.assets
        }
        names = {part.name for part in self.wanted.computes} | self.wanted.used_computes
        computes = {name for name in names if self.client.run(compute.get(workspace, name)) is not None}
        looked = {
            name: self.client.run(batch_endpoints.look(workspace, each.address))
            for name, each in self.wanted.deployments.items()
        }
        endpoints = {name: each for name, each in looked.items() if each is not None}
        return Now(
            assets={key: tags for key, tags in found.items() if tags is not None},
            absent=list(self._absent()),
            computes=frozenset(computes),
            endpoints=endpoints,
            smoked=self._smoked(endpoints),
        )

    def result(self) -> dict[str, Any]:
        """Describe, small enough for XCom, what is published now."""
        now, version = self.now(), self.wanted.source.version
        smoke = {name: each.tags.get(SMOKE_TAG, "") for name, each in now.endpoints.items()}
        return {
            "sha": self.wanted.source.sha,
            "version": version,
            "environment": self.wanted.environment.name,
            "endpoints": {name: each.address for name, each in self.wanted.deployments.items()},
            "deployments": {name: each.name for name, each in self.wanted.deployments.items()},
            "components": {part.name: version for part in self.wanted.assets if part.kind is Kind.COMPONENT},
            "changed": list(self.changed),
            "smoke": {name: job for name, job in smoke.items() if job},
        }

    def _absent(self) -> Iterator[str]:
        workspace = self.settings.workspace
        for part in self.wanted.bundle.parts:
            for need in part.needs:
                if not self.client.run(assets.is_there(workspace, need)):
                    which = f":{need.version}" if need.version else f"@{need.label}"
                    yield f"{need.told} is {need.kind} {need.name}{which}, and there is no such {need.kind}"

    def _smoked(self, endpoints: Mapping[str, EndpointNow]) -> frozenset[str]:
        """Ask for the runs that matter: of deployments that are there and are not all the default already."""
        open_ones = {
            name: each
            for name, each in self.wanted.deployments.items()
            if name in endpoints and each.name in endpoints[name].deployments
        }
        if all(endpoints[name].default == each.name for name, each in open_ones.items()):
            return frozenset()
        return frozenset(
            name for name, each in open_ones.items() if not each.smoke.skip and self._smoke.has_passed(name)
        )

    def _begin(self, steps: Sequence[Step]) -> None:
        """Say that this publication is under way; one that has nothing to do says so only to overtake another."""
        if self._has_begun:
            return
        version = self.wanted.source.version
        if not steps and self._claims.look().version in ("", version):
            return
        self._claims.begin()
        self._has_begun = True

    def _validate(self, steps: Sequence[Step]) -> None:
        """Have azure-ai-ml read every file that is to be created, before the first of them is."""
        made = {(step.kind, step.name) for step in steps if step.verb is Verb.CREATE}
        for part in self.wanted.bundle.parts:
            if (part.kind, part.name) in made and part.kind is not Kind.ENDPOINT:
                self._maker.check(part)

    def _do_all(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.say(step.told)
            try:
                self._do(step)
            except RefusedError as error:
                if error.status != _CONFLICT:
                    raise
                told = f"Somebody else is at it, or was a moment ago; going on later finds what is there. {error}"
                raise UnavailableError(step.told.capitalize(), status=_CONFLICT, message=told) from error
            self.changed.append(f"{step.verb} {step.kind} {step.name}")

    def _do(self, step: Step) -> None:
        match step.verb:
            case Verb.CREATE:
                self._maker.create(self.wanted.bundle.part(f"{step.kind} {step.name}"))
            case Verb.DEPLOY:
                self._maker.deploy(step.name)
            case Verb.SWITCH:
                self._switch(step.name)
            case Verb.REMOVE:
                endpoint, _, name = step.name.partition("/")
                address = self.wanted.deployments[endpoint].address
                gone = batch_endpoints.delete_deployment(self.settings.workspace, address, name)
                self._maker.follow(self.client.run(gone))
            case _:
                raise AssertionError(step)

    def _start(self, steps: Sequence[Step]) -> Pending | None:
        """Start all smoke runs that can be; None where they have ended meanwhile."""
        first = None
        for step in steps:
            pending = self._smoke.start(step.name)
            if pending is not None and not pending.job.phase.is_final:
                self.say(f"{step.told}: job {pending.job.name}, {pending.job.studio_url}")
                done = f"{step.verb} {step.kind} {step.name}"
                self.changed += [] if done in self.changed else [done]
                first = first or pending
        return first

    def _switch(self, endpoint: str) -> None:
        """Make the new deployment the default, unless another publication has begun since."""
        self._claims.check()
        workspace, wanted = self.settings.workspace, self.wanted.deployments[endpoint]
        found = self.client.run(batch_endpoints.look(workspace, wanted.address))
        tags = {
            **self.wanted.source.tags(self.wanted.bundle.name),
            PREVIOUS_TAG: found.default if found else "",
            SMOKE_TAG: self._smoke.passed_job(endpoint),
        }
        switch = batch_endpoints.set_default(workspace, wanted.address, wanted.name, tags=tags)
        self._maker.follow(self.client.run(switch))

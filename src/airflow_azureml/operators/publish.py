"""Publishing pipelines from git to an environment."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.environments import Environment, RequiredEvidence
from airflow_azureml.core.publication import Source, Wanted
from airflow_azureml.core.triage import may_pass
from airflow_azureml.core.waiting import WaitPolicy
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.evidence import EVIDENCE_CONNECTION, evidence_keys
from airflow_azureml.operators.kills import comes_again
from airflow_azureml.operators.tries import map_index, marks
from airflow_azureml.triggers.job import JobTrigger, event_of
from airflow_azureml.wire import jobs

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.publishing import Publisher
    from airflow_azureml.client.smoke_runs import Pending
    from airflow_azureml.core.workspace import ConnectionSettings

__all__ = ["AzureMLPublishPipelineOperator", "Environment", "RequiredEvidence"]

#: Seconds between the first two looks at a smoke run; and how long it may go without a certain answer.
FIRST_S, PATIENCE = 5.0, timedelta(minutes=30)


class AzureMLPublishPipelineOperator(BaseOperator):
    """Publishes the pipelines of a folder, as it is at a git commit, to an environment.

    What is to be done is in the task's log before the first of it is done. Environments and components get the commit
    as their version; each endpoint gets a deployment beside its default, which is smoke-run, and only when all smoke
    runs have passed are the defaults switched. The same commit twice changes nothing; a try after a crash goes on where
    that one was. A folder says in its ``publish.yaml`` how it is smoke-run: see ``docs/how-to/publish.md``.

    The task returns ``{"sha", "version", "environment", "endpoints", "deployments", "components", "changed",
    "smoke"}``: the name in Azure and the default deployment of each endpoint by the name in its file, the version of
    each component, what this task did, and the job of each smoke run.

    Args:
        folder: The folder, in the work tree of a git repository on the worker; templated.
        environment: Where to. A protected one is written to by a service identity alone; to one that requires evidence
            nothing is published without it.
        sha: The commit: its digits, a branch or a tag; templated. Empty for the one that is checked out on the worker,
            from which nothing in the folder may differ then.
        only: Names of pipeline components or of endpoints, templated; empty for all.
        allow_dirty: Whether, without `sha`, what is on the disk is published though it differs from the commit.
        plan_only: Whether to say what would be done, and do nothing; the task returns ``{"sha", "environment",
            "plan"}``.
        deferrable: Whether to wait for smoke runs in the triggerer.
        on_kill_action: ``cancel`` or ``leave`` a smoke run when the task is killed, cleared or marked.
    """

    template_fields: Sequence[str] = ("folder", "sha", "only")
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        folder: str | os.PathLike[str],
        environment: Environment,
        sha: str = "",
        only: Sequence[str] = (),
        allow_dirty: bool = False,
        plan_only: bool = False,
        deferrable: bool = True,
        on_kill_action: str = "cancel",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = os.fspath(folder)
        self.environment = environment
        self.sha = sha
        self.only = only
        self.allow_dirty = allow_dirty
        self.plan_only = plan_only
        self.deferrable = deferrable
        self.on_kill_action = on_kill_action
        # What a kill, which comes at any moment, has to know.
        self._running = ""
        self._ti: Any = None
        self._settings: ConnectionSettings | None = None

    def execute(self, context: "Context") -> Any:
        """Say what is to be done, and do it until all is done or a smoke run has to be waited for."""
        with self._errors(), self._publisher(context) as publisher:
            steps = publisher.plan()
            self._tell(publisher, [step.told for step in steps])
            if self.plan_only:
                source = publisher.wanted.source
                told = [step.told for step in steps]
                return {"sha": source.sha, "environment": self.environment.name, "plan": told}
            self._see_proved(publisher.wanted.source)
            pending = self._go_on(publisher)
            if pending is None:
                return publisher.result()
        self._defer(pending, publisher)
        return None

    def resume(self, context: "Context", event: dict[str, Any], begun: dict[str, Any]) -> Any:
        """Judge the smoke run that has ended, and go on with the same commit, whatever is checked out meanwhile."""
        from airflow_azureml.client.smoke_runs import Pending  # noqa: PLC0415  # Azure's libraries stay out of parsing

        job, gave_up = event_of(event)
        endpoint = str(begun["endpoint"])
        with self._errors(), self._publisher(context, Source(**begun["source"])) as publisher:
            publisher.changed.extend(begun["changed"])
            if gave_up:
                raise publisher.given_up(Pending(endpoint=endpoint, job=job, timeout_s=0.0), gave_up)
            publisher.judge(endpoint, job)
            pending = self._go_on(publisher)
            if pending is None:
                return publisher.result()
        self._defer(pending, publisher)
        return None

    def on_kill(self) -> None:
        """Cancel the smoke run that this worker waits for, unless another try is to go on with it."""
        if not self._running or self._settings is None or self.on_kill_action != "cancel" or comes_again(self._ti):
            return
        try:
            with AzureMLHook.open(self._settings) as client:
                client.run(jobs.cancel(self._settings.workspace, self._running))
            self.log.warning("Asked Azure ML to cancel job %s", self._running)
        except AzureMLError as error:
            self.log.error("Job %s could NOT be cancelled and may go on: %s", self._running, error)  # noqa: TRY400  # the sentence says it all

    def _go_on(self, publisher: "Publisher") -> "Pending | None":
        """Go on until all is done, or until a smoke run has to be waited for in the triggerer."""
        while True:
            pending = publisher.go_on()
            if pending is None or self.deferrable:
                return pending
            self._running = pending.job.name
            publisher.wait(pending)
            self._running = ""

    def _see_proved(self, source: Source) -> None:
        """See that the commit has passed where it must have, before anything is changed here."""
        from airflow_azureml.client.evidence import see_proved  # noqa: PLC0415  # Azure's libraries stay out of parsing

        required = self.environment.requires
        if required is None:
            return
        if not required.conn_id:
            raise ConfigError(
                f"Environment {self.environment.name!r} requires evidence of {required.environment!r}: say in which"
                " workspace it is, RequiredEvidence(..., conn_id=...). Nothing was published."
            )
        keys = evidence_keys(required.evidence_conn_id or EVIDENCE_CONNECTION)
        settings = AzureMLHook(required.conn_id).settings
        found = see_proved(required, source, settings=settings, keys=keys, now=datetime.now(UTC))
        self.log.info("Commit %s has passed %s: %s", source.sha, required.environment, found.uri)

    def _defer(self, pending: "Pending", publisher: "Publisher") -> None:
        policy = WaitPolicy(
            deadline_s=pending.timeout_s,
            patience_s=PATIENCE.total_seconds(),
            first_s=FIRST_S,
            longest_s=FIRST_S * 12,
        )
        trigger = JobTrigger(
            conn_id=self.environment.conn_id,
            job=pending.job.name,
            submitted_at=time.time(),
            deferred_at=time.time(),
            policy=policy.to_wire(),
            on_kill_action=self.on_kill_action,
        )
        source = publisher.wanted.source
        begun = {
            "endpoint": pending.endpoint,
            "changed": list(publisher.changed),
            "source": {"sha": source.sha, "dirt": source.dirt},
        }
        self.defer(trigger=trigger, method_name="resume", kwargs={"begun": begun})

    @contextlib.contextmanager
    def _publisher(self, context: "Context", begun: Source | None = None) -> "Iterator[Publisher]":
        """Open the publisher; of what was begun, where something was."""
        from airflow_azureml.client.bundle_folder import opened_folder, read_bundle  # noqa: PLC0415  # as above
        from airflow_azureml.client.publishing import Publisher  # noqa: PLC0415  # as above

        if self.on_kill_action not in ("cancel", "leave"):
            raise ConfigError(f"on_kill_action is {self.on_kill_action!r}; it must be 'cancel' or 'leave'.")
        self._ti = ti = context["ti"]
        settings = self._settings = AzureMLHook(self.environment.conn_id).settings
        only = [self.only] if isinstance(self.only, str) else self.only
        folder = Path(self.folder)
        sha = begun.sha if begun is not None and not begun.dirt else self.sha
        with (
            opened_folder(folder, sha=sha, allow_dirty=self.allow_dirty) as (files, source),
            AzureMLHook.open(settings) as client,
        ):
            if begun is not None and source != begun:
                raise ConfigError(f"Folder {folder} has changed since its publication began: it was {begun.version}.")
            bundle = read_bundle(files, name=folder.resolve().name).only([each for each in only if each])
            yield Publisher(
                client=client,
                settings=settings,
                wanted=Wanted.of(bundle, source, self.environment),
                folder=files,
                # A person's clear counts retries anew, and asks for this publication anew.
                claimant=f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{map_index(ti)}/{ti.max_tries}",
                owner=f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{map_index(ti)}/{ti.try_number}",
                marks=marks(cancels_on_kill=self.on_kill_action == "cancel"),
                say=lambda told: self.log.info("%s", told),
            )

    def _tell(self, publisher: "Publisher", told: Sequence[str]) -> None:
        source, workspace = publisher.wanted.source, publisher.settings.workspace
        what = f"{publisher.wanted.bundle.name} {source.version}"
        where = f"{self.environment.name} (workspace {workspace.name})"
        if not told:
            self.log.info("%s is in %s already; nothing is to be done", what, where)
            return
        self.log.info("To publish %s to %s, %d steps are to be done:", what, where, len(told))
        for number, each in enumerate(told, start=1):
            self.log.info("%3d. %s", number, each)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Let Airflow retry what a retry can help, and nothing else."""
        try:
            yield
        except AzureMLError as error:
            if may_pass(error):
                raise
            raise AirflowFailException(str(error)) from error

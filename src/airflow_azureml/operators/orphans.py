"""Ending the jobs that nobody waits for."""

import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError

from airflow_azureml.core.orphans import (
    LIVING,
    Answer,
    Finding,
    OwnedJob,
    Owner,
    Rules,
    Verdict,
    judge,
    reason_to_keep,
    table,
)
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.instance import this_instance
from airflow_azureml.wire import jobs, orphans
from airflow_azureml.wire.http import NOT_FOUND

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client

__all__ = ["AzureMLCancelOrphansOperator"]

#: Orphans that the result names.
NAMED = 20


class AzureMLCancelOrphansOperator(BaseOperator):
    """Finds jobs whose owning task is gone or has ended, shows them in a table, and cancels them if told to.

    A job is kept when Airflow does not answer for its owner, and when the owner is scheduled, queued, running,
    deferred, waiting for a retry, or cleared. Another task instance with the same idempotency key may have adopted a
    job: one with such a key is kept while any instance of its task lives.

    Jobs that another Airflow has submitted are not judged: a job says which Airflow it belongs to, see
    `airflow_azureml.hooks.instance.this_instance`.

    Args:
        dry_run: Whether only to tell. True by default.
        older_than: How old a job must be.
        look_back: How old a job may be; Azure's list of jobs is read as far as that.
        dag_ids: The DAGs whose jobs are judged; empty for all.
        unknown_dags: Whether jobs of DAGs that this Airflow does not know are orphans. They may be another Airflow's,
            or of a DAG that was deleted. False by default.
        include_left: Whether a job whose task said ``on_kill_action="leave"`` may be an orphan. False by default: it is
            shown, and kept.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        dry_run: bool = True,
        older_than: timedelta = timedelta(minutes=10),
        look_back: timedelta = timedelta(days=30),
        dag_ids: Collection[str] = (),
        unknown_dags: bool = False,
        include_left: bool = False,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        # ``dry_run`` is a method of Airflow's operators.
        self.only_tell = dry_run
        self.older_than = older_than
        self.look_back = look_back
        self.dag_ids = dag_ids
        self.unknown_dags = unknown_dags
        self.include_left = include_left
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """List, judge, show, cancel; returns counts and the orphans' names."""
        try:
            self._check_options()
            hook = AzureMLHook(self.conn_id)
            workspace = hook.settings.workspace
            with hook.get_conn() as client:
                since = time.time() - self.look_back.total_seconds()
                found = client.run(orphans.living(workspace, since=since))
                own = self._own(found)
                findings = [self._judge(context, owned) for owned in own]
                self.log.info("Live jobs of Airflow's tasks in workspace %s:\n%s", workspace.name, table(findings))
                lost = [each for each in findings if each.verdict is Verdict.ORPHAN]
                cancelled, failed = self._cancel_all(context, client, workspace, lost)
        except AzureMLError as error:
            raise error if error.retryable else AirflowFailException(str(error)) from error
        if failed:
            raise failed[-1]
        return {
            "dry_run": self.only_tell,
            "live": len(findings),
            "others": len(found) - len(own),
            "orphans": len(lost),
            "cancelled": len(cancelled),
            "jobs": [each.owned.job.name for each in lost[:NAMED]],
        }

    def _own(self, found: Sequence[OwnedJob]) -> list[OwnedJob]:
        """Leave out what another Airflow has submitted, and what does not say whose it is where we do."""
        instance = this_instance()
        own = [owned for owned in found if owned.instance == instance]
        if len(own) < len(found):
            self.log.info(
                "%d live jobs are of other Airflow instances than this one (%s) and are not judged",
                len(found) - len(own),
                instance or "which has no name",
            )
        return own

    def _judge(self, context: "Context", owned: OwnedJob) -> Finding:
        """Ask Airflow where it matters, and judge."""
        rules = Rules(
            older_than_s=self.older_than.total_seconds(),
            unknown_dags=self.unknown_dags,
            include_left=self.include_left,
            dag_ids=frozenset(self.dag_ids),
        )
        now, owner = time.time(), owned.owner
        ask = owner is not None and not reason_to_keep(owned, now=now, rules=rules)
        answer = ask_airflow(context["ti"], owner, others=not owned.is_its_owners_alone) if ask and owner else None
        return judge(owned, answer, now=now, rules=rules)

    def _cancel_all(
        self, context: "Context", client: "Client", workspace: Workspace, lost: Sequence[Finding]
    ) -> tuple[list[str], list[AzureMLError]]:
        """Cancel each orphan that still is one; one that cannot be cancelled hinders no other."""
        cancelled: list[str] = []
        failed: list[AzureMLError] = []
        for each in lost if not self.only_tell else ():
            name = each.owned.job.name
            again = self._judge(context, each.owned)
            if again.verdict is Verdict.KEPT:
                self.log.info("Job %s is kept after all: %s", name, again.why)
                continue
            try:
                client.run(jobs.cancel(workspace, name))
            except AzureMLError as error:
                self.log.error("Job %s could NOT be cancelled and may go on: %s", name, error)  # noqa: TRY400  # the sentence says it all
                failed.append(error)
            else:
                self.log.warning("Asked Azure ML to cancel job %s: %s", name, again.why)
                cancelled.append(name)
        if lost and self.only_tell:
            self.log.warning("%d orphans are left as they are; dry_run=False cancels them", len(lost))
        return cancelled, failed

    def _check_options(self) -> None:
        if self.older_than < timedelta(0) or self.look_back <= self.older_than:
            raise ConfigError(f"look_back is {self.look_back}; it must be more than older_than ({self.older_than}).")


def ask_airflow(ti: Any, owner: Owner, *, others: bool) -> Answer:
    """Ask Airflow's execution API for an owner's state; no answer is an answer that keeps the job.

    Args:
        ti: The task instance that runs; its static methods ask.
        owner: Whose state.
        others: Whether to count the living instances of the same task, too.
    """
    try:
        if not _knows_dag(ti, owner.dag_id):
            return Answer(dag_known=False)
        seen = ti.get_task_states(dag_id=owner.dag_id, task_ids=[owner.task_id], run_ids=[owner.run_id])
        states = seen.get(owner.run_id) or {}
        label = owner.task_id if owner.map_index < 0 else f"{owner.task_id}_{owner.map_index}"
        living = None
        if others:
            living = ti.get_ti_count(dag_id=owner.dag_id, task_ids=[owner.task_id], states=sorted(LIVING))
    except AirflowRuntimeError as error:
        return Answer(trouble=str(error))
    return Answer(found=label in states, state=states.get(label), others_living=living)


def _knows_dag(ti: Any, dag_id: str) -> bool:
    try:
        ti.get_dag(dag_id)
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") == NOT_FOUND:
            return False
        raise
    return True

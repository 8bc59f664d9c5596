"""Waiting for a job in the triggerer."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import attrs
from airflow.triggers.base import TriggerEvent

from airflow_azureml.core.jobs import JobSnapshot, Phase
from airflow_azureml.core.pacing import interval_s
from airflow_azureml.core.waiting import (
    Ended,
    GaveUp,
    History,
    Limit,
    LookAgain,
    OnLimit,
    WaitPolicy,
    decide,
    time_left_s,
)
from airflow_azureml.errors import AzureMLError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger, settled
from airflow_azureml.triggers.poller import POLLERS, Watch
from airflow_azureml.wire import jobs

#: Seconds for which a look may be late, behind others, before it counts as none.
GRACE_S = 30.0
#: Azure ML cancels within seconds; a second try covers one that was throttled.
CANCEL_TRIES = 3
#: How long telling a job to end may take, tries and all. Seconds.
CANCEL_LIMIT_S = 120.0
#: Cancels under way; an event loop alone would not keep them alive.
_TELLING: set[asyncio.Task[None]] = set()


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class JobTrigger(DeclaredTrigger):
    """Watches one job until it has ended, or until we give up; all triggers of a connection share one poller.

    A look that fails is an uncertain look, never a failed job, and never cancels one.

    Attributes:
        conn_id: The Airflow connection.
        job: The job's name.
        submitted_at: When it was submitted: seconds since 1970, UTC.
        policy: What `WaitPolicy.to_wire` wrote.
        on_kill_action: ``cancel`` or ``leave`` the job, when a person ends the task.
        stages: What `History.to_wire` wrote of the looks before; a trigger that starts anew, with its triggerer, counts
            the job's present stage from its own first look, unless it stands here.
        deferred_at: When the worker deferred: seconds since 1970, UTC. See `settled`.
    """

    conn_id: str
    job: str
    submitted_at: float
    policy: dict[str, Any]
    on_kill_action: str = "cancel"
    stages: list[list[Any]] = attrs.field(factory=list)
    deferred_at: float = 0.0

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, wait, look again; the one event says how it ended."""
        with POLLERS.watch(self.conn_id, self.job, submitted_at=self.submitted_at) as watch:
            decision = await self._wait(watch)
        await settled(self.deferred_at)
        yield TriggerEvent(told_of(decision))

    async def _wait(self, watch: Watch) -> Ended | GaveUp:
        policy, history = WaitPolicy.from_wire(self.policy), History.from_wire(self.stages)
        looks, after_s, last_status = 0, 0.0, ""
        certain_at = time.monotonic()
        while True:
            uncertain_s = time.monotonic() - certain_at
            age_s = time.time() - self.submitted_at
            within_s = max(after_s, min(policy.deadline_s - age_s, policy.patience_s - uncertain_s)) + GRACE_S
            job = await watch.look(after_s=after_s, within_s=within_s)
            looks += 1
            now, age_s = time.monotonic(), time.time() - self.submitted_at
            if job.phase is not Phase.UNCERTAIN:
                certain_at = now
            if job.status != last_status:
                self.log.info("Job %s is %s%s", job.name, job.status, f": {job.message}" if job.message else "")
                last_status = job.status
            history = history.after(job, age_s=age_s)
            seen = {"age_s": age_s, "uncertain_s": now - certain_at}
            decision = decide(job, looks=looks, policy=policy, history=history, **seen)
            if not isinstance(decision, LookAgain):
                return decision
            pace = {"first_s": policy.first_s, "longest_s": policy.longest_s, "jitter": random.random()}  # noqa: S311  # no secret
            left_s = time_left_s(job, policy=policy, history=history, **seen)
            after_s = min(interval_s(job.phase, age_s=age_s, **pace), left_s)

    async def on_kill(self) -> None:
        """Cancel the job when a person cleared the task, or marked it failed or succeeded.

        Airflow does not call this when the triggerer stops. Airflow 3.3.2 cancels it once more with every second it
        takes, and Azure may well take two: so the job is told by a task of its own, which no such cancel reaches.
        """
        if self.on_kill_action != "cancel":
            self.log.warning("The task was ended by a person; job %s is left running, as configured", self.job)
            return
        telling = asyncio.create_task(self._tell_to_end(), name=f"cancel of {self.job}")
        _TELLING.add(telling)
        telling.add_done_callback(_TELLING.discard)
        while not telling.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(telling)

    async def _tell_to_end(self) -> None:
        """Ask for the job's end, and say in the task's log what came of it."""
        try:
            async with asyncio.timeout(CANCEL_LIMIT_S):
                await self._cancel_job()
        except Exception as error:  # noqa: BLE001  # a job that goes on must be told of, whatever went wrong
            self.log.error("Job %s could NOT be cancelled and may go on: %r", self.job, error)  # noqa: TRY400  # the sentence says it all
        else:
            self.log.warning("The task was ended by a person; asked Azure ML to cancel job %s", self.job)

    async def _cancel_job(self) -> None:
        settings = await AzureMLHook.aget(self.conn_id)
        async with AzureMLHook.open_async(settings) as client:
            for tries_left in reversed(range(CANCEL_TRIES)):
                try:
                    await client.run(jobs.cancel(settings.workspace, self.job))
                except AzureMLError as error:
                    if not tries_left or not error.retryable:
                        raise
                    await asyncio.sleep(1)
                else:
                    return


def told_of(decision: Ended | GaveUp) -> dict[str, Any]:
    """Write the event that says how a wait ended."""
    match decision:
        case Ended(job=ended):
            return {"job": ended.to_wire(), "gave_up": ""}
        case GaveUp(job=last, reason=reason, limit=limit, action=action):
            return {"job": last.to_wire(), "gave_up": reason, "limit": str(limit), "action": str(action)}


def limit_of(event: dict[str, Any]) -> tuple[Limit, OnLimit]:
    """Read, of the event of a `JobTrigger` that gave up, which limit was passed and what is to become of the job."""
    return Limit(event.get("limit") or Limit.WHOLE), OnLimit(event.get("action") or OnLimit.CANCEL)


def event_of(event: dict[str, Any]) -> tuple[JobSnapshot, str]:
    """Read the event of a `JobTrigger`: the last look, and why we gave up (empty when the job has ended)."""
    return JobSnapshot(**event["job"]), str(event.get("gave_up") or "")

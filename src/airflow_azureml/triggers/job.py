"""Waiting for a job in the triggerer."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import attrs
from airflow.triggers.base import TriggerEvent

from airflow_azureml.core.following import Follow, Following
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
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger, settled
from airflow_azureml.triggers.poller import POLLERS, Watch
from airflow_azureml.wire import jobs, logs, workspaces

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client

#: Seconds for which a look may be late, behind others, before it counts as none.
GRACE_S = 30.0
#: Azure ML cancels within seconds; a second try covers one that was throttled.
CANCEL_TRIES = 3
#: How long telling a job to end may take, tries and all. Seconds.
CANCEL_LIMIT_S = 120.0
#: A trigger that starts so long after its task deferred has run before, in a triggerer that is no more. Seconds.
RESUMED_S = 60.0
#: How long an end may wait for the last of what is told of the job; the budget for that is shared. Seconds.
LAST_WORDS_S = 10.0
#: What the event calls whether the end of each step was told.
TOLD_STEPS = "told_steps"
#: Cancels under way, by the id of their trigger; an event loop alone would not keep them alive.
_TELLING: dict[int, asyncio.Task[None]] = {}


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
        follow: What is told of the job meanwhile, see `Follow`. What was told is forgotten with the triggerer: one that
            starts anew counts the steps that ended before, and goes on near the end of each log.
    """

    conn_id: str
    job: str
    submitted_at: float
    policy: dict[str, Any]
    on_kill_action: str = "cancel"
    stages: list[list[Any]] = attrs.field(factory=list)
    deferred_at: float = 0.0
    follow: str = Follow.NONE.value

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, wait, look again; the one event says how it ended."""
        with POLLERS.watch(self.conn_id, self.job, submitted_at=self.submitted_at) as watch:
            follower = Follower(watch, self.log, self._following())
            try:
                decision = await self._wait(watch, follower)
                has_told = isinstance(decision, Ended) and await follower.finish(decision.job)
            finally:
                follower.stop()
        await settled(self.deferred_at)
        yield TriggerEvent({**told_of(decision), TOLD_STEPS: has_told})

    def _following(self) -> Following:
        """Begin to follow; where another instance of this trigger seems to have done so before, go on."""
        is_resumed = self.deferred_at > 0 and time.time() - self.deferred_at > RESUMED_S
        return Following(Follow(self.follow), is_resumed=is_resumed)

    async def _wait(self, watch: Watch, follower: "Follower") -> Ended | GaveUp:
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
            follower.saw(job)
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
        _TELLING[id(self)] = telling
        telling.add_done_callback(lambda _: _TELLING.pop(id(self), None))
        await self.cleanup()

    async def cleanup(self) -> None:
        """Stay until the job has been told to end, if it is to be: with the trigger, Airflow ends the task's log.

        Airflow 3.3.2 leaves `on_kill` behind at its second cancel where Python is older than 3.12, and calls this.
        """
        telling = _TELLING.get(id(self))
        while telling is not None and not telling.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(telling)

    async def _tell_to_end(self) -> None:
        """Ask for the job's end, and say in the task's log what came of it."""
        try:
            async with asyncio.timeout(CANCEL_LIMIT_S):
                if await self._is_still_waited_for():
                    self.log.info("Another triggerer watches job %s now; it goes on", self.job)
                    return
                await self._cancel_job()
        except Exception as error:  # noqa: BLE001  # a job that goes on must be told of, whatever went wrong
            self.log.error("Job %s could NOT be cancelled and may go on: %r", self.job, error)  # noqa: TRY400  # the sentence says it all
        else:
            self.log.warning("The task was ended by a person; asked Azure ML to cancel job %s", self.job)

    async def _is_still_waited_for(self) -> bool:
        """Ask Airflow whether the task is still deferred, so that nobody has ended it.

        Airflow 3.3.2 calls `on_kill` as well where it gave this trigger to another triggerer, since this one's sign of
        life came late. A task that was cleared and waits again has a try that ends the job itself.
        """
        ti = self.task_instance
        if ti is None:
            return False
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415  # not for DAG parsing

        where: dict[str, Any] = {
            "dag_id": ti.dag_id,
            "task_ids": [ti.task_id],
            "run_ids": [ti.run_id],
            "map_index": ti.map_index,
        }
        try:
            states = await asyncio.to_thread(RuntimeTaskInstance.get_task_states, **where)
        except Exception as error:  # noqa: BLE001  # whatever Airflow raises, a kill that it told of is believed
            self.log.warning("Airflow does not say whether the task still waits for job %s: %r", self.job, error)
            return False
        return "deferred" in states.get(ti.run_id, {}).values()

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


class Follower:
    """Tells in a task's log what its job does while the trigger waits; nothing that goes wrong here matters to that.

    Args:
        watch: The trigger's view of its job.
        log: The trigger's.
        following: What is told.
    """

    def __init__(self, watch: Watch, log: Any, following: Following) -> None:
        self._watch = watch
        self._log = log
        self._following = following
        self._looking: asyncio.Task[None] | None = None

    def saw(self, job: JobSnapshot) -> None:
        """Look into a job that runs, beside the wait, if it is time and the last look is over."""
        is_free = self._looking is None or self._looking.done()
        if is_free and self._following.is_due(job, time.monotonic()):
            self._looking = asyncio.create_task(self._look(job), name=f"following {job.name}")

    async def finish(self, job: JobSnapshot) -> bool:
        """Look into a job that has ended, once more; return whether the end of each of its steps was told."""
        if not self._following.concerns(job):
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                if self._looking is not None:
                    await asyncio.wait([self._looking])
                await self._look(job)
        return self._following.progress.has_told_all()

    def stop(self) -> None:
        """Tell no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self, job: JobSnapshot) -> None:
        try:
            told = await self._watch.aside(
                lambda workspace, data_plane: logs.look(workspace, job, self._following, data_plane=data_plane)
            )
        except Exception as error:  # noqa: BLE001  # not even a mistake of ours may end a wait of days
            told = self._following.trouble(f"What job {job.name} does", error)
        for words in told:
            self._log.info("%s", words)
        self._following.looked(time.monotonic())


class BlockingFollower:
    """`Follower` for a worker that waits itself; every look takes the time that it takes.

    Args:
        client: The worker's.
        workspace: Where the job is.
        log: The task's.
        following: What is told.
    """

    def __init__(self, client: "Client", workspace: Workspace, log: Any, following: Following) -> None:
        self._client = client
        self._workspace = workspace
        self._log = log
        self._following = following
        self._data_plane = ""

    def saw(self, job: JobSnapshot) -> None:
        """Look into a job that runs, if it is time, and into one that has ended once more."""
        is_last = job.phase.is_final and self._following.concerns(job)
        if not is_last and not self._following.is_due(job, time.monotonic()):
            return
        try:
            if not self._data_plane:
                self._data_plane = self._client.run(workspaces.data_plane(self._workspace))
            talk = logs.look(self._workspace, job, self._following, data_plane=self._data_plane)
            told = self._client.run(jobs.metered(talk, jobs.Meter(), now=time.time()))
        except AzureMLError as error:
            told = self._following.trouble(f"What job {job.name} does", error)
        for words in told:
            self._log.info("%s", words)
        self._following.looked(time.monotonic())

    def event(self, decision: Ended | GaveUp) -> dict[str, Any]:
        """Write the event that says how the wait ended."""
        return {**told_of(decision), TOLD_STEPS: self._following.progress.has_told_all()}


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

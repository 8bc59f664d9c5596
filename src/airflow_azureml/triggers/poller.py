"""One poller for all the jobs of a connection that a triggerer waits for.

A trigger watches its job, and asks for one look after the other; what is asked of Azure ML, and when, is the plan's to
say (`airflow_azureml.core.polling`). The poller runs while somebody watches, with one client, and closes it when the
last has left. Whatever goes wrong, a connection that cannot be read included, is an uncertain look for those whose jobs
are due, and never an error: how long that is borne is each watcher's own affair.
"""

import asyncio
import contextlib
import contextvars
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field, frozen

from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.ml_events import place_of
from airflow_azureml.core.pacing import Budget, Throttle
from airflow_azureml.core.polling import PollPlan, ReadJob, ReadPage, Rest
from airflow_azureml.core.workspace import ConnectionSettings, Workspace
from airflow_azureml.errors import AzureMLError, RefusedError, ServiceError, UnavailableError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.wire import jobs, workspaces
from airflow_azureml.wire.http import Flow

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import AsyncClient

log = logging.getLogger(__name__)

T = TypeVar("T")

#: The identity is not, or no longer, allowed in; perhaps the connection has been mended since.
KEPT_OUT = frozenset({0, 401, 403})
TOO_MANY = 429
#: How much may be asked of the data plane beside the looks, for all jobs of a connection together: a step's progress is
#: worth less than knowing that a job has ended. The data plane's own limits are not documented.
ASIDES = Budget(rate=5.0, burst=20, at_once=4)
#: What is told when the poller itself was stopped in the middle of a request.
BROKEN_OFF = jobs.Glimpse(trouble=AzureMLError("the look was broken off"))


@frozen(kw_only=True)
class Rereading:
    """When a connection is read again, in case somebody has changed it; seconds.

    Attributes:
        every_s: As long as all is well.
        soon_s: After a refusal or no answer at all, and when it could not be read or used.
    """

    every_s: float = 300.0
    soon_s: float = 15.0


@define(eq=False)
class Watch:
    """One trigger's view of its job; `Pollers.watch` gives it.

    Attributes:
        job: The job's name.
        submitted_at: When the job was submitted: seconds since 1970, UTC.
    """

    job: str
    submitted_at: float
    _poller: "JobPoller"
    _answer: asyncio.Future[JobSnapshot] | None = field(init=False, default=None)

    async def look(self, *, after_s: float, within_s: float) -> JobSnapshot:
        """Wait for the next look at the job.

        Args:
            after_s: Seconds until it is wanted. It may come a little earlier, when it costs nothing.
            within_s: Seconds after which there has to be an answer, even if it is that there was no look.

        Returns:
            What was seen; with the status ``Unknown`` and the reason as its message when that was nothing.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._poller.ask(self, after_s)
        try:
            async with asyncio.timeout(within_s):
                return await self._answer
        except TimeoutError:
            return JobSnapshot(name=self.job, status="Unknown", message=f"there was no look for {within_s:.0f} s")
        finally:
            self._answer = None

    async def aside(self, talk: Callable[[Workspace, str], Flow[T]]) -> T:
        """Hold a conversation with the data plane when it is this one's turn, which may be long; see `ASIDES`.

        Args:
            talk: Is given the workspace and the address of its data plane.

        Raises:
            AzureMLError: It was refused, there was no answer, or the connection cannot be used just now.
        """
        return await self._poller.aside(talk)

    def take(self, seen: JobSnapshot) -> None:
        """Hand over a look; nobody may be waiting for one just now."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(seen)


class JobPoller:
    """Looks at any number of jobs of one connection's workspace, as long as somebody watches one.

    Args:
        conn_id: The Airflow connection.
        budget: How much may be asked.
        rereading: When the connection is read again.
    """

    def __init__(self, conn_id: str, *, budget: Budget, rereading: Rereading) -> None:
        self.conn_id = conn_id
        self._rereading = rereading
        self._plan = PollPlan(budget)
        self._watches: dict[str, list[Watch]] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._rests_until = -math.inf
        self._connection_at = 0.0
        self._trouble = ""
        self._client: tuple[AsyncClient, Workspace] | None = None
        self._data_plane = ""
        self._aside_pace, self._aside_turns = Throttle(ASIDES), asyncio.Semaphore(ASIDES.at_once)

    @property
    def is_running(self) -> bool:
        """Whether it holds a client, or is about to."""
        return self._task is not None and not self._task.done()

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches a job."""
        return bool(self._watches)

    def join(self, watch: Watch) -> None:
        """Let somebody watch a job."""
        self._watches.setdefault(watch.job, []).append(watch)

    def leave(self, watch: Watch) -> None:
        """Let somebody go; with the last, the poller ends."""
        watching = self._watches.get(watch.job, [])
        if watch in watching:
            watching.remove(watch)
        if not watching:
            self._watches.pop(watch.job, None)
            self._plan.forget(watch.job)
        if not self._watches:
            self._changed.set()

    def ask(self, watch: Watch, after_s: float) -> None:
        """Ask for a look; see `Watch.look`."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        due_at = now + after_s
        self._plan.ask(watch.job, now=now, due_at=due_at, interval_s=after_s, submitted_at=watch.submitted_at)
        if due_at < self._rests_until:
            self._changed.set()
        if not self.is_running:
            # In a context of its own: what this task logs is not the log of the trigger that happened to be first.
            name = f"poller of {self.conn_id}"
            self._task = loop.create_task(self._run(), name=name, context=contextvars.Context())

    def nudge(self, place: str, job: str) -> None:
        """Look at a job soon, if it is watched and of this workspace; see `Pollers.nudge`."""
        if job not in self._watches or self._client is None or place_of(self._client[1]) != place:
            return
        if self._plan.hint(job, now=asyncio.get_running_loop().time()) < self._rests_until:
            self._changed.set()

    async def aside(self, talk: Callable[[Workspace, str], Flow[T]]) -> T:
        """Hold a conversation beside the looks; see `Watch.aside`."""
        clock, pace = asyncio.get_running_loop().time, self._aside_pace
        async with self._aside_turns:
            while (wait_s := pace.free_at(clock()) - clock()) > 0:  # noqa: ASYNC110  # nothing happens but time
                await asyncio.sleep(wait_s)
            if self._client is None:
                raise UnavailableError(f"Use connection {self.conn_id!r}", message="It cannot be used just now.")
            client, workspace = self._client
            meter = jobs.Meter()
            try:
                if not self._data_plane:
                    found = workspaces.data_plane(workspace)
                    self._data_plane = await client.run(jobs.metered(found, meter, now=time.time()))
                return await client.run(jobs.metered(talk(workspace, self._data_plane), meter, now=time.time()))
            finally:
                for _ in range(meter.requests):
                    pace.spend(clock())
                pace.told(clock(), retry_after_s=meter.retry_after_s, reads_left=None)
                pace.failed(clock()) if meter.is_refused else pace.succeeded()

    async def ended(self) -> None:
        """Wait until it has ended and its client is closed, as it does when nobody watches any more."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        """Poll, with a new client whenever the connection has changed or something broke."""
        while self._watches:
            try:
                settings = await AzureMLHook.aget(self.conn_id)
                async with AzureMLHook.open_async(settings) as client:
                    log.info("Looking at the jobs of connection %s", self.conn_id)
                    self._client, self._data_plane = (client, settings.workspace), ""
                    try:
                        await self._poll(client, settings)
                    finally:
                        self._client = None
            except Exception as error:  # noqa: BLE001  # nothing that happens here says anything about a job
                self._in_trouble(f"The poller of connection {self.conn_id!r} failed: {error!r}")
                self._tell_due(f"connection {self.conn_id!r} could not be used: {error!r}")
                await self._recover()
        log.info("Nobody waits for jobs of connection %s any more", self.conn_id)

    async def _poll(self, client: "AsyncClient", settings: ConnectionSettings) -> None:
        """Do as the plan says until nobody watches, or the connection has changed."""
        loop = asyncio.get_running_loop()
        self._connection_at = loop.time() + self._rereading.every_s
        under_way: set[asyncio.Task[None]] = set()
        try:
            while self._watches:
                if loop.time() >= self._connection_at and await self._has_changed(settings):
                    break
                step = self._plan.next(loop.time())
                if isinstance(step, Rest):
                    await self._rest(min(step.until, self._connection_at))
                    continue
                task = loop.create_task(self._read(client, settings.workspace, step))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                # Whoever has something to do in this loop comes before the next step.
                await asyncio.sleep(0)
            if self._watches and under_way:
                await asyncio.wait(under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _read(self, client: "AsyncClient", workspace: Workspace, step: ReadJob | ReadPage) -> None:
        """Do one step, and hand on what comes of it."""
        seen = BROKEN_OFF
        try:
            match step:
                case ReadJob(name=name):
                    seen = await self._hold(client, jobs.glance(workspace, name, now=time.time()))
                case ReadPage(link=link):
                    wanted = self._watches.keys()
                    seen = await self._hold(client, jobs.browse(workspace, link, wanted, now=time.time()))
        finally:
            now = asyncio.get_running_loop().time()
            if isinstance(step, ReadJob):
                self._plan.job_read(step.name)
            elif seen.trouble is None:
                self._plan.page_read(now, seen.names, link=seen.link)
            else:
                self._plan.page_failed(now, throttled=getattr(seen.trouble, "status", 0) == TOO_MANY)
            self._took(seen)
            if isinstance(step, ReadJob) and seen.trouble is not None:
                self._tell([step.name], str(seen.trouble))

    async def _hold(self, client: "AsyncClient", flow: Flow[jobs.Glimpse]) -> jobs.Glimpse:
        """Hold a conversation; whatever breaks it is trouble like any other."""
        try:
            return await client.run(flow)
        except Exception as error:  # a mistake of ours must not end a wait of days
            log.exception("A look at jobs of connection %s failed", self.conn_id)
            return jobs.Glimpse(trouble=AzureMLError(f"a look failed: {error!r}"))
        finally:
            self._changed.set()

    def _took(self, seen: jobs.Glimpse) -> None:
        """Hand out what was seen; trouble is everybody's when it makes all wait."""
        now, throttle = asyncio.get_running_loop().time(), self._plan.throttle
        throttle.told(now, retry_after_s=seen.retry_after_s, reads_left=seen.reads_left)
        for job in seen.jobs:
            for watch in self._watches.get(job.name, ()):
                watch.take(job)
        trouble = seen.trouble
        if trouble is None:
            throttle.succeeded()
            self._in_trouble("")
            return
        if isinstance(trouble, ServiceError) and trouble.status in KEPT_OUT:
            self._connection_at = min(self._connection_at, now + self._rereading.soon_s)
        is_the_jobs_own = isinstance(trouble, RefusedError) and trouble.status not in KEPT_OUT
        if not is_the_jobs_own and throttle.failed(now):
            self._in_trouble(str(trouble))
            self._tell_due(str(trouble))

    def _tell_due(self, why: str) -> None:
        due = self._plan.due(asyncio.get_running_loop().time())
        for name in due:
            self._plan.looked(name)
        self._tell(due, why)

    def _tell(self, names: Sequence[str], why: str) -> None:
        """Tell those who watch these jobs that they could not be seen."""
        for name in names:
            for watch in self._watches.get(name, ()):
                watch.take(JobSnapshot(name=name, status="Unknown", message=why))

    def _in_trouble(self, trouble: str) -> None:
        """Log the beginning and the end of trouble, not its every minute."""
        if trouble and not self._trouble:
            log.warning("Jobs of connection %s cannot be seen: %s", self.conn_id, trouble)
        elif self._trouble and not trouble:
            log.info("Jobs of connection %s can be seen again", self.conn_id)
        self._trouble = trouble

    async def _has_changed(self, settings: ConnectionSettings) -> bool:
        """Read the connection again; one that cannot be read just now is the same."""
        self._connection_at = asyncio.get_running_loop().time() + self._rereading.every_s
        try:
            changed = await AzureMLHook.aget(self.conn_id) != settings
        except Exception as error:  # noqa: BLE001  # Airflow's secrets backends raise what they like
            log.warning("Connection %s could not be read again, and is used as it was: %r", self.conn_id, error)
            return False
        if changed:
            log.info("Connection %s has changed", self.conn_id)
        return changed

    async def _recover(self) -> None:
        """Wait before the next try, whoever asks in the meantime, unless nobody watches any more."""
        self._changed.clear()
        if self._watches:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rereading.soon_s):
                    await self._changed.wait()

    async def _rest(self, until: float) -> None:
        """Do nothing until then, or until something changes."""
        self._rests_until = until
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(None if until == math.inf else until):
                await self._changed.wait()
        self._changed.clear()
        self._rests_until = -math.inf


@define
class Pollers:
    """The pollers of a process, by event loop and connection; a triggerer runs all its triggers in one loop."""

    budget: Budget = field(factory=Budget)
    rereading: Rereading = field(factory=Rereading)
    _known: dict[tuple[asyncio.AbstractEventLoop, str], JobPoller] = field(init=False, factory=dict)

    @contextlib.contextmanager
    def watch(self, conn_id: str, job: str, *, submitted_at: float) -> Iterator[Watch]:
        """Watch a job, with the poller that watches the others of its connection."""
        here = (asyncio.get_running_loop(), conn_id)
        for loop, connection in [key for key in self._known if key[0].is_closed()]:
            del self._known[loop, connection]
        poller = self._known.get(here)
        if poller is None:
            poller = self._known[here] = JobPoller(conn_id, budget=self.budget, rereading=self.rereading)
        watch = Watch(job, submitted_at, poller)
        poller.join(watch)
        try:
            yield watch
        finally:
            poller.leave(watch)
            if not poller.is_watched and self._known.get(here) is poller:
                del self._known[here]

    def nudge(self, place: str, job: str) -> None:
        """Hasten the next look at a job, since somebody heard that something has happened to it.

        Nothing is believed of what was heard, and a job that nobody watches costs nothing. A job is looked at no more
        than once every `HINT_GAP_S` seconds for it, and within the budget of all looks.

        Args:
            place: The job's workspace; see `place_of`.
            job: The job's name.
        """
        for poller in self.running():
            poller.nudge(place, job)

    def running(self) -> list[JobPoller]:
        """Return those that run in this event loop."""
        here = asyncio.get_running_loop()
        return [poller for (loop, _), poller in self._known.items() if loop is here and poller.is_running]


#: The whole point is that triggers which know nothing of each other share it.
POLLERS = Pollers()

"""The processes of a deployment as requests see them, and the queue before them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Protocol

import attrs


class Process(Protocol):
    """One process that scores."""

    @property
    def url(self) -> str:
        """Where it listens, without a trailing slash."""

    #: How many requests it has now; whoever sends it one counts.
    busy: int


class Deployed(Protocol):
    """What is served."""

    def instances(self, deployment_id: str) -> Sequence[Process]:
        """List the processes of a deployment that are ready now, by its ARM id; none where it is not there."""


class NobodyReadyError(Exception):
    """No process of the deployment is ready."""


@attrs.frozen(eq=False)
class _Waiting:
    """A request that waits: how many a process takes at a time, which ones it will not have, and what it is given."""

    most: int
    without: Sequence[Process]
    given: asyncio.Future[Process]


@attrs.define(eq=False)
class Queue:
    """Who has a request for one deployment, and who of them waits for a process, in the order in which they came.

    Attributes:
        ready: Lists the processes that are ready now.
        pending: How many requests there are, those that wait and those that do not.
    """

    ready: Callable[[], Sequence[Process]]
    pending: int = 0
    _waiting: deque[_Waiting] = attrs.field(factory=deque, init=False)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count one more while the block runs."""
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    @contextlib.asynccontextmanager
    async def process(self, *, most: int, without: Sequence[Process] = ()) -> AsyncIterator[Process]:
        """Wait for a process, and be in it while the block runs; it is the one that is least busy.

        Args:
            most: How many requests a process takes at a time.
            without: Processes that are not to be given.

        Raises:
            NobodyReadyError: There is none, or there is none any more.
        """
        given = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(most, without, given))
        self._serve()
        try:
            process: Process = await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled() and given.exception() is None:
                self._leave(given.result())  # it was our turn, and we shall not take it
            raise
        try:
            yield process
        finally:
            self._leave(process)

    def _leave(self, process: Process) -> None:
        process.busy -= 1
        self._serve()

    def _serve(self) -> None:
        """Give the first ones that wait their processes, as long as there are free ones."""
        while self._waiting:
            first = self._waiting[0]
            ready = [each for each in self.ready() if each not in first.without]
            least = min(ready, key=lambda process: process.busy, default=None)
            if least is not None and least.busy >= first.most and not first.given.done():
                return
            self._waiting.popleft()
            if first.given.done():  # it gave up
                continue
            if least is None:
                first.given.set_exception(NobodyReadyError())
            else:
                least.busy += 1
                first.given.set_result(least)

"""Places for the processes of an online deployment, in which one that ends is replaced by another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import attrs

from azureml_emulator.clock import CLOCK
from azureml_emulator.serving_process import Instance, ScoringProcess, StartError

#: A process that ended is replaced after so many seconds; each time it is not ready again, after twice as many.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
#: How often is looked whether something has come about, in seconds.
TICK_S = 0.05


@attrs.define(eq=False)
class Seat:
    """A place for one process; whatever process is in it, one that ends is replaced by another."""

    start: Callable[[], Awaitable[ScoringProcess]]
    say: Callable[[str], None]
    instance: Instance | None = None
    _process: ScoringProcess | None = None
    _keeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the first process.

        Raises:
            StartError: It ended before it was ready.
        """
        if not await self._fill():
            raise StartError("ResourceNotReady")
        self._keeping = asyncio.create_task(self._keep())

    async def _fill(self) -> bool:
        """Start a process; False when it ended before it was ready."""
        self._process = await self.start()
        url = await self._process.ready()
        if url is None:
            self.say(f"The process ended with exit code {await self._process.ended()} before it was ready.")
            await self._process.end()
            return False
        self.instance = Instance(url)
        return True

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while self._process is not None:
            exit_code = await self._process.ended()
            if self.instance is not None:
                self.say(f"The process ended with exit code {exit_code}; another one is started.")
                self.instance, pause_s = None, FIRST_PAUSE_S
            await self._process.end()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            with contextlib.suppress(StartError):  # then it is tried again
                await self._fill()

    async def close(self) -> None:
        """End the process, and start no other."""
        self.instance = None
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._process is not None:
            await self._process.end()


async def open_all(seats: Sequence[Seat], *, patience_s: float, never_ready: bool = False) -> None:
    """Start the processes of some seats, and wait until all are ready; where one is not, all are ended.

    Args:
        seats: The seats.
        patience_s: How long that may take, in seconds of the emulator's clock.
        never_ready: Whether they are never found ready, whatever they are.

    Raises:
        StartError: One ended before it was ready, or the time was over.
    """
    opening = [asyncio.create_task(seat.open()) for seat in seats]
    deadline = CLOCK.now_s() + patience_s
    try:
        while not await _are_done(opening) or never_ready:
            if CLOCK.now_s() >= deadline:
                raise StartError("ResourceNotReady", _not_ready(patience_s))  # noqa: TRY301  # one way out
    except BaseException:
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        await close_all(seats)
        raise


async def _are_done(opening: Sequence[asyncio.Task[None]]) -> bool:
    """Wait for a moment, and tell whether all have come to a good end.

    Raises:
        StartError: One came to a bad end.
    """
    await asyncio.sleep(TICK_S)
    for task in opening:
        if task.done():
            task.result()
    return all(task.done() for task in opening)


def _not_ready(patience_s: float) -> str:
    return (
        f"User container was not ready within {patience_s:g} s: Readiness probe failed: HTTP probe failed with"
        " statuscode: 502."
    )


async def retire(seats: Sequence[Seat], *, patience_s: float) -> None:
    """End processes to which nobody is sent any more, once they have answered what is in them.

    Args:
        seats: The seats.
        patience_s: How long that may take, in seconds.
    """
    instances = [seat.instance for seat in seats if seat.instance]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while any(instance.busy for instance in instances) and loop.time() < deadline:  # noqa: ASYNC110  # whoever counts sets no event
        await asyncio.sleep(TICK_S)
    await close_all(seats)


async def close_all(seats: Sequence[Seat]) -> None:
    """End processes now."""
    await asyncio.gather(*(seat.close() for seat in seats))

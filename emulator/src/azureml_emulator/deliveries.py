"""The way of an event to its queues: at once, or as the faults in force will have it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import attrs

from azureml_emulator.event_faults import LONGEST_BEHIND_S, EventFault, EventFaults

log = logging.getLogger(__name__)

Json = dict[str, Any]


@attrs.define(eq=False)
class _Held:
    """An event that waits.

    Attributes:
        overtakers: How many later ones have still to be sent to a queue of its own; None where only time counts.
        timer: Sends it when its time has come.
    """

    event: Json
    queues: Sequence[str]
    overtakers: int | None
    timer: asyncio.Task[None] | None = None


class Deliveries:
    """Sends events, unless a fault has them lost, doubled, delayed or overtaken.

    Args:
        send: Sends one event to one queue; False when the queue could not be told.
        faults: Those in force.
        longest_behind_s: After so many seconds an event is sent that nothing has overtaken.
    """

    def __init__(
        self,
        send: Callable[[str, Json], Awaitable[bool]],
        faults: EventFaults,
        *,
        longest_behind_s: float = LONGEST_BEHIND_S,
    ) -> None:
        self._send = send
        self._faults = faults
        self._longest_behind_s = longest_behind_s
        self._held: list[_Held] = []
        self._timers: set[asyncio.Task[None]] = set()

    async def deliver(self, event: Json, queues: Sequence[str]) -> bool:
        """Send an event to its queues; one that a fault holds back is sent later.

        Returns:
            False when a queue could not be told, or a fault has the event lost.
        """
        if not queues:
            return True
        fault = self._faults.strike(event)
        if fault is None:
            return await self._tell(event, queues)
        log.info("A fault strikes the event of %s: %s", event["subject"], fault.to_wire())
        if fault.lost:
            return False
        if fault.doubled:
            first, second = await self._tell(event, queues), await self._tell(event, queues)
            return first and second
        self._hold(event, queues, fault)
        return True

    def _hold(self, event: Json, queues: Sequence[str], fault: EventFault) -> None:
        held = _Held(event, queues, fault.behind)
        self._held.append(held)
        wait_s = self._longest_behind_s if fault.behind else fault.wait_s(event)
        held.timer = asyncio.create_task(self._tell_later(held, wait_s))
        self._timers.add(held.timer)
        held.timer.add_done_callback(self._timers.discard)

    async def _tell_later(self, held: _Held, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        self._held.remove(held)
        await self._tell(held.event, held.queues)

    async def _tell(self, event: Json, queues: Sequence[str]) -> bool:
        told = [await self._send(queue, event) for queue in queues]
        await self._let_go(queues)
        return all(told)

    async def _let_go(self, queues: Collection[str]) -> None:
        """Count an event that was sent, and send those that enough have overtaken now."""
        for held in self._held:
            if held.overtakers is not None and not set(queues).isdisjoint(held.queues):
                held.overtakers -= 1
        due = [held for held in self._held if held.overtakers is not None and held.overtakers <= 0]
        for held in due:
            self._held.remove(held)
            if held.timer is not None:
                held.timer.cancel()
        for held in due:
            await self._tell(held.event, held.queues)

    async def close(self) -> None:
        """End; what is held back is lost, and the log says how many events that were."""
        if self._held:
            log.warning("%d events that faults held back are lost: the emulator stops", len(self._held))
        self._held.clear()
        for timer in self._timers:
            timer.cancel()
        await asyncio.gather(*self._timers, return_exceptions=True)

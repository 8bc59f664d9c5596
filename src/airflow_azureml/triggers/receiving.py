"""Receiving messages and settling them: what a storage queue and Service Bus have in common.

A message is settled only after Airflow has stored what it told. The kinds of queues differ in their `Source` alone.
"""

import asyncio
import itertools
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Hashable, Sequence
from typing import Any

import attrs
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome, SharedStreamProducer

from airflow_azureml.core.dead_letters import reason_of
from airflow_azureml.errors import UnavailableError
from airflow_azureml.triggers.sources import FAILURES, Held, Page, Source
from airflow_azureml.wire import events

__all__ = ["LONGEST_MESSAGE", "Pace", "QueueProducer"]

log = logging.getLogger(__name__)

#: Most calls at once that settle or hold messages.
CALLS_AT_ONCE = 8
#: Event Grid's events have at most 1 MiB; whatever is longer is not read.
#: Source: https://learn.microsoft.com/azure/event-grid/quotas-limits.
LONGEST_MESSAGE = 1024 * 1024
#: The longest time between two looks at what is held. Seconds.
_LOOK_S = 1.0


@attrs.frozen(kw_only=True)
class Pace:
    """How a queue is read. Names that end with ``_s`` are seconds.

    Attributes:
        start_delay_s: Wait before the first receive. After a triggerer's restart the assets of one queue come back
            one after the other; a message that is received before its asset is back would be deleted unseen.
        visibility_s: How long a received message is hidden from others; it is renewed while Airflow stores it. After a
            crash, so much time passes before the message is delivered again. A Service Bus has a time of its own for
            that, which is its queue's lock duration.
        again_s: Wait before a message whose events were not stored is delivered again; an asset that failed on it comes
            back within two seconds, and must be there, or the others' success would delete the message.
        soon_s: Wait after less than a page came; doubled whenever the queue is empty after that.
        poll_s: Longest wait after the queue was empty.
        longest_wait_s: Most to wait after a failure.
        most_deliveries: Deliveries after which a message is put aside: whoever receives it seems to die of it.
        pages_at_once: Most pages, of up to 32 messages, that wait for being stored. Airflow says two seconds after it
            was told of a page that it is stored, so that 16 of them would allow 250 messages a second.
        receivers: Most that receive at the same time; all but one rest while the queue is empty.
        tell_s: How often the log is told how many messages there were, where that has changed.
    """

    start_delay_s: float = 3.0
    visibility_s: int = 60
    again_s: int = 15
    soon_s: float = 0.1
    poll_s: float = 1.0
    longest_wait_s: float = 60.0
    most_deliveries: int = 5
    pages_at_once: int = 64
    receivers: int = 4
    tell_s: float = 60.0


@attrs.define
class _Failures:
    """Failures in a row: when to say so, and how long to wait."""

    queue: str
    longest_wait_s: float
    count: int = 0
    said: str = ""

    def wait_s(self, error: Exception) -> float:
        """Count one, log it when it is not the one before, and choose a wait."""
        self.count += 1
        kind = f"{type(error).__name__} {getattr(error, 'status', '')} {getattr(error, 'code', '')}"
        if kind != self.said:
            self.said = kind
            log.error(
                "Arrivals of %s wait: %s. Trying again every %.0f s or sooner", self.queue, error, self.longest_wait_s
            )
        return random.uniform(0, min(self.longest_wait_s, 2.0 ** min(self.count, 16)))  # noqa: S311  # spreads load

    def over(self) -> None:
        """Note a success."""
        if self.count:
            log.info("Queue %s answers again after %d failures", self.queue, self.count)
        self.count, self.said = 0, ""


class QueueProducer(SharedStreamProducer):
    """Reads one queue for all assets that are fed from it.

    Args:
        source: The queue.
        pace: How to read it.

    Attributes:
        counts: Messages since the start: received, no arrival, wanted by no asset, put aside. Told in the log every
            `Pace.tell_s`.
    """

    def __init__(self, source: Source, pace: Pace) -> None:
        self.counts: Counter[str] = Counter()
        self._source = source
        self._pace = pace
        self._numbers = itertools.count()
        self._pages: dict[int, Page] = {}
        self._room = asyncio.Semaphore(pace.pages_at_once)
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)
        self._busy = asyncio.Event()
        self._received: asyncio.Queue[Page] = asyncio.Queue()
        self._failures = _Failures(source.url, pace.longest_wait_s)
        self._running: list[asyncio.Task[None]] = []
        self._settling: set[asyncio.Task[None]] = set()

    async def open_stream(self) -> AsyncIterator[tuple[Page, Page]]:
        """Yield pages for ever; a queue that is missing, refuses or is silent is asked again, and said once."""
        await asyncio.sleep(self._pace.start_delay_s)
        log.info("Receiving from %s", self._source.url)
        self._running = [
            asyncio.create_task(self._renew(), name=f"hold messages of {self._source.url}"),
            asyncio.create_task(self._tell(), name=f"count messages of {self._source.url}"),
            *(
                asyncio.create_task(self._receive(lane), name=f"receive from {self._source.url} ({lane})")
                for lane in range(self._pace.receivers)
            ),
        ]
        while True:
            page = await self._next_page()
            yield page, page

    def get_advance_lane(self, broker_payload: Any) -> Hashable:
        """Let no page wait for another."""
        return broker_payload.number  # type: ignore[no-any-return]  # a Page

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Settle pages whose asset events are stored, or will never be; raises nothing, so the stream goes on."""
        for page, outcome in batch:
            settling = asyncio.create_task(self._settle(page, outcome))
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)

    async def aclose(self) -> None:
        """Give back what is not stored, so that the next triggerer need not wait, and close the connections."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.gather(*self._settling)
        pages, self._pages = self._pages, {}
        messages = [message for page in pages.values() for message in page.messages.values()]
        await asyncio.gather(*(self._give_back(message, after_s=0) for message in messages))
        await self._source.close()

    async def _next_page(self) -> Page:
        """Wait for a page; a receiver that ended of itself ends the stream, loudly."""
        waiting = asyncio.create_task(self._received.get())
        try:
            await asyncio.wait({waiting, *self._running}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            for task in self._running:
                if task.done():
                    task.result()
            raise AssertionError("a receiver ended")
        finally:
            waiting.cancel()

    async def _receive(self, lane: int) -> None:
        """Receive for ever; all receivers but the first rest while the queue is empty or does not answer."""
        wait_s = self._pace.poll_s
        while True:
            if lane:
                await self._busy.wait()
            await self._room.acquire()
            try:
                page, more = await self._page(lane)
            except FAILURES as error:
                self._room.release()
                self._busy.clear()
                if lane:
                    continue
                if not isinstance(error, UnavailableError):
                    await self._source.close()  # what is mended in the connection counts from the next try on
                await asyncio.sleep(self._failures.wait_s(error))
                continue
            except BaseException:
                self._room.release()
                raise
            self._failures.over()
            self._busy.set() if more else self._busy.clear()
            if page is not None:
                self._pages[page.number] = page
                self._received.put_nowait(page)
            else:
                self._room.release()
            if not more and not lane:
                wait_s = min(self._pace.poll_s, self._pace.soon_s if page is not None else 2 * wait_s)
                await asyncio.sleep(wait_s)

    async def _page(self, lane: int) -> tuple[Page | None, bool]:
        """Receive once; returns what is to be handed on, if anything, and whether there is likely more."""
        received, more = await self._source.receive(lane)
        readings = await asyncio.gather(*(self._read(message) for message in received))
        told = {message.id: each for message, each in zip(received, readings, strict=True) if each is not None}
        if not told:
            return None, more
        messages = {message.id: message for message in received if message.id in told}
        return Page(number=next(self._numbers), messages=messages, told=told, cloud=self._source.cloud), more

    async def _read(self, message: Held) -> events.Message | None:
        """Read one message; one that tells nothing to anybody is settled at once."""
        self.counts["received"] += 1
        if message.deliveries > self._pace.most_deliveries:
            await self._refuse(message, f"delivered {message.deliveries} times and never stored")
            return None
        if len(message.text) > LONGEST_MESSAGE:
            await self._refuse(message, f"longer than the {LONGEST_MESSAGE} characters that Event Grid may send")
            return None
        try:
            told = events.parse(message.text)
        except events.MalformedMessageError as error:
            await self._refuse(message, str(error))
            return None
        if told.ignored:
            log.info("Message %s of %s is no arrival: %s", message.id, self._source.url, dict(told.ignored))
        if told.arrivals or told.workspace_events:
            return told
        self.counts["no arrival"] += 1
        await self._delete(message)
        return None

    async def _settle(self, page: Page, outcome: AdvanceOutcome) -> None:
        self._pages.pop(page.number, None)
        try:
            async with page.lock:
                await asyncio.gather(*(self._settle_one(page, message, outcome) for message in page.messages.values()))
        finally:
            self._room.release()
        blobs = {ident for ident, told in page.told.items() if told.arrivals}
        if outcome.is_clean and (unwanted := blobs - page.wanted):
            self.counts["wanted by no asset"] += len(unwanted)
            log.info("No asset wanted any blob of %d of %d messages", len(unwanted), len(blobs))

    async def _settle_one(self, page: Page, message: Held, outcome: AdvanceOutcome) -> None:
        if outcome.rejected:
            await self._refuse(message, "rejected by a trigger")
        elif not outcome.is_clean:
            await self._give_back(message, after_s=self._pace.again_s)
        elif broken := page.broken.get(message.id):
            await self._refuse(message, broken)
        else:
            told = page.told[message.id]
            try:
                events.refuse_others(told.arrivals, places=page.places, cloud=self._source.cloud)
                events.refuse_other_workspaces(told.workspace_events, workspaces=page.workspaces)
            except events.OtherSourceError as error:
                page.wanted.add(message.id)
                await self._refuse(message, str(error))
            else:
                await self._delete(message)

    async def _delete(self, message: Held) -> None:
        try:
            async with self._calls:
                if not await self._source.delete(message):
                    log.info(
                        "Message %s of %s is delivered again, or was: it was held too short",
                        message.id,
                        self._source.url,
                    )
        except FAILURES as error:
            log.warning("Message %s is not deleted and will be delivered again, which is safe: %s", message.id, error)

    async def _give_back(self, message: Held, *, after_s: float) -> None:
        try:
            async with self._calls:
                await self._source.give_back(message, after_s=after_s)
        except FAILURES as error:
            log.warning("Message %s becomes visible only when its time is over: %s", message.id, error)

    async def _refuse(self, message: Held, words: str) -> None:
        """Put a message aside, with the reason, where a person finds it."""
        reason = reason_of(words)
        log.error("Message %s goes to %s: %s", message.id, self._source.aside, reason)
        self.counts["put aside"] += 1
        try:
            async with self._calls:
                await self._source.refuse(message, reason)
        except FAILURES as error:
            log.warning("Message %s is not put aside and will be delivered again: %s", message.id, error)

    async def _renew(self) -> None:
        """Hold the messages of pages that Airflow has not stored yet, well before their time is over."""
        begun: dict[int, float] = {}
        while True:
            await asyncio.sleep(min(_LOOK_S, self._pace.visibility_s / 4))
            now = time.monotonic()
            begun = {number: begun.get(number, page.held_until - now) for number, page in self._pages.items()}
            for page in list(self._pages.values()):
                if page.held_until - now < begun.get(page.number, 0) / 2 and await self._hold(page):
                    begun[page.number] = page.held_until - time.monotonic()

    async def _tell(self) -> None:
        told: dict[str, int] = {}
        while True:
            await asyncio.sleep(self._pace.tell_s)
            if self.counts != told:
                told = dict(self.counts)
                counts = ", ".join(f"{count} {what}" for what, count in told.items())
                log.info("Messages of %s so far: %s", self._source.url, counts)

    async def _hold(self, page: Page) -> bool:
        """Hold the messages of one page; returns whether any of them was held."""
        async with page.lock:
            if page.number not in self._pages:
                return False
            try:
                held = await asyncio.gather(*(self._hold_one(message) for message in page.messages.values()))
            except FAILURES as error:
                log.warning("Messages of %s may be delivered again, which is safe: %s", self._source.url, error)
                return False
            self._keep(page, held)
            return True

    async def _hold_one(self, message: Held) -> Held | None:
        async with self._calls:
            return await self._source.hold(message)

    def _keep(self, page: Page, held: Collection[Held | None]) -> None:
        kept = {message.id: message for message in held if message is not None}
        for ident in set(page.messages) - set(kept):
            log.info("Message %s of %s was held too short and is delivered again", ident, self._source.url)
        page.messages = kept
        log.info("Held %d messages of %s longer: Airflow has not stored them yet", len(kept), self._source.url)

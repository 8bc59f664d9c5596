"""From a storage queue to asset events: a message is deleted only after Airflow has stored what it told."""

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome, SharedStreamProducer

from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.dead_letters import POISON, DeadLetter
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.workspace import is_loopback
from airflow_azureml.errors import AzureMLError, UnavailableError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger
from airflow_azureml.wire import events

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from airflow_azureml.client.storage import Received, StorageQueue

log = logging.getLogger(__name__)

#: Most arrivals in one asset event; a queue message may tell of several.
EVENT_SIZE = 256
#: Most calls at once that delete or hold messages.
CALLS_AT_ONCE = 8
#: The largest message that Queue Storage takes. Source: Put Message, REST API of Queue Storage.
MESSAGE_BYTES = 64 * 1024


@attrs.frozen(kw_only=True)
class Pace:
    """How a queue is read. Seconds, but for the last two.

    Attributes:
        start_delay_s: Wait before the first receive. After a triggerer's restart the assets of one queue come back
            one after the other; a message that is received before its asset is back would be deleted unseen.
        visibility_s: How long a received message is hidden from others; it is renewed while Airflow stores it. After a
            crash, so much time passes before the message is delivered again.
        again_s: Wait before a message whose events were not stored is delivered again; an asset that failed on it comes
            back within two seconds, and must be there, or the others' success would delete the message.
        poll_s: Wait after the queue was empty.
        longest_wait_s: Most to wait after a failure.
        most_deliveries: Deliveries after which a message is put aside: whoever receives it seems to die of it.
        pages_at_once: Most pages, of up to 32 messages, that wait for being stored.
    """

    start_delay_s: float = 3.0
    visibility_s: int = 60
    again_s: int = 15
    poll_s: float = 1.0
    longest_wait_s: float = 60.0
    most_deliveries: int = 5
    pages_at_once: int = 16


@attrs.define(kw_only=True, eq=False)
class Page:
    """Messages that were received together, and what becomes of them together.

    Attributes:
        messages: Those not yet settled, by id.
        arrivals: What each of them tells, by message id.
        accounts: The storage accounts whose arrivals somebody asked for; every subscriber adds its own.
        held_until: When the first of the messages becomes visible again; monotonic clock.
    """

    number: int
    messages: dict[str, "Received"]
    arrivals: Mapping[str, Sequence[Arrival]]
    held_until: float
    accounts: set[str] = attrs.field(factory=set)
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)


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
        queue_url: The queue.
        conn_id: The Airflow connection whose identity reads it; not used for a queue on this machine.
        pace: How to read it.
    """

    def __init__(self, queue_url: str, conn_id: str, pace: Pace) -> None:
        self._url = queue_url
        self._conn_id = conn_id
        self._pace = pace
        self._numbers = itertools.count()
        self._pages: dict[int, Page] = {}
        self._room = asyncio.Semaphore(pace.pages_at_once)
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)
        self._queue: StorageQueue | None = None
        self._poison: StorageQueue | None = None
        self._credential: AsyncTokenCredential | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def open_stream(self) -> AsyncIterator[tuple[Page, Page]]:
        """Yield pages for ever; a queue that is missing, refuses or is silent is asked again, and said once."""
        await asyncio.sleep(self._pace.start_delay_s)
        self._renewing = asyncio.create_task(self._renew(), name=f"hold messages of {self._url}")
        failures = _Failures(self._url, self._pace.longest_wait_s)
        log.info("Receiving arrivals from %s", self._url)
        while True:
            await self._room.acquire()
            try:
                page, was_empty = await self._receive()
            except (AzureMLError, AirflowNotFoundException) as error:
                self._room.release()
                if not isinstance(error, UnavailableError):
                    await self._disconnect()  # what is mended in the connection counts from the next try on
                await asyncio.sleep(failures.wait_s(error))
                continue
            failures.over()
            if page is not None:
                self._pages[page.number] = page
                yield page, page
                continue
            self._room.release()
            if was_empty:
                await asyncio.sleep(self._pace.poll_s)

    def get_advance_lane(self, broker_payload: Any) -> Hashable:
        """Let no page wait for another."""
        return broker_payload.number  # type: ignore[no-any-return]  # a Page

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Settle pages whose asset events are stored, or will never be; raises nothing, so the stream goes on."""
        for page, outcome in batch:
            self._pages.pop(page.number, None)
            self._room.release()
            async with page.lock:
                await asyncio.gather(*(self._settle(page, message, outcome) for message in page.messages.values()))

    async def aclose(self) -> None:
        """Give back what is not stored, so that the next triggerer need not wait, and close the connections."""
        if self._renewing is not None:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing
        pages, self._pages = self._pages, {}
        messages = [message for page in pages.values() for message in page.messages.values()]
        await asyncio.gather(*(self._give_back(message, after_s=0) for message in messages))
        await self._disconnect()

    async def _connect(self) -> "tuple[StorageQueue, StorageQueue]":
        from airflow_azureml.client.credentials import proxies  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.client.storage import StorageQueue, async_storage_tokens  # noqa: PLC0415  # as above

        if self._queue is None or self._poison is None:
            through = None
            if not is_loopback(self._url):
                settings = await AzureMLHook.aget(self._conn_id)
                self._credential, through = async_storage_tokens(settings), proxies(settings)
            self._queue = StorageQueue(self._url, self._credential, proxies=through)
            self._poison = StorageQueue(self._url + POISON, self._credential, proxies=through)
        return self._queue, self._poison

    async def _disconnect(self) -> None:
        opened = [each for each in (self._queue, self._poison, self._credential) if each is not None]
        self._queue = self._poison = self._credential = None
        for each in opened:
            await each.close()

    async def _receive(self) -> tuple[Page | None, bool]:
        """Receive once; returns what is to be handed on, if anything, and whether the queue was empty."""
        queue, _ = await self._connect()
        held_until = time.monotonic() + self._pace.visibility_s
        received = await queue.receive(visibility_s=self._pace.visibility_s)
        readings = await asyncio.gather(*(self._read(message) for message in received))
        arrivals = {message.id: found for message, found in zip(received, readings, strict=True) if found}
        if not arrivals:
            return None, not received
        messages = {message.id: message for message in received if message.id in arrivals}
        page = Page(number=next(self._numbers), messages=messages, arrivals=arrivals, held_until=held_until)
        return page, False

    async def _read(self, message: "Received") -> tuple[Arrival, ...]:
        """Read one message; one that tells of no arrival is settled at once."""
        if message.deliveries > self._pace.most_deliveries:
            await self._refuse(message, f"delivered {message.deliveries} times and never stored")
            return ()
        try:
            told = events.parse(message.text)
        except events.MalformedMessageError as error:
            await self._refuse(message, str(error))
            return ()
        if told.ignored:
            log.info("Message %s of %s is no arrival: %s", message.id, self._url, dict(told.ignored))
        if not told.arrivals:
            await self._delete(message)
        return told.arrivals

    async def _settle(self, page: Page, message: "Received", outcome: AdvanceOutcome) -> None:
        if outcome.rejected:
            await self._refuse(message, "rejected by a trigger")
        elif not outcome.is_clean:
            await self._give_back(message, after_s=self._pace.again_s)
        else:
            try:
                events.refuse_others(page.arrivals[message.id], accounts=page.accounts)
            except events.OtherAccountError as error:
                await self._refuse(message, str(error))
            else:
                await self._delete(message)

    async def _delete(self, message: "Received") -> None:
        try:
            async with self._calls:
                queue, _ = await self._connect()
                if not await queue.delete(message):
                    log.info(
                        "Message %s of %s is delivered again, or was: it was held too short", message.id, self._url
                    )
        except (AzureMLError, AirflowNotFoundException) as error:
            log.warning("Message %s is not deleted and will be delivered again, which is safe: %s", message.id, error)

    async def _give_back(self, message: "Received", *, after_s: int) -> None:
        try:
            async with self._calls:
                queue, _ = await self._connect()
                await queue.hold(message, visibility_s=after_s)
        except (AzureMLError, AirflowNotFoundException) as error:
            log.warning("Message %s becomes visible only when its time is over: %s", message.id, error)

    async def _refuse(self, message: "Received", reason: str) -> None:
        """Put a message aside, with the reason, where a person finds it; it is deleted only after that."""
        log.error("Message %s goes to %s: %s", message.id, self._url + POISON, reason)
        letter = DeadLetter(message_id=message.id, reason=reason, deliveries=message.deliveries, content=message.text)
        text = letter.to_text()
        if len(text) > MESSAGE_BYTES:
            log.warning("Message %s is too large to be put aside with its reason; it is kept as it is", message.id)
            text = message.text
        try:
            async with self._calls:
                queue, poison = await self._connect()
                await poison.send(text)
                await queue.delete(message)
        except (AzureMLError, AirflowNotFoundException) as error:
            log.warning("Message %s is not put aside and will be delivered again: %s", message.id, error)

    async def _renew(self) -> None:
        """Hold the messages of pages that Airflow has not stored yet, when half of their time is over."""
        while True:
            await asyncio.sleep(self._pace.visibility_s / 4)
            for page in list(self._pages.values()):
                if page.held_until - time.monotonic() < self._pace.visibility_s / 2:
                    await self._hold(page)

    async def _hold(self, page: Page) -> None:
        async with page.lock:
            if page.number not in self._pages:
                return
            held_until = time.monotonic() + self._pace.visibility_s
            try:
                queue, _ = await self._connect()
                for message in list(page.messages.values()):
                    held = await queue.hold(message, visibility_s=self._pace.visibility_s)
                    if held is None:
                        log.info("Message %s of %s was held too short and is delivered again", message.id, self._url)
                        del page.messages[message.id]
                    else:
                        page.messages[message.id] = held
                page.held_until = held_until
                log.info(
                    "Held %d messages of %s longer: Airflow has not stored them yet", len(page.messages), self._url
                )
            except (AzureMLError, AirflowNotFoundException) as error:
                log.warning("Messages of %s may be delivered again, which is safe: %s", self._url, error)


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class BlobArrivalTrigger(DeclaredTrigger, BaseEventTrigger):
    """Turns Event Grid messages in a storage queue into asset events; one event for each page of messages.

    All assets that name the same queue and connection share one reader. Airflow 3.3 tells the reader when the events
    of a page are committed, and only then its messages are deleted; what is not stored is delivered again.

    Attributes:
        queue_url: The queue; anything in it that is not Event Grid's goes to the queue of that name with ``-poison``.
        conn_id: The Airflow connection whose identity reads it: role Storage Queue Data Contributor on the account.
        account: The storage account of the blobs; empty for the queue's own.
        wanted: Which blobs: what `ArrivalFilter.to_wire` wrote.
    """

    queue_url: str
    conn_id: str = AzureMLHook.default_conn_name
    account: str = ""
    wanted: dict[str, Any]

    pace: ClassVar[Pace] = Pace()

    def shared_stream_key(self) -> Hashable:
        """Share the reader of a queue."""
        return (type(self).__qualname__, self.queue_url, self.conn_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Make the reader; it connects when it is opened."""
        return QueueProducer(kwargs["queue_url"], kwargs["conn_id"], cls.pace)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Pick this asset's arrivals from each page, and say how many are not and why."""
        account = self.account or StorageUrl.parse(self.queue_url).account
        wanted = ArrivalFilter(**self.wanted)
        async for page in shared_stream:
            page.accounts.add(account)
            mine: list[Arrival] = []
            skipped: Counter[str] = Counter()
            for arrival in itertools.chain.from_iterable(page.arrivals.values()):
                reason = (
                    f"of account {arrival.account}" if arrival.account != account else wanted.reason_to_skip(arrival)
                )
                if reason:
                    skipped[reason] += 1
                else:
                    mine.append(arrival)
            if skipped:
                skips = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
                log.info("Taken %d arrivals for %s/%s; left out: %s", len(mine), wanted.container, wanted.prefix, skips)
            for start in range(0, len(mine), EVENT_SIZE):
                yield TriggerEvent([arrival.to_wire() for arrival in mine[start : start + EVENT_SIZE]])

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield this asset's arrivals outside a shared stream.

        A message is deleted when the event after those it made is asked for; nobody says then whether Airflow has
        stored them. Airflow 3.3's triggerer does not call this.
        """
        producer = self.create_shared_stream_producer(self.serialize()[1])

        async def _pages() -> AsyncIterator[Page]:
            async for page, _ in producer.open_stream():
                yield page
                await producer.advance([AdvanceItem(page, AdvanceOutcome(acked=1, failed=0))])

        try:
            async for event in self.filter_shared_stream(_pages()):
                yield event
        finally:
            await producer.aclose()

"""From queues to asset events: blobs that arrived."""

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import attrs
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome, SharedStreamProducer

from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.clouds import Cloud
from airflow_azureml.core.dead_letters import reason_of
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.queues import cloud_of_storage, is_bus
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger
from airflow_azureml.triggers.receiving import Pace, QueueProducer
from airflow_azureml.triggers.service_bus import BusSource
from airflow_azureml.triggers.sources import Page, Source
from airflow_azureml.triggers.storage_queue import StorageSource
from airflow_azureml.wire import events

__all__ = ["EVENT_SIZE", "BlobArrivalTrigger", "QueueTrigger", "source_of"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Most arrivals in one asset event; a queue message may tell of several.
EVENT_SIZE = 256


def source_of(queue_url: str, conn_id: str, pace: Pace) -> Source:
    """Make the source that an address names; it connects when it is first asked for something."""
    if is_bus(queue_url):
        return BusSource(queue_url, conn_id, poll_s=pace.poll_s)
    return StorageSource(queue_url, conn_id, visibility_s=pace.visibility_s)


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class QueueTrigger(DeclaredTrigger, BaseEventTrigger):
    """Base of triggers that turn the messages of a queue into asset events.

    All assets that name the same queue and connection share one reader, whatever they take from it. Airflow 3.3 tells
    the reader when the events of a page are committed, and only then its messages are deleted; what is not stored is
    delivered again.

    Attributes:
        queue_url: A storage queue, or a queue or subscription of Service Bus.
        conn_id: The Airflow connection whose identity reads it: role Storage Queue Data Contributor on the account, or
            Azure Service Bus Data Receiver on the queue or subscription.
    """

    queue_url: str
    conn_id: str = AzureMLHook.default_conn_name

    pace: ClassVar[Pace] = Pace()

    def shared_stream_key(self) -> Hashable:
        """Share the reader of a queue."""
        return (QueueTrigger.__qualname__, self.queue_url, self.conn_id)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Make the reader; it connects when it is opened."""
        return QueueProducer(source_of(kwargs["queue_url"], kwargs["conn_id"], cls.pace), cls.pace)

    @abstractmethod
    def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Pick this asset's part of each page."""

    def picked(self, page: Page, pick: Callable[[events.Message], Sequence[T]]) -> Iterator[T]:
        """Pick from each message of a page; a message on which that fails is put aside, with the reason.

        Airflow 3.3 takes a page for done whose subscriber died of it: its messages would be deleted, and lost.

        Args:
            page: The page.
            pick: Picks from what a message tells.

        Returns:
            What was picked.
        """
        for ident, told in page.told.items():
            try:
                found = pick(told)
            except Exception as error:
                log.exception("Message %s of %s breaks what an asset wants", ident, self.queue_url)
                page.broken[ident] = f"an asset failed on it: {type(error).__name__}: {error}"
                continue
            if found:
                page.wanted.add(ident)
            yield from found

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield this asset's events outside a shared stream.

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


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class BlobArrivalTrigger(QueueTrigger):
    """Turns Event Grid messages of a queue into asset events; one event for each page of messages.

    Attributes:
        account: The storage account of the blobs; empty for a storage queue's own.
        wanted: Which blobs: what `ArrivalFilter.to_wire` wrote.
    """

    account: str = ""
    wanted: dict[str, Any]

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Pick this asset's arrivals from each page, and say how many are not and why."""
        account = self.account or StorageUrl.parse(self.queue_url).account
        wanted = ArrivalFilter(**self.wanted)
        async for page in shared_stream:
            page.places.add((account, wanted.container))
            skipped: Counter[str] = Counter()
            pick = partial(self.pick, wanted=wanted, account=account, cloud=page.cloud, skipped=skipped)
            mine = list(self.picked(page, pick))
            if skipped:
                skips = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
                log.info("Taken %d arrivals for %s/%s; left out: %s", len(mine), wanted.container, wanted.prefix, skips)
            for start in range(0, len(mine), EVENT_SIZE):
                yield TriggerEvent([arrival.to_wire() for arrival in mine[start : start + EVENT_SIZE]])

    def pick(
        self, told: events.Message, *, wanted: ArrivalFilter, account: str, cloud: Cloud | None, skipped: Counter[str]
    ) -> list[Arrival]:
        """Pick the arrivals of a message that are this asset's, and count the others by their reasons."""
        mine: list[Arrival] = []
        for arrival in told.arrivals:
            reason = _reason_to_refuse(arrival, account, cloud) or wanted.reason_to_skip(arrival)
            if reason:
                skipped[reason_of(reason)] += 1
            else:
                mine.append(arrival)
        return mine


def _reason_to_refuse(arrival: Arrival, account: str, cloud: Cloud | None) -> str:
    """Say why an arrival may not be this asset's, whatever it wants; its message is put aside if it is nobody's."""
    if arrival.account != account:
        return f"of account {arrival.account}"
    return "" if cloud_of_storage(arrival.url) == cloud else "of another cloud than the queue"

"""A queue in this process that keeps Queue Storage's contract: hidden for a time, receipts, deliveries counted.

Source: https://learn.microsoft.com/rest/api/storageservices/get-messages and ``update-message``, ``delete-message2``.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict

import attrs

from airflow_azureml.client.storage import PAGE, Received
from airflow_azureml.triggers.arrivals import BlobArrivalTrigger
from airflow_azureml.triggers.receiving import Pace, QueueProducer
from airflow_azureml.triggers.storage_queue import MESSAGE_BYTES, StorageSource

URL = "http://127.0.0.1:10001/devstoreaccount1/arrivals"


@attrs.define(eq=False)
class Message:
    """One message, as it lies in the queue."""

    id: str
    text: str
    visible_at: float = 0.0
    deliveries: int = 0
    receipt: str = ""


class MemoryQueue:
    """What `StorageQueue` is to who receives and sends.

    Attributes:
        deletes: How often each message was deleted.
        calls_at_once: The most receives that ran at the same time.
    """

    def __init__(self, *, answer_s: float = 0.0) -> None:
        self.messages: OrderedDict[str, Message] = OrderedDict()
        self.deletes: dict[str, int] = {}
        self.calls_at_once = 0
        self.receives = 0
        self._calls = 0
        self._answer_s = answer_s
        self._numbers = itertools.count()

    async def send(self, text: str) -> None:
        self.put(text)

    def put(self, text: str) -> str:
        assert len(text.encode()) <= MESSAGE_BYTES, "the service would refuse it"
        ident = f"m{next(self._numbers)}"
        self.messages[ident] = Message(ident, text)
        return ident

    async def receive(self, *, visibility_s: int) -> list[Received]:
        self._calls += 1
        self.receives += 1
        self.calls_at_once = max(self.calls_at_once, self._calls)
        await asyncio.sleep(self._answer_s)
        self._calls -= 1
        now = time.monotonic()
        found = list(itertools.islice((each for each in self.messages.values() if each.visible_at <= now), PAGE))
        return [self._deliver(each, now + visibility_s) for each in found]

    async def hold(self, message: Received, *, visibility_s: int) -> Received | None:
        own = self._own(message)
        if own is None:
            return None
        own.visible_at = time.monotonic() + visibility_s
        own.receipt = f"r{next(self._numbers)}"
        return attrs.evolve(message, receipt=own.receipt)

    async def delete(self, message: Received) -> bool:
        own = self._own(message)
        if own is None:
            return False
        del self.messages[own.id]
        self.deletes[own.id] = self.deletes.get(own.id, 0) + 1
        return True

    async def close(self) -> None:
        """Do nothing; there is nothing to close."""

    def _deliver(self, message: Message, until: float) -> Received:
        message.visible_at, message.deliveries = until, message.deliveries + 1
        message.receipt = f"r{next(self._numbers)}"
        self.messages.move_to_end(message.id)
        return Received(id=message.id, receipt=message.receipt, deliveries=message.deliveries, text=message.text)

    def _own(self, message: Received) -> Message | None:
        own = self.messages.get(message.id)
        return own if own is not None and own.receipt == message.receipt else None


class MemorySource(StorageSource):
    """The source of a storage queue, on queues of this process."""

    def __init__(self, pace: Pace, *, answer_s: float = 0.0) -> None:
        super().__init__(URL, "none", visibility_s=pace.visibility_s)
        self.queue, self.poison = MemoryQueue(answer_s=answer_s), MemoryQueue()

    async def _connect(self) -> tuple[MemoryQueue, MemoryQueue]:  # type: ignore[override]  # what they are to a source
        return self.queue, self.poison


def trigger_of(source: MemorySource, pace: Pace) -> tuple[type[BlobArrivalTrigger], list[QueueProducer]]:
    """Make a trigger class that reads this source; its reader is put into the list when it is made."""
    producers: list[QueueProducer] = []
    chosen = pace

    class MemoryTrigger(BlobArrivalTrigger):
        pace = chosen

        @classmethod
        def create_shared_stream_producer(cls, kwargs: dict[str, object]) -> QueueProducer:
            del kwargs
            producers.append(QueueProducer(source, cls.pace))
            return producers[-1]

    return MemoryTrigger, producers

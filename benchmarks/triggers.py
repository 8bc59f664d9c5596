"""Triggers that use nothing but Airflow and the queue's SDK: what ours are measured against."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import attrs
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_azureml.triggers.declared import DeclaredTrigger
from airflow_azureml.wire import events
from benchmarks.queues import VISIBILITY_S, client_of, event

#: Seconds; ours waits as long after an empty queue.
POLL_S = 1.0


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class FloodTrigger(DeclaredTrigger, BaseEventTrigger):
    """Yields events as fast as Airflow takes them, and nothing else."""

    count: int
    arrivals: int

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield so many events, each of so many arrivals, and then nothing more."""
        read = [events.parse(event(number)).arrivals for number in range(self.arrivals)]
        told = [arrival.to_wire() for arrivals in read for arrival in arrivals]
        for _ in range(self.count):
            yield TriggerEvent(told)
            await asyncio.sleep(0)
        await asyncio.Event().wait()


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class BareQueueTrigger(DeclaredTrigger, BaseEventTrigger):
    """Receives a message, deletes it, and yields it: the least that wakes a DAG; what a crash interrupts is lost."""

    queue_url: str

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield each message as it is."""
        async with client_of(self.queue_url) as queue:
            while True:
                received: Any = await queue.receive_message(visibility_timeout=VISIBILITY_S)
                if received is None:
                    await asyncio.sleep(POLL_S)
                    continue
                await queue.delete_message(received.id, received.pop_receipt)
                yield TriggerEvent(received.content)

"""Waiting in the triggerer for a time."""

import asyncio
import time
from collections.abc import AsyncIterator

import attrs
from airflow.triggers.base import TriggerEvent

from airflow_azureml.triggers.declared import DeclaredTrigger, settled


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class PauseTrigger(DeclaredTrigger):
    """Waits until a time; a triggerer that starts anew waits for what is left.

    Attributes:
        until: Seconds since 1970, UTC.
        began_at: When the waiting began, of which this is a part; the event tells it. Seconds since 1970, UTC.
        deferred_at: When the worker deferred: seconds since 1970, UTC. See `settled`.
    """

    until: float
    began_at: float = 0.0
    deferred_at: float = 0.0

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait; there is one event."""
        await asyncio.sleep(max(0.0, self.until - time.time()))
        await settled(self.deferred_at)
        yield TriggerEvent({"began_at": self.began_at})

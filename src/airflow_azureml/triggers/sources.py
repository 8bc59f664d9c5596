"""What a queue is to its reader, whatever its kind: a source of messages that are held for a time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_azureml.core.clouds import Cloud
from airflow_azureml.errors import AzureMLError
from airflow_azureml.wire import events

__all__ = ["FAILURES", "Held", "Page", "Source"]

#: What may happen when something is asked of a queue.
FAILURES = (AzureMLError, AirflowNotFoundException)


@attrs.frozen(kw_only=True)
class Held:
    """One delivery of a message, which is ours for a time.

    Attributes:
        deliveries: How often the message was delivered, this time included.
        until: When others may receive it; monotonic clock.
        proof: What its source needs to settle it.
    """

    id: str
    deliveries: int
    text: str
    until: float
    proof: Any = attrs.field(repr=False)


class Source(Protocol):
    """One queue, whatever its kind. Every call raises errors of `FAILURES` and no others."""

    @property
    def url(self) -> str:
        """The queue's address."""

    @property
    def aside(self) -> str:
        """Where refused messages go, for messages to people."""

    @property
    def cloud(self) -> Cloud | None:
        """The cloud it is in; None for this machine."""

    async def receive(self, lane: int) -> tuple[Sequence[Held], bool]:
        """Take what is there; returns it, and whether there is likely more.

        Args:
            lane: Which of the parallel receivers asks, from 0.
        """

    async def hold(self, message: Held) -> Held | None:
        """Keep a message longer; None when it is not ours any more."""

    async def delete(self, message: Held) -> bool:
        """Take a message out of the queue for good; False when it is not ours any more."""

    async def give_back(self, message: Held, *, after_s: float) -> None:
        """Let a message be delivered again, after so many seconds."""

    async def refuse(self, message: Held, reason: str) -> None:
        """Put a message aside with the reason; it is taken out of the queue only after that."""

    async def close(self) -> None:
        """Close all connections; the next call opens them anew, with what the Airflow connection says then."""


@attrs.define(kw_only=True, eq=False)
class Page:
    """Messages that were received together, and what becomes of them together.

    Attributes:
        messages: Those not yet settled, by id.
        told: What each of them tells, by message id.
        cloud: The cloud of the queue, in which all that it tells of must be; None for this machine.
        places: Account and container of the blobs that somebody asked for; every subscriber adds its own.
        workspaces: The workspaces whose events somebody asked for, as `core.ml_events.place_of` writes them.
        wanted: The messages of which some subscriber wanted a blob.
        broken: What went wrong when a subscriber looked at a message, by id; it is put aside with that, not lost.
    """

    number: int
    messages: dict[str, Held]
    told: Mapping[str, events.Message]
    cloud: Cloud | None
    places: set[tuple[str, str]] = attrs.field(factory=set)
    workspaces: set[str] = attrs.field(factory=set)
    wanted: set[str] = attrs.field(factory=set)
    broken: dict[str, str] = attrs.field(factory=dict)
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    @property
    def held_until(self) -> float:
        """When the first of the messages may be received by others; monotonic clock."""
        return min((message.until for message in self.messages.values()), default=float("inf"))

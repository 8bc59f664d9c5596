"""Airflow's stored events of an asset, read by a worker: what arrived since a cursor, and what it has claimed."""

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from airflow.sdk import Asset
from attrs import frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.cursor import Claim, Cursor, Event
from airflow_azureml.errors import ProtocolError

log = logging.getLogger(__name__)

#: Events asked for at once; each may tell of up to 256 arrivals of some 400 bytes.
PAGE = 250


@frozen(kw_only=True)
class StoredEvents:
    """The events of an asset, as Airflow gives them to a task that has it among its inlets.

    Attributes:
        asset: The asset.
        query: What Airflow puts into the task's context as ``inlet_events``.
    """

    asset: Asset
    query: Any

    def choose(self, cursor: Cursor, *, at_most: int) -> tuple[Claim, list[Event], int]:
        """Read on from a cursor until a claim is full or nothing is left.

        Args:
            cursor: What has been claimed.
            at_most: The number of arrivals to stop at; whole events are taken, and at least one.

        Returns:
            The claim, its events, and how many open events were seen that it leaves.
        """
        events: list[Event] = []
        arrivals = 0
        for event in self.read(cursor.after, None):
            events.append(event)
            arrivals += len(event.arrivals) if cursor.is_open(event) else 0
            if arrivals > at_most:
                break
        claim, left = cursor.claim(events, at_most=at_most)
        return claim, [event for event in events if event in claim.marks], left

    def look_up(self, claim: Claim) -> list[Event]:
        """Read the events of a claim again.

        Raises:
            ProtocolError: Some are not there any more.
        """
        if claim.first is None:
            return []
        events = [event for event in self.read(claim.first, claim.last) if event in claim.marks]
        if len(events) != len(claim.marks):
            raise ProtocolError(
                f"Return claim of {len(claim.marks)} events of asset {self.asset.name!r} once more: Airflow has only "
                f"{len(events)} of them still. They were deleted from its database, by `airflow db clean` perhaps"
            )
        return events

    def read(self, after: datetime | None, before: datetime | None) -> Iterator[Event]:
        """Read events oldest first, page by page; both times are included."""
        size, seen = PAGE, set[int]()
        while True:
            query = self.query[self.asset].ascending().limit(size)
            if after is not None:
                query = query.after(after.isoformat())
            if before is not None:
                query = query.before(before.isoformat())
            page = list(query)
            fresh = [each for each in page if each.id not in seen]
            yield from map(self._event, fresh)
            if len(page) < size:
                return
            seen.update(each.id for each in fresh)
            size = PAGE if fresh and page[-1].timestamp != after else size * 2
            after = page[-1].timestamp

    def enter(self, cursor: Cursor, claim: Claim) -> Cursor:
        """Enter a claim into a cursor, and say where the cursor could not hold it."""
        entered, forgotten = cursor.with_claim(claim).fitting()
        if forgotten:
            log.error(
                "The cursor of asset %s is full: its oldest %d events are forgotten and will be claimed once more. "
                "Airflow stores more events in ten minutes than the cursor can hold",
                self.asset.name,
                forgotten,
            )
        return entered

    def _event(self, stored: Any) -> Event:
        """Read one of Airflow's events; one that no watcher made tells of nothing, it just wakes.

        Raises:
            ProtocolError: A watcher made it, and we cannot read it.
        """
        extra = stored.extra or {}
        if not extra.get("from_trigger"):
            return Event(id=stored.id, time=stored.timestamp)
        payload = extra.get("payload")
        if not isinstance(payload, list):
            raise ProtocolError(
                f"Read event {stored.id} of asset {self.asset.name!r}: expected a list, got {payload!r}"
            )
        return Event(id=stored.id, time=stored.timestamp, arrivals=tuple(map(Arrival.from_wire, payload)))

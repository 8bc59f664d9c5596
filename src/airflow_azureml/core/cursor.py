"""Which stored events are still open.

Airflow keeps every event, but does not hand every one to a DAG run (apache/airflow#56050). So an event only wakes the
DAG; its run asks here for everything that is open and claims it.

Events get their time before they are committed, and several triggerers commit at the same time: an event may become
visible after a later one. So the cursor looks back `OVERLAP` behind the newest event that it has claimed, and
remembers which events in there are claimed. What becomes visible later than that is lost; a transaction that takes
ten minutes is nothing that Airflow does.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.errors import ProtocolError

#: How much later than an event with a later time an event may become visible.
OVERLAP = timedelta(minutes=10)
#: Airflow calls a stored value too large from 65,535 bytes on (``[state_store] max_value_storage_bytes``).
MAX_BYTES = 60_000
#: Ids are kept as blocks of so many bits.
_BLOCK = 256


@frozen(kw_only=True)
class Event:
    """An event as Airflow stored it.

    Attributes:
        id: Airflow's number of it, never used again.
        time: When Airflow made it, with its zone.
        arrivals: What it tells.
    """

    id: int
    time: datetime
    arrivals: tuple[Arrival, ...] = ()


@frozen
class Marks:
    """A set of events: their ids, by the minute of their times, so that old ones can be dropped.

    Attributes:
        minutes: Ids by the minute, as ``2026-01-31T23:59+00:00``; none is empty.
    """

    minutes: Mapping[str, frozenset[int]] = field(factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Mark these events."""
        minutes: dict[str, set[int]] = {}
        for event in events:
            minutes.setdefault(_minute(event.time), set()).add(event.id)
        return cls({minute: frozenset(ids) for minute, ids in minutes.items()})

    @classmethod
    def from_wire(cls, body: Mapping[str, Mapping[str, str]]) -> Self:
        """Read what `to_wire` wrote."""
        return cls({minute: _ids(blocks) for minute, blocks in body.items()})

    def to_wire(self) -> dict[str, dict[str, str]]:
        """Write it as JSON: a bit for each id, as every claimed event's neighbour is mostly claimed too."""
        return {minute: _blocks(ids) for minute, ids in sorted(self.minutes.items())}

    def __contains__(self, event: Event) -> bool:
        return event.id in self.minutes.get(_minute(event.time), ())

    def __len__(self) -> int:
        return sum(map(len, self.minutes.values()))

    def __or__(self, other: "Marks") -> "Marks":
        both = self.minutes.keys() | other.minutes.keys()
        return Marks({m: self.minutes.get(m, frozenset()) | other.minutes.get(m, frozenset()) for m in both})

    def since(self, minute: str) -> "Marks":
        """Drop everything before a minute."""
        return Marks({each: ids for each, ids in self.minutes.items() if each >= minute})


@frozen(kw_only=True)
class Claim:
    """Events that one run takes; small enough to be stored before anything is done with them.

    Attributes:
        marks: Which events; they are read again by these.
        first: The time of the first of them; None in an empty claim.
        last: The time of the last of them; None in an empty claim.
        told: Keys of the arrivals among them that were claimed already: their message was delivered more than once.
    """

    marks: Marks = Marks()
    first: datetime | None = None
    last: datetime | None = None
    told: frozenset[str] = frozenset()

    @classmethod
    def of(cls, events: Iterable[Event], *, known: Collection[str] = ()) -> Self:
        """Claim these events; `known` are the keys of arrivals claimed before."""
        taken = list(events)
        if not taken:
            return cls()
        times = [event.time for event in taken]
        told = frozenset(arrival.key for event in taken for arrival in event.arrivals).intersection(known)
        return cls(marks=Marks.of(taken), first=min(times), last=max(times), told=told)

    @classmethod
    def from_wire(cls, body: Any) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is something else.
        """
        try:
            marks, told = Marks.from_wire(body["events"]), frozenset(map(str, body["told"]))
            return cls(marks=marks, first=_read_time(body["first"]), last=_read_time(body["last"]), told=told)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"Read a stored claim: {body!r} is none: {error!r}") from error

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {
            "events": self.marks.to_wire(),
            "first": _write_time(self.first),
            "last": _write_time(self.last),
            "told": sorted(self.told),
        }

    def arrivals(self, events: Iterable[Event]) -> list[Arrival]:
        """Take the claim's own arrivals out of events that are visible."""
        mine = (event for event in events if event in self.marks)
        return [arrival for event in mine for arrival in event.arrivals if arrival.key not in self.told]


@frozen(kw_only=True)
class Cursor:
    """What one task has claimed of one asset's events, so far.

    Attributes:
        until: The time of the newest event claimed; None when nothing has been.
        marks: The events claimed whose times lie in the look back.
    """

    until: datetime | None = None
    marks: Marks = Marks()

    @classmethod
    def from_wire(cls, body: Any) -> Self:
        """Read what `to_wire` wrote; None is a cursor with nothing in it.

        Raises:
            ProtocolError: It is something else. Nothing is claimed then; delete the value to claim everything anew.
        """
        if body is None:
            return cls()
        try:
            return cls(until=_read_time(body["until"]), marks=Marks.from_wire(body["claimed"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"Read the cursor: {body!r} is none: {error!r}") from error

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {"until": _write_time(self.until), "claimed": self.marks.to_wire()}

    @property
    def after(self) -> datetime | None:
        """From which time on events have to be read, that time included; None for all there are."""
        return None if self.until is None else (self.until - OVERLAP).replace(second=0, microsecond=0)

    def is_open(self, event: Event) -> bool:
        """Tell whether an event waits for being claimed; one before the look back does not."""
        return (self.after is None or event.time >= self.after) and event not in self.marks

    def claim(self, events: Iterable[Event], *, at_most: int) -> tuple[Claim, int]:
        """Choose what to take of the events that are visible; oldest first, whole events.

        Args:
            events: All that are visible from `after` on; in any order, claimed ones among them.
            at_most: The number of arrivals to stop at; a first event with more is taken all the same.

        Returns:
            The claim, and how many open events it leaves to the next one.
        """
        visible = list(events)
        known = {arrival.key for event in visible if event in self.marks for arrival in event.arrivals}
        waiting = sorted((each for each in visible if self.is_open(each)), key=lambda each: (each.time, each.id))
        taken: list[Event] = []
        arrivals = 0
        for event in waiting:
            arrivals += len(event.arrivals)
            if taken and arrivals > at_most:
                break
            taken.append(event)
        return Claim.of(taken, known=known), len(waiting) - len(taken)

    def with_claim(self, claim: Claim) -> Self:
        """Enter a claim; entering it once more, also after later ones, changes nothing."""
        if claim.last is None:
            return self
        until = claim.last if self.until is None else max(self.until, claim.last)
        moved = type(self)(until=until)
        marks = (self.marks | claim.marks).since(_minute(moved.after or until))
        return type(self)(until=until, marks=marks)

    def fitting(self, size_bytes: int = MAX_BYTES) -> tuple[Self, int]:
        """Make it fit into so many bytes by forgetting the oldest events in it.

        Returns:
            The cursor, and the number of events forgotten. They will be claimed once more, as forgetting is safe and
            looking back less is not. 100 events a second in all of Airflow take about 20,000 bytes.
        """
        marks, forgotten = self.marks, 0
        while len(marks) and _size_bytes(marks) > size_bytes:
            oldest = min(marks.minutes)
            forgotten += len(marks.minutes[oldest])
            marks = Marks({minute: ids for minute, ids in marks.minutes.items() if minute != oldest})
        return type(self)(until=self.until, marks=marks), forgotten


def _minute(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M+00:00")


def _blocks(ids: Iterable[int]) -> dict[str, str]:
    blocks: dict[int, int] = {}
    for each in ids:
        blocks[each // _BLOCK] = blocks.get(each // _BLOCK, 0) | 1 << each % _BLOCK
    return {str(block): f"{bits:x}" for block, bits in sorted(blocks.items())}


def _ids(blocks: Mapping[str, str]) -> frozenset[int]:
    bits_of = {int(block): int(bits, 16) for block, bits in blocks.items()}
    return frozenset(
        block * _BLOCK + bit for block, bits in bits_of.items() for bit in range(_BLOCK) if bits >> bit & 1
    )


def _size_bytes(marks: Marks) -> int:
    """Measure the JSON: key, value, four quotes, a colon, a comma and two spaces for each."""
    per_entry = 8
    return sum(
        len(minute) + per_entry + 2 + sum(len(block) + len(bits) + per_entry for block, bits in blocks.items())
        for minute, blocks in marks.to_wire().items()
    )


def _read_time(text: str | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return time.astimezone(UTC)


def _write_time(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()

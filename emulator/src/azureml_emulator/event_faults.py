"""Faults of storage events that somebody asked for: which events are lost, doubled, delayed, or overtaken by others.

Which events a share of them means is a function of the seed, of the event's subject and of the blob's size: the same
blobs have the same fate whenever and in whatever order they come.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import attrs

from azureml_emulator.fault_members import (
    FaultError,
    count,
    duration,
    every,
    pattern,
    read_members,
    short,
    text,
    true,
    whole,
)

Json = dict[str, Any]

#: Exactly one of these says what a fault does.
EVENT_KINDS = ("lost", "doubled", "delay_s", "behind")
_WHICH = ("subject", "type", "count", "every", "share", "seed")
_MEMBERS = frozenset({*_WHICH, *EVENT_KINDS})
#: An event that waits to be overtaken is sent after so many seconds at the latest.
LONGEST_BEHIND_S = 15.0
_ALL = 2**64


@attrs.frozen(kw_only=True)
class EventFault:
    """What becomes of which events.

    Attributes:
        subject: A regular expression over the whole subject of the event; empty for any.
        type: The event's type; empty for any.
        count: After so many strikes it is over; None for never.
        every: 1 strikes each event that matches, n each nth one.
        share: Of those that match, the share that may be struck, of 0 to 1; which ones, ``seed`` says.
        lost: Nobody is told.
        doubled: It is sent twice, with the same id.
        delay_s: It is sent so many real seconds later: at least the first, at most the second number.
        behind: It is sent after so many later ones, or after `LONGEST_BEHIND_S` seconds.
    """

    subject: str = ""
    type: str = ""
    count: int | None = None
    every: int = 1
    share: float = 1.0
    seed: int = 0
    lost: bool = False
    doubled: bool = False
    delay_s: tuple[float, float] | None = None
    behind: int | None = None

    @classmethod
    def from_wire(cls, said: Any) -> Self:
        """Read a fault.

        Raises:
            FaultError: A member is unknown or wrong.
        """
        return cls(**read_members(said, _READERS, EVENT_KINDS))

    def to_wire(self) -> Json:
        """Write it as it was read; what was left out is left out."""
        unsaid = {name: field.default for name, field in attrs.fields_dict(type(self)).items()}
        said = {name: value for name, value in attrs.asdict(self).items() if value != unsaid[name]}
        return said | ({"delay_s": list(self.delay_s)} if self.delay_s else {})

    def draw(self, event: Mapping[str, Any], *, of: str) -> float:
        """Draw a number of 0 to 1 for an event: always the same for the same subject and size.

        Args:
            event: The event.
            of: What the number is for; numbers for different things have nothing to do with each other.
        """
        size = event.get("data", {}).get("contentLength", "")
        text = f"{self.seed}\n{of}\n{event['subject']}\n{size}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / _ALL

    def wait_s(self, event: Mapping[str, Any]) -> float:
        """Say how long a delayed event waits, in seconds."""
        least_s, most_s = self.delay_s or (0.0, 0.0)
        return least_s + (most_s - least_s) * self.draw(event, of="delay")


@attrs.define(eq=False)
class _Active:
    """A fault with its counts."""

    fault: EventFault
    number: int
    matched: int = 0
    struck: int = 0

    def strikes(self, event: Mapping[str, Any]) -> bool:
        """Count an event, and say whether it is struck."""
        fault = self.fault
        if fault.type not in ("", event["eventType"]):
            return False
        if fault.subject and not re.fullmatch(fault.subject, event["subject"]):
            return False
        self.matched += 1
        if self.matched % fault.every or (fault.count is not None and self.struck >= fault.count):
            return False
        if fault.draw(event, of=f"share {self.number}") >= fault.share:
            return False
        self.struck += 1
        return True


class EventFaults:
    """The faults of events in force, in order: an event is struck by the first that is due; others do not see it.

    Args:
        kept: What `shown` said before a restart: the counts go on from there.
        keep: Is told what `shown` says whenever it has changed.
    """

    def __init__(self, kept: Sequence[Json] = (), keep: Callable[[list[Json]], object] | None = None) -> None:
        self._keep = keep
        self._active = [
            _Active(
                EventFault.from_wire({name: value for name, value in one.items() if name in _MEMBERS}),
                number,
                matched=one["matched"],
                struck=one["struck"],
            )
            for number, one in enumerate(kept)
        ]

    def replace(self, said: Any) -> None:
        """Put a list of faults in force, instead of those before; their counts begin at 0.

        Raises:
            FaultError: One is wrong; then those before stay.
        """
        if not isinstance(said, list):
            raise FaultError(f"The faults of events are a list, not {short(said)}.")
        found = []
        for number, one in enumerate(said):
            try:
                found.append(_Active(EventFault.from_wire(one), number))
            except FaultError as error:
                raise FaultError(f"Fault {number}: {error}") from error
        self._active = found
        self._changed()

    def strike(self, event: Mapping[str, Any]) -> EventFault | None:
        """Say which fault strikes an event; None for none."""
        struck = next((active.fault for active in self._active if active.strikes(event)), None)
        if self._active:
            self._changed()
        return struck

    def _changed(self) -> None:
        if self._keep is not None:
            self._keep(self.shown())

    def shown(self) -> list[Json]:
        """Show them, with how many events each matched and struck."""
        return [
            {**active.fault.to_wire(), "matched": active.matched, "struck": active.struck} for active in self._active
        ]


# reading


def _share(name: str, said: Any) -> float:
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said <= 1:
        raise FaultError(f"{name} is {short(said)}; give a number above 0, at most 1.")
    return float(said)


def _delay(name: str, said: Any) -> tuple[float, float]:
    bounds = said if isinstance(said, list) else [said, said]
    if len(bounds) != 2:  # noqa: PLR2004  # the two are in the message
        raise FaultError(f"{name} is {short(said)}; give a number of seconds, or the least and the most.")
    least_s, most_s = (duration(name, each) for each in bounds)
    if least_s > most_s:
        raise FaultError(f"{name} is {short(said)}; the first number is the least, the second the most.")
    return least_s, most_s


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "subject": pattern,
    "type": text,
    "count": count,
    "every": every,
    "share": _share,
    "seed": whole(0, 2**63),
    "lost": true,
    "doubled": true,
    "delay_s": _delay,
    "behind": whole(1, 1000),
}

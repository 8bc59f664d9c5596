"""What a scan remembers: so little that Airflow can keep it beside the asset."""

import heapq
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from attrs import define, evolve, field, frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.errors import ProtocolError

#: Versions that a state remembers beyond the end of its process, and that a process remembers.
REMEMBERED, MOST_TOLD = 40, 50_000
#: Hexadecimal digits of an arrival's key that are remembered.
_DIGITS = 16
#: Most bytes of JSON that a name may take in a state; a longer one is cut.
_NAME_BYTES = 240
#: Names are compared code unit by code unit, of UTF-16 or of UTF-8: both agree on characters before this one.
_ORDERS_DIFFER = "\ud800"
_HIGHEST = "\U0010ffff"


@frozen(kw_only=True)
class Pass:
    """A listing under way.

    Attributes:
        began: When, by the storage account's clock.
        spans: How many spans are listed to their end.
        after: Names up to this one, of the next span, are done.
    """

    began: datetime
    spans: int = 0
    after: str = ""


@frozen(kw_only=True)
class ScanState:
    """What a scan remembers; below 2,000 bytes of JSON, whatever was told.

    Attributes:
        since: When the last scan that came to its end began, by the storage account's clock; None before the first.
        floor: For `NAMES`: names up to this one are told, and too old to be told again.
        last: For `NAMES`: no name beyond this one was told.
        scan: The scan under way.
        reconciled: When the last reconciliation that came to its end began; the first scan is one.
        reconciliation: The reconciliation under way.
        told: Versions that a later scan would otherwise tell again; the newest of them.
    """

    since: datetime | None = None
    floor: str = ""
    last: str = ""
    scan: Pass | None = None
    reconciled: datetime | None = None
    reconciliation: Pass | None = None
    told: tuple[str, ...] = ()

    def is_due(self, every: timedelta | None, now: datetime) -> bool:
        """Say whether a reconciliation is under way, or has to begin."""
        if self.reconciliation is not None:
            return True
        return every is not None and (self.reconciled is None or now - self.reconciled >= every)

    def under_way(self, *, full: bool) -> Pass | None:
        """Give the reconciliation that is under way, or the scan."""
        return self.reconciliation if full else self.scan

    def at(self, place: Pass, *, full: bool) -> Self:
        """Note how far the reconciliation is, or the scan."""
        return evolve(self, reconciliation=place) if full else evolve(self, scan=place)

    def ended(self, *, full: bool) -> Self:
        """Note that what is under way has come to its end; the first scan is a reconciliation, too."""
        place = self.under_way(full=full)
        if place is None:
            raise AssertionError("nothing is under way")
        if full:
            return evolve(self, reconciled=place.began, reconciliation=None)
        return evolve(self, since=place.began, scan=None, reconciled=self.reconciled if self.since else place.began)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON of less than 2,000 bytes."""
        return {
            "since": _written(self.since),
            "floor": self.floor,
            "last": self.last,
            "scan": _pass_to_wire(self.scan),
            "reconciled": _written(self.reconciled),
            "reconciliation": _pass_to_wire(self.reconciliation),
            "told": "".join(self.told),
        }

    @classmethod
    def from_wire(cls, body: Any) -> Self:
        """Read what `to_wire` wrote; None is the state before the first scan.

        Raises:
            ProtocolError: It is something else.
        """
        if body is None:
            return cls()
        try:
            told = body["told"]
            return cls(
                since=_read(body["since"]),
                floor=_text(body["floor"]),
                last=_text(body["last"]),
                scan=_pass_from_wire(body["scan"]),
                reconciled=_read(body["reconciled"]),
                reconciliation=_pass_from_wire(body["reconciliation"]),
                told=tuple(told[start : start + _DIGITS] for start in range(0, len(told), _DIGITS)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"Read what a scan remembered: {body!r} is no state of a scan ({error!r})") from error


@define
class Told:
    """The versions told of late, as far as memory goes: those that are forgotten are told twice."""

    _times: dict[str, datetime] = field(factory=dict)

    def recall(self, digests: Iterable[str], at: datetime) -> None:
        """Take over what a state remembers; of a time that nobody knows any more."""
        for digest in digests:
            self._times.setdefault(digest, at)

    def add(self, arrival: Arrival, modified: datetime) -> None:
        """Note a version as told; when there are too many, the oldest half is forgotten."""
        self._times[digest_of(arrival)] = modified
        if len(self._times) > MOST_TOLD:
            kept = heapq.nlargest(MOST_TOLD // 2, self._times.items(), key=lambda item: item[1])
            self._times = dict(kept)

    def forget(self, before: datetime) -> None:
        """Forget versions that no scan would tell again."""
        self._times = {digest: time for digest, time in self._times.items() if time >= before}

    def clear(self) -> None:
        """Forget all."""
        self._times = {}

    def newest(self) -> tuple[str, ...]:
        """Give as many as a state remembers."""
        return tuple(heapq.nlargest(REMEMBERED, self._times, key=self._times.__getitem__))

    def __contains__(self, arrival: Arrival) -> bool:
        return digest_of(arrival) in self._times


def digest_of(arrival: Arrival) -> str:
    """Give what is remembered of a version: it is never longer, however long the path is."""
    return arrival.key[:_DIGITS]


def resume_point(name: str) -> str:
    """Give a name to list on from, of bounded length, in a way that no order of names can leave one out."""
    for place, character in enumerate(name):
        if character >= _ORDERS_DIFFER:
            name = name[:place]
            break
    while len(json.dumps(name)) > _NAME_BYTES:
        name = name[: len(name) - max(1, (len(json.dumps(name)) - _NAME_BYTES) // 6)]
    return name


def beyond(name: str) -> str:
    """Give a bound, of bounded length, that is not before the name."""
    cut = resume_point(name)
    return name if cut == name else cut + _HIGHEST


def _written(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _read(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _pass_to_wire(one: Pass | None) -> dict[str, Any] | None:
    return None if one is None else {"began": _written(one.began), "spans": one.spans, "after": one.after}


def _pass_from_wire(raw: Any) -> Pass | None:
    if raw is None:
        return None
    return Pass(began=datetime.fromisoformat(raw["began"]), spans=int(raw["spans"]), after=_text(raw["after"]))

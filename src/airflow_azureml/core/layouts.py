"""How the names in a container are laid out: what tells a scan which of them can be new."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from attrs import asdict, frozen

#: The parts of a time that a template may have, the largest first, and how they are written.
_PARTS = {"%Y": "{:%Y}", "%m": "{:%m}", "%d": "{:%d}", "%H": "{:%H}"}
_PART = re.compile(r"%(.)?", re.DOTALL)


@frozen(kw_only=True)
class Layout:
    """How names grow; made by `ANY`, `NAMES` and `dates`.

    Attributes:
        kind: ``any``, ``names`` or ``dates``.
        template: For ``dates``: how the names of a partition begin.
        late_s: For ``dates``: how long after its time a partition may still get blobs.
        early_s: For ``dates``: how long before its time, in UTC, a partition may get its first blobs.
    """

    kind: str = "any"
    template: str = ""
    late_s: float = 0.0
    early_s: float = 0.0

    def faults(self, prefix: str) -> list[str]:
        """Say what is wrong with it, for blobs whose names begin so; an empty list when nothing is."""
        if self.kind not in {"any", "names", "dates"}:
            return [f"layout {self.kind!r} is none of any, names and dates"]
        if self.kind != "dates":
            return []
        parts = [found[0] for found in _PART.finditer(self.template)]
        odd = sorted({part for part in parts if part not in _PARTS})
        given = [part for part in _PARTS if part in parts]
        return [
            *([f"the template {self.template!r} has {', '.join(odd)}; it may have %Y, %m, %d and %H"] if odd else []),
            *(
                []
                if given and given == list(_PARTS)[: len(given)]
                else [f"the template {self.template!r} skips a part"]
            ),
            *(["the template begins with a slash, which a blob's path in its container does not"] * self._is_rooted),
            *([] if _meet(self.head, prefix) else [f"no path begins with {prefix!r} and with {self.head!r}"]),
            *([] if min(self.late_s, self.early_s) >= 0 else ["late and early must not be negative"]),
        ]

    @property
    def head(self) -> str:
        """What stands before the template's first part."""
        return self.template.partition("%")[0]

    def partitions(self, since: datetime, until: datetime) -> Iterator[str]:
        """Yield how names begin in each partition that may get blobs between two times, in the order of time."""
        time = self._floor(since.astimezone(UTC) - timedelta(seconds=self.late_s))
        last = until.astimezone(UTC) + timedelta(seconds=self.early_s)
        while time <= last:
            yield self._at(time)
            time = self._next(time)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        return cls(**raw)

    @property
    def _is_rooted(self) -> bool:
        return self.template.startswith("/")

    def _at(self, time: datetime) -> str:
        return _PART.sub(lambda part: _PARTS[part[0]].format(time), self.template)

    def _floor(self, time: datetime) -> datetime:
        return time.replace(
            month=time.month if "%m" in self.template else 1,
            day=time.day if "%d" in self.template else 1,
            hour=time.hour if "%H" in self.template else 0,
            minute=0,
            second=0,
            microsecond=0,
        )

    def _next(self, time: datetime) -> datetime:
        if "%H" in self.template:
            return time + timedelta(hours=1)
        if "%d" in self.template:
            return time + timedelta(days=1)
        return self._floor(time + timedelta(days=31 if "%m" in self.template else 366))


def _meet(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


#: Nothing is known: every name below the prefix is listed, and what was written since the last scan is told.
ANY = Layout()
#: Names only grow, such as those that begin with the time in full: what is listed begins at the last name.
NAMES = Layout(kind="names")


def dates(template: str, *, late: timedelta = timedelta(days=1), early: timedelta = timedelta(hours=14)) -> Layout:
    """Describe names that begin with their day or hour: only partitions that can still get blobs are listed.

    Args:
        template: How names begin, such as ``patients/%Y/%m/%d/``: of ``%Y``, ``%m``, ``%d`` and ``%H`` the first ones,
            each with all its digits, in any order and with any text around them.
        late: How long after the end of its time a partition may still get blobs that are found soon; those that come
            later are found by the next reconciliation.
        early: How far the writers' clocks may be ahead of UTC; 14 hours cover every time zone.
    """
    return Layout(kind="dates", template=template, late_s=late.total_seconds(), early_s=early.total_seconds())

"""Time cut into windows of one length, alike for whoever looks at it: drift, and partitions of training data."""

from datetime import UTC, datetime, timedelta

from attrs import field, frozen

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
#: How a window is called by its beginning: the shortest that tells windows of its length apart.
_FORMATS = ((_DAY, "%Y-%m-%d"), (_HOUR, "%Y-%m-%dT%H"), (_MINUTE, "%Y-%m-%dT%H%M"))


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


@frozen(order=True)
class Span:
    """One window.

    Attributes:
        since: Its beginning, which is in it; UTC.
        until: Its end, which is not; UTC.
        key: What it is called: ``2026-01-31``, ``2026-01-31T05`` or ``2026-01-31T0530``.
    """

    since: datetime = field(converter=_utc)
    until: datetime = field(converter=_utc)
    key: str = field(eq=False)

    def __contains__(self, time: datetime) -> bool:
        return self.since <= time < self.until


@frozen(kw_only=True)
class Windows:
    """How time is cut.

    Attributes:
        every: The length of a window: whole minutes, at least one. Windows begin at midnight UTC, and those of several
            days, or of a length that does not divide the day, are counted from 1970-01-01.
        late: How long after its end a window is left open for what comes late. A few seconds at least, since the clocks
            of a storage account's servers differ.
    """

    every: timedelta = _DAY
    late: timedelta = timedelta(minutes=10)

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        is_whole = self.every >= _MINUTE and not self.every % _MINUTE
        return [
            *([] if is_whole else [f"every is {self.every}; it must be whole minutes, at least one"]),
            *([] if self.late >= timedelta(0) else ["late is negative"]),
        ]

    def of(self, time: datetime) -> Span:
        """Give the window that a time is in."""
        since = _EPOCH + (_utc(time) - _EPOCH) // self.every * self.every
        return Span(since, since + self.every, since.strftime(self._format))

    def is_over(self, span: Span, *, now: datetime) -> bool:
        """Tell whether nothing more is waited for."""
        return span.until + self.late <= now

    def over(self, *, now: datetime, count: int) -> list[Span]:
        """Give the last windows that are over, oldest first."""
        last = self.of(now - self.late - self.every)
        return [self.of(last.since - number * self.every) for number in reversed(range(count))]

    @property
    def _format(self) -> str:
        return next(each for length, each in _FORMATS if not self.every % length)

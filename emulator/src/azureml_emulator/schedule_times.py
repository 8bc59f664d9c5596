"""When a schedule is due: cron expressions and recurrences as Azure ML means them.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-schedule-pipeline-job. Of a cron expression's five
fields, days of the month and months must be there, and are taken for ``*`` whatever they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

import attrs

from azureml_emulator.time_zones import IANA, zone

Json = Mapping[str, Any]

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_FREQUENCIES = ("minute", "hour", "day", "week", "month")
_STEP = re.compile(r"(?P<range>\*|\d+(?:-\d+)?)(?:/(?P<step>\d+))?")
#: A pattern that is not met within so many days never is.
_HORIZON_DAYS = 366 * 8
_MOST_INTERVAL = 1000


class TriggerError(ValueError):
    """A trigger cannot be read; the message is one sentence."""


@attrs.frozen(kw_only=True)
class Trigger:
    """When a schedule is due.

    Attributes:
        start: Not before; in UTC.
        end: Not at this moment and not after it, in UTC; None for never ending.
        zone: Where its hours are meant.
        step_s: Seconds from one time to the next, counted from ``start``; 0 for a pattern of days and hours.
        fits: Whether a local day is one of the pattern's.
        times: The local hours and minutes of such a day, in order.
    """

    start: datetime
    end: datetime | None
    zone: ZoneInfo
    step_s: int = 0
    fits: Callable[[date], bool] = lambda _: False
    times: Sequence[tuple[int, int]] = ()

    @classmethod
    def parse(cls, said: Json, *, now: datetime) -> Self:
        """Read a schedule's ``trigger``.

        Args:
            said: As it is on the wire.
            now: The present, in UTC: where a trigger that names no start begins.

        Raises:
            TriggerError: It cannot be read.
        """
        name = str(said.get("timeZone") or "UTC")
        where = zone(name)
        if where is None:
            raise TriggerError(f"Time zone {name!r} is not known here; known are {', '.join(IANA)}.")
        start, end = (_moment(said.get(member), where) for member in ("startTime", "endTime"))
        made = cls(start=start or now.replace(second=0, microsecond=0), end=end, zone=where)
        kind = said.get("triggerType")
        if kind == "Cron":
            return attrs.evolve(made, **_cron(str(said.get("expression") or "")))
        if kind == "Recurrence":
            return attrs.evolve(made, **_recurrence(said, made.start.astimezone(where)))
        raise TriggerError(f"A trigger is of type Cron or Recurrence, not {kind!r}.")

    def after(self, moment: datetime) -> datetime | None:
        """Find the first time after a moment at which it is due, in UTC; None when there is none."""
        try:
            found = self._stepped(moment) if self.step_s else next(self._patterned(moment), None)
        except OverflowError:  # there is no date any more
            return None
        return found if found is not None and (self.end is None or found < self.end) else None

    def _stepped(self, moment: datetime) -> datetime:
        if moment < self.start:
            return self.start
        gone = int((moment - self.start).total_seconds() // self.step_s) + 1
        return self.start + timedelta(seconds=gone * self.step_s)

    def _patterned(self, moment: datetime) -> Iterator[datetime]:
        begin = max(moment, self.start - timedelta(microseconds=1))
        first = begin.astimezone(self.zone).date()
        for ahead in range(_HORIZON_DAYS):
            day = first + timedelta(days=ahead)
            if not self.fits(day):
                continue
            # Where clocks are put forward, an hour that there is not becomes the one after; so times may change places.
            at = sorted(
                datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone).astimezone(UTC)
                for hour, minute in self.times
            )
            yield from (one for one in at if one > begin)


def _moment(said: Any, where: ZoneInfo) -> datetime | None:
    """Read a moment, which is meant in the trigger's zone unless it says otherwise."""
    if not said:
        return None
    try:
        found = datetime.fromisoformat(str(said))
        return (found if found.tzinfo else found.replace(tzinfo=where)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise TriggerError(f"{said!r} is no date and time; write 2026-11-21T19:00:00.") from error


def _cron(expression: str) -> dict[str, Any]:
    fields = expression.split()
    if len(fields) != 5:  # noqa: PLR2004  # minutes, hours, days, months, days of the week
        raise TriggerError(f"Cron expression {expression!r} does not have five fields.")
    minutes, hours = _numbers(fields[0], 59), _numbers(fields[1], 23)
    named = {day[:3]: str(number) for number, day in enumerate(_DAYS)}
    words = re.sub("[a-z]+", lambda found: named.get(found[0], found[0]), fields[4].lower())
    weekdays = {number % 7 for number in _numbers(words, 7)}
    times = [(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)]
    return {"fits": lambda day: day.isoweekday() % 7 in weekdays, "times": times}


def _numbers(field: str, highest: int) -> set[int]:
    """Read a field: ``*``, ``*/15``, ``1,3``, ``9-17``, ``9-17/2``."""
    found: set[int] = set()
    for part in field.split(","):
        read = _STEP.fullmatch(part)
        if not read:
            raise TriggerError(f"{field!r} is no field of a cron expression.")
        first, dash, last = read["range"].partition("-")
        low = 0 if first == "*" else int(first)
        high = highest if first == "*" or (read["step"] and not dash) else int(last or first)
        step = int(read["step"] or 1)
        if step < 1 or high > highest or low > high:
            raise TriggerError(f"{field!r} goes beyond 0 to {highest}, or backwards.")
        found |= set(range(low, high + 1, step))
    return found


def _recurrence(said: Json, start: datetime) -> dict[str, Any]:
    frequency, interval = str(said.get("frequency") or "").lower(), said.get("interval", 1)
    if frequency not in _FREQUENCIES:
        raise TriggerError(f"A recurrence is by {', '.join(_FREQUENCIES)}, not by {frequency!r}.")
    if not isinstance(interval, int) or not 1 <= interval <= _MOST_INTERVAL:
        raise TriggerError(
            f"The interval of a recurrence is a whole number from 1 to {_MOST_INTERVAL}, not {interval!r}."
        )
    if frequency in {"minute", "hour"}:
        return {"step_s": interval * (60 if frequency == "minute" else 3600)}
    pattern = said.get("schedule") or {}
    if not isinstance(pattern, Mapping):
        raise TriggerError("The schedule of a recurrence is no object.")
    hours = _listed(pattern, "hours", 23) or [start.hour]
    minutes = _listed(pattern, "minutes", 59) or [start.minute]
    times = [(hour, minute) for hour in hours for minute in minutes]
    return {"fits": _days(frequency, interval, pattern, start.date()), "times": times}


def _days(frequency: str, interval: int, pattern: Json, start: date) -> Callable[[date], bool]:
    if frequency == "day":
        return lambda day: (day - start).days % interval == 0
    if frequency == "week":
        named = {_DAYS.index(_day_name(one)) for one in pattern.get("weekDays") or []} or {start.isoweekday() % 7}
        monday = start - timedelta(days=start.weekday())
        return lambda day: day.isoweekday() % 7 in named and (day - monday).days // 7 % interval == 0
    days = set(_listed(pattern, "monthDays", 31)) or {start.day}
    months = 12 * start.year + start.month
    return lambda day: day.day in days and (12 * day.year + day.month - months) % interval == 0


def _day_name(said: Any) -> str:
    name = str(said).lower()
    if name not in _DAYS:
        raise TriggerError(f"{said!r} is no day of the week.")
    return name


def _listed(pattern: Json, member: str, highest: int) -> list[int]:
    found = pattern.get(member) or []
    if not isinstance(found, list) or not all(isinstance(one, int) and 0 <= one <= highest for one in found):
        raise TriggerError(f"{member} of a recurrence are whole numbers from 0 to {highest}, not {found!r}.")
    return sorted(set(found))

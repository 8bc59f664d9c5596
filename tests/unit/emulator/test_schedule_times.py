"""When schedules are due, by cron and by recurrence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.schedule_times import Trigger, TriggerError
from azureml_emulator.time_zones import IANA, zone

NOW = datetime(2026, 11, 21, 19, 0, tzinfo=UTC)  # a Saturday


def cron(expression: str, **more: Any) -> Trigger:
    return Trigger.parse({"triggerType": "Cron", "expression": expression, **more}, now=NOW)


def recurrence(frequency: str, interval: int = 1, **more: Any) -> Trigger:
    said = {"triggerType": "Recurrence", "frequency": frequency, "interval": interval, **more}
    return Trigger.parse(said, now=NOW)


def times(trigger: Trigger, count: int, after: datetime = NOW) -> list[str]:
    """The next times, in UTC."""
    found: list[datetime] = []
    at: datetime | None = after
    while len(found) < count and at is not None and (at := trigger.after(at)) is not None:
        found.append(at)
    return [f"{one:%a %Y-%m-%d %H:%M}" for one in found]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("15 10 * * 1", ["Mon 2026-11-23 10:15", "Mon 2026-11-30 10:15"]),
        ("*/30 19 * * *", ["Sat 2026-11-21 19:30", "Sun 2026-11-22 19:00"]),
        ("0 9-17/4 * * mon-fri", ["Mon 2026-11-23 09:00", "Mon 2026-11-23 13:00"]),
        ("5,10 0 * * 0", ["Sun 2026-11-22 00:05", "Sun 2026-11-22 00:10"]),
        ("0 0 * * 7", ["Sun 2026-11-22 00:00", "Sun 2026-11-29 00:00"]),
        ("0 0 1 1 *", ["Sun 2026-11-22 00:00", "Mon 2026-11-23 00:00"]),
    ],
)
def test_a_cron_expression_is_minutes_hours_and_days_of_the_week(expression: str, expected: list[str]) -> None:
    assert times(cron(expression), 2) == expected


def test_hours_are_meant_in_the_triggers_zone_whatever_its_offset_is_that_day() -> None:
    berlin = cron("30 2 * * *", timeZone="W. Europe Standard Time", startTime="2026-10-24T00:00:00")

    assert times(berlin, 3, after=datetime(2026, 10, 23, tzinfo=UTC)) == [
        "Sat 2026-10-24 00:30",
        "Sun 2026-10-25 00:30",
        "Mon 2026-10-26 01:30",
    ]


def test_an_hour_that_clocks_skip_is_not_left_out() -> None:
    berlin = cron("30 2 * * *", timeZone="W. Europe Standard Time", startTime="2026-03-28T00:00:00")

    assert times(berlin, 3, after=datetime(2026, 3, 28, tzinfo=UTC)) == [
        "Sat 2026-03-28 01:30",
        "Sun 2026-03-29 01:30",
        "Mon 2026-03-30 00:30",
    ]


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (recurrence("minute", 15), ["Sat 2026-11-21 19:15", "Sat 2026-11-21 19:30"]),
        (recurrence("Hour", 6, startTime="2026-11-21 20:10:00"), ["Sat 2026-11-21 20:10", "Sun 2026-11-22 02:10"]),
        (recurrence("day", 2), ["Mon 2026-11-23 19:00", "Wed 2026-11-25 19:00"]),
        (
            recurrence("day", schedule={"hours": [1, 20], "minutes": [5]}),
            ["Sat 2026-11-21 20:05", "Sun 2026-11-22 01:05"],
        ),
        (
            recurrence("week", 2, schedule={"hours": [8], "minutes": [0], "weekDays": ["Sunday", "Monday"]}),
            ["Sun 2026-11-22 08:00", "Mon 2026-11-30 08:00"],
        ),
        (
            recurrence("month", schedule={"hours": [3], "minutes": [30], "monthDays": [31]}),
            ["Thu 2026-12-31 03:30", "Sun 2027-01-31 03:30"],
        ),
    ],
)
def test_a_recurrence_counts_from_its_start(trigger: Trigger, expected: list[str]) -> None:
    assert times(trigger, 2) == expected


def test_a_trigger_is_not_due_before_its_start_and_not_from_its_end_on() -> None:
    bounded = cron("0 * * * *", startTime="2026-11-21 21:30:00", endTime="2026-11-22 00:00:00")

    assert times(bounded, 9) == ["Sat 2026-11-21 22:00", "Sat 2026-11-21 23:00"]


@pytest.mark.parametrize("start", ["0001-01-02", "9999-12-31T23:59:59"])
@pytest.mark.parametrize("name", ["UTC", "Tokyo Standard Time"])
def test_a_trigger_at_the_ends_of_time_is_due_or_never_is(start: str, name: str) -> None:
    found = [
        cron("0 0 * * *", startTime=start, timeZone=name).after(NOW),
        recurrence("hour", 1000, startTime=start, timeZone=name).after(NOW),
        recurrence("month", schedule={"monthDays": [31]}, startTime=start, timeZone=name).after(NOW),
    ]

    assert all(at is None or at > NOW for at in found)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"triggerType": "Cron", "expression": "* * * *"}, "does not have five fields"),
        ({"triggerType": "Cron", "expression": "60 * * * *"}, "goes beyond 0 to 59"),
        ({"triggerType": "Cron", "expression": "5-1 * * * *"}, "backwards"),
        ({"triggerType": "Cron", "expression": "*/0 * * * *"}, "goes beyond"),
        ({"triggerType": "Cron", "expression": "x * * * *"}, "'x' is no field"),
        ({"triggerType": "Recurrence", "frequency": "year"}, "not by 'year'"),
        ({"triggerType": "Recurrence", "frequency": "day", "interval": 0}, "whole number from 1"),
        ({"triggerType": "Recurrence", "frequency": "day", "schedule": {"hours": [24]}}, "hours of a recurrence"),
        (
            {"triggerType": "Recurrence", "frequency": "week", "schedule": {"weekDays": ["Moonday"]}},
            "no day of the week",
        ),
        ({"triggerType": "Sometimes"}, "Cron or Recurrence"),
        ({"triggerType": "Cron", "expression": "* * * * *", "timeZone": "Mars Standard Time"}, "is not known here"),
        ({"triggerType": "Cron", "expression": "* * * * *", "startTime": "soon"}, "'soon' is no date and time"),
    ],
)
def test_a_trigger_that_cannot_be_read_says_what_is_wrong(said: dict[str, Any], message: str) -> None:
    with pytest.raises(TriggerError, match=message):
        Trigger.parse(said, now=NOW)


def test_every_zone_in_the_table_exists() -> None:
    assert [name for name in IANA if zone(name) is None] == []


moments = st.integers(-300 * 86400, 400 * 86400).map(lambda seconds: NOW + timedelta(seconds=seconds))
fields = st.sampled_from(["*", "0", "*/7", "1,5", "3-9", "59"])
hours = st.sampled_from(["*", "0", "*/5", "2,3", "22-23"])
weekdays = st.sampled_from(["*", "0", "1-5", "sat", "3,6"])
triggers = st.builds(
    lambda minute, hour, day, name: cron(f"{minute} {hour} * * {day}", timeZone=name, startTime="2025-12-01"),
    fields,
    hours,
    weekdays,
    st.sampled_from(["UTC", "W. Europe Standard Time", "Pacific Standard Time", "India Standard Time"]),
) | st.builds(
    lambda frequency, interval: recurrence(frequency, interval, startTime="2025-12-01 01:30:00"),
    st.sampled_from(["minute", "hour", "day", "week", "month"]),
    st.integers(1, 5),
)


@given(triggers, moments)
def test_the_next_time_lies_ahead_and_none_is_left_out(trigger: Trigger, at: datetime) -> None:
    following = trigger.after(at)

    assert following is not None
    assert following > at
    assert trigger.after(following - timedelta(microseconds=1)) == following
    between = at + (following - at) / 2
    assert trigger.after(between) == following

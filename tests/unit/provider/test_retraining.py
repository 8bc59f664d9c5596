from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.batches import Window
from airflow_azureml.core.documents import check_ids
from airflow_azureml.core.partitions import in_window, partition_time
from airflow_azureml.core.retraining import FOREIGN_LEASE, Holding, Standing, document_of
from airflow_azureml.core.retraining_outcomes import Outcome, RetrainingOutcome
from airflow_azureml.errors import ProtocolError

NOW = datetime(2026, 11, 21, 19, tzinfo=UTC)

names = st.sampled_from(["dag/run/group", "dag/other/group", "other/run/group"])
airflows = st.sampled_from(["north", "south"])
ages = st.integers(0, 2 * int(FOREIGN_LEASE.total_seconds())).map(lambda seconds: timedelta(seconds=seconds))


@st.composite
def holdings(draw: st.DrawFn) -> Holding:
    found = Holding(model="m")
    for _ in range(draw(st.integers(0, 3))):
        found = found.taken(draw(names), draw(airflows), now=NOW - draw(ages))
        if draw(st.booleans()):
            found = found.given_back(now=NOW)
    return found


@given(holdings())
def test_a_holding_is_read_as_it_was_written(found: Holding) -> None:
    assert Holding.from_text(found.to_text()) == found


@given(holdings(), names, airflows)
def test_whoever_took_a_model_holds_it_until_it_is_given_back(found: Holding, owner: str, airflow: str) -> None:
    taken = found.taken(owner, airflow, now=NOW)

    assert taken.standing(owner, airflow, now=NOW) is Standing.MINE
    assert taken.given_back(now=NOW).standing(owner, airflow, now=NOW) is Standing.FREE
    assert taken.to_text() != found.to_text()
    assert taken.last == NOW


@given(holdings(), names, airflows)
def test_a_model_is_free_only_if_nobody_holds_it_or_another_airflow_has_held_it_too_long(
    found: Holding, owner: str, airflow: str
) -> None:
    standing = found.standing(owner, airflow, now=NOW)
    age = NOW - datetime.fromisoformat(found.began) if found.began else timedelta(0)

    match standing:
        case Standing.FREE:
            assert not found.is_held or (found.instance != airflow and age >= FOREIGN_LEASE)
        case Standing.MINE:
            assert (found.owner, found.instance, found.ended) == (owner, airflow, "")
        case Standing.ANOTHER:
            assert found.is_held
            assert found.instance == airflow
            assert found.owner != owner
        case Standing.FOREIGN:
            assert found.is_held
            assert found.instance != airflow
            assert age < FOREIGN_LEASE


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "model": "m", "king": "x"}'])
def test_what_is_no_holding_is_not_taken_for_a_free_model(text: str) -> None:
    with pytest.raises(ProtocolError, match="a model's retrainings"):
        Holding.from_text(text)


def test_a_holding_of_no_time_is_refused() -> None:
    with pytest.raises(ProtocolError, match="cannot be read"):
        Holding.from_text(Holding(model="m", owner="a/b/c", began="yesterday").to_text())


@given(st.text(max_size=300), st.text(max_size=300))
def test_each_model_has_a_document_of_its_own(one: str, other: str) -> None:
    check_ids([document_of(one)])

    assert (document_of(one) == document_of(other)) == (one == other)


def blob(path: str) -> Arrival:
    return Arrival(
        account="acme",
        container="c",
        path=path,
        etag="1",
        size_bytes=1,
        sequencer="",
        time=NOW.isoformat(),
        api="",
        url=f"https://acme.blob.core.windows.net/c/{path}",
    )


times = st.integers(0, 100 * 24 * 60).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes))


@given(times, st.sampled_from(["%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m-%dT%H%M"]), st.sampled_from(["", "/part", "-rows"]))
def test_the_time_of_a_partition_is_in_its_name(time: datetime, named: str, rest: str) -> None:
    name = time.strftime(named)

    assert partition_time(f"north/{name}{rest}.csv") == datetime.strptime(name, named).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "path", ["rows.csv", "2026-13-01.csv", "2026-01-01T99.csv", "12026-01-01.csv", "2026-01-1.csv"]
)
def test_a_path_without_a_date_is_no_partition(path: str) -> None:
    assert partition_time(path) is None


@given(st.sets(st.integers(0, 60)), st.integers(0, 60), st.integers(1, 60))
def test_a_window_has_the_partitions_that_begin_in_it_in_their_order(days: set[int], low: int, length: int) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    since = begin + timedelta(days=low)
    blobs = [blob(f"f/{begin + timedelta(days=day):%Y-%m-%d}/part.csv") for day in days]
    window = Window.parse(since.isoformat(), f"+{length}d")

    found = in_window([*blobs, blob("f/readme.csv")], "f/", window)

    wanted = [begin + timedelta(days=day) for day in sorted(days) if low <= day < low + length]
    assert [each.path for each in found] == [f"f/{time:%Y-%m-%d}/part.csv" for time in wanted]


FINDING = {"check": "rmse at most 60", "passed": False, "reason": "rmse is 71.7, above 60."}
TEST = {"accepted": True, "path": "azureml://datastores/d/paths/f/2026-01-01.csv", "failed": [], "quarantine": ""}
UNFIT = {
    **TEST,
    "accepted": False,
    "failed": [{"column": "bmi", "check": "bmi: KS", "reason": "bmi has moved."}],
    "quarantine": "https://acme.blob.core.windows.net/q/1",
}


@pytest.mark.parametrize(
    ("told", "outcome", "sentence"),
    [
        (
            {"verdict": {"accepted": True}, "registered": {"stage": "champion", "version": "2", "reason": ""}},
            Outcome.CHAMPION,
            "Version 2 of model m is registered, and is the champion.",
        ),
        (
            {
                "verdict": {"accepted": True},
                "registered": {"stage": "challenger", "version": "3", "reason": "Look again."},
            },
            Outcome.CHALLENGER,
            "Version 3 of model m is registered, and is not the champion. Look again.",
        ),
        (
            {"tested": [TEST], "verdict": {"accepted": False, "findings": [FINDING]}},
            Outcome.REJECTED,
            "The new model is rejected; nothing is registered, and the champion of m stays. rmse is 71.7, above 60.",
        ),
        (
            {"verdict": {"accepted": False, "findings": []}},
            Outcome.REJECTED,
            "The new model is rejected; nothing is registered, and the champion of m stays. Nothing was checked.",
        ),
        (
            {"tested": [TEST, UNFIT]},
            Outcome.UNFIT_DATA,
            (
                "Data failed its tests; model m was not trained. f/2026-01-01.csv: bmi has moved."
                " Kept at https://acme.blob.core.windows.net/q/1."
            ),
        ),
        ({"tested": [TEST]}, Outcome.NOTHING, "There was nothing to do; model m was not trained."),
        ({}, Outcome.NOTHING, "There was nothing to do; model m was not trained."),
    ],
)
def test_a_retraining_says_what_it_came_to_and_why(told: dict[str, Any], outcome: Outcome, sentence: str) -> None:
    found = RetrainingOutcome.of("m", **told)

    assert found.outcome is outcome
    assert found.sentence == sentence


@given(st.integers(0, 200), st.integers(0, 5000))
def test_an_outcome_is_small_however_much_was_wrong(count: int, length: int) -> None:
    unfit = {**UNFIT, "failed": [{"reason": "x" * length}] * count, "quarantine": "y" * length}

    told = RetrainingOutcome.of("m", tested=[unfit] * 20).to_wire()

    assert len(json.dumps(told).encode()) < 4096
    assert told["outcome"] == "unfit data"
    assert told["reasons"]

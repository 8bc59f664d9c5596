"""Which setting of a deployment is the cheapest that holds, and how little is measured to know it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.answers import Answer, Tally, percentile
from airflow_azureml.core.profiling import Goal, Measured, Profiling, Setting
from airflow_azureml.errors import ConfigError

GOAL = Goal(rate_per_s=10, latency_ms=100)
counts = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
#: What each of the settings would do if it were measured.
outcomes = st.builds(
    Measured,
    setting=st.builds(Setting, instances=st.integers(1, 6), concurrency=st.integers(1, 6)),
    requests=st.integers(0, 100),
    failed=st.integers(0, 2),
    latency_ms=st.sampled_from([50.0, 99.0, 100.0, 101.0, math.inf]),
)


def measured(instances: int, concurrency: int, latency_ms: float, *, failed: int = 0) -> Measured:
    setting = Setting(instances=instances, concurrency=concurrency)
    return Measured(setting=setting, requests=100, failed=failed, latency_ms=latency_ms)


def all_measured(profiling: Profiling, outcome: dict[Setting, Measured]) -> list[Measured]:
    """Measure as long as something is to be."""
    found: list[Measured] = []
    while (setting := profiling.next(found)) is not None:
        assert len(found) < 100, "it never ends"
        found.append(outcome[setting])
    return found


@given(counts, counts, st.data())
def test_what_is_left_unmeasured_could_not_have_been_the_answer(
    instances: tuple[int, ...], concurrency: tuple[int, ...], data: st.DataObject
) -> None:
    profiling = Profiling(goal=GOAL, instances=instances, concurrency=concurrency)
    drawn = data.draw(st.lists(outcomes, min_size=len(profiling.settings), max_size=len(profiling.settings)))
    outcome = {
        setting: Measured(setting=setting, requests=each.requests, failed=each.failed, latency_ms=each.latency_ms)
        for setting, each in zip(profiling.settings, drawn, strict=True)
    }

    found = all_measured(profiling, outcome)

    assert profiling.cheapest(found) == profiling.cheapest(list(outcome.values()))
    assert len({each.setting for each in found}) == len(found)


def test_settings_that_cost_more_than_one_that_holds_are_not_measured() -> None:
    profiling = Profiling(goal=GOAL, instances=(1, 2, 3), concurrency=(1, 2))
    found = [measured(1, 1, 300), measured(1, 2, 200), measured(2, 1, 90)]

    assert profiling.next(found) == Setting(instances=2, concurrency=2)
    assert profiling.next([*found, measured(2, 2, 120)]) is None


def test_all_settings_are_measured_where_the_whole_picture_is_wanted() -> None:
    profiling = Profiling(goal=GOAL, instances=(1, 2), concurrency=(1,), is_whole=True)

    assert profiling.next([measured(1, 1, 10)]) == Setting(instances=2, concurrency=1)


def test_of_settings_that_cost_the_same_the_fastest_is_taken() -> None:
    profiling = Profiling(goal=GOAL)

    best = profiling.cheapest([measured(3, 1, 1), measured(2, 1, 90), measured(2, 2, 70), measured(1, 1, 101)])

    assert best == measured(2, 2, 70)


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (measured(1, 1, 100), True),
        (measured(1, 1, 100.1), False),
        (measured(1, 1, 1, failed=1), False),
        (measured(1, 1, math.inf), False),
        (Measured(setting=Setting(instances=1, concurrency=1), requests=0, failed=0, latency_ms=1), False),
    ],
)
def test_a_setting_holds_when_it_was_asked_and_answered_soon_and_without_failures(found: Measured, holds: bool) -> None:
    assert found.holds(GOAL) is holds


def test_some_failures_may_be_allowed() -> None:
    goal = Goal(rate_per_s=1, latency_ms=100, failed=0.01)

    assert measured(1, 1, 1, failed=1).holds(goal)
    assert not measured(1, 1, 1, failed=2).holds(goal)


@given(outcomes)
def test_a_measurement_survives_its_way_through_json(found: Measured) -> None:
    assert Measured.from_wire(found.to_wire()) == found


def test_counts_of_answers_become_a_measurement() -> None:
    tally = Tally()
    for latency_ms in range(1, 101):
        tally.add(Answer(status=200, latency_ms=latency_ms, deployment="blue"))
    tally.add(Answer(status=429, latency_ms=1, body=b"too many", deployment="blue"))

    found = Measured.of(Setting(instances=1, concurrency=1), tally, GOAL)

    assert (found.requests, found.failed, found.latency_ms, found.p50_ms) == (101, 1, 95, 50)
    assert found.first_failure == "blue 429 too many"


def test_what_is_out_of_bounds_is_told_all_at_once() -> None:
    wrong = Profiling(goal=Goal(rate_per_s=0, latency_ms=10, failed=1), instances=(0,), concurrency=())

    with pytest.raises(ConfigError) as error:
        wrong.checked()

    for words in ("rate_per_s is 0", "failed is 1", "instances is 0", "concurrency is empty"):
        assert words in str(error.value)


def test_no_load_is_larger_than_an_accident_may_be() -> None:
    with pytest.raises(ConfigError, match="rate_per_s x seconds is 500000"):
        Profiling(goal=Goal(rate_per_s=500, latency_ms=10), seconds=1000).checked()


def test_the_verdict_names_the_setting_and_what_each_costs() -> None:
    profiling = Profiling(goal=GOAL, price_per_hour=0.1)

    verdict = profiling.verdict([measured(1, 1, 300), measured(2, 1, 90)], subject="green")

    assert verdict.accepted
    assert verdict.findings[0].reason == "2 instances, 1 at once is the cheapest that does."
    assert verdict.facts["2 instances, 1 at once"] == "90.0 ms, 0 of 100 failed, 0.2 an hour"
    assert not profiling.verdict([], subject="green").accepted


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=50), st.floats(0.1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)

    def below(most: float) -> float:
        return sum(value <= most for value in values) / len(values) * 100

    assert found in values
    assert below(found) >= share - 1e-9
    assert all(below(value) < share + 1e-9 for value in values if value < found)

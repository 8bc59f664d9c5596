"""What a new deployment's live figures must be like."""

from __future__ import annotations

from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_azureml.core.rollout import Limits
from airflow_azureml.core.rollout_limits import Figures, judge
from tests.unit.provider.rolling import BAD, GOOD

figures = st.builds(
    Figures, requests=st.integers(0, 300), failures=st.integers(0, 20), p95_ms=st.none() | st.floats(1, 500)
)
limits = st.builds(
    Limits,
    failures_at_most=st.none() | st.floats(0, 0.2),
    failures_above_champion=st.none() | st.floats(0, 0.2),
    p95_ms_at_most=st.none() | st.floats(1, 500),
    p95_times_champion=st.none() | st.floats(1, 5),
)


@given(figures, st.none() | figures, limits, st.integers(0, 200))
def test_one_more_failure_never_mends_anything(
    new: Figures, champion: Figures | None, some: Limits, least: int
) -> None:
    worse = evolve(new, requests=new.requests + 1, failures=new.failures + 1)
    assume(new.failures <= new.requests)

    before, after = (judge(each, champion, some, least_requests=least) for each in (new, worse))

    assert {each.check for each in before.violated} <= {each.check for each in after.violated}


@given(figures, st.integers(1, 200), st.floats(0, 0.2))
def test_failures_are_too_many_before_the_least_requests_only_if_no_success_could_mend_it(
    new: Figures, least: int, most: float
) -> None:
    assume(new.failures <= new.requests < least)
    rules = Limits(failures_at_most=most, p95_times_champion=None)
    with_successes = evolve(new, requests=least)

    early = judge(new, None, rules, least_requests=least)
    late = judge(with_successes, None, rules, least_requests=least)

    assert bool(early.violated) == bool(late.violated)
    assert early.open


@given(figures, figures, limits, st.integers(0, 200))
def test_one_limit_more_never_clears_a_deployment(new: Figures, champion: Figures, some: Limits, least: int) -> None:
    fewer = evolve(some, p95_times_champion=None, failures_above_champion=None)

    found, less = (judge(new, champion, each, least_requests=least) for each in (some, fewer))

    assert {each.check for each in less.violated} <= {each.check for each in found.violated}
    assert set(less.open) <= set(found.open)


def test_what_was_not_asked_often_enough_is_neither_good_nor_bad() -> None:
    found = judge(Figures(requests=3, p95_ms=1.0), GOOD, Limits(), least_requests=50)

    assert not found.findings
    assert found.open[0] == "3 of 50 requests so far"


def test_a_limit_tells_what_it_found() -> None:
    (found, slow) = judge(evolve(BAD, p95_ms=70.0), GOOD, Limits(), least_requests=50).findings

    assert found.reason == "50 of 100 requests failed, and 1.00% may."
    assert slow.reason == "p95 is 70 ms, and may be 40 ms."
    assert slow.check == "p95 at most 2 times the champion's 20 ms"


def test_a_champion_that_nobody_asked_is_no_measure() -> None:
    rules = Limits(failures_at_most=None, failures_above_champion=0.01, p95_times_champion=None)

    found = judge(BAD, Figures(), rules, least_requests=0)

    assert not found.findings
    assert found.open == ("0 of 1 of the champion's requests so far",)

"""What holds of the gate whatever the policy and whatever the evaluations."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.gate import (
    Better,
    Comparison,
    Evaluation,
    Guard,
    Interval,
    IntervalRule,
    Measured,
    Policy,
    SliceRule,
    Threshold,
)
from airflow_azureml.core.gate_rules import Rule, compares
from tests.unit.provider.quality.gate_world import (
    LOSS,
    NOW,
    RULES,
    WAY,
    bounds_of_intervals,
    champions,
    evaluation,
    evaluations,
    found,
    gaps,
    interval,
    intervals_by_loss,
    policies,
    policy,
    rules_of,
    small,
    with_rules,
)

FILTERED = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
one_more: st.SearchStrategy[tuple[str, Rule]] = st.one_of(
    *(st.tuples(st.just(name), each) for name, each in RULES.items()), st.tuples(st.just("guards"), gaps)
)


@FILTERED
@given(policies(), one_more, evaluations(), champions, intervals_by_loss)
def test_one_more_rule_never_turns_a_no_into_a_yes(
    rules: Policy,
    more: tuple[str, Rule],
    challenger: Evaluation,
    champion: Evaluation | None,
    intervals: Mapping[str, Interval],
) -> None:
    added = with_rules(rules, [*rules_of(rules), more])
    assume(not added.faults())

    before = found(rules, challenger, champion, intervals=intervals)
    after = found(added, challenger, champion, intervals=intervals)

    assert before.accepted or not after.accepted
    assert len(after.findings) > len(before.findings) or challenger.faults


complete = st.builds(
    Evaluation,
    metrics=st.fixed_dictionaries(dict.fromkeys(WAY, small)),
    rows=st.just(89),
    data_version=st.just("sha256:1f"),
    slices=st.fixed_dictionaries(
        {
            name: st.builds(Measured, metrics=st.fixed_dictionaries({"rmse": small, "r2": small}), rows=st.just(40))
            for name in ("a", "b")
        }
    ),
)
times = st.sampled_from([1.5, 3.0, 10.0])
bounds = st.tuples(st.integers(1, 9), st.none() | st.integers(1, 9))
measured = st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(-1, 9))


@settings(FILTERED, max_examples=500)
@given(bounds, bounds, measured)
def test_more_rows_or_a_younger_evaluation_asked_for_never_turns_a_no_into_a_yes(
    one: tuple[int, int | None], other: tuple[int, int | None], told: tuple[int | None, int | None]
) -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)], rows_at_least=one[0], max_age_hours=one[1])
    hours = [each for each in (one[1], other[1]) if each is not None]
    stricter = attrs.evolve(rules, rows_at_least=max(one[0], other[0]), max_age_hours=min(hours, default=None))
    rows, age = told
    challenger = attrs.evolve(evaluation(), rows=rows, made_at=None if age is None else NOW - timedelta(hours=age))

    if found(stricter, challenger).accepted:
        assert found(rules, challenger).accepted


def worsened(one: Mapping[str, float], by: Mapping[str, float]) -> dict[str, float]:
    return {name: value + by[name] if WAY[name] is Better.LOWER else value - by[name] for name, value in one.items()}


steps = st.sampled_from([0.0, 0.5, 1.5, 4.0])
changes = st.fixed_dictionaries(dict.fromkeys(WAY, steps))


@attrs.frozen
class Worse:
    """By how much everything gets worse."""

    whole: Mapping[str, float]
    parts: Mapping[str, float]
    shift: float

    def of(self, one: Evaluation) -> Evaluation:
        return attrs.evolve(
            one,
            metrics=worsened(one.metrics, self.whole),
            slices={
                name: attrs.evolve(each, metrics=worsened(each.metrics, self.parts))
                for name, each in one.slices.items()
            },
        )


worsenings = st.builds(Worse, whole=changes, parts=changes, shift=steps)


@pytest.mark.parametrize("member", RULES)
@settings(FILTERED, max_examples=200)
@given(st.data(), complete, st.one_of(complete, complete, champions), bounds_of_intervals, worsenings)
def test_a_worse_value_never_passes_where_a_better_one_failed(
    member: str,
    data: st.DataObject,
    challenger: Evaluation,
    champion: Evaluation | None,
    between: Interval,
    worse: Worse,
) -> None:
    rules = with_rules(policy(), [(member, data.draw(RULES[member]))])
    assume(not rules.faults())
    higher = attrs.evolve(between, high=between.high + worse.shift)

    if found(rules, worse.of(challenger), champion, intervals={LOSS: higher}).accepted:
        assert found(rules, challenger, champion, intervals={LOSS: between}).accepted


@settings(FILTERED, max_examples=200)
@given(gaps, st.one_of(complete, complete, evaluations()), st.one_of(complete, complete, champions), times)
def test_a_wider_gap_never_passes_where_a_narrower_one_failed(
    guard: Guard, challenger: Evaluation, champion: Evaluation | None, by: float
) -> None:
    rules = policy(guards=[guard])
    assume(not rules.faults())
    # All figures are stretched about nought, and so are their differences.
    stretched = {
        name: attrs.evolve(one, metrics={each: value * by for each, value in one.metrics.items()})
        for name, one in challenger.slices.items()
    }

    if found(rules, attrs.evolve(challenger, slices=stretched), champion).accepted:
        assert found(rules, challenger, champion).accepted


@FILTERED
@given(
    st.lists(one_more, min_size=4, max_size=9),
    evaluations(),
    champions,
    intervals_by_loss,
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_rules_changes_nothing(
    drawn: list[tuple[str, Rule]],
    challenger: Evaluation,
    champion: Evaluation | None,
    intervals: Mapping[str, Interval],
    chance: random.Random,
) -> None:
    rules = [(name, rule) for name, rule in drawn if not with_rules(policy(), [(name, rule)]).faults()]
    one = with_rules(policy(), rules)
    assume(not one.faults())
    chance.shuffle(rules)
    other = with_rules(policy(), rules)

    again = found(other, challenger, champion, intervals=intervals)

    assert again == found(one, challenger, champion, intervals=intervals)


@FILTERED
@given(policies(), evaluations(), champions, intervals_by_loss)
def test_what_a_verdict_says_survives_its_way_through_json(
    rules: Policy, challenger: Evaluation, champion: Evaluation | None, intervals: Mapping[str, Interval]
) -> None:
    verdict = found(rules, challenger, champion, intervals=intervals)

    assert Verdict.from_wire(verdict.to_wire()) == verdict
    assert verdict.policy == f"diabetes 3 ({rules.digest})"


@attrs.frozen
class Place:
    """A figure that a rule looks at: whose, of which slice (empty for the whole), of which metric."""

    whose: str
    slice: str
    metric: str


def looked_at(rule: Rule, slices: Mapping[str, Measured]) -> Iterator[Place]:
    sides = ["challenger", "champion"] if compares(rule) else ["challenger"]
    for whose in sides:
        match rule:
            case Threshold() | Comparison() | Guard(over=None):
                yield Place(whose, "", rule.metric)
            case SliceRule() | Guard():
                yield from (Place(whose, name, rule.metric) for name in slices)
            case IntervalRule():
                pass


def broken(one: Evaluation, place: Place, how: float | str | None) -> Evaluation:
    """Put what is no figure in a place: a number that is not finite, a text, or nothing (None)."""

    def put(measured: Any) -> Any:
        rest = {name: value for name, value in measured.metrics.items() if name != place.metric}
        if isinstance(how, str):
            return attrs.evolve(measured, metrics=rest, unreadable={place.metric: how})
        return attrs.evolve(measured, metrics=rest if how is None else {**rest, place.metric: how})

    if not place.slice:
        changed: Evaluation = put(one)
        return changed
    return attrs.evolve(one, slices={**one.slices, place.slice: put(one.slices[place.slice])})


NO_FIGURES: Mapping[str, list[Any]] = {
    "not finite": [math.nan, math.inf, -math.inf],
    "no number": ['"54.1"', "true", "null"],
    "missing": [None],
}


@pytest.mark.parametrize("how", NO_FIGURES)
@FILTERED
@given(st.lists(one_more, min_size=1, max_size=8), complete, complete, st.data())
def test_what_is_no_figure_anywhere_a_rule_looks_is_a_no(
    how: str, rules: list[tuple[str, Rule]], challenger: Evaluation, champion: Evaluation, data: st.DataObject
) -> None:
    held = [
        (name, rule)
        for name, rule in rules
        if name != "intervals"
        and not (alone := with_rules(policy(), [(name, rule)])).faults()
        and found(alone, challenger, champion).accepted
    ]
    places = sorted({place for _, rule in held for place in looked_at(rule, _named(rule, challenger))}, key=str)
    assume(places)
    place = data.draw(st.sampled_from(places))
    judged = with_rules(policy(), held)
    assume(not judged.faults())
    assert found(judged, challenger, champion).accepted

    value = data.draw(st.sampled_from(NO_FIGURES[how]))
    if place.whose == "challenger":
        challenger = broken(challenger, place, value)
    else:
        champion = broken(champion, place, value)

    verdict = found(judged, challenger, champion)
    assert not verdict.accepted
    assert place.metric in verdict.sentence


def _named(rule: Rule, one: Evaluation) -> Mapping[str, Measured]:
    """Pick the slices that a rule's patterns name: those of the tests are ``a``, ``b`` or all."""
    if isinstance(rule, SliceRule | Guard) and rule.over:
        patterns = rule.over.names
        return {name: each for name, each in one.slices.items() if "*" in patterns or name in "".join(patterns)}
    return {}


@pytest.mark.parametrize("member", ["estimate", "low", "high"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_interval_that_is_not_finite_is_a_no(member: str, value: float) -> None:
    rules = policy(intervals=[IntervalRule(loss=LOSS)])
    good = attrs.evolve(evaluations_of_rows(), metrics={"rmse": 1.0})

    assert found(rules, good, good, intervals={LOSS: interval()}).accepted
    assert not found(rules, good, good, intervals={LOSS: interval(**{member: value})}).accepted


def evaluations_of_rows() -> Evaluation:
    return Evaluation(rows=89, data_version="sha256:1f")

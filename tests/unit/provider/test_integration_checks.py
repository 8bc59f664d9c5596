"""What a whole run must hold; what is missing or not known is a no."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.costs import Cost
from airflow_azureml.core.integration_checks import Bounds, Seen, judge
from airflow_azureml.errors import ConfigError
from tests.unit.provider.evidence_world import NO, YES

GOOD = Seen(
    job="train-1",
    outputs={"model": (2, 500)},
    metrics={"rmse": 50.0, "r2": 0.4},
    tables={"predictions/a.csv": YES},
    seconds=100,
    cost=Cost(amount=2.0, hours=1.0, currency="EUR"),
)
BOUNDS = Bounds.parse(outputs=["model"], metrics={"rmse": (0, 60), "r2": (0.2, None)}, most_seconds=200, most_cost=5.0)

names = st.sampled_from(["a", "b", "c"])
numbers = st.none() | st.floats(0, 10)
bounds = st.builds(
    Bounds,
    outputs=st.lists(names, unique=True, max_size=2).map(tuple),
    metrics=st.dictionaries(names, st.tuples(numbers, numbers), max_size=2),
    most_seconds=st.none() | st.floats(1, 10),
    most_cost=st.none() | st.floats(1, 10),
)
costs = st.builds(Cost, amount=st.floats(0, 10), hours=st.just(1.0), unpriced=st.sampled_from([(), ("x",)]))
seen = st.builds(
    Seen,
    job=st.just("j"),
    outputs=st.dictionaries(names, st.none() | st.tuples(st.integers(0, 2), st.integers(0, 2))),
    metrics=st.dictionaries(names, st.floats(0, 10) | st.sampled_from([math.nan, math.inf])),
    tables=st.dictionaries(names, st.sampled_from([YES, NO])),
    seconds=st.none() | st.floats(0, 10),
    cost=st.none() | costs,
)


def reasons(**more: Any) -> str:
    return " ".join(each.reason for each in judge(BOUNDS, attrs.evolve(GOOD, **more)).failed)


def test_a_good_run_is_accepted_and_its_facts_are_told() -> None:
    verdict = judge(BOUNDS, GOOD)

    assert verdict.accepted
    assert len(verdict.findings) == 6
    assert verdict.facts == {"job": "train-1", "seconds": "100", "cost": "2.00 EUR (1.00 node hours)"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"outputs": {}}, "The job has no output model; it has none."),
        ({"outputs": {"model": (0, 0)}}, "Output model has no file."),
        ({"outputs": {"model": (1, 0)}}, "Output model has 1 files with 0 bytes."),
        ({"tables": {"predictions/a.csv": NO}}, "It is 70."),
        ({"metrics": {"r2": 0.4}}, "There is no metric rmse; there are r2."),
        ({"metrics": {"rmse": 61.0, "r2": 0.4}}, "rmse is 61."),
        ({"metrics": {"rmse": math.nan, "r2": 0.4}}, "rmse is nan."),
        ({"metrics": {"rmse": 50.0, "r2": math.inf}}, "r2 is inf."),
        ({"metrics": {"rmse": 50.0, "r2": 0.4, "loss": math.nan}}, "loss is nan."),
        ({"seconds": 201}, "It took 201 s."),
        ({"seconds": None}, "Nobody knows how long it took."),
        ({"cost": None}, "There are no prices to know its cost by."),
        ({"cost": Cost(amount=6.0, hours=1.0)}, "It cost 6.00 (1.00 node hours)."),
        ({"cost": Cost(amount=1.0, hours=1.0, unpriced=["x"])}, "without x, which has no price"),
    ],
)
def test_what_does_not_hold_is_a_no_with_its_reason(more: dict[str, Any], words: str) -> None:
    assert words in reasons(**more)


def test_a_run_of_which_nothing_is_checked_is_a_no() -> None:
    assert not judge(Bounds(), Seen(job="j")).accepted


@given(bounds, seen)
def test_a_run_is_accepted_only_if_all_that_is_asked_is_known_and_holds(asked: Bounds, found: Seen) -> None:
    if not judge(asked, found).accepted:
        return

    assert all((found.outputs.get(name) or (0, 0))[1] > 0 for name in asked.outputs)
    assert all(math.isfinite(found.metrics[name]) for name in {*asked.metrics, *found.metrics})
    assert all(low is None or low <= found.metrics[name] for name, (low, _) in asked.metrics.items())
    assert all(high is None or high >= found.metrics[name] for name, (_, high) in asked.metrics.items())
    assert asked.most_seconds is None or (found.seconds is not None and found.seconds <= asked.most_seconds)
    assert asked.most_cost is None or (found.cost is not None and found.cost.is_known)
    assert asked.most_cost is None or (found.cost is not None and found.cost.amount <= asked.most_cost)
    assert all(verdict.accepted for verdict in found.tables.values())


@given(bounds, seen)
def test_less_that_is_known_never_turns_a_no_into_a_yes(asked: Bounds, found: Seen) -> None:
    less = attrs.evolve(found, seconds=None, cost=None, outputs={}, metrics={})
    asked_of_it = asked.outputs or asked.metrics or asked.most_seconds or asked.most_cost

    if asked_of_it:
        assert not judge(asked, less).accepted


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"metrics": {"rmse": 60}}, "metrics of rmse is 60; give the least and the most"),
        ({"metrics": {"rmse": (60, 0)}}, "the least, 60, is more than the most, 0"),
        ({"metrics": {"rmse": ("0", 60)}}, "metrics of rmse is"),
        ({"metrics": ["rmse"]}, "metrics is"),
        ({"most_cost": 0}, "most_cost is 0; it must be more than 0"),
        ({"most_seconds": math.nan}, "most_time is nan"),
    ],
)
def test_bounds_that_are_none_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Bounds.parse(**{"outputs": (), "metrics": {}, **more})

"""What a sweep tries: every value is of the search space, no trial is tried twice, and the best is the best."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.sampling import Sweep, fill_in
from azureml_emulator.steps import SpecificationError

scalars = st.one_of(st.integers(-5, 5), st.sampled_from(["a", "b"]), st.sampled_from([0.5, 1.5]))
choices = st.lists(scalars, min_size=1, max_size=4, unique_by=repr)
spaces = st.dictionaries(st.sampled_from(["lr", "depth", "word"]), choices, min_size=1)
counts = st.integers(1, 30)


def sweep(
    space: dict[str, Any], algorithm: str = "Random", *, goal: str = "Maximize", seed: int | None = None, **limits: Any
) -> Sweep:
    """Read a sweep job as it comes over the wire."""
    return Sweep.from_wire(
        {
            "searchSpace": space,
            "samplingAlgorithm": {"samplingAlgorithmType": algorithm, "seed": seed},
            "objective": {"goal": goal, "primaryMetric": "m"},
            "limits": limits,
        }
    )


def chosen(space: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: ["choice", [values]] for name, values in space.items()}


@given(spaces, counts)
def test_a_grid_is_the_beginning_of_all_combinations_each_once(space: dict[str, list[Any]], most: int) -> None:
    trials = sweep(chosen(space), "Grid", maxTotalTrials=most).trials(name="x")

    every = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    assert trials == every[:most]


@given(spaces, counts, st.integers(0, 5))
def test_random_trials_are_of_the_space_none_twice_and_as_many_as_there_can_be(
    space: dict[str, list[Any]], most: int, seed: int
) -> None:
    trials = sweep(chosen(space), seed=seed, maxTotalTrials=most).trials(name="x")

    every = math.prod(len(values) for values in space.values())
    assert len(trials) == min(most, every)
    assert len({repr(trial) for trial in trials}) == len(trials)
    assert all(trial[name] in values for trial in trials for name, values in space.items())


@given(st.floats(-10, 10), st.floats(0.001, 10), st.floats(0.01, 3), st.integers(0, 9))
def test_values_stay_within_their_distribution(low: float, width: float, step: float, seed: int) -> None:
    high = low + width
    space = {
        "u": ["uniform", [low, high]],
        "q": ["quniform", [low, high, step]],
        "l": ["loguniform", [low, high]],
        "ql": ["qloguniform", [low, high, step]],
        "qn": ["qnormal", [low, width, step]],
        "i": ["randint", [7]],
        "n": ["lognormal", [low, width]],
    }
    (trial,) = sweep(space, seed=seed, maxTotalTrials=1).trials(name="x")

    assert low <= trial["u"] <= high
    assert low - step <= trial["q"] <= high + step
    assert math.exp(low) * 0.999 <= trial["l"] <= math.exp(high) * 1.001
    for name in ("q", "ql", "qn"):
        assert math.isclose(trial[name] / step, round(trial[name] / step), abs_tol=1e-6)
    assert trial["i"] in range(7)
    assert trial["n"] > 0


@given(st.text("ab", max_size=3), st.integers(0, 5))
def test_a_seed_draws_the_same_again_whatever_the_job_is_called(name: str, seed: int) -> None:
    space = {"lr": ["uniform", [0, 1]]}
    one, other = (sweep(space, seed=seed, maxTotalTrials=3).trials(name=each) for each in (name, "another"))

    assert one == other
    assert sweep(space, maxTotalTrials=3).trials(name="x") != sweep(space, maxTotalTrials=3).trials(name="y")


@given(st.lists(st.floats(-5, 5) | st.just(math.nan), max_size=6), st.sampled_from(["Maximize", "minimize"]))
def test_the_best_is_the_greatest_or_the_least_of_what_is_a_number(values: list[float], goal: str) -> None:
    told, best = sweep({"a": ["choice", [[1]]]}, goal=goal), None
    for value in values:
        best = value if told.better(value, best) else best

    numbers = [value for value in values if not math.isnan(value)]
    wanted = max if goal == "Maximize" else min
    assert best == (wanted(numbers) if numbers else None)


def test_a_command_gets_its_trials_values_and_keeps_what_is_not_the_search_spaces() -> None:
    command = "t.py ${{search_space.lr}} ${{ search_space.word }} ${{inputs.data}} ${{outputs.out}}"

    assert fill_in(command, {"lr": 0.5, "word": "x"}) == "t.py 0.5 x ${{inputs.data}} ${{outputs.out}}"
    with pytest.raises(SpecificationError, match=r"asks for \$\{\{ search_space.word \}\}; the search space has lr"):
        fill_in(command, {"lr": 0.5})


@pytest.mark.parametrize(
    ("space", "algorithm", "told"),
    [
        ({}, "Random", "at least one hyperparameter"),
        ({"a": ["uniform", [1]]}, "Random", "is no distribution"),
        ({"a": ["uniform", ["x", 1]]}, "Random", "has no numbers"),
        ({"a": ["quniform", [0, 1, 0]]}, "Random", "no positive step"),
        ({"a": ["randint", [0]]}, "Random", "no upper end"),
        ({"a": ["choice", [[]]]}, "Random", "is no distribution"),
        ({"a": ["uniform", [0, 1]]}, "Grid", "Grid sampling takes choices only, which a is not"),
        ({"a": ["choice", [[1]]]}, "Sobol", "samplingAlgorithmType is Sobol"),
    ],
)
def test_what_cannot_be_swept_is_told(space: dict[str, Any], algorithm: str, told: str) -> None:
    with pytest.raises(SpecificationError, match=told):
        sweep(space, algorithm)


@pytest.mark.parametrize(("limit", "value"), [("maxTotalTrials", 0), ("maxConcurrentTrials", 1.5), ("timeout", "5")])
def test_a_limit_that_is_none_is_told(limit: str, value: Any) -> None:
    with pytest.raises(SpecificationError, match=f"{limit}|time"):
        sweep({"a": ["choice", [[1]]]}, **{limit: value})


def test_values_that_grow_too_large_are_told_and_not_raised_as_they_are() -> None:
    with pytest.raises(SpecificationError, match="numbers too large"):
        sweep({"a": ["lognormal", [10_000, 1]]}, seed=1).trials(name=str(random.Random(1).random()))  # noqa: S311  # no secret

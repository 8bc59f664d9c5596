"""The paired bootstrap, against what it must come to: exact probabilities, scipy's own, and simulated truth."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numbers
from scipy import stats  # type: ignore[import-untyped]  # it has no types

from airflow_azureml.errors import ProtocolError
from airflow_azureml.quality.bootstrap import (
    BLOCK,
    METHODS,
    MeanDifference,
    Resampling,
    _draws_by_block,
    _resampled,
    _Stream,
    interval,
)

TRIALS = 1000
finite = st.floats(-1e300, 1e300, allow_subnormal=True)
columns = numbers.arrays(np.float64, st.integers(2, 40), elements=finite)
hows = st.builds(Resampling, resamples=st.just(100), seed=st.integers(0, 2**63 - 1), method=st.sampled_from(METHODS))


def _skewed(seed: int, rows: int) -> Any:
    """Differences of squared errors of two models on the same rows; their true mean is 0.25."""
    random = np.random.default_rng(seed)
    noise, bias = random.normal(size=rows), random.normal(0.0, 0.5, rows)
    return (noise + bias) ** 2 - noise**2


def test_how_often_each_row_is_drawn_has_exactly_the_distribution_of_draws_with_replacement() -> None:
    rows, resamples = 5, 200_000
    digits = np.array([6**place for place in range(rows)])  # a sum tells how often each row was drawn
    drawn = Counter(_resampled(digits, evolve(Resampling(), resamples=100_000, seed=1)).tolist())
    drawn += Counter(_resampled(digits, evolve(Resampling(), resamples=100_000, seed=2)).tolist())

    chances = Counter(sum(6**place for place in draws) for draws in itertools.product(range(rows), repeat=rows))

    expected = {total: resamples * ways / rows**rows for total, ways in chances.items()}
    assert set(drawn) <= set(expected)
    off = sum((drawn[total] - many) ** 2 / many for total, many in expected.items())
    assert 1e-4 < stats.chi2.sf(off, len(expected) - 1) < 1 - 1e-4


@pytest.mark.parametrize("rows", [BLOCK + 1, 3 * BLOCK, 2 * BLOCK + 4097])
def test_each_block_of_rows_gets_its_binomial_share_of_the_draws(rows: int) -> None:
    resamples = 2000
    dealt = _draws_by_block(rows, resamples, _Stream(3))

    assert sum(size for _, size in dealt) == rows
    assert min(dealt)[0] == 0
    assert all(a + size == b for (a, size), (b, _) in itertools.pairwise(sorted(dealt)))
    assert set(np.sum(list(dealt.values()), axis=0).tolist()) == {rows}
    for (_, size), draws in dealt.items():
        share = size / rows
        spread = math.sqrt(rows * share * (1 - share))
        assert abs(draws.mean() - rows * share) < 5 * spread / math.sqrt(resamples)
        assert 0.85 < draws.std() / spread < 1.15


def test_the_sums_of_a_large_resample_spread_as_theory_says() -> None:
    rows = 2 * BLOCK + 4097
    values = np.random.default_rng(5).integers(-1000, 1000, rows)

    sums = _resampled(values, Resampling(resamples=2000, seed=6))

    spread = values.std() * math.sqrt(rows)
    assert abs(sums.mean() - values.sum()) < 5 * spread / math.sqrt(2000)
    assert 0.9 < sums.std() / spread < 1.1


@pytest.mark.parametrize("method", METHODS)
def test_the_interval_agrees_with_scipys_within_what_chance_makes_of_it(method: str) -> None:
    differences = _skewed(7, 300)
    scipys = {"bca": "BCa", "percentile": "percentile"}[method]

    ours = interval(differences, Resampling(resamples=20_000, seed=8, method=method))
    theirs = stats.bootstrap((differences,), np.mean, n_resamples=20_000, method=scipys, batch=1000, rng=9)

    # A 2.5 % quantile of B resamples of a normal mean has the standard error 2.67 / sqrt(B) of the mean's.
    allowed = 5 * math.sqrt(2) * 2.67 / math.sqrt(20_000) * theirs.standard_error
    assert abs(ours.low - theirs.confidence_interval.low) < allowed
    assert abs(ours.high - theirs.confidence_interval.high) < allowed
    assert ours.mean == pytest.approx(differences.mean(), rel=1e-12)


def test_of_a_few_very_skewed_rows_the_interval_is_moved_as_far_as_scipys() -> None:
    differences = np.random.default_rng(7).lognormal(0.0, 1.2, 20)

    ours = interval(differences, Resampling(resamples=100_000, seed=1))
    plain = interval(differences, Resampling(resamples=100_000, seed=1, method="percentile"))
    theirs = stats.bootstrap((differences,), np.mean, n_resamples=100_000, method="BCa", batch=5000, rng=2)

    error = theirs.standard_error
    assert abs(ours.low - theirs.confidence_interval.low) < 0.08 * error
    assert abs(ours.high - theirs.confidence_interval.high) < 0.08 * error
    assert ours.high - plain.high > 0.5 * error


@pytest.mark.parametrize("method", METHODS)
def test_a_95_percent_interval_holds_the_truth_in_93_to_97_percent_of_simulated_trials(method: str) -> None:
    how = Resampling(resamples=500, method=method)
    found = [interval(_skewed(trial, 150), evolve(how, seed=trial)) for trial in range(TRIALS)]

    held = sum(one.low <= 0.25 <= one.high for one in found)

    assert 0.93 * TRIALS <= held <= 0.97 * TRIALS


def test_one_seed_gives_one_interval_to_the_last_digit_whatever_the_machine() -> None:
    rows = np.arange(3 * BLOCK)
    differences = (rows % 97 - 47.5) / 64 + (rows % 11 == 0)

    assert interval(differences, Resampling(seed=2**63 - 1, method="percentile")) == MeanDifference(
        mean=0.09853982925415039, low=0.09519292513529459, high=0.10185823043187459, rows=98304
    )


@given(columns, hows)
def test_an_interval_is_in_order_and_lies_within_the_data(differences: Any, how: Any) -> None:
    found = interval(differences, how)

    slack = 1e-9 * float(np.abs(differences).max())
    assert found.low <= found.high
    assert differences.min() - slack <= found.low
    assert found.high <= differences.max() + slack
    assert found.rows == len(differences)


@given(columns, hows)
def test_exchanging_challenger_and_champion_turns_the_interval_around(differences: Any, how: Any) -> None:
    found, turned = interval(differences, how), interval(-differences, how)

    slack = 1e-9 * float(np.abs(differences).max())
    assert turned.low == pytest.approx(-found.high, abs=slack)
    assert turned.high == pytest.approx(-found.low, abs=slack)


@given(columns, hows, st.integers(-40, 40))
def test_the_unit_of_the_losses_does_not_matter(differences: Any, how: Any, power: int) -> None:
    small = np.ldexp(differences, -1000)
    found, scaled = interval(np.ldexp(small, 500), how), interval(np.ldexp(small, 500 + power), how)

    assert (scaled.low, scaled.high) == (math.ldexp(found.low, power), math.ldexp(found.high, power))


@pytest.mark.parametrize("value", [0.0, -3.25, 1e300, 5e-324])
@pytest.mark.parametrize("method", METHODS)
def test_where_all_rows_differ_alike_the_interval_is_that_difference(value: float, method: str) -> None:
    found = interval(np.full(50, value), Resampling(method=method))

    assert (found.mean, found.low, found.high) == (value, value, value)


@given(columns, st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_what_is_no_finite_number_anywhere_is_refused(differences: Any, bad: float, data: Any) -> None:
    differences[data.draw(st.integers(0, len(differences) - 1))] = bad

    with pytest.raises(ProtocolError, match=rf"1 of {len(differences)} differences of losses are no finite numbers"):
        interval(differences, Resampling())


def test_one_row_and_none_are_refused() -> None:
    with pytest.raises(ProtocolError, match="needs at least two rows, and there is one"):
        interval(np.array([1.0]), Resampling())
    with pytest.raises(ProtocolError, match="there are none"):
        interval(np.array([]), Resampling())


@pytest.mark.parametrize(
    "wrong", [{"resamples": 99}, {"resamples": 100_001}, {"level": 0.5}, {"level": 1.0}, {"seed": -1}, {"method": "t"}]
)
def test_a_resampling_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong)))):
        Resampling(**wrong)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # it has no types

from airflow_azureml.core.data_tests import Correction
from airflow_azureml.quality.statistics import adjusted, chi_square, kolmogorov_smirnov, population_stability


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(5, 50), st.integers(5, 50)), min_size=2, max_size=8))
def test_chi_square_is_that_of_scipy(cells: list[tuple[int, int]]) -> None:
    table = np.array(cells).T

    found = chi_square(table[0], table[1])

    expected = stats.contingency.expected_freq(table)
    exact = stats.chi2_contingency(table, correction=False)
    if expected.min() >= 5:
        assert found.p_value == pytest.approx(exact.pvalue, abs=1e-12)
        assert found.effect == pytest.approx(stats.contingency.association(table, method="cramer"), abs=1e-9)


def test_cells_in_which_few_are_expected_are_put_together() -> None:
    apart = chi_square([100, 100, 1, 2, 1, 2], [100, 100, 2, 1, 2, 1])
    together = stats.chi2_contingency([[100, 100, 6], [100, 100, 6]], correction=False)

    assert apart.p_value == pytest.approx(together.pvalue)
    assert chi_square([50, 1], [50, 0]).p_value == 1.0
    assert chi_square([2, 1], [0, 1]).p_value == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrections_are_those_of_the_books(p_values: list[float]) -> None:
    tests = len(p_values)

    holm = adjusted(p_values, tests=tests, correction=Correction.HOLM)
    hochberg = adjusted(p_values, tests=tests, correction=Correction.BENJAMINI_HOCHBERG)

    assert hochberg == pytest.approx(stats.false_discovery_control(p_values).tolist())
    ranked = sorted(range(tests), key=lambda at: p_values[at])
    for rank, at in enumerate(ranked):
        before = [(tests - step) * p_values[other] for step, other in enumerate(ranked[: rank + 1])]
        assert holm[at] == pytest.approx(min(1.0, max(before)))
    assert adjusted(p_values, tests=tests, correction=Correction.NONE) == p_values


@given(st.lists(st.floats(0, 0.2), max_size=8), st.floats(0, 1), st.sampled_from(Correction))
def test_one_test_more_makes_no_other_one_milder(p_values: list[float], more: float, correction: Correction) -> None:
    before = adjusted(p_values, tests=10, correction=correction)
    after = adjusted([*p_values, more], tests=10, correction=correction)

    assert all(now <= was + 1e-12 for was, now in zip(before, after, strict=False))


def test_statistics_of_equal_counts_are_nothing() -> None:
    assert population_stability([10, 0, 20], [20, 0, 40]) == pytest.approx(0, abs=1e-15)
    assert kolmogorov_smirnov([10, 0, 20], [20, 0, 40]).p_value == 1.0

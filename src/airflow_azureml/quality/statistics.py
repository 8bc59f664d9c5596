"""The figures that tell two distributions apart, from counts; all p-values are scipy's."""

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen
from scipy import stats  # type: ignore[import-untyped]  # it has no types

from airflow_azureml.core.data_tests import Correction

Counts = Sequence[int] | np.ndarray

#: What every bin's share is raised by on both sides, in rows of the smaller one: an empty bin divides by nothing.
SMOOTHING = 0.5
#: How many are expected in a cell of the chi-square test at least; cells with fewer are put together.
EXPECTED = 5


@frozen(kw_only=True)
class Difference:
    """What a test found.

    Attributes:
        effect: How far apart both are: 0 is not at all. The distance of Kolmogorov and Smirnov, or Cramér's V.
        p_value: How likely a difference at least as great is between samples of one distribution.
    """

    effect: float
    p_value: float


def population_stability(reference: Counts, recent: Counts) -> float:
    """Give the population stability index of two rows of counts, over the same bins.

    Every share is raised by that of `SMOOTHING` rows of the smaller side, on both, so that bins that are empty in both
    add nothing.
    """
    was, now = (np.asarray(counts, dtype=np.float64) for counts in (reference, recent))
    raised = SMOOTHING / min(was.sum(), now.sum())
    was, now = (counts / counts.sum() + raised for counts in (was, now))
    was, now = was / was.sum(), now / now.sum()
    return float(np.sum((now - was) * np.log(now / was)))


def kolmogorov_smirnov(reference: Counts, recent: Counts) -> Difference:
    """Compare two rows of counts, over the same bins in ascending order.

    The p-value is the one of `scipy.stats.ks_2samp` with ``method="asymp"``. Where a bin holds different values it is
    on the careful side: the distance is that at the bins' ends.
    """
    was, now = (np.cumsum(np.asarray(counts, dtype=np.float64)) for counts in (reference, recent))
    many, few = float(was[-1]), float(now[-1])
    distance = float(np.max(np.abs(was / many - now / few)))
    return Difference(
        effect=distance, p_value=float(stats.kstwo.sf(distance, max(1, round(many * few / (many + few)))))
    )


def chi_square(reference: Counts, recent: Counts) -> Difference:
    """Compare two rows of counts, over the same bins; bins in which few are expected are put together."""
    table = _pooled(np.array([reference, recent], dtype=np.float64))
    if table.shape[1] < 2:  # noqa: PLR2004  # one cell differs from nothing
        return Difference(effect=0.0, p_value=1.0)
    found = stats.chi2_contingency(table, correction=False)
    return Difference(effect=math.sqrt(found.statistic / table.sum()), p_value=float(found.pvalue))


def adjusted(p_values: Sequence[float], *, tests: int, correction: Correction) -> list[float]:
    """Correct p-values for many tests.

    Args:
        p_values: Those of the tests that were made.
        tests: How many there are to count, made or not; those that were not made count as 1.
        correction: How.

    Returns:
        The p-values to be compared with alpha, in the same order.
    """
    if not p_values or correction is Correction.NONE:
        return list(p_values)
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    rank = np.arange(1, len(values) + 1)
    if correction is Correction.HOLM:
        stepped = np.maximum.accumulate((tests - rank + 1) * values[order])
    else:
        stepped = np.minimum.accumulate((tests / rank * values[order])[::-1])[::-1]
    found = np.empty(len(values))
    found[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in found]


def _pooled(table: np.ndarray) -> np.ndarray:
    """Put together the cells in which fewer than `EXPECTED` are expected in either row."""
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    scarce = expected.min(axis=0) < EXPECTED
    rest, few = table[:, ~scarce], table[:, scarce].sum(axis=1, keepdims=True)
    if not few.any():
        return rest
    enough = (expected[:, scarce].sum(axis=1) >= EXPECTED).all()
    if enough or not rest.shape[1]:
        return np.hstack([rest, few])
    least = int(rest.sum(axis=0).argmin())
    rest[:, [least]] += few
    return rest

"""Whether the outputs of two deployments are alike enough."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.data_tests import EVERY, Distribution, Drift
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.output_rules import OutputRules
from airflow_azureml.quality.outputs import compare_outputs, read_output

MATCHED = OutputRules(key=["id"], changed_at_most=0.1, distribution=None)
numbers = st.floats(-1e6, 1e6) | st.none() | st.just(float("nan"))


def _compare(current: pl.DataFrame, candidate: pl.DataFrame, rules: OutputRules = MATCHED) -> Verdict:
    return compare_outputs(current, candidate, rules, subject="Outputs")


def _table(scores: list[float | None]) -> pl.DataFrame:
    return pl.DataFrame({"id": list(range(len(scores))), "score": pl.Series(scores, dtype=pl.Float64)})


@given(st.lists(numbers, min_size=1), st.randoms(use_true_random=False))
def test_the_same_rows_in_any_order_are_alike(scores: list[float | None], random: object) -> None:
    table = _table(scores)
    order = list(range(len(scores)))
    random.shuffle(order)  # type: ignore[attr-defined]  # a random.Random

    assert _compare(table, table[order], evolve(MATCHED, changed_at_most=0.0)).accepted


@given(st.lists(st.tuples(numbers, numbers), min_size=1), st.floats(0, 1), st.floats(0, 100))
def test_a_share_of_rows_may_differ_and_not_one_row_more(
    pairs: list[tuple[float | None, float | None]], share: float, tolerance: float
) -> None:
    current, candidate = _table([one for one, _ in pairs]), _table([other for _, other in pairs])
    rules = OutputRules(key=["id"], changed_at_most=share, tolerance=tolerance, distribution=None)

    differ = sum(not _is_near(one, other, tolerance) for one, other in pairs)

    assert _compare(current, candidate, rules).accepted is (differ / len(pairs) <= share)


def _is_near(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return abs(one - other) <= tolerance


@pytest.mark.parametrize(
    ("candidate", "check"),
    [
        (_table([1.0, 2.0]), "as many rows"),
        (_table([1.0, 2.0, 3.0]).rename({"score": "scores"}), "same columns"),
        (pl.DataFrame({"id": [0, 1, 1], "score": [1.0, 2.0, 3.0]}), "key is unique"),
        (pl.DataFrame({"id": [0, 1, 7], "score": [1.0, 2.0, 3.0]}), "every row has a partner"),
        (_table([1.0, 2.0, 9.0]), "changed in at most 0.1 of the rows"),
    ],
)
def test_what_does_not_fit_is_a_no_with_its_reason(candidate: pl.DataFrame, check: str) -> None:
    verdict = _compare(_table([1.0, 2.0, 3.0]), candidate)

    assert [each.check for each in verdict.failed] == [check]


def test_nothing_is_not_like_nothing() -> None:
    assert not _compare(pl.DataFrame(), pl.DataFrame()).accepted
    assert not _compare(_table([]), _table([])).accepted


def test_a_difference_as_large_as_the_tolerance_is_none() -> None:
    rules = evolve(MATCHED, changed_at_most=0.0, tolerance=1.0)

    assert _compare(_table([1.0]), _table([2.0]), rules).accepted
    assert not _compare(_table([1.0]), _table([2.5]), rules).accepted


def test_without_a_key_the_distributions_decide() -> None:
    current = pl.DataFrame({"score": [float(number) for number in range(1000)]})
    rules = OutputRules(distribution=Distribution(columns={EVERY: Drift(psi=0.1)}))

    assert _compare(current, current.reverse(), rules).accepted
    assert not _compare(current, current + 500.0, rules).accepted


def test_the_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,score\n1,2.5\n")
    (tmp_path / "b.jsonl").write_text('{"id": 2, "score": 3}\n')

    table = read_output([(tmp_path / "a.csv", "csv"), (tmp_path / "b.jsonl", "jsonl")])

    assert table.rows() == [(1, 2.5), (2, 3.0)]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (OutputRules(changed_at_most=0.1), "needs key"),
        (OutputRules(key=["id"], changed_at_most=1.5), "not a share"),
        (OutputRules(tolerance=-1.0), "less than 0"),
        (OutputRules(tolerance=float("nan")), "less than 0"),
        (OutputRules(distribution=None), "asks for anything"),
    ],
)
def test_rules_that_make_no_sense_say_so(rules: OutputRules, told: str) -> None:
    assert [told in fault for fault in rules.faults()] == [True]

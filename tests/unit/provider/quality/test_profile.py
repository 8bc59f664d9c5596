import json
import math
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.quality.profile import Kind, Profile
from airflow_azureml.quality.sketches import BUCKETS, GROUPS, VALUES, Sketch, Tally

numbers = st.floats(width=64) | st.integers(-3, 3).map(float) | st.none()
words = st.sampled_from(["a", "b", "ü", "", "日本", "x" * 200]) | st.none() | st.text(max_size=3)
tables = st.lists(st.tuples(numbers, words, st.booleans() | st.none()), max_size=60)


def _frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"n": pl.Float64, "w": pl.String, "b": pl.Boolean}, orient="row")


def _column(values: Any, dtype: Any = None, **how: Any) -> Any:
    return Profile.of([pl.DataFrame({"a": pl.Series(values, dtype=dtype)})], **how).columns["a"]


@settings(deadline=None)
@given(
    tables,
    st.lists(st.integers(0, 60), max_size=4),
    st.randoms(use_true_random=False),
    st.sampled_from([2, 5, BUCKETS]),
)
def test_the_profile_of_a_table_is_that_of_its_parts_in_any_order(
    rows: list[tuple[Any, ...]], cuts: list[int], random: Any, buckets: int
) -> None:
    whole = Profile.of([_frame(rows)], buckets=buckets)
    ends = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [_frame(rows[begin:end]) for begin, end in pairwise(ends)]
    random.shuffle(parts)

    assert Profile.of(parts, buckets=buckets) == whole
    merged = Profile.of([], buckets=buckets)
    for part in parts:
        merged = Profile.of([part], buckets=buckets).merged(merged)
    assert evolve(merged, columns={name: merged.columns[name] for name in whole.columns}) == whole


@settings(deadline=None)
@given(tables)
def test_a_profile_is_read_as_it_was_written(rows: list[tuple[Any, ...]]) -> None:
    profile = Profile.of([_frame(rows)], buckets=7)

    assert Profile.from_wire(json.loads(json.dumps(profile.to_wire(), allow_nan=False))) == profile


@settings(deadline=None)
@given(
    st.lists(st.text(max_size=4), max_size=20) | st.lists(st.integers(0, 40).map(str), min_size=15, max_size=80),
    st.integers(1, 12),
    st.integers(0, 80),
)
def test_a_tally_counts_exactly_what_it_keeps_and_everything_in_groups(texts: list[str], most: int, cut: int) -> None:
    tally = Tally.of(Counter(texts).items(), most=most)
    parts = [Tally.of(Counter(part).items(), most=most) for part in (texts[cut:], texts[:cut])]

    assert parts[0].merged(parts[1]) == tally
    assert len(tally.values) <= most
    assert all(texts.count(value) == count for value, count in tally.values.items())
    assert tally.total == len(texts)
    if len(set(texts)) <= most:
        assert tally.level == 0
        assert dict(tally.values) == Counter(texts)


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=80), st.integers(2, 20))
def test_a_sketch_counts_each_number_in_a_bucket_around_it_and_is_as_fine_as_it_can_be(
    numbers: list[float], most: int
) -> None:
    sketch = Sketch.of(np.array(numbers), most=most)

    assert len(sketch.keys) <= most
    assert sketch.total == len(numbers)
    for low, high, count in zip(sketch.lows, sketch.highs, sketch.counts, strict=True):
        # The bucket of the negative numbers next to zero ends there, and has none.
        assert sum(low <= number <= high and (number < 0) == (low < 0) for number in numbers) == count
    exact = Sketch.of(np.array(numbers), most=0)
    assert exact.grain == 0
    if sketch.grain:
        assert len(exact.coarser(sketch.grain - 1).keys) > most


def test_few_numbers_are_kept_exactly() -> None:
    column = _column([3.0, 1.0, 2.0, 2.0, None, float("nan"), float("inf"), float("-inf"), float("-inf")])

    assert [column.quantile(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert (column.low, column.high, column.mean) == (1.0, 3.0, 2.0)
    assert (column.nulls, column.nans, column.missing, column.present) == (1, 1, 2, 7)
    assert (column.below, column.above) == (2, 1)


@pytest.mark.parametrize("shift", [0.0, 1e6, -1e-3])
def test_quantiles_of_many_numbers_are_near_the_true_ones(shift: float) -> None:
    numbers = np.random.default_rng(7).standard_normal(200_000) + shift
    column = _column(numbers)

    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        # The share of numbers at or below the answer is what was asked, within 0.5 %.
        assert (numbers <= column.quantile(share)).mean() == pytest.approx(share, abs=0.005)
    assert column.mean == pytest.approx(numbers.mean(), abs=0.01)
    assert len(json.dumps(column.to_wire())) < 30_000


def test_columns_of_all_types_have_a_kind() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "i": [1, 2],
            "huge": pl.Series([10**30, -(10**30)], dtype=pl.Int128),
            "d": pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)),
            "s": ["a", "b"],
            "c": pl.Series(["a", "b"], dtype=pl.Categorical),
            "b": [True, False],
            "day": [date(1970, 1, 2), date(1969, 12, 31)],
            "t": [now, now + timedelta(seconds=0.5)],
            "ns": pl.Series([now, now]).cast(pl.Datetime("ns")),
            "took": [timedelta(seconds=90), timedelta(0)],
            "l": [[1], []],
            "o": [{"x": 1}, {"x": 2}],
            "bytes": [b"1", b"2"],
            "none": [None, None],
            "empty": pl.Series([None, None], dtype=pl.Int64),
        }
    )

    columns = Profile.of([frame]).columns

    assert {name: str(column.kind) for name, column in columns.items()} == {
        **dict.fromkeys(["i", "huge", "d"], "number"),
        **dict.fromkeys(["s", "c"], "text"),
        "b": "boolean",
        **dict.fromkeys(["day", "t", "ns", "took"], "time"),
        **dict.fromkeys(["l", "o", "bytes"], "nested"),
        **dict.fromkeys(["none", "empty"], "none"),
    }
    assert (columns["day"].low, columns["day"].high) == (-86400.0, 86400.0)
    assert columns["t"].high == now.timestamp() + 0.5
    assert columns["ns"].low == now.timestamp()
    assert (columns["took"].low, columns["took"].high) == (0.0, 90.0)
    assert columns["huge"].high == 1e30
    assert columns["b"].top(2) == [("false", 1), ("true", 1)]


def test_the_most_frequent_texts_come_first_and_long_ones_are_cut() -> None:
    column = _column(["b", "a", "b", "x" * 500, "x" * 499 + "y", "a", "b", None])

    (first, second, *others) = column.top(4)

    assert [first, second] == [("b", 3), ("a", 2)]
    assert [(len(value) < 100, count) for value, count in others] == [(True, 1), (True, 1)]
    assert others[0][0] != others[1][0]


def test_of_too_many_texts_a_sample_is_kept() -> None:
    column = _column([f"customer {number}" for number in range(50_000)])

    assert VALUES / 2.5 < len(column.texts.values) <= VALUES
    assert column.texts.level > 0
    # All groups are about as large.
    assert max(column.texts.groups) < 1.25 * 50_000 / GROUPS
    assert len(json.dumps(column.to_wire())) < 60_000


def test_what_is_missing_in_a_part_is_missing_in_its_rows() -> None:
    one = Profile.of([pl.DataFrame({"a": [1.0], "b": ["x"]})])
    other = Profile.of([pl.DataFrame({"a": [None, None], "c": [True, None]})])

    merged = one.merged(other)

    assert {name: (column.rows, column.nulls) for name, column in merged.columns.items()} == {
        "a": (3, 2),
        "b": (3, 2),
        "c": (3, 2),
    }
    assert merged.columns["a"].kind is Kind.NUMBER


def test_numbers_and_texts_are_not_put_together() -> None:
    with pytest.raises(ConfigError, match="Column 'a': Columns of number and text cannot be put together"):
        Profile.of([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": ["1"]})])


def test_both_zeros_are_one() -> None:
    assert _column([0.0]) == _column([-0.0])


def test_a_histogram_counts_every_finite_number() -> None:
    column = _column([*map(float, range(1000)), 1e9])

    edges = column.edges(10)

    assert len(edges) == 11
    assert sum(column.histogram(edges)) == 1001
    assert column.histogram(edges)[0] == pytest.approx(100, abs=2)
    assert _column([7, 7]).histogram(_column([7, 7]).edges(10)) == [2]
    assert _column(["a"]).edges(10) == []


def _changed(change: Any) -> Any:
    raw = Profile.of([pl.DataFrame({"n": [1.0, 2.0], "s": ["a", "b"]})]).to_wire()
    change(raw)
    return raw


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"schema": 2, "rows": 0, "columns": {}},
        {"schema": 1, "rows": "2", "columns": {}},
        {"schema": 1, "rows": 1, "columns": {"a": {}}},
        _changed(lambda raw: raw["columns"]["n"].update(rows=3)),
        _changed(lambda raw: raw["columns"]["n"].update(kind="numbers")),
        _changed(lambda raw: raw["columns"]["n"].update(nulls=1)),
        _changed(lambda raw: raw["columns"]["n"].pop("numbers")),
        _changed(lambda raw: raw["columns"]["n"]["numbers"].update(counts=[1])),
        _changed(lambda raw: raw["columns"]["n"]["numbers"].update(counts=[3, -1])),
        _changed(lambda raw: raw["columns"]["n"]["numbers"].update(keys=[2, -1])),
        _changed(lambda raw: raw["columns"]["n"]["numbers"].update(keys=[1, 10**30])),
        _changed(lambda raw: raw["columns"]["n"]["numbers"].update(grain=64)),
        _changed(lambda raw: raw["columns"]["s"]["texts"]["values"].update(c=1)),
        _changed(lambda raw: raw["columns"]["s"]["texts"].update(groups=[2])),
        _changed(lambda raw: raw["columns"]["s"]["texts"].update(values=[])),
    ],
)
def test_what_is_no_profile_is_refused(raw: Any) -> None:
    with pytest.raises(ProtocolError):
        Profile.from_wire(raw)


def test_nothing_of_a_profile_depends_on_the_machine() -> None:
    # Profiles outlive the versions of all that is installed.
    profile = Profile.of([pl.DataFrame({"n": [0.1, -2.0, 1e300], "s": ["a", "ü", "a"]})], buckets=2)

    assert profile.to_wire()["columns"]["n"]["numbers"] == {
        "grain": 63,
        "most": 2,
        "keys": [-1, 1],
        "counts": [1, 2],
    }
    assert [(at, count) for at, count in enumerate(profile.columns["s"].texts.groups) if count] == [(3, 1), (55, 2)]


def test_infinity_is_no_mean() -> None:
    assert not math.isnan(_column([1.0, float("inf")]).mean)
    assert _column([None, None]).mean is None

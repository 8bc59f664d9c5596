import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core.data_tests import ColumnRules, DataTests, Type
from airflow_azureml.core.findings import Finding
from airflow_azureml.errors import ConfigError
from airflow_azureml.quality.reading import Part, Reading, parts
from airflow_azureml.quality.schema import Inspection, Schema
from airflow_azureml.quality.uniqueness import Distinct

MODELS = """\
import pandera.polars as pa
import polars as pl


class Patients(pa.DataFrameModel):
    age: float = pa.Field(ge=0, le=120)
    sex: str = pa.Field(isin=["male", "female"], nullable=True)
    id: int = pa.Field(unique=True)


TOGETHER = pa.DataFrameSchema(
    {"age": pa.Column(pl.Float64), "sex": pa.Column(pl.String, nullable=True)},
    unique=["age", "sex"],
    checks=pa.Check(lambda data: data.lazyframe.select(pl.col("age") != 13), name="not thirteen"),
)
STRICT = pa.DataFrameSchema({"age": pa.Column(pl.Float64)}, strict=True)
NUMBER = 7
"""


def _looked(columns: dict[str, ColumnRules], frames: Iterable[pl.DataFrame], *, others: bool = True) -> list[Finding]:
    return _inspected(Schema.of(DataTests(name="t", columns=columns, others=others)), _parts(frames))


def _parts(frames: Iterable[pl.DataFrame]) -> Iterable[Part]:
    row = 1
    for frame in frames:
        yield Part(frame=frame, first_row=row)
        row += frame.height


def _inspected(schema: Schema, stream: Iterable[Part]) -> list[Finding]:
    with Inspection(schema) as inspection:
        for part in stream:
            inspection.look(part)
        return list(inspection.findings())


def _no(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.reason for finding in findings if not finding.passed}


def _read(path: Path, content: str, columns: dict[str, ColumnRules]) -> list[Finding]:
    path.write_text(content)
    schema = Schema.of(DataTests(name="t", columns=columns))
    return _inspected(schema, parts(path, "csv", Reading(types=schema.types)))


@pytest.mark.parametrize(
    ("rules", "values", "told"),
    [
        (ColumnRules(at_least=0), [1, -1, 0, -2], "a: at least 0 does not hold in 2 of 4 rows: row 2: -1; row 4: -2."),
        (ColumnRules(at_most=0.5), [0.5, 0.6], "a: at most 0.5 does not hold in 1 of 2 rows: row 2: 0.6."),
        (ColumnRules(allowed=("x", "ü")), ["ü", "y"], "a: one of x, ü does not hold in 1 of 2 rows: row 2: 'y'."),
        (ColumnRules(allowed=(1, 2)), [1, 2, 3], "a: one of 1, 2 does not hold in 1 of 3 rows: row 3: 3."),
        (ColumnRules(allowed=(True,)), [True, False], "a: one of True does not hold in 1 of 2 rows: row 2: False."),
        (
            ColumnRules(pattern="[A-Z]{2}"),
            ["AB", "ABC"],
            "a: matches [A-Z]{2} does not hold in 1 of 2 rows: row 2: 'ABC'.",
        ),
        (ColumnRules(pattern="a|b"), ["a", "bc"], "a: matches a|b does not hold in 1 of 2 rows: row 2: 'bc'."),
        (ColumnRules(), [1, None], "a: no value is missing does not hold in 1 of 2 rows: row 2."),
        (
            ColumnRules(type=Type.NUMBER),
            [1.0, float("nan")],
            "a: no value is missing does not hold in 1 of 2 rows: row 2.",
        ),
        (
            ColumnRules(nullable=True, nulls_at_most=0.3),
            [None, 1, 2, None],
            "a: 50 % of the rows have no value, and 30 % may.",
        ),
        (
            ColumnRules(unique=True),
            [3, 1, 3, 1, 3],
            "a: each value stands once does not hold in 3 of 5 rows: row 3 repeats",
        ),
        (
            ColumnRules(at_least=datetime(2026, 1, 1, tzinfo=UTC)),
            [datetime(2025, 1, 1, tzinfo=UTC)],
            "row 1: 2025-01-01",
        ),
    ],
)
def test_a_rule_that_does_not_hold_is_told_with_its_count_and_its_first_rows(
    rules: ColumnRules, values: list[Any], told: str
) -> None:
    (reason,) = _no(_looked({"a": rules}, [pl.DataFrame({"a": values})])).values()

    assert told in reason


@pytest.mark.parametrize("infinite", [float("inf"), float("-inf")])
def test_an_infinite_number_is_no_number_and_never_within_bounds(infinite: float) -> None:
    rules = ColumnRules(at_least=-1, at_most=1)

    assert len(_no(_looked({"a": rules}, [pl.DataFrame({"a": [0.0, infinite]})]))) == 3


def test_missing_values_break_no_rule_but_their_own() -> None:
    rules = ColumnRules(at_least=0, at_most=1, allowed=(0, 1), unique=True, nullable=True)

    assert _no(_looked({"a": rules}, [pl.DataFrame({"a": [None, None, float("nan")]}, strict=False)])) == {}


def test_a_column_that_is_gone_is_one_no_and_one_that_need_not_be_there_is_none() -> None:
    columns = {"a": ColumnRules(at_least=0), "b": ColumnRules(at_least=0, required=False)}

    findings = _looked(columns, [pl.DataFrame({"c": [1]})])

    assert _no(findings) == {"a: it is there": "a: it is there does not hold: there is no such column."}
    assert len(findings) == 1


def test_other_columns_may_be_refused() -> None:
    findings = _looked({"a": ColumnRules()}, [pl.DataFrame({"a": [1], "b": [2]})], others=False)

    assert _no(findings) == {"no other columns": "no other columns does not hold: there is 'b'."}


def test_values_of_the_wrong_type_are_counted_once(tmp_path: Path) -> None:
    content = "a,b\n" + "1,x\n" * 3 + "y,x\n,x\n2.5,x\n"

    findings = _read(tmp_path / "t.csv", content, {"a": ColumnRules(type=Type.INTEGER, at_most=9), "b": ColumnRules()})

    assert _no(findings) == {
        "a: each value is a whole number": (
            "a: each value is a whole number does not hold in 2 of 6 rows: row 4: 'y'; row 6: '2.5'."
        ),
        "a: no value is missing": "a: no value is missing does not hold in 1 of 6 rows: row 5.",
    }


def test_rows_are_counted_through_all_batches_and_the_first_are_named() -> None:
    frames = [pl.DataFrame({"a": [1, 1, -1]})] * 1000

    (reason,) = _no(_looked({"a": ColumnRules(at_least=0)}, frames)).values()

    assert reason == "a: at least 0 does not hold in 1000 of 3000 rows: row 3: -1; row 6: -1; row 9: -1."


def test_a_pattern_that_rust_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Column 'a': the pattern '\(\?=b\)a' cannot be used: "):
        Schema.of(DataTests(name="t", columns={"a": ColumnRules(pattern="(?=b)a")}))


rows = st.lists(
    st.tuples(
        st.none() | st.integers(-3, 3) | st.integers(-(2**62), 2**62),
        st.none() | st.floats(-3, 3) | st.sampled_from([float("nan"), float("inf"), float("-inf")]),
        st.none() | st.sampled_from(["a", "b", "ü", ""]),
    ),
    max_size=25,
)
one_rule = st.sampled_from(
    [
        ("i", {"at_least": 0}),
        ("i", {"at_most": 2}),
        ("i", {"unique": True}),
        ("i", {"nullable": False}),
        ("f", {"at_least": -1}),
        ("f", {"at_most": 1}),
        ("f", {"nulls_at_most": 0.2}),
        ("s", {"allowed": ("a", "b")}),
        ("s", {"pattern": "[a-z]"}),
        ("s", {"unique": True}),
    ]
)


def _frame(values: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(values, schema={"i": pl.Int64, "f": pl.Float64, "s": pl.String}, orient="row")


def _rules(asked: list[tuple[str, dict[str, Any]]]) -> dict[str, ColumnRules]:
    columns = {
        "i": ColumnRules(nullable=True),
        "f": ColumnRules(nullable=True),
        "s": ColumnRules(nullable=True),
    }
    for name, rule in asked:
        columns[name] = evolve(columns[name], **rule)
    return columns


def _sound(asked: list[tuple[str, dict[str, Any]]]) -> bool:
    return ("i", {"nullable": False}) not in asked or ("i", {"nulls_at_most": 0.2}) not in asked


@settings(deadline=None, max_examples=60)
@given(rows, st.lists(one_rule, max_size=5), one_rule, st.integers(1, 25), st.randoms(use_true_random=False))
def test_one_rule_more_never_turns_a_no_into_a_yes_and_order_and_batches_change_nothing(
    values: list[tuple[Any, ...]],
    asked: list[tuple[str, dict[str, Any]]],
    more: tuple[str, dict[str, Any]],
    size: int,
    shuffle: random.Random,
) -> None:
    whole = _looked(_rules(asked), [_frame(values)])

    added = _looked(_rules([*asked, more]), [_frame(values)])
    mixed = shuffle.sample(asked, len(asked))
    names = shuffle.sample(["i", "f", "s"], 3)
    turned = {name: _rules(mixed)[name] for name in names}
    batched = _looked(
        turned, [part.select(names) for part in (_frame(values).iter_slices(size) if values else [_frame([])])]
    )

    assert set(_no(whole)) <= set(_no(added))
    assert _no(batched) == _no(whole)
    assert {finding.check for finding in batched} == {finding.check for finding in whole}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | st.integers(-4, 4) | st.sampled_from([10**25, -(10**25)]), max_size=40), st.integers(1, 9))
def test_repeated_values_are_counted_exactly(values: list[int | None], size: int) -> None:
    series = pl.Series("a", values, dtype=pl.Int128)
    with Distinct("a") as distinct:
        for at in range(0, len(values), size):
            part = series[at : at + size]
            # Whole numbers are of 128 bits only where they must be.
            narrow = part.cast(pl.Int64, strict=False)
            part = narrow if narrow.null_count() == part.null_count() else part
            distinct.add(part.to_frame(), first_row=at + 1)
        count, named = distinct.repeated(3)

    present = [value for value in values if value is not None]
    assert count == len(present) - len(set(present))
    repeats = [
        (row, values.index(value) + 1)
        for row, value in enumerate(values, start=1)
        if value is not None and values.index(value) + 1 < row
    ]
    assert named == repeats[:3]


def test_repeated_values_are_found_on_disk_too() -> None:
    rng = random.Random(1)  # noqa: S311  # a test's
    values = [*range(8_000), 7, 7, 7_999, *[-1] * 300]
    rng.shuffle(values)

    # So few that rows go to disk, and that one part of them is too large.
    with Distinct("a", most=50) as distinct:
        for at in range(0, len(values), 1000):
            distinct.add(pl.DataFrame({"a": values[at : at + 1000]}), first_row=at + 1)
        count, named = distinct.repeated(3)

    first: dict[int, int] = {}
    repeats = [(row, first[value]) for row, value in enumerate(values, 1) if first.setdefault(value, row) != row]
    assert count == len(repeats) == 302
    assert named == repeats[:3]


def test_columns_are_unique_together_where_no_value_is_missing() -> None:
    frame = pl.DataFrame({"a": ["x", "x", "x", None, None], "b": ["y", "z", "y", "y", "y"]})
    with Distinct("a", "b") as distinct:
        distinct.add(frame, first_row=1)

        assert distinct.repeated(3) == (1, [(3, 1)])


def _given(tmp_path: Path, attribute: str, frame: pl.DataFrame) -> list[Finding]:
    file = tmp_path / "models.py"
    file.write_text(MODELS)
    schema = Schema.of(DataTests(name="t", pandera=f"{file}:{attribute}"))
    return _inspected(schema, _parts(frame.iter_slices(2)))


def test_a_model_of_pandera_is_checked_through_all_batches(tmp_path: Path) -> None:
    frame = pl.DataFrame({"age": [1.0, 130.0, 2.0, -1.0], "sex": ["male", "x", None, "female"], "id": [1, 2, 1, 3]})

    assert _no(_given(tmp_path, "Patients", frame)) == {
        "age: greater_than_or_equal_to(0)": (
            "age: greater_than_or_equal_to(0) does not hold in 1 of 4 rows: row 4: -1.0."
        ),
        "age: less_than_or_equal_to(120)": (
            "age: less_than_or_equal_to(120) does not hold in 1 of 4 rows: row 2: 130.0."
        ),
        "sex: isin(['male', 'female'])": ("sex: isin(['male', 'female']) does not hold in 1 of 4 rows: row 2: 'x'."),
        "id: each value stands once": "id: each value stands once does not hold in 1 of 4 rows: row 3 repeats row 1.",
    }


def test_a_schema_of_pandera_may_be_about_rows_and_columns_together(tmp_path: Path) -> None:
    frame = pl.DataFrame({"age": [1.0, 13.0, 1.0], "sex": ["m", None, "m"]})

    assert _no(_given(tmp_path, "TOGETHER", frame)) == {
        "not thirteen": "not thirteen does not hold in 1 of 3 rows: row 2.",
        "age, sex: each value stands once": (
            "age, sex: each value stands once does not hold in 1 of 3 rows: row 3 repeats row 1."
        ),
    }


def test_a_schema_of_pandera_says_of_a_file_with_other_columns_or_types_what_is_wrong(tmp_path: Path) -> None:
    assert _no(_given(tmp_path, "STRICT", pl.DataFrame({"age": [1.0], "more": [1]}))) == {
        "no other columns": "no other columns does not hold: there is 'more'."
    }
    assert _no(_given(tmp_path, "STRICT", pl.DataFrame({"age": ["1"]}))) == {
        "age: its type is Float64": "age: its type is Float64 does not hold: it is String."
    }
    assert "age: it is there" in _no(_given(tmp_path, "STRICT", pl.DataFrame({"b": [1]})))


def test_types_of_a_pandera_schema_tell_how_texts_are_read(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "t.csv").write_text("age,sex,id\n1,male,1\nold,female,2\n")
    schema = Schema.of(DataTests(name="t", pandera=f"{tmp_path / 'models.py'}:Patients"))

    findings = _inspected(schema, parts(tmp_path / "t.csv", "csv", Reading(types=schema.types)))

    reasons = _no(findings)
    assert reasons["age: each value is a number"] == (
        "age: each value is a number does not hold in 1 of 2 rows: row 2: 'old'."
    )
    assert len(reasons) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{file}:NUMBER", "int is no schema of pandera.polars, and no model."),
        ("{file}:Nothing", "AttributeError"),
        ("nowhere.at.all:X", "ModuleNotFoundError"),
        ("{file}.py:X", "FileNotFoundError"),
        ("nothing", "Cannot load the pandera schema 'nothing'"),
    ],
)
def test_a_schema_that_cannot_be_loaded_is_told(tmp_path: Path, name: str, told: str) -> None:
    file = tmp_path / "models.py"
    file.write_text(MODELS)

    with pytest.raises(ConfigError, match=told.replace(".", r"\.")):
        Schema.of(DataTests(name="t", pandera=name.format(file=file)))

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core.data_tests import (
    ColumnRules,
    Correction,
    DataTests,
    Distribution,
    Drift,
    Format,
    Freshness,
    RowCount,
    Type,
    duration_told,
    format_of,
    read_time,
)
from airflow_azureml.core.data_tests_file import ALLOW, COLUMN, DISTRIBUTION, DRIFT, FRESHNESS, MEMBERS, REFUSE, ROWS
from airflow_azureml.errors import ConfigError

PLACE = re.compile(r"tests\.yaml, line [1-9][0-9]*, column [1-9][0-9]*: .+")
TEXT = """\
schema: 1
name: diabetes
columns:
  age: {type: number, at_least: -1, at_most: 1e0}
  sex: {allowed: [male, female], nullable: true, nulls_at_most: 0.1}
  code: {pattern: "[A-Z]{2}", unique: true, required: false}
  day: {at_least: 2026-01-01}
  seen: {type: time, at_most: 2026-11-21T10:00:00Z}
other_columns: refuse
rows: {at_least: 10, at_most: 1000}
freshness: {within: 26h, column: seen}
separator: ";"
null_values: [NA, "-"]
distribution:
  alpha: 0.05
  correction: benjamini-hochberg
  rows_at_least: 50
  ignore: [code]
  columns:
    "*": {psi: 0.2}
    age: {psi: 0.1, ks: true}
    sex: {chi_square: 0.05}
"""


def _faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        DataTests.parse(text, name="tests.yaml")
    return str(raised.value).split("\n")


def test_every_member_of_the_file_is_read() -> None:
    assert DataTests.parse(TEXT, name="tests.yaml") == DataTests(
        name="diabetes",
        columns={
            "age": ColumnRules(type=Type.NUMBER, at_least=-1, at_most=1.0),
            "sex": ColumnRules(allowed=("male", "female"), nullable=True, nulls_at_most=0.1),
            "code": ColumnRules(pattern="[A-Z]{2}", unique=True, required=False),
            "day": ColumnRules(at_least=date(2026, 1, 1)),
            "seen": ColumnRules(type=Type.TIME, at_most=datetime(2026, 11, 21, 10, tzinfo=UTC)),
        },
        others=False,
        rows=RowCount(at_least=10, at_most=1000),
        freshness=Freshness(within=timedelta(hours=26), column="seen"),
        separator=";",
        null_values=("NA", "-"),
        distribution=Distribution(
            columns={"*": Drift(psi=0.2), "age": Drift(psi=0.1, ks=0.0), "sex": Drift(chi_square=0.05)},
            ignore=("code",),
            alpha=0.05,
            correction=Correction.BENJAMINI_HOCHBERG,
            rows_at_least=50,
        ),
    )


def test_rules_tell_the_type_where_it_is_not_given() -> None:
    read = {name: rules.reads_as for name, rules in DataTests.parse(TEXT, name="tests.yaml").columns.items()}

    assert read == {"age": Type.NUMBER, "sex": Type.TEXT, "code": Type.TEXT, "day": Type.DATE, "seen": Type.TIME}


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("schema: 1", "schema: 2", "line 1, column 9: schema must be 1"),
        ("at_most: 1e0", "at_most: -2", "line 4, column 46: -2 is less than at_least, -1."),
        ("at_most: 1e0", "at_most: .nan", "line 4, column 46: at_most must be a text or a finite number, and is nan."),
        ("at_most: 1e0", "at_mots: 1", "line 4, column 37: 'at_mots' is not known here; known: type, required,"),
        ("at_most: 1e0", "at_most: ", "line 4, column 37: at_most has no value."),
        ("type: number", "type: text", "line 4, column 31: -1 bounds no column of type text."),
        ("type: number", "type: nubmer", "line 4, column 15: type must be one of integer, number, text,"),
        ("[male, female]", "[male, 1]", "line 5, column 18: 1 is no value of a column of type text."),
        ("nullable: true", "nullable: yes", "line 5, column 44: nullable must be true or false, and is 'yes'."),
        ("nullable: true, ", "", "line 5, column 49: This needs nullable: true; without it no value may be missing."),
        ("nulls_at_most: 0.1", "nulls_at_most: 10", "line 5, column 65: nulls_at_most must be a number of at least 0"),
        ("[A-Z]{2}", "[A-Z", "line 6, column 19: This is no regular expression"),
        ("refuse", "ignore", "line 9, column 16: other_columns must be one of allow, refuse, and is 'ignore'."),
        ("at_most: 1000", "at_most: 9", "line 10, column 31: 9 is less than at_least, 10."),
        ("at_least: 10", "at_least: 0", "line 10, column 18: at_least must be a whole number of at least 1"),
        ("within: 26h", "within: 26", "line 11, column 21: within must be a time span such as 90s"),
        ("within: 26h, ", "", "line 11, column 1: freshness needs within"),
        ('";"', '";;"', "line 12, column 12: separator must be one character"),
        ("alpha: 0.05", "alpha: 5", "line 15, column 10: alpha must be a number of at least 1e-12 and at most 0.5"),
        ("rows_at_least: 50", "rows_at_least: true", "line 17, column 18: rows_at_least must be a whole number"),
        ("ignore: [code]", "ignore: [age]", "line 18, column 11: 'age' is ignored, and has rules."),
        ("ks: true", "ks: false", "line 21, column 25: ks must be a number of at least 0 and at most 1, and is False."),
        ("chi_square: 0.05", "", "line 22, column 5: Give one of psi, ks, chi_square or more."),
    ],
)
def test_a_fault_is_told_with_its_place(was: str, becomes: str, told: str) -> None:
    (fault, *_) = _faults(TEXT.replace(was, becomes, 1))

    assert told in fault


def test_all_faults_are_told_at_once() -> None:
    faults = _faults(TEXT.replace("type: number", "type: 1").replace("26h", "soon").replace("0.05", "-1"))

    assert [fault.split(":")[0].partition(",")[2] for fault in faults] == [
        " line 4, column 15",
        " line 11, column 21",
        " line 15, column 10",
        " line 22, column 23",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "This must be a mapping, and is None."),
        ("[]", "This must be a mapping, and is []."),
        ("schema: 1\n", "Nothing is tested: give columns, pandera, rows, freshness or distribution."),
        ("schema: 1\nrows: {}\nname: empty", "Nothing is tested"),
        ("schema: 1\npandera: a:b\ncolumns: {x: {}}", "not in both."),
        ("schema: 1\nother_columns: refuse\nrows: {at_least: 2}", "there is nothing that others are other than."),
        ("schema: 1\ndistribution: {alpha: 0.1}", "distribution needs columns"),
    ],
)
def test_what_tests_nothing_or_contradicts_itself_is_refused(text: str, told: str) -> None:
    (fault,) = _faults(text)

    assert told in fault
    assert PLACE.fullmatch(fault)


def test_a_column_without_rules_must_be_there() -> None:
    spec = DataTests.parse("schema: 1\ncolumns:\n  age:\n", name="tests.yaml")

    assert spec.columns == {"age": ColumnRules()}


def _positions(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in members for found in _positions(inner, (*path, key)))]


POSITIONS = [path for path in _positions(yaml.safe_load(TEXT)) if path]
strange: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1e308, 10**40, "", "x", "2026-01-01", "é", [], {}, [1, None], {"psi": {}}]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(POSITIONS), strange), min_size=1, max_size=3))
def test_every_value_may_be_anything_and_the_file_is_valid_or_all_its_faults_have_places(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    said = yaml.safe_load(TEXT)
    for path, value in changes:
        inside = said
        for step in path[:-1]:
            inside = inside[step] if isinstance(inside, dict) and step in inside else {}
        if isinstance(inside, dict) and path:
            inside[path[-1]] = value
    text = yaml.safe_dump(said, sort_keys=False)
    try:
        DataTests.parse(text, name="tests.yaml")
    except ConfigError as error:
        assert all(PLACE.fullmatch(fault) for fault in str(error).split("\n"))  # noqa: PT017  # either is right


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(TEXT)), st.integers(0, 8), st.text("ab:-[]{}\"'&*! \n1.e~\ud800", max_size=3))
def test_every_text_may_be_changed_and_is_valid_or_all_its_faults_have_places(
    at: int, dropped: int, added: str
) -> None:
    text = TEXT[:at] + added + TEXT[at + dropped :]
    try:
        DataTests.parse(text, name="tests.yaml")
    except ConfigError as error:
        assert all(PLACE.fullmatch(fault) for fault in str(error).split("\n"))  # noqa: PT017  # either is right


@given(st.permutations(["age", "sex", "code", "day", "seen"]))
def test_the_digest_is_of_what_is_tested_and_not_of_its_order(order: list[str]) -> None:
    spec = DataTests.parse(TEXT, name="tests.yaml")
    turned = evolve(spec, columns={name: spec.columns[name] for name in order})

    assert turned.digest == spec.digest
    assert evolve(spec, rows=RowCount(at_least=11, at_most=1000)).digest != spec.digest
    assert spec.digest[:19] in spec.policy


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"type": Type.BOOLEAN, "at_least": 1}, "at_least: 1 bounds no column of type boolean."),
        ({"type": Type.DATE, "at_least": 1}, "at_least: 1 bounds no column of type date."),
        ({"at_least": 1, "at_most": date(2026, 1, 1)}, "at_most: 2026-01-01 bounds no column of type number."),
        ({"type": Type.INTEGER, "allowed": (1, 2.5)}, "allowed: 2.5 is no value of a column of type integer."),
        ({"type": Type.NUMBER, "pattern": "a"}, "pattern: A column of type number has no pattern; texts have."),
    ],
)
def test_rules_made_in_python_are_held_to_the_same(rules: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        ColumnRules(**rules)


def test_names_of_files_tell_their_format() -> None:
    assert [format_of(name) for name in ("a.CSV", "b.parquet", "c.jsonl", "d.ndjson")] == [
        Format.CSV,
        Format.PARQUET,
        Format.JSON_LINES,
        Format.JSON_LINES,
    ]
    with pytest.raises(ConfigError, match="say which: csv, parquet, jsonl"):
        format_of("a.xlsx")


@given(st.integers(1, 10**6), st.sampled_from("smhd"))
def test_a_time_span_is_told_as_it_is_read(number: int, unit: str) -> None:
    text = f"schema: 1\nfreshness: {{within: {number % 1000 + 1}{unit}}}"
    spec = DataTests.parse(text, name="tests.yaml")
    assert spec.freshness is not None
    told = duration_told(spec.freshness.within)

    again = DataTests.parse(f"schema: 1\nfreshness: {{within: {told}}}", name="tests.yaml")

    assert again.freshness == spec.freshness


def test_times_without_an_offset_are_in_utc() -> None:
    assert (
        read_time("2026-11-21T12:00:00+02:00")
        == read_time("2026-11-21 10:00")
        == datetime(2026, 11, 21, 10, tzinfo=UTC)
    )
    assert read_time("yesterday") is None


PAGE = Path(__file__).resolve().parents[4] / "docs/reference/data-tests.md"


def test_the_reference_has_every_member_in_a_table_and_in_an_example_that_is_read() -> None:
    page = PAGE.read_text()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for example in examples:
        DataTests.parse(example, name="tests.yaml")

    members = {*MEMBERS, *COLUMN, *ROWS, *FRESHNESS, *DISTRIBUTION, *DRIFT}
    assert [name for name in sorted(members) if not re.search(rf"\b{name}:", "\n".join(examples))] == []
    assert [name for name in sorted(members) if f"`{name}`" not in page] == []
    words = {*Type, *Correction, *Format, ALLOW, REFUSE}
    assert [word for word in sorted(words) if f"`{word}`" not in page] == []

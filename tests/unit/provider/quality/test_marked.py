import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.marked import DEEPEST, Marked, Path
from airflow_azureml.errors import ConfigError

PLACE = re.compile(r"gate\.yaml, line [1-9][0-9]*, column [1-9][0-9]*: .+", re.DOTALL)
TEXT = """\
name: gate  # of diabetes
rules:
  - metric: rmse
    at_most: 1e1
  - {metric: r2, at_least: -.5}
slices: {"sex=male": [rmse, ü], empty: }
"""

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def _paths(value: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(path, value), *(found for key, inner in members for found in _paths(inner, (*path, key)))]


def test_a_text_is_read_as_plain_values() -> None:
    assert Marked.parse(TEXT, name="gate.yaml").value == {
        "name": "gate",
        "rules": [{"metric": "rmse", "at_most": 10.0}, {"metric": "r2", "at_least": -0.5}],
        "slices": {"sex=male": ["rmse", "ü"], "empty": None},
    }


def test_values_and_keys_know_their_line_and_column() -> None:
    marked = Marked.parse(TEXT, name="gate.yaml")

    assert marked.where(("rules", 0, "at_most")) == (4, 14)
    assert marked.where(("rules", 0, "at_most"), key=True) == (4, 5)
    assert marked.where(("slices", "sex=male", 1)) == (6, 29)
    assert marked.told(("rules", 1, "metric"), "wrong.") == "gate.yaml, line 5, column 14: wrong."


def test_what_is_not_there_is_where_the_nearest_thing_around_it_is() -> None:
    marked = Marked.parse(TEXT, name="gate.yaml")

    assert marked.where(("rules", 1, "at_most")) == marked.where(("rules", 1)) == (5, 5)
    assert marked.where(("nowhere", 7)) == (1, 1)


@given(documents, st.sampled_from([None, 2]))
def test_json_is_read_as_json_reads_it_and_every_value_has_its_place(document: Any, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=indent)

    marked = Marked.parse(text, name="gate.json")

    assert marked.value == document
    for path, value in _paths(document):
        line, column = marked.where(path)
        rest = text.split("\n")[line - 1][column - 1 :]
        assert rest.startswith(json.dumps(value, ensure_ascii=False).split("\n")[0][:1])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("-7", -7),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-11-21", "2026-11-21"),
        ("'1'", "1"),
        ("1_000", "1_000"),
        ("TRUE", True),
        ("~", None),
        ("-.inf", float("-inf")),
        ("", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = Marked.parse(text, name="gate.yaml").value

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3", "gate.yaml, line 3, column 1: 'a' stands here twice; line 1 has it, too."),
        ("a:\n  - &x 1", "gate.yaml, line 2, column 5: &x is an anchor; those are not read."),
        ("a: 1\nb: *x", "gate.yaml, line 2, column 4: *x is an alias; write out what it stands for."),
        ("a: !!python/name:os.system x", "is a tag; those are not read."),
        ("a: 1\n? [b]\n: 1", "gate.yaml, line 2, column 3: A key must be a text."),
        ("1: a", "gate.yaml, line 1, column 1: '1' is a key, and no text: put it in quotes."),
        ("a: 1\n---\nb: 1", "gate.yaml, line 2, column 1: A second document begins here; one is read."),
        ("a: [1,\nb: 2", "gate.yaml, line 2, column 5: This is no YAML: "),
        ("a:\n\t- b", "gate.yaml, line 2, column 1: This is no YAML: "),
        ("a: 1\nb: \x07", "gate.yaml, line 2, column 4: This is no YAML: special characters are not allowed."),
        ("[" * (DEEPEST + 2), f"gate.yaml, line 1, column {DEEPEST + 2}: This lies more than {DEEPEST} levels deep."),
        ("a: " + "9" * 5000, "gate.yaml, line 1, column 4: The number has 5000 digits, which are too many."),
    ],
)
def test_what_is_refused_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Marked.parse(text, name="gate.yaml")

    assert told in str(raised.value)
    assert PLACE.fullmatch(str(raised.value))


@given(st.integers(0, len(TEXT)), st.integers(0, 6), st.text("ab:-[]{}\"'&*!|>%@`#,? \n\t\x00\ud800é1.e~", max_size=4))
def test_a_text_with_a_fault_is_read_or_its_fault_has_a_place(at: int, dropped: int, added: str) -> None:
    text = TEXT[:at] + added + TEXT[at + dropped :]
    try:
        Marked.parse(text, name="gate.yaml")
    except ConfigError as error:
        assert PLACE.fullmatch(str(error))  # noqa: PT017  # either is right

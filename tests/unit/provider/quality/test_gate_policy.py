"""The file of a policy: what is read, and what is said of all that is wrong with it."""

from __future__ import annotations

import copy
import json
import random
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core import gate_policy
from airflow_azureml.core.gate import KINDS, Policy, Slices
from airflow_azureml.errors import ConfigError
from tests.unit.provider.quality.gate_world import policies

ROOT = Path(__file__).resolve().parents[4]
GOOD = """\
# What the diabetes model must hold.
schema: 1
name: diabetes
version: "3"
no_champion: accept
rows_at_least: 30
max_age_hours: 24
thresholds:
  - metric: r2
    at_least: 0.3
comparisons:
  - {metric: rmse, better: lower, improve_by: 0.5}
  - {metric: mae, better: lower, worse_by: 1, worse_by_share: 0.01}
intervals:
  - loss: squared_error
    confidence: 0.9
    seed: 7
slices:
  - metric: rmse
    better: lower
    at_most: 75
    worse_by: 2
    over: {names: ["sex=*"], rows_at_least: 20, small: skip}
guards:
  - {metric: latency_ms, at_most: 5}
  - {metric: rmse, at_most: 10, over: {}}
"""
HEAD = "schema: 1\nname: a\nversion: 1\nno_champion: reject\n"


def faults(text: str) -> list[str]:
    """Say what is said of a file; an empty list when it is a policy."""
    try:
        gate_policy.parse(text, name="gate.yaml")
    except ConfigError as error:
        return str(error).splitlines()
    return []


def test_a_file_is_read_whole() -> None:
    read = gate_policy.parse(GOOD, name="gate.yaml")

    assert (read.name, read.version, read.no_champion, read.rows_at_least) == ("diabetes", "3", "accept", 30)
    assert read.comparisons[1].worse_by_share == 0.01
    assert (read.intervals[0].confidence, read.intervals[0].resamples, read.intervals[0].seed) == (0.9, 1000, 7)
    assert read.slices[0].over.names == ("sex=*",)
    assert read.guards[1].over == Slices()
    assert not read.faults()


def test_json_is_read_as_well() -> None:
    as_json = json.dumps(yaml.safe_load(GOOD), indent=2)

    assert gate_policy.parse(as_json, name="gate.json") == gate_policy.parse(GOOD, name="gate.yaml")


def test_a_character_that_json_escapes_in_two_halves_is_one() -> None:
    as_json = (
        '{"schema": 1, "name": "\\ud83d\\udca5", "version": "\\ud83d", "thresholds": [{"metric": "a", "at_most": 1}]}'
    )

    read = gate_policy.parse(as_json, name="gate.json")

    assert (read.name, read.version) == ("💥", "\ufffd")


def test_a_number_may_be_written_with_its_power_of_ten() -> None:
    assert gate_policy.parse(GOOD.replace("0.01", "1e-2"), name="a") == gate_policy.parse(GOOD, name="b")


def test_a_whole_number_is_a_version() -> None:
    assert gate_policy.parse(GOOD.replace('"3"', "3"), name="gate.yaml").version == "3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: null must be a mapping."),
        ("[]", "line 1, column 1: an empty list must be a mapping."),
        ("a: b: c", "line 1, column 5: This is no YAML: mapping values are not allowed here."),
        (HEAD + "thresholds:\n\t- a", "line 6, column 1: This is no YAML"),
        (HEAD + "name: b\n", "line 5, column 1: 'name' stands here twice; line 2 has it, too."),
        (HEAD + "guards: &a []\n", "line 5, column 9: &a is an anchor"),
        (HEAD, "line 1, column 1: there is no rule; a policy needs one of thresholds, comparisons, intervals"),
        ("name: a\nguards: []\n", "line 1, column 1: schema and version are missing."),
        (HEAD.replace("1", "2", 1), "line 1, column 9: 2 must be 1, which this version reads."),
        (HEAD.replace(": 1\nno", ": 1.10\nno"), "line 3, column 10: 1.1 must be a text or a whole number; put it in"),
        (HEAD.replace(": 1\nno", ": 1.0\nno"), "line 3, column 10: version is the number 1.0: put it in quotes."),
        (HEAD + "treshold: []\n", 'line 5, column 1: "treshold" is unknown; the nearest known is thresholds.'),
        (HEAD + "x: []\n", 'line 5, column 1: "x" is unknown; known are comparisons, guards, intervals'),
        (HEAD + "guards: 5\n", "line 5, column 9: 5 must be a list."),
        (HEAD + "guards: [5]\n", "line 5, column 10: 5 must be a mapping."),
        (HEAD + "thresholds:\n- metric: a\n  at_most: no\n", 'line 7, column 12: "no" must be a number.'),
        (HEAD + "thresholds:\n- metric: a\n", "line 6, column 3: one of at_least, at_most is needed."),
        (HEAD + "thresholds:\n- at_most: 1\n", "line 6, column 3: metric is missing."),
        (HEAD + "thresholds:\n- {metric: 1, at_most: 1}\n", "line 6, column 12: 1 must be a text; put it in quotes."),
        (
            HEAD + "thresholds:\n- {metric: a, at_most: .nan}\n",
            "line 6, column 24: at_most is nan; it must be a finite",
        ),
        (HEAD + f"thresholds:\n- {{metric: a, at_most: 1{'0' * 400}}}\n", "line 6, column 24: at_most is inf; it must"),
        (HEAD + "thresholds:\n- {metric: a, at_most: 1e999}\n", "line 6, column 24: at_most is inf; it must be a fin"),
        (
            HEAD + "thresholds:\n- metric: a\n  at_most: 1\n  at_least: 2\n",
            "line 8, column 13: at_least 2 is above at_most 1: nothing can pass.",
        ),
        (
            HEAD + "thresholds:\n- {metric: a, at_most: 1}\n- {metric: a, at_least: 2}\n",
            "line 7, column 25: at_least 2 is above at_most 1 of thresholds[0]: no a can pass both.",
        ),
        (HEAD + "comparisons:\n- {metric: a, better: up}\n", 'line 6, column 23: "up" must be one of higher, lower.'),
        (
            HEAD + "comparisons:\n- {metric: a, better: lower}\nslices:\n- {metric: a, better: higher, worse_by: 1}\n",
            "line 8, column 12: a is better higher here and better lower in comparisons[0]; it can only be one of",
        ),
        (
            HEAD + "comparisons:\n- {metric: a, better: lower, improve_by: -1}\n",
            "line 6, column 42: -1 must be at least 0.",
        ),
        (
            HEAD.replace("no_champion: reject\n", "") + "comparisons:\n- {metric: a, better: lower}\n",
            "say no_champion:",
        ),
        (
            HEAD.replace("reject", "accept") + "comparisons:\n- {metric: a, better: lower}\n",
            "line 4, column 14: no_champion: accept leaves the first model to the rules without a champion",
        ),
        (HEAD + "intervals:\n- {loss: a, confidence: 1}\n", "line 6, column 25: 1 must be at most 0.999."),
        (HEAD + "intervals:\n- {loss: a, confidence: 0.5}\n", "line 6, column 25: 0.5 must be above 0.5."),
        (
            HEAD + "slices:\n- {metric: a, better: lower, worse_by: 1, over: {names: []}}\n",
            "line 6, column 57: it must not be empty.",
        ),
        (
            HEAD + "guards:\n- {metric: a, at_most: -1, over: {}}\n",
            "line 6, column 24: at_most is -1, and a gap is never below 0: nothing can pass.",
        ),
    ],
)
def test_a_fault_is_told_with_its_line_and_column(text: str, said: str) -> None:
    told = faults(text)

    assert [line for line in told if said in line]
    assert all(line.startswith("gate.yaml, line ") for line in told)


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    text = HEAD + (
        "thresholds:\n- {metric: a, at_mots: 1}\n- {metric: b, at_least: 2, at_most: 1}\n"
        "comparisons:\n- {metric: a, better: down}\nguards:\n- {metric: a}\n"
    )

    assert [re.findall(r"\d+", line)[:2] for line in faults(text)] == [
        ["6", "3"],
        ["6", "15"],
        ["7", "25"],
        ["9", "23"],
        ["11", "3"],
    ]


def test_a_file_with_very_many_faults_tells_the_first_of_them() -> None:
    told = faults(HEAD + "guards:\n" + "- {metric: a}\n" * 50)

    assert len(told) == 21
    assert told[-1] == "gate.yaml: 30 more faults."


def test_a_file_that_is_far_too_long_is_not_read() -> None:
    assert faults("#" * (gate_policy.LONGEST + 1)) == ["gate.yaml has 262145 characters; a policy has 262144 at most."]


def test_a_mapping_is_read_like_a_file_and_faults_name_their_place() -> None:
    raw = yaml.safe_load(GOOD)

    assert gate_policy.from_wire(raw, name="policy") == gate_policy.parse(GOOD, name="gate.yaml")
    raw["thresholds"][0]["at_most"] = 0
    with pytest.raises(ConfigError, match=r"^policy: thresholds\[0\]\.at_least: at_least 0\.3 is above at_most 0"):
        gate_policy.from_wire(raw, name="policy")


@given(policies(), st.sampled_from(["yaml", "flow", "json"]))
@settings(deadline=None)
def test_a_policy_survives_its_way_through_a_file(policy: Policy, how: str) -> None:
    wire = policy.to_wire()
    text = json.dumps(wire) if how == "json" else yaml.safe_dump(wire, default_flow_style=how == "flow")

    read = gate_policy.parse(text, name="gate.yaml")

    assert read == policy
    assert read.digest == policy.digest


rubbish = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from([0, -1, 10**400]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
)
WORDS = ["accept", "reject", "lower", "higher", "metric", "better", "over", "names", "worse_by", "skip", "improve_by"]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))]


def put(raw: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(raw)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def check(text: str) -> None:
    """A text is a policy without faults, or an error with lines and columns that there are."""
    try:
        read = gate_policy.parse(text, name="gate.yaml")
    except ConfigError as error:
        for line in str(error).splitlines():
            place = re.match(r"gate\.yaml, line (\d+), column (\d+): .*\S\.$", line)
            assert place or re.fullmatch(r"gate\.yaml: \d+ more faults\.", line), line
            assert not place or 1 <= int(place[1]) <= text.count("\n") + 2
    else:
        assert not read.faults()
        assert gate_policy.parse(json.dumps(read.to_wire()), name="again") == read


@given(st.data(), rubbish | st.sampled_from(WORDS))
@settings(deadline=None, max_examples=150)
def test_whatever_stands_in_the_place_of_a_member_is_a_policy_or_an_error_with_its_place(
    data: st.DataObject, value: Any
) -> None:
    good = yaml.safe_load(GOOD)
    path = data.draw(st.sampled_from(places(good)))
    changed = put(good, path, value)

    # PyYAML writes the characters of JSON that YAML has none of as escapes.
    check(yaml.safe_dump(changed))


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_whatever_becomes_of_a_files_text_is_a_policy_or_an_error_with_its_place(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  # guards nothing
    text = GOOD
    for _ in range(chance.randrange(1, 5)):
        at, to = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        piece = chance.choice(
            ["", "\n", " ", ":", "- ", "{", "}", "[", '"', "'", "&a", "*a", "!!x", "#", "\t", "|\n", "? ", "---\n", "%",
             "\\", "\x00", "\x85", "é", "💥", "1e999", ".nan", "99999999999", "<<", "~", *WORDS]
        )  # fmt: skip
        match chance.randrange(4):
            case 0:
                text = text[:at] + piece + text[at:]
            case 1:
                text = text[:at] + piece + text[min(to, at + 8) :]
            case 2:
                lines = text.splitlines(keepends=True) or [""]
                lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
                text = "".join(lines)
            case _:
                text = text[:at] + text[min(to, at + 40) :]

    check(text)


def test_the_schema_is_one_and_is_part_of_the_package() -> None:
    jsonschema.Draft202012Validator.check_schema(gate_policy.schema())

    assert gate_policy.schema()["$id"].endswith(gate_policy.SCHEMA_FILE)


def test_the_schema_and_the_values_have_the_same_members_and_the_same_defaults() -> None:
    published = gate_policy.schema()
    kinds = {
        "threshold": KINDS["thresholds"],
        "comparison": KINDS["comparisons"],
        "interval": KINDS["intervals"],
        "slice": KINDS["slices"],
        "guard": KINDS["guards"],
        "over": Slices,
    }

    assert set(published["properties"]) == {"schema", *(one.name for one in attrs.fields(Policy))}
    assert set(published["$defs"]) == set(kinds)
    for name, kind in kinds.items():
        said = published["$defs"][name]["properties"]
        defaults = {one.name: one.default for one in attrs.fields(kind) if one.name != "over"}
        told = {member: each.get("default") for member, each in said.items() if member != "over"}
        assert {member: list(one) if isinstance(one, tuple) else one for member, one in defaults.items()} == {
            member: attrs.NOTHING if member in published["$defs"][name]["required"] else default
            for member, default in told.items()
        }


def test_every_member_of_the_schema_has_its_sentence() -> None:
    published = gate_policy.schema()
    told = [(where, name, each) for where in [published, *published["$defs"].values()]
            for name, each in where["properties"].items()]  # fmt: skip

    assert [
        name for _, name, each in told if not each.get("description", "").endswith(".") and "$ref" not in each
    ] == []


def test_nothing_keeps_the_schema_out_of_the_wheel() -> None:
    """Hatch ships what lies in its packages, but for what git ignores."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    schema = f"src/airflow_azureml/{gate_policy.SCHEMA_FILE}"
    ignored = subprocess.run(["git", "check-ignore", "--no-index", schema], cwd=ROOT, check=False, capture_output=True)  # noqa: S607

    assert wheel == {"packages": ["src/airflow_azureml"]}
    assert (ROOT / schema).is_file()
    assert ignored.returncode == 1

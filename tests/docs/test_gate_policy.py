"""The reference of gate policies shows a file that is one, and describes every member there is."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from airflow_azureml.core import gate_policy
from airflow_azureml.core.gate import KINDS, Policy, Slices
from airflow_azureml.errors import ConfigError

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/gate-policy.md").read_text()
FILE = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_file_that_is_shown_is_a_policy_with_every_kind_of_rule() -> None:
    assert FILE
    policy = gate_policy.parse(FILE[1], name="gate.yaml")

    assert (policy.name, policy.version) == ("diabetes-progression", "3")
    assert [name for name, rules in policy.sections.items() if not rules] == []
    assert policy.needs.champion
    assert policy.needs.slices


def test_the_file_that_is_shown_names_the_schema_that_is_published() -> None:
    assert FILE
    assert f"$schema={gate_policy.schema()['$id']}\n" in FILE[1]


@pytest.mark.parametrize("kind", [Policy, Slices, *KINDS.values()], ids=lambda kind: kind.__name__)
def test_every_member_is_described(kind: type) -> None:
    members = [one.name for one in attrs.fields(kind)]

    assert members
    assert [name for name in members if f"`{name}`" not in PAGE] == []


def test_the_faults_that_are_shown_are_what_is_said() -> None:
    text = "schema: 1\nname: a\nversion: 1\nno_champion: reject\nthresholds:\n  - metric: a\n    at_mots: 5\n"
    shown = re.search(r"gate.yaml, line 7, .*\n", PAGE)

    with pytest.raises(ConfigError) as caught:
        gate_policy.parse(text, name="gate.yaml")

    assert shown
    assert shown[0].strip() in str(caught.value)

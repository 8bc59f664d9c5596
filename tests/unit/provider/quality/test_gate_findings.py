"""Findings and verdicts as values: they survive JSON, and what contradicts itself is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.errors import ProtocolError
from tests.unit.provider.quality.test_explain import verdicts

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)
GOOD: dict[str, Any] = Verdict(
    subject="m",
    policy="p",
    findings=[Finding(check="a", passed=True, reason="b", value=1.5), Finding(check="c", passed=False, reason="d")],
    facts={"e": "f"},
).to_wire()


@given(verdicts)
def test_a_verdict_survives_its_way_through_json(verdict: Verdict) -> None:
    assert Verdict.from_wire(json.loads(json.dumps(verdict.to_wire(), allow_nan=False))) == verdict


@given(verdicts)
def test_a_verdict_that_says_another_thing_than_its_findings_is_refused(verdict: Verdict) -> None:
    told = verdict.to_wire()

    with pytest.raises(ProtocolError, match="its findings say otherwise"):
        Verdict.from_wire({**told, "accepted": not told["accepted"]})


def test_a_finding_that_was_turned_into_a_pass_is_seen() -> None:
    forged = [{**each, "passed": True} for each in GOOD["findings"]]

    with pytest.raises(ProtocolError, match="its findings say otherwise"):
        Verdict.from_wire({**GOOD, "findings": forged})


def test_nothing_checked_is_a_no() -> None:
    verdict = Verdict(subject="m", policy="p", findings=())

    assert not verdict.accepted
    assert verdict.sentence == "m: rejected, since nothing was checked."


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", None, 10**400])
def test_a_finding_holds_finite_numbers_only(value: Any) -> None:
    assert Finding(check="a", passed=True, reason="b", value=value).value is None


@given(
    st.sampled_from(["schema", "accepted", "subject", "policy", "findings", "facts"])
    | st.sampled_from(["check", "passed", "reason", "value", "low"]),
    anything,
)
def test_whatever_is_read_is_a_verdict_or_refused(member: str, value: Any) -> None:
    raw = {**GOOD, "findings": [dict(each) for each in GOOD["findings"]]}
    (raw if member in raw else raw["findings"][0])[member] = value

    try:
        verdict = Verdict.from_wire(raw)
    except ProtocolError:
        return

    assert not verdict.accepted
    assert Verdict.from_wire(verdict.to_wire()) == verdict

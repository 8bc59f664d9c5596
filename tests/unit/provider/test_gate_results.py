"""What a gate is told by other tasks, and what it leaves in XCom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.gate_results import MOST_BYTES, Challenger, champion_of, small
from airflow_azureml.core.models import Champion
from airflow_azureml.errors import ConfigError

KEY = "0123456789abcdef0123456789abcdef"
TRAINED: dict[str, Any] = {
    "job": "train-1",
    "key": KEY,
    "attempt": 2,
    "outputs": {"evaluation": "azureml://datastores/d/paths/e/", "model": "azureml://datastores/d/paths/m/"},
    "steps": [{"name": "train", "reused": False}, {"name": "evaluate", "reused": False}],
    "left_out": 0,
}
URIS = {
    name: f"azureml://datastores/workspaceblobstore/paths/{name}/"
    for name in ("verdict_uri", "picture_uri", "evaluation")
}
#: Long texts are made of short ones, which are drawn faster.
texts = st.builds(
    str.__mul__, st.text(max_size=4) | st.sampled_from(["\U0001f600", "é", "\x00", '"']), st.integers(0, 120)
)
figures = st.none() | st.floats(-1e9, 1e9)
findings = st.builds(
    Finding, check=texts, passed=st.booleans(), reason=texts, subject=texts, value=figures, low=figures
)
verdicts = st.builds(
    Verdict,
    subject=texts,
    policy=texts,
    findings=st.lists(findings, max_size=30),
    facts=st.dictionaries(st.text(max_size=30) | st.sampled_from(["model", "job", "champion"]), texts, max_size=20),
)


@given(verdicts, st.integers(1, 1500))
def test_what_goes_into_xcom_is_small_and_says_the_same_answer(verdict: Verdict, longer: int) -> None:
    wire = small(verdict, uris={name: uri + "x" * longer for name, uri in URIS.items()})

    assert len(json.dumps(wire).encode()) <= MOST_BYTES
    read = Verdict.from_wire(json.loads(json.dumps(wire)))
    assert read.accepted == verdict.accepted
    assert len(read.findings) >= min(1, len(verdict.findings))
    lost = len(verdict.findings) - len(read.findings) + len(verdict.facts) - len(read.facts)
    lost += len(URIS) - len(URIS.keys() & wire.keys())
    assert wire["left_out"] == lost


def test_what_fits_is_whole_and_what_failed_stands_first() -> None:
    passed, failed = (Finding(check=f"c{yes}", passed=yes, reason="r.") for yes in (True, False))
    verdict = Verdict(subject="s", policy="p", findings=[passed, failed], facts={"champion": "3"})

    wire = small(verdict, uris=URIS)

    assert Verdict.from_wire(wire) == evolve(verdict, findings=[failed, passed])
    assert {name: wire[name] for name in URIS} == URIS
    assert wire["left_out"] == 0


def test_findings_that_passed_are_left_out_before_any_that_failed_and_the_champion_stays() -> None:
    told = [Finding(check="c" * 100, passed=number % 2 == 0, reason="r" * 300) for number in range(16)]
    facts = {"champion": "3", **{f"fact {number}": "f" * 100 for number in range(9)}}

    wire = small(Verdict(subject="s", policy="p", findings=told, facts=facts), uris=URIS)

    read = Verdict.from_wire(wire)
    assert not any(finding.passed for finding in read.findings)
    assert read.facts["champion"] == "3"
    assert wire["left_out"] > 8


def test_the_result_of_a_pipeline_tells_where_its_evaluation_is() -> None:
    found = Challenger.from_wire(TRAINED, output="evaluation")

    assert (found.job, found.evaluation) == ("train-1", "azureml://datastores/d/paths/e/")
    assert (found.reused, found.is_whole) == ([], True)
    assert Challenger.from_wire(TRAINED, output="other").evaluation == ""


def test_a_step_with_the_result_of_another_job_is_reused_and_one_of_an_earlier_attempt_is_not() -> None:
    steps = [
        {"name": "prepare", "reused": True, "reused_job": f"airflow-{KEY}-1"},
        {"name": "train", "reused": True, "reused_job": f"airflow-{KEY}-3"},
        {"name": "evaluate", "reused": True},
        {"name": "tell", "reused": False},
    ]

    assert Challenger.from_wire({**TRAINED, "steps": steps}, output="evaluation").reused == ["train", "evaluate"]


@pytest.mark.parametrize("cut", [{"left_out": 1}, {"steps": []}, {"steps": None}])
def test_a_result_that_does_not_tell_all_steps_is_not_whole(cut: dict[str, Any]) -> None:
    assert not Challenger.from_wire({**TRAINED, **cut}, output="evaluation").is_whole


@pytest.mark.parametrize(
    "raw", [None, {}, "train-1", {"job": "x"}, {"outputs": {}}, {"job": "x", "outputs": ["evaluation"]}]
)
def test_a_challenger_that_is_no_result_is_refused(raw: Any) -> None:
    with pytest.raises(ConfigError, match=r"it must be what the task of a pipeline or a job returned"):
        Challenger.from_wire(raw, output="evaluation")


def test_a_champion_is_read_as_it_was_told_and_an_empty_mapping_is_none_yet() -> None:
    told = Champion(model="m", version="3", uri="u", job="j", evaluation="e", data_version="sha256:1")

    assert champion_of(told.to_wire()) == told
    assert champion_of({}) is None


@pytest.mark.parametrize("raw", [None, [], "", "m:3", {"model": "m"}, {"version": "3"}])
def test_a_champion_that_nobody_told_of_is_no_missing_champion(raw: Any) -> None:
    with pytest.raises(ConfigError, match="it must be what AzureMLChampionOperator"):
        champion_of(raw)

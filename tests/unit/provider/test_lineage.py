"""What a version tells of how it came about: all that there is room for, and what was left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.evaluation import Evaluation
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.lineage import KEY_PROPERTY, LEFT_OUT, LIMITS, DataVersion, Lineage
from airflow_azureml.core.model_card import MOST, card
from airflow_azureml.errors import ConfigError

EVALUATED = Evaluation(
    metrics={"rmse": 54.125, "r2": float("nan")},
    data_version="sha256:abc",
    data_path="azureml://datastores/a/paths/test.csv",
    data_etag="0x8D",
    rows=89,
    model_sha256="feed",
    git_sha="0a1b2c",
)
VERDICT = Verdict(
    subject="The challenger",
    policy="diabetes 3",
    findings=(Finding(check="rmse at most 60", passed=True, reason="rmse | is `54`."),),
    facts={"job": "j", "champion": "7"},
)
WHOLE = Lineage(
    pipeline="pipeline component diabetes_training, version 3",
    data=[DataVersion(path="a.csv", etag="0x1", rows=442, digest="sha256:d")],
    evaluation="azureml://datastores/a/paths/e/",
    evaluated=EVALUATED,
    verdict=VERDICT,
    verdict_uri="https://a/verdict.json",
    metrics={"rmse": 1.0, "train.loss": 0.5},
    owner="dag/run/register/-1/2",
    instance="https://airflow.example",
)


def test_a_version_tells_how_it_came_about() -> None:
    told = WHOLE.to_properties(key="k", job="j", output="model")

    assert told == {
        "airflow.registration": "k",
        "airflow.owner": "dag/run/register/-1/2",
        "airflow.instance": "https://airflow.example",
        "job": "j",
        "output": "model",
        "git_sha": "0a1b2c",
        "pipeline": "pipeline component diabetes_training, version 3",
        "evaluation": "azureml://datastores/a/paths/e/",
        "data_version": "sha256:abc",
        "data_path": "azureml://datastores/a/paths/test.csv",
        "data_etag": "0x8D",
        "data_rows": "89",
        "model_sha256": "feed",
        "verdict": "The challenger: accepted, 1 of 1 checks passed.",
        "verdict_policy": "diabetes 3",
        "verdict_uri": "https://a/verdict.json",
        "training_data.0": '{"path": "a.csv", "etag": "0x1", "rows": 442, "digest": "sha256:d"}',
        "metric.rmse": "54.125",
        "metric.train.loss": "0.5",
    }


names = st.text("abcdef.", min_size=1, max_size=4) | st.integers(99, 102).map("k".__mul__)
values = st.text(max_size=20) | st.integers(999, 1002).map("x".__mul__)
pairs = st.dictionaries(names, values, max_size=70)


@given(pairs)
def test_what_is_told_is_within_azure_mls_limits_and_what_is_left_out_is_counted(told: dict[str, str]) -> None:
    kept = LIMITS.fit(told)

    assert len(kept) <= LIMITS.entries
    assert all(len(name) <= LIMITS.key and 0 < len(value) <= LIMITS.value for name, value in kept.items())
    left = [name for name, value in told.items() if value and name not in kept]
    assert kept.get(LEFT_OUT, "0: ").partition(":")[0] == str(len(left))


@given(pairs)
def test_what_has_room_is_told_as_it_is(told: dict[str, str]) -> None:
    short = {name: value[:1000] for name, value in told.items() if value and len(name) <= 100}
    some = dict(list(short.items())[:50])

    assert LIMITS.fit(some) == some


def test_of_too_much_the_metrics_are_left_out_first() -> None:
    many = Lineage(evaluated=Evaluation(metrics={f"m{number:02}": 1.0 for number in range(80)}), verdict=VERDICT)
    told = many.to_properties(key="k", job="j", output="o")

    assert len(told) == LIMITS.entries
    assert told[KEY_PROPERTY] == "k"
    assert told["verdict"].startswith("The challenger: accepted")
    assert told[LEFT_OUT].startswith("36: metric.m44, metric.m45")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("a.csv", {"path": "a.csv"}),
        ({"path": "a.csv", "etag": "0x1", "rows": 0}, {"path": "a.csv", "etag": "0x1", "rows": 0}),
        (
            {"schema": 1, "accepted": True, "path": "a", "etag": "e", "rows": 3, "digest": "d", "checks": 7},
            {"path": "a", "etag": "e", "rows": 3, "digest": "d"},
        ),
    ],
)
def test_data_is_named_by_its_path_or_by_what_a_data_test_returned(raw: Any, told: dict[str, Any]) -> None:
    assert json.loads(DataVersion.parse(raw).to_text()) == told


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (7, "each of it is a path"),
        ({}, "each of it is a path"),
        ({"path": ""}, "each of it is a path"),
        ({"path": "a", "etga": "e"}, "etga is none of path, etag, rows, digest"),
        ({"path": "a", "rows": "many"}, "whose rows are no number"),
        ({"schema": 1, "path": "a", "accepted": False}, "failed its data test"),
    ],
)
def test_data_that_nobody_can_name_or_that_failed_its_test_is_refused(raw: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        DataVersion.parse(raw)


def test_the_card_says_what_a_person_wants_to_know() -> None:
    text = card("diabetes", job="j", output="model", lineage=WHOLE)

    for words in (
        "# diabetes\n",
        "output `model` of job `j`",
        "- Commit: `0a1b2c`",
        "- Trained on `a.csv`, 442 rows",
        "| rmse | 54.125 |",
        "| train.loss | 0.5 |",
        "The challenger: accepted, 1 of 1 checks passed.",
        "| rmse at most 60 | yes | rmse / is '54'. |",
    ):
        assert words in text
    assert "nan" not in text


def test_the_card_of_a_model_that_no_gate_has_seen_says_so() -> None:
    assert "No gate was asked." in card("m", job="j", output="o", lineage=Lineage())


def test_a_card_that_would_be_too_long_loses_whole_lines_and_says_so() -> None:
    for size in range(60, 120):
        findings = [Finding(check="c" * size, passed=True, reason="r" * size) for _ in range(30)]
        judged = Verdict(subject="s", policy="p", findings=findings)
        metrics = {f"{'m' * size}{number:02}": 1.0 for number in range(30)}
        text = card("m", job="j", output="o", lineage=Lineage(verdict=judged, evaluated=Evaluation(metrics=metrics)))

        assert len(text) <= MOST
        assert text.endswith(("… shortened.\n", "| … | | 10 more |\n"))


@given(
    st.text(max_size=300),
    st.dictionaries(st.text(max_size=300), st.floats(), max_size=40),
    st.lists(st.tuples(st.text(max_size=200), st.booleans()), max_size=60),
)
def test_a_card_is_never_too_long_and_its_tables_never_break(
    name: str, metrics: dict[str, float], checks: list[tuple[str, bool]]
) -> None:
    findings = [Finding(check=check, passed=passed, reason=check) for check, passed in checks]
    judged = Verdict(subject=name, policy=name, findings=findings)
    lineage = Lineage(verdict=judged, evaluated=Evaluation(metrics=metrics), pipeline=name)

    text = card(name, job=name, output=name, lineage=lineage)

    assert len(text) <= MOST
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} <= {3, 4}

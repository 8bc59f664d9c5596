"""Smoke tests of an endpoint: the file they are read from, and what they make of answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.answers import Answer, Tally
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.smoke import Case, Latency, SmokeTests, difference
from airflow_azureml.core.smoke_file import from_wire, parse
from airflow_azureml.errors import ConfigError

FILE = """
schema: 1
name: diabetes
cases:
  - name: one patient
    request: {data: [[1, 2]]}
    expected: [150.5]
    tolerance: 0.25
    json_schema: {type: array, items: {type: number}, minItems: 1}
    within_ms: 500
  - name: a word
    request: {data: [[one]]}
    status: 4xx
    says: is not a number
  - name: no JSON
    text: "{"
    status: 400
latency:
  requests: 20
  p95_ms: 100
"""
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def said(value: Any, **more: Any) -> Answer:
    return Answer(**{"status": 200, "latency_ms": 10.0, "body": json.dumps(value).encode(), **more})


def judged(case: Case, answer: Answer) -> Verdict:
    return SmokeTests(name="tests", cases=(case,)).judge([answer], endpoint="e")


def counted(*latencies_ms: float, failed: int = 0) -> Tally:
    tally = Tally()
    for each in latencies_ms:
        tally.add(Answer(status=200, latency_ms=each))
    for _ in range(failed):
        tally.add(Answer(status=503, latency_ms=1.0, body=b"gone"))
    return tally


def test_a_file_says_what_is_asked_and_what_has_to_be_answered() -> None:
    tests = parse(FILE, name="smoke.yaml")

    assert [(case.name, case.body, case.status) for case in tests.cases] == [
        ("one patient", b'{"data": [[1, 2]]}', "200"),
        ("a word", b'{"data": [["one"]]}', "4xx"),
        ("no JSON", b"{", "400"),
    ]
    assert tests.latency == Latency(requests=20, at_most_ms={95.0: 100.0})
    assert tests.good_bodies == (b'{"data": [[1, 2]]}',)


def test_a_mapping_says_the_same_as_its_file() -> None:
    raw = {"schema": 1, "name": "n", "cases": [{"name": "a", "request": {"x": 1}, "expected": "é😀"}]}

    assert from_wire(raw, name="mapping") == parse(json.dumps(raw), name="file")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("status: 400", "status: 40", "line 17, column 13: status must be a number such as 400"),
        ("tolerance: 0.25", "tolerances: 0.25", "line 8, column 5: 'tolerances' is not known here"),
        ("    expected: [150.5]\n", "", "tolerance is of expected, which is missing"),
        ("name: a word", "name: one patient", "'one patient' is the name of another case, too"),
        ('text: "{"', "says: nothing", "A case has either request (JSON) or text"),
        ("requests: 20", "requests: 20000", "requests must be 1000 at most"),
        ("p95_ms: 100", "", "One of p50_ms, p95_ms and p99_ms is needed"),
        ("schema: 1\n", "schema: 2\n", "schema must be 1"),
    ],
)
def test_a_fault_in_the_file_is_told_with_its_place(old: str, new: str, words: str) -> None:
    assert old in FILE

    with pytest.raises(ConfigError) as error:
        parse(FILE.replace(old, new, 1), name="smoke.yaml")

    assert words in str(error.value)


def test_an_endpoint_that_answers_as_expected_passes() -> None:
    tests = parse(FILE, name="smoke.yaml")
    refusals = [Answer(status=400, latency_ms=1, body=b"age is not a number: 'one'")] * 2

    verdict = tests.judge([said([150.4]), *refusals], counted(*[20.0] * 20), endpoint="e", deployment="green")

    assert verdict.accepted, verdict.sentence
    assert verdict.subject == "The answers of deployment green of endpoint e"


@pytest.mark.parametrize(
    ("case", "answer", "words"),
    [
        (Case(name="c", body=b"", expected=[1]), said([2]), "answer[0] is 2; expected was 1."),
        (Case(name="c", body=b"", expected=[1]), said([1, 1]), "answer has 2 entries; expected were 1."),
        (Case(name="c", body=b"", expected={"a": 1}), said({"b": 1}), 'answer has ["b"] as members'),
        (Case(name="c", body=b"", expected={"a": 1}), said({"a": 1, "b": 2}), 'answer has ["a", "b"] as members'),
        (Case(name="c", body=b"", expected=1), said(0, body=b"<html>"), "It answered 200 <html>"),
        (Case(name="c", body=b"", expected=True), said(1), "answer is 1; expected was true."),
        (Case(name="c", body=b"", json_schema={"type": "array"}), said({}), "answer: {} is not of type 'array'."),
        (Case(name="c", body=b"", says="age"), said("bmi"), 'It answered 200 "bmi"'),
        (Case(name="c", body=b"", within_ms=9), said([]), "It took 10.0 ms."),
        (Case(name="c", body=b"", status="4xx"), said([], status=500), "It answered 500 []"),
        (Case(name="c", body=b"", status="400"), said([]), "It answered 200 []"),
        (Case(name="c", body=b""), Answer(status=0, latency_ms=1, fault="reset"), "There was no answer: reset."),
    ],
)
def test_an_answer_that_does_not_fit_is_a_no_with_its_reason(case: Case, answer: Answer, words: str) -> None:
    verdict = judged(case, answer)

    assert not verdict.accepted
    assert [finding.reason for finding in verdict.failed] == [words] or words in verdict.failed[0].reason


def test_an_answer_of_another_deployment_is_a_no() -> None:
    tests = SmokeTests(name="t", cases=(Case(name="c", body=b""),))

    verdict = tests.judge([said([], deployment="blue")], endpoint="e", deployment="green")

    assert "Deployment blue answered, and green was asked." in verdict.sentence


def test_a_case_that_nobody_asked_and_requests_that_nobody_counted_are_a_no() -> None:
    tests = parse(FILE, name="smoke.yaml")

    verdict = tests.judge([said([150.4])], endpoint="e")

    assert {finding.check for finding in verdict.failed} == {
        "a word: is asked",
        "no JSON: is asked",
        "20 requests in a row are answered",
        "95 % of them are answered within 100 ms",
    }


def test_one_failed_request_in_a_row_is_a_no() -> None:
    latency = Latency(requests=3, at_most_ms={50: 100})

    told = [finding for finding in latency.findings(counted(1, 1, 1, failed=1)) if not finding.passed]

    assert [finding.reason for finding in told] == ["3 of 4 were. The first that failed: 503 gone"]


def test_a_schema_that_is_none_is_the_users_to_mend() -> None:
    with pytest.raises(ConfigError, match="json_schema is no JSON Schema"):
        judged(Case(name="c", body=b"", json_schema={"type": "matrix"}), said([]))


@given(json_values, json_values)
def test_only_equal_values_do_not_differ(one: Any, other: Any) -> None:
    # Of JSON's values, 1 and 1.0 are the same number; true is none.
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert difference(one, one) == ""
    if same:
        assert difference(one, other) == ""
    elif not _has_same_numbers(one, other):
        assert difference(one, other)


def _has_same_numbers(one: Any, other: Any) -> bool:
    first, second = (json.loads(json.dumps(each), parse_int=float) for each in (one, other))
    return bool(first == second)


@given(st.lists(st.floats(-100, 100), min_size=1), st.floats(0, 10), st.data())
def test_numbers_may_differ_by_the_tolerance_and_no_more(
    values: list[float], tolerance: float, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(values) - 1))
    found = [*values[:at], values[at] + tolerance * 0.99, *values[at + 1 :]]
    beyond = [*values[:at], values[at] + tolerance * 1.01 + 0.1, *values[at + 1 :]]

    assert difference(values, found, tolerance=tolerance) == ""
    assert f"answer[{at}]" in difference(values, beyond, tolerance=tolerance)

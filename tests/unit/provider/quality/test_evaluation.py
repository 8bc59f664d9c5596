"""What is read of an evaluation document, and of what is none."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core.evaluation import MOST_BYTES, Evaluation, Losses
from airflow_azureml.core.gate import Threshold
from tests.unit.provider.quality.gate_world import DOCUMENT, document, found, policy

RULES = policy(thresholds=[Threshold(metric="rmse", at_most=60)])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def test_a_good_document_is_read_whole() -> None:
    found_ = Evaluation.parse(json.dumps(DOCUMENT).encode())

    assert found_.faults == ()
    assert found_.metrics == DOCUMENT["metrics"]
    assert (found_.data_version, found_.rows) == ("sha256:1f", 89)
    assert found_.data_path == "azureml://a/test.csv"
    assert found_.data_etag == "0x8D"
    assert found_.slices["sex=male"].rows == 41
    assert found_.slices["sex=male"].metrics == {"rmse": 55.2, "r2": 0.4}
    assert found_.losses == Losses(path="losses.csv", column="squared_error", key="row")
    assert (found_.model_sha256, found_.git_sha) == ("ab12", "c0ffee")
    assert found_.made_at == datetime(2026, 11, 21, 19, tzinfo=UTC)


def test_what_is_optional_may_be_missing() -> None:
    bare = document(slices=None, losses=None, model=None, made_at=None, git_sha=None)

    found_ = Evaluation.from_wire({**bare, "data": {"version": "1", "rows": 3}, "note": "by hand"})

    assert found_.faults == ()
    assert (found_.slices, found_.losses, found_.made_at) == ({}, None, None)


def test_a_metric_that_is_no_number_spoils_itself_alone() -> None:
    told = {"rmse": 54.1, "mae": "43", "r2": None, "ok": True, "huge": 10**400, "list": [], "nan": math.nan}

    found_ = Evaluation.from_wire(document(metrics=told))

    assert found_.faults == ()
    assert found_.unreadable == {"mae": '"43"', "r2": "null", "ok": "true", "list": "an empty list"}
    assert found_.figure("rmse") == 54.1
    assert found_.figure("huge") == "says of huge inf, which is no finite number"
    assert found_.figure("nan") == "says of nan nan, which is no finite number"
    assert found_.figure("mae") == 'says of mae "43", which is no number'
    assert found_.figure("f1") == "has no f1 (it has huge, nan, rmse)"


def test_what_is_shown_of_a_name_stays_in_its_line() -> None:
    strange = Evaluation.from_wire(document(slices={"a\nb\x85c\u2028d\u202ee": 5}))

    assert strange.faults == (r'Its slice "a\nb\u0085c\u2028d\u202ee" is 5, not an object.',)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema": None}, "It is of schema null; this version reads 1."),
        ({"schema": 2}, "It is of schema 2; this version reads 1."),
        ({"schema": True}, "It is of schema true; this version reads 1."),
        ({"metrics": None}, "Its metrics are null, not an object."),
        ({"metrics": {}}, "Its metrics are empty."),
        ({"metrics": [1]}, "Its metrics are a list, not an object."),
        ({"data": "sha256:1f"}, 'Its data is "sha256:1f", not an object.'),
        ({"data": {"version": 7, "rows": 1}}, "Its data.version is 7, not a text."),
        ({"data": {"version": "7", "rows": -1}}, "Its rows are -1, not a number of rows."),
        ({"data": {"version": "7", "rows": "89"}}, 'Its rows are "89", not a number of rows.'),
        ({"data": {"version": "7", "rows": True}}, "Its rows are true, not a number of rows."),
        ({"slices": []}, "Its slices is an empty list, not an object."),
        ({"slices": {"a": 5}}, 'Its slice "a" is 5, not an object.'),
        ({"slices": {"a": {"rows": 4}}}, 'Its metrics of slice "a" are null, not an object.'),
        ({"losses": "losses.csv"}, "not an object with path, column and key."),
        ({"losses": {"path": "losses.csv", "column": "e"}}, "not an object with path, column and key."),
        ({"losses": {"path": "../l.csv", "column": "e", "key": "k"}}, "which is no file in the evaluation's folder."),
        ({"losses": {"path": "/l.csv", "column": "e", "key": "k"}}, "which is no file in the evaluation's folder."),
        ({"losses": {"path": "a:b", "column": "e", "key": "k"}}, "which is no file in the evaluation's folder."),
        ({"model": "ab"}, 'Its model is "ab", not an object.'),
        ({"made_at": "yesterday"}, 'Its made_at is "yesterday", not a time with its zone'),
        ({"made_at": "2026-11-21T19:00:00"}, "not a time with its zone, as 2026-11-21T19:00:00Z."),
        ({"git_sha": 12}, "Its git_sha is 12, not a text."),
    ],
)
def test_a_document_that_breaks_its_form_closes_the_gate_and_says_where(changed: dict[str, Any], said: str) -> None:
    found_ = Evaluation.from_wire(document(**changed))

    assert said in " ".join(found_.faults)
    verdict = found(RULES, found_)
    assert not verdict.accepted
    assert said in verdict.sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "It is no JSON in UTF-8"),
        (b"\xff\xfe{}", "It is no JSON in UTF-8"),
        (b"{", "It is no JSON in UTF-8"),
        (b'{"schema": 1, "metrics": {"rmse": "\\ud800"}}', "It is no JSON in UTF-8"),
        (b"[" * 100_000, "It is no JSON in UTF-8"),
        (b"[]", "It is an empty list, not an object with schema, metrics and data."),
        (b"5", "It is 5, not an object"),
        (b" " * (MOST_BYTES + 1), "bytes; 4194304 are the most that is read"),
    ],
)
def test_a_file_that_is_no_document_is_a_fault_and_no_error(content: bytes, said: str) -> None:
    assert said in " ".join(Evaluation.parse(content).faults)


def test_a_metric_that_stands_twice_is_not_believed() -> None:
    content = json.dumps(DOCUMENT).replace('"mae"', '"rmse"').encode()

    assert Evaluation.parse(content).faults == ('"rmse" stands in it twice, so that nobody knows which counts.',)


def test_a_mark_of_the_byte_order_is_borne() -> None:
    assert Evaluation.parse(b"\xef\xbb\xbf" + json.dumps(DOCUMENT).encode()).faults == ()


@given(anything)
def test_whatever_is_read_makes_an_evaluation_and_a_verdict(raw: Any) -> None:
    assert not found(RULES, Evaluation.from_wire(raw), Evaluation.from_wire(raw)).accepted


@given(st.binary(max_size=64) | anything.map(lambda raw: json.dumps(raw).encode()))
def test_whatever_is_in_the_file_makes_an_evaluation(content: bytes) -> None:
    assert Evaluation.parse(content).faults


PATHS = [
    ("schema",),
    ("metrics",),
    ("metrics", "rmse"),
    ("data",),
    ("data", "version"),
    ("data", "rows"),
    ("slices",),
    ("slices", "sex=male"),
    ("slices", "sex=male", "rows"),
    ("slices", "sex=male", "metrics"),
    ("slices", "sex=male", "metrics", "rmse"),
    ("losses",),
    ("losses", "path"),
    ("model",),
    ("made_at",),
    ("git_sha",),
]


@pytest.mark.parametrize("path", PATHS, ids=".".join)
@given(anything)
@settings(deadline=None, max_examples=40)
def test_whatever_stands_in_the_place_of_a_member_makes_an_evaluation_and_a_verdict(
    path: tuple[str, ...], value: Any
) -> None:
    raw: dict[str, Any] = json.loads(json.dumps(DOCUMENT))
    inner = raw
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value

    read = Evaluation.from_wire(raw)
    verdict = found(RULES, read, read)

    # The document differs from a good one; where that is said to be no fault, what was put there is what it should be.
    assert verdict.accepted is (not read.faults and isinstance(read.figure("rmse"), float) and _passes(read))


def _passes(read: Evaluation) -> bool:
    rmse = read.figure("rmse")
    return isinstance(rmse, float) and rmse <= 60 and read.rows is not None and read.rows >= 1

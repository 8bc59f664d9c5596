from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import joblib
import numpy as np
import pytest

from evaluate import evaluate, slices

Step = Callable[..., CompletedProcess[str]]


@pytest.fixture
def document(trained: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((trained / "evaluation/evaluation.json").read_text())
    return found


def missed_by(trained: Path) -> Any:
    rows = np.loadtxt(trained / "prepared/test.csv", delimiter=",", skiprows=1)
    return rows[:, -1] - joblib.load(trained / "model/model.joblib").predict(rows[:, :-1])


def test_the_document_says_on_what_rows_and_of_what_model_and_when(trained: Path, document: dict[str, Any]) -> None:
    test = hashlib.sha256((trained / "prepared/test.csv").read_bytes()).hexdigest()
    model = (trained / "model/model.joblib").read_bytes()

    assert document["schema"] == 1
    assert document["data"] == {"version": f"sha256:{test}", "rows": 89}
    assert document["model"] == {"sha256": hashlib.sha256(model).hexdigest()}
    assert document["metrics"]["model_bytes"] == len(model)
    assert 0 < document["metrics"]["latency_ms"] < 1000
    assert abs((datetime.now(UTC) - datetime.fromisoformat(document["made_at"])).total_seconds()) < 3600


def test_each_test_row_has_its_loss_in_the_order_of_the_rows(trained: Path, document: dict[str, Any]) -> None:
    losses = trained / "evaluation" / document["losses"]["path"]
    rows = list(csv.DictReader(losses.read_text().splitlines()))

    assert [int(row[document["losses"]["key"]]) for row in rows] == list(range(89))
    assert [float(row[document["losses"]["column"]]) for row in rows] == pytest.approx(missed_by(trained) ** 2)
    assert document["metrics"]["rmse"] == pytest.approx(float(np.mean(missed_by(trained) ** 2)) ** 0.5)


def test_every_row_is_in_one_slice_by_sex_and_in_one_by_age(trained: Path, document: dict[str, Any]) -> None:
    by_sex = {name: one for name, one in document["slices"].items() if name.startswith("sex=")}
    by_age = {name: one for name, one in document["slices"].items() if name.startswith("age=")}
    squares = float(np.sum(missed_by(trained) ** 2))

    assert list(by_sex) == ["sex=-0.0446", "sex=0.0507"]
    assert list(by_age) == ["age=low", "age=middle", "age=high"]
    for sliced in (by_sex, by_age):
        assert sum(one["rows"] for one in sliced.values()) == 89
        assert sum(one["rows"] * one["metrics"]["rmse"] ** 2 for one in sliced.values()) == pytest.approx(squares)
    assert all(one["rows"] >= 25 for one in by_age.values())


def test_rows_of_one_age_are_in_one_slice() -> None:
    values = np.ones((6, 11))

    assert {name: one["rows"] for name, one in slices(values, np.ones(6)).items()} == {"sex=1": 6, "age=1": 6}


def test_another_model_on_the_same_rows_has_the_same_slices_of_the_same_data(
    trained: Path, step: Step, tmp_path: Path, document: dict[str, Any]
) -> None:
    step("train", prepared=trained / "prepared", model=tmp_path / "model", alpha=50)
    done = step("evaluate", prepared=trained / "prepared", model=tmp_path / "model", evaluation=tmp_path)
    other = json.loads((tmp_path / "evaluation.json").read_text())

    assert done.returncode == 0, done.stderr
    assert other["data"] == document["data"]
    assert {name: one["rows"] for name, one in other["slices"].items()} == {
        name: one["rows"] for name, one in document["slices"].items()
    }
    assert other["model"] != document["model"]
    assert other["metrics"]["rmse"] > document["metrics"]["rmse"]


@pytest.mark.parametrize(("environment", "told"), [({}, {}), ({"GIT_SHA": "0123abc"}, {"git_sha": "0123abc"})])
def test_the_commit_is_told_where_the_environment_names_it(
    trained: Path, environment: dict[str, str], told: dict[str, str]
) -> None:
    document, _ = evaluate(trained / "model", trained / "prepared/test.csv", environment=environment)

    assert {name: document[name] for name in document if name == "git_sha"} == told

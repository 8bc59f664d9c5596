"""The scoring script in a process as the emulator's deployments have them: what it answers, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import joblib  # it reads the model that the step wrote
import pytest

import azureml_emulator
from airflow_azureml.core.answers import Answer, Tally
from airflow_azureml.core.smoke_file import parse

ONLINE = Path(__file__).resolve().parents[3] / "pipelines/diabetes/online"
WORKER = Path(azureml_emulator.__file__).with_name("serving_worker.py")
ROW = [0.038, 0.051, 0.062, 0.022, -0.044, -0.035, -0.043, -0.003, 0.02, -0.018]


@pytest.fixture(scope="module")
def server(trained: Path) -> Iterator[httpx.Client]:
    """A process that serves the model."""
    reading, writing = os.pipe()
    settings = {"script": "score.py", "code": str(ONLINE), "name": "ridge", "workers": 1}
    process = subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(settings), str(writing)],
        env={**os.environ, "AZUREML_MODEL_DIR": str(trained)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=[writing],
        start_new_session=True,
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        port = json.loads(told.readline() or "{}").get("port")
    assert port, "the script could not be loaded"
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        yield client
    assert process.stdin
    process.stdin.close()
    process.wait(timeout=30)


def ask(server: httpx.Client, said: Any) -> httpx.Response:
    return server.post("/score", content=said if isinstance(said, str) else json.dumps(said))


def test_rows_are_answered_with_the_models_predictions_in_their_order(server: httpx.Client, trained: Path) -> None:
    rows = [ROW, [-each for each in ROW], [0] * 10]

    answer = ask(server, {"data": rows})

    assert answer.status_code == 200, answer.text
    wanted = joblib.load(trained / "model/model.joblib").predict(rows)
    assert answer.json() == pytest.approx(list(wanted))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{", "The request is no JSON."),
        ([ROW], "The request must be"),
        ({"data": []}, "with 1 to 1000 rows"),
        ({"data": [[0] * 10] * 1001}, "with 1 to 1000 rows"),
        ({"data": [ROW, ROW[:9]]}, "Row 1 must have 10 numbers: age, sex"),
        ({"data": [["1", *ROW[1:]]]}, "Row 0: age is not a finite number."),
        ({"data": [[True, *ROW[1:]]]}, "Row 0: age is not a finite number."),
        ('{"data": [[NaN, 0, 0, 0, 0, 0, 0, 0, 0, 0]]}', "Row 0: age is not a finite number."),
        ({"data": [[10**400, *ROW[1:]]]}, "Row 0: age is not a finite number."),
        ({"data": [[1e308] * 10]}, "A prediction is too large for a number."),
    ],
)
def test_what_cannot_be_scored_is_refused_with_one_sentence(server: httpx.Client, said: Any, words: str) -> None:
    answer = ask(server, said)

    assert (answer.status_code, words in answer.text) == (400, True), answer.text


def test_its_own_smoke_tests_pass(server: httpx.Client) -> None:
    tests = parse((ONLINE / "smoke.yaml").read_text(), name="smoke.yaml")
    tally = Tally()
    answers = []
    for case in tests.cases:
        answer = server.post("/score", content=case.body)
        answers.append(Answer(status=answer.status_code, latency_ms=1, body=answer.content))
    for _ in range(50):
        tally.add(Answer(status=200, latency_ms=1))

    verdict = tests.judge(answers, tally, endpoint="diabetes")

    assert verdict.accepted, verdict.sentence

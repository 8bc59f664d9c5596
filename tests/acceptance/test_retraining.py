"""Only a better model is registered: the DAG that users copy, and every part of it real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from azure.storage.blob import BlobServiceClient

from demo.azure import ROOT, WORKSPACE_ID
from demo.labelled import shifted
from demo.processes import wait_until
from demo.retraining import (
    DAG,
    Retraining,
    RetrainingWitness,
    faults_of_accepted,
    faults_of_quarantined,
    faults_of_rejected,
)
from demo.rounds import FIRST_SHARE, WORSE_ALPHA, begin, prepare_model, put, tell_of_data, turn_on
from demo.scenario import blobs, make_queue, publish
from demo.stack import Stack

ANOTHER = "another_retraining"
#: Seconds that one retraining may take on a busy machine.
DEADLINE_S = 300.0
#: Airflow's server, which the tasks need as well, is not asked more often. Seconds.
LOOK_EVERY_S = 2.0

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the DAG twice, under two names: two DAGs may retrain one model."""
    dags = tmp_path_factory.mktemp("dags")
    text = (ROOT / f"dags/{DAG}.py").read_text()
    (dags / f"{DAG}.py").write_text(text)
    (dags / "another.py").write_text(text.replace(f'"{DAG}"', f'"{ANOTHER}"'))
    files = {"RETRAINING_FILES": str(ROOT / "pipelines/diabetes")}
    with Stack(tmp_path_factory.mktemp("stack"), dags=dags, environment=files) as running:
        publish(running.emulator, say=print, fraction=FIRST_SHARE)
        make_queue(running.emulator)
        yield running


@pytest.fixture(scope="module")
def storage(stack: Stack) -> Iterator[BlobServiceClient]:
    with blobs(stack.emulator) as service:
        yield service


def known(stack: Stack) -> set[str]:
    """Name the DAGs that Airflow has read."""
    return {each["dag_id"] for each in stack.airflow.get("/api/v2/dags")["dags"]}


@pytest.fixture(scope="module")
def witness(stack: Stack, storage: BlobServiceClient) -> Iterator[RetrainingWitness]:
    with RetrainingWitness(stack, storage) as looking:
        prepare_model(stack, looking, storage, datetime.now(UTC))
        # Both, before anything runs: the two retrainings are to overlap.
        assert wait_until(lambda: {DAG, ANOTHER} <= known(stack), deadline_s=90, step_s=1)
        yield looking


def until_over(witness: RetrainingWitness, run: str) -> Retraining:
    end = time.monotonic() + DEADLINE_S
    while not witness.is_over(run):
        if time.monotonic() > end:
            pytest.fail(f"Not over after {DEADLINE_S:.0f} s: {witness.look_at_run(run)}")
        witness.stack.check()
        time.sleep(LOOK_EVERY_S)
    return witness.look_at_run(run)


def trained_from_to(stack: Stack, job: str) -> tuple[str, str]:
    """Ask the workspace when a job began and ended."""
    url = f"{stack.emulator.http}/history/v1.0{WORKSPACE_ID}/runs/{job}?api-version=v1.0"
    told = httpx.get(url, trust_env=False, timeout=30).raise_for_status().json()
    return told["startTimeUtc"], told["endTimeUtc"]


def test_of_two_retrainings_of_one_model_at_once_the_second_waits_and_there_is_one_champion(
    stack: Stack, storage: BlobServiceClient, witness: RetrainingWitness
) -> None:
    before = witness.look_at_model()

    with RetrainingWitness(stack, storage, dag=ANOTHER) as other:
        started = [(each, turn_on(stack, each)) for each in (witness, other)]
        mine, others = (until_over(each, run) for each, run in started)
    after = witness.look_at_model()

    first, second = sorted((mine, others), key=lambda each: trained_from_to(stack, each.jobs["train"].name))
    assert faults_of_accepted(first, before, after) == []
    assert faults_of_rejected(second, after, after) == []
    assert (first.outcome["outcome"], second.outcome["outcome"]) == ("champion", "rejected")
    assert "a tie leaves the champion where it is" in second.outcome["reasons"][0]
    assert trained_from_to(stack, first.jobs["train"].name)[1] < trained_from_to(stack, second.jobs["train"].name)[0]


def test_a_worse_model_is_rejected_and_the_run_ends_well(stack: Stack, witness: RetrainingWitness) -> None:
    before = witness.look_at_model()

    run = until_over(witness, begin(stack, {"alpha": WORSE_ALPHA}))

    assert faults_of_rejected(run, before, witness.look_at_model()) == []
    assert run.outcome["outcome"] == "rejected"
    assert any("rmse" in reason for reason in run.outcome["reasons"])


def test_new_data_with_a_shifted_column_is_quarantined_and_nothing_is_trained(
    stack: Stack, storage: BlobServiceClient, witness: RetrainingWitness
) -> None:
    stack.airflow.call("PATCH", f"/api/v2/dags/{ANOTHER}", {"is_paused": True})
    before = witness.look_at_model()
    odd = shifted(datetime.now(UTC))
    put(witness, storage, odd)

    run = until_over(witness, tell_of_data(stack, witness))

    is_there = odd.path in witness.names(witness.container_of_datastore(), odd.path)
    after = witness.look_at_model()
    assert faults_of_quarantined(run, before, after, path=odd.path, is_there=is_there) == []
    assert run.outcome["outcome"] == "unfit data"
    assert "bmi" in run.outcome["reasons"][0]

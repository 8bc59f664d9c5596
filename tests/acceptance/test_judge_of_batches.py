"""The judge of batches says no whenever a promise is broken."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from demo.batches import DAG, Batch, BatchLook, Row, Scored, faults, faults_of_ledger
from demo.evidence import Job, Scores, Version
from demo.patients import PatientFile

GOOD_ONE = Version(path="patients/a.csv", etag="0x1")
BROKEN = Version(path="patients/b.csv", etag="0x2")
REPLACED = Version(path="patients/a.csv", etag="0x0")
FILE = PatientFile(path="patients/a.csv", content=b"", good=1, bad=1)
SCORED = Scored(version=GOOD_ONE, folder="k.csv", rows=1, rejected_rows=1)
BATCH = Batch(id="b1", job="job", output="azureml://x", scored=(SCORED,), rejected={BROKEN: "it is binary"})
JOB = Job(name="job", status="Completed", key="b1", owner=f"{DAG}/run/patients.score/0/1")
SCORES = Scores(
    place="store/b1/k.csv", columns=("age", "prediction"), rows=(("1", "2"),), rejected=(("3", "bmi is empty", ",,"),)
)
GOOD = BatchLook(
    heard={GOOD_ONE: [0.0]},
    staged={GOOD_ONE: "b1"},
    batches=(BATCH,),
    jobs={"job": JOB},
    current={"patients/a.csv": "0x1", "patients/b.csv": "0x2"},
    files=frozenset({"store/b1/k.csv/predictions.csv"}),
    runs={"run": "success"},
)
ROWS = (
    Row(version=GOOD_ONE, state="scored", batch="b1", reason=""),
    Row(version=BROKEN, state="rejected", batch="b1", reason="it is binary"),
)


def _faults(look: BatchLook, scores: Scores = SCORES) -> list[str]:
    return faults(look, {GOOD_ONE: FILE}, [BROKEN], scores_of=lambda _, __: scores)


def test_nothing_is_wrong_with_one_published_batch_and_its_completed_job() -> None:
    assert _faults(GOOD) == []
    assert faults_of_ledger(ROWS, GOOD) == []


def _with(**changed: object) -> Callable[[], BatchLook]:
    return lambda: attrs.evolve(GOOD, batches=(attrs.evolve(BATCH, **changed),))  # type: ignore[arg-type]  # a test's table


@pytest.mark.parametrize(
    ("look", "fault"),
    [
        (_with(scored=()), "patients/a.csv (0x1) is scored in 0 published batches, not 1"),
        (_with(rejected={}), "patients/b.csv (0x2) is rejected 0 times, not once with a reason"),
        (_with(rejected={BROKEN: ""}), "patients/b.csv (0x2) is rejected 1 times, not once with a reason"),
        (
            _with(scored=(SCORED, attrs.evolve(SCORED, version=REPLACED))),
            "patients/a.csv (0x0) is scored, and must not be",
        ),
        (
            _with(rejected={BROKEN: "binary", GOOD_ONE: "binary"}),
            "patients/a.csv (0x1) is rejected, and must not be",
        ),
        (
            _with(scored=(attrs.evolve(SCORED, rows=2),)),
            "patients/a.csv: batch b1 tells of 2 rows and 1 rejected ones, not 1 and 1",
        ),
        (
            lambda: attrs.evolve(GOOD, batches=(BATCH, attrs.evolve(BATCH, id="b2"))),
            "patients/a.csv (0x1) is scored in 2 published batches, not 1",
        ),
        (
            lambda: attrs.evolve(GOOD, jobs={"job": JOB, "more": attrs.evolve(JOB, name="more")}),
            "batch b1 has 2 completed jobs, not 1, which is job",
        ),
        (
            lambda: attrs.evolve(GOOD, jobs={"job": attrs.evolve(JOB, status="Failed")}),
            "batch b1 has 0 completed jobs, not 1, which is job",
        ),
        (
            lambda: attrs.evolve(GOOD, jobs={"job": JOB, "lost": attrs.evolve(JOB, name="lost", key="b3")}),
            "a job of batch b3 is completed, and the batch is not published",
        ),
        (
            lambda: attrs.evolve(GOOD, files=GOOD.files | {"store/b3/k.csv/predictions.csv"}),
            "predictions file store/b3/k.csv/predictions.csv is of no published batch",
        ),
        (
            lambda: attrs.evolve(GOOD, files=frozenset()),
            "predictions file store/b1/k.csv/predictions.csv is missing",
        ),
        (lambda: attrs.evolve(GOOD, runs={"run": "failed"}), "run run has failed"),
    ],
)
def test_whatever_is_lost_doubled_or_left_over_is_a_fault(look: Callable[[], BatchLook], fault: str) -> None:
    assert fault in _faults(look())


def test_a_row_too_few_in_storage_is_a_fault_whatever_the_marker_says() -> None:
    thin = attrs.evolve(SCORES, rows=())

    assert _faults(GOOD, thin) == ["patients/a.csv has 0 predictions, not 1 (store/b1/k.csv)"]


def test_a_ledger_that_says_something_else_than_what_is_published_is_a_fault() -> None:
    said = [attrs.evolve(ROWS[0], state="submitted"), ROWS[1], attrs.evolve(ROWS[0], version=REPLACED)]

    assert faults_of_ledger(said, GOOD) == [
        "only the ledger says: patients/a.csv (0x1) is submitted in batch b1",
        "only the ledger says: patients/a.csv (0x0) is scored in batch b1",
        "the ledger does not say: patients/a.csv (0x1) is scored in batch b1",
    ]

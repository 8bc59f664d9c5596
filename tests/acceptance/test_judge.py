"""The judge of the demonstration, of chaos and of the acceptance tests says no whenever a promise is broken."""

from __future__ import annotations

import attrs

from demo.evidence import DAG, Job, Look, Scores, Task, Version, faults
from demo.patients import PatientFile

VERSION = Version(path="patients/a.csv", etag="0x1")
FILE = PatientFile(path="patients/a.csv", content=b"", good=1, bad=1)
TASK = Task(
    run_id="run", map_index=0, state="success", began=1.0, ended=2.0, job="job", predictions="azureml://datastores/x"
)
JOB = Job(name="job", status="Completed", key="key", owner=f"{DAG}/run/score/0/1")
SCORES = Scores(
    place="store/key", columns=("age", "prediction"), rows=(("1", "2"),), rejected=(("3", "bmi is empty", ",,"),)
)
GOOD = Look(
    heard={VERSION: 0.0},
    tasks={VERSION: (TASK,)},
    jobs={"job": JOB},
    current={"patients/a.csv": "0x1"},
    files=frozenset({"store/key/predictions.csv"}),
    runs={"run": "success"},
)


def _faults(look: Look, scores: Scores = SCORES) -> list[str]:
    return faults(look, {VERSION: FILE}, scores_of=lambda _: scores)


def test_nothing_is_wrong_with_one_completed_job_and_its_predictions() -> None:
    assert _faults(GOOD) == []


def test_a_version_that_nobody_scored_is_a_fault() -> None:
    lost = attrs.evolve(GOOD, tasks={}, jobs={}, files=frozenset())

    assert _faults(lost) == ["patients/a.csv (0x1) has 0 completed jobs, not 1; jobs: none"]


def test_a_job_that_failed_is_no_completed_job() -> None:
    failed = attrs.evolve(GOOD, jobs={"job": attrs.evolve(JOB, status="Failed")}, files=frozenset())

    assert _faults(failed) == ["patients/a.csv (0x1) has 0 completed jobs, not 1; jobs: job Failed"]


def test_a_version_with_two_completed_jobs_is_a_fault_also_when_only_one_is_in_xcom() -> None:
    doubled = attrs.evolve(GOOD, jobs={"job": JOB, "other": attrs.evolve(JOB, name="other")})

    found = _faults(doubled)

    assert "patients/a.csv (0x1) has 2 completed jobs, not 1; jobs: job Completed, other Completed" in found
    assert "key key has 2 completed jobs" in found
    assert "completed job other belongs to no task" in found


def test_a_predictions_file_of_nobody_is_a_fault() -> None:
    left_over = attrs.evolve(GOOD, files=GOOD.files | {"store/other/predictions.csv"})

    assert _faults(left_over) == ["predictions file store/other/predictions.csv is of no completed job"]


def test_a_predictions_file_that_is_not_there_is_a_fault() -> None:
    assert "predictions file store/key/predictions.csv is missing" in _faults(attrs.evolve(GOOD, files=frozenset()))


def test_a_row_too_few_or_a_rejection_without_a_reason_is_a_fault() -> None:
    thin = attrs.evolve(SCORES, rows=(), rejected=(("3", "", ",,"),))

    assert _faults(GOOD, thin) == [
        "patients/a.csv has 0 predictions, not 1 (store/key)",
        "patients/a.csv: rejected lines 3 have no reason (store/key)",
    ]

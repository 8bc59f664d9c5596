"""Every way to end a task, at once in one Airflow: what becomes of its job, and what the log says of that.

The jobs go as scripts of the emulator say: for ever, until they are cancelled.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.azure import Azurite, Emulator
from demo.processes import wait_until
from demo.stack import Airflow
from tests.airflow.killing import Case, Kills, Outcome, wait

pytestmark = pytest.mark.timeout(600)

#: How the jobs of an endpoint go.
SCRIPTS = {"steady": [["Running", 1]], "silent": [["NotResponding", 1]]}
ASKED = "The task was ended by a person; asked Azure ML to cancel job {job}"
ASKED_BY_WORKER = "Asked Azure ML to cancel job {job}"
LEFT = "job {job} is left running, as configured"

clear, end_worker, cancel_job, fail_run = Kills.clear, Kills.end_worker, Kills.cancel_job, Kills.fail_run


def mark_failed(kills: Kills, run: tuple[str, str]) -> None:
    kills.mark(run, "failed")


def mark_success(kills: Kills, run: tuple[str, str]) -> None:
    kills.mark(run, "success")


#: Airflow begins to count when the run starts, so these start before all others.
OVERDUE = {
    "overdue": Case(dag="overdue", state="skipped", told=ASKED),
    "overdue-in-worker": Case(dag="in_worker_overdue", when="in worker", state="skipped", told=ASKED_BY_WORKER),
}
DEFERRED = {
    "cleared": Case(
        dag="waiting", act=clear, state="deferred", jobs=("Canceled", "Running"), told_somewhere=ASKED_BY_WORKER
    ),
    "marked-failed": Case(dag="waiting", act=mark_failed, told=ASKED),
    "marked-success": Case(dag="waiting", act=mark_success, state="success", told=ASKED),
    "run-failed": Case(dag="waiting", act=fail_run, told=ASKED),
    "left": Case(dag="leaving", act=mark_failed, jobs=("Running",), told=LEFT),
    "execution-timeout": Case(dag="execution_timeout", told=ASKED_BY_WORKER),
    "timed-by-airflow": Case(dag="timed_by_airflow", told=ASKED_BY_WORKER),
    "broken-trigger": Case(dag="broken", told=ASKED_BY_WORKER),
    "given-up": Case(dag="impatient", endpoint="silent", told=ASKED_BY_WORKER, error="SilenceError"),
    "given-up-and-left": Case(
        dag="impatient_leaving", endpoint="silent", jobs=("NotResponding",), told="Job {job} is left as it is"
    ),
    "fail-only": Case(dag="fail_only", jobs=("Running",), told="Job {job} is left as it is"),
    "slow-cancel": Case(dag="waiting", act=mark_failed, told=ASKED, faults=({"slow_s": 4},)),
    "throttled-cancel": Case(
        dag="waiting",
        act=mark_failed,
        told=ASKED,
        faults=({"status": 429, "headers": {"Retry-After": "2"}, "count": 2},),
    ),
    "cancel-not-carried-out": Case(
        dag="limited_cancel",
        act=cancel_job,
        told="Job {job}: CancelRequested for",
        error="CancelTimeoutError",
        faults=({"cancel_never_ends": True, "count": 1},),
    ),
    "cleared-and-cancel-not-carried-out": Case(
        dag="limited_cancel",
        act=clear,
        jobs=("CancelRequested",),
        told=ASKED,
        told_later="Job {job} of an earlier try was told to stop, and did not",
        error="CancelTimeoutError",
        faults=({"cancel_never_ends": True},),
    ),
}
IN_WORKER = {
    "cleared-in-worker": Case(
        dag="in_worker_waiting",
        act=clear,
        when="in worker",
        state="running",
        jobs=("Canceled", "Running"),
        told=ASKED_BY_WORKER,
    ),
    "marked-failed-in-worker": Case(dag="in_worker_waiting", act=mark_failed, when="in worker", told=ASKED_BY_WORKER),
    "marked-success-in-worker": Case(
        dag="in_worker_waiting", act=mark_success, when="in worker", state="success", told=ASKED_BY_WORKER
    ),
    "run-failed-in-worker": Case(dag="in_worker_waiting", act=fail_run, when="in worker", told=ASKED_BY_WORKER),
    "left-in-worker": Case(
        dag="in_worker_leaving", act=mark_failed, when="in worker", jobs=("Running",), told=LEFT.capitalize()
    ),
    "execution-timeout-in-worker": Case(dag="in_worker_execution_timeout", when="in worker", told=ASKED_BY_WORKER),
    "timeout-in-worker": Case(dag="in_worker_timeout", when="in worker", told=ASKED_BY_WORKER),
    "worker-shut-down": Case(
        dag="in_worker_retried",
        act=end_worker,
        when="in worker",
        state="running",
        jobs=("Running",),
        told="Nobody ended this task; job {job} goes on",
    ),
    "killed-while-speaking": Case(dag="in_worker_speaking", act=mark_failed, when="in worker", told=ASKED_BY_WORKER),
    "cleared-while-submitting": Case(
        dag="in_worker_waiting",
        act=clear,
        when="submitting",
        state="running",
        jobs=("Canceled", "Running"),
        told=ASKED_BY_WORKER,
    ),
    "marked-failed-while-submitting": Case(
        dag="in_worker_waiting", act=mark_failed, when="submitting", told=ASKED_BY_WORKER
    ),
    "marked-success-while-submitting": Case(
        dag="in_worker_waiting", act=mark_success, when="submitting", state="success", told=ASKED_BY_WORKER
    ),
}
CASES = {**OVERDUE, **DEFERRED, **IN_WORKER}
#: Holds the highest id of all triggers while others are killed: SQLite would give a killed one's to the next.
ANCHOR = {"anchor": Case(dag="waiting")}


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Emulator]:
    """An emulator with the control interface."""
    folder = tmp_path_factory.mktemp("scripted")
    with Emulator(folder, azurite, event_queues=(), arguments=["--control"]) as server:
        yield server


@pytest.fixture(scope="module")
def kills(airflow: Airflow, scripted: Emulator, dags_folder: Path, files_before: int) -> Iterator[Kills]:
    """All cases, ended."""
    assert files_before
    submitting = [name for name, case in CASES.items() if case.when == "submitting"]
    scripts = {name: json.dumps(script) for name, script in SCRIPTS.items()}
    with httpx.Client(base_url=scripted.http, trust_env=False, timeout=30) as http:
        made = Kills(airflow, scripted, http)
        made.prepare({**scripts, **dict.fromkeys(submitting, scripts["steady"])}, dags_folder)
        made.begin(OVERDUE)
        made.begin(DEFERRED)
        faulty = {name: case for name, case in DEFERRED.items() if case.faults}
        made.when_ready(faulty, wait, deadline_s=240)
        made.begin(ANCHOR)
        made.when_ready(ANCHOR, deadline_s=60)
        made.set_faults({**faulty, **{name: CASES[name] for name in submitting}})
        made.begin(IN_WORKER)
        made.when_ready({name: case for name, case in CASES.items() if case.act}, deadline_s=240)
        made.wait_for(CASES, deadline_s=120)
        yield made


@pytest.fixture(scope="module")
def files_before(airflow: Airflow) -> int:
    """How many files the triggerer has open before anything waits."""
    return open_files(airflow)


def open_files(airflow: Airflow) -> int:
    """Count what the processes of the triggerer have open: files, sockets, pipes."""
    leader, count = airflow.children["triggerer"].pid, 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(process.name)) == leader:
                count += len(list((process / "fd").iterdir()))
    return count


@pytest.fixture
def outcome(kills: Kills, request: pytest.FixtureRequest) -> Outcome:
    return kills.outcome(request.node.callspec.params["name"])


@pytest.mark.parametrize("name", CASES)
def test_a_task_that_is_ended_leaves_no_job_running(name: str, outcome: Outcome) -> None:
    assert outcome.jobs == CASES[name].jobs, outcome.logs


@pytest.mark.parametrize("name", CASES)
def test_the_log_of_a_task_that_is_ended_says_what_was_done_to_its_job(name: str, outcome: Outcome) -> None:
    case = CASES[name]

    assert case.told.format(job=outcome.names[0]) in outcome.logs[0]
    assert case.told_somewhere.format(job=outcome.names[0]).lower() in "\n".join(outcome.logs).lower()
    assert case.told_later.format(job=outcome.names[0]) in outcome.logs[-1]
    assert case.error in outcome.logs[-1]


@pytest.mark.parametrize("name", ["slow-cancel", "throttled-cancel"])
def test_a_trigger_stays_until_its_job_was_told_to_end(name: str, outcome: Outcome) -> None:
    told = outcome.logs[0]

    assert told.index(ASKED.format(job=outcome.names[0])) < told.index("trigger completed"), name


@pytest.mark.parametrize("name", CASES)
def test_a_task_that_is_ended_is_no_success_but_for_the_word_of_a_person(name: str, outcome: Outcome) -> None:
    assert outcome.state == CASES[name].state
    assert "return_value" not in outcome.xcoms


def test_who_is_ended_in_the_end_leaves_nothing_alive_but_what_was_to_be_left(kills: Kills) -> None:
    """Take down what is left: what the next tries of those that were cleared or shut down wait for, by whomever."""
    left = [name for name, case in CASES.items() if case.jobs[0] != "Canceled" and case.act is not end_worker]
    meant = {kills.outcome(name).names[0] for name in left}

    kills.end_runs(kills.runs)

    assert wait_until(lambda: kills.living() == meant, deadline_s=90), kills.living() - meant


def test_the_triggerer_has_no_more_files_open_after_all_this_than_before(kills: Kills, files_before: int) -> None:
    waits = sum(case.when == "deferred" for case in CASES.values())
    few = 6

    assert waits > 2 * few
    assert wait_until(lambda: open_files(kills.airflow) <= files_before + few, deadline_s=60), (
        f"{open_files(kills.airflow)} files are open, and {files_before} were"
    )

"""What Airflow takes from a triggerer or from a worker whose sign of life came late, though nobody ended the task."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from demo.processes import wait_until
from demo.stack import Airflow

if TYPE_CHECKING:
    from tests.airflow.conftest import Small


@pytest.fixture
def second_triggerer(airflow: Airflow) -> Iterator[None]:
    """Another triggerer beside the one that runs."""
    child = airflow.another_triggerer()
    child.start()
    child.wait_until(lambda: "Starting the triggerer" in child.log.read_text(), deadline_s=60)
    yield
    child.kill(signal.SIGTERM)


def test_a_job_goes_on_when_another_triggerer_takes_over_its_trigger(
    small: Small, request: pytest.FixtureRequest
) -> None:
    run = small.begin("plain", word="handed on", seconds=45)
    small.until_watched(run)
    request.getfixturevalue("second_triggerer")
    first = small.airflow.children["triggerer"].pid
    assert first is not None

    os.killpg(first, signal.SIGSTOP)
    try:
        assert wait_until(lambda: small.log(run).count(" starting") >= 2, deadline_s=60), small.log(run)
    finally:
        os.killpg(first, signal.SIGCONT)

    assert small.until(run, deadline_s=120)["state"] == "success", small.log(run)
    assert [job["status"] for job in small.jobs(run)] == ["Completed"]
    told = small.log(run)
    assert "Another triggerer watches job" in told
    assert "asked Azure ML to cancel" not in told


def test_a_job_goes_on_when_airflow_takes_its_task_back_from_a_worker_and_the_next_try_adopts_it(small: Small) -> None:
    run = small.begin("waiting_in_the_worker", word="taken back", seconds=25)
    assert wait_until(lambda: "started, attempt 1" in small.log(run), deadline_s=60)

    # What the scheduler does to a task that it has not heard of for too long.
    with contextlib.closing(sqlite3.connect(small.airflow.folder / "airflow.db", timeout=30)) as database, database:
        database.execute(
            "UPDATE task_instance SET state = 'up_for_retry', end_date = CURRENT_TIMESTAMP"
            " WHERE dag_id = ? AND run_id = ? AND state = 'running'",
            run,
        )

    assert small.until(run, tries=2, deadline_s=120)["state"] == "success", small.log(run)
    (job,) = small.jobs(run)
    assert job["status"] == "Completed"
    (log,) = (small.airflow.folder / "logs" / f"dag_id={run[0]}" / f"run_id={run[1]}").rglob("attempt=1.log")
    assert f"Nobody ended this task; job {job['name']} goes on, and the next try adopts it" in log.read_text()

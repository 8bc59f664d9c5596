"""`AzureMLPublishPipelineOperator` in a running Airflow."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.processes import wait_until
from tests.contract.publishing import Project

if TYPE_CHECKING:
    from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module", autouse=True)
def dags(dags_folder: Path) -> None:
    shutil.copy(HERE / "publish_dags.py", dags_folder / "publish_dags.py")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A repository of one test's own, with one commit."""
    made = Project(tmp_path / "repo")
    made.begin()
    return made


def test_a_task_says_what_it_will_do_waits_for_the_smoke_run_and_does_it_once(small: Small, project: Project) -> None:
    folder, sha = str(project.path), project.commit({"more.txt": "more"})

    planned = small.begin("publish_plan", folder=folder)
    assert small.until(planned, deadline_s=180)["state"] == "success", small.log(planned)
    first = small.begin("publish", folder=folder, sha="main")
    assert small.until(first, deadline_s=240)["state"] == "success", small.log(first)
    again = small.begin("publish_in_the_worker", folder=folder, sha=sha)
    assert small.until(again, deadline_s=180)["state"] == "success", small.log(again)

    plan = small.xcom(planned)["plan"]
    assert plan[-1].startswith("make one-")
    log, done = small.log(first), small.xcom(first)
    assert all(each in log for each in plan)
    assert log.index(plan[-1]) < log.index("is Completed"), "what is to be done is told before it is done"
    assert (done["sha"], done["endpoints"]) == (sha, {project.name: project.name})
    (job,) = small.jobs(first)
    assert done["smoke"] == {project.name: job["name"]}
    assert "nothing is to be done" in small.log(again)
    assert small.xcom(again) == {**done, "changed": []}


def test_a_smoke_run_that_fails_fails_the_task_with_its_reason(small: Small, project: Project) -> None:
    project.say("echo broken && exit 3")

    run = small.begin("publish_in_the_worker", folder=str(project.path))

    assert small.until(run, deadline_s=240)["state"] == "failed"
    assert "No default deployment was switched" in small.log(run)


def test_a_task_that_may_not_write_changes_nothing_and_is_not_tried_again(small: Small, project: Project) -> None:
    run = small.begin("publish_guarded", folder=str(project.path))

    assert small.until(run, deadline_s=180)["state"] == "failed"
    assert "Environment 'production' is protected" in small.log(run)
    assert "AirflowFailException" in small.log(run), "which Airflow does not retry"


def test_the_smoke_run_of_a_worker_whose_task_a_person_ends_is_cancelled(small: Small, project: Project) -> None:
    project.say("sleep 300")
    run = small.begin("publish_in_the_worker", folder=str(project.path))
    assert wait_until(lambda: bool(small.jobs(run)), deadline_s=180), small.log(run)
    small.until_jobs(run, "Running")

    small.airflow.call("PATCH", f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run", {"new_state": "failed"})

    small.until_jobs(run, "Canceled")
    assert wait_until(lambda: "Asked Azure ML to cancel job" in small.log(run), deadline_s=60)

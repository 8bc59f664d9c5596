"""Tasks with ``preflight=True`` in a running Airflow."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_azureml.core.orphans import instance_of

if TYPE_CHECKING:
    from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module", autouse=True)
def dags(dags_folder: Path) -> None:
    shutil.copy(HERE / "preflight_dags.py", dags_folder / "preflight_dags.py")


def test_a_pipeline_that_lacks_something_is_not_submitted_and_one_that_does_not_is(small: Small) -> None:
    lacking, whole = (small.begin("preflight", store=store) for store in ("gone", "workspaceblobstore"))

    assert small.until(lacking)["state"] == "failed"
    assert small.task(lacking)["try_number"] == 1, "no retry can help"
    assert "(1) Output 'result': datastore gone is not in workspace" in small.log(lacking)
    assert small.jobs(lacking) == []
    assert small.until(whole)["state"] == "success", small.log(whole)
    assert "The preflight of batch endpoint small found nothing wrong" in small.log(whole)


def test_a_job_of_azure_ai_ml_that_lacks_something_is_not_submitted(small: Small) -> None:
    run = small.begin("preflight_job", compute="nowhere")

    assert small.until(run, deadline_s=150)["state"] == "failed"
    assert "(1) Compute nowhere (the job) is not in workspace" in small.log(run)
    assert small.jobs(run) == []


def test_a_job_says_which_airflow_it_is_of_and_that_it_may_be_left(small: Small) -> None:
    pipeline = small.begin("preflight", store="workspaceblobstore")
    job = small.begin("preflight_job", compute="serverless")

    for run in (pipeline, job):
        assert small.until(run, deadline_s=150)["state"] == "success", small.log(run)
        (found,) = small.jobs(run)
        assert found["airflow.instance"] == instance_of(configured="", base_url=small.airflow.url)
        assert found["airflow.on_kill"] == "leave"

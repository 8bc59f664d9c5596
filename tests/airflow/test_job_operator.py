"""`AzureMLJobOperator` in a running Airflow: azure-ai-ml submits from the worker, and the emulator runs the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.airflow.conftest import Small


def test_a_job_file_with_code_runs_and_its_metrics_and_outputs_come_back(small: Small) -> None:
    run = small.begin("file")

    assert small.until(run, deadline_s=150)["state"] == "success", small.log(run)
    result = small.xcom(run)
    assert result["job"] == f"airflow-{result['key']}-1"
    assert result["metrics"] == {"words": 1.0}
    assert result["outputs"]["result"].startswith("azureml://")
    assert "saying hello" in small.log(run), "what the job printed, though it waited in the triggerer"


def test_a_job_as_a_mapping_is_templated_and_each_attempt_has_its_own_name(small: Small) -> None:
    run = small.begin("mapping", word="from conf", code=4)

    assert small.until(run, deadline_s=180)["state"] == "failed"
    assert [job["name"].rsplit("-", 1)[1] for job in small.jobs(run)] == ["1", "2", "3"]
    assert "saying from conf" in small.log(run)


def test_a_job_file_that_is_missing_or_wrong_is_told_and_nothing_is_submitted(small: Small) -> None:
    missing, broken = small.begin("file", file="nowhere.yml"), small.begin("file", file="broken.yml")

    for run, told in ((missing, "does not exist on this worker"), (broken, "azure-ai-ml cannot read the job")):
        ended = small.until(run, deadline_s=150)
        assert ended["state"] == "failed"
        assert told in small.log(run)
        assert "AirflowFailException" in small.log(run), "which Airflow does not retry"
        assert small.jobs(run) == []

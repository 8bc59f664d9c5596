"""What SDK v1 published, run by `AzureMLPipelineOperator` in a running Airflow, against the emulator."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID

if TYPE_CHECKING:
    from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def published(small: Small, dags_folder: Path) -> str:
    """The small pipeline, published as v1 would have; its id. It is version 0 of the pipeline endpoint `small`."""
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    root = f"{small.emulator.http}/emulator/published{WORKSPACE_ID}"

    def _post(what: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(f"{root}/{what}", json=body, headers=bearer, trust_env=False).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    pipeline = str(_post("Pipelines", {"component": "small:1"})["Id"])
    _post("PipelineEndpoints", {"name": "small", "pipelineId": pipeline})
    shutil.copy(HERE / "published_dags.py", dags_folder / "published_dags.py")
    return pipeline


def test_a_published_pipeline_runs_while_its_task_is_deferred_and_leaves_the_same_result(
    small: Small, published: str
) -> None:
    run = small.begin("published", id=published, word="old", seconds=6)

    small.until(run, "deferred")
    ended = small.until(run)

    assert ended["state"] == "success"
    (job,) = small.jobs(run)
    result = small.xcom(run)
    assert (result["job"], result["status"], result["attempt"]) == (job["name"], "Completed", 1)
    assert result["pipeline"] == f"published pipeline {published}"
    assert result["outputs"]["result"].endswith(f"/published/{result['key']}/")
    assert [(step["name"], step["status"]) for step in result["steps"]] == [("say", "Completed")]
    assert result["url"].startswith(small.emulator.http)


def test_a_failed_run_of_an_endpoint_is_a_new_attempt_on_the_retry_and_says_why(small: Small, published: str) -> None:
    assert published
    run = small.begin("pipeline_endpoint", id="small", version="0", word="no luck", code=3)

    assert small.until(run)["state"] == "failed"
    assert [(job["status"], job["airflow.attempt"]) for job in small.jobs(run)] == [("Failed", "1"), ("Failed", "2")]
    told = small.log(run)
    assert "saying no luck" in told, told

"""A model that is deployed to a batch endpoint, run by `AzureMLPipelineOperator` in a running Airflow."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from azure.storage.blob import BlobServiceClient

from demo.azure import ACCOUNT, ACCOUNT_KEY, RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID, Azurite
from demo.stack import Airflow, Emulator
from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def scoring(airflow: Airflow, emulator: Emulator, dags_folder: Path) -> Small:
    """The published model, and the DAGs that have it score."""
    subprocess.run(
        [sys.executable, str(HERE / "publish_model.py"), SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE],
        env=emulator.client_environment,
        check=True,
        capture_output=True,
    )
    shutil.copy(HERE / "model_dags.py", dags_folder / "model_dags.py")
    return Small(airflow, emulator)


def _begin(scoring: Small, kind: str, key: Path) -> tuple[str, str]:
    dag = f"model_{kind}"
    scoring.airflow.unpause(dag)
    body = {"logical_date": None, "conf": {"key": str(key)}}
    return dag, scoring.airflow.call("POST", f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"]


def test_a_model_is_run_as_a_pipeline_is_and_the_same_key_is_scored_once(
    scoring: Small, azurite: Azurite, tmp_path: Path
) -> None:
    run = _begin(scoring, "scored", tmp_path)
    first = scoring.until(run)
    again = _begin(scoring, "scored", tmp_path)
    second = scoring.until(again)

    assert (first["state"], second["state"]) == ("success", "success"), scoring.log(run)
    (job,) = scoring.jobs(run)
    result = scoring.xcom(run)
    assert (result["job"], result["status"], result["attempt"]) == (job["name"], "Completed", 1)
    assert result["outputs"] == {"score": f"azureml://datastores/workspaceblobstore/paths/scores/{result['key']}/"}
    assert [(step["name"], step["status"]) for step in result["steps"]] == [("batchscoring", "Completed")]
    assert _predictions(scoring, azurite, result["key"]) == "0.5\n1.5\n2.5\n"
    assert scoring.jobs(again) == []
    assert scoring.xcom(again)["job"] == job["name"]


def test_a_task_that_does_not_say_what_its_input_is_submits_nothing(scoring: Small, tmp_path: Path) -> None:
    run = _begin(scoring, "unsaid", tmp_path)

    assert scoring.until(run)["state"] == "failed"
    assert "does not say whether a model is to score a file or a folder: 'azureml:numbers:1'" in scoring.log(run)
    assert scoring.jobs(run) == []


def _predictions(scoring: Small, azurite: Azurite, key: str) -> str:
    url = f"{scoring.emulator.http}{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01"
    container = httpx.get(url, trust_env=False).raise_for_status().json()["properties"]["containerName"]
    with BlobServiceClient(f"{azurite.blob_url}/{ACCOUNT}", credential=ACCOUNT_KEY) as service:
        blob = service.get_blob_client(container, f"scores/{key}/predictions.csv")
        return blob.download_blob().readall().decode()

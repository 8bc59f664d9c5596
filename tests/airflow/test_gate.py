"""The gate in a running Airflow, on jobs that the emulator really runs: a yes, a no, and a metric that is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.core.findings import Verdict
from azureml_emulator.tokens import issue
from demo.azure import ACCOUNT, ACCOUNT_KEY, WORKSPACE_ID, Azurite
from demo.processes import wait_until
from demo.stack import Airflow, Emulator

HERE = Path(__file__).resolve().parent
DAG = "gated"
#: The evaluation is what the job is told that it found.
COMMAND = (
    """printf '{"schema": 1, "metrics": %s, "data": {"version": "sha256:1", "rows": 60}}' '${{inputs.metrics}}'"""
    " > ${{outputs.evaluation}}/evaluation.json"
)


@pytest.fixture(scope="module")
def blobs(airflow: Airflow, emulator: Emulator, azurite: Azurite, dags_folder: Path) -> ContainerClient:
    """The published training, the DAG that runs it, and the container of its outputs with a champion's evaluation."""
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    ports = {"inputs": {"metrics": {"type": "string"}}, "outputs": {"evaluation": {"type": "uri_folder"}}}
    with httpx.Client(base_url=emulator.http, headers=bearer, trust_env=False, timeout=30) as http:

        def put(name: str, **spec: Any) -> str:
            url = f"{WORKSPACE_ID}/components/{name}/versions/1?api-version=2024-01-01-preview"
            made = http.put(url, json={"properties": {"componentSpec": {"name": name, **spec, **ports}}})
            return str(made.raise_for_status().json()["id"])

        node = {
            "type": "command",
            "componentId": put("gated-step", type="command", command=COMMAND),
            "inputs": {"metrics": {"value": "${{parent.inputs.metrics}}"}},
            "outputs": {"evaluation": {"value": "${{parent.outputs.evaluation}}"}},
        }
        put("gated-training", type="pipeline", jobs={"evaluate": node})
        store = http.get(f"{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01").raise_for_status()
    service = BlobServiceClient(f"{azurite.blob_url}/{ACCOUNT}", credential=ACCOUNT_KEY)
    container = service.get_container_client(store.json()["properties"]["containerName"])
    champion = {"schema": 1, "metrics": {"rmse": 50.0}, "data": {"version": "sha256:1", "rows": 60}}
    container.upload_blob("champion/evaluation.json", json.dumps(champion), overwrite=True)
    shutil.copy(HERE / "gate.yaml", dags_folder / "gate.yaml")
    shutil.copy(HERE / "gate_dags.py", dags_folder / "gate_dags.py")
    airflow.unpause(DAG)
    return container


def _begin(airflow: Airflow, metrics: dict[str, float]) -> str:
    champion = {
        "model": "ridge",
        "version": "3",
        "evaluation": "azureml://datastores/workspaceblobstore/paths/champion",
    }
    conf = {"metrics": json.dumps(metrics), "champion": champion}
    run = airflow.call("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None, "conf": conf})
    return str(run["dag_run_id"])


def test_each_run_goes_the_way_that_its_verdict_says_and_ends_green(airflow: Airflow, blobs: ContainerClient) -> None:
    metrics = {"better": {"rmse": 49.0}, "worse": {"rmse": 51.0}, "silent": {"mae": 1.0}}
    runs = {name: _begin(airflow, found) for name, found in metrics.items()}

    def _ended() -> bool:
        return all(_run(airflow, run)["state"] in ("success", "failed") for run in runs.values())

    assert wait_until(_ended, deadline_s=240), [_states(airflow, run) for run in runs.values()]

    states = {name: _states(airflow, run) for name, run in runs.items()}
    assert {name: _run(airflow, run)["state"] for name, run in runs.items()} == dict.fromkeys(runs, "success"), states
    ways = {name: (each["retrain.register"], each["retrain.tell"]) for name, each in states.items()}
    rejected = ("skipped", "success")
    assert ways == {"better": ("success", "skipped"), "worse": rejected, "silent": rejected}
    assert all(each["retrain.outcome"] == "success" for each in states.values())
    told = {name: _xcom(airflow, run) for name, run in runs.items()}
    reasons = {name: " ".join(one.reason for one in Verdict.from_wire(each).failed) for name, each in told.items()}
    assert reasons["better"] == ""
    assert "worse by 1 than the champion's 50" in reasons["worse"]
    assert "has no rmse (it has mae)" in reasons["silent"]
    assert "worse by 1 than the champion's 50" in _log(airflow, runs["worse"])
    for each in told.values():
        kept = blobs.download_blob(each["verdict_uri"].partition("/paths/")[2]).readall()
        assert Verdict.from_wire(json.loads(kept)).accepted == each["accepted"]
        assert each["facts"]["champion"] == "3"


def _run(airflow: Airflow, run: str) -> dict[str, Any]:
    found: dict[str, Any] = airflow.get(f"/api/v2/dags/{DAG}/dagRuns/{run}")
    return found


def _states(airflow: Airflow, run: str) -> dict[str, str]:
    listed = airflow.get(f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances")["task_instances"]
    return {one["task_id"]: one["state"] for one in listed}


def _xcom(airflow: Airflow, run: str) -> dict[str, Any]:
    path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/retrain.gate/xcomEntries/return_value"
    found: dict[str, Any] = airflow.get(path)["value"]
    return found


def _log(airflow: Airflow, run: str) -> str:
    path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/retrain.gate/logs/1"
    return "\n".join(str(line.get("event", "")) for line in airflow.get(path, full_content=True)["content"])

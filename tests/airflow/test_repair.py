"""A retry that repairs, in a running Airflow: what the failed attempt completed is not run again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID
from demo.stack import Airflow, Emulator
from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent
#: The first step counts its runs; the second fails the first time.
PREPARE = "echo run >> ${{inputs.folder}}/prepared && date +%N > ${{outputs.out}}/moment.txt"
TRAIN = (
    "cp ${{inputs.data}}/moment.txt ${{outputs.out}}/ && mkdir ${{inputs.folder}}/once 2> /dev/null && exit 3;"
    " echo trained"
)


def _put(emulator: Emulator, name: str, spec: dict[str, Any]) -> str:
    url = f"{emulator.http}{WORKSPACE_ID}/components/{name}/versions/1"
    head = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    body = {"properties": {"componentSpec": {"name": name, "version": "1", **spec}}}
    httpx.put(url, json=body, headers=head, params={"api-version": "2024-01-01-preview"}, trust_env=False)
    return f"{WORKSPACE_ID}/components/{name}/versions/1"


def _publish(emulator: Emulator) -> None:
    """Publish a pipeline of two steps."""
    common = {"type": "command", "environment": "azureml:any:1", "outputs": {"out": {"type": "uri_folder"}}}
    folder = {"folder": {"type": "string"}}
    prepare = _put(emulator, "repair_prepare", {**common, "command": PREPARE, "inputs": folder})
    inputs = {**folder, "data": {"type": "uri_folder"}}
    train = _put(emulator, "repair_train", {**common, "command": TRAIN, "inputs": inputs})
    given = {"folder": {"job_input_type": "literal", "value": "${{parent.inputs.folder}}"}}
    data = {"data": {"job_input_type": "literal", "value": "${{parent.jobs.prepare.outputs.out}}"}}
    result = {"out": {"value": "${{parent.outputs.result}}", "type": "literal"}}
    jobs = {
        "prepare": {"type": "command", "componentId": prepare, "inputs": given},
        "train": {"type": "command", "componentId": train, "inputs": {**given, **data}, "outputs": result},
    }
    outputs = {"result": {"type": "uri_folder"}}
    _put(emulator, "repairable", {"type": "pipeline", "inputs": folder, "outputs": outputs, "jobs": jobs})


@pytest.fixture(scope="module")
def repairing(airflow: Airflow, emulator: Emulator, dags_folder: Path) -> Small:
    _publish(emulator)
    shutil.copy(HERE / "repair_dags.py", dags_folder / "repair_dags.py")
    return Small(airflow, emulator)


def test_a_retry_takes_over_the_step_that_completed_and_runs_the_one_that_failed(
    repairing: Small, tmp_path: Path
) -> None:
    repairing.airflow.unpause("repair")
    body = {"logical_date": None, "conf": {"folder": str(tmp_path)}}
    run = ("repair", repairing.airflow.call("POST", "/api/v2/dags/repair/dagRuns", body)["dag_run_id"])

    ended = repairing.until(run, deadline_s=200)

    first, second = repairing.jobs(run)
    told = repairing.log(run)
    assert (ended["state"], ended["try_number"]) == ("success", 2), told
    assert [first["status"], second["status"]] == ["Failed", "Completed"]
    assert (tmp_path / "prepared").read_text() == "run\n"
    assert f"This attempt repairs {first['name']} (Failed): steps that completed there are not run again" in told
    assert f"Step prepare was not run: attempt 1 of this task ({first['name']}) had completed it" in told
    assert {step["name"]: (step["status"], step["reused"]) for step in repairing.xcom(run)["steps"]} == {
        "prepare": ("Completed", True),
        "train": ("Completed", False),
    }

"""A batch endpoint's default moves to a deployment whose output on the same input is alike, and to no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from demo.airflow import Airflow, default_template
from demo.azure import WORKSPACE_ID, Emulator
from demo.stack import airflow_environment
from tests.contract.registering import BEARER

HERE = Path(__file__).resolve().parent
VERSION = {"api-version": "2024-01-01-preview"}
#: What each deployment makes of a number of rows.
SCORES = {"blue": "&,&", "green": "&,&", "red": "&,9&"}
#: Runs in a process of its own, which Airflow and azure-ai-ml change for good; prints how each task ended.
RUN = """
import json
from switch_dags import dag

run = dag.test()
print(json.dumps({ti.task_id: str(ti.state) for ti in run.get_task_instances()}))
"""


@attrs.frozen
class Told:
    """How each task of the run ended, what was logged, and the endpoint afterwards."""

    states: dict[str, str]
    log: str
    endpoint: dict[str, Any]


def publish(http: httpx.Client) -> None:
    """Publish a batch endpoint with a deployment for each way to score; the first is the default."""

    def put(path: str, **properties: Any) -> str:
        answer = http.put(f"{WORKSPACE_ID}/{path}", json={"properties": properties})
        return str(answer.raise_for_status().json()["id"])

    rows, result = {"rows": {"type": "integer"}}, {"result": {"type": "uri_folder"}}
    put("batchEndpoints/switched")
    for name, score in SCORES.items():
        command = (
            f"(echo row,score; seq ${{{{inputs.rows}}}} | sed 's/.*/{score}/') > ${{{{outputs.result}}}}/scores.csv"
        )
        step = {"type": "command", "name": f"score-{name}", "command": command, "inputs": rows, "outputs": result}
        node = {
            "type": "command",
            "componentId": put(f"components/score-{name}/versions/1", componentSpec=step),
            "inputs": {"rows": {"job_input_type": "literal", "value": "${{parent.inputs.rows}}"}},
            "outputs": {"result": {"type": "literal", "value": "${{parent.outputs.result}}"}},
        }
        pipeline = {"type": "pipeline", "name": f"all-{name}", "inputs": rows, "outputs": result, "jobs": {"one": node}}
        how = {
            "deploymentConfigurationType": "PipelineComponent",
            "componentId": {
                "assetId": put(f"components/all-{name}/versions/1", componentSpec=pipeline),
                "referenceType": "Id",
            },
        }
        put(f"batchEndpoints/switched/deployments/{name}", deploymentConfiguration=how)
    put("batchEndpoints/switched", defaults={"deploymentName": "blue"})


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator) -> Told:
    """The run."""
    folder = tmp_path_factory.mktemp("switches")
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(HERE / "switch_dags.py", dags)
    home = Airflow(folder / "home", dags=dags, environment=airflow_environment(emulator))
    home.migrate(default_template())
    with httpx.Client(base_url=emulator.http, headers=BEARER, params=VERSION, trust_env=False, timeout=30) as http:
        publish(http)
        done = subprocess.run(
            [sys.executable, "-c", RUN],
            env={**home.environment, "PYTHONPATH": str(dags)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        log = done.stdout + done.stderr
        assert done.returncode == 0, log[-6000:]
        after = http.get(f"{WORKSPACE_ID}/batchEndpoints/switched").raise_for_status().json()
    return Told(states=json.loads(done.stdout.splitlines()[-1]), log=log, endpoint=after)


def test_both_deployments_score_the_same_and_only_the_one_that_says_the_same_becomes_the_default(told: Told) -> None:
    ran = ("default", "run_default", "run_candidate")

    assert {name: told.states[f"green.{name}"] for name in (*ran, "switch")} == dict.fromkeys(
        (*ran, "switch"), "success"
    )
    assert {name: told.states[f"red.{name}"] for name in ran} == dict.fromkeys(ran, "success"), told.log[-4000:]
    assert told.states["red.switch"] == "failed"
    assert "score differs in 1 of the rows" in told.log
    assert told.endpoint["properties"]["defaults"]["deploymentName"] == "green"
    assert told.endpoint["tags"]["airflow.previous_default"] == "blue"

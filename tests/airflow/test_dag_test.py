"""``dag.test()`` runs every operator and sensor in one process, with nothing of Airflow beside it."""

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

from azureml_emulator.tokens import issue
from demo.airflow import Airflow, default_template
from demo.azure import WORKSPACE_ID, Emulator
from demo.stack import airflow_environment

HERE = Path(__file__).resolve().parent
WORD = "what was said"
#: Runs in a process of its own, which Airflow and azure-ai-ml change for good; prints how each task ended.
RUN = """
import json, sys
from dag_test_dags import dag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session

run = dag.test(run_conf=json.loads(sys.argv[1]))
states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
with create_session() as session:
    rows = XComModel.get_many(run_id=run.run_id, key="return_value")
    returned = {row.task_id: XComModel.deserialize_value(row) for row in session.scalars(rows)}
print(json.dumps({"states": states, "returned": returned}))
"""


@attrs.frozen
class Told:
    """What the run came to."""

    states: dict[str, str]
    returned: dict[str, Any]
    log: str
    jobs: dict[str, dict[str, Any]]

    def log_of(self, task: str) -> str:
        """Return what was logged while a task ran."""
        begun, _, rest = self.log.partition(f"starting task_id={task} ")
        return rest.partition(f"end task task_id={task} ")[0] or begun[-4000:]

    def job(self, task: str) -> dict[str, Any]:
        """Return the properties of a task's one job, as the workspace shows them."""
        told = [(job, {**job["tags"], **job["properties"]}) for job in self.jobs.values()]
        mine = [job for job, marks in told if f"/{task}/" in marks.get("airflow.owner", "")]
        assert len(mine) == 1, f"{task} has {len(mine)} jobs.\n{self.log_of(task)}"
        return mine[0]


def publish(emulator: Emulator) -> str:
    """Publish a pipeline of one step in every way there is, and register a model; the id that SDK v1 would know."""
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    with httpx.Client(base_url=emulator.http, headers=bearer, trust_env=False, timeout=30) as http:

        def put(path: str, **properties: Any) -> str:
            answer = http.put(f"{WORKSPACE_ID}/{path}?api-version=2024-01-01-preview", json={"properties": properties})
            made: dict[str, Any] = answer.raise_for_status().json()
            return str(made["id"])

        word = {"word": {"type": "string"}}
        result = {"result": {"type": "uri_folder"}}
        step = {"type": "command", "name": "say", "command": "echo ${{inputs.word}} > ${{outputs.result}}/word.txt"}
        node = {
            "type": "command",
            "componentId": put("components/say/versions/1", componentSpec={**step, "inputs": word, "outputs": result}),
            "inputs": {"word": {"job_input_type": "literal", "value": "${{parent.inputs.word}}"}},
            "outputs": {"result": {"type": "literal", "value": "${{parent.outputs.result}}"}},
        }
        pipeline = {"type": "pipeline", "name": "tested", "inputs": word, "outputs": result, "jobs": {"say": node}}
        component = put("components/tested/versions/1", componentSpec=pipeline)
        put("batchEndpoints/tested")
        how = {
            "deploymentConfigurationType": "PipelineComponent",
            "componentId": {"assetId": component, "referenceType": "Id"},
        }
        put("batchEndpoints/tested/deployments/one", deploymentConfiguration=how)
        put("batchEndpoints/tested", defaults={"deploymentName": "one"})
        put("models/tested/versions/1", modelType="custom_model", modelUri="azureml://datastores/a/paths/b/")
        v1 = f"/emulator/published{WORKSPACE_ID}"
        published = http.post(f"{v1}/Pipelines", json={"component": "tested:1"}).raise_for_status().json()["Id"]
        endpoint = {"name": "tested", "pipelineId": published}
        http.post(f"{v1}/PipelineEndpoints", json=endpoint).raise_for_status()
        return str(published)


def jobs_of(emulator: Emulator) -> dict[str, dict[str, Any]]:
    """Read every job of the workspace."""
    found: dict[str, dict[str, Any]] = {}
    url = f"{emulator.http}{WORKSPACE_ID}/jobs?api-version=2024-01-01-preview"
    while url:
        page = httpx.get(url, trust_env=False, timeout=30).raise_for_status().json()
        found |= {one["name"]: one["properties"] for one in page["value"]}
        url = page.get("nextLink", "")
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator) -> Told:
    """The run."""
    published = publish(emulator)
    folder = tmp_path_factory.mktemp("dag_test")
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(HERE / "dag_test_dags.py", dags)
    shutil.copy(HERE / "plain_job" / "tested.yml", dags)
    shutil.copy(HERE / "plain_job" / "say.yml", dags)
    (dags / "say.py").write_text("")
    home = Airflow(folder / "home", dags=dags, environment=airflow_environment(emulator))
    home.migrate(default_template())
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps({"word": WORD, "pipeline": "tested", "published": published})],
        env={**home.environment, "PYTHONPATH": str(dags)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    log = done.stdout + done.stderr
    (folder / "log.txt").write_text(log)
    assert done.returncode == 0, log[-6000:]
    return Told(**json.loads(done.stdout.splitlines()[-1]), log=log, jobs=jobs_of(emulator))


WELL = (
    *("job", "job_made", "job_sweep", "function", "ensure", "delete", "orphans"),
    *("job_sensor", "model_sensor", "endpoint_sensor", "claim"),
)
#: Whose jobs tell nothing of what they take, or nothing as others do.
NAMED_ELSEWHERE = ("endpoint", "published", "published_endpoint")
PIPELINES = (*NAMED_ELSEWHERE, "component", "file", "mapping", "described", "built", "in_worker")


@pytest.mark.parametrize("task", WELL)
def test_an_operator_or_sensor_does_what_it_is_for(told: Told, task: str) -> None:
    assert told.states[task] == "success", told.log_of(task)


@pytest.mark.parametrize("task", PIPELINES)
def test_a_pipeline_of_whatever_kind_runs_once_with_what_was_passed(told: Told, task: str) -> None:
    assert told.states[task] == "success", told.log_of(task)
    result, job = told.returned[task], told.job(task)

    assert result["status"] == job["status"] == "Completed"
    assert result["outputs"]["result"] == f"azureml://datastores/workspaceblobstore/paths/tested/{result['key']}/"
    assert [step["status"] for step in result["steps"]] == ["Completed"]
    if task not in NAMED_ELSEWHERE:
        assert job["inputs"]["word"]["value"] == WORD
        assert str(job["settings"]["force_rerun"]) == "True"


def test_a_task_that_waited_was_deferred_and_its_trigger_ran_in_line(told: Told) -> None:
    assert "running trigger in line" in told.log


def test_a_sensor_whose_time_is_up_is_skipped_when_it_fails_softly(told: Told) -> None:
    assert told.states["model_never"] == "skipped"


def test_what_does_not_fit_is_told_in_one_error_and_nothing_is_submitted(told: Told) -> None:
    assert told.states["misfit"] == "failed"
    (line,) = {line for line in told.log.splitlines() if "What is passed does not fit" in line and "Fail" in line}
    for words in ("input 'wrod'", "input 'seconds' is a number", "output 'rest' is not declared", "is no URI"):
        assert words in line
    assert not [job for job in told.jobs.values() if "/misfit/" in job["properties"].get("airflow.owner", "")]


def test_a_job_that_fails_fails_its_task(told: Told) -> None:
    assert told.states["job_fails"] == "failed"
    assert told.job("job_fails")["status"] == "Failed"


def test_a_sweep_tells_its_trials(told: Told) -> None:
    assert told.job("job_sweep")["jobType"] == "Sweep"
    assert [step["status"] for step in told.returned["job_sweep"]["steps"]] == ["Completed", "Completed"]


def test_a_job_that_the_emulator_does_not_run_fails_its_task_with_the_reason(told: Told) -> None:
    assert told.states["job_spark"] == "failed"
    assert told.job("job_spark")["jobType"] == "Spark"
    assert "The emulator accepts a job of type Spark, and does not run it" in told.log_of("job_spark")


def test_a_function_returns_what_it_returned_in_the_job(told: Told) -> None:
    assert told.returned["function"] == WORD.upper()

"""One DAG with every operator and sensor, to be run by ``dag.test()``: nothing of Airflow runs beside it."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_azureml.core.jobs import JobKey
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.arrivals import ClaimArrivalsOperator
from airflow_azureml.operators.compute import AzureMLComputeOperator
from airflow_azureml.operators.job import AzureMLJobOperator
from airflow_azureml.operators.orphans import AzureMLCancelOrphansOperator
from airflow_azureml.operators.pipeline import (
    AzureMLPipelineOperator,
    BatchEndpoint,
    PipelineComponent,
    PipelineEndpoint,
    PipelineFile,
    PublishedPipeline,
)
from airflow_azureml.operators.task import azureml_task
from airflow_azureml.sensors.endpoint import AzureMLEndpointSensor
from airflow_azureml.sensors.job import AzureMLJobSensor
from airflow_azureml.sensors.model import AzureMLModelVersionSensor
from airflow_azureml.watchers import blob_arrivals
from airflow_azureml.wire import named

SOON: dict[str, Any] = {"poll_interval": timedelta(seconds=0.5)}
ANSWER = {"result": "azureml://datastores/workspaceblobstore/paths/tested/{key}/"}
SAID: dict[str, Any] = {**SOON, "inputs": {"word": "{{ dag_run.conf['word'] }}"}, "outputs": ANSWER}
COMMAND: dict[str, Any] = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
    "command": "echo ${{inputs.word}} > ${{outputs.result}}/word.txt",
    "inputs": {"word": "{{ dag_run.conf['word'] }}"},
    "outputs": {"result": {"type": "uri_folder"}},
    "environment": {"image": "debian:bookworm"},
}
SWEEP: dict[str, Any] = {
    "type": "sweep",
    "trial": {"command": "echo ${{search_space.word}} {{ ds }}", "environment": {"image": "debian:bookworm"}},
    "sampling_algorithm": "grid",
    "search_space": {"word": {"type": "choice", "values": ["one", "two"]}},
    "objective": {"primary_metric": "none", "goal": "maximize"},
    "limits": {"max_total_trials": 2, "max_concurrent_trials": 2},
}
PIPELINE: dict[str, Any] = {
    "type": "pipeline",
    "display_name": "said {{ dag_run.conf['word'] }}",
    "inputs": {"word": "nothing", "seconds": 0},
    "outputs": {"result": {"type": "uri_folder"}},
    "settings": {"default_compute": "serverless"},
    "jobs": {
        "say": {
            "type": "command",
            "component": {
                "type": "command",
                "name": "say",
                "command": "sleep ${{inputs.seconds}} && echo ${{inputs.word}} > ${{outputs.result}}/word.txt",
                "environment": {"image": "debian:bookworm"},
                "inputs": {"word": {"type": "string"}, "seconds": {"type": "number"}},
                "outputs": {"result": {"type": "uri_folder"}},
            },
            "inputs": {"word": "${{parent.inputs.word}}", "seconds": "${{parent.inputs.seconds}}"},
            "outputs": {"result": "${{parent.outputs.result}}"},
        }
    },
}


def described() -> Mapping[str, Any]:
    """Describe the pipeline, in the worker only."""
    return {**PIPELINE, "display_name": "made by a function"}


def built() -> Any:
    """Build the pipeline with azure-ai-ml, in the worker only."""
    from azure.ai.ml import Input, Output, command  # four seconds
    from azure.ai.ml.dsl import pipeline

    say = command(
        name="say",
        command="echo ${{inputs.word}} > ${{outputs.result}}/word.txt",
        environment="azureml://registries/azureml/environments/sklearn-1.5/versions/1",
        inputs={"word": Input(type="string")},
        outputs={"result": Output(type="uri_folder")},
    )

    @pipeline()  # type: ignore[untyped-decorator]  # azure-ai-ml's
    def built_here(word: str) -> dict[str, Any]:
        return {"result": say(word=word).outputs.result}

    return built_here(word="nothing")


def command_job() -> Any:
    """Make a command of azure-ai-ml, which is callable itself."""
    from azure.ai.ml import command  # four seconds

    return command(command="echo from the sdk", environment="azureml://registries/azureml/environments/x/versions/1")


def spark_job() -> Any:
    """Make a Spark job, which an emulator does not run."""
    from azure.ai.ml import spark  # four seconds

    sizes = {"driver_cores": 1, "driver_memory": "2g", "executor_cores": 2, "executor_memory": "2g"}
    resources = {"instance_type": "standard_e4s_v3", "runtime_version": "3.4"}
    code = str(Path(__file__).parent)
    return spark(code=code, entry={"file": "say.py"}, executor_instances=2, resources=resources, **sizes)


@task
def begun() -> str:
    """Start a job of somebody else's, and do not wait for it."""
    hook = AzureMLHook()
    body = {"jobType": "Command", "command": "sleep 3"}
    key = JobKey.of_task("somebody", "else", "is", 1)
    with hook.get_conn() as client:
        return client.run(named.put(hook.settings.workspace, key, 1, body, owner="")).name


with DAG("tested", schedule=None) as dag:
    AzureMLPipelineOperator(task_id="endpoint", pipeline=BatchEndpoint("{{ dag_run.conf['pipeline'] }}"), **SAID)
    AzureMLPipelineOperator(task_id="component", pipeline=PipelineComponent("tested"), **SAID)
    v1 = PublishedPipeline("{{ dag_run.conf['published'] }}")
    AzureMLPipelineOperator(task_id="published", pipeline=v1, **SAID)
    AzureMLPipelineOperator(task_id="published_endpoint", pipeline=PipelineEndpoint("tested"), **SAID)
    file = PipelineFile(Path(__file__).parent / "{{ dag_run.conf['pipeline'] }}.yml")
    AzureMLPipelineOperator(task_id="file", pipeline=file, **SAID)
    AzureMLPipelineOperator(task_id="mapping", pipeline=PIPELINE, experiment="{{ ds }}", **SAID)
    AzureMLPipelineOperator(task_id="described", pipeline=described, **SAID)
    AzureMLPipelineOperator(task_id="built", pipeline=built, settings={"default_compute": "serverless"}, **SAID)
    AzureMLPipelineOperator(task_id="in_worker", pipeline=PipelineComponent("tested"), deferrable=False, **SAID)
    AzureMLPipelineOperator(
        task_id="misfit",
        pipeline=PIPELINE,
        inputs={"wrod": "x", "seconds": "many"},
        outputs={"result": "not a uri", "rest": "azureml://datastores/a/paths/b"},
    )
    AzureMLJobOperator(task_id="job", job=COMMAND, **SOON)
    AzureMLJobOperator(task_id="job_made", job=command_job, **SOON)
    AzureMLJobOperator(task_id="job_sweep", job=SWEEP, **SOON)
    AzureMLJobOperator(task_id="job_spark", job=spark_job, **SOON)
    AzureMLJobOperator(task_id="job_fails", job={**COMMAND, "command": "exit 3"}, **SOON)

    @azureml_task(environment="debian:bookworm", **SOON)
    def function(word: str) -> str:
        """Say it in a job."""
        return word.upper()

    function("{{ dag_run.conf['word'] }}")

    ensure = AzureMLComputeOperator(task_id="ensure", compute="tested", vm_size="Standard_DS3_v2", max_nodes=2)
    ensure >> AzureMLComputeOperator(task_id="delete", compute="tested", action="delete")
    AzureMLCancelOrphansOperator(task_id="orphans", older_than=timedelta(days=1))
    begun() >> AzureMLJobSensor(task_id="job_sensor", job="{{ ti.xcom_pull('begun') }}", **SOON)
    AzureMLModelVersionSensor(task_id="model_sensor", model="tested", version="1", **SOON)
    never = {**SOON, "timeout": timedelta(seconds=1), "soft_fail": True}
    AzureMLModelVersionSensor(task_id="model_never", model="tested", at_least=2, **never)
    AzureMLEndpointSensor(task_id="endpoint_sensor", endpoint="tested", deployment="one", **SOON)
    ClaimArrivalsOperator(
        task_id="claim",
        asset=blob_arrivals("tested", queue_url="http://127.0.0.1:1/account/queue", container="incoming"),
    )

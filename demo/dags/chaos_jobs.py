"""200 jobs over three back ends; how each goes stands in the plan that the environment names."""  # noqa: INP001  # a folder of DAG files, no package

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_azureml.operators.job import AzureMLJobOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint, PipelineComponent
from airflow_azureml.retries import AzureMLRetryPolicy

PLAN: dict[str, Any] = json.loads(Path(os.environ["CHAOS_PLAN"]).read_text())


def script(dag_run: Any, ti: Any) -> str:
    """Name the script of the job that this try may start; empty for a job that really runs."""
    first, then = PLAN["parts"][dag_run.conf["part"]][ti.task_id][ti.map_index]
    return str(first if ti.try_number == 1 else then)


SCRIPT = "{{ script(dag_run, ti) }}"
JOB = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
    "command": "echo it runs",
    "environment": {"image": "debian:bookworm"},
    "properties": {"emulator.script": SCRIPT},
}
EXPERIMENTS = {task: [f"chaos-{task}-{index}" for index in range(count)] for task, count in PLAN["shape"].items()}

with DAG(
    "chaos_jobs",
    schedule=None,
    is_paused_upon_creation=False,
    max_active_tasks=100,
    user_defined_macros={"script": script},
    default_args={
        # Airflow counts a try for each queued task that it takes back from a scheduler that died, too.
        "retries": 20,
        "retry_delay": timedelta(seconds=5),
        "retry_policy": AzureMLRetryPolicy(throttled=timedelta(seconds=10)),
        "poll_interval": timedelta(seconds=2),
    },
):
    AzureMLPipelineOperator.partial(
        task_id="endpoint",
        pipeline=BatchEndpoint("chaos", deployment="{{ script(dag_run, ti) or 'real' }}"),
    ).expand(experiment=EXPERIMENTS["endpoint"])
    AzureMLPipelineOperator.partial(
        task_id="component",
        pipeline=PipelineComponent("chaos"),
        settings={"emulator.script": SCRIPT},
    ).expand(experiment=EXPERIMENTS["component"])
    AzureMLJobOperator.partial(task_id="job", job=JOB).expand(experiment=EXPERIMENTS["job"])

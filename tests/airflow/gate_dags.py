"""A DAG that trains, judges and goes on: what the training finds is in the run's conf, and so is the champion."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, get_current_context, task

from airflow_azureml.operators.gate import AzureMLGateOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, PipelineComponent


@task
def champion() -> Any:
    """Return the champion of the run's conf."""
    return (get_current_context()["dag_run"].conf or {})["champion"]


with DAG("gated", schedule=None, is_paused_upon_creation=False), TaskGroup("retrain"):
    train = AzureMLPipelineOperator(
        task_id="train",
        pipeline=PipelineComponent("gated-training"),
        inputs={"metrics": "{{ dag_run.conf['metrics'] }}"},
        outputs={"evaluation": "azureml://datastores/workspaceblobstore/paths/gated/{key}/"},
        poll_interval=timedelta(seconds=2),
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
    gate = AzureMLGateOperator(
        task_id="gate",
        challenger=train.output,
        champion=champion(),
        policy=str(Path(__file__).parent / "gate.yaml"),
        accepted="register",
        rejected="tell",
    )
    ways = [EmptyOperator(task_id="register"), EmptyOperator(task_id="tell")]
    gate >> ways
    ways >> EmptyOperator(task_id="outcome", trigger_rule="none_failed_min_one_success")

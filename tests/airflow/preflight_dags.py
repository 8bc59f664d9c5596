"""DAGs whose task looks first for what its job needs; what it names is in the run's conf."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_azureml.operators.job import AzureMLJobOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint

COMMON: dict[str, Any] = {
    "task_id": "run",
    "preflight": True,
    "on_kill_action": "leave",
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
    "poll_interval": timedelta(seconds=1),
}
JOB = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
    "command": "echo hello",
    "environment": {"image": "debian:bookworm"},
    "compute": "{{ dag_run.conf['compute'] }}",
}

with DAG("small_preflight", schedule=None, is_paused_upon_creation=False) as dag:
    AzureMLPipelineOperator(
        pipeline=BatchEndpoint("small"),
        inputs={"word": "hello"},
        outputs={"result": "azureml://datastores/{{ dag_run.conf['store'] }}/paths/small/{key}/"},
        **COMMON,
    )
globals()[dag.dag_id] = dag

with DAG("small_preflight_job", schedule=None, is_paused_upon_creation=False) as dag:
    AzureMLJobOperator(job=JOB, **COMMON)
globals()[dag.dag_id] = dag

"""A DAG whose pipeline fails once in its second step, and repairs itself when it is retried."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, PipelineComponent

with DAG("repair", schedule=None, is_paused_upon_creation=False) as dag:
    AzureMLPipelineOperator(
        task_id="run",
        pipeline=PipelineComponent("repairable"),
        inputs={"folder": "{{ dag_run.conf['folder'] }}"},
        outputs={"result": "azureml://datastores/workspaceblobstore/paths/repair/{key}/"},
        repair=True,
        on_reuse="refuse",
        poll_interval=timedelta(seconds=1),
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

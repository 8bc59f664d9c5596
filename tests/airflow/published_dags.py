"""DAGs of one task each, which run what SDK v1 published; which and with what is in the run's conf."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, PipelineEndpoint, PublishedPipeline

PIPELINES: dict[str, Any] = {
    "published": PublishedPipeline("{{ dag_run.conf['id'] }}"),
    "pipeline_endpoint": PipelineEndpoint("{{ dag_run.conf['id'] }}", "{{ dag_run.conf['version'] }}"),
}
for kind, pipeline in PIPELINES.items():
    with DAG(f"small_{kind}", schedule=None, is_paused_upon_creation=False) as dag:
        AzureMLPipelineOperator(
            task_id="run",
            pipeline=pipeline,
            inputs={
                "word": "{{ dag_run.conf['word'] }}",
                "seconds": "{{ dag_run.conf.get('seconds', 0) }}",
                "code": "{{ dag_run.conf.get('code', 0) }}",
            },
            outputs={"result": "azureml://datastores/workspaceblobstore/paths/published/{key}/"},
            poll_interval=timedelta(seconds=2),
            retries=1,
            retry_delay=timedelta(seconds=1),
        )
    globals()[dag.dag_id] = dag

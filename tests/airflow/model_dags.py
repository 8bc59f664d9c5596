"""DAGs of one task each, which have a model score a folder."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint

INPUTS = {
    "scored": {"uri_folder": "azureml:numbers:1"},
    "unsaid": {"numbers": "azureml:numbers:1"},
}
for kind, inputs in INPUTS.items():
    with DAG(f"model_{kind}", schedule=None, is_paused_upon_creation=False) as dag:
        AzureMLPipelineOperator(
            task_id="run",
            pipeline=BatchEndpoint("adding"),
            inputs=inputs,
            outputs={"score": "azureml://datastores/workspaceblobstore/paths/scores/{key}/"},
            idempotency_key="{{ dag_run.conf['key'] }}",
            poll_interval=timedelta(seconds=2),
            retries=2,
            retry_delay=timedelta(seconds=1),
        )
    globals()[dag.dag_id] = dag

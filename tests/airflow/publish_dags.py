"""DAGs whose task publishes a folder; which one, at which commit, is in the run's conf."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_azureml.operators.publish import AzureMLPublishPipelineOperator, Environment

COMMON: dict[str, Any] = {
    "task_id": "run",
    "folder": "{{ dag_run.conf['folder'] }}",
    "sha": "{{ dag_run.conf.get('sha', '') }}",
}
STAGING = Environment("staging", conn_id="azureml_default")
KINDS: dict[str, dict[str, Any]] = {
    # Airflow 3.3.2 may fail a task whose job is fine; a retry then finds that job.
    "publish": {"environment": STAGING, "retries": 2, "retry_delay": timedelta(seconds=1)},
    "publish_in_the_worker": {"environment": STAGING, "deferrable": False},
    "publish_plan": {"environment": STAGING, "plan_only": True},
    "publish_guarded": {"environment": Environment("production", conn_id="azureml_default", protected=True)},
}

for kind, options in KINDS.items():
    with DAG(f"small_{kind}", schedule=None, is_paused_upon_creation=False) as dag:
        AzureMLPublishPipelineOperator(**COMMON, **options)
    globals()[dag.dag_id] = dag

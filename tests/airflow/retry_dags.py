"""DAGs whose jobs fail as their script says, for a reason that is in the run's conf, and are retried by cause."""

import json
from datetime import timedelta

from airflow.sdk import DAG

from airflow_azureml.operators.job import AzureMLJobOperator
from airflow_azureml.retries import AzureMLRetryPolicy

SCRIPT = json.dumps(
    {
        "statuses": [["Running", 5], ["Failed", 0]],
        "error": {"code": "UserError", "message": "MESSAGE"},
    }
)
JOB = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
    "command": "echo never run",
    "environment": {"image": "debian:bookworm"},
    "properties": {"emulator.script": SCRIPT.replace("MESSAGE", "{{ dag_run.conf['says'] }}")},
}
for name, retry_delay in (("patient", timedelta(hours=1)), ("quick", timedelta(seconds=1))):
    with DAG(f"retry_{name}", schedule=None, is_paused_upon_creation=False) as dag:
        AzureMLJobOperator(
            task_id="run",
            conn_id="azureml_scripted",
            job=JOB,
            poll_interval=timedelta(seconds=1),
            retries=1,
            retry_delay=retry_delay,
            retry_policy=AzureMLRetryPolicy(quota=timedelta(hours=2)),
        )
    globals()[dag.dag_id] = dag

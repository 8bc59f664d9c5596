"""DAGs that test blobs, which are named by the run's conf, before anything else is done with them."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_azureml.operators.data_tests import AzureMLDataTestOperator

OPTIONS: dict[str, Any] = {
    "spec": {"schema": 1, "name": "patients", "columns": {"age": {"type": "number", "at_least": 0, "at_most": 120}}},
    "quarantine": "{{ dag_run.conf['quarantine'] }}",
    "environment": "debian:bookworm",
    "poll_interval": timedelta(seconds=5),
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}
WAYS: dict[str, dict[str, Any]] = {
    "passes": {"data": "{{ dag_run.conf['good'] }}", "on_fail": "fail"},
    "skips": {"data": "{{ dag_run.conf['bad'] }}", "on_fail": "skip"},
    "quarantines": {"data": "{{ dag_run.conf['bad'] }}", "on_fail": "quarantine"},
    "in_a_job": {"data": "{{ dag_run.conf['worse'] }}", "on_fail": "quarantine", "run_on": "job"},
}

with DAG("data_tested", schedule=None, is_paused_upon_creation=False):
    for name, way in WAYS.items():
        AzureMLDataTestOperator(task_id=name, **OPTIONS, **way) >> EmptyOperator(task_id=f"after_{name}")

with DAG("data_refused", schedule=None, is_paused_upon_creation=False):
    refused = AzureMLDataTestOperator(task_id="fails", data="{{ dag_run.conf['bad'] }}", **OPTIONS)
    refused >> EmptyOperator(task_id="after_fails")

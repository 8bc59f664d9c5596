"""DAGs that roll a deployment out; nobody asks the endpoint here, so no figures count."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_azureml.core.rollout import Limits, Policy
from airflow_azureml.task_groups.rollout import rollout

POLICY = Policy(
    steps=("mirror:10", 50, 100),
    looks=2,
    look_every=timedelta(seconds=2),
    least_requests=0,
    least_time=timedelta(seconds=10),
    soak=timedelta(0),
    limits=Limits(failures_at_most=None, p95_times_champion=None),
)
TOLD: dict[str, Any] = {"endpoint": "{{ dag_run.conf['endpoint'] }}", "deployment": "new", "policy": POLICY}

with DAG("rolls_out", schedule=None, is_paused_upon_creation=False):
    rollout("rollout", **TOLD, task_options={"retries": 1, "retry_delay": timedelta(seconds=1)})

with DAG("asks_first", schedule=None, is_paused_upon_creation=False):
    rollout("rollout", **TOLD, approval_at=(100,), task_options={"retries": 0})

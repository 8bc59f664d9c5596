"""DAGs for the sensors and the housekeeping; what they look at is in the run's conf."""

import time
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_azureml.core.sets import Sets
from airflow_azureml.operators.compute import AzureMLComputeOperator
from airflow_azureml.operators.orphans import AzureMLCancelOrphansOperator
from airflow_azureml.sensors.arrivals import BlobArrivalSensor
from airflow_azureml.sensors.endpoint import AzureMLEndpointSensor
from airflow_azureml.sensors.job import AzureMLJobSensor
from airflow_azureml.sensors.model import AzureMLModelVersionSensor

SOON: dict[str, Any] = {"poll_interval": timedelta(seconds=0.5)}
SHORT: dict[str, Any] = {**SOON, "timeout": timedelta(seconds=4), "retries": 2}
JOB: dict[str, Any] = {"job": "{{ dag_run.conf['job'] }}", "retries": 2}
MODEL = "{{ dag_run.conf['model'] }}"
ENDPOINT: dict[str, Any] = {
    "endpoint": "{{ dag_run.conf['endpoint'] }}",
    "deployment": "{{ dag_run.conf.get('deployment', '') }}",
}
BLOBS: dict[str, Any] = {
    "account_url": "{{ dag_run.conf['account_url'] }}",
    "container": "{{ dag_run.conf['container'] }}",
    "prefix": "in/",
    "glob": "*.csv",
}
COMPUTE: dict[str, Any] = {"compute": "{{ dag_run.conf['compute'] }}", "retries": 1}
SIZED: dict[str, Any] = {
    **COMPUTE,
    "vm_size": "{{ dag_run.conf.get('vm_size', 'Standard_DS3_v2') }}",
    "idle_s": 200,
    "max_nodes": 2,
}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "job_sensor": (AzureMLJobSensor, {**SOON, **JOB}),
    "job_sensor_in_worker": (AzureMLJobSensor, {**SOON, **JOB, "deferrable": False}),
    "job_sensor_short": (AzureMLJobSensor, {**SHORT, **JOB}),
    "job_sensor_soft": (AzureMLJobSensor, {**SOON, **JOB, "soft_fail": True}),
    "job_sensor_rescheduling": (AzureMLJobSensor, {**SOON, **JOB, "mode": "reschedule"}),
    "version_sensor": (
        AzureMLModelVersionSensor,
        {**SOON, "model": MODEL, "version": "{{ dag_run.conf['version'] }}"},
    ),
    "number_sensor": (AzureMLModelVersionSensor, {**SOON, "model": MODEL, "at_least": 2}),
    "number_sensor_in_worker": (
        AzureMLModelVersionSensor,
        {**SOON, "model": MODEL, "at_least": "{{ dag_run.conf['least'] }}", "deferrable": False},
    ),
    "number_sensor_short": (AzureMLModelVersionSensor, {**SHORT, "model": MODEL, "at_least": 7}),
    "vague_sensor": (AzureMLModelVersionSensor, {**SOON, "model": MODEL}),
    "endpoint_sensor": (AzureMLEndpointSensor, {**SOON, **ENDPOINT}),
    "endpoint_sensor_soft": (AzureMLEndpointSensor, {**SHORT, **ENDPOINT, "soft_fail": True}),
    "sensor_elsewhere": (AzureMLEndpointSensor, {**SHORT, **ENDPOINT, "conn_id": "azureml_somewhere"}),
    "blob_sensor": (BlobArrivalSensor, {**SOON, **BLOBS, "at_least": 2}),
    "blob_sensor_in_worker": (BlobArrivalSensor, {**SOON, **BLOBS, "deferrable": False, "at_most": 1}),
    "blob_sensor_of_sets": (
        BlobArrivalSensor,
        {
            **SOON,
            **BLOBS,
            "regex": r"in/{{ dag_run.conf['day'] }}/.+",
            "metadata": {"kind": "{{ dag_run.conf['sort'] }}"},
            "tags": {"team": "{{ dag_run.conf['team'] }}"},
            "sets": Sets(marker="_SUCCESS"),
        },
    ),
    "blob_sensor_wrong": (BlobArrivalSensor, {**SOON, **BLOBS, "newer_than": "yesterday", "at_most": 0}),
    "ensure": (AzureMLComputeOperator, SIZED),
    "ensure_more": (AzureMLComputeOperator, {**SIZED, "max_nodes": 5}),
    "ensure_nothing": (AzureMLComputeOperator, {**COMPUTE, "min_nodes": 3, "max_nodes": 2}),
    "delete": (AzureMLComputeOperator, {**COMPUTE, "action": "delete"}),
    "orphans": (AzureMLCancelOrphansOperator, {"older_than": timedelta(0)}),
    "orphans_old": (AzureMLCancelOrphansOperator, {"older_than": timedelta(days=1), "dry_run": False}),
    "orphans_cancel": (AzureMLCancelOrphansOperator, {"older_than": timedelta(0), "dry_run": False}),
    "orphans_left": (
        AzureMLCancelOrphansOperator,
        {"older_than": timedelta(0), "dry_run": False, "include_left": True},
    ),
}
for kind, (operator, options) in KINDS.items():
    with DAG(f"small_{kind}", schedule=None, is_paused_upon_creation=False) as dag:
        operator(task_id="run", **{"retry_delay": timedelta(seconds=1), **options})
    globals()[dag.dag_id] = dag

with DAG("small_around", schedule=None, is_paused_upon_creation=False) as dag:
    up = AzureMLComputeOperator(task_id="up", **SIZED).as_setup()  # type: ignore[no-untyped-call]  # Airflow's
    down = AzureMLComputeOperator(task_id="down", action="delete", **COMPUTE).as_teardown(setups=up)

    @task
    def run() -> None:
        raise RuntimeError("the work in between fails")

    up >> run() >> down
globals()[dag.dag_id] = dag

with DAG("small_mapped", schedule=None, is_paused_upon_creation=False) as dag:

    @task
    def run(seconds: int) -> None:
        time.sleep(seconds)

    run.expand(seconds=[0, 90])
globals()[dag.dag_id] = dag

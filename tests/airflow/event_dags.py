"""DAGs that Azure ML's own events concern: one that a model wakes, and one that waits for a job with long intervals."""

import os
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_azureml.sensors.job import AzureMLJobSensor
from airflow_azureml.watchers import model_events

REGISTRATIONS = os.environ["AZUREML_ARRIVALS_QUEUE_URL"].rpartition("/")[0] + "/workspace-events"

registered = model_events("registered_models", queue_url=REGISTRATIONS, model="waking-*", tags={"stage": "candidate"})

with DAG("small_woken", schedule=[registered], is_paused_upon_creation=False) as dag:

    @task
    def run(triggering_asset_events: dict[object, list[object]] | None = None) -> list[object]:
        """Return what woke the run."""
        (events,) = (triggering_asset_events or {}).values()
        return [told for event in events for told in event.extra["payload"]]  # type: ignore[attr-defined]  # Airflow's

    run()
globals()[dag.dag_id] = dag

with DAG("small_patient", schedule=None, is_paused_upon_creation=False) as dag:
    AzureMLJobSensor(task_id="run", job="{{ dag_run.conf['job'] }}", poll_interval=timedelta(minutes=10))
globals()[dag.dag_id] = dag

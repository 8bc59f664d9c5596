"""A DAG that a scan wakes; where the container is comes from a file beside it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_azureml.operators.arrivals import ClaimArrivalsOperator
from airflow_azureml.watchers import NAMES, Scanning, blob_arrivals

PLACE = json.loads(Path(__file__).with_suffix(".json").read_text())

scanned = blob_arrivals(
    "scanned",
    account_url=PLACE["account_url"],
    container=PLACE["container"],
    prefix="in/",
    suffix=".csv",
    scan=Scanning(layout=NAMES, every=timedelta(seconds=0.5)),
)

with DAG("scanned", schedule=[scanned], max_active_runs=1, is_paused_upon_creation=False) as dag:

    @task
    def count(arrivals: list[dict[str, Any]]) -> int:
        """Say how many were claimed."""
        return len(arrivals)

    count(ClaimArrivalsOperator(task_id="claim", asset=scanned).output)  # type: ignore[arg-type]  # what it will be
globals()[dag.dag_id] = dag

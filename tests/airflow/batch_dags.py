"""DAGs that score batches of blobs with a small pipeline, a few at a time."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, CronPartitionTimetable

from airflow_azureml.operators.pipeline import PipelineComponent
from airflow_azureml.task_groups.arrivals import Batching, BlobLedger, score_arrivals

ACCOUNT_URL = os.environ["AZUREML_ARRIVALS_ACCOUNT_URL"]
OPTIONS: dict[str, Any] = {
    "account_url": ACCOUNT_URL,
    "suffix": ".csv",
    "reconcile_every": timedelta(seconds=0),
    "task_options": {"retries": 2, "retry_delay": timedelta(seconds=1)},
    "score_options": {"poll_interval": timedelta(seconds=1), "on_kill_action": "leave"},
}

few = Asset("batches_few")
with DAG("batches_few", schedule=[few], is_paused_upon_creation=False, max_active_runs=4):
    score_arrivals(
        "few",
        pipeline=PipelineComponent("airflow-count"),
        asset=few,
        container="batchesfew",
        outputs="azureml://datastores/workspaceblobstore/paths/batches_few/",
        batch=Batching(blobs=2, batches=2),
        parallel=2,
        ledger=BlobLedger(name="batches_few"),
        **OPTIONS,
    )

left = Asset("batches_left")
with DAG("batches_left", schedule=[left], is_paused_upon_creation=False, max_active_runs=4):
    score_arrivals(
        "left",
        pipeline=PipelineComponent("airflow-slow-count"),
        asset=left,
        container="batchesleft",
        outputs="azureml://datastores/workspaceblobstore/paths/batches_left/",
        ledger=BlobLedger(name="batches_left"),
        **OPTIONS,
    )

DAYS = CronPartitionTimetable("@daily", timezone="UTC")
with DAG("batches_days", schedule=DAYS, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=4):
    score_arrivals(
        "days",
        pipeline=PipelineComponent("airflow-count"),
        container="batchesdays",
        outputs="azureml://datastores/workspaceblobstore/paths/batches_days/",
        since="{{ partition_date }}",
        until="+2d",
        ledger=BlobLedger(name="batches_days"),
        **OPTIONS,
    )

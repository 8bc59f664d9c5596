"""From a blob to the job of its batch, and from a message to the first task that a bare asset event starts."""

import os
import time
from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_azureml.operators.pipeline import BatchEndpoint
from airflow_azureml.task_groups.arrivals import Batching, score_arrivals
from airflow_azureml.watchers import blob_arrivals
from benchmarks.triggers import BareQueueTrigger

ACCOUNT_URL, QUEUES_URL = os.environ["BENCH_BLOB_URL"], os.environ["BENCH_QUEUES_URL"]

batches = blob_arrivals("batches", queue_url=f"{QUEUES_URL}/batches", container="batches", suffix=".csv")
bare = Asset("bare", watchers=[AssetWatcher(name="bare", trigger=BareQueueTrigger(queue_url=f"{QUEUES_URL}/bare"))])

with DAG("batches", schedule=[batches], is_paused_upon_creation=False):
    score_arrivals(
        "blobs",
        pipeline=BatchEndpoint("batches"),
        asset=batches,
        account_url=ACCOUNT_URL,
        container="batches",
        suffix=".csv",
        outputs="azureml://datastores/workspaceblobstore/paths/batches/",
        batch=Batching(linger=timedelta(0)),
    )

with DAG("bare", schedule=[bare], is_paused_upon_creation=False):

    @task
    def first() -> float:
        """Say when it ran: seconds since 1970, UTC."""
        return time.time()

    first()

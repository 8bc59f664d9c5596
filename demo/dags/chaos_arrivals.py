"""Every blob below inbox/, in batches, while everything is killed; a tick each minute finds what no event told of."""  # noqa: INP001  # a folder of DAG files, no package

import os
from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable

from airflow_azureml.operators.pipeline import BatchEndpoint
from airflow_azureml.retries import AzureMLRetryPolicy
from airflow_azureml.task_groups.arrivals import Batching, score_arrivals
from airflow_azureml.watchers import blob_arrivals

INBOX = blob_arrivals(
    "inbox",
    queue_url=os.environ["AZUREML_ARRIVALS_QUEUE_URL"],
    container="incoming",
    prefix="inbox/",
    suffix=".csv",
)

with DAG(
    "chaos_arrivals",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("* * * * *", timezone="UTC"), assets=[INBOX]),
    catchup=False,
    max_active_runs=4,
):
    score_arrivals(
        "inbox",
        pipeline=BatchEndpoint("chaos-arrivals"),
        asset=INBOX,
        account_url=os.environ["AZUREML_BLOB_URL"],
        container="incoming",
        prefix="inbox/",
        suffix=".csv",
        outputs="azureml://datastores/workspaceblobstore/paths/chaos/",
        output_name="digests",
        batch=Batching(blobs=40, linger=timedelta(seconds=5)),
        parallel=2,
        reconcile_every=timedelta(seconds=30),
        task_options={
            # Airflow counts a try for each queued task that it takes back from a scheduler that died, too.
            "retries": 20,
            "retry_delay": timedelta(seconds=5),
            "retry_policy": AzureMLRetryPolicy(throttled=timedelta(seconds=5)),
        },
        score_options={"poll_interval": timedelta(seconds=2)},
    )

"""# Score in batches

Whatever CSV files arrive in blob storage are scored by a published Azure ML pipeline, many with one job, each version
of each file exactly once.

* An event **wakes** this DAG, and so does a tick each quarter of an hour; `claim` asks for everything that is open, and
  enters it into a **ledger** beside the blobs. An event that is lost, doubled or late changes nothing.
* `score` runs the pipeline once for each batch. A batch whose run died is settled by the next one: published when its
  job was completed, claimed again when it was not.
* A file that cannot be scored is rejected alone, with its reason; `report` tells how many.
* Results lie below `scored/batches/`, and count as soon as their marker lies in `scored/_published/`.

Set `AZUREML_ARRIVALS_QUEUE_URL` to the queue to which Event Grid delivers the account's `BlobCreated` events, and
`AZUREML_ARRIVALS_ACCOUNT_URL` to the account's blob service.
"""

import os
from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable

from airflow_azureml.operators.pipeline import BatchEndpoint
from airflow_azureml.task_groups.arrivals import Batching, score_arrivals
from airflow_azureml.watchers import blob_arrivals

ACCOUNT_URL = os.environ.get("AZUREML_ARRIVALS_ACCOUNT_URL", "https://myaccount.blob.core.windows.net")
QUEUE_URL = os.environ.get("AZUREML_ARRIVALS_QUEUE_URL", "https://myaccount.queue.core.windows.net/arrivals")

patients = blob_arrivals("patients", queue_url=QUEUE_URL, container="incoming", prefix="patients/", suffix=".csv")

with DAG(
    "score_batches",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("*/15 * * * *", timezone="UTC"), assets=[patients]),
    catchup=False,
    max_active_runs=4,
    doc_md=__doc__,
    tags=["azureml", "scoring"],
):
    score_arrivals(
        "patients",
        pipeline=BatchEndpoint("diabetes-batch-scoring"),
        asset=patients,
        account_url=ACCOUNT_URL,
        container="incoming",
        prefix="patients/",
        suffix=".csv",
        inputs={"model": "azureml://datastores/workspaceblobstore/paths/models/diabetes-ridge/1/"},
        outputs="azureml://datastores/workspaceblobstore/paths/scored/",
        batch=Batching(blobs=100, linger=timedelta(seconds=0)),
        parallel=4,
    )

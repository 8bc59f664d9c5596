"""# Score on arrival

A CSV file arrives in blob storage, a published Azure ML pipeline scores it, and the predictions lie in blob storage.

* An event in a storage queue **wakes** this DAG; `claim` asks for every blob that is still open, so that no blob waits
  for the next event.
* `score` runs once for each blob. A blob version is scored **once**: a retry, a crash or a repeated event finds the job
  that is there already. While it waits, it holds no worker slot.
* A file that is no CSV fails its own task alone, before anything is submitted.

Set `AZUREML_ARRIVALS_QUEUE_URL` to the queue to which Event Grid delivers the account's `BlobCreated` events.
"""

import os
from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable

from airflow_azureml.operators.arrivals import ClaimArrivalsOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint
from airflow_azureml.watchers import blob_arrivals

MODEL = "azureml://datastores/workspaceblobstore/paths/models/diabetes-ridge/1/"

patients = blob_arrivals(
    "patients",
    queue_url=os.environ.get("AZUREML_ARRIVALS_QUEUE_URL", "https://myaccount.queue.core.windows.net/arrivals"),
    container="incoming",
    prefix="patients/",
    suffix=".csv",
)

with DAG(
    "score_on_arrival",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 * * * *", timezone="UTC"), assets=[patients]),
    catchup=False,
    max_active_runs=4,
    doc_md=__doc__,
    tags=["azureml", "scoring"],
):
    claim = ClaimArrivalsOperator(task_id="claim", asset=patients)

    AzureMLPipelineOperator.partial(
        task_id="score",
        pipeline=BatchEndpoint("diabetes-scoring"),
        outputs={"predictions": "azureml://datastores/workspaceblobstore/paths/predictions/{key}/"},
        formats={"data": "csv"},
        retries=3,
        retry_delay=timedelta(seconds=30),
        map_index_template="{{ task.inputs['data']['path'] }}",
    ).expand(inputs=claim.output.map(lambda blob: {"data": blob, "model": MODEL}))

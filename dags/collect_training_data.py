"""# Collect training data

Each hour, what was scored is joined with the labels that have come since, by the patient, into partitions of training
data: a file for each day, each prediction with its label in exactly one. `weekly_retraining` listens to the asset.

* A prediction waits thirty days for its label, and a label a week for its prediction; both are counted.
* Whatever dies or runs twice, nothing is lost and nothing doubled: a watermark beside the partitions says what counts.
* A run that makes no partition is skipped.
"""

from datetime import timedelta

from airflow.sdk import DAG, Asset, CronTriggerTimetable

from airflow_azureml.operators.compaction import AzureMLCompactionOperator, Dated, Published, Windows

STORE = "azureml://datastores/workspaceblobstore/paths"

with DAG(
    "collect_training_data",
    schedule=CronTriggerTimetable("15 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["azureml", "retraining"],
):
    AzureMLCompactionOperator(
        task_id="compact",
        predictions=Published(folder=f"{STORE}/scored/", file="predictions.csv"),
        labels=Dated(folder=f"{STORE}/labels/", format="csv"),
        training_data=f"{STORE}/training-data/diabetes/",
        keys=["patient"],
        label_columns=["target"],
        labels_within=timedelta(days=30),
        predictions_within=timedelta(days=7),
        windows=Windows(every=timedelta(days=1)),
        asset=Asset("diabetes training data"),
        retries=3,
        retry_delay=timedelta(minutes=1),
    )

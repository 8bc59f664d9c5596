"""What arrives is scored in batches; and a DAG that scores one blob with each run, as the bare pattern does."""

import os
from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable

from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint
from airflow_azureml.task_groups.arrivals import Batching, score_arrivals
from airflow_azureml.watchers import blob_arrivals

burst = blob_arrivals("burst", queue_url=os.environ["BENCH_QUEUE_URL"], container="burst", suffix=".csv")
tick = CronTriggerTimetable("* * * * *", timezone="UTC")

with DAG("burst", schedule=AssetOrTimeSchedule(timetable=tick, assets=[burst]), catchup=False, max_active_runs=4):
    score_arrivals(
        "blobs",
        pipeline=BatchEndpoint("batches"),
        asset=burst,
        account_url=os.environ["BENCH_BLOB_URL"],
        container="burst",
        suffix=".csv",
        outputs="azureml://datastores/workspaceblobstore/paths/burst/",
        batch=Batching(blobs=100),
        parallel=4,
        score_options={"poll_interval": timedelta(seconds=2)},
    )

with DAG("one_by_one", schedule=None, max_active_runs=100):
    AzureMLPipelineOperator(
        task_id="score",
        pipeline=BatchEndpoint("singles"),
        inputs={"data": "{{ dag_run.conf['data'] }}"},
        outputs={"predictions": "azureml://datastores/workspaceblobstore/paths/singles/{key}/"},
        poll_interval=timedelta(seconds=2),
    )

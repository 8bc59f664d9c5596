"""# Score the blobs of the past, day by day

Each run scores what was written on its day and was not scored yet, through the same ledger as `score_batches`: what
that DAG has scored is left out here, and the other way round. Start it with Airflow's backfill, for a range of days:

    airflow backfill create --dag-id backfill_batches --from-date 2026-01-01 --to-date 2026-01-31

* A day that is run again scores what came since, and nothing twice; `late` lets each run look back into the day before.
* With partitions (`CronPartitionTimetable`), write `since="{{ partition_date }}"` and `until="+1d"` instead.

Set `AZUREML_ARRIVALS_ACCOUNT_URL` to the account's blob service.
"""

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from airflow_azureml.operators.pipeline import BatchEndpoint
from airflow_azureml.task_groups.arrivals import Batching, score_arrivals

with DAG(
    "backfill_batches",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=2,
    doc_md=__doc__,
    tags=["azureml", "scoring"],
):
    score_arrivals(
        "patients",
        pipeline=BatchEndpoint("diabetes-batch-scoring"),
        account_url=os.environ.get("AZUREML_ARRIVALS_ACCOUNT_URL", "https://myaccount.blob.core.windows.net"),
        container="incoming",
        prefix="patients/",
        suffix=".csv",
        since="{{ data_interval_start }}",
        until="{{ data_interval_end }}",
        late=timedelta(days=1),
        inputs={"model": "azureml://datastores/workspaceblobstore/paths/models/diabetes-ridge/1/"},
        outputs="azureml://datastores/workspaceblobstore/paths/scored/",
        batch=Batching(blobs=100),
        parallel=2,
    )

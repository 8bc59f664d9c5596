"""What turns events into asset events: our queue reader, and triggers that flood Airflow with events of two sizes."""

import os

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, AssetWatcher

from airflow_azureml.watchers import blob_arrivals
from benchmarks.triggers import FloodTrigger

QUEUE_URL = os.environ["BENCH_QUEUE_URL"]


def flood(name: str, *, count: int, arrivals: int) -> Asset:
    """Make an asset that is flooded."""
    trigger = FloodTrigger(count=count, arrivals=arrivals)
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


for asset in (
    blob_arrivals("ours", queue_url=QUEUE_URL, container="incoming", prefix="patients/", suffix=".csv"),
    flood("pages", count=int(os.environ["BENCH_PAGES"]), arrivals=32),
    flood("singles", count=int(os.environ["BENCH_SINGLES"]), arrivals=1),
):
    with DAG(asset.name, schedule=[asset], max_active_runs=1, is_paused_upon_creation=True):
        EmptyOperator(task_id="nothing")

"""DAGs that watch for drift, listen to what it asks for, and make training data."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_azureml.client.compaction import Compactor
from airflow_azureml.operators.compaction import AzureMLCompactionOperator, Dated, Windows
from airflow_azureml.task_groups.drift import DriftPolicy, drift_of, drift_watch
from airflow_azureml.watchers import drift_events

STORE = "azureml://datastores/workspaceblobstore/paths"
MODEL = "drifting-ridge"
QUEUE = os.environ["AZUREML_ARRIVALS_QUEUE_URL"].rpartition("/")[0] + "/drift-events"

monitored = drift_events("drift_monitors", queue_url=QUEUE, monitor=f"{MODEL}*", at_least=0.5)

with DAG("small_drift_watch", schedule=[monitored], is_paused_upon_creation=False, max_active_runs=1):
    drift_watch(
        "drift",
        model=MODEL,
        recent=Dated(folder=f"{STORE}/{MODEL}/scored/", layout="%Y/%m/%d/"),
        reference=f"{STORE}/{MODEL}/reference.csv",
        windows=Windows(every=timedelta(days=1)),
        policy=DriftPolicy(violated=2, of=2),
        retraining=["small_drift_retraining"],
        at="2026-03-03T05:00:00",
        task_options={"retries": 1, "retry_delay": timedelta(seconds=1)},
    )

with DAG("small_drift_retraining", schedule=[drift_of(MODEL)], is_paused_upon_creation=False) as dag:

    @task
    def run(triggering_asset_events: dict[object, list[object]] | None = None) -> list[object]:
        """Return what woke the run."""
        (events,) = (triggering_asset_events or {}).values()
        return [event.extra for event in events]  # type: ignore[attr-defined]  # Airflow's

    run()
globals()[dag.dag_id] = dag


class LateCompaction(AzureMLCompactionOperator):
    """Comes so late that all windows are over."""

    def compactor(self, **parts: Any) -> Compactor:
        """Look at another clock."""
        return Compactor(now=lambda: datetime.now(UTC) + timedelta(hours=1), **parts)


with DAG("small_compaction", schedule=None, is_paused_upon_creation=False):
    LateCompaction(
        task_id="compact",
        predictions=Dated(folder=f"{STORE}/{{{{ dag.dag_id }}}}/scored"),
        labels=Dated(folder=f"{STORE}/{{{{ dag.dag_id }}}}/labels"),
        training_data=f"{STORE}/{{{{ dag.dag_id }}}}/training-data/",
        keys=["patient"],
        windows=Windows(every=timedelta(minutes=1)),
        asset=Asset("small training data"),
    )

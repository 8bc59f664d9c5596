"""# Watch for drift

Each morning, and whenever Azure ML says that a monitor has found drift, what was scored on the last days is compared
with what the model was trained on, column by column, predictions included.

* `look` makes a profile of each day that has none yet; `decide` compares the last three days with the reference, and
  shows in its log, as a table, why a retraining is asked for, or why not.
* A retraining is asked for when two of three days violate, the latest among them, not within a week of the last
  retraining, and not while one is under way. A day asks at most once, however often this DAG runs.
* `retrain` updates the asset that wakes `weekly_retraining`, or is skipped.

An event only wakes this DAG: the days decide. Set `AZUREML_WORKSPACE_EVENTS_QUEUE_URL` to the queue to which Event Grid
delivers the workspace's `DatasetDriftDetected` events.
"""

import os
from datetime import timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable

from airflow_azureml.task_groups.drift import Distribution, Drift, DriftPolicy, Published, Windows, drift_watch
from airflow_azureml.watchers import drift_events

MODEL = "diabetes-ridge"
STORE = "azureml://datastores/workspaceblobstore/paths"
QUEUE_URL = os.environ.get(
    "AZUREML_WORKSPACE_EVENTS_QUEUE_URL", "https://myaccount.queue.core.windows.net/workspace-events"
)

monitored = drift_events(f"monitors of {MODEL}", queue_url=QUEUE_URL, monitor=f"{MODEL}*", at_least=0.3)

with DAG(
    "drift_watch",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("30 5 * * *", timezone="UTC"), assets=[monitored]),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["azureml", "retraining"],
):
    drift_watch(
        "drift",
        model=MODEL,
        recent=Published(folder=f"{STORE}/scored/", file="predictions.csv"),
        reference=f"{STORE}/training-data/reference.csv",
        windows=Windows(every=timedelta(days=1)),
        policy=DriftPolicy(violated=2, of=3, cool_down=timedelta(days=7), min_rows=200),
        # The reference has the predictions of its rows, and the target, which is not known yet of what was scored.
        tests=Distribution(columns={"*": Drift(psi=0.25), "prediction": Drift(psi=0.2, ks=0.1)}, ignore=["target"]),
        retraining=["weekly_retraining"],
    )

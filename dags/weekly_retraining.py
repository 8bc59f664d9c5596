"""# Retrain, and register only what is better

A model is trained anew each week, when new labelled data is there, and when its inputs have drifted. It becomes the
champion only if the gate says that it is better on the same test rows; otherwise nothing is registered, and the run
is green: a no is an answer. `outcome` tells which it was, and why.

* The newest half year of partitions is tested first. One that fails is copied to quarantine with its report, and
  nothing is trained until it is mended or taken out of the folder.
* The champion is measured again on the new test rows, so that both models are judged by the same.
* Two runs never retrain the model at once: the second one waits for the first.
* `catchup=True` would train for the weeks that were missed, too: each run takes the half year before its own week.

`RETRAINING_FILES` is the folder with the gate's policy `gate.yaml` and the data tests `data_tests.yaml`; the
reference, with which distributions are compared, is a file of the workspace's default datastore.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param

from airflow_azureml.operators.pipeline import BatchEndpoint
from airflow_azureml.task_groups.drift import drift_of
from airflow_azureml.task_groups.retraining import TrainingData, train_evaluate_register
from airflow_azureml.watchers import registered_model

MODEL = "diabetes-ridge"
FILES = Path(os.environ.get("RETRAINING_FILES", Path(__file__).resolve().parents[1] / "pipelines/diabetes"))
STORE = "azureml://datastores/workspaceblobstore/paths"

with DAG(
    "weekly_retraining",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 3 * * 1", timezone="UTC"),
        assets=Asset("diabetes training data") | drift_of(MODEL),
    ),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=2,
    params={"alpha": Param(0.1, type="number", exclusiveMinimum=0), "weeks": Param(26, type="integer", minimum=1)},
    doc_md=__doc__,
    tags=["azureml", "training"],
):
    train_evaluate_register(
        "diabetes",
        model=MODEL,
        pipeline=BatchEndpoint("diabetes-training"),
        evaluation_pipeline=BatchEndpoint("diabetes-evaluation"),
        data=TrainingData(
            uri=f"{STORE}/training-data/diabetes/",
            since="{{ (dag_run.run_after - macros.timedelta(weeks=params.weeks)) | ts }}",
            until="{{ dag_run.run_after | ts }}",
            tests=FILES / "data_tests.yaml",
            reference=f"{STORE}/training-data/reference.csv",
        ),
        policy=FILES / "gate.yaml",
        inputs={"alpha": "{{ params.alpha }}"},
        outputs=f"{STORE}/retraining/{MODEL}/",
        asset=registered_model(MODEL),
    )

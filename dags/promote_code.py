"""# Promote code from staging to production

A commit that was reviewed is published to staging, trains there on a subset of production's rows, and is tested as a
whole. A person sees the commit, what changes, the verdicts and the metrics, and approves or rejects. Only then is the
same commit published to production, where it trains on all data, and what it makes is registered if the gate says that
it is better. Registration wakes the DAG that releases.

* Trigger it with a commit, a branch or a tag; `HEAD` is what the workers have checked out.
* A no, of the gate or of a person, ends the run green; nothing is changed in production. `outcome` tells.
* What ran is written down, signed, beside the job. Production is refused to a commit without that evidence.
* Begin again whenever you like: what the commit has passed within two weeks is not done again.

`PROMOTION_FOLDER` is the folder of the pipelines in a git repository on the workers; `PROMOTION_APPROVERS` are the ids
of those who may approve, as Airflow's auth manager has them.
"""

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_azureml.task_groups.promotion import Environment, Subset, Training, TrainingData, promote_code
from airflow_azureml.watchers import registered_model

MODEL = "diabetes-ridge"
FOLDER = Path(os.environ.get("PROMOTION_FOLDER", Path(__file__).resolve().parents[1] / "pipelines/diabetes"))
APPROVERS = os.environ.get("PROMOTION_APPROVERS", "admin").split(",")
STORE = "azureml://datastores/workspaceblobstore/paths"

STAGING = Environment("staging", conn_id="azureml_staging", suffix="-staging")
PRODUCTION = Environment("production", conn_id="azureml_production", protected=True)

with DAG(
    "promote_code",
    schedule=None,
    max_active_runs=1,
    params={
        "sha": Param("HEAD", type="string", title="Commit", description="A commit, a branch or a tag."),
        "alpha": Param(0.1, type="number", exclusiveMinimum=0),
    },
    doc_md=__doc__,
    tags=["azureml", "promotion"],
):
    promote_code(
        "diabetes",
        environments=[STAGING, PRODUCTION],
        folder=str(FOLDER),
        sha="{{ params.sha }}",
        training=Training(
            model=MODEL,
            pipeline="diabetes-training",
            evaluation_pipeline="diabetes-evaluation",
            data=TrainingData(
                uri=f"{STORE}/training-data/diabetes/",
                tests=FOLDER / "data_tests.yaml",
                reference=f"{STORE}/training-data/reference.csv",
            ),
            policy=FOLDER / "gate.yaml",
            inputs={"alpha": "{{ params.alpha }}"},
            outputs=f"{STORE}/retraining/{MODEL}/",
        ),
        subset=Subset(fraction=0.6, stratify="sex", seed=7),
        checks={
            "metrics": {"evaluate.rmse": (1, 200), "evaluate.r2": (-1, 1)},
            "most_time": timedelta(hours=1),
            "prices": {"Standard_DS3_v2": 0.27, "currency": "EUR"},
        },
        approval={"approvers": APPROVERS, "deadline": timedelta(days=3)},
        compare_url=os.environ.get("PROMOTION_COMPARE_URL", ""),
        asset=registered_model(MODEL),
        publish_options={"only": ["diabetes-training", "diabetes-evaluation"]},
    )

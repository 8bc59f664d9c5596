"""# Promote a model from staging to production

For a model that is dear to train, or whose training data may be read in staging: it is trained once, there, on all
data. If the gate says that it is better, it is registered, shared with a registry that every workspace may read, and
tested as a whole. A person approves. In production the files in the registry are read, and a model that is another one
than was tested is refused; then it is deployed beside what serves.

* Trigger it with the 40 digits of the commit that staging has published; the evidence is kept under them.
* A no, of the gate or of a person, ends the run green; nothing is changed in production. `outcome` tells.
* To have the commit published first, take `promote_hybrid`, which is the same otherwise.

`PROMOTION_FILES` is the folder with `gate.yaml` and `online/deployment.yml`; `PROMOTION_REGISTRY` is the registry, and
`PROMOTION_APPROVERS` are the ids of those who may approve.
"""

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_azureml.core.rollout import Policy
from airflow_azureml.task_groups.promotion import Environment, Training, promote_model
from airflow_azureml.task_groups.release import Stage, release

MODEL = "diabetes-ridge"
FILES = Path(os.environ.get("PROMOTION_FILES", Path(__file__).resolve().parents[1] / "pipelines/diabetes"))
APPROVERS = os.environ.get("PROMOTION_APPROVERS", "admin").split(",")
STORE = "azureml://datastores/workspaceblobstore/paths"

STAGING = Environment("staging", conn_id="azureml_staging", suffix="-staging")
PRODUCTION = Environment("production", conn_id="azureml_production", protected=True)

with DAG(
    "promote_model",
    schedule=None,
    max_active_runs=1,
    params={
        "sha": Param("", type="string", title="Commit", description="All 40 digits of the commit that trains."),
        "alpha": Param(0.1, type="number", exclusiveMinimum=0),
    },
    doc_md=__doc__,
    tags=["azureml", "promotion"],
):
    promote_model(
        "diabetes",
        environments=[STAGING, PRODUCTION],
        sha="{{ params.sha }}",
        registry=os.environ.get("PROMOTION_REGISTRY", "models"),
        training=Training(
            model=MODEL,
            pipeline="diabetes-training",
            evaluation_pipeline="diabetes-evaluation",
            policy=FILES / "gate.yaml",
            inputs={"alpha": "{{ params.alpha }}"},
            outputs=f"{STORE}/retraining/{MODEL}/",
        ),
        checks={"metrics": {"evaluate.rmse": (1, 200), "evaluate.r2": (-1, 1)}, "most_time": timedelta(hours=1)},
        approval={"approvers": APPROVERS, "deadline": timedelta(days=3)},
        release=lambda model: release(
            "release",
            model=model,
            spec=FILES / "online/deployment.yml",
            tests=FILES / "online/smoke.yaml",
            production=Stage(endpoint="diabetes", conn_id=PRODUCTION.conn_id),
            policy=Policy(steps=("mirror:10", 10, 100), least_requests=200, soak=timedelta(hours=1)),
        ),
    )

"""# Release what is registered

A version of a model that becomes the champion is released: tested apart, deployed beside what serves, and given the
traffic step by step. What served before goes on serving until then, and gets all of it back by itself where the new one
fails, is slow, or predicts something else.

* An event only wakes this DAG: `registered_model` when `weekly_retraining` has registered a version, and Azure ML's own
  `ModelRegistered` when anybody else has. `champion` asks who is to serve, and `plan` skips the rest where it does.
* `deploy_qa` puts it on a small managed endpoint of its own, `test_qa` asks it what `smoke.yaml` says (inputs, outputs,
  their schema, latency, errors for bad input), and `remove_qa` takes it away again, whatever happened.
* `deploy` puts it beside the champion, without traffic; `test` asks it the same there.
* `rollout` copies requests to it, whose answers nobody sees, then gives it 1, 10, 50 and 100 % of them. At each step it
  looks at failures and latency, and compares what both predict. Before it gets half of them, somebody has to approve.
* `restore`, at the end of the group, gives the traffic back where the run did not get to its end; where not even that
  ran, `rollout_guard` does.
* A version that was rolled back is not released again by itself: `plan` is skipped, and says why. Trigger this DAG with
  `again` to release it all the same.

`RELEASE_FILES` is the folder with `deployment.yml`, `score.py` and `smoke.yaml`.
"""

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_azureml.core.rollout import Limits, Policy, Predictions
from airflow_azureml.operators.models import AzureMLChampionOperator
from airflow_azureml.task_groups.drift import Distribution, Drift
from airflow_azureml.task_groups.release import Stage, release
from airflow_azureml.watchers import model_events, registered_model

MODEL = "diabetes-ridge"
FILES = Path(os.environ.get("RELEASE_FILES", Path(__file__).resolve().parents[1] / "pipelines/diabetes/online"))
QUEUE_URL = os.environ.get(
    "AZUREML_WORKSPACE_EVENTS_QUEUE_URL", "https://myaccount.queue.core.windows.net/workspace-events"
)

registered = model_events(f"versions of {MODEL}", queue_url=QUEUE_URL, model=MODEL)

with DAG(
    "release_on_registration",
    schedule=registered_model(MODEL) | registered,
    catchup=False,
    max_active_runs=1,
    params={"again": Param(default=False, type="boolean", description="Also what was rolled back before.")},
    doc_md=__doc__,
    tags=["azureml", "release"],
):
    champion = AzureMLChampionOperator(task_id="champion", model=MODEL)
    release(
        "release",
        model=champion.output,
        spec=FILES / "deployment.yml",
        tests=FILES / "smoke.yaml",
        qa=Stage(endpoint="diabetes-qa", instance_type="Standard_DS1_v2", instances=1),
        production=Stage(endpoint="diabetes", instance_type="Standard_DS2_v2", instances=2),
        policy=Policy(
            steps=("mirror:10", 1, 10, 50, 100),
            least_requests=200,
            soak=timedelta(hours=1),
            limits=Limits(failures_at_most=0.005, p95_ms_at_most=500, p95_times_champion=1.5),
            predictions=Predictions(tests=Distribution(columns={"prediction": Drift(psi=0.25)})),
        ),
        approval_at=(50,),
        again="{{ params.again }}",
        evidence="azureml://datastores/workspaceblobstore/paths/releases/",
    )

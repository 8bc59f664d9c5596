"""What a user of MLflow does with a workspace's tracking API; prints what happened as JSON."""

# ruff: noqa: T201, TID253  # a judge is a program, and MLflow is whom it hears
import json
import math
import os
import sys
from collections.abc import Callable

import httpx
import mlflow
from mlflow.exceptions import MlflowException

identity = httpx.get(
    os.environ["IDENTITY_ENDPOINT"],
    params={"resource": "https://ml.azure.com", "api-version": "2019-08-01"},
    headers={"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]},
    timeout=10,
).json()
os.environ["MLFLOW_TRACKING_TOKEN"] = identity["access_token"]
subscription, group, workspace = os.environ["CONTRACT_WORKSPACE"].split("/")
scope = f"subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
uri = f"https://westeurope.api.azureml.ms/mlflow/{sys.argv[1]}/{scope}/workspaces/{workspace}"
mlflow.set_tracking_uri(uri)
experiment = mlflow.set_experiment(f"mlflow-{sys.argv[1]}")

with mlflow.start_run(run_name="from outside") as run:
    mlflow.log_params({"depth": 3, "criterion": "gini"})
    for step, value in enumerate((0.5, 0.7, 0.9)):
        mlflow.log_metric("auc", value, step=step)
    mlflow.log_metrics({"loss": 0.1, "nothing": math.nan})
    mlflow.set_tag("team", "blue")

client = mlflow.MlflowClient()
got = client.get_run(run.info.run_id)
with mlflow.start_run():
    mlflow.log_metric("auc", 0.3)
good = client.search_runs([experiment.experiment_id], "metrics.auc > 0.8 AND tags.team = 'blue'")
ordered = client.search_runs([experiment.experiment_id], order_by=["metrics.auc ASC"])


def refused(call: Callable[[], object]) -> list[str] | None:
    try:
        call()
    except MlflowException as error:
        return [error.error_code, str(error)]
    return None


print(
    json.dumps(
        {
            "status": got.info.status,
            "name": got.info.run_name,
            "params": got.data.params,
            "tags": {key: value for key, value in got.data.tags.items() if not key.startswith("mlflow.")},
            "metrics": {key: str(value) for key, value in got.data.metrics.items()},
            "history": [[point.step, point.value] for point in client.get_metric_history(run.info.run_id, "auc")],
            "found": [one.info.run_id for one in good] == [run.info.run_id],
            "ordered": [one.data.metrics["auc"] for one in ordered],
            "experiment": client.get_experiment(experiment.experiment_id).name,
            "missing": refused(lambda: client.get_run("never")),
            "twice": refused(lambda: client.log_param(run.info.run_id, "depth", 4)),
            "filter": refused(lambda: client.search_runs([experiment.experiment_id], "metrics.auc IS good")),
            "job": client.get_run(sys.argv[2]).data.metrics if len(sys.argv) > 2 else {},
        }
    )
)

"""What MLflow's own ``log_model`` and its kin do, outside of a job and in one; prints what happened as JSON.

A chapter that fails is reported with its traceback and does not end the story.
"""

# ruff: noqa: T201, TID253  # a judge is a program, and MLflow and the SDK are whom it hears
import json
import os
import pathlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import mlflow
import pandas as pd
from azure.ai.ml import MLClient, command
from azure.identity import DefaultAzureCredential
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel

import telling
from telling import chapter, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
identity = httpx.get(
    os.environ["IDENTITY_ENDPOINT"],
    params={"resource": "https://ml.azure.com", "api-version": "2019-08-01"},
    headers={"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]},
    timeout=10,
).json()
os.environ["MLFLOW_TRACKING_TOKEN"] = identity["access_token"]
ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME, enable_telemetry=False)
ended = partial(telling.ended, ml)
mlflow.set_tracking_uri(f"{sys.argv[1]}/mlflow/v2.0{ml.workspaces.get(NAME).id}")
mlflow.set_experiment("logging")
client = mlflow.MlflowClient()
known: dict[str, Any] = {}
rows = pd.DataFrame({"a": [1.0, 2.0]})


class Doubling(PythonModel):  # type: ignore[misc]  # MLflow's
    """Doubles what it is given."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Double it."""
        del context, params
        return model_input["a"] * 2


def refused(call: Callable[[], object]) -> list[str] | None:
    try:
        call()
    except MlflowException as error:
        return [error.error_code, str(error)]
    return None


def predicted(uri: str) -> list[float]:
    return [float(one) for one in mlflow.pyfunc.load_model(uri).predict(rows)]


def log(name: str, **more: Any) -> Any:
    return mlflow.pyfunc.log_model(name=name, python_model=Doubling(), pip_requirements=[], **more)


@chapter
def log_model() -> Any:
    with mlflow.start_run() as run:
        logged = log("model", registered_model_name="doubling", params={"depth": 3}, tags={"team": "blue"})
        mlflow.log_metric("rmse", 0.5, model_id=logged.model_id)
    known["run"], known["model"] = run.info.run_id, logged.model_id
    got, arm = client.get_logged_model(logged.model_id), ml.models.get("doubling", version="1")
    uris = (
        *(logged.model_uri, "models:/doubling/1", "models:/doubling/latest", f"runs:/{run.info.run_id}/model"),
        f"{got.artifact_location}",
    )
    outputs = client.get_run(run.info.run_id).outputs.model_outputs
    return {
        "predicted": [predicted(uri) for uri in uris],
        "status": str(got.status),
        "told": [got.name, got.params, got.tags["team"], got.source_run_id == run.info.run_id],
        "metrics": [[one.key, one.value] for one in got.metrics],
        "versions": json.loads(got.tags["mlflow.modelVersions"]),
        "outputs": [one.model_id == logged.model_id for one in outputs],
        "arm": [arm.type, arm.job_name == run.info.run_id, arm.path.rpartition("/")[2]],
    }


@chapter
def same_name_twice() -> Any:
    with mlflow.start_run() as run:
        first, second = log("model"), log("model", step=2)
    places = [client.get_logged_model(one.model_id).artifact_location for one in (first, second)]
    return {
        "apart": len(set(places)),
        "predicted": [predicted(one.model_uri) for one in (first, second)],
        "first": places[0].endswith(f"/runs/{run.info.run_id}/artifacts/model"),
    }


@chapter
def without_a_run() -> Any:
    mlflow.end_run()
    model = mlflow.initialize_logged_model(name="alone")
    (SCRATCH / "note.txt").write_text("alone")
    client.log_model_artifact(model.model_id, str(SCRATCH / "note.txt"))
    done = mlflow.finalize_logged_model(model.model_id, "READY")
    found = client.list_logged_model_artifacts(model.model_id)
    return {"status": str(done.status), "files": [one.path for one in found]}


@chapter
def searched() -> Any:
    experiment = client.get_experiment_by_name("logging").experiment_id
    models = client.search_logged_models([experiment], filter_string="name = 'model' AND params.depth = '3'")
    newest = client.search_logged_models([experiment], max_results=1)
    oldest = client.search_logged_models(
        [experiment], order_by=[{"field_name": "creation_timestamp", "ascending": True}], max_results=1
    )
    client.set_logged_model_tags(known["model"], {"a": "b"})
    client.delete_logged_model_tag(known["model"], "team")
    tags = client.get_logged_model(known["model"]).tags
    client.delete_logged_model(newest[0].model_id)
    return {
        "found": [one.model_id for one in models] == [known["model"]],
        "newest": newest[0].name,
        "oldest": oldest[0].model_id == known["model"],
        "tags": [tags["a"], "team" in tags],
        "deleted": refused(lambda: client.get_logged_model(newest[0].model_id)),
        "missing": refused(lambda: client.get_logged_model("m-never")),
        "nowhere": refused(lambda: client.create_logged_model("no-such-experiment", name="x")),
    }


@chapter
def in_a_job() -> Any:
    code = SCRATCH / "code"
    code.mkdir()
    (code / "train.py").write_text(
        """
import sys
import mlflow
class Adding(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] + 1
with mlflow.start_run():
    mlflow.pyfunc.log_model(
        name="adding", python_model=Adding(), pip_requirements=[], registered_model_name="adding"
    )
    with mlflow.start_run(nested=True):
        mlflow.log_metric("inner", 1)
print(mlflow.pyfunc.load_model("models:/adding/1") is not None)
"""
    )
    job = command(name="adding-job", code=str(code), command="python train.py", environment="azureml:anything:1")
    done = ended(ml.jobs.create_or_update(job).name)
    model = ml.models.get("adding", version="1")
    ml.jobs.download(done.name, download_path=SCRATCH / "job")
    files = [one.relative_to(SCRATCH / "job").as_posix() for one in (SCRATCH / "job").rglob("MLmodel")]
    return {
        "status": done.status,
        "model": [model.type, model.job_name],
        "predicted": predicted("models:/adding/1"),
        "files": files,
        "children": [one.status for one in ml.jobs.list(parent_job_name=done.name)],
    }


@chapter
def datasets() -> Any:
    data = mlflow.data.from_pandas(rows, name="two rows")
    with mlflow.start_run() as run:
        mlflow.log_input(data, context="training")
        mlflow.log_input(data, context="training")
    (one,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    return {"name": one.dataset.name, "tags": [[tag.key, tag.value] for tag in one.tags]}


@chapter
def deleted_run() -> Any:
    experiment = client.get_experiment_by_name("logging").experiment_id
    with mlflow.start_run() as run:
        pass
    name = run.info.run_id

    def seen(view: int) -> bool:
        return name in [one.info.run_id for one in client.search_runs([experiment], run_view_type=view)]

    client.delete_run(name)
    after = [seen(view) for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL)]
    listed = name in [one.name for one in ml.jobs.list()]
    stage = client.get_run(name).info.lifecycle_stage
    client.restore_run(name)
    return {"after": after, "listed": listed, "stage": stage, "back": seen(ViewType.ACTIVE_ONLY)}


@chapter
def experiments() -> Any:
    made = client.create_experiment("mine", tags={"a": "1"})
    client.set_experiment_tag(made, "b", "2")
    by_filter = [one.name for one in client.search_experiments(filter_string="name LIKE 'mi%' AND tags.b = '2'")]
    client.delete_experiment(made)
    stage = client.get_experiment(made).lifecycle_stage
    active = [one.name for one in client.search_experiments()]
    gone = [one.name for one in client.search_experiments(view_type=ViewType.DELETED_ONLY)]
    client.restore_experiment(made)
    return {
        "tags": client.get_experiment(made).tags,
        "found": by_filter,
        "stage": stage,
        "active": "mine" in active,
        "gone": gone,
        "rename": refused(lambda: client.rename_experiment(made, "yours")),
    }


print(json.dumps(found, default=str))

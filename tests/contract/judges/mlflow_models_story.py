"""What users of MLflow and of azure-ai-ml do with the same models of one workspace; prints what happened as JSON."""

# ruff: noqa: T201, TID253  # a judge is a program, and the SDKs are whom it hears
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import httpx
import mlflow
from azure.ai.ml import MLClient, Output, command
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import Model
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from mlflow.exceptions import MlflowException

from telling import chapter, ended, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
BASE = sys.argv[1]

identity = httpx.get(
    os.environ["IDENTITY_ENDPOINT"],
    params={"resource": "https://ml.azure.com", "api-version": "2019-08-01"},
    headers={"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]},
    timeout=10,
).json()
os.environ["MLFLOW_TRACKING_TOKEN"] = identity["access_token"]
ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME)
arm_id = ml.workspaces.get(NAME).id
mlflow.set_tracking_uri(f"{BASE}/mlflow/v2.0{arm_id}")
azure = f"https://westeurope.api.azureml.ms/mlflow/v2.0{arm_id}"
client = mlflow.MlflowClient()
known: dict[str, Any] = {}


def refused(call: Callable[[], object]) -> list[str] | None:
    try:
        call()
    except MlflowException as error:
        return [error.error_code, str(error)]
    return None


def error_of(call: Callable[[], object]) -> dict[str, Any]:
    try:
        call()
    except HttpResponseError as error:
        return {"type": type(error).__name__, "status": error.status_code, "text": str(error)}
    return {"type": "none"}


def shown(version: Any) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "stage": version.current_stage,
        "description": version.description,
        "tags": version.tags,
        "run": version.run_id,
        "status": version.status,
        "aliases": list(version.aliases),
    }


def write_model(folder: pathlib.Path, text: str) -> pathlib.Path:
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: nothing\n")
    (folder / "code" / "weights.txt").write_text(text)
    return folder


def files(root: pathlib.Path) -> dict[str, str]:
    return {str(one.relative_to(root)): one.read_text() for one in sorted(root.rglob("*")) if one.name == "weights.txt"}


@chapter
def artifacts() -> Any:
    mlflow.set_experiment("registry")
    local = write_model(SCRATCH / "first", "weight 1")
    with mlflow.start_run(run_name="trainer") as run:
        mlflow.log_artifacts(str(local), "model")
        mlflow.log_text("a note with ümlauts", "notes/read me.txt")
    known["run"] = run.info.run_id
    got = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="model", dst_path=str(SCRATCH / "got")
    )
    return {
        "root": sorted((one.path, one.is_dir) for one in client.list_artifacts(run.info.run_id)),
        "deep": [(one.path, one.file_size) for one in client.list_artifacts(run.info.run_id, "model/code")],
        "files": files(pathlib.Path(got)),
        "note": mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/read me.txt"),
        "missing": refused(lambda: client.download_artifacts(run.info.run_id, "never.txt", str(SCRATCH))) is not None,
    }


@chapter
def registered() -> Any:
    first = mlflow.register_model(f"runs:/{known['run']}/model", "net", tags={"rmse": "54"})
    second = client.create_model_version("net", f"runs:/{known['run']}/model", known["run"], description="again")
    arm = ml.models.get("net", version="1")
    ml.models.download("net", version="1", download_path=SCRATCH / "by-arm")
    by_mlflow = mlflow.artifacts.download_artifacts("models:/net/2", dst_path=str(SCRATCH / "by-mlflow"))
    return {
        "first": shown(first),
        "second": shown(second),
        "run": known["run"],
        "arm": [arm.version, arm.type, arm.tags, arm.job_name],
        "arm_path": arm.path,
        "arm_versions": [one.version for one in ml.models.list("net")],
        "files": [files(SCRATCH / "by-arm" / "net"), files(pathlib.Path(by_mlflow))],
        "uri": client.get_model_version_download_uri("net", "1"),
        "twice": refused(lambda: client.create_registered_model("net")),
        "nowhere": refused(lambda: client.create_model_version("net", "s3://bucket/model")),
        "nobody": refused(lambda: client.create_model_version("net", "runs:/never/model", "never")),
        "unknown": refused(lambda: client.create_model_version("never", f"runs:/{known['run']}/model")),
    }


@chapter
def by_arm() -> Any:
    local = write_model(SCRATCH / "uploaded", "weight 9")
    ml.models.create_or_update(
        Model(
            name="sdk",
            path=str(local),
            type="mlflow_model",
            flavors={"sklearn": {"sklearn_version": "1.5.0"}},
            tags={"by": "sdk"},
            stage="Production",
            description="d",
        )
    )
    version = client.get_model_version("sdk", "1")
    got = mlflow.artifacts.download_artifacts("models:/sdk/1", dst_path=str(SCRATCH / "sdk-got"))
    client.set_model_version_tag("sdk", "1", "champion", "true")
    client.update_model_version("sdk", "1", description="changed")
    client.set_registered_model_tag("sdk", "team", "blue")
    client.update_registered_model("sdk", description="a container")
    changed = ml.models.get("sdk", version="1")
    container = next(one for one in ml.models.list() if one.name == "sdk")
    client.delete_model_version_tag("sdk", "1", "by")
    return {
        "version": shown(version),
        "files": files(pathlib.Path(got)),
        "changed": [changed.tags, changed.description, changed.stage],
        "container": [container.tags, container.description, container.latest_version],
        "without": ml.models.get("sdk", version="1").tags,
        "model": [client.get_registered_model("sdk").tags, client.get_registered_model("sdk").description],
    }


@chapter
def sources() -> Any:
    """The places that azure-ai-ml registers models from."""
    made = "mkdir -p outputs/model; echo artifact > outputs/model/weights.txt"
    named = "mkdir ${{outputs.trained}}/deep; echo named > ${{outputs.trained}}/deep/weights.txt"
    ml.jobs.create_or_update(
        command(
            command=f"{made}; {named}",
            environment="azureml:any:1",
            name="maker",
            outputs={"trained": Output(type="uri_folder")},
        )
    )
    status = ended(ml, "maker").status
    paths = {
        "artifact": "azureml://jobs/maker/outputs/artifacts/paths/outputs/model",
        "named": "azureml://jobs/maker/outputs/trained/paths/deep",
        "run": "runs:/maker/outputs/model",
    }
    models = {name: ml.models.create_or_update(Model(name=name, path=path)) for name, path in paths.items()}
    inside = models["named"].path.partition("/paths/")[2]
    models["stored"] = ml.models.create_or_update(
        Model(name="stored", path=f"azureml://datastores/workspaceblobstore/paths/{inside}", type="triton_model")
    )
    for name in models:
        ml.models.download(name, version="1", download_path=SCRATCH / "sources")
    again = ml.models.create_or_update(Model(name="named", version="1", path=models["named"].path, tags={"a": "b"}))
    return {
        "status": status,
        "jobs": {name: model.job_name for name, model in models.items()},
        "paths": {name: model.path.partition("/datastores/")[2] for name, model in models.items()},
        "types": [models["named"].type, models["stored"].type],
        "files": {name: files(SCRATCH / "sources" / name) for name in models},
        "again": [again.version, again.tags, again.job_name],
        "nobody": error_of(
            lambda: ml.models.create_or_update(Model(name="x", path="azureml://jobs/never/outputs/a/paths/"))
        ),
        "nothing": error_of(
            lambda: ml.models.create_or_update(Model(name="x", path="azureml://jobs/maker/outputs/never/paths/"))
        ),
        "moved": error_of(lambda: ml.models.create_or_update(Model(name="named", version="1", path=paths["artifact"]))),
        "left": "x" in [one.name for one in ml.models.list()],
    }


@chapter
def containers() -> Any:
    """A model and its versions, archived and restored."""
    listed = [one.name for one in ml.models.list()]
    ml.models.archive("stored")
    without = [one.name for one in ml.models.list()]
    only = [one.name for one in ml.models.list(list_view_type=ListViewType.ARCHIVED_ONLY)]
    ml.models.restore("stored")
    ml.models.archive("net", label="latest")
    active = [one.version for one in ml.models.list("net")]
    every = [one.version for one in ml.models.list("net", list_view_type=ListViewType.ALL)]
    latest = ml.models.get("net", label="latest").version
    ml.models.restore("net", version="2")
    return {
        "gone": sorted(set(listed) - set(without)),
        "archived": only,
        "restored": [one.name for one in ml.models.list()] == listed,
        "versions": [active, every, latest],
        "flavors": ml.models.get("sdk", version="1").flavors,
        "missing": error_of(lambda: ml.models.get("never", version="1")),
    }


@chapter
def stages() -> Any:
    client.transition_model_version_stage("net", "1", "Production")
    client.transition_model_version_stage("net", "2", "production", archive_existing_versions=True)
    both = [client.get_model_version("net", version).current_stage for version in ("1", "2")]
    listed = [one.version for one in ml.models.list("net", stage="Production")]
    ml.models.archive("net", version="2")
    archived = [one.version for one in client.search_model_versions("name='net'")]
    ml.models.restore("net", version="2")
    return {
        "both": both,
        "by_stage": listed,
        "latest": sorted((one.version, one.current_stage) for one in client.get_latest_versions("net")),
        "wanted": [one.version for one in client.get_latest_versions("net", ["Production"])],
        "archived": archived,
        "kept": ml.models.get("net", version="2").stage,
        "wrong": refused(lambda: client.transition_model_version_stage("net", "1", "Somewhere")),
    }


@chapter
def aliases() -> Any:
    client.set_registered_model_alias("net", "champion", "1")
    client.set_registered_model_alias("net", "champion", "2")
    client.set_registered_model_alias("net", "challenger", "1")
    means = client.get_model_version_by_alias("net", "champion")
    both = client.get_registered_model("net").aliases
    client.delete_registered_model_alias("net", "challenger")
    return {
        "means": [means.version, list(means.aliases)],
        "all": both,
        "left": client.get_registered_model("net").aliases,
        "gone": refused(lambda: client.get_model_version_by_alias("net", "challenger")),
        "nothing": refused(lambda: client.set_registered_model_alias("net", "x", "99")),
    }


@chapter
def searched() -> Any:
    for number in range(5):
        client.create_registered_model(f"many-{number}", tags={"odd": str(number % 2)})
    page = client.search_registered_models("name LIKE 'many-%'", max_results=2, order_by=["name DESC"])
    more = client.search_registered_models(
        "name LIKE 'many-%'", max_results=2, order_by=["name DESC"], page_token=page.token
    )
    return {
        "pages": [[one.name for one in page], [one.name for one in more], bool(page.token)],
        "tagged": [one.name for one in client.search_registered_models("tags.odd = '1'")],
        "all": [one.name for one in client.search_registered_models()],
        "of_run": sorted(one.version for one in client.search_model_versions(f"run_id = '{known['run']}'")),
        "in_runs": len(client.search_model_versions(f"run_id IN ('{known['run']}', 'other')")),
        "numbered": [one.version for one in client.search_model_versions("name = 'net' AND version_number >= 2")],
        "wrong": refused(lambda: client.search_model_versions("colour = 'blue'")),
        "wrong_list": refused(lambda: client.search_model_versions("run_id IN 'a'")),
    }


@chapter
def deleted() -> Any:
    third = client.create_model_version("net", "models:/net/1")
    copied = ml.models.get("net", version=third.version).job_name
    client.set_registered_model_alias("net", "passing", third.version)
    client.delete_model_version("net", third.version)
    return {
        "copied": [third.version, copied == known["run"]],
        "gone": refused(lambda: client.get_model_version("net", third.version)),
        "arm": [one.version for one in ml.models.list("net")],
        "aliases": client.get_registered_model("net").aliases,
        "whole": refused(lambda: client.delete_registered_model("net")),
        "renamed": refused(lambda: client.rename_registered_model("net", "web")),
    }


@chapter
def metrics() -> Any:
    script = (
        "import mlflow, math\n"
        "for step, value in enumerate([3.0, math.nan, math.inf, -math.inf, 1e-300]):\n"
        "    mlflow.log_metric('loss', value, step=step)\n"
        "mlflow.log_metrics({'rmse': 54.1})\n"
        "mlflow.log_param('alpha', 0.5)\n"
        "mlflow.log_text('from the job', 'made/note.txt')\n"
    )
    code = SCRATCH / "script"
    code.mkdir()
    (code / "train.py").write_text(script)
    ml.jobs.create_or_update(
        command(command="python train.py", code=str(code), environment="azureml:any:1", name="measured")
    )
    done = ended(ml, "measured")
    run = client.get_run("measured")
    history = client.get_metric_history("measured", "loss")
    paged = client._tracking_client.store.get_metric_history("measured", "loss", max_results=2)
    best = client.search_runs([run.info.experiment_id], "metrics.rmse < 55 AND params.alpha = '0.5'")
    return {
        "status": [done.status, run.info.status],
        "last": {key: str(value) for key, value in run.data.metrics.items()},
        "history": [[point.step, str(point.value)] for point in history],
        "finite": [math.isfinite(point.value) for point in history],
        "page": [len(paged), bool(paged.token)],
        "best": [one.info.run_id for one in best],
        "params": run.data.params,
        "artifacts": [one.path for one in client.list_artifacts("measured", "made")],
    }


@chapter
def as_azure_says_it() -> Any:
    """The addresses that a client gets which came by Azure's names."""
    plain = mlflow.MlflowClient(tracking_uri=azure, registry_uri=azure)
    run = plain.get_run(known["run"])
    return {
        "artifacts": run.info.artifact_uri,
        "run": known["run"],
        "of_run": plain.get_model_version_download_uri("net", "1"),
        "uploaded": plain.get_model_version_download_uri("sdk", "1"),
        "from_artifacts": shown(
            plain.create_model_version("net", f"{run.info.artifact_uri}/model", known["run"], tags={"x": "y"})
        ),
    }


print("\n" + json.dumps(found, default=str))

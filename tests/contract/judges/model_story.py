"""What a user of azure-ai-ml does with a model that is deployed to a batch endpoint; prints what happened as JSON."""

# ruff: noqa: T201, TID253, BLE001  # a judge is a program, the SDK is whom it hears, and a failed chapter is told
import contextlib
import io
import json
import os
import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any

from azure.ai.ml import Input, MLClient, Output
from azure.ai.ml.constants import BatchDeploymentOutputAction
from azure.ai.ml.entities import (
    AmlCompute,
    BatchEndpoint,
    BatchRetrySettings,
    CodeConfiguration,
    Data,
    Environment,
    Model,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
)
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential

import telling
from telling import chapter, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
HERE = pathlib.Path(__file__).parent
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
ENDPOINT = "scores"

ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME)
ended = partial(telling.ended, ml)
known: dict[str, Any] = {}


def scored(job: str) -> list[str]:
    """Download what a job scored, the way Azure's documentation does, and read it."""
    folder = SCRATCH / job
    ml.jobs.download(name=job, download_path=folder, output_name="score")
    (file,) = [path for path in folder.rglob("*.csv") if path.is_file()]
    return sorted(file.read_text().splitlines())


def error_of(call: Callable[[], object]) -> dict[str, Any]:
    try:
        call()
    except HttpResponseError as error:
        return {"status": error.status_code, "text": str(error)}
    return {}


def deploy(name: str, code: pathlib.Path, **settings: Any) -> Any:
    asked = {"mini_batch_size": 2, "instance_count": 1, **settings}
    deployment = ModelBatchDeployment(
        name=name,
        endpoint_name=ENDPOINT,
        model=known["model"],
        environment=Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"),
        code_configuration=CodeConfiguration(code=str(code), scoring_script="score.py"),
        compute="scorers",
        settings=ModelBatchDeploymentSettings(**asked),
    )
    return ml.batch_deployments.begin_create_or_update(deployment, skip_script_validation=True).result()


def invoke(deployment: str, **given: Any) -> str:
    return str(ml.batch_endpoints.invoke(endpoint_name=ENDPOINT, deployment_name=deployment, **given).name)


def numbers(name: str, *texts: str) -> pathlib.Path:
    folder = SCRATCH / name
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
    return folder


def known_path(name: str) -> str:
    """Put a folder into the datastore and say where it is there."""
    asset = ml.data.create_or_update(Data(name=f"folder-{name}", path=str(SCRATCH / name), type="uri_folder"))
    return str(asset.path).partition("/paths/")[2]


def log_of(job: str) -> str:
    (child,) = ml.jobs.list(parent_job_name=job)
    folder = SCRATCH / f"log-{job}"
    ml.jobs.download(name=child.name, download_path=folder)
    return (folder / "artifacts" / "user_logs" / "std_log.txt").read_text()


@chapter
def deployment() -> Any:
    ml.compute.begin_create_or_update(AmlCompute(name="scorers", size="Standard_DS3_v2", max_instances=2)).result()
    model = SCRATCH / "net"
    model.mkdir()
    (model / "weight.txt").write_text("0.5")
    known["model"] = ml.models.create_or_update(Model(name="net", path=str(model), type="custom_model")).id
    ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name=ENDPOINT)).result()
    deploy(
        "net",
        HERE / "scoring",
        max_concurrency_per_instance=2,
        output_action=BatchDeploymentOutputAction.APPEND_ROW,
        output_file_name="sums.csv",
        retry_settings=BatchRetrySettings(max_retries=2, timeout=60),
        error_threshold=1,
        logging_level="debug",
        environment_variables={"GREETING": "hello"},
    )
    endpoint = ml.batch_endpoints.get(ENDPOINT)
    endpoint.defaults.deployment_name = "net"
    ml.batch_endpoints.begin_create_or_update(endpoint).result()
    got = ml.batch_deployments.get("net", ENDPOINT)
    return {
        "model": got.model == known["model"],
        "script": got.code_configuration.scoring_script,
        "settings": [got.mini_batch_size, got.max_concurrency_per_instance, got.error_threshold, got.output_file_name],
        "words": [got.output_action, got.logging_level.lower(), got.provisioning_state],
        "retries": [got.retry_settings.max_retries, got.retry_settings.timeout],
        "variables": got.environment_variables,
        "listed": [one.name for one in ml.batch_deployments.list(ENDPOINT)],
        "default": ml.batch_endpoints.get(ENDPOINT).defaults.deployment_name,
    }


@chapter
def folder() -> Any:
    given = Input(type="uri_folder", path=str(numbers("three", "1", "2", "3")))
    invoked = ml.batch_endpoints.invoke(endpoint_name=ENDPOINT, input=given)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ml.jobs.stream(invoked.name)
    done = ended(invoked.name)
    (child,) = ml.jobs.list(parent_job_name=invoked.name)
    ml.jobs.download(name=child.name, download_path=SCRATCH / "child", all=True)
    files = {path.relative_to(SCRATCH / "child").as_posix(): path for path in (SCRATCH / "child").rglob("*.txt")}
    return {
        "first": invoked.status,
        "status": done.status,
        "type": done.type,
        "experiment": done.experiment_name,
        "tags": done.tags,
        "parameters": json.loads(done.properties["azureml.parameters"]),
        "child": [child.display_name, child.status],
        "streamed": said.getvalue(),
        "rows": scored(invoked.name),
        "log": files["artifacts/user_logs/std_log.txt"].read_text(),
        "progress": files["artifacts/logs/job_progress_overview.txt"].read_text(),
        "files": sorted(files),
    }


@chapter
def file_and_asset() -> Any:
    file = numbers("one", "41.5") / "0.txt"
    asset = ml.data.create_or_update(Data(name="numbers", path=str(numbers("two", "7", "8")), type="uri_folder"))
    by_file = invoke("net", input=Input(type="uri_file", path=str(file)))
    by_asset = invoke("net", inputs={"numbers": Input(type="uri_folder", path=f"azureml:numbers:{asset.version}")})
    jobs = [ended(name).status for name in (by_file, by_asset)]
    listed = {one.name: one.status for one in ml.batch_endpoints.list_jobs(ENDPOINT)}
    return {
        "statuses": jobs,
        "file": scored(by_file),
        "asset": scored(by_asset),
        "listed": [listed[by_file], listed[by_asset]],
    }


@chapter
def elsewhere() -> Any:
    path = "azureml://datastores/workspaceblobstore/paths/scored/here/"
    name = invoke(
        "net",
        input=Input(type="uri_folder", path=f"azureml://datastores/workspaceblobstore/paths/{known_path('three')}"),
        outputs={"score": Output(type="uri_folder", path=path)},
        params_override=[{"output_file_name": "mine.csv"}, {"mini_batch_size": 1}],
    )
    done = ended(name)
    copy = ml.data.create_or_update(Data(name="scored", path=f"{path}mine.csv", type="uri_file"))
    again = invoke("net", input=Input(type="uri_file", path=f"azureml:scored:{copy.version}"))
    return {"status": done.status, "again": ended(again).status, "why": log_of(again)}


@chapter
def failures() -> Any:
    bare = SCRATCH / "bare"
    bare.mkdir()
    (bare / "score.py").write_text("def init():\n    pass\n")
    deploy("bare", bare)
    given = Input(type="uri_folder", path=str(SCRATCH / "three"))
    broken = invoke("net", input=Input(type="uri_folder", path=str(numbers("broken", "x", "y", "1"))))
    no_run = invoke("bare", input=given)
    message = ""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            ml.jobs.stream(no_run)
        except Exception as error:  # what stream raises is the SDK's own
            message = str(error)
    known["model"] = known["model"].replace("/versions/1", "/versions/9")
    return {
        "statuses": [ended(broken).status, ended(no_run).status],
        "streamed": message,
        "broken": log_of(broken),
        "no_run": log_of(no_run),
        "no_model": error_of(lambda: deploy("lost", bare)),
        "literal": error_of(lambda: invoke("net", inputs={"x": Input(type="number", default=3)})),
        "two": error_of(
            lambda: invoke("net", inputs=dict.fromkeys(("a", "b"), Input(type="uri_folder", path="https://x.y/z/")))
        ),
    }


@chapter
def summary_only() -> Any:
    known["model"] = known["model"].replace("/versions/9", "/versions/1")
    quiet = SCRATCH / "quiet"
    quiet.mkdir()
    (quiet / "score.py").write_text(
        "import os, pathlib\ndef init(): pass\ndef run(files):\n"
        "    pathlib.Path(os.environ['AZUREML_BI_OUTPUT_PATH'], 'own.csv').write_text('own')\n    return files\n"
    )
    deploy("quiet", quiet, output_action=BatchDeploymentOutputAction.SUMMARY_ONLY)
    name = invoke("quiet", input=Input(type="uri_folder", path=str(SCRATCH / "three")))
    return {"status": ended(name).status, "rows": scored(name)}


@chapter
def mlflow_model() -> Any:
    folder, data = SCRATCH / "adder", SCRATCH / "tables"
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: adder\n    code: code\n")
    (folder / "code" / "adder.py").write_text(
        "class Model:\n    def predict(self, table):\n        return table.x + table.y\n"
        "def _load_pyfunc(path):\n    return Model()\n"
    )
    data.mkdir()
    (data / "rows.csv").write_text("x,y\n1,2\n3,4\n")
    deployment = ModelBatchDeployment(
        name="adder",
        endpoint_name=ENDPOINT,
        model=ml.models.create_or_update(Model(name="adder", path=str(folder), type="mlflow_model")),
        compute="scorers",
        settings=ModelBatchDeploymentSettings(mini_batch_size=10, retry_settings=BatchRetrySettings(timeout=120)),
    )
    ml.batch_deployments.begin_create_or_update(deployment).result()
    name = invoke("adder", input=Input(type="uri_folder", path=str(data)))
    return {"status": ended(name).status, "rows": scored(name)}


@chapter
def deletion() -> Any:
    ml.batch_deployments.begin_delete("bare", ENDPOINT).result()
    left = sorted(one.name for one in ml.batch_deployments.list(ENDPOINT))
    ml.batch_endpoints.begin_delete(ENDPOINT).result()
    return {"left": left, "endpoints": [one.name for one in ml.batch_endpoints.list() if one.name == ENDPOINT]}


print()  # the SDK has written dots into the line, one for each second of a deletion
print(json.dumps(found, default=str))

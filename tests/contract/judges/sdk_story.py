"""Everything that a user of azure-ai-ml does with a workspace, in one process; prints what happened as JSON.

Importing the SDK takes seconds, so one story serves all tests. A chapter that fails is reported with its traceback and
does not end the story.
"""

# ruff: noqa: T201, TID253, BLE001  # a judge is a program, the SDK is whom it hears, and a failed chapter is told
import contextlib
import io
import json
import os
import pathlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
from azure.ai.ml import Input, MLClient, Output, command, dsl, load_component
from azure.ai.ml.entities import (
    AmlCompute,
    BatchEndpoint,
    Data,
    Environment,
    Model,
    PipelineComponentBatchDeployment,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from azure.storage.blob import BlobServiceClient

import telling
from telling import chapter, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
OTHER = os.environ["CONTRACT_OTHER_WORKSPACE"].split("/")
HERE = pathlib.Path(__file__).parent
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"

ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME)
ended = partial(telling.ended, ml)
known: dict[str, Any] = {}


def error_of(call: Callable[[], object]) -> dict[str, Any]:
    try:
        call()
    except HttpResponseError as error:
        return {"type": type(error).__name__, "status": error.status_code, "text": str(error)}
    return {"type": "none"}


def output_text(run: str, output: str, file: str) -> str:
    """Read a file of a run's output the way run history tells it.

    ``jobs.download`` of 1.35 leaves out outputs that lie elsewhere than the default place of the run:
    https://github.com/Azure/azure-sdk-for-python/issues/48941
    """
    workspace = ml.workspaces.get(NAME)
    api = workspace.discovery_url.removesuffix("/discovery")
    token = DefaultAzureCredential().get_token("https://ml.azure.com/.default").token
    head = {"Authorization": f"Bearer {token}"}
    root = f"{api}/history/v1.0{workspace.id}/rundata"
    told = httpx.post(root, json={"runId": run, "selectRunMetadata": True}, headers=head, timeout=10).json()
    asset = told["runMetadata"]["outputs"][output]["assetId"]
    root = f"{api}/data/v1.0{workspace.id}/dataversion/batchGetResolvedUris"
    uri = httpx.post(root, json={"values": [asset]}, headers=head, timeout=10).json()["values"][asset]["uri"]
    datastore, path = uri.partition("/datastores/")[2].split("/paths/")
    store = ml.datastores.get(datastore, include_secrets=True)
    url = f"https://{store.account_name}.blob.core.windows.net"
    with BlobServiceClient(url, credential=store.credentials.account_key) as blobs:
        return blobs.get_blob_client(store.container_name, path + file).download_blob().readall().decode()


def shell(text: str, **more: Any) -> Any:
    return command(command=text, environment=known["environment"], compute="cpu", **more)


@chapter
def workspace() -> Any:
    got = ml.workspaces.get(NAME)
    return {
        "name": got.name,
        "location": got.location,
        "discovery": got.discovery_url,
        "tracking": got.mlflow_tracking_uri,
        "listed": [one.name for one in ml.workspaces.list()],
    }


@chapter
def missing_workspace() -> Any:
    try:
        ml.workspaces.get("nowhere")
    except ResourceNotFoundError as error:
        return {"code": str(error.error and error.error.code), "text": error.message}
    return {}


@chapter
def datastores() -> Any:
    return {
        "all": sorted(one.name for one in ml.datastores.list()),
        "default": ml.datastores.get_default().name,
        "key": bool(ml.datastores.get("workspaceblobstore", include_secrets=True).credentials.account_key),
    }


@chapter
def compute() -> Any:
    made = ml.compute.begin_create_or_update(AmlCompute(name="cpu", size="Standard_DS3_v2", max_instances=2)).result()
    return {"state": made.provisioning_state, "size": made.size, "listed": [one.name for one in ml.compute.list()]}


@chapter
def environment() -> Any:
    conda = SCRATCH / "conda.yml"
    conda.write_text("name: x\nchannels: [conda-forge]\ndependencies: [python=3.11]\n")
    first = ml.environments.create_or_update(Environment(name="env", image=IMAGE, conda_file=conda))
    second = ml.environments.create_or_update(Environment(name="env", version="2", image=IMAGE))
    known["environment"] = ml.environments.get("env", label="latest").id
    versions = [one.version for one in ml.environments.list("env")]
    return {"first": first.version, "second": second.version, "latest": known["environment"], "versions": versions}


@chapter
def data() -> Any:
    file = SCRATCH / "numbers.txt"
    file.write_text("1\n2\n3\n")
    first = ml.data.create_or_update(Data(name="numbers", path=str(file), type="uri_file"))
    again = ml.data.create_or_update(
        Data(name="numbers", version="1", path=first.path, type="uri_file", tags={"a": "b"})
    )
    elsewhere = "azureml://datastores/workspaceblobstore/paths/elsewhere.txt"
    moved = error_of(
        lambda: ml.data.create_or_update(Data(name="numbers", version="1", path=elsewhere, type="uri_file"))
    )
    latest = ml.data.get("numbers", label="latest")
    known["data"] = latest
    return {"path": first.path, "version": first.version, "tags": again.tags, "latest": latest.version, "moved": moved}


@chapter
def component() -> Any:
    loaded = load_component(HERE / "prepare.yml")
    first = ml.components.create_or_update(loaded)
    known["prepare"] = ml.components.get("prepare", version="1")
    return {
        "version": first.version,
        "default": ml.components.get("prepare").version,
        "missing": error_of(lambda: ml.components.get("never", version="1")),
        "optional": known["prepare"].inputs["factor"].optional,
        "listed": [one.name for one in ml.components.list()],
    }


@chapter
def command_job() -> Any:
    job = command(
        name="first",
        command="echo begun; sleep 3; python prepare.py ${{inputs.numbers}} ${{inputs.factor}} ${{outputs.scaled}}",
        code=str(HERE / "code"),
        environment=known["environment"],
        compute="cpu",
        experiment_name="contract",
        inputs={"numbers": Input(type="uri_file", path=known["data"].id), "factor": 2.5},
        outputs={"scaled": Output(type="uri_folder")},
        tags={"owner": "contract"},
    )
    made = ml.jobs.create_or_update(job)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ml.jobs.stream(made.name)
    done = ended("first")
    known["code"] = done.code
    folder = SCRATCH / "first"
    ml.jobs.download("first", download_path=folder)
    ml.jobs.download("first", download_path=folder, output_name="scaled")
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    return {
        "first": made.status,
        "status": done.status,
        "streamed": said.getvalue(),
        "files": files,
        "studio": done.studio_url,
        "tags": done.tags,
    }


@chapter
def code_again() -> Any:
    job = command(
        name="second",
        command="python summarise.py ${{inputs.numbers}} ${{outputs.total}}",
        code=str(HERE / "code"),
        environment=known["environment"],
        experiment_name="contract",
        inputs={"numbers": Input(type="uri_folder", path="azureml://jobs/first/outputs/scaled/paths/")},
        outputs={"total": Output(type="uri_folder", path="azureml://datastores/workspaceblobstore/paths/totals/")},
    )
    ml.jobs.create_or_update(job)
    done = ended("second")
    total = output_text("second", "total", "total.txt")
    return {
        "status": done.status,
        "same_code": done.code == known["code"],
        "total": total,
        "properties": done.properties,
    }


@chapter
def names() -> Any:
    spec = shell("echo once", name="once", display_name="once", experiment_name="contract")
    ml.jobs.create_or_update(spec)
    ended("once")
    same = error_of(lambda: ml.jobs.create_or_update(spec))
    changed = error_of(
        lambda: ml.jobs.create_or_update(
            shell("echo twice", name="once", display_name="once", experiment_name="contract")
        )
    )
    return {"same": same, "changed": changed, "missing": error_of(lambda: ml.jobs.get("never"))}


@chapter
def failing_job() -> Any:
    ml.jobs.create_or_update(shell("echo before; echo the reason >&2; exit 3", name="failing"))
    said = io.StringIO()
    message = ""
    with contextlib.redirect_stdout(said):
        try:
            ml.jobs.stream("failing")
        except Exception as error:  # what stream raises is the SDK's own
            message = f"{type(error).__name__}: {error}"
    return {"status": ended("failing").status, "message": message, "streamed": said.getvalue()}


@chapter
def cancelled_job() -> Any:
    ml.jobs.create_or_update(shell("sleep 600", name="sleeping"))
    while ml.jobs.get("sleeping").status != "Running":
        time.sleep(0.1)
    ml.jobs.begin_cancel("sleeping").result()
    again = ml.jobs.begin_cancel("sleeping").result()
    return {"status": ml.jobs.get("sleeping").status, "again": again}


def pipeline(prepare: Any, summarise: Any) -> Any:
    @dsl.pipeline(default_compute="cpu")  # type: ignore[untyped-decorator]  # the SDK's own
    def two_steps(numbers: Input(type="uri_file"), factor: Input(type="number", default=2.0)) -> Any:  # type: ignore[valid-type]  # the SDK's own way
        first = prepare(numbers=numbers, factor=factor)
        second = summarise(numbers=first.outputs.scaled)
        return {"total": second.outputs.total}

    return two_steps


@chapter
def pipeline_job() -> Any:
    known["summarise"] = load_component(HERE / "summarise.yml")
    made = pipeline(known["prepare"], known["summarise"])
    job = made(numbers=Input(type="uri_file", path=known["data"].id), factor=10.0)
    job.name = "pipe"
    submitted = ml.jobs.create_or_update(job, experiment_name="contract")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ml.jobs.stream("pipe")
    done = ended(submitted.name)
    children = list(ml.jobs.list(parent_job_name="pipe"))
    known["child"] = next(one.name for one in children if one.display_name == "second")
    ml.jobs.download(known["child"], download_path=SCRATCH / "child", output_name="total")
    child = ml.jobs.get(known["child"])
    return {
        "first": submitted.status,
        "status": done.status,
        "streamed": said.getvalue(),
        "children": sorted((one.display_name, one.status) for one in children),
        "child": [child.name == known["child"], child.status],
        "total": output_text("pipe", "total", "total.txt"),
        "downloaded": next((SCRATCH / "child").rglob("total.txt")).read_text(),
    }


@chapter
def failing_pipeline() -> Any:
    known["broken"] = load_component(
        source=HERE / "prepare.yml",
        params_override=[{"name": "broken"}, {"command": "echo ${{inputs.numbers}} ${{outputs.scaled}}; exit 7"}],
    )
    job = pipeline(known["broken"], known["summarise"])(numbers=Input(type="uri_file", path=known["data"].id))
    job.name = "brokenpipe"
    ml.jobs.create_or_update(job)
    done = ended("brokenpipe")
    return {
        "status": done.status,
        "children": sorted((one.display_name, one.status) for one in ml.jobs.list(parent_job_name="brokenpipe")),
    }


@chapter
def model() -> Any:
    made = ml.models.create_or_update(
        Model(name="weights", path="azureml://jobs/second/outputs/artifacts/paths/outputs/", type="custom_model")
    )
    local = SCRATCH / "model"
    local.mkdir()
    (local / "weights.txt").write_text("1")
    second = ml.models.create_or_update(Model(name="weights", path=str(local), type="custom_model"))
    ml.models.download("weights", version="1", download_path=SCRATCH / "downloaded")
    files = [path.read_text() for path in (SCRATCH / "downloaded").rglob("model.txt")]
    ml.models.archive("weights", version="2")
    return {
        "path": made.path,
        "job": made.job_name,
        "version": made.version,
        "second": second.version,
        "files": files,
        "active": [one.version for one in ml.models.list("weights")],
        "latest": ml.models.get("weights", label="latest").version,
    }


@chapter
def batch_endpoint() -> Any:
    made = pipeline(known["prepare"], known["summarise"])
    registered = ml.components.create_or_update(made._pipeline_builder.build(), name="two_steps", version="1")
    ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name="scoring", description="x")).result()
    for name in ("blue", "green"):
        deployment = PipelineComponentBatchDeployment(
            name=name, endpoint_name="scoring", component=registered, settings={"default_compute": "cpu"}
        )
        ml.batch_deployments.begin_create_or_update(deployment).result()
    endpoint = ml.batch_endpoints.get("scoring")
    endpoint.defaults.deployment_name = "blue"
    ml.batch_endpoints.begin_create_or_update(endpoint).result()
    endpoint = ml.batch_endpoints.get("scoring")
    return {
        "uri": endpoint.scoring_uri,
        "state": endpoint.provisioning_state,
        "default": endpoint.defaults.deployment_name,
        "deployments": sorted(one.name for one in ml.batch_deployments.list("scoring")),
    }


@chapter
def invocation() -> Any:
    inputs = {"numbers": Input(type="uri_file", path=known["data"].path), "factor": Input(type="number", default=3)}
    invoked = ml.batch_endpoints.invoke(endpoint_name="scoring", deployment_name="green", inputs=inputs)
    default = ml.batch_endpoints.invoke(endpoint_name="scoring", inputs={"numbers": inputs["numbers"]})
    done = ended(invoked.name)
    ended(default.name)
    jobs = list(ml.batch_endpoints.list_jobs("scoring"))
    return {
        "status": done.status,
        "tags": done.tags,
        "experiment": done.experiment_name,
        "jobs": [one.name for one in jobs],
        "expected": [default.name, invoked.name],
        "children": sorted(one.display_name for one in ml.jobs.list(parent_job_name=invoked.name)),
        "total": output_text(invoked.name, "total", "total.txt"),
        "unknown": error_of(lambda: ml.batch_endpoints.invoke(endpoint_name="nobody", inputs=inputs)),
        "wrong": error_of(
            lambda: ml.batch_endpoints.invoke(
                endpoint_name="scoring", inputs={"numbrs": inputs["numbers"]}, deployment_name="blue"
            )
        ),
    }


@chapter
def listing() -> Any:
    jobs = list(ml.jobs.list())
    ml.jobs.archive("once")
    return {"names": [one.name for one in jobs], "after": [one.name for one in ml.jobs.list()]}


@chapter
def other_workspace() -> Any:
    credential = ClientSecretCredential("contract-tenant", "contract-client", "not-checked")
    other = MLClient(credential, *OTHER)
    return {
        "name": other.workspaces.get(OTHER[2]).name,
        "jobs": [one.name for one in other.jobs.list()],
        "missing": error_of(lambda: other.jobs.get("first")),
        "data": error_of(lambda: other.data.get("numbers", version="1")),
    }


@chapter
def not_emulated() -> Any:
    return error_of(lambda: list(ml.serverless_endpoints.list()))


@chapter
def unknown_host() -> Any:
    try:
        httpx.get("https://example.com/", timeout=5)
    except httpx.ProxyError as error:
        return str(error)
    return "reached"


print(json.dumps(found | {"child_name": known.get("child")}, default=str))

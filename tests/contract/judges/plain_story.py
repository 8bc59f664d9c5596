"""Pipeline jobs that are published nowhere, as a worker submits them with our back end; prints what happened as JSON.

azure-ai-ml takes seconds to import and changes its process's environment, so the story has a process of its own; and
it tells when azure-ai-ml was imported. A chapter that fails is told and does not end the story.
"""

# ruff: noqa: T201  # a judge is a program, and a failed chapter is told
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.azureml import Client
from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.jobs import JobKey, JobSnapshot, Situation
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.plain import PipelineFile, held
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError
from airflow_azureml.operators.backends import Order, backend_of
from airflow_azureml.operators.start import Try, find_or_start
from airflow_azureml.wire import jobs, named
from airflow_azureml.wire.http import Flow, Request
from telling import FINAL, chapter, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
HTTP, BLOBS, ACCOUNT, ACCOUNT_KEY = sys.argv[1:]
SDK = "azure.ai.ml"
STEP: dict[str, Any] = {
    "type": "command",
    "name": "say",
    "code": "code",
    "command": "python say.py ${{inputs.word}} ${{inputs.rows}} ${{outputs.result}}/said.txt",
    "environment": {"image": "debian:bookworm"},
    "inputs": {"word": {"type": "string"}, "rows": {"type": "uri_file"}},
    "outputs": {"result": {"type": "uri_folder"}},
}
PIPELINE: dict[str, Any] = {
    "type": "pipeline",
    "display_name": "plain",
    "experiment_name": "of the file",
    "inputs": {"word": "nothing", "rows": {"type": "uri_file", "path": "azureml:none:1", "mode": "download"}},
    "outputs": {"result": {"type": "uri_folder"}},
    "settings": {"default_compute": "serverless", "force_rerun": False},
    "jobs": {
        "say": {
            "type": "command",
            "component": STEP,
            "inputs": {"word": "${{parent.inputs.word}}", "rows": "${{parent.inputs.rows}}"},
            "outputs": {"result": "${{parent.outputs.result}}"},
        }
    },
}
#: The job fails unless the blob says what the word does.
SAY = """
import sys
word, rows, said = sys.argv[1:]
text = open(rows).read()
assert text == word, (text, word)
open(said, "w").write(text)
"""
EXTRA = {
    "subscription_id": SUBSCRIPTION,
    "resource_group": GROUP,
    "workspace": NAME,
    "authentication": "emulator",
    "endpoint": HTTP,
}
settings = ConnectionSettings.parse(EXTRA, conn_id="plain")
client = Client(settings)
blobs = BlobServiceClient(f"{BLOBS}/{ACCOUNT}", credential=ACCOUNT_KEY)


def arrived(name: str, text: str) -> dict[str, Any]:
    """Write a blob, and tell of it as the arrival that an event would tell of."""
    blob = blobs.get_blob_client("plain", name)
    etag = str(blob.upload_blob(text.encode(), overwrite=True)["etag"]).strip('"')
    return Arrival(
        account=ACCOUNT,
        container="plain",
        path=name,
        etag=etag,
        size_bytes=len(text),
        sequencer="01",
        time="2026-01-01T00:00:00+00:00",
        api="PutBlob",
        url=f"{BLOBS}/{ACCOUNT}/plain/{name}",
    ).to_wire()


def key_of(task: str) -> JobKey:
    return JobKey.of_task("dag", "run", task, -1)


def order_of(inputs: dict[str, Any], outputs: dict[str, str] | None = None, **order: Any) -> Order:
    told = {"force_rerun": True, **order.pop("settings", {})}
    return Order(passed=Passed.parse(inputs, {}), outputs=outputs or {}, settings=told, **order)


def run(task: str, pipeline: Any, order: Order, *, number: int = 1) -> JobSnapshot:
    """Do what a try of a task does."""
    this = Try(key=key_of(task), memory=None, number=number, situation=Situation(), owner=f"dag/run/{task}/-1/{number}")
    job = find_or_start(client, settings.workspace, this, backend_of(client, settings, held(pipeline), order))
    assert isinstance(job, JobSnapshot)
    return job


def told_by(call: Callable[[], Any]) -> dict[str, Any]:
    """Tell of an error, and whether azure-ai-ml was there when it came."""
    try:
        call()
    except AzureMLError as error:
        return {"type": type(error).__name__, "text": str(error), "sdk": SDK in sys.modules, "jobs": names()}
    return {"type": "none"}


def names() -> list[str]:
    look = Request(doing="List", method="GET", url=f"{settings.workspace.url}/jobs", params={"api-version": "x"})
    return sorted(one["name"] for one in client.run(asked(look))["value"])


def ended(name: str) -> dict[str, Any]:
    """Wait for a job's end, and show what the service shows of it."""
    deadline = time.monotonic() + 120
    while client.run(jobs.get(settings.workspace, name)).status not in FINAL:
        assert time.monotonic() < deadline, f"{name} does not end"
        time.sleep(0.2)
    look = Request(doing="Look", method="GET", url=f"{settings.workspace.url}/jobs/{name}", params={"api-version": "x"})
    return dict(client.run(asked(look))["properties"])


def asked(look: Request) -> Flow[dict[str, Any]]:
    return dict((yield look).expect(look, 200))


def file_of(folder: str, pipeline: dict[str, Any]) -> PipelineFile:
    """Write a pipeline's file with the code beside it, and its component in a file of its own."""
    place = SCRATCH / folder
    (place / "code").mkdir(parents=True)
    (place / "code" / "say.py").write_text(SAY)
    (place / "say.yml").write_text(json.dumps(STEP))
    node = {**pipeline["jobs"]["say"], "component": "say.yml"}
    (place / "pipeline.yml").write_text(json.dumps({**pipeline, "jobs": {"say": node}}))
    return PipelineFile(place / "pipeline.yml")


blobs.create_container("plain")
FILE = file_of("files", PIPELINE)
os.chdir(FILE.path.removesuffix("pipeline.yml"))
ROWS = arrived("rows.csv", "rows")


@chapter
def adopted() -> Any:
    body = {"jobType": "Command", "command": "exit 0"}
    there = client.run(named.put(settings.workspace, key_of("adopted"), 1, body, owner="dag/run/adopted/-1/1"))
    job = run("adopted", FILE, order_of({"word": "x", "rows": ROWS}), number=2)
    return {"same": job.name == there.name, "sdk": SDK in sys.modules}


@chapter
def misfit() -> Any:
    order = order_of({"wrod": "x", "rows": "here.csv"}, {"reslut": "azureml://a", "result": "b"})
    return {"before": names(), **told_by(lambda: run("misfit", FILE, order))}


@chapter
def replaced() -> Any:
    old = arrived("replaced.csv", "old")
    arrived("replaced.csv", "new")
    return {"before": names(), **told_by(lambda: run("replaced", FILE, order_of({"word": "old", "rows": old})))}


@chapter
def no_file() -> Any:
    (SCRATCH / "torn.yml").write_text("{")
    (SCRATCH / "list.yml").write_text("[]")
    wanted = {name: PipelineFile(SCRATCH / f"{name}.yml") for name in ("missing", "torn", "list")}
    return {name: told_by(partial(run, "no_file", file, order_of({}))) for name, file in wanted.items()}


@chapter
def from_file() -> Any:
    result = "azureml://datastores/workspaceblobstore/paths/plain/out/"
    order = order_of({"word": "rows", "rows": ROWS}, {"result": result}, experiment="of the task")
    job = run("from_file", FILE, order)
    return {"name": job.name, "expected": key_of("from_file").job_name(1), "result": result, **ended(job.name)}


@chapter
def twice() -> Any:
    """A try whose answer was lost submits again, under the same name."""
    order = order_of({"word": "rows", "rows": ROWS})
    this = Try(key=key_of("from_file"), memory=None, number=1, situation=Situation(), owner="dag/run/from_file/-1/1")
    job = backend_of(client, settings, FILE, order).submit(this, 1)
    return {"name": job.name, "expected": key_of("from_file").job_name(1)}


@chapter
def from_mapping() -> Any:
    return ended(run("from_mapping", PIPELINE, order_of({"word": "rows", "rows": ROWS})).name)


@chapter
def from_object() -> Any:
    """One object for two tasks; the second passes less, and is given nothing of what the first passed."""
    from azure.ai.ml import load_job

    job = load_job(FILE.path)
    first = run(
        "from_object", job, order_of({"word": "rows", "rows": ROWS}, settings={"default_compute": "serverless"})
    )
    second = run("again", job, order_of({"rows": ROWS}))
    return {"first": ended(first.name), "second": ended(second.name)}


@chapter
def from_callable() -> Any:
    from azure.ai.ml import load_job

    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return load_job(FILE.path)

    wrong = told_by(lambda: run("wrong", make, order_of({"wrod": "x"})))
    del made[:]
    shown = ended(run("from_callable", make, order_of({"word": "rows", "rows": ROWS})).name)
    return {"calls": len(made), "wrong": wrong, **shown}


@chapter
def no_pipelines() -> Any:
    from azure.ai.ml import command

    node = command(command="x", environment="azureml:e:1")
    wanted = {"number": 3, "command": node, "job": {"type": "command"}, "made": lambda: 3}
    return {name: told_by(partial(run, "no_pipelines", one, order_of({}))) for name, one in wanted.items()}


print(json.dumps(found, default=str))

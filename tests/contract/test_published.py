"""What SDK v1 published, run by our own back end against the emulator: once, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from attrs import evolve, frozen
from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.azureml import Client
from airflow_azureml.core.jobs import JobKey, JobSnapshot, Memory, Phase, Situation, Stage
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.published import Kind, PipelineEndpoint, PublishedPipeline
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, UnavailableError
from airflow_azureml.operators.backends import Order, backend_of
from airflow_azureml.operators.start import Try, find_or_start
from airflow_azureml.wire import jobs, published
from azureml_emulator.cli import main
from azureml_emulator.names import WorkspaceName, blob_store_container
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator, wait_for
from tests.contract.controlled import client_of, controlled_emulator

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
CONTAINER = blob_store_container(WorkspaceName.parse(WORKSPACE))
STEP = {
    "name": "shout",
    "type": "command",
    "command": (
        "for i in $(seq ${{inputs.times}}); do echo ${{inputs.word}}; done > ${{outputs.said}}/said.txt"
        " && cat '${{inputs.data}}' >> ${{outputs.said}}/said.txt && sleep ${{inputs.seconds}}"
    ),
    "inputs": {
        "word": {"type": "string"},
        "times": {"type": "integer"},
        "seconds": {"type": "number"},
        "data": {"type": "uri_file"},
    },
    "outputs": {"said": {"type": "uri_folder"}},
}
INPUTS = ("word", "times", "seconds", "data")


@frozen(kw_only=True)
class Shop:
    """A workspace with a published pipeline, and who runs it."""

    http: httpx.Client
    client: Client
    settings: ConnectionSettings
    blobs: BlobServiceClient
    pipeline: str

    def start(self, key: JobKey, *, number: int = 1, **more: Any) -> JobSnapshot:
        """Do what a task's try does until it has its run."""
        order = Order(
            passed=Passed.parse(more.pop("inputs", {"word": "hello", "data": self.put("x,y\n")}), {}),
            outputs=more.pop("outputs", {}),
            settings={"force_rerun": True, **more.pop("settings", {})},
        )
        memory = Memory(stage=Stage.HELD, job="", try_number=number - 1, max_tries=0) if number > 1 else None
        this = Try(key=key, memory=memory, number=number, situation=Situation(), owner=f"d/r/t/-1/{number}")
        pipeline = more.pop("pipeline", PublishedPipeline(self.pipeline))
        assert not more
        found = find_or_start(
            self.client, self.settings.workspace, this, backend_of(self.client, self.settings, pipeline, order)
        )
        assert isinstance(found, JobSnapshot)
        return found

    def ended(self, job: JobSnapshot) -> JobSnapshot:
        """Wait for a run's end, as the job that v2 shows it as."""
        seen = [job]

        def _over() -> bool:
            seen.append(self.client.run(jobs.get(self.settings.workspace, job.name)))
            return seen[-1].phase.is_final

        wait_for(_over, f"run {job.name} has ended")
        return seen[-1]

    def runs(self, key: JobKey) -> list[dict[str, Any]]:
        """List the pipeline jobs of a key, as the workspace itself shows them."""
        wanted = f"airflow.idempotency_key={key.digest}"
        found = self.http.get(f"{ARM_ID}/jobs", params={"properties": wanted}).json()["value"]
        return [one["properties"] for one in found]

    def put(self, text: str) -> str:
        """Put a file into the default datastore, and say where it is as v2 does."""
        path = f"in/{uuid.uuid4().hex} 1.csv"
        self.blobs.get_blob_client(CONTAINER, path).upload_blob(text.encode())
        return f"azureml://datastores/workspaceblobstore/paths/{path}"

    def said(self, key: JobKey) -> str:
        blob = self.blobs.get_blob_client(CONTAINER, f"out/{key.digest}/said.txt")
        return bytes(blob.download_blob().readall()).decode()


def out(key: JobKey) -> dict[str, str]:
    return {"said": f"azureml://datastores/workspaceblobstore/paths/out/{key.digest}/"}


def publish(http: httpx.Client, version: str, *, word: str) -> str:
    """Register a pipeline component, and publish it as v1 would have."""
    step = http.put(f"{ARM_ID}/components/shout/versions/1", json={"properties": {"componentSpec": STEP}}).json()
    node = {
        "type": "command",
        "componentId": step["id"],
        "inputs": {name: {"value": f"${{{{parent.inputs.{name}}}}}"} for name in INPUTS},
        "outputs": {"said": {"value": "${{parent.outputs.said}}"}},
    }
    spec = {
        "name": "shouting",
        "type": "pipeline",
        "version": version,
        "inputs": {
            "word": {"type": "string", "default": word},
            "times": {"type": "integer", "default": 1},
            "seconds": {"type": "number", "default": 0},
            "data": {"type": "uri_file"},
        },
        "outputs": {"said": {"type": "uri_folder"}},
        "jobs": {"shout": node},
    }
    put = http.put(f"{ARM_ID}/components/shouting/versions/{version}", json={"properties": {"componentSpec": spec}})
    assert put.status_code == 201, put.text
    made = http.post(f"/emulator/published{ARM_ID}/Pipelines", json={"component": f"shouting:{version}"})
    assert made.status_code == 200, made.text
    return str(made.json()["Id"])


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("published"), azurite) as made:
        yield made


@pytest.fixture(scope="module")
def whole(emulator: Emulator) -> Iterator[Shop]:
    names = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    reached = {"authentication": "emulator", "endpoint": emulator.addresses.http}
    settings = ConnectionSettings.parse({**names, **reached}, conn_id="mine")
    credential = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
    with (
        client_of(emulator) as http,
        Client(settings) as client,
        BlobServiceClient(f"{emulator.addresses.blob}/{DEV_ACCOUNT}", credential=credential) as blobs,
    ):
        pipeline = publish(http, "1", word="first")
        yield Shop(http=http, client=client, settings=settings, blobs=blobs, pipeline=pipeline)


@pytest.fixture
def shop(whole: Shop) -> Iterator[Shop]:
    yield whole
    whole.http.delete("/control/faults")


@pytest.fixture
def key() -> JobKey:
    return JobKey.of_task("d", uuid.uuid4().hex, "t", -1)


def test_the_emulator_tells_a_published_pipelines_parameters_as_v1_does(shop: Shop) -> None:
    told = shop.client.run(published.read(shop.settings.workspace, shop.pipeline))

    assert {name: (one.kind, one.required, one.default) for name, one in told.parameters.items()} == {
        "word": (Kind.STRING, False, "first"),
        "times": (Kind.INTEGER, False, "1"),
        "seconds": (Kind.NUMBER, False, "0"),
        "data": (Kind.DATA_PATH, True, ""),
        "said": (Kind.DATA_PATH, False, ""),
    }


def test_texts_and_data_paths_reach_the_steps_and_outputs_go_where_they_are_told(shop: Shop, key: JobKey) -> None:
    inputs = {"word": "hi", "times": 2, "data": shop.put("a,b\n")}
    run = shop.start(key, inputs=inputs, outputs=out(key))

    assert shop.ended(run).phase is Phase.SUCCEEDED
    assert shop.said(key) == "hi\nhi\na,b\n"


def test_a_run_is_a_job_with_its_owners_name_and_a_page(shop: Shop, key: JobKey) -> None:
    run = shop.start(key)

    assert (run.key, run.attempt) == (key.digest, 1)
    assert run.properties["airflow.owner"] == "d/r/t/-1/1"
    assert run.studio_url.startswith(str(shop.http.base_url))


def test_a_blob_in_the_container_of_a_datastore_is_passed_by_its_https_address(shop: Shop, key: JobKey) -> None:
    path = shop.put("by address\n").partition("/paths/")[2]
    url = f"{shop.blobs.url.rstrip('/')}/{CONTAINER}/{path.replace(' ', '%20')}"

    run = shop.start(key, inputs={"data": url}, outputs=out(key))

    assert shop.ended(run).phase is Phase.SUCCEEDED
    assert shop.said(key) == "first\nby address\n"


def test_a_try_that_may_not_be_the_first_finds_the_run_and_posts_nothing(shop: Shop, key: JobKey) -> None:
    first = shop.start(key)
    again = shop.start(key, number=2)

    assert again.name == first.name
    assert len(shop.runs(key)) == 1


def test_the_first_run_of_an_experiment_that_is_not_there_yet_is_looked_for_in_peace(shop: Shop, key: JobKey) -> None:
    found = published.runs_of(shop.settings.workspace, str(shop.http.base_url).rstrip("/"), "never-was", key)

    assert list(shop.client.run(found)) == []


def test_a_run_whose_answer_was_lost_is_found_and_not_posted_again(shop: Shop, key: JobKey) -> None:
    lost = {"method": "POST", "path": ".*/PipelineSubmit/.*", "count": 1, "apply_then_drop": True}
    shop.http.put("/control/faults", json=[lost])

    run = shop.start(key)

    assert [one["properties"]["airflow.attempt"] for one in shop.runs(key)] == ["1"]
    assert run.key == key.digest


def test_a_post_that_was_not_taken_is_left_to_the_next_try(shop: Shop, key: JobKey) -> None:
    shop.http.put(
        "/control/faults", json=[{"method": "POST", "path": ".*/PipelineSubmit/.*", "count": 1, "reset": True}]
    )
    with pytest.raises(UnavailableError, match="Submit published pipeline shouting"):
        shop.start(key)
    assert shop.runs(key) == []

    run = shop.start(key, number=2)

    assert [one["properties"]["airflow.attempt"] for one in shop.runs(key)] == ["1"]
    assert run.attempt == 1


def test_after_a_failure_the_next_try_is_a_second_attempt(shop: Shop, key: JobKey) -> None:
    gone = {"word": "x", "data": "azureml://datastores/workspaceblobstore/paths/never/was.csv"}
    assert shop.ended(shop.start(key, inputs=gone)).phase is Phase.FAILED

    second = shop.start(key, number=2, inputs=gone)

    assert second.attempt == 2
    assert sorted(one["properties"]["airflow.attempt"] for one in shop.runs(key)) == ["1", "2"]


def test_a_run_is_cancelled_as_any_job_is_and_v1_says_so_too(shop: Shop, key: JobKey) -> None:
    run = shop.start(key, inputs={"seconds": 300, "data": shop.put("x")})

    shop.client.run(jobs.cancel(shop.settings.workspace, run.name))

    assert shop.ended(run).phase is Phase.CANCELED
    told = shop.http.get(f"/pipelines/v1.0{ARM_ID}/PipelineRuns/{run.name}").json()
    assert told["Status"]["StatusCode"] == "Canceled"


def test_an_endpoint_runs_its_default_version_or_the_one_that_is_named(shop: Shop, key: JobKey) -> None:
    second = publish(shop.http, "2", word="second")
    ours = f"/emulator/published{ARM_ID}/PipelineEndpoints"
    _, body = (
        shop.http.post(ours, json={"name": "shout now", "pipelineId": pipeline}).json()
        for pipeline in (shop.pipeline, second)
    )
    other = evolve(key, digest=uuid.uuid4().hex)

    by_default = shop.start(key, pipeline=PipelineEndpoint("shout now"), outputs=out(key), inputs=data(shop))
    named = shop.start(other, pipeline=PipelineEndpoint(body["Id"], "0"), outputs=out(other), inputs=data(shop))

    assert [shop.ended(run).phase for run in (by_default, named)] == [Phase.SUCCEEDED, Phase.SUCCEEDED]
    assert (shop.said(key), shop.said(other)) == ("second\nx", "first\nx")
    assert [one["experimentName"] for one in shop.runs(key)] == ["shout-now"]
    assert shop.start(key, number=2, pipeline=PipelineEndpoint("shout now"), inputs=data(shop)).name == by_default.name


def data(shop: Shop) -> dict[str, str]:
    return {"data": shop.put("x")}


@pytest.mark.parametrize(
    ("pipeline", "told"),
    [
        (PublishedPipeline("00000000-0000-0000-0000-00000000dead"), "Read published pipeline 00000000.*: 404"),
        (PublishedPipeline(" "), "has no id"),
        (PipelineEndpoint("nowhere"), "Read pipeline endpoint nowhere in workspace .*: 404"),
    ],
)
def test_what_is_not_published_is_told_before_anything_is_submitted(
    shop: Shop, key: JobKey, pipeline: Any, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        shop.start(key, pipeline=pipeline)


def test_a_version_that_an_endpoint_has_not_is_told_with_those_it_has(shop: Shop, key: JobKey) -> None:
    shop.http.post(
        f"/emulator/published{ARM_ID}/PipelineEndpoints", json={"name": "versioned", "pipelineId": shop.pipeline}
    )

    with pytest.raises(ConfigError, match=r"has no version 7 \(its versions: 0\)"):
        shop.start(key, pipeline=PipelineEndpoint("versioned", "7"))


def test_everything_that_does_not_fit_is_told_at_once_and_nothing_is_submitted(shop: Shop, key: JobKey) -> None:
    with pytest.raises(ConfigError) as caught:
        shop.start(
            key,
            inputs={"wrod": "x", "times": "many"},
            outputs={"elsewhere": "azureml://datastores/workspaceblobstore/paths/x/"},
        )

    for words in (
        "does not fit the published pipeline shouting",
        "input 'wrod' is no parameter of it (its parameters: data, said, seconds, times, word)",
        "input 'times' is a integer, and 'many' is none",
        "output 'elsewhere' is no parameter of it",
        "required parameter 'data' (DataPath) is missing",
    ):
        assert words in str(caught.value)
    assert shop.runs(key) == []


def test_a_setting_that_v1_does_not_take_is_told(shop: Shop, key: JobKey) -> None:
    with pytest.raises(ConfigError, match="takes no setting but continue_on_step_failure"):
        shop.start(key, settings={"default_compute": "cpu"})


def test_the_command_reads_a_published_pipeline_from_the_workspace_of_a_connection(shop: Shop, tmp_path: Path) -> None:
    extra = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    reached = {"authentication": "emulator", "endpoint": str(shop.http.base_url).rstrip("/")}
    connection = json.dumps({"conn_type": "azureml", "extra": {**extra, **reached}})
    command = [sys.executable, "-m", "airflow", "azureml", "migrate-published", shop.pipeline, "--conn-id", "mine"]

    done = subprocess.run(
        [*command, "--output", "said"],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW_CONN_MINE": connection},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    component, _, _ = yaml.safe_load_all(done.stdout.replace("\n# ----", "\n---\n# ----"))
    assert component["inputs"] == {
        "word": {"type": "string", "default": "first"},
        "times": {"type": "integer", "default": 1},
        "seconds": {"type": "number", "default": 0},
        "data": {"type": "uri_folder"},
    }
    assert component["outputs"] == {"said": {"type": "uri_folder"}}


def test_the_emulators_own_command_publishes_a_component_and_names_an_endpoint(
    shop: Shop, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--state-dir", str(emulator.state_dir), "--workspace", WORKSPACE]

    assert main(["publish", "shouting:1", *where, "--endpoint", "by command"]) == 0
    pipeline, endpoint = capsys.readouterr().out.splitlines()
    assert main(["publish", "never:1", *where]) == 1
    refused = capsys.readouterr().err
    assert main(["publish", "shouting:1", "--state-dir", where[1], "--workspace", "a/b"]) == 1

    assert pipeline == shop.pipeline
    described = shop.client.run(published.describe(shop.settings.workspace, PipelineEndpoint(endpoint.split()[0])))
    assert described.published.id == pipeline
    assert "never:1 is no pipeline component" in refused
    assert "is not SUBSCRIPTION/RESOURCE_GROUP/NAME" in capsys.readouterr().err

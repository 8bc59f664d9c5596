"""Models that are deployed to a batch endpoint, as the official SDK and as our own back end see them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from attrs import frozen

from airflow_azureml.client.azureml import Client
from airflow_azureml.core.jobs import JobKey, JobSnapshot, Memory, Situation, Stage
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import BatchEndpoint
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import UnavailableError
from airflow_azureml.operators.backends import Order, backend_of
from airflow_azureml.operators.start import Try, find_or_start
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator, of, tell
from tests.contract.controlled import client_of, controlled_emulator

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="session")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(emulator, "model_story.py", tmp_path_factory.mktemp("models"), patience_s=360)


@of("deployment")
def test_a_deployment_of_a_model_comes_back_as_it_was_made(chapter: dict[str, Any]) -> None:
    assert chapter == {
        "model": True,
        "script": "score.py",
        "settings": [2, 2, 1, "sums.csv"],
        "words": ["append_row", "debug", "Succeeded"],
        "retries": [2, 60],
        "variables": {"GREETING": "hello"},
        "listed": ["net"],
        "default": "net",
    }


@of("folder")
def test_the_default_deployment_really_scores_a_folder(chapter: dict[str, Any]) -> None:
    assert [chapter["first"], chapter["status"], chapter["type"]] == ["Preparing", "Completed", "pipeline"]
    assert chapter["rows"] == ["0.txt 1.5", "1.txt 2.5", "2.txt 3.5"]
    assert chapter["child"] == ["batchscoring", "Completed"]
    assert "Submitted step batchscoring" in chapter["streamed"]


@of("folder")
def test_the_job_shows_the_settings_it_ran_with(chapter: dict[str, Any]) -> None:
    assert chapter["experiment"] == "scores"
    assert chapter["tags"] == {
        "outputType": "output_data",
        "inputType": "input_data",
        "azureml.batchrun": "true",
        "azureml.deploymentname": "net",
        "azureml.jobtype": "azureml.batchjob",
    }
    assert chapter["parameters"] == {
        "run_max_try": "2",
        "run_invocation_timeout": "60",
        "mini_batch_size": "2",
        "error_threshold": "1",
        "logging_level": "DEBUG",
        "process_count_per_node": "2",
        "legacy_model_job": "False",
        "NodeCount": "1",
        "append_row_file_name": "sums.csv",
    }


@of("folder")
def test_the_logs_are_where_azure_has_them(chapter: dict[str, Any]) -> None:
    assert "weight 0.5 hello" in chapter["log"]
    assert "3 files in 2 mini-batches of at most 2." in chapter["progress"]
    assert "artifacts/logs/user/stdout/node0/process000.stdout.txt" in chapter["files"]


@of("file_and_asset")
def test_a_file_and_a_data_asset_are_scored(chapter: dict[str, Any]) -> None:
    assert chapter == {
        "statuses": ["Completed", "Completed"],
        "file": ["0.txt 42.0"],
        "asset": ["0.txt 7.5", "1.txt 8.5"],
        "listed": ["Completed", "Completed"],
    }


@of("elsewhere")
def test_an_invocation_says_where_the_score_goes_and_how_its_file_is_called(chapter: dict[str, Any]) -> None:
    assert [chapter["status"], chapter["again"]] == ["Completed", "Failed"]
    assert "could not convert string to float" in chapter["why"]
    assert all(row in chapter["why"] for row in ("0.txt 1.5", "1.txt 2.5", "2.txt 3.5")), "it was given that file"


@of("failures")
def test_a_job_fails_with_the_reason_in_the_log_of_its_step(chapter: dict[str, Any]) -> None:
    assert chapter["statuses"] == ["Failed", "Failed"]
    assert "Failed nodes: /batchscoring" in chapter["streamed"]
    assert "The scoring script score.py has no function run." in chapter["no_run"]
    assert "2 items failed, which is more than the error threshold of 1." in chapter["broken"]


@of("failures")
def test_what_cannot_work_is_refused(chapter: dict[str, Any]) -> None:
    assert chapter["no_model"]["status"] == 404
    assert "/models/net/versions/9 not found" in chapter["no_model"]["text"]
    assert chapter["literal"]["status"] == 400
    assert "Input x is a literal; a model scores a uri_folder or a uri_file" in chapter["literal"]["text"]
    assert "exactly one input, of data, and it was given a, b" in chapter["two"]["text"]


@of("summary_only")
def test_summary_only_leaves_the_output_to_the_script(chapter: dict[str, Any]) -> None:
    assert chapter == {"status": "Completed", "rows": ["own"]}


@of("mlflow_model")
def test_a_model_of_mlflow_needs_neither_script_nor_environment(chapter: dict[str, Any]) -> None:
    assert chapter == {"status": "Completed", "rows": ["0 3 rows.csv", "1 7 rows.csv"]}


@of("deletion")
def test_deployments_and_endpoints_are_deleted(chapter: dict[str, Any]) -> None:
    assert chapter == {"left": ["adder", "net", "quiet"], "endpoints": []}


# our own back end


@frozen(kw_only=True)
class Endpoint:
    """An endpoint whose model scores for ever, by script, and who invokes it."""

    http: httpx.Client
    client: Client
    settings: ConnectionSettings

    def start(self, key: JobKey, *, number: int = 1) -> JobSnapshot:
        """Do what a task's try does until it has its job."""
        order = Order(passed=Passed.parse({"in": "azureml://datastores/workspaceblobstore/paths/in/"}, {}), outputs={})
        memory = Memory(stage=Stage.HELD, job="", try_number=number - 1, max_tries=0) if number > 1 else None
        this = Try(key=key, memory=memory, number=number, situation=Situation(), owner=f"d/r/t/-1/{number}")
        backend = backend_of(self.client, self.settings, BatchEndpoint("lasting"), order)
        found = find_or_start(self.client, self.settings.workspace, this, backend)
        assert isinstance(found, JobSnapshot)
        return found

    def strike(self, method: str, path: str, **effect: Any) -> None:
        fault = {"method": method, "path": path, "count": 1, **effect}
        self.http.put("/control/faults", json=[fault]).raise_for_status()

    def jobs(self, key: JobKey) -> list[dict[str, Any]]:
        """List the jobs that carry a key, by property or by tag."""
        found = self.http.get(f"{ARM_ID}/jobs").json()["value"]
        carried = [one["properties"]["tags"] | one["properties"]["properties"] for one in found]
        return [one for one in carried if one.get("airflow.idempotency_key") == key.digest]


@pytest.fixture(scope="module")
def lasting(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    subscription, group, name = WORKSPACE.split("/")
    with controlled_emulator(tmp_path_factory.mktemp("lasting"), azurite) as emulator, client_of(emulator) as http:
        extra = {
            "subscription_id": subscription,
            "resource_group": group,
            "workspace": name,
            "authentication": "emulator",
            "endpoint": emulator.addresses.http,
        }
        model = {"modelUri": "azureml://datastores/workspaceblobstore/paths/m", "modelType": "mlflow_model"}
        going = {"emulator.script": '[["Running", 1]]'}
        deployment = {"model": {"referenceType": "Id", "assetId": f"{ARM_ID}/models/m/versions/1"}}
        defaults = {"defaults": {"deploymentName": "net"}}
        for verb, path, properties in (
            ("PUT", "models/m/versions/1", model),
            ("PUT", "batchEndpoints/lasting", {}),
            ("PUT", "batchEndpoints/lasting/deployments/net", deployment),
            ("PATCH", "batchEndpoints/lasting", defaults),
        ):
            body = {"properties": properties, "tags": going if "deployments" in path else {}}
            http.request(verb, f"{ARM_ID}/{path}", json=body).raise_for_status()
        settings = ConnectionSettings.parse(extra, conn_id="mine")
        with Client(settings) as client:
            yield Endpoint(http=http, client=client, settings=settings)


@pytest.fixture
def key(lasting: Endpoint) -> Iterator[JobKey]:
    yield JobKey.given("d", "t", uuid.uuid4().hex)
    lasting.http.delete("/control/faults")


def test_a_models_job_carries_whose_it_is_although_its_invocation_could_not_say_so(
    lasting: Endpoint, key: JobKey
) -> None:
    job = lasting.start(key)

    (carried,) = lasting.jobs(key)
    assert (carried["airflow.owner"], carried["airflow.attempt"]) == ("d/r/t/-1/1", "1")
    assert lasting.start(key, number=2).name == job.name


def test_a_models_job_whose_answer_was_lost_is_found_and_not_posted_again(lasting: Endpoint, key: JobKey) -> None:
    lasting.strike("POST", ".*/lasting/jobs", apply_then_drop=True)

    job = lasting.start(key)

    (carried,) = lasting.jobs(key)
    assert carried["airflow.owner"] == "d/r/t/-1/1"
    assert job.key == key.digest


@pytest.mark.parametrize("effect", [{"status": 403}, {"reset": True}])
def test_a_job_that_could_not_be_marked_is_found_all_the_same(
    lasting: Endpoint, key: JobKey, effect: dict[str, Any]
) -> None:
    lasting.strike("PATCH", ".*/runs/.*", **effect)

    job = lasting.start(key)

    assert lasting.start(key, number=2).name == job.name
    assert len(lasting.jobs(key)) == 1


def test_an_invocation_that_was_not_taken_is_left_to_the_next_try(lasting: Endpoint, key: JobKey) -> None:
    lasting.strike("POST", ".*/lasting/jobs", reset=True)

    with pytest.raises(UnavailableError):
        lasting.start(key)

    assert lasting.start(key, number=2).key == key.digest
    assert len(lasting.jobs(key)) == 1

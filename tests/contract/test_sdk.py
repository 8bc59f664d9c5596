from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import ARM_ID, OTHER, WORKSPACE, Emulator, of, tell

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A workspace that nobody else has touched."""
    made = Emulator(tmp_path_factory.mktemp("sdk-emulator") / "state", *azurite)
    made.start("--log-level", "debug")
    yield made
    made.end()


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(emulator, "sdk_story.py", tmp_path_factory.mktemp("sdk"), patience_s=360)


@of("workspace")
def test_a_workspace_is_read_with_the_names_of_azures_hosts(chapter: dict[str, Any]) -> None:
    assert chapter["name"] == NAME
    assert chapter["location"] == "westeurope"
    assert chapter["discovery"] == "https://westeurope.api.azureml.ms/discovery"
    assert chapter["tracking"] == f"azureml://westeurope.api.azureml.ms/mlflow/v1.0{ARM_ID}"
    assert chapter["listed"] == [NAME]


@of("missing_workspace")
def test_a_workspace_that_is_not_there_is_resource_not_found(chapter: dict[str, Any]) -> None:
    assert chapter["code"] == "ResourceNotFound"
    assert f"workspaces/nowhere' under resource group '{GROUP}' was not found" in chapter["text"]


@of("datastores")
def test_a_new_workspace_has_four_datastores(chapter: dict[str, Any]) -> None:
    expected = ["artifactstore", "blobstore", "filestore", "workingdirectory"]
    assert chapter == {"all": [f"workspace{name}" for name in expected], "default": "workspaceblobstore", "key": True}


@of("compute")
def test_a_cluster_is_created(chapter: dict[str, Any]) -> None:
    assert chapter == {"state": "Succeeded", "size": "STANDARD_DS3_V2", "listed": ["cpu"]}


@of("environment")
def test_the_latest_environment_is_the_one_created_last(chapter: dict[str, Any]) -> None:
    assert [chapter["first"], chapter["second"]] == ["1", "2"]
    assert chapter["versions"] == ["2", "1"]
    assert chapter["latest"] == f"{ARM_ID}/environments/env/versions/2"


@of("data")
def test_a_data_assets_path_never_changes_but_its_tags_do(chapter: dict[str, Any]) -> None:
    assert chapter["path"].endswith("/numbers.txt")
    assert [chapter["version"], chapter["latest"], chapter["tags"]] == ["1", "1", {"a": "b"}]
    assert chapter["moved"]["status"] == 400
    assert "(UserError) Asset paths cannot be updated." in chapter["moved"]["text"]


@of("component")
def test_a_component_is_found_by_version_and_by_its_default_label(chapter: dict[str, Any]) -> None:
    assert [chapter["version"], chapter["default"], chapter["optional"]] == ["1", "1", True]
    assert chapter["missing"]["type"] == "ResourceNotFoundError"
    assert "Not found component never" in chapter["missing"]["text"]
    assert "prepare" in chapter["listed"]
    assert "azureml_anonymous" not in chapter["listed"]


@of("command_job")
def test_a_command_job_really_runs_and_its_log_and_output_can_be_had(chapter: dict[str, Any]) -> None:
    assert [chapter["first"], chapter["status"], chapter["tags"]] == ["Starting", "Completed", {"owner": "contract"}]
    assert "begun" in chapter["streamed"]
    assert chapter["files"]["named-outputs/scaled/numbers.txt"].split() == ["2.5", "5.0", "7.5"]
    assert chapter["files"]["artifacts/user_logs/std_log.txt"] == "begun\npreparing 3 numbers\n"
    assert chapter["studio"].startswith("https://ml.azure.com/runs/first?wsid=/subscriptions/")


@of("code_again")
def test_code_that_was_uploaded_is_not_uploaded_again(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Completed"
    assert chapter["same_code"] is True


@of("code_again")
def test_a_job_reads_the_output_of_another(chapter: dict[str, Any]) -> None:
    assert chapter["total"] == "15.0"


@of("names")
def test_a_job_of_the_same_name_is_the_same_job_or_refused(chapter: dict[str, Any]) -> None:
    assert chapter["same"] == {"type": "none"}
    assert chapter["changed"]["status"] == 400
    assert "(UserError) A job with this name already exists" in chapter["changed"]["text"]
    assert "JobPropertyImmutable" in chapter["changed"]["text"]
    assert chapter["missing"]["type"] == "ResourceNotFoundError"
    assert "(UserError) Job never not found." in chapter["missing"]["text"]


@of("failing_job")
def test_a_job_that_fails_says_the_end_of_its_log(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Failed"
    assert "JobException" in chapter["message"]
    assert "exited with status code 3" in chapter["message"]
    assert "the reason" in chapter["message"]


@of("cancelled_job")
def test_a_cancelled_job_is_canceled_and_can_be_cancelled_again(chapter: dict[str, Any]) -> None:
    assert chapter == {"status": "Canceled", "again": None}


@of("pipeline_job")
def test_a_pipeline_of_two_steps_really_runs(chapter: dict[str, Any]) -> None:
    assert [chapter["first"], chapter["status"]] == ["Preparing", "Completed"]
    assert chapter["children"] == [["first", "Completed"], ["second", "Completed"]]
    assert chapter["child"] == [True, "Completed"]
    assert [chapter["total"], chapter["downloaded"]] == ["60.0", "60.0"]
    assert "Submitted step second" in chapter["streamed"]


@of("failing_pipeline")
def test_a_pipeline_fails_with_its_step_and_does_not_start_the_next(chapter: dict[str, Any]) -> None:
    assert chapter == {"status": "Failed", "children": [["first", "Failed"], ["second", "Canceled"]]}


@of("model")
def test_a_model_is_registered_from_a_jobs_output(chapter: dict[str, Any]) -> None:
    assert [chapter["version"], chapter["job"], chapter["files"]] == ["1", "second", ["weight 15.0"]]
    assert chapter["path"].endswith("/datastores/workspaceartifactstore/paths/ExperimentRun/dcid.second/outputs/")


@of("model")
def test_an_archived_model_version_is_neither_listed_nor_the_latest(chapter: dict[str, Any]) -> None:
    assert [chapter["second"], chapter["active"], chapter["latest"]] == ["2", ["1"], "1"]


@of("batch_endpoint")
def test_a_batch_endpoint_has_deployments_of_a_pipeline_component(chapter: dict[str, Any]) -> None:
    assert chapter == {
        "uri": "https://scoring.westeurope.inference.ml.azure.com/jobs",
        "state": "Succeeded",
        "default": "blue",
        "deployments": ["blue", "green"],
    }


@of("invocation")
def test_an_invocation_runs_the_deployment_it_names(chapter: dict[str, Any]) -> None:
    assert [chapter["status"], chapter["experiment"], chapter["total"]] == ["Completed", "scoring", "18.0"]
    assert chapter["tags"]["azureml.deploymentname"] == "green"
    assert chapter["children"] == ["first", "second"]
    assert chapter["jobs"] == chapter["expected"]


@of("invocation")
def test_a_wrong_invocation_is_told_what_is_wrong(chapter: dict[str, Any]) -> None:
    assert "(NoSuchEndpoint) There is no endpoint with name: nobody" in chapter["unknown"]["text"]
    assert chapter["wrong"]["status"] == 400
    assert "numbrs is no input of it; numbers (uri_file) is missing" in chapter["wrong"]["text"]


@of("listing")
def test_jobs_are_listed_newest_first_without_steps_and_without_archived_ones(chapter: dict[str, Any]) -> None:
    names = [name for name in chapter["names"] if not name.startswith("batchjob-")]
    assert names == ["brokenpipe", "pipe", "sleeping", "failing", "once", "second", "first"]
    assert set(chapter["names"]) - set(chapter["after"]) == {"once"}


@of("other_workspace")
def test_two_workspaces_do_not_see_each_other(chapter: dict[str, Any]) -> None:
    assert [chapter["name"], chapter["jobs"]] == [OTHER.split("/")[2], []]
    assert chapter["missing"]["type"] == "ResourceNotFoundError"
    assert chapter["data"]["type"] == "ResourceNotFoundError"


@of("not_emulated")
def test_what_is_not_emulated_names_itself(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == 501
    assert f"(NotEmulated) GET {ARM_ID}/serverlessEndpoints is not emulated." in chapter["text"]


def test_a_host_that_is_not_emulated_cannot_be_reached(story: dict[str, Any]) -> None:
    assert "502 azureml-emulator: example.com:443 is not emulated" in story["unknown_host"]


@pytest.fixture(scope="module", params=["v1.0", "v2.0"])
def tracking(
    request: pytest.FixtureRequest, emulator: Emulator, story: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    scratch: Path = tmp_path_factory.mktemp("mlflow")
    return tell(emulator, "mlflow_story.py", scratch, request.param, str(story["child_name"]))


def test_mlflow_logs_a_run_of_its_own_and_reads_it_back(tracking: dict[str, Any]) -> None:
    assert [tracking["status"], tracking["name"]] == ["FINISHED", "from outside"]
    assert tracking["params"] == {"depth": "3", "criterion": "gini"}
    assert tracking["metrics"] == {"auc": "0.9", "loss": "0.1", "nothing": "nan"}
    assert tracking["history"] == [[0, 0.5], [1, 0.7], [2, 0.9]]
    assert tracking["tags"] == {"team": "blue"}


def test_mlflow_searches_runs_by_metric_and_tag(tracking: dict[str, Any]) -> None:
    assert [tracking["found"], tracking["ordered"]] == [True, [0.3, 0.9]]
    assert "The filter is not understood" in tracking["filter"][1]


def test_mlflow_reads_what_a_step_logged(tracking: dict[str, Any]) -> None:
    assert tracking["job"] == {"value": 30.0, "total": 60.0}


def test_mlflow_errors_are_mlflows_own(tracking: dict[str, Any]) -> None:
    assert tracking["missing"][0] == "RESOURCE_DOES_NOT_EXIST"
    assert tracking["twice"][0] == "INVALID_PARAMETER_VALUE"

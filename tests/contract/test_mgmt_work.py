"""What costs money on Azure, judged by azure-mgmt-machinelearningservices: workspaces, computes, jobs and endpoints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.conftest import ARM_ID, Emulator, of, tell

pytestmark = pytest.mark.timeout(400)
STORIES = ("mgmt_places_story.py", "mgmt_work_story.py")


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with ThreadPoolExecutor() as pool:
        told = [
            pool.submit(tell, emulator, judge, tmp_path_factory.mktemp("mgmt"), patience_s=360) for judge in STORIES
        ]
        return {name: chapter for one in told for name, chapter in one.result().items()}


def assert_gone(told: dict[str, Any]) -> None:
    assert [told["type"], told["status"]] == ["ResourceNotFoundError", 404], told


@of("workspaces")
def test_a_workspace_is_created_changed_listed_and_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == ["mgmt-made", "Made", "of the client", {"a": "b"}, True]
    assert chapter["state"] == ["Succeeded", "Microsoft.MachineLearningServices/workspaces", "SystemAssigned", "Basic"]
    assert chapter["tracking"] is True
    assert chapter["changed"] == ["changed", "Made", {"a": "c"}]
    assert [chapter["listed"], chapter["keys"]] == [[True, True, True], [True, True]]
    assert [chapter["resynced"], chapter["diagnosed"]] == [None, []]
    assert_gone(chapter["gone"])
    assert chapter["gone"]["code"] == "ResourceNotFound"


@of("clusters")
def test_a_cluster_is_created_widened_listed_and_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == ["mgmt-cpu", "AmlCompute", "Succeeded", {"a": "b"}]
    assert [chapter["idle"], chapter["size"], chapter["wider"]] == ["0:03:00", "STANDARD_DS3_V2", 4]
    assert [chapter["nodes"], chapter["listed"]] == [[0, [], "Steady"], "AmlCompute"]
    assert [chapter["refused"]["status"], chapter["refused"]["code"]] == [400, "UserError"]
    assert "cannot scale from 2 to 1 nodes" in chapter["refused"]["text"]
    assert_gone(chapter["gone"])


@of("instances")
def test_an_instance_is_stopped_started_and_restarted(chapter: dict[str, Any]) -> None:
    assert chapter["kind"] == "ComputeInstance"
    assert chapter["states"] == ["Running", "Stopped", "Running", "Running"]
    assert_gone(chapter["gone"])


@of("registries")
def test_a_registry_is_there_although_the_client_does_not_know_the_status_of_its_creation(
    chapter: dict[str, Any],
) -> None:
    assert chapter["made"] == ["HttpResponseError", 202]
    assert [chapter["got"], chapter["images"]] == [["mgmtshared", {"a": "b"}, [True]], "Premium"]
    assert [chapter["discovery"], chapter["listed"]] == [True, [True, True]]
    assert_gone(chapter["gone"])


@of("command_job")
def test_a_command_job_runs_is_archived_and_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["first"] == ["CommandJob", "Starting"]
    assert chapter["done"] == ["Completed", "says a word", "mgmt", {"a": "b"}]
    assert [chapter["limits"], chapter["inputs"]] == [["0:05:00", 1], ["LiteralJobInput", "hello"]]
    assert [chapter["output"], chapter["services"]] == ["UriFolderJobOutput", ["Studio", "Tracking"]]
    assert [chapter["created"], chapter["listed"]] == [True, [True, True, False]]
    assert [chapter["again"]["status"], chapter["again"]["code"]] == [400, "UserError"]
    assert "JobPropertyImmutable" in chapter["again"]["text"]
    assert_gone(chapter["gone"])


@of("cancelled_job")
def test_the_poller_of_a_cancel_ends_when_the_job_has(chapter: dict[str, Any]) -> None:
    assert chapter == {"status": "Canceled", "type": "Microsoft.MachineLearningServices/workspaces/jobs"}


@of("pipeline_job")
def test_a_pipeline_job_runs(chapter: dict[str, Any]) -> None:
    assert chapter["first"] == ["PipelineJob", "Preparing"]
    assert [chapter["done"], chapter["listed"]] == [["Completed", ["one", "two"], "3"], [True]]


@of("sweep_job")
def test_a_sweep_job_runs(chapter: dict[str, Any]) -> None:
    assert chapter["first"] == ["SweepJob", "auc"]
    assert [chapter["sampling"], chapter["limits"]] == ["GridSamplingAlgorithm", [2, 2]]
    assert chapter["status"] == "Completed"


@of("batch_endpoint")
def test_a_batch_endpoint_and_its_deployment_are_created_changed_and_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == ["mgmt-batch", "AADToken", "Succeeded", {"a": "b"}]
    assert chapter["uri"] == "https://mgmt-batch.westeurope.inference.ml.azure.com/jobs"
    assert [chapter["blue"], chapter["got"]] == [["Succeeded", 5, "AppendRow"], [True, "0:01:00", 1]]
    assert chapter["updated"] == [{"x": "y"}, "changed"]
    assert [chapter["patched"], chapter["listed"]] == [[{"a": "c"}, "blue"], [True, ["blue"]]]
    assert [chapter["default"]["status"], chapter["default"]["code"]] == [400, "UserError"]
    assert_gone(chapter["gone"])


@of("online_deployment")
def test_an_online_deployment_serves_is_widened_and_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == ["ManagedOnlineDeployment", "Succeeded", {"a": "b"}, 1]
    assert [chapter["settings"], chapter["served"]] == ["0:00:30", [{"blue": 100}, 200, {"sum": 3}]]
    assert chapter["changed"] == [{"a": "c"}, 2, "Succeeded"]
    assert [chapter["logs"], chapter["skus"]] == [True, [True]]
    assert "takes 100 % of the traffic" in chapter["refused"]["text"]
    assert_gone(chapter["gone"])


@of("online_endpoint")
def test_an_online_endpoints_keys_are_changed_one_at_a_time(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == ["mgmt-online", "Key", "Succeeded", {"a": "b"}]
    assert [chapter["keys"], chapter["updated"]] == [[True, True], {"a": "c"}]
    assert [chapter["token"]["status"], chapter["listed"], chapter["deployments"]] == [400, True, []]
    assert_gone(chapter["gone"])


@of("not_emulated")
def test_what_is_not_covered_is_a_501_that_names_the_route(chapter: dict[str, Any]) -> None:
    for what, told in chapter.items():
        assert [told["type"], told.get("status"), told.get("code")] == ["HttpResponseError", 501, "NotEmulated"], what
        assert "is not emulated" in told["text"]
    assert f"GET {ARM_ID}/features is not emulated." in chapter["features"]["text"]
    assert f"POST {ARM_ID}/prepareNotebook is not emulated." in chapter["notebook"]["text"]
    assert "PATCH" in chapter["registry tags"]["text"]


@of("batch_endpoint")
def test_the_keys_of_a_batch_endpoint_are_not_covered(chapter: dict[str, Any]) -> None:
    assert [chapter["keys"]["status"], chapter["keys"]["code"]] == [501, "NotEmulated"]

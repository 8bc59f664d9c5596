"""Online endpoints, as the official SDK sees them: real processes answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Emulator, of, tell

pytestmark = pytest.mark.timeout(400)

CRASHED = "User container has crashed or terminated: Liveness probe failed: HTTP probe failed with statuscode: 502."


@pytest.fixture(scope="session")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(emulator, "online_story.py", tmp_path_factory.mktemp("online"), patience_s=360)


@of("endpoint")
def test_an_endpoint_comes_back_as_it_was_made(chapter: dict[str, Any]) -> None:
    assert chapter["words"] == ["key", "Succeeded", "Managed", "A line", "Enabled"]
    assert chapter["uris"] == [
        "https://line.westeurope.inference.ml.azure.com/score",
        "https://line.westeurope.inference.ml.azure.com/swagger.json",
    ]
    assert chapter["tags"] == {"team": "contract"}
    assert chapter["traffic"] == {}
    assert chapter["identity"] == "system_assigned"
    assert "line" in chapter["listed"]
    assert chapter["nobody"] == 404


@of("deployment")
def test_a_deployment_comes_back_as_it_was_made_with_what_the_service_fills_in(chapter: dict[str, Any]) -> None:
    assert chapter["model"] is True
    assert chapter["words"] == ["Succeeded", "Standard_DS3_v2", 1, "score.py"]
    assert chapter["requests"] == [9000, 2]
    assert chapter["probe"] == [30, 10]
    assert chapter["variables"] == {"GREETING": "hello"}
    assert chapter["tags"] == {"color": "blue"}
    assert chapter["listed"] == ["blue"]


@of("deployment")
def test_the_logs_show_what_the_script_printed_and_how_its_files_came(chapter: dict[str, Any]) -> None:
    assert "slope 2.5 hello" in chapter["logs"]
    assert "/models/slope/versions/1" in chapter["storage"]
    assert "slope 2.5" not in chapter["storage"]


@of("traffic")
def test_traffic_goes_to_deployments_that_are_there_and_adds_up_to_100(chapter: dict[str, Any]) -> None:
    assert chapter["sum"]["status"] == 400
    assert "The sum of the traffic of all deployments is 60; it must be 0 or 100." in chapter["sum"]["text"]
    assert chapter["nobody"]["status"] == 400
    assert "There is no deployment nobody" in chapter["nobody"]["text"]
    assert chapter["now"] == {"blue": 100}


@of("invocation")
def test_a_process_really_answers(chapter: dict[str, Any]) -> None:
    assert chapter == {"scores": [2.5, 5.0, 10.0], "named": [7.5]}


@of("scale")
def test_each_instance_is_a_process_and_scaling_starts_only_those_that_are_missing(chapter: dict[str, Any]) -> None:
    assert chapter == {"instances": 2, "processes": 2, "old_one_stays": True}


@of("mlflow")
def test_an_mlflow_model_needs_no_script(chapter: dict[str, Any]) -> None:
    assert chapter["state"] == "Succeeded"
    assert chapter["split"] == chapter["rows"] == chapter["expected"]
    assert chapter["no_input_data"]["text"] == "Request must contain a top level key named 'input_data'"


@of("mirror")
def test_one_deployment_without_live_traffic_is_sent_copies_of_half_the_traffic_at_most(
    chapter: dict[str, Any],
) -> None:
    assert "60 % of the traffic cannot be mirrored to green; give at most 50." in chapter["refused"][0]
    assert "Deployment blue cannot take live traffic and mirrored traffic at once." in chapter["refused"][1]
    assert chapter["now"] == [{"blue": 100}, {"green": 10}]
    assert "Deployment green is sent a copy of 10 % of the traffic" in chapter["held"]
    assert chapter["after"] == {}


@of("keys")
def test_keys_can_be_made_anew_one_by_one_and_tokens_live_for_a_day(chapter: dict[str, Any]) -> None:
    assert chapter == {
        "lengths": [32, 32],
        "primary_changed": True,
        "secondary_stayed": True,
        "still_works": [5.0],
        "token": [True, "Bearer", 12 * 3600],
    }


@of("failures")
def test_a_deployment_that_cannot_start_fails_with_its_log_and_the_endpoint_stays_as_it_is(
    chapter: dict[str, Any],
) -> None:
    assert f"(ResourceNotReady) {CRASHED}" in chapter["broken"]["text"]
    assert "No module named 'no_such_module'" in chapter["broken"]["text"]
    assert "No module named 'no_such_module'" in chapter["broken_log"]
    assert "RuntimeError: the weights are of another shape" in chapter["raising"]["text"]
    assert [chapter["broken_state"], chapter["raising_state"]] == ["Failed", "Failed"]
    assert chapter["endpoint"] == ["Succeeded", 100]
    assert chapter["still"] == [5.0]


@of("update")
def test_an_update_that_fails_leaves_what_served_before_serving(chapter: dict[str, Any]) -> None:
    assert CRASHED in chapter["failed"]
    assert chapter["still"] == [5.0]
    assert [chapter["state"], chapter["after"]] == ["Succeeded", [10.0]]
    assert "slope 2.5 again" in chapter["log"]


@of("crash")
def test_a_process_that_ends_with_a_request_is_replaced(chapter: dict[str, Any]) -> None:
    assert chapter["refused"]
    assert chapter["next"] == [[5.0]]


@of("deletion")
def test_a_deployment_that_takes_traffic_is_not_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["refused"]["status"] == 400
    assert "Deployment blue takes 100 % of the traffic of endpoint line" in chapter["refused"]["text"]
    assert chapter["left"] == ["broken", "green", "raising"]
    assert "line" not in chapter["endpoints"]
    assert chapter["gone"] == 404


@of("kubernetes")
def test_a_kubernetes_endpoint_is_its_managed_twin(chapter: dict[str, Any]) -> None:
    assert chapter == {
        "endpoint": ["KubernetesOnlineEndpoint", "aks", "Kubernetes"],
        "deployment": "KubernetesOnlineDeployment",
        "scores": [5.0],
    }

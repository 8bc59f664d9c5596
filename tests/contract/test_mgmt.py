"""The emulator, judged by azure-mgmt-machinelearningservices, which is made from Azure's description of its routes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Emulator, of, tell
from tests.contract.live import Live

pytestmark = [pytest.mark.timeout(400), pytest.mark.live]
ASSETS = ("codes", "environments", "components", "data", "models_of_the_workspace")


@pytest.fixture(scope="module")
def story(service: Emulator | Live, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(service, "mgmt_story.py", tmp_path_factory.mktemp("mgmt"), patience_s=360)


def assert_gone(told: dict[str, Any]) -> None:
    assert [told["type"], told["status"]] == ["ResourceNotFoundError", 404], told


@of("datastores")
def test_a_datastore_is_created_changed_listed_and_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == ["AzureBlobDatastore", "Microsoft.MachineLearningServices/workspaces/datastores", False]
    assert chapter["got"] == [True, "of the client", {"a": "b"}]
    assert [chapter["credentials"], chapter["changed"], chapter["created"]] == ["None", "changed", True]
    assert chapter["listed"] == ["AzureBlob", "AzureBlob", "AzureFile"]
    assert chapter["default"] == ["workspaceblobstore"]
    assert chapter["secret"] == ["AccountKeyDatastoreSecrets", True]
    assert_gone(chapter["gone"])
    assert "Could not find datastore: mgmt_blobs" in chapter["gone"]["text"]


@of(*ASSETS)
def test_a_version_has_the_typed_values_that_were_sent(chapter: dict[str, Any]) -> None:
    first, got = chapter["first"], chapter["got"]

    assert [first["name"], got["name"]] == ["1", "1"]
    assert first["type"].endswith("/versions")
    assert first["id"] == got["id"]
    assert [first["properties"]["is_archived"], first["properties"]["is_anonymous"]] == [False, False]
    assert first["system_data"]["created_by_type"] == "User"


@of("environments", "components", "data", "models_of_the_workspace")
def test_a_version_is_changed_in_its_words(chapter: dict[str, Any]) -> None:
    assert chapter["first"]["properties"]["tags"] == {"a": "b"}
    assert chapter["got"]["properties"]["tags"] != {"a": "b"}
    assert chapter["description"] == chapter["got"]["properties"].get("description")


@of(*ASSETS)
def test_versions_are_listed_newest_first_and_known_to_their_container(chapter: dict[str, Any]) -> None:
    assert [chapter["listed"], chapter["newest"], chapter["among"]] == [["2", "1"], ["2"], True]
    assert chapter["container"]["properties"]["is_archived"] is False
    assert chapter["container"]["properties"]["next_version"]
    assert chapter["container"]["properties"].get("latest_version", "2") == "2"


@of(*ASSETS)
def test_versions_and_containers_are_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["left"] == ["1"]
    assert_gone(chapter["never"])
    assert_gone(chapter["gone"])
    assert [chapter["never"]["code"], chapter["gone"]["code"]] == ["UserError", "UserError"]


@of("codes")
def test_code_has_a_place_of_its_own_to_be_uploaded_to(chapter: dict[str, Any]) -> None:
    assert [chapter["pending"], chapter["inside"]] == [["TemporaryBlobReference", "SAS"], True]


@of("components")
def test_a_component_comes_back_with_its_environment_resolved(chapter: dict[str, Any]) -> None:
    spec = chapter["got"]["properties"]["component_spec"]

    assert spec["inputs"] == {"rows": {"type": "integer", "optional": "True", "default": "3"}}
    assert spec["environment"].startswith("azureml:/subscriptions/")
    assert [chapter["refused"]["type"], chapter["refused"]["status"]] == ["HttpResponseError", 400]


@of("data")
def test_each_kind_of_data_is_a_type_of_its_own(chapter: dict[str, Any]) -> None:
    assert chapter["kinds"] == {
        "uri_file": "UriFileDataVersion",
        "uri_folder": "UriFolderDataVersion",
        "mltable": "MLTableData",
    }
    assert chapter["got"]["properties"]["data_uri"].endswith("/rows.csv")


@of("models_of_the_workspace")
def test_a_model_has_a_stage_and_its_container_words(chapter: dict[str, Any]) -> None:
    assert [chapter["stage"], chapter["kept"]] == ["Production", ["all", {"x": "y"}]]


@of("pages")
def test_a_listing_comes_in_pages_that_miss_and_repeat_none(chapter: dict[str, Any]) -> None:
    assert chapter["sizes"] == [3, 3, 1]
    assert chapter["listed"] == ["6", "5", "4", "3", "2", "1", "0"]
    assert [chapter["active"], chapter["archived"]] == [["5", "4", "3", "2", "1", "0"], ["6"]]


@of("schedules")
def test_a_schedule_is_created_changed_listed_and_deleted(chapter: dict[str, Any]) -> None:
    assert chapter["made"][1:] == ["CronTrigger", "0 3 * * *"]
    assert chapter["state"] == ["Succeeded", False, "d"]
    assert [chapter["action"], chapter["trigger"]] == ["CommandJob", ["Week", ["Monday"]]]
    assert chapter["listed"] == [False, True]
    assert_gone(chapter["gone"])


@of("region")
def test_usages_quotas_and_machine_sizes_are_numbers(chapter: dict[str, Any]) -> None:
    assert [chapter["usages"], chapter["used"], chapter["quotas"]] == [[True, True, "Count"], True, [True, True]]
    assert [chapter["sizes"], chapter["known"], chapter["compute"]] == [
        [True, True],
        True,
        ["AmlCompute", "ComputeInstance"],
    ]


@of("connections")
def test_a_connection_shows_no_secret(chapter: dict[str, Any]) -> None:
    assert chapter["made"][1:] == ["PATAuthTypeWorkspaceConnectionProperties", "Git", "https://example.com/r"]
    assert [chapter["hidden"], chapter["listed"]] == [[True, False], [True, False]]
    assert_gone(chapter["gone"])
    assert chapter["gone"]["code"] == "UserError"


@of("missing")
def test_what_is_not_there_is_resource_not_found_with_the_code_of_its_service(chapter: dict[str, Any]) -> None:
    refused = chapter.pop("version of a path")

    for told in chapter.values():
        assert_gone(told)
    assert {what: told["code"] for what, told in chapter.items()} == {
        **dict.fromkeys(("datastore", "code", "environment", "component", "data", "model"), "UserError"),
        **dict.fromkeys(("job", "schedule", "connection"), "UserError"),
        **dict.fromkeys(("batch endpoint", "online endpoint"), "NotFound"),
        "workspace": "ResourceNotFound",
        "compute": None,  # recorded: an empty body
    }
    assert [refused["type"], refused["status"], refused["code"]] == ["HttpResponseError", 400, "UserError"]

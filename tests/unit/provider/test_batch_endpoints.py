"""Conversations about batch endpoints as resources, with answers as Azure gives them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_azureml.core.bundle_parts import Kind, Reference
from airflow_azureml.core.publication import DeploymentNow, EndpointNow
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError
from airflow_azureml.wire import assets, batch_endpoints
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
STATUS = "https://management.azure.com/subscriptions/s/mfeOperationsStatus/1"
FOUND: dict[str, Any] = {
    "id": "/subscriptions/s/x",
    "name": "alpha",
    "location": "eastus2",
    "tags": {"team": "a"},
    "identity": {
        "type": "SystemAssigned, UserAssigned",
        "principalId": "p",
        "userAssignedIdentities": {"/subscriptions/s/id": {"principalId": "q", "clientId": "r"}},
    },
    "systemData": {"createdAt": "then"},
    "properties": {
        "description": "theirs",
        "authMode": "AADToken",
        "properties": {"BatchEndpointCreationApiVersion": "2023-10-01"},
        "defaults": {"deploymentName": "old"},
        "scoringUri": "https://alpha.eastus2.inference.ml.azure.com/jobs",
        "swaggerUri": None,
        "provisioningState": "Succeeded",
    },
}
GONE = answer(404, {"error": {"code": "NotFound", "message": "There is no endpoint with name: alpha in w"}})
NO_WORKSPACE = answer(404, {"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}})


def test_an_endpoint_is_looked_at_with_all_its_deployments() -> None:
    made = {
        "name": "new",
        "tags": {"git_sha": "a"},
        "systemData": {"createdAt": "2026-11-21T00:00:00Z"},
        "properties": {"provisioningState": "Updating"},
    }
    bare = {"name": "old", "tags": None, "properties": {"provisioningState": "Succeeded"}}

    seen = Talk().hold(
        batch_endpoints.look(WORKSPACE, "alpha"), [answer(200, FOUND), answer(200, {"value": [made, bare]})]
    )

    assert seen == EndpointNow(
        state="Succeeded",
        default="old",
        tags={"team": "a"},
        deployments={
            "new": DeploymentNow(state="Updating", tags={"git_sha": "a"}, created="2026-11-21T00:00:00Z"),
            "old": DeploymentNow(state="Succeeded"),
        },
    )


def test_an_endpoint_that_is_not_there_is_none_and_a_workspace_that_is_not_there_is_an_error() -> None:
    assert Talk().hold(batch_endpoints.look(WORKSPACE, "alpha"), [GONE]) is None
    with pytest.raises(RefusedError, match="Look at batch endpoint alpha in workspace w: 404 ResourceNotFound"):
        Talk().hold(batch_endpoints.look(WORKSPACE, "alpha"), [NO_WORKSPACE])


def test_another_default_leaves_the_rest_of_an_endpoint_as_it_was() -> None:
    talk = Talk()

    begun = talk.hold(
        batch_endpoints.set_default(WORKSPACE, "alpha", "new", tags={"git_sha": "a"}),
        [answer(200, FOUND), answer(201, FOUND, **{"azure-asyncoperation": STATUS})],
    )

    assert begun.url == STATUS
    assert talk.asked[-1].method == "PUT"
    assert talk.asked[-1].json == {
        "location": "eastus2",
        "tags": {"team": "a", "git_sha": "a"},
        "identity": {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {"/subscriptions/s/id": {}}},
        "properties": {
            "authMode": "aadToken",
            "description": "theirs",
            "properties": {"BatchEndpointCreationApiVersion": "2023-10-01"},
            "defaults": {"deploymentName": "new"},
        },
    }


def test_a_default_of_an_endpoint_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="There is no batch endpoint alpha in workspace w"):
        Talk().hold(batch_endpoints.set_default(WORKSPACE, "alpha", "new", tags={}), [GONE])


def test_a_new_endpoint_is_what_azure_ai_ml_would_make_and_has_no_default() -> None:
    talk = Talk()

    talk.hold(
        batch_endpoints.put_endpoint(WORKSPACE, "alpha", description="d", auth_mode="aad_token", tags={"a": "b"}),
        [GONE, answer(200, {"location": "eastus2"}), answer(201, FOUND)],
    )

    assert talk.asked[-1].json == {
        "location": "eastus2",
        "tags": {"a": "b"},
        "properties": {"authMode": "aadToken", "properties": {}, "description": "d"},
    }


def test_an_endpoint_that_is_put_again_keeps_its_default() -> None:
    talk = Talk()

    talk.hold(
        batch_endpoints.put_endpoint(WORKSPACE, "alpha", tags={"a": "b"}),
        [answer(200, FOUND), answer(200, FOUND)],
    )

    assert talk.asked[-1].json["properties"]["defaults"] == {"deploymentName": "old"}
    assert talk.asked[-1].json["tags"] == {"team": "a", "a": "b"}


def test_a_deployment_is_what_azure_ai_ml_would_make() -> None:
    talk = Talk()

    talk.hold(
        batch_endpoints.put_component_deployment(
            WORKSPACE,
            "alpha",
            "new",
            component_id=assets.asset_id(WORKSPACE, Kind.COMPONENT, "plc", "1"),
            settings={"default_compute": "cpu"},
            description="d",
            tags={"a": "b"},
        ),
        [answer(200, {"location": "eastus2"}), answer(201, {})],
    )

    assert talk.asked[-1].url.endswith("/batchEndpoints/alpha/deployments/new")
    assert talk.asked[-1].json == {
        "location": "eastus2",
        "tags": {"a": "b"},
        "properties": {
            "deploymentConfiguration": {
                "deploymentConfigurationType": "PipelineComponent",
                "componentId": {"assetId": f"{WORKSPACE.arm_id}/components/plc/versions/1", "referenceType": "Id"},
                "settings": {"default_compute": "cpu"},
            },
            "description": "d",
            "errorThreshold": -1,
            "maxConcurrencyPerInstance": 1,
            "miniBatchSize": 10,
            "outputFileName": "predictions.csv",
        },
    }


def test_a_deployment_that_is_gone_already_is_fine() -> None:
    assert Talk().hold(batch_endpoints.delete_deployment(WORKSPACE, "alpha", "old"), [GONE]) is None
    with pytest.raises(RefusedError, match="Remove deployment old of batch endpoint alpha: 400"):
        Talk().hold(batch_endpoints.delete_deployment(WORKSPACE, "alpha", "old"), [answer(400, {"error": {}})])


@pytest.mark.parametrize(
    ("version", "label", "path", "body"),
    [
        ("7", "", "/versions/7", {"properties": {}}),
        ("", "default", "/versions/azureml_default", {"properties": {}}),
        ("", "latest", "/versions", {"value": [{}]}),
    ],
)
def test_what_a_file_refers_to_is_looked_for_by_version_or_label(
    version: str, label: str, path: str, body: dict[str, Any]
) -> None:
    wanted = Reference(kind=Kind.COMPONENT, name="say", version=version, label=label, told="a.yml")
    talk = Talk()

    assert talk.hold(assets.is_there(WORKSPACE, wanted), [answer(200, body)])
    assert talk.asked[0].url.endswith(f"/components/say{path}")
    assert not Talk().hold(assets.is_there(WORKSPACE, wanted), [GONE])


def test_a_label_that_no_version_has_is_not_there() -> None:
    wanted = Reference(kind=Kind.ENVIRONMENT, name="base", version="", label="latest", told="a.yml")

    assert not Talk().hold(assets.is_there(WORKSPACE, wanted), [answer(200, {"value": []})])

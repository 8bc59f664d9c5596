"""Workspaces, datastores and connections: the answers are as Azure ML's were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.shapes import (
    ACCOUNT,
    API,
    EMPTY,
    GROUP,
    GUID,
    GUID_OF_WORKSPACE,
    LOCATION,
    NAME,
    OF_ASSET,
    SUBSCRIPTION,
    TYPE,
    ZULU,
    Answers,
    Azure,
    Each,
    Either,
    Exchange,
    L,
    W,
    each,
    judged,
    like,
    of_service,
    refused,
)

_BESIDE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
_ELSEWHERE = f"{_BESIDE}/Microsoft.MachineLearningServices/workspaces/elsewhere"
_API_HOST = API.removeprefix("https://")


def _workspace(name: str) -> Any:
    arm_id = f"{_BESIDE}/Microsoft.MachineLearningServices/workspaces/{name}"
    return {
        "id": arm_id,
        "name": name,
        "type": TYPE,
        "location": LOCATION,
        "tags": {},
        "etag": None,
        "properties": {
            "friendlyName": name,
            "description": "",
            "storageAccount": f"{_BESIDE}/Microsoft.Storage/storageAccounts/{ACCOUNT}",
            "keyVault": like(f"{_BESIDE}/Microsoft.Keyvault/vaults/<word>"),
            "applicationInsights": like(f"{_BESIDE}/Microsoft.insights/components/<word>"),
            "hbiWorkspace": False,
            "tenantId": GUID,
            "imageBuildCompute": None,
            "provisioningState": "Succeeded",
            "managedNetwork": {"isolationMode": "Disabled"},
            "v1LegacyMode": False,
            "softDeleteEnabled": False,
            # Nothing here has images, notebooks or telemetry.
            "containerRegistry": Either([None, like(f"{_BESIDE}/Microsoft.ContainerRegistry/registries/<word>")]),
            "creationTime": ZULU,
            "notebookInfo": None,
            "sdkTelemetryAppInsightsKey": Either([None, GUID]),
            "storageHnsEnabled": False,
            "workspaceId": GUID,
            "linkedModelInventoryArmId": None,
            "privateLinkCount": 0,
            "publicNetworkAccess": "Enabled",
            "discoveryUrl": f"{API}/discovery",
            "mlFlowTrackingUri": f"azureml://{_API_HOST}/mlflow/v1.0{arm_id}",
            "sasGetterUri": "",
            "enableDataIsolation": False,
        },
        "identity": {"type": "SystemAssigned", "principalId": GUID, "tenantId": GUID},
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "systemData": OF_ASSET | {"createdAt": ZULU, "lastModifiedAt": ZULU},
    }


_MISSING_WORKSPACE = {
    "error": {
        "code": "ResourceNotFound",
        "message": f"The Resource 'Microsoft.MachineLearningServices/workspaces/never' under resource group '{GROUP}'"
        " was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    }
}
_DONE = {"status": "Succeeded", "percentComplete": 100.0}


def _operation_of(name: str) -> Any:
    return lambda told: told[name].headers["Azure-AsyncOperation"]


WORKSPACES = [
    Exchange("GET workspace", "", 200, _workspace(NAME)),
    Exchange(
        "GET workspace that is missing",
        f"{_BESIDE}/Microsoft.MachineLearningServices/workspaces/never",
        404,
        _MISSING_WORKSPACE,
        headers={"x-ms-failure-cause": "gateway"},
    ),
    # Azure was never seen to be asked so; the words are those of the REST reference.
    Exchange("PUT workspace", _ELSEWHERE, 202, EMPTY, sent={"properties": {}}),
    Exchange("PUT workspace once more", _ELSEWHERE, 200, _workspace("elsewhere"), sent={"properties": {}}),
    Exchange(
        "DELETE workspace",
        f"{_ELSEWHERE}?forceToPurge=true",
        202,
        EMPTY,
        headers={
            "Azure-AsyncOperation": like(
                f"{L}/workspaceOperationsStatus/<guid>?api-version=2023-04-01-preview&type=async"
            ),
            "Location": like(f"{L}/workspaceOperationsStatus/<guid>?api-version=2023-04-01-preview&type=location"),
            "x-ms-async-operation-timeout": None,
        },
    ),
    Exchange("GET operation of a workspace", _operation_of("DELETE workspace"), 200, _DONE),
    Exchange(
        "GET discovery",
        f"{API}/discovery",
        200,
        {
            **dict.fromkeys(("api", "catalog", "experimentation", "gallery", "history", "hyperdrive"), str),
            **dict.fromkeys(("labeling", "modelmanagement", "pipelines", "quota-manager"), str),
            "studio": "https://ml.azure.com",
        },
        headers={"Access-Control-Allow-Origin": "*"},
    ),
]

_STORE = {
    "datastoreType": "AzureBlob",
    "accountName": ACCOUNT,
    "containerName": "recorded",
    "endpoint": "core.windows.net",
    "protocol": "https",
}


def _datastore(name: str, *, default: bool = False, identity: str = "None", **place: Any) -> Any:
    return {
        "id": f"{W}/datastores/{name}",
        "name": name,
        "type": f"{TYPE}/datastores",
        "properties": {
            "description": None,
            "tags": Either([{}, None]),
            "properties": None,
            "isDefault": default,
            "credentials": {"credentialsType": "AccountKey"},
            **_STORE,
            **place,
            "serviceDataAccessAuthIdentity": identity,
        },
        "systemData": OF_ASSET,
    }


_DEFAULT = _datastore(
    "workspaceblobstore",
    default=True,
    identity="WorkspaceSystemAssignedIdentity",
    containerName=f"azureml-blobstore-{GUID_OF_WORKSPACE}",
)
_SECRETS = {"secretsType": "AccountKey", "key": re.compile(r"[A-Za-z0-9+/]+=*")}
DATASTORES = [
    Exchange(
        "PUT datastore",
        "datastores/mine?skipValidation=true",
        201,
        _datastore("mine"),
        sent={
            "properties": {
                "tags": {},
                "credentials": {
                    "credentialsType": "AccountKey",
                    "secrets": {"secretsType": "AccountKey", "key": "dGhpcyBpcyBmYWtlIGtleQ=="},
                },
                **_STORE,
            }
        },
        version="2022-05-01",
        headers={"Location": like("<any>/datastores/mine?skipValidation=true&api-version=2022-05-01")},
    ),
    Exchange("GET datastore", "datastores/mine", 200, _datastore("mine")),
    Exchange("GET default datastore", "datastores/workspaceblobstore", 200, _DEFAULT),
    Exchange(
        "GET datastores that are the default",
        "datastores?count=30&isDefault=true&orderByAsc=false",
        200,
        {"value": [_DEFAULT]},
    ),
    Exchange("GET datastores", "datastores?count=30&orderByAsc=false", 200, {"value": Each(dict, at_least=5)}),
    Exchange("POST listSecrets of a datastore", "datastores/mine/listSecrets", 200, _SECRETS),
    Exchange("DELETE datastore", "datastores/mine", 200, EMPTY),
    Exchange(
        "GET datastore that is missing",
        "datastores/mine",
        404,
        refused("UserError", "Could not find datastore: mine.", "NotFoundError"),
    ),
]

_CONNECTION = {
    "tags": None,
    "location": None,
    "id": f"{W}/connections/git",
    "name": "git",
    "type": f"{TYPE}/connections",
    "properties": {
        "authType": "PAT",
        "credentials": None,
        "category": "Git",
        "target": "https://example.org/repository",
        "metadata": None,
    },
    "systemData": None,
}
_PAT = {
    "authType": "PAT",
    "category": "Git",
    "target": "https://example.org/repository",
    "credentials": {"pat": "dummy"},
}
CONNECTIONS = [
    Exchange("PUT connection", "connections/git", 200, _CONNECTION, sent={"properties": _PAT}),
    Exchange("GET connection", "connections/git", 200, _CONNECTION),
    Exchange("GET connections of a category", "connections?category=Git", 200, {"value": [_CONNECTION]}),
    Exchange("DELETE connection", "connections/git", 200, EMPTY),
    Exchange(
        "GET connection that is missing",
        "connections/git",
        404,
        of_service(
            "Connection git can't be found in this workspace",
            {"code": "NotFoundError", "innerError": None},
            "account-rp",
        ),
    ),
]

EXCHANGES = [*WORKSPACES, *DATASTORES, *CONNECTIONS]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    return recorded_azure.tell(EXCHANGES)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []

"""Registries and what is shared in them: the answers are as Azure ML's were recorded."""

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
    NULL,
    OF_ASSET,
    PROVIDER,
    SUBSCRIPTION,
    Answers,
    Azure,
    Each,
    Either,
    Exchange,
    L,
    each,
    judged,
    like,
    maybe,
    refused,
)

_V = "2022-10-01-preview"
_PLANE = "2021-10-01-dataplanepreview"
_REGISTRY = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/{PROVIDER}/registries/shared"
_BESIDE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/azureml-rg-shared_<guid>"
_P = f"{API}/mferp/managementfrontend{_REGISTRY}"
_QUERY = f"?api-version={_PLANE}"
_BLOBS = f"https://{ACCOUNT}.blob.core.windows.net"
_STORAGE = {"storageAccountHnsEnabled": False, "storageAccountType": "standard_lrs"}
_SENT = {
    "tags": {"owner": "sdkteam"},
    "location": LOCATION,
    "identity": {"type": "SystemAssigned"},
    "properties": {
        "regionDetails": [
            {
                "acrDetails": [{"systemCreatedAcrAccount": {"acrAccountSku": "Premium"}}],
                "location": LOCATION,
                "storageAccountDetails": [{"systemCreatedStorageAccount": _STORAGE}],
            }
        ],
        "managedResourceGroupTags": {"one": "two"},
    },
}
_REGION = {
    "location": LOCATION,
    "storageAccountDetails": [
        {
            "userCreatedStorageAccount": None,
            "systemCreatedStorageAccount": {
                "storageAccountName": re.compile(r"[a-z0-9]{3,24}"),
                **_STORAGE,
                "armResourceId": {"resourceId": like(f"{_BESIDE}/providers/Microsoft.Storage/storageAccounts/<word>")},
            },
        }
    ],
    "acrDetails": [
        {
            "userCreatedAcrAccount": None,
            "systemCreatedAcrAccount": {
                "acrAccountName": str,
                "acrAccountSku": "Premium",
                "armResourceId": {
                    "resourceId": like(f"{_BESIDE}/providers/Microsoft.ContainerRegistry/registries/<word>")
                },
            },
        }
    ],
}
_SEEN = {
    "tags": {"owner": "sdkteam"},
    "location": LOCATION,
    "identity": {"type": "SystemAssigned", "principalId": GUID, "tenantId": GUID},
    "id": _REGISTRY,
    "name": "shared",
    "type": f"{PROVIDER}/registries",
    "properties": {
        "regionDetails": [_REGION],
        "intellectualPropertyPublisher": None,
        "publicNetworkAccess": "Enabled",
        "discoveryUrl": f"{API}/registrymanagement/v1.0/registries/shared/discovery",
        "managedResourceGroup": {"resourceId": like(_BESIDE)},
        "managedResourceGroupTags": {"one": "two"},
        "mlFlowRegistryUri": f"azureml://{API.removeprefix('https://')}/mlflow/v1.0{_REGISTRY}",
    },
    "systemData": None,
}


def _operation(version: str) -> dict[str, Any]:
    status = f"{L}/registryOperationsStatus/<guid>?api-version={version}&type="
    return {
        "Azure-AsyncOperation": like(f"{status}async"),
        "Location": like(f"{status}location"),
        "x-ms-async-operation-timeout": None,
    }


def _operation_of(name: str) -> Any:
    return lambda told: told[name].headers["Azure-AsyncOperation"]


def _location_of(name: str) -> Any:
    return lambda told: told[name].headers["Location"]


_ACCEPTED = {
    "Location": like(f"{API}/assetstore/v1.0/operations/<any>"),
    "x-ms-async-operation-timeout": "PT1H",
    "Azure-AsyncOperation": None,
}
_DONE = {"status": "Succeeded", "percentComplete": 100.0}
PLACES = [
    Exchange("PUT registry", _REGISTRY, 202, EMPTY, sent=_SENT, version=_V, headers=_operation(_V)),
    Exchange("GET operation of a registry", _operation_of("PUT registry"), 200, _DONE),
    Exchange("GET registry", _REGISTRY, 200, _SEEN, version=_V),
    Exchange(
        "GET discovery of a registry",
        f"{API}/registrymanagement/v1.0/registries/shared/discovery",
        200,
        {
            "registryId": GUID,
            "registryName": "shared",
            "tenantId": GUID,
            "primaryRegion": LOCATION,
            "regions": [LOCATION],
            "subscriptionId": SUBSCRIPTION,
            "resourceGroup": GROUP,
            "workspaceName": None,
            "primaryRegionResourceProviderUri": like("https://<any>/"),
            "registryFqdns": {LOCATION: {"uri": like("https://<any>.api.azureml.ms")}},
        },
    ),
]


def _asset_id(segment: str, name: str) -> str:
    return f"azureml://registries/shared/{segment}/{name}/versions/2"


_HASHED = {"hash_sha256": "bbd95444", "hash_version": "202208"}


def _blob(told: Answers) -> Any:
    return told["PUT temporary data reference of a registry's code"].json()["blobReferenceForConsumption"]


def _sent_code(told: Answers) -> Any:
    said = {"properties": _HASHED, "isAnonymous": False, "isArchived": False}
    return {"properties": {**said, "codeUri": f"{_blob(told)['blobUri']}/"}}


def _sent_model(told: Answers) -> Any:
    """A workspace's model, whose file is the one that was uploaded."""
    uri = f"{_blob(told)['blobUri']}/train.py"
    return {"properties": {"modelUri": uri, "modelType": "custom_model", "flavors": {}}}


CODE = [
    Exchange(
        "PUT temporary data reference of a registry's code",
        f"{_P}/tempdatarefs/src/versions/2{_QUERY}",
        200,
        {
            "blobReferenceForConsumption": {
                "blobUri": like(f"{_BLOBS}<any>"),
                "storageAccountArmId": str,
                "credential": {
                    "credentialType": "SAS",
                    "sasUri": like(f"{_BLOBS}/<any>?<any>sig=<any>"),
                    "wasbsUri": None,
                },
            },
            "imageReferenceForConsumption": None,
            "temporaryDataReferenceId": GUID,
            "temporaryDataReferenceType": None,
        },
        sent={"assetId": _asset_id("codes", "src"), "temporaryDataReferenceType": "TemporaryBlobReference"},
    ),
]


_REGISTRY_CODE = {
    "id": _asset_id("codes", "src"),
    "name": "2",
    "type": f"{PROVIDER}/registries/codes/versions",
    "properties": {
        "description": None,
        "tags": {},
        "properties": _HASHED,
        "isArchived": False,
        "isAnonymous": False,
        "codeUri": like(f"{_BLOBS}/<any>/"),
        **maybe("Succeeded", "provisioningState"),  # in a workspace's, and not in the recorded one
    },
    "systemData": OF_ASSET,
}
_SOURCE = f"azureml://locations/{LOCATION}/workspaces/{GUID_OF_WORKSPACE}/models/promoted/versions/2"
_REGISTRY_MODEL = {
    "id": _asset_id("models", "promoted"),
    "name": "promoted",
    "type": "models",
    "properties": {
        "description": None,
        "tags": {},
        "properties": {},
        "isArchived": False,
        "isAnonymous": False,
        "flavors": {},
        "modelType": "custom_model",
        "modelUri": like(f"{_BLOBS}/<any>"),
        "originAssetId": _SOURCE,
        "jobName": None,
        # In a workspace's; whether a registry's has them was not recorded.
        **maybe(Either([str, None]), "autoDeleteSetting", "provisioningState", "stage", "intellectualProperty"),
    },
    "systemData": OF_ASSET,
}
_MODEL = f"{_P}/models/promoted/versions/2{_QUERY}"
SHARED = [
    Exchange(
        "PUT code of a registry",
        f"{_P}/codes/src/versions/2{_QUERY}",
        202,
        NULL,
        sent=_sent_code,
        headers=_ACCEPTED,
    ),
    Exchange(
        "GET operation of a registry's asset",
        _location_of("PUT code of a registry"),
        200,
        {"assetId": _asset_id("codes", "src")},
    ),
    Exchange("PUT model that is to be shared", "models/promoted/versions/2", 201, dict, sent=_sent_model),
    Exchange("GET code of a registry", f"{_P}/codes/src/versions/2{_QUERY}", 200, _REGISTRY_CODE),
    Exchange(
        "GET model of a registry that is missing",
        _MODEL,
        404,
        refused("UserError", f"Could not find asset with ID: {_asset_id('models', 'promoted')}", "NotFoundError"),
    ),
    Exchange(
        "POST import of a model into a registry",
        f"{_P}/import{_QUERY}",
        202,
        NULL,
        sent={
            "properties": {
                "referenceType": "Id",
                "destinationName": "promoted",
                "destinationVersion": "2",
                "sourceAssetId": _SOURCE,
            }
        },
        headers=_ACCEPTED,
    ),
    Exchange("GET operation of an import", _location_of("POST import of a model into a registry"), 204, EMPTY),
    Exchange("GET model of a registry", _MODEL, 200, _REGISTRY_MODEL),
    Exchange("GET models of a registry", f"{_P}/models{_QUERY}", 200, {"value": Each(dict, at_least=1)}),
]
ENDS = [
    Exchange("DELETE registry", _REGISTRY, 202, EMPTY, version=_V, headers=_operation(_V)),
    Exchange("GET operation of a registry's deletion", _operation_of("DELETE registry"), 200, _DONE),
]

EXCHANGES = [*PLACES, *CODE, *SHARED, *ENDS]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    answers = recorded_azure.tell([*PLACES, *CODE])
    recorded_azure.upload(_blob(answers)["credential"]["sasUri"], {"train.py": "pass"})
    return recorded_azure.tell([*SHARED, *ENDS], after=answers)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []

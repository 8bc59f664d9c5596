"""Online endpoints and their deployments: the answers are as Azure ML's were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.shapes import (
    ARM,
    GUID,
    GUID_OF_WORKSPACE,
    LOCATION,
    NULL,
    OF_ENDPOINT,
    TIME,
    TYPE,
    Answers,
    Azure,
    Exchange,
    L,
    W,
    each,
    judged,
    like,
    maybe,
)

_V = "2022-02-01-preview"
_NAME = "recorded-online"
_ENDPOINT = f"{W}/onlineEndpoints/{_NAME}"
_DEPLOYMENT = f"{_ENDPOINT}/deployments/blue"
_BELOW_ARM = L.removeprefix(ARM)
_SCORING = f"https://{_NAME}.{LOCATION}.inference.ml.azure.com"
_SCRIPT = """
import json

def init():
    pass

def run(data):
    return [sum(row) for row in json.loads(data)["data"]]
"""


def _status(kind: str) -> str:
    return f"{L}/mfeOperationsStatus/{kind}:{GUID_OF_WORKSPACE}:<guid>?api-version={_V}"


def _operations(kind: str, resource: str) -> dict[str, Any]:
    return {
        "Azure-AsyncOperation": like(_status(kind)),
        "Location": f"{ARM}{resource}?api-version={_V}",
        "x-ms-async-operation-timeout": "PT30M",
    }


def _done(kind: str) -> Any:
    name = f"{kind}:{GUID_OF_WORKSPACE}:<guid>"
    return {
        "id": like(f"{_BELOW_ARM}/mfeOperationsStatus/{name}"),
        "name": like(name),
        "startTime": TIME,
        "endTime": TIME,
        "percentComplete": 100.0,
        "status": "Succeeded",
    }


def _ended(name: str, kind: str, what: str) -> Exchange:
    return Exchange(
        name,
        lambda told: told[what].headers["Azure-AsyncOperation"],
        200,
        _done(kind),
        until=lambda answer: bool(answer.json()["status"] != "Updating"),
    )


def _endpoint(state: str, *, shows_addresses: bool, traffic: Any) -> Any:
    return {
        "id": _ENDPOINT,
        "name": _NAME,
        "type": f"{TYPE}/onlineEndpoints",
        "properties": {
            "description": None,
            "properties": {
                "azureml.onlineendpointid": _ENDPOINT.lower(),
                "AzureAsyncOperationUri": like(_status("oe")),
            },
            "scoringUri": f"{_SCORING}/score" if shows_addresses else None,
            "swaggerUri": f"{_SCORING}/swagger.json" if shows_addresses else None,
            "authMode": "AMLToken",
            "provisioningState": state,
            "compute": None,
            "traffic": traffic,
            "mirrorTraffic": {},
            "publicNetworkAccess": "Enabled",
        },
        "systemData": OF_ENDPOINT,
        "tags": {},
        "location": LOCATION,
        "kind": "Managed",
        "identity": {"type": "SystemAssigned", "principalId": GUID, "tenantId": GUID},
    }


def _sent_endpoint(**traffic: int) -> Any:
    return {
        "tags": {},
        "location": LOCATION,
        "identity": {"type": "SystemAssigned"},
        "properties": {"authMode": "AMLToken", "properties": {}, "mirrorTraffic": {}, "traffic": traffic},
    }


_SENT_DEPLOYMENT = {
    "codeConfiguration": {"codeId": f"{W}/codes/online/versions/1", "scoringScript": "score.py"},
    "description": "blue",
    "environmentId": f"{W}/environments/online/versions/1",
    "environmentVariables": {},
    "appInsightsEnabled": False,
    "endpointComputeType": "Managed",
    "instanceType": "Standard_DS2_V2",
    "model": f"{W}/models/online/versions/1",
    "privateNetworkConnection": False,
    "scaleSettings": {"scaleType": "Default"},
}
_PROBE = {"failureThreshold": 30, "successThreshold": 1, "timeout": "PT2S", "period": "PT10S", "initialDelay": "PT10S"}


def _deployment(state: str, *, timeout: Any, probe: Any) -> Any:
    return {
        "id": _DEPLOYMENT,
        "name": "blue",
        "type": f"{TYPE}/onlineEndpoints/deployments",
        "properties": {
            **_SENT_DEPLOYMENT,
            "properties": {"AzureAsyncOperationUri": like(_status("od"))},
            "requestSettings": {
                "maxQueueWait": re.compile(r"PT[\d.]+S"),
                "requestTimeout": timeout,
                "maxConcurrentRequestsPerInstance": 1,
            },
            "modelMountPath": None,
            "livenessProbe": probe,
            "readinessProbe": probe,
            "provisioningState": state,
            "egressPublicNetworkAccess": "Enabled",
            **maybe(None, "dataCollector", "startupProbe"),  # of later versions
        },
        "systemData": OF_ENDPOINT,
        "tags": {},
        "location": LOCATION,
        "kind": "Managed",
        "sku": {"name": "Default", "tier": "Standard", "capacity": 1},
    }


_UPLOAD = "POST startPendingUpload of an online deployment's code"


def _made(name: str, path: str, **properties: Any) -> Exchange:
    """What a deployment needs, whose answers are of other tests."""

    def sent(told: Answers) -> Any:
        root = told[_UPLOAD].json()["blobReferenceForConsumption"]["blobUri"]
        uris = {member: f"{root}/{place}" for member, place in properties.items() if member.endswith("Uri")}
        return {"properties": properties | uris}

    return Exchange(f"PUT {name} of an online deployment", path, 201, dict, sent=sent)


STARTS = [
    Exchange(
        _UPLOAD,
        "codes/online/versions/1/startPendingUpload",
        200,
        dict,
        sent={"pendingUploadType": "TemporaryBlobReference"},
    ),
]
ENDPOINTS = [
    _made("code", "codes/online/versions/1", codeUri="src"),
    _made("model", "models/online/versions/1", modelUri="model.txt", modelType="custom_model"),
    _made("environment", "environments/online/versions/1", image="python"),
    Exchange(
        "PUT online endpoint",
        f"onlineEndpoints/{_NAME}",
        201,
        _endpoint("Creating", shows_addresses=False, traffic={}),
        sent=_sent_endpoint(),
        version=_V,
        headers=_operations("oe", _ENDPOINT),
    ),
    _ended("GET operation of an online endpoint", "oe", "PUT online endpoint"),
    Exchange(
        "GET online endpoint",
        f"onlineEndpoints/{_NAME}",
        200,
        _endpoint("Succeeded", shows_addresses=True, traffic={}),
        version=_V,
    ),
    Exchange(
        "PUT online deployment",
        f"onlineEndpoints/{_NAME}/deployments/blue",
        201,
        _deployment("Updating", timeout=re.compile(r"PT[05]S"), probe=dict),
        sent={
            "tags": {},
            "location": LOCATION,
            "properties": _SENT_DEPLOYMENT | {"properties": {}},
            "sku": {"name": "Default", "capacity": 1},
        },
        version=_V,
        headers={
            **_operations("od", _DEPLOYMENT),
            "x-ms-ratelimit-remaining-subscription-resource-requests": "24",
            "x-ms-ratelimit-remaining-subscription-writes": None,
        },
    ),
    _ended("GET operation of an online deployment", "od", "PUT online deployment"),
    Exchange(
        "GET online deployment",
        f"onlineEndpoints/{_NAME}/deployments/blue",
        200,
        _deployment("Succeeded", timeout="PT5S", probe=_PROBE),
        version=_V,
    ),
    Exchange(
        "GET online deployments",
        f"onlineEndpoints/{_NAME}/deployments",
        200,
        {"value": [_deployment("Succeeded", timeout="PT5S", probe=_PROBE)]},
        version=_V,
    ),
    Exchange(
        "PUT traffic of an online endpoint",
        f"onlineEndpoints/{_NAME}",
        201,
        _endpoint("Updating", shows_addresses=False, traffic={"blue": 100}),
        sent=_sent_endpoint(blue=100),
        version=_V,
        headers=_operations("oe", _ENDPOINT),
    ),
    _ended("GET operation of an online endpoint's traffic", "oe", "PUT traffic of an online endpoint"),
]
_DATA = {"data": [[1, 2], [3, 4]]}
SCORES = [
    Exchange(
        "POST token of an online endpoint",
        f"onlineEndpoints/{_NAME}/token",
        200,
        {
            "accessToken": re.compile(r"[\w-]+\.[\w-]+\.[\w-]+"),
            "tokenType": "Bearer",
            "expiryTimeUtc": int,
            "refreshAfterTimeUtc": int,
        },
        version=_V,
    ),
    Exchange(
        "POST score of an online endpoint",
        f"{_SCORING}/score",
        200,
        [3, 7],
        sent=_DATA,
        asks=lambda told: {"Authorization": f"Bearer {told['POST token of an online endpoint'].json()['accessToken']}"},
        headers={
            "Content-Type": "application/json",
            "azureml-model-deployment": "blue",
            "x-ms-run-fn-exec-ms": re.compile(r"\d+\.\d{3}"),
            "x-ms-run-function-failed": "False",
            "X-Request-ID": GUID,
        },
        is_usual=False,
    ),
]
ENDS = [
    Exchange(
        "DELETE online endpoint",
        f"onlineEndpoints/{_NAME}",
        202,
        NULL,
        version=_V,
        headers={
            "Azure-AsyncOperation": like(_status("oe")),
            "Location": like(_status("oe").replace("mfeOperationsStatus", "mfeOperationResults")),
            "x-ms-async-operation-timeout": "PT30M",
        },
    ),
    _ended("GET operation of an online endpoint's deletion", "oe", "DELETE online endpoint"),
]

EXCHANGES = [*STARTS, *ENDPOINTS, *SCORES, *ENDS]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    answers = recorded_azure.tell(STARTS)
    sas = answers[_UPLOAD].json()["blobReferenceForConsumption"]["credential"]["sasUri"]
    recorded_azure.upload(sas, {"src/score.py": _SCRIPT, "model.txt": "weights"})
    return recorded_azure.tell([*ENDPOINTS, *SCORES, *ENDS], after=answers)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []


def test_a_token_lives_a_day_and_is_renewed_after_half_of_it(told: Answers) -> None:
    token = told["POST token of an online endpoint"].json()

    assert token["expiryTimeUtc"] - token["refreshAfterTimeUtc"] == 12 * 3600

"""Batch endpoints, their deployments and invocations: the answers are as Azure ML's were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.shapes import (
    API,
    ARM,
    GUID,
    GUID_OF_WORKSPACE,
    LOCATION,
    NULL,
    OF_ENDPOINT,
    OF_JOB,
    TYPE,
    Answers,
    Azure,
    Each,
    Exchange,
    L,
    W,
    detailed,
    each,
    judged,
    like,
    maybe,
    refused,
)

_V = "2022-05-01"
_NOBODY = "00000000-0000-0000-0000-000000000000"
_NAME = "recorded-batch"
_ENDPOINT = f"{W}/batchEndpoints/{_NAME}"
_DEPLOYMENT = f"{_ENDPOINT}/deployments/first"
_BELOW_ARM = L.removeprefix(ARM)
_SCORING = f"https://{_NAME}.{LOCATION}.inference.ml.azure.com/jobs"


def _operations(kind: str, resource: str) -> dict[str, Any]:
    """Headers of a PUT, whose Location is the resource itself."""
    return {
        "Azure-AsyncOperation": like(f"{L}/mfeOperationsStatus/{kind}:{GUID_OF_WORKSPACE}:<guid>?api-version={_V}"),
        "Location": f"{ARM}{resource}?api-version={_V}",
        "x-ms-async-operation-timeout": "PT30M",
    }


def _deletion(kind: str) -> dict[str, Any]:
    operation = f"{kind}:{GUID_OF_WORKSPACE}:<guid>?api-version={_V}"
    return {
        "Azure-AsyncOperation": like(f"{L}/mfeOperationsStatus/{operation}"),
        "Location": like(f"{L}/mfeOperationResults/{operation}"),
        "x-ms-async-operation-timeout": "PT30M",
        "Content-Length": "4",
    }


def _done(kind: str) -> Any:
    name = f"{kind}:{GUID_OF_WORKSPACE}:<guid>"
    return {"id": like(f"{_BELOW_ARM}/mfeOperationsStatus/{name}"), "name": like(name), "status": "Succeeded"}


def _operation_of(name: str) -> Any:
    return lambda told: told[name].headers["Azure-AsyncOperation"]


def _endpoint(state: str, scoring: str | None) -> Any:
    return {
        "id": _ENDPOINT,
        "name": _NAME,
        "type": f"{TYPE}/batchEndpoints",
        "properties": {
            "description": "my endpoint",
            "properties": {
                "p1": "v1",
                "BatchEndpointCreationApiVersion": _V,
                "azureml.onlineendpointid": _ENDPOINT,
            },
            "scoringUri": scoring,
            "swaggerUri": None,
            "authMode": "AADToken",
            "defaults": {"deploymentName": None},
            "provisioningState": state,
        },
        "systemData": OF_ENDPOINT,
        "tags": {},
        "location": LOCATION,
        "identity": {"type": "None", "principalId": _NOBODY, "tenantId": _NOBODY},
    }


_SENT_ENDPOINT = {
    "tags": {},
    "location": LOCATION,
    "properties": {"authMode": "aadToken", "description": "my endpoint", "properties": {"p1": "v1"}},
}
_MODEL_ID = f"{W}/models/scored/versions/1"
_SENT_DEPLOYMENT = {
    "codeConfiguration": {"codeId": f"{W}/codes/scoring/versions/1", "scoringScript": "score.py"},
    "environmentId": f"{W}/environments/scoring/versions/1",
    "environmentVariables": {},
    "properties": {},
    "compute": f"{W}/computes/scoring",
    "errorThreshold": -1,
    "loggingLevel": "info",
    "maxConcurrencyPerInstance": 2,
    "miniBatchSize": 10,
    "model": {"referenceType": "Id", "assetId": _MODEL_ID},
    "outputAction": "AppendRow",
    "outputFileName": "predictions.csv",
    "resources": {"instanceCount": 1, "properties": {}},
    "retrySettings": {"maxRetries": 3, "timeout": "PT30S"},
}


def _deployment(state: str) -> Any:
    return {
        "id": _DEPLOYMENT,
        "name": "first",
        "type": f"{TYPE}/batchEndpoints/deployments",
        "properties": {
            **_SENT_DEPLOYMENT,
            "description": None,
            "loggingLevel": "Info",
            "resources": {"instanceCount": 1, "instanceType": None, "properties": None},
            "provisioningState": state,
        },
        "systemData": OF_ENDPOINT,
        "tags": {},
        "location": LOCATION,
    }


def _made(name: str, path: str, **properties: Any) -> Exchange:
    """What a deployment needs, whose answers are of other tests."""
    return Exchange(f"PUT {name} of a batch deployment", path, 201, dict, sent={"properties": properties})


_BLOBS = "azureml://datastores/workspaceblobstore/paths"
_MISSING_MODEL = re.compile(
    r"The Deployment request provided has the following validation errors\..*"
    r"\"PropertyName\": \"ModelConfiguration\.ModelReference\".*\"ErrorCode\": \"ArgumentNullOrEmpty\".*",
    re.DOTALL,
)
ENDPOINTS = [
    Exchange(
        "PUT batch endpoint",
        f"batchEndpoints/{_NAME}",
        201,
        _endpoint("Creating", None),
        sent=_SENT_ENDPOINT,
        version=_V,
        headers=_operations("bebes", _ENDPOINT),
    ),
    Exchange("GET operation of a batch endpoint", _operation_of("PUT batch endpoint"), 200, _done("bebes")),
    Exchange("GET batch endpoint", f"batchEndpoints/{_NAME}", 200, _endpoint("Succeeded", _SCORING), version=_V),
    Exchange(
        "PUT batch deployment without a model",
        f"batchEndpoints/{_NAME}/deployments/wrong",
        400,
        refused("UserError", _MISSING_MODEL, "BadArgument", "ArgumentInvalid", "InvalidInputArguments"),
        sent={
            "tags": {},
            "location": LOCATION,
            "properties": {"environmentVariables": {}, "properties": {}, "compute": f"{W}/computes/scoring"},
        },
        version=_V,
        headers={
            "x-ms-ratelimit-remaining-subscription-resource-requests": "24",
            "x-ms-ratelimit-remaining-subscription-writes": None,
        },
    ),
]
DEPLOYMENTS = [
    _made("model", "models/scored/versions/1", modelUri=f"{_BLOBS}/model", modelType="custom_model"),
    _made("code", "codes/scoring/versions/1", codeUri=f"{_BLOBS}/code"),
    _made("environment", "environments/scoring/versions/1", image="python"),
    _made("compute", "computes/scoring", computeType="AmlCompute", properties={"vmSize": "Standard_DS2_v2"}),
    Exchange(
        "PUT batch deployment",
        f"batchEndpoints/{_NAME}/deployments/first",
        201,
        _deployment("Updating"),
        sent={"tags": {}, "location": LOCATION, "properties": _SENT_DEPLOYMENT},
        version=_V,
        headers={
            **_operations("bdbes", _DEPLOYMENT),
            "x-ms-ratelimit-remaining-subscription-resource-requests": "24",
            "x-ms-ratelimit-remaining-subscription-writes": None,
        },
    ),
    Exchange("GET operation of a batch deployment", _operation_of("PUT batch deployment"), 200, _done("bdbes")),
    Exchange(
        "GET batch deployment",
        f"batchEndpoints/{_NAME}/deployments/first",
        200,
        _deployment("Succeeded"),
        version=_V,
    ),
    Exchange(
        "GET batch deployments",
        f"batchEndpoints/{_NAME}/deployments",
        200,
        {"value": [_deployment("Succeeded")]},
        version=_V,
    ),
]

_JOB_NAME = like("batchjob-<guid>")
_LINKS = {"Tracking": like("azureml://<any>?"), "Studio": like("https://ml.azure.com/runs/batchjob-<any>")}
_OWN_TAGS = {"azureml.batchrun": "true", "azureml.deploymentname": "first", "azureml.jobtype": "azureml.batchjob"}
_OWN_PROPERTIES = {
    "azureml.pipelineid": GUID,
    "azureml.runsource": "azureml.PipelineRun",
    "runSource": "Unavailable",
    "runType": "HTTP",
    "azureml.parameters": (
        '{"run_max_try":"3","run_invocation_timeout":"30","mini_batch_size":"10","error_threshold":"-1",'
        '"logging_level":"INFO","process_count_per_node":"2","legacy_model_job":"False","NodeCount":"1",'
        '"append_row_file_name":"predictions.csv"}'
    ),
    "azureml.continue_on_step_failure": "False",
    "azureml.continue_on_failed_optional_input": "False",
    "azureml.pipelineComponent": "pipelinerun",
}
_INPUT = {"uri": "https://example.blob.core.windows.net/sampledata/mnist", "jobInputType": "UriFolder"}
_INVOKED = {
    "id": like(f"{_DEPLOYMENT}/jobs/batchjob-<guid>"),
    "name": _JOB_NAME,
    "type": f"{TYPE}/batchEndpoints/deployments/jobs",
    "properties": {
        "provisioningState": "Succeeded",
        "inputData": {"input1": {"description": None, **_INPUT, "mode": "ReadOnlyMount"}},
        # Documented, and read by clients; the recorded answers have neither.
        **maybe(Each(dict), "outputData"),
        **maybe(_NAME, "experimentName"),
        "compute": {
            "target": f"{W}/computes/scoring",
            "isLocal": False,
            **dict.fromkeys(("instanceCount", "location", "instanceType", "properties")),
        },
        "output": {"datastoreId": None, "path": None},
        "retrySettings": {"maxRetries": 3, "timeout": "PT30S"},
        "status": "Preparing",
        "interactionEndpoints": {
            kind: {"jobEndpointType": kind, "port": None, "endpoint": link, "properties": None}
            for kind, link in _LINKS.items()
        },
        "tags": {"outputType": "output_data", "inputType": "input_data", **_OWN_TAGS},
        "properties": _OWN_PROPERTIES,
        "name": re.compile(r"[a-z]+_[a-z]+_[a-z0-9]{8}"),
    },
    "systemData": {**OF_ENDPOINT, "lastModifiedBy": str},
}
_UNTOLD = ("settings", "jobs", "inputs", "outputs", "sourceJobId")
_BATCH_JOB = {
    "id": like(f"{W}/jobs/batchjob-<guid>"),
    "name": _JOB_NAME,
    "type": f"{TYPE}/jobs",
    "properties": {
        "description": f"Pipeline submission for endpoint: {_NAME}, deployment: first.",
        "tags": Each(str, at_least=2),
        "properties": {**_OWN_PROPERTIES, **maybe(str, "azureml.pipelines.stages")},
        "displayName": re.compile(r"[a-z]+_[a-z]+_[a-z0-9]{8}"),
        "status": str,
        "experimentName": _NAME,
        "services": {
            kind: {
                "jobServiceType": kind,
                "endpoint": link,
                **dict.fromkeys(("port", "status", "errorMessage", "properties", "nodes")),
            }
            for kind, link in _LINKS.items()
        },
        "isArchived": False,
        **dict.fromkeys(("computeId", "identity", "componentId")),
        **maybe(None, "notificationSetting", "secretsConfiguration"),
        "jobType": "Pipeline",
        **dict.fromkeys(_UNTOLD),
    },
    "systemData": OF_JOB,
}
INVOCATIONS = [
    Exchange(
        "POST invocation of a batch endpoint",
        _SCORING,
        201,
        _INVOKED,
        sent={"properties": {"inputData": {"input1": _INPUT}}},
        asks={"azureml-model-deployment": "first"},
        headers={
            "azureml-model-deployment": "first",
            "X-Request-ID": GUID,
            "Location": f"{API}/mferp/managementfrontend{_DEPLOYMENT}?api-version=2020-09-01-dataplanepreview",
        },
    ),
    Exchange(
        "GET job of a batch endpoint",
        lambda told: f"jobs/{told['POST invocation of a batch endpoint'].json()['name']}",
        200,
        _BATCH_JOB,
        version="2022-12-01-preview",
    ),
]
ENDS = [
    Exchange(
        "DELETE batch endpoint",
        f"batchEndpoints/{_NAME}",
        202,
        NULL,
        version=_V,
        headers=_deletion("bebes"),
    ),
    Exchange(
        "GET operation of a batch endpoint's deletion", _operation_of("DELETE batch endpoint"), 200, _done("bebes")
    ),
    Exchange(
        "GET batch endpoint that is missing",
        f"batchEndpoints/{_NAME}",
        404,
        detailed("NotFound", "NoSuchEndpoint", f"There is no endpoint with name: {_NAME} in recorded"),
        version=_V,
    ),
]

EXCHANGES = [*ENDPOINTS, *DEPLOYMENTS, *INVOCATIONS, *ENDS]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    return recorded_azure.tell(EXCHANGES)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []

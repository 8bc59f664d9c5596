"""Jobs, as Azure Resource Manager shows them: the answers are as Azure ML's were recorded."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.contract.job_shapes import JSON, NO_RESOURCES, default_output_of, job_of, output_of
from tests.contract.shapes import (
    API,
    EMPTY,
    GUID_OF_WORKSPACE,
    NULL,
    OF_JOB,
    TYPE,
    Answers,
    Azure,
    Exchange,
    L,
    W,
    each,
    judged,
    like,
    refused,
)

_V = "2022-12-01-preview"
_ENVIRONMENT = "azureml:AzureML-sklearn-1.0-ubuntu20.04-py38-cpu:33"
_FAR = "https://example.blob.core.windows.net/nowhere/data.csv"


def _command(name: str, status: str, **more: Any) -> Any:
    return job_of(
        name,
        **{
            "status": status,
            "properties": {"_azureml.ComputeTargetType": "amlctrain"},
            "jobType": "Command",
            "resources": {"instanceCount": 1, **NO_RESOURCES, "shmSize": "2g"},
            "queueSettings": None,
            "codeId": None,
            "command": "true",
            "environmentId": _ENVIRONMENT,
            "inputs": {},
            "outputs": {"default": default_output_of(name)},
            "distribution": None,
            "autologgerSettings": None,
            "limits": None,
            "environmentVariables": {},
            "parameters": {},
            **more,
        },
    )


def _sent_command(**more: Any) -> Any:
    said = {"jobType": "Command", "command": "true", "environmentId": _ENVIRONMENT, "experimentName": "recorded"}
    return {"properties": said | {"properties": {}, "tags": {}, "isArchived": False, **more}}


_INPUT = {"mode": "ReadOnlyMount", "uri": _FAR, "jobInputType": "uri_file"}
_ASKED_OUTPUTS = {
    "test1": {"jobOutputType": "uri_folder"},
    "test2": {"assetName": "test2_output", "assetVersion": "2", "mode": "Upload", "jobOutputType": "uri_folder"},
}


def _is(status: str) -> Any:
    def so(answer: httpx.Response) -> bool:
        return bool(answer.json()["properties"]["status"] == status)

    return so


_FULL = {
    "properties": {"test_property": "test_value", "_azureml.ComputeTargetType": "amlctrain"},
    "inputs": {"test1": {"description": None, **_INPUT}},
    "outputs": {
        "test1": output_of(),
        "test2": output_of(assetName="test2_output", assetVersion="2", mode="Upload"),
        "default": default_output_of("full"),
    },
}
_CANCEL = f"jc:{GUID_OF_WORKSPACE}:endless"
_RESULT = like(f"{L}/mfeOperationResults/{_CANCEL}?api-version={_V}")
COMMANDS = [
    Exchange(
        "GET job that is missing",
        "jobs/never",
        404,
        refused(
            "UserError",
            "Job never not found.",
            "NotFound",
            "JobNotFound",
            more={"MessageFormat": "Job {jobId} not found.", "MessageParameters": {"jobId": "never"}},
        ),
    ),
    Exchange(
        "PUT command job with an input that is not there",
        "jobs/full",
        201,
        _command("full", "Starting", **_FULL),
        sent=_sent_command(
            properties={"test_property": "test_value"}, inputs={"test1": _INPUT}, outputs=_ASKED_OUTPUTS
        ),
        version=_V,
        headers={
            "Location": like(f"https://management.azure.com{W}/jobs/full?api-version={_V}"),
            "Azure-AsyncOperation": None,
        },
    ),
    Exchange(
        "GET command job that failed",
        "jobs/full",
        200,
        _command("full", "Failed", **_FULL),
        until=_is("Failed"),
    ),
    Exchange("PUT command job", "jobs/short", 201, _command("short", "Starting"), sent=_sent_command()),
    Exchange("GET command job", "jobs/short", 200, _command("short", "Completed"), until=_is("Completed")),
    Exchange(
        "PUT command job that is there",
        "jobs/short",
        200,
        _command("short", "Completed", isArchived=True),
        sent=_sent_command(isArchived=True),
        headers={"Location": None},
    ),
    Exchange(
        "POST cancel of a job that has ended",
        "jobs/short/cancel",
        200,
        EMPTY,
        headers={"Location": None, "Content-Length": "0"},
    ),
    Exchange(
        "PUT serverless command job",
        "jobs/endless",
        201,
        _command(
            "endless",
            "Starting",
            command="sleep 600",
            identity={"identityType": "AMLToken"},
            queueSettings={"jobTier": "Standard", "priority": None},
        ),
        sent=_sent_command(
            command="sleep 600", identity={"identityType": "AMLToken"}, queueSettings={"jobTier": "Standard"}
        ),
    ),
    Exchange(
        "GET serverless command job",
        "jobs/endless",
        200,
        dict,
        until=_is("Running"),
    ),
    Exchange(
        "POST cancel of a job",
        "jobs/endless/cancel",
        202,
        NULL,
        version=_V,
        headers={
            "Location": _RESULT,
            "Azure-AsyncOperation": None,
            "x-ms-async-operation-timeout": "PT1H",
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": "4",
        },
    ),
    Exchange(
        "GET result of a cancellation",
        lambda told: told["POST cancel of a job"].headers["Location"],
        200,
        EMPTY,
        headers={"Content-Length": "0"},
        until=lambda answer: answer.status_code == 200,
    ),
]

_STEP_SPEC = {
    "type": "command",
    "name": "step",
    "command": "echo ${{inputs.number}} > ${{outputs.out}}/x",
    "inputs": {"number": {"type": "number"}},
    "outputs": {"out": {"type": "uri_folder"}},
}
_NODE = {
    "name": "node_a",
    "type": "command",
    "inputs": {"number": {"job_input_type": "literal", "value": "${{parent.inputs.job_in_number}}"}},
    "outputs": {"out": {"value": "${{parent.outputs.job_out}}", "type": "literal"}},
    "_source": "YAML.COMPONENT",
    "componentId": f"{W}/components/step/versions/1",
}
_SETTINGS = {"continue_on_step_failure": True, "force_rerun": True, "_source": "DSL"}
_PIPELINE = {
    "description": "The hello world pipeline job",
    "properties": {},
    "tags": {"owner": "sdkteam"},
    "displayName": "hello",
    "experimentName": "recorded",
    "isArchived": False,
    "jobType": "Pipeline",
    "inputs": {"job_in_number": {"jobInputType": "literal", "value": "10"}, "job_in_path": dict(_INPUT)},
    "jobs": {"node_a": _NODE},
    "outputs": {"job_out": {"jobOutputType": "uri_folder"}},
    "settings": _SETTINGS,
}


def _pipeline(status: str) -> Any:
    return job_of(
        "pipe",
        **{
            **_PIPELINE,
            "status": status,
            "properties": {
                "azureml.DevPlatv2": "true",
                "azureml.DatasetAccessMode": "Asset",
                "azureml.runsource": "azureml.PipelineRun",
                "runSource": "MFE",
                "runType": "HTTP",
                "azureml.parameters": '{"job_in_number":"10"}',
                "azureml.continue_on_step_failure": "True",
                "azureml.continue_on_failed_optional_input": "True",
                "azureml.enforceRerun": "True",
                "azureml.defaultComputeName": "",
                "azureml.defaultDataStoreName": "workspaceblobstore",
                "azureml.pipelineComponent": "pipelinerun",
                **({"azureml.pipelines.stages": JSON} if status == "Completed" else {}),
            },
            "inputs": {
                "job_in_number": {"description": None, "jobInputType": "literal", "value": "10"},
                "job_in_path": {"description": None, **_INPUT},
            },
            "outputs": {"job_out": output_of()},
            "sourceJobId": None,
        },
    )


_GONE = f"{W}/components/step/versions/non_existent"
_CHILDREN = f"{API}/history/v1.0{W}/runs/pipe/children"
PIPELINES = [
    Exchange(
        "PUT component of a pipeline job",
        "components/step/versions/1",
        201,
        dict,
        sent={"properties": {"componentSpec": _STEP_SPEC}},
    ),
    Exchange(
        "PUT pipeline job of a component that is missing",
        "jobs/wrong",
        404,
        refused("NotFound", f"key: {_GONE}, Message: Not found component step (version: non_existent)."),
        sent={"properties": {**_PIPELINE, "jobs": {"node_a": _NODE | {"componentId": _GONE}}}},
    ),
    Exchange(
        "PUT pipeline job",
        "jobs/pipe",
        201,
        _pipeline("Preparing"),
        sent={"properties": _PIPELINE},
        version="2023-02-01-preview",
        headers={
            "Location": like(f"https://management.azure.com{W}/jobs/pipe?api-version=2023-02-01-preview"),
            "Azure-AsyncOperation": None,
        },
    ),
    Exchange("GET pipeline job", "jobs/pipe", 200, _pipeline("Completed"), until=_is("Completed")),
    Exchange("GET children of a pipeline job", _CHILDREN, 200, dict),
    Exchange(
        "GET step",
        lambda told: f"jobs/{told['GET children of a pipeline job'].json()['value'][0]['runId']}",
        200,
        {
            "id": like(f"{W}/jobs/<guid>"),
            "name": like("<guid>"),
            "type": f"{TYPE}/jobs",
            "systemData": OF_JOB,
        },
    ),
]

EXCHANGES = [*COMMANDS, *PIPELINES]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    return recorded_azure.tell(EXCHANGES)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []

"""Run history and where outputs lie, as the workspace's data plane tells them: as Azure ML's were recorded."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.contract.shapes import (
    API,
    GROUP,
    GUID,
    GUID_OF_WORKSPACE,
    LOCATION,
    NAME,
    SUBSCRIPTION,
    TEXT,
    TIME,
    Answers,
    Azure,
    Each,
    Either,
    Exchange,
    W,
    each,
    judged,
    like,
    maybe,
    of_service,
)

_HISTORY = f"{API}/history/v1.0{W}"
_ASSETS = f"azureml://locations/{LOCATION}/workspaces/{GUID_OF_WORKSPACE}/data"
_STORES = f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{NAME}/datastores"
_LENGTH = re.compile(r"\d\d:\d\d:\d\d(\.\d{1,7})?")
_USER = {
    "userObjectId": GUID,
    **dict.fromkeys(("userPuId", "userIdp", "userAltSecId"), TEXT),
    "userIss": like("https://sts.windows.net/<guid>/"),
    "userTenantId": GUID,
    "userName": str,
    "upn": TEXT,
}
_COMPUTE = {
    "target": str,
    "targetType": "amlcompute",
    **dict.fromkeys(("vmSize", "instanceType", "priority", "region", "armId", "properties")),
    "instanceCount": 1,
    "gpuCount": 0,
}


def _run(run: Any, **more: Any) -> Any:
    """A run that is completed and stands alone."""
    nothing = (
        *("token", "tokenExpiryTimeUtc", "error", "warnings", "lastStartTimeUtc", "currentComputeTime"),
        *("effectiveStartTimeUtc", "cancelationReason", "scheduleId", "description", "scriptName"),
        *("primaryMetricName", "createdFrom", "completeUri", "queueingInfo", "inputs", "outputs"),
    )
    return {
        **dict.fromkeys(nothing),
        "runNumber": int,
        "rootRunId": run,
        "createdUtc": TIME,
        "createdBy": _USER,
        "userId": GUID,
        "revision": int,
        "statusRevision": int,
        "runUuid": GUID,
        "parentRunUuid": None,
        "rootRunUuid": GUID,
        "computeDuration": _LENGTH,
        "lastModifiedBy": _USER,
        "lastModifiedUtc": TIME,
        "duration": _LENGTH,
        "currentAttemptId": 1,
        "runId": run,
        "parentRunId": None,
        "experimentId": GUID,
        **maybe("history", "experimentName"),  # which the recorded ones lack
        "status": "Completed",
        "startTimeUtc": TIME,
        "endTimeUtc": TIME,
        "displayName": str,
        "name": None,
        "dataContainerId": f"dcid.{run}" if isinstance(run, str) else like("dcid.<guid>"),
        "hidden": False,
        "properties": Each(str),
        "parameters": {},
        "actionUris": {"Cancel": like("https://<any>"), "Diagnose": str},
        "target": TEXT,
        "uniqueChildRunComputeTargets": list,
        "tags": Each(str),
        "settings": {},
        "services": {},
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": Either([None, dict]),
        "jobSpecification": Either([None, dict]),
        "cancelUri": like("https://<any>"),
        "diagnosticsUri": str,
        "computeRequest": {"nodeCount": 1, "gpuCount": 0},
        "compute": _COMPUTE,
        "retainForLifetimeOfWorkspace": Either([None, False]),
        **more,
    }


def _kind(kind: str, orchestrator: str, *traits: str, attribution: str | None, compute: str | None) -> dict[str, Any]:
    said = {"attribution": attribution, "computeType": compute}
    return {"runType": kind, "runTypeV2": {"orchestrator": orchestrator, "traits": [*traits], **said}}


_PIPELINE = _kind(
    "azureml.PipelineRun",
    "Pipeline",
    *("azureml.PipelineRun", "MFE", "HTTP", "DevPlatv2"),
    attribution=None,
    compute=None,
)
_STEP = _kind(
    "azureml.StepRun",
    "Execution",
    *("azureml.StepRun", "scriptRun", "remote", "AlmostCommonRuntime", "OsType:Linux", "CommonRuntime"),
    attribution="Aether",
    compute="AmlcTrain",
)
_COMMAND = _kind(
    "azureml.scriptrun", "Execution", "scriptRun", "remote", attribution="azureml.scriptrun", compute="AmlcTrain"
)
_NO_COMPUTE: dict[str, Any] = {"computeRequest": None, "compute": None}


def _pipeline_run(name: str) -> Any:
    return _run(name, **_PIPELINE, **_NO_COMPUTE, target=None)


def _step_run(parent: str, **more: Any) -> Any:
    said = {
        "rootRunId": parent,
        "parentRunId": parent,
        "parentRunUuid": GUID,
        "name": "told",
        "displayName": "node_a",
        "properties": _STEP_PROPERTIES,
        **_STEP,
    }
    return _run(GUID, **{**said, **more})


#: Recorded, too; the emulator has some of them.
_RECORDED = (
    *("azureml.DevPlatv2", "azureml.DatasetAccessMode", "ContentSnapshotId", "StepType", "ComputeTargetType"),
    *(
        "azureml.moduleVersion",
        "azureml.pipelineComponent",
        "_azureml.ComputeTargetType",
        "ProcessInfoFile",
        "ProcessStatusFile",
    ),
)
_STEP_PROPERTIES = {
    "azureml.runsource": "azureml.StepRun",
    "azureml.moduleid": "1",
    "azureml.moduleName": "told",
    "azureml.nodeid": re.compile(r"[0-9a-f]{8}"),
    "azureml.pipeline": re.compile("history-[12]"),
    "azureml.pipelinerunid": re.compile("history-[12]"),
    **maybe(str, *_RECORDED),
}
_REUSED_PROPERTIES = {
    **_STEP_PROPERTIES,
    "azureml.isreused": "true",
    "azureml.reusedrunid": GUID,
    "azureml.reusedpipelinerunid": "history-1",
    "azureml.reusednodeid": re.compile(r"[0-9a-f]{8}"),
    "azureml.reusedpipeline": "history-1",
}
_REUSED_TYPE = {"orchestrator": None, "traits": ["azureml.StepRun"], "attribution": None, "computeType": None}
_RUNDATA = {"selectRunMetadata": True, "selectRunDefinition": True, "selectJobSpecification": True}


def _output(run: str, output: str) -> Any:
    return {"assetId": f"{_ASSETS}/azureml_{run}_output_data_{output}/versions/1", "type": "UriFolder"}


def _data_of(run: Any, outputs: Any) -> Any:
    return {
        "runMetadata": run | {"inputs": {}, "outputs": outputs},
        "runDefinition": Either([None, dict]),
        "jobSpecification": Either([None, dict]),
        "systemSettings": None,
    }


def _completed(answer: httpx.Response) -> bool:
    return answer.json()["properties"]["status"] in {"Completed", "Failed"}


def _pipeline_job(name: str) -> list[Exchange]:
    """Run a pipeline to its end; how that looks is of other tests."""
    node = {
        "type": "command",
        "componentId": f"{W}/components/told/versions/1",
        "outputs": {"out": {"type": "literal", "value": "${{parent.outputs.all}}"}},
    }
    spec = {
        "jobType": "Pipeline",
        "experimentName": "history",
        "jobs": {"node_a": node},
        "outputs": {"all": {"jobOutputType": "uri_folder"}},
    }
    return [
        Exchange(f"PUT job {name}", f"jobs/{name}", 201, dict, sent={"properties": spec}),
        Exchange(f"GET job {name}", f"jobs/{name}", 200, dict, until=_completed),
    ]


_FAILING = {
    "jobType": "Command",
    "command": "exit 7",
    "environmentId": f"{W}/environments/told/versions/1",
    "experimentName": "history",
}
_COMPONENT = {
    "type": "command",
    "name": "told",
    "command": "echo told > ${{outputs.out}}/told.txt",
    "outputs": {"out": {"type": "uri_folder"}},
}
_FAILED = _run(
    "history-failed",
    **_COMMAND,
    status="Failed",
    error=of_service(str, Either([None, dict]), str, code="UserError"),
)


def _child(told: Answers, name: str) -> str:
    return str(told[name].json()["value"][0]["runId"])


PIPELINES = [
    Exchange(
        "PUT component of a run",
        "components/told/versions/1",
        201,
        dict,
        sent={"properties": {"componentSpec": _COMPONENT}},
    ),
    *_pipeline_job("history-1"),
    *_pipeline_job("history-2"),
    Exchange("GET run of a pipeline", f"{_HISTORY}/runs/history-1", 200, _pipeline_run("history-1")),
    Exchange("GET children of a run", f"{_HISTORY}/runs/history-1/children", 200, {"value": [_step_run("history-1")]}),
    Exchange(
        "GET run of a step",
        lambda told: f"{_HISTORY}/runs/{_child(told, 'GET children of a run')}",
        200,
        _step_run("history-1"),
    ),
    Exchange(
        "GET children of a run that were not run again",
        f"{_HISTORY}/runs/history-2/children",
        200,
        {
            "value": [
                _step_run(
                    "history-2",
                    runTypeV2=_REUSED_TYPE,
                    runType="azureml.StepRun",
                    properties=_REUSED_PROPERTIES,
                    **_NO_COMPUTE,
                )
            ]
        },
    ),
    Exchange(
        "POST rundata of a pipeline",
        f"{_HISTORY}/rundata",
        200,
        _data_of(
            _pipeline_run("history-1"),
            {
                "default": _output("history-1", "default"),
                "all": {"assetId": like(f"{_ASSETS}/azureml_<any>_output_data_<word>/versions/1"), "type": "UriFolder"},
            },
        ),
        sent={"runId": "history-1", **_RUNDATA},
    ),
]
COMMANDS = [
    Exchange("PUT job that fails", "jobs/history-failed", 201, dict, sent={"properties": _FAILING}),
    Exchange("GET job that failed", "jobs/history-failed", 200, dict, until=_completed),
    Exchange("GET run that failed", f"{_HISTORY}/runs/history-failed", 200, _FAILED),
    Exchange(
        "POST rundata of a run that failed",
        f"{_HISTORY}/rundata",
        200,
        _data_of(_FAILED, {"default": _output("history-failed", "default")}),
        sent={"runId": "history-failed", **_RUNDATA},
    ),
    Exchange(
        "GET run that is missing",
        f"{_HISTORY}/runs/never",
        404,
        of_service(str, {"code": "NotFoundError", "innerError": Either([None, dict])}, str),
    ),
]
_DEFAULT_ID = _output("history-failed", "default")["assetId"]
RESOLVED = [
    Exchange(
        "POST batchGetResolvedUris",
        f"{API}/data/v1.0{W}/dataversion/batchGetResolvedUris",
        200,
        {
            "values": {
                _DEFAULT_ID: {
                    "uri": f"{_STORES}/workspaceartifactstore/paths/ExperimentRun/dcid.history-failed/",
                    "type": "UriFolder",
                    "legacyDatasetType": None,
                }
            }
        },
        sent={"values": [_DEFAULT_ID]},
    ),
]
EXCHANGES = [*PIPELINES, *COMMANDS, *RESOLVED]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    return recorded_azure.tell(EXCHANGES)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []


def test_a_step_that_was_not_run_again_has_the_files_of_the_one_that_was(told: Answers) -> None:
    first = told["GET children of a run"].json()["value"][0]
    second = told["GET children of a run that were not run again"].json()["value"][0]

    assert second["properties"]["azureml.reusedrunid"] == first["runId"]
    assert second["dataContainerId"] == first["dataContainerId"] == f"dcid.{first['runId']}"
    assert second["startTimeUtc"] == second["endTimeUtc"]


def test_the_number_of_a_run_is_the_second_it_was_created_in(told: Answers) -> None:
    run = told["GET run of a pipeline"].json()
    created = datetime.fromisoformat(f"{run['createdUtc'][:19]}+00:00")

    assert run["runNumber"] == int(created.timestamp())

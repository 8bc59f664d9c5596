"""Computes and schedules: the answers are as Azure ML's were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.shapes import (
    EMPTY,
    GUID_OF_WORKSPACE,
    LOCATION,
    NULL,
    OF_ASSET,
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
    refused,
)

_DONE = {"status": "Succeeded", "percentComplete": 100.0}


def _operation_of(name: str) -> Any:
    return lambda told: told[name].headers["Azure-AsyncOperation"]


_SCALE = {"maxNodeCount": 2, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT1M40S"}
_ACCOUNT = {"adminUserName": "azureuser", "adminUserSshPublicKey": "ssh-rsa AAAA"}
_CLUSTER = {
    "osType": "Linux",
    "vmSize": "Standard_DS2_v2",
    "vmPriority": "Dedicated",
    "scaleSettings": _SCALE,
    "userAccountCredentials": {**_ACCOUNT, "adminUserPassword": "dummy"},
    "remoteLoginPortPublicAccess": "Enabled",
    "enableNodePublicIp": True,
    "enableBatchPrivateLink": False,
}
_NODES = ("preparing", "running", "idle", "unusable", "leaving", "preempted")
_NEW_CLUSTER = {
    "vmSize": "STANDARD_DS2_V2",
    "vmPriority": "Dedicated",
    "scaleSettings": _SCALE,
    **dict.fromkeys(("subnet", "currentNodeCount", "targetNodeCount", "nodeStateCounts", "allocationState", "errors")),
    "remoteLoginPortPublicAccess": "Enabled",
    "osType": "Linux",
    "virtualMachineImage": None,
    "isolatedNetwork": False,
    "enableNodePublicIp": True,
    "enableBatchPrivateLink": False,
}
_STEADY_CLUSTER = {
    **_NEW_CLUSTER,
    "userAccountCredentials": {**_ACCOUNT, "adminUserPassword": None},
    "currentNodeCount": 0,
    "targetNodeCount": 0,
    "nodeStateCounts": {f"{state}NodeCount": 0 for state in _NODES},
    "allocationState": "Steady",
    "allocationStateTransitionTime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,3}\+00:00"),
    "propertyBag": {},
}


def _compute(inner: Any, state: str, **more: Any) -> Any:
    return {
        "id": f"{W}/computes/cluster",
        "name": "cluster",
        "type": f"{TYPE}/computes",
        "location": LOCATION,
        "tags": {} if more else None,
        "properties": {
            "createdOn": TIME,
            "modifiedOn": TIME,
            "disableLocalAuth": False,
            "description": "two nodes",
            "resourceId": None,
            "computeType": "AmlCompute",
            **more,
            "provisioningState": state,
            "provisioningErrors": None,
            "isAttachedCompute": False,
            "properties": inner,
        },
    }


_COMPUTE_OPERATION = {
    "Azure-AsyncOperation": like(f"{L}/computeOperationsStatus/<guid>?api-version=2022-10-01-preview&service=new"),
    "Location": None,
    "x-ms-async-operation-timeout": None,
}
COMPUTES = [
    Exchange(
        "PUT compute",
        "computes/cluster",
        201,
        _compute(_NEW_CLUSTER, "Creating"),
        sent={
            "location": LOCATION,
            "properties": {"computeType": "AmlCompute", "description": "two nodes", "properties": _CLUSTER},
        },
        version="2022-10-01-preview",
        headers=_COMPUTE_OPERATION,
    ),
    Exchange("GET operation of a compute", _operation_of("PUT compute"), 200, _DONE),
    Exchange("GET compute", "computes/cluster", 200, _compute(_STEADY_CLUSTER, "Succeeded", computeLocation=LOCATION)),
    Exchange(
        "DELETE compute",
        "computes/cluster?underlyingResourceAction=Delete",
        202,
        EMPTY,
        version="2022-10-01-preview",
        headers=_COMPUTE_OPERATION,
    ),
    Exchange(
        "GET compute that is missing",
        "computes/cluster",
        404,
        EMPTY,
        headers={"Content-Length": "0", "x-ms-response-type": "standard"},
    ),
    Exchange(
        "PUT compute instance",
        "computes/instance",
        201,
        dict,
        sent={"location": LOCATION, "properties": {"computeType": "ComputeInstance", "properties": {"vmSize": "D2"}}},
        version="2022-10-01-preview",
        headers=_COMPUTE_OPERATION,
    ),
    Exchange(
        "POST start of a compute instance",
        "computes/instance/start",
        202,
        EMPTY,
        version="2022-10-01-preview",
        headers=_COMPUTE_OPERATION,
    ),
]

_TRIGGER = {
    "triggerType": "Cron",
    "expression": "15 10 * * 1",
    "timeZone": "Pacific Standard Time",
    "startTime": "2022-03-10 10:15:00",
    "endTime": "2099-01-01 00:00:00",
}
_NODE = {"name": "one", "type": "command", "componentId": f"{W}/components/scheduled/versions/1", "inputs": {}}
_JOB = {
    "jobType": "Pipeline",
    "displayName": "weekly",
    "isArchived": False,
    "inputs": {"n": {"jobInputType": "literal", "value": "10"}},
    "outputs": {},
    "jobs": {"one": _NODE},
    "settings": {"_source": "DSL"},
    "tags": {},
    "properties": {},
}


def _schedule(state: str) -> Any:
    return {
        "description": "a weekly job",
        "tags": {},
        "properties": {},
        "displayName": "weekly",
        "isEnabled": True,
        "trigger": _TRIGGER,
        "action": {
            "actionType": "CreateJob",
            "jobDefinition": {
                **_JOB,
                "description": None,
                "status": "NotStarted",
                "experimentName": "Default",
                **dict.fromkeys(("services", "computeId", "identity", "componentId", "notificationSetting")),
                "inputs": {"n": {"description": None, "jobInputType": "literal", "value": "10"}},
                "sourceJobId": None,
            },
        },
        "provisioningState": state,
    }


_OPERATION = f"s:{GUID_OF_WORKSPACE}:<43>"
_V = "2023-02-01-preview"
SCHEDULES = [
    Exchange(
        "PUT component of a schedule",
        "components/scheduled/versions/1",
        201,
        dict,
        sent={"properties": {"componentSpec": {"type": "command", "name": "scheduled", "command": "true"}}},
    ),
    Exchange(
        "PUT schedule",
        "schedules/weekly",
        201,
        {"properties": _schedule("Creating")},
        sent={
            "properties": {
                "description": "a weekly job",
                "properties": {},
                "tags": {},
                "displayName": "weekly",
                "trigger": _TRIGGER,
                "action": {"actionType": "CreateJob", "jobDefinition": _JOB},
            }
        },
        version=_V,
        headers={
            "Azure-AsyncOperation": like(f"{L}/mfeOperationsStatus/{_OPERATION}?api-version={_V}"),
            "Location": like(f"<any>{W}/schedules/weekly?api-version={_V}"),
            "x-ms-async-operation-timeout": "PT30M",
        },
    ),
    Exchange(
        "GET operation of a schedule",
        _operation_of("PUT schedule"),
        200,
        {
            "id": like(f"{L.removeprefix('https://management.azure.com')}/mfeOperationResults/{_OPERATION}"),
            "name": like(_OPERATION),
            "status": "Succeeded",
            "startTime": TIME,
            "endTime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"),
        },
    ),
    Exchange(
        "GET schedule",
        "schedules/weekly",
        200,
        {
            **maybe(f"{W}/schedules/weekly", "id"),
            "name": "weekly",
            **maybe(f"{TYPE}/schedules", "type"),
            "properties": _schedule("Succeeded"),
            "systemData": OF_ASSET,
        },
    ),
    Exchange(
        "DELETE schedule",
        "schedules/weekly",
        202,
        NULL,
        version=_V,
        headers={
            "Azure-AsyncOperation": like(f"{L}/mfeOperationsStatus/{_OPERATION}?api-version={_V}"),
            "Location": like(f"{L}/mfeOperationResults/{_OPERATION}?api-version={_V}"),
            "x-ms-async-operation-timeout": "PT30M",
        },
    ),
    Exchange(
        "GET schedule that is missing",
        "schedules/weekly",
        404,
        refused("UserError", "Resource Trigger weekly not found", "NotFound"),
    ),
]

EXCHANGES = [*COMPUTES, *SCHEDULES]


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    return recorded_azure.tell(EXCHANGES)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []

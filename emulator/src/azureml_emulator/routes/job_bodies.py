"""How a run looks as a job of Azure Resource Manager.

Source: recorded answers of Azure ML, 2022-08 to 2023-05; the order of members is theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from azureml_emulator.errors import Json
from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.routes import job_kinds
from azureml_emulator.routes.calls import USER, Origin
from azureml_emulator.routes.uris import artifacts_of
from azureml_emulator.store import Run

_TYPE = f"{PROVIDER}/workspaces/jobs"
_UNSAID = dict.fromkeys(("maxInstanceCount", "instanceType", "locations", "properties", "dockerArgs"))
_RESOURCES = {"instanceCount": 1, **_UNSAID, "shmSize": "2g"}


def job(run: Run, origin: Origin) -> Json:
    """Show a run as a job; a step has no ``properties``, which is how clients tell that it is one."""
    head = {"id": f"{run.workspace}/jobs/{run.name}", "name": run.name, "type": _TYPE}
    tail = {"systemData": {"createdAt": run.created, **USER}}
    if run.kind == "Step":
        return head | tail
    return head | {"properties": _properties(run, origin)} | tail


def services(run: Run, origin: Origin) -> Json:
    """Name where a run can be looked at."""
    workspace = WorkspaceName.of_arm_id(run.workspace)
    endpoints = {"Tracking": f"{origin.tracking(workspace)}?", "Studio": origin.studio(workspace, run.name)}
    if run.kind == job_kinds.SWEEP:  # recorded
        del endpoints["Tracking"]
    return {
        name: {
            "jobServiceType": name,
            "port": None,
            "endpoint": endpoint,
            "status": None,
            "errorMessage": None,
            "properties": None,
            "nodes": None,
        }
        for name, endpoint in endpoints.items()
    }


def _properties(run: Run, origin: Origin) -> Json:
    spec = run.spec
    common = {
        "description": run.description,
        "tags": run.tags,
        "properties": run.properties | _stages(run),
        "displayName": run.display_name,
        "status": run.status,
        "experimentName": run.experiment,
        "services": services(run, origin),
        "computeId": spec.get("computeId"),
        "isArchived": bool(spec.get("isArchived")),
        "identity": spec.get("identity"),
        "componentId": None if run.endpoint else spec.get("componentId"),
        "notificationSetting": spec.get("notificationSetting"),
        "secretsConfiguration": spec.get("secretsConfiguration"),
        "jobType": spec["jobType"],
    }
    if run.kind in job_kinds.KINDS:
        return common | _other(run)
    return common | (_pipeline(run) if run.kind == "Pipeline" else _command(run))


def _stages(run: Run) -> dict[str, str]:
    """Say when a pipeline that is completed ran, as the service does then."""
    if run.kind != "Pipeline" or run.status != "Completed":
        return {}
    execution = {"StartTime": run.started, "EndTime": run.ended, "Status": "Finished"}
    told = {"Initialization": None, "Execution": execution}
    return {"azureml.pipelines.stages": json.dumps(told, separators=(",", ":"))}


def _pipeline(run: Run) -> Json:
    if run.endpoint:  # recorded: an endpoint's job tells nothing of what it runs
        return dict.fromkeys(("settings", "jobs", "inputs", "outputs", "sourceJobId"))
    return {
        "settings": run.spec.get("settings") or {},
        "jobs": run.spec.get("jobs") or {},
        "inputs": inputs(run.inputs),
        "outputs": outputs(run.spec.get("outputs") or {}),
        "sourceJobId": None,
    }


def _other(run: Run) -> Json:
    default = {"uri": artifacts_of(run.name).removesuffix("/").replace("/paths/", "/"), "jobOutputType": "uri_folder"}
    told = {"inputs": inputs(run.inputs), "outputs": outputs({**(run.spec.get("outputs") or {}), "default": default})}
    return job_kinds.members(run) | told


def _command(run: Run) -> Json:
    spec, queue = run.spec, run.spec.get("queueSettings")
    # Recorded without "/paths": clients that follow a log take what stands behind the datastore's name for the folder.
    uri = artifacts_of(run.name).removesuffix("/").replace("/paths/", "/")
    default = {"uri": uri, "jobOutputType": "uri_folder"}
    return {
        "resources": _RESOURCES | (spec.get("resources") or {}),
        "queueSettings": {**queue, "priority": queue.get("priority")} if queue else None,
        "codeId": spec.get("codeId"),
        "command": spec.get("command"),
        "environmentId": spec.get("environmentId"),
        "inputs": inputs(run.inputs),
        "outputs": outputs({**(spec.get("outputs") or {}), "default": default}),
        "distribution": spec.get("distribution"),
        "autologgerSettings": None,
        "limits": spec.get("limits"),
        "environmentVariables": spec.get("environmentVariables") or {},
        "parameters": {},
    }


def inputs(given: Mapping[str, Json]) -> Json:
    """Show inputs with the members that the service fills in."""
    return {
        name: {"description": None, "jobInputType": "literal", "value": one.get("value")}
        if one["jobInputType"] == "literal"
        else {
            "description": None,
            "uri": one.get("uri"),
            "mode": one.get("mode") or "ReadOnlyMount",
            "jobInputType": one["jobInputType"],
        }
        for name, one in given.items()
    }


def outputs(given: Mapping[str, Any]) -> Json:
    """Show outputs with the members that the service fills in; a URI that was not sent stays null."""
    return {
        name: {
            "description": None,
            "uri": one.get("uri"),
            "assetName": one.get("assetName"),
            "assetVersion": one.get("assetVersion"),
            "mode": one.get("mode") or "ReadWriteMount",
            "autoDeleteSetting": one.get("autoDeleteSetting"),
            "jobOutputType": one.get("jobOutputType") or "uri_folder",
        }
        for name, one in given.items()
    }

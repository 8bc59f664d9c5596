"""Schedules: jobs that begin by the emulator's clock.

Source: recorded answers of Azure ML, 2023 (API version 2023-02-01-preview).
"""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.clock import utc_now
from azureml_emulator.errors import Json, WireError, bad_request, not_emulated, refusal
from azureml_emulator.names import WorkspaceName
from azureml_emulator.routes import computes, job_specs, jobs
from azureml_emulator.routes.asset_kinds import text, words
from azureml_emulator.routes.calls import (
    WORKSPACE,
    Call,
    Services,
    listing,
    new_guid,
    null,
    operation,
    route,
    system_data,
)
from azureml_emulator.schedule_times import Trigger, TriggerError
from azureml_emulator.scheduler import TYPE

_ALL = f"{WORKSPACE}/schedules"
_ONE = f"{_ALL}/{{name}}"
_TIMEOUT = {"x-ms-async-operation-timeout": "PT30M"}
_PAGE = 100
_DEFINED: Json = {
    "description": None,
    "tags": {},
    "properties": {},
    "displayName": None,
    "status": "NotStarted",
    "experimentName": "Default",
    "services": None,
    "computeId": None,
    "isArchived": False,
    "identity": None,
    "componentId": None,
    "notificationSetting": None,
}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", _ALL, get_all),
        route("GET", _ONE, get),
        route("PUT", _ONE, put),
        route("DELETE", _ONE, delete),
        route("POST", f"{_ONE}/trigger", trigger),
    ]


def _no_schedule(name: str) -> WireError:
    return refusal(404, f"Resource Trigger {name} not found", inner_codes=("NotFound",))


def _found(call: Call) -> Json:
    found = call.store.get(f"{call.workspace.arm_id}/schedules/{call.names['name']}")
    if found is None:
        raise _no_schedule(call.names["name"])
    return found


async def get(call: Call) -> Response:
    """GET a schedule."""
    return JSONResponse(_found(call))


async def get_all(call: Call) -> Response:
    """GET the schedules: those that are enabled, unless asked otherwise."""
    view = call.query.get("listViewType", "EnabledOnly")
    found = call.store.children(f"{call.workspace.arm_id}/schedules")[::-1]
    if view != "All":
        found = [one for one in found if one["properties"]["isEnabled"] == (view != "DisabledOnly")]
    return listing(*call.page(found, key=lambda one: str(one["name"]), size=_PAGE, token="$skip"))  # noqa: S106


async def put(call: Call) -> Response:
    """PUT a schedule: make it, change it, enable or disable it."""
    workspace, name, sent = call.workspace, call.names["name"], await call.properties()
    properties = {
        "description": text(sent, "description"),
        "tags": words(sent, "tags"),
        "properties": words(sent, "properties"),
        "displayName": text(sent, "displayName"),
        "isEnabled": sent.get("isEnabled", True) is not False,
        "trigger": _trigger(sent),
        "action": {"actionType": "CreateJob", "jobDefinition": _definition(call, sent)},
    }
    arm_id = f"{workspace.arm_id}/schedules/{name}"
    before = call.store.get(arm_id)
    body = {
        "id": arm_id,
        "name": name,
        "type": TYPE,
        "properties": properties | {"provisioningState": "Succeeded"},
        "systemData": system_data(before["systemData"] if before else None),
    }
    call.store.put(arm_id, body)
    _tell(call, arm_id)
    headers = {"Azure-AsyncOperation": operation(call, "s"), "Location": call.url, **_TIMEOUT}
    return JSONResponse({"properties": properties | {"provisioningState": "Creating"}}, 201, headers)


def _trigger(sent: Json) -> Json:
    said = sent.get("trigger")
    if not isinstance(said, dict):
        raise bad_request("The schedule has no trigger.")
    try:
        Trigger.parse(said, now=utc_now())
    except TriggerError as error:
        raise bad_request(f"The schedule's trigger cannot be read: {error}") from error
    return said


def _definition(call: Call, sent: Json) -> Json:
    """Check the job that is to begin, and write it with all its members."""
    action = sent.get("action")
    if not isinstance(action, dict) or not isinstance(action.get("jobDefinition"), dict):
        kind = action.get("actionType") if isinstance(action, dict) else None
        if kind not in {None, "CreateJob"}:
            raise not_emulated("PUT", call.request.url.path, f"a schedule of action {kind}")
        raise bad_request("The schedule has no action with a jobDefinition.")
    sent_job: Json = action["jobDefinition"]
    spec = _spec(call.services, call.workspace, sent_job)
    for member in ("tags", "properties", "jobs", "inputs", "outputs", "settings"):
        words(spec, member)
    job_specs.check(call.store, spec, call.request.url.path)
    computes.check(call, spec.get("computeId"))
    computes.check_pipeline(call, spec)
    said = {key: value for key, value in sent_job.items() if value not in (None, "")}
    if "inputs" in said:
        said["inputs"] = {name: {"description": None} | words(said["inputs"], name) for name in said["inputs"]}
    return _DEFINED | said | {"sourceJobId": sent_job.get("sourceJobId")}


def _spec(services: Services, workspace: WorkspaceName, defined: Json) -> Json:
    """What the job runs: what its definition says, or what the job ran that it names."""
    source = str(defined.get("sourceJobId") or "")
    if not source or defined.get("jobs") or defined.get("componentId") or defined.get("command"):
        return defined
    run = services.store.run(workspace.arm_id, source.rpartition("/")[2])
    if run is None:
        raise bad_request(f"The schedule's job {source} was not found.")
    return run.spec | {"experimentName": run.experiment}


def _tell(call: Call, arm_id: str) -> None:
    if call.services.scheduler is not None:
        call.services.scheduler.look_at(arm_id)


async def delete(call: Call) -> Response:
    """DELETE a schedule; the jobs that it began stay."""
    arm_id = _found(call)["id"]
    call.store.delete(arm_id)
    _tell(call, arm_id)
    status = operation(call, "s")
    location = status.replace("/mfeOperationsStatus/", "/mfeOperationResults/")
    return null(202, {"Azure-AsyncOperation": status, "Location": location, **_TIMEOUT})


async def trigger(call: Call) -> Response:
    """POST that its job begins now, whether it is enabled or not."""
    body = _found(call)
    await call.json()
    name = begin(call.services, body["id"], utc_now(), suffix=f"-{new_guid()[:8]}")
    return JSONResponse({"submissionId": name, "scheduleActionType": "CreateJob"})


def begin(services: Services, arm_id: str, at: datetime, *, suffix: str = "") -> str:
    """Begin the job of a schedule, and say its name.

    Args:
        services: What jobs are begun with.
        arm_id: The schedule's.
        at: The time that it was due at, which names the job.
        suffix: Keeps apart what has the same time.

    Raises:
        WireError: The schedule is not there any more, or its job cannot be begun.
    """
    body = services.store.get(arm_id)
    if body is None:
        raise _no_schedule(arm_id.rpartition("/")[2])
    workspace, defined = WorkspaceName.of_arm_id(body["id"]), body["properties"]["action"]["jobDefinition"]
    spec = _spec(services, workspace, defined)
    stamp = f"{body['name']}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    tags = {**(spec.get("tags") or {}), "azureml.schedule": body["name"]}
    jobs.start(services, workspace, f"{stamp}{suffix}", spec | {"displayName": stamp, "tags": tags})
    return f"{stamp}{suffix}"

"""Compute: names that jobs may give; everything runs on this machine."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError, bad_request, not_emulated
from azureml_emulator.names import PROVIDER
from azureml_emulator.routes.calls import WORKSPACE, Call, listing, new_guid, route
from azureml_emulator.store import now

_ALL = f"{WORKSPACE}/computes"
_ONE = f"{_ALL}/{{name}}"
_IDLE = {f"{state}NodeCount": 0 for state in ("preparing", "running", "idle", "unusable", "leaving", "preempted")}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", _ALL, get_all),
        route("GET", _ONE, get),
        route("PUT", _ONE, put),
        route("DELETE", _ONE, delete),
    ]


def check(call: Call, compute: str | None) -> None:
    """Refuse a compute that is not in the workspace; none at all is serverless.

    Raises:
        WireError: 400.
    """
    if not compute or compute.lower() == "serverless":
        return
    name = compute.removeprefix("azureml:").rpartition("/")[2]
    if call.store.get(f"{call.workspace.arm_id}/computes/{name}") is None:
        raise bad_request(
            f"The compute target {name} was not found in workspace {call.workspace.name}.",
            "NotFound",
            "ComputeNotFound",
        )


def _found(call: Call) -> Json:
    found = call.store.get(f"{call.workspace.arm_id}/computes/{call.names['name']}")
    if found is None:
        raise WireError(404, None)  # recorded: an empty body
    return found


async def get(call: Call) -> Response:
    """GET a compute."""
    return JSONResponse(_found(call))


async def get_all(call: Call) -> Response:
    """GET the computes."""
    return listing(call.store.children(f"{call.workspace.arm_id}/computes"))


async def put(call: Call) -> Response:
    """PUT an AmlCompute: it is there at once, and says "Creating" in this one answer as Azure does."""
    workspace, name, sent = call.workspace, call.names["name"], await call.json()
    properties = sent.get("properties") or {}
    if properties.get("computeType") != "AmlCompute":
        raise not_emulated("PUT", call.request.url.path, f"a compute of type {properties.get('computeType')}")
    arm_id = f"{workspace.arm_id}/computes/{name}"
    before = call.store.get(arm_id)
    created = before["properties"]["createdOn"] if before else now()
    body = _body(call, arm_id, sent, created=created)
    call.store.put(arm_id, body)
    answer = body | {"tags": sent.get("tags"), "properties": body["properties"] | {"provisioningState": "Creating"}}
    return JSONResponse(answer, 200 if before else 201, _headers(call))


def _body(call: Call, arm_id: str, sent: Json, *, created: str) -> Json:
    properties = sent["properties"]
    inner = properties.get("properties") or {}
    return {
        "id": arm_id,
        "name": call.names["name"],
        "type": f"{PROVIDER}/workspaces/computes",
        "location": sent.get("location", call.location),
        "tags": sent.get("tags") or {},
        "properties": {
            "createdOn": created,
            "modifiedOn": now(),
            "disableLocalAuth": False,
            "description": properties.get("description"),
            "resourceId": None,
            "computeType": "AmlCompute",
            "computeLocation": call.location,
            "provisioningState": "Succeeded",
            "provisioningErrors": None,
            "isAttachedCompute": False,
            "properties": {
                "osType": "Linux",
                "vmPriority": "Dedicated",
                "scaleSettings": {"maxNodeCount": 1, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT2M"},
                "enableNodePublicIp": True,
                **inner,
                "vmSize": str(inner.get("vmSize", "")).upper(),
                "userAccountCredentials": None,
                "subnet": inner.get("subnet"),
                "currentNodeCount": 0,
                "targetNodeCount": 0,
                "nodeStateCounts": _IDLE,
                "allocationState": "Steady",
                "allocationStateTransitionTime": created[:23] + "+00:00",
                "errors": None,
                "propertyBag": {},
            },
        },
    }


async def delete(call: Call) -> Response:
    """DELETE a compute."""
    call.store.delete(_found(call)["id"])
    return Response(status_code=202, headers=_headers(call))


def _headers(call: Call) -> dict[str, str]:
    subscription = call.workspace.subscription
    root = f"{call.origin.root}/subscriptions/{subscription}/providers/{PROVIDER}/locations/{call.location}"
    url = f"{root}/computeOperationsStatus/{new_guid()}?api-version={call.version}&service=new"
    return {"Azure-AsyncOperation": url, "Retry-After": "1"}

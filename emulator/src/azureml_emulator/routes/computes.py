"""Computes: how many nodes they may have and have; everything runs on this machine."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import allowances
from azureml_emulator.durations import seconds
from azureml_emulator.errors import Json, WireError, bad_request, not_emulated
from azureml_emulator.layout import compute_name
from azureml_emulator.names import PROVIDER
from azureml_emulator.routes import compute_kinds
from azureml_emulator.routes.calls import WORKSPACE, Call, listing, route
from azureml_emulator.steps import SpecificationError
from azureml_emulator.store import now

_ALL = f"{WORKSPACE}/computes"
_ONE = f"{_ALL}/{{name}}"
#: What the answer to the PUT of a cluster does not show, or shows as null.
_LATER = frozenset({"userAccountCredentials", "allocationStateTransitionTime", "propertyBag"})
_COUNTED = frozenset({"currentNodeCount", "targetNodeCount", "nodeStateCounts", "allocationState"})
_IDLE = {f"{state}NodeCount": 0 for state in ("preparing", "running", "idle", "unusable", "leaving", "preempted")}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", _ALL, get_all),
        route("GET", _ONE, get),
        route("PUT", _ONE, put),
        route("PATCH", _ONE, patch),
        route("DELETE", _ONE, delete),
    ]


def check(call: Call, compute: str | None) -> None:
    """Refuse a compute that is not in the workspace; none at all is serverless.

    Raises:
        WireError: 400.
    """
    if not (name := compute_name(compute)):
        return
    if call.store.get(f"{call.workspace.arm_id}/computes/{name}") is None:
        raise bad_request(
            f"The compute target {name} was not found in workspace {call.workspace.name}.",
            "NotFound",
            "ComputeNotFound",
        )


def check_pipeline(call: Call, spec: Json) -> None:
    """Refuse a pipeline job that names a compute anywhere that is not in the workspace.

    Raises:
        WireError: 400.
    """
    check(call, (spec.get("settings") or {}).get("default_compute"))
    for node in (spec.get("jobs") or {}).values():
        check(call, node.get("computeId"))


def _found(call: Call) -> Json:
    found = call.store.get(f"{call.workspace.arm_id}/computes/{call.names['name']}")
    if found is None:
        raise WireError(404, None)  # recorded: an empty body
    return found


async def get(call: Call) -> Response:
    """GET a compute."""
    return JSONResponse(_shown(call, _found(call)))


def _shown(call: Call, body: Json) -> Json:
    body = _with_nodes(call, body)
    controlled = call.services.control is not None
    return allowances.shown_compute(body, allowances.in_force(call.store, "computes", controlled=controlled))


def _with_nodes(call: Call, body: Json) -> Json:
    """Show the nodes that a cluster has at this moment; those that start are counted, and it is resizing."""
    if body["properties"]["computeType"] != "AmlCompute":
        return body
    nodes = call.services.runner.nodes(body["id"])
    counts = {"preparing": nodes.preparing, "running": nodes.running, "idle": nodes.idle}
    seen = {
        "currentNodeCount": nodes.current,
        "targetNodeCount": nodes.current,
        "nodeStateCounts": _IDLE | {f"{state}NodeCount": count for state, count in counts.items()},
        "allocationState": "Resizing" if nodes.preparing else "Steady",
    }
    return body | {"properties": body["properties"] | {"properties": body["properties"]["properties"] | seen}}


async def get_all(call: Call) -> Response:
    """GET the computes."""
    return listing([_shown(call, body) for body in call.store.children(f"{call.workspace.arm_id}/computes")])


async def put(call: Call) -> Response:
    """PUT a compute: it is there at once, and says "Creating" in this one answer as Azure does."""
    workspace, name, sent = call.workspace, call.names["name"], await call.json()
    properties = sent.get("properties") or {}
    _check_scale((properties.get("properties") or {}).get("scaleSettings") or {})
    kind = properties.get("computeType")
    if kind not in {"AmlCompute", *compute_kinds.INNER}:
        raise not_emulated("PUT", call.request.url.path, f"a compute of type {kind}")
    arm_id = f"{workspace.arm_id}/computes/{name}"
    before = call.store.get(arm_id)
    created = before["properties"]["createdOn"] if before else now()
    make = _body if kind == "AmlCompute" else compute_kinds.body
    body = make(call, arm_id, sent, created=created)
    call.store.put(arm_id, body)
    call.services.runner.look_at_queue(arm_id)
    answer = body | {"tags": sent.get("tags"), "properties": _being_made(body["properties"])}
    return JSONResponse(answer, 200 if before else 201, compute_kinds.headers(call))


async def patch(call: Call) -> Response:
    """PATCH a cluster: how far it scales, which is all that the REST reference lets change so."""
    found, sent = _found(call), await call.json()
    if (kind := found["properties"]["computeType"]) != "AmlCompute":
        raise not_emulated("PATCH", call.request.url.path, f"a change of a compute of type {kind}")
    inner = (sent.get("properties") or {}).get("properties") or {}
    before = found["properties"]["properties"]
    scale = before["scaleSettings"] | (inner.get("scaleSettings") or {})
    _check_scale(scale)
    properties = found["properties"] | {"modifiedOn": now(), "properties": before | {"scaleSettings": scale}}
    body = found | {"properties": properties}
    call.store.put(found["id"], body)
    call.services.runner.look_at_queue(found["id"])
    return JSONResponse(_shown(call, body), headers=compute_kinds.headers(call))


def _being_made(properties: Json) -> Json:
    """Show a compute as the answer to its PUT was recorded: without what is known only when it is there."""
    inner = {name: value for name, value in properties["properties"].items() if name not in _LATER}
    inner |= {name: None for name in inner if name in _COUNTED}
    shown = {name: value for name, value in properties.items() if name != "computeLocation"}
    return shown | {"provisioningState": "Creating", "properties": inner}


def _check_scale(scale: Json) -> None:
    most, least = scale.get("maxNodeCount", 1), scale.get("minNodeCount", 0)
    if any(isinstance(count, bool) or not isinstance(count, int) for count in (most, least)) or not 0 <= least <= most:
        raise bad_request(f"A compute cannot scale from {least} to {most} nodes; give minNodeCount <= maxNodeCount.")
    try:
        seconds(str(scale.get("nodeIdleTimeBeforeScaleDown") or "PT2M"), "The idle time")
    except SpecificationError as error:
        raise bad_request(str(error)) from error


def _body(call: Call, arm_id: str, sent: Json, *, created: str) -> Json:
    properties = sent["properties"]
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
            "properties": _cluster(properties.get("properties") or {}, created=created),
        },
    }


def _cluster(inner: Json, *, created: str) -> Json:
    """Make the inner properties of a cluster; a password that came is not kept."""
    credentials = inner.get("userAccountCredentials")
    return {
        "osType": "Linux",
        "vmPriority": "Dedicated",
        "scaleSettings": {"maxNodeCount": 1, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT2M"},
        "enableNodePublicIp": True,
        "remoteLoginPortPublicAccess": "NotSpecified",
        "enableBatchPrivateLink": False,
        **inner,
        "vmSize": str(inner.get("vmSize", "")).upper(),
        "userAccountCredentials": {**credentials, "adminUserPassword": None} if isinstance(credentials, dict) else None,
        "subnet": inner.get("subnet"),
        "virtualMachineImage": inner.get("virtualMachineImage"),
        "isolatedNetwork": bool(inner.get("isolatedNetwork")),
        "currentNodeCount": 0,
        "targetNodeCount": 0,
        "nodeStateCounts": _IDLE,
        "allocationState": "Steady",
        "allocationStateTransitionTime": created[:23] + "+00:00",
        "errors": None,
        "propertyBag": {},
    }


async def delete(call: Call) -> Response:
    """DELETE a compute."""
    arm_id = _found(call)["id"]
    call.store.delete(arm_id)
    call.services.runner.look_at_queue(arm_id)
    return Response(status_code=202, headers=compute_kinds.headers(call))

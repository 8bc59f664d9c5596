"""Computes that are no clusters: instances, which are started and stopped, and Kubernetes clusters that are attached.

Source: REST reference of Azure Machine Learning, 2024-04-01; the words of the states are those of its ComputeInstance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError, bad_request
from azureml_emulator.names import PROVIDER
from azureml_emulator.routes.calls import USER, WORKSPACE, Call, new_guid, route
from azureml_emulator.store import now

_ONE = f"{WORKSPACE}/computes/{{name}}"
#: What each action makes of an instance: its state, and the word of the operation.
_ACTIONS: Mapping[str, tuple[str, str]] = {
    "start": ("Running", "Start"),
    "stop": ("Stopped", "Stop"),
    "restart": ("Running", "Restart"),
}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        *(route("POST", f"{_ONE}/{action}", act) for action in _ACTIONS),
        route("POST", f"{_ONE}/enableSso", enable_sso),
        route("POST", f"{_ONE}/listNodes", list_nodes),
    ]


def headers(call: Call) -> dict[str, str]:
    """Name the operation that a change of a compute is; it is over when it is first asked about."""
    subscription = call.workspace.subscription
    root = f"{call.origin.root}/subscriptions/{subscription}/providers/{PROVIDER}/locations/{call.location}"
    url = f"{root}/computeOperationsStatus/{new_guid()}?api-version={call.version}&service=new"
    return {"Azure-AsyncOperation": url, "Retry-After": "1"}


def _instance(call: Call, sent: Json) -> Json:
    """Make the inner properties of an instance: one node, which runs as soon as it is there."""
    del call
    inner = sent.get("properties") or {}
    return {
        "enableSSO": True,
        "enableNodePublicIp": True,
        "applicationSharingPolicy": "Shared",
        "computeInstanceAuthorizationType": "personal",
        **inner,
        "vmSize": str(inner.get("vmSize") or "").upper(),
        "state": "Running",
        "errors": [],
        "connectivityEndpoints": None,
        "applications": [],
        "createdBy": {"userId": new_guid(), "userOrgId": new_guid(), "userName": USER["createdBy"]},
        "lastOperation": {"operationName": "Create", "operationTime": now(), "operationStatus": "Succeeded"},
        # What jobs ask for: an instance is one node that is always there.
        "scaleSettings": {"minNodeCount": 1, "maxNodeCount": 1},
    }


def _kubernetes(call: Call, sent: Json) -> Json:
    """Make the inner properties of a cluster of Kubernetes; its jobs run here, on one node."""
    del call
    if not sent.get("resourceId"):
        raise bad_request("A Kubernetes compute is attached; give the resourceId of the cluster.")
    return {
        "namespace": "default",
        "defaultInstanceType": "defaultinstancetype",
        "instanceTypes": {},
        **(sent.get("properties") or {}),
        "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1},
    }


#: What makes the inner properties of a compute of each type.
INNER: Mapping[str, Callable[[Call, Json], Json]] = {"ComputeInstance": _instance, "Kubernetes": _kubernetes}


def body(call: Call, arm_id: str, sent: Json, *, created: str) -> Json:
    """Make the resource of an instance or of an attached cluster."""
    properties = sent["properties"]
    kind = properties["computeType"]
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
            "resourceId": properties.get("resourceId"),
            "computeType": kind,
            "computeLocation": call.location,
            "provisioningState": "Succeeded",
            "provisioningErrors": None,
            "isAttachedCompute": kind == "Kubernetes",
            "properties": INNER[kind](call, properties),
        },
    }


def _found(call: Call) -> Json:
    found = call.store.get(f"{call.workspace.arm_id}/computes/{call.names['name']}")
    if found is None:
        raise WireError(404, None)  # recorded for a GET: an empty body
    return found


def _found_instance(call: Call) -> Json:
    found = _found(call)
    if found["properties"]["computeType"] != "ComputeInstance":
        raise bad_request(f"Compute {found['name']} is no ComputeInstance; only those are started and stopped.")
    return found


def _change(call: Call, found: Json, **inner: object) -> None:
    properties = found["properties"]
    changed = properties | {"modifiedOn": now(), "properties": properties["properties"] | inner}
    call.store.put(found["id"], found | {"properties": changed})


async def act(call: Call) -> Response:
    """POST to start, stop or restart an instance."""
    action = call.request.url.path.rpartition("/")[2]
    state, word = _ACTIONS[action]
    operation = {"operationName": word, "operationTime": now(), "operationStatus": "Succeeded"}
    _change(call, _found_instance(call), state=state, lastOperation=operation)
    return Response(status_code=202, headers=headers(call))


async def enable_sso(call: Call) -> Response:
    """POST whether an instance takes the sign-on of the workspace."""
    wanted = (await call.json()).get("enableSSO")
    if not isinstance(wanted, bool):
        raise bad_request("Give enableSSO, true or false.")
    _change(call, _found_instance(call), enableSSO=wanted)
    return Response(status_code=200)


async def list_nodes(call: Call) -> Response:
    """POST for the nodes that a cluster has at this moment."""
    nodes = call.services.runner.nodes(_found(call)["id"])
    states = {"preparing": nodes.preparing, "running": nodes.running, "idle": nodes.idle}
    listed = [
        {
            "nodeId": f"tvmps_{number:032x}_d",
            "port": 50000 + number,
            "publicIpAddress": None,
            "privateIpAddress": "127.0.0.1",
            "nodeState": state,
            "runId": None,
        }
        for number, state in enumerate(state for state, count in states.items() for _ in range(count))
    ]
    return JSONResponse({"nodes": listed})

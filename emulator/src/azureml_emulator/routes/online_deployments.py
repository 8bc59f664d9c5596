"""Deployments of online endpoints: what they are to be; who brings that about is `serving`."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import allowances, online_operations
from azureml_emulator.errors import Json, bad_request
from azureml_emulator.routes import online_bodies
from azureml_emulator.routes.batch import no_deployment
from azureml_emulator.routes.calls import Call, listing, operation, route
from azureml_emulator.routes.online import (
    ONE,
    TIMEOUT,
    accepted,
    busy,
    deployments_of,
    found_endpoint,
    is_changing,
    serving_of,
    stamp,
)
from azureml_emulator.serving_logs import INITIALIZER, SERVER

_ONE = f"{ONE}/deployments/{{deployment}}"
#: As many lines of a log as are shown where nobody says.
_LINES = 5000


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", f"{ONE}/deployments", get_all),
        route("GET", _ONE, get),
        route("PUT", _ONE, put),
        route("PATCH", _ONE, patch),
        route("DELETE", _ONE, delete),
        route("POST", f"{_ONE}/getLogs", get_logs),
        route("GET", f"{_ONE}/skus", get_skus),
    ]


def _found(call: Call) -> Json:
    endpoint, name = found_endpoint(call), call.names["deployment"]
    found = call.store.get(f"{endpoint['id']}/deployments/{name}")
    if found is None:
        raise no_deployment(name, endpoint["name"])
    return found


async def get(call: Call) -> Response:
    """GET a deployment."""
    return JSONResponse(_found(call))


async def get_all(call: Call) -> Response:
    """GET an endpoint's deployments."""
    return listing(deployments_of(call, found_endpoint(call)))


async def put(call: Call) -> Response:
    """PUT a deployment; until its processes are ready, it is Updating, and those before them serve."""
    endpoint, name, sent = found_endpoint(call), call.names["deployment"], await call.json()
    online_bodies.check_name(name, "deployment")
    before = call.store.get(f"{endpoint['id']}/deployments/{name}")
    if before and is_changing(before):
        raise busy(before)
    body = online_bodies.deployment(call.store, endpoint, before["name"] if before else name, sent)
    _check_quota(call, body, before)
    url = _begin(call, stamp(call, body, sent, before))
    headers = {"Azure-AsyncOperation": url, "Location": call.url, **TIMEOUT}
    return JSONResponse(call.store.get(body["id"]), 201, headers)


def _begin(call: Call, body: Json) -> str:
    """Keep a deployment as it is to be, and have that brought about; the address of the operation."""
    serving = serving_of(call)
    url = operation(call, online_operations.DEPLOYMENT)
    name = online_operations.begin(call.store, url)
    own = body["properties"]["properties"] | {"AzureAsyncOperationUri": url}
    body["properties"] |= {"properties": own, "provisioningState": "Updating"}
    call.store.put(body["id"], body)
    serving.deploy(body["id"], name)
    return url


def _check_quota(call: Call, body: Json, before: Json | None) -> None:
    """Refuse more instances than the control interface has left quota for.

    Raises:
        WireError: 400.
    """
    if body["kind"] != online_bodies.MANAGED:
        return
    size, count = body["properties"]["instanceType"], body["sku"]["capacity"]
    if before and before["properties"]["instanceType"] == size:
        count -= before["sku"]["capacity"]
    told = allowances.in_force(call.store, "quotas", controlled=call.services.control is not None)
    online_bodies.check_quota(size, count, subscription=call.workspace.subscription, told=told)


async def patch(call: Call) -> Response:
    """PATCH a deployment: the number of its instances, and its tags."""
    before, sent = _found(call), await call.json()
    if is_changing(before):
        raise busy(before)
    body = before | {"tags": sent["tags"] if sent.get("tags") is not None else before["tags"]}
    if sent.get("sku"):
        body["sku"] = before["sku"] | {"capacity": online_bodies.capacity(sent["sku"])}
    _check_quota(call, body, before)
    return accepted(_begin(call, stamp(call, body, before, before)))


async def delete(call: Call) -> Response:
    """DELETE a deployment that takes no traffic; what is being done to it is cancelled."""
    body, endpoint = _found(call), found_endpoint(call)
    for member, words in (("traffic", "takes"), ("mirrorTraffic", "is sent a copy of")):
        if share := endpoint["properties"][member].get(body["name"]):
            raise bad_request(
                f"Deployment {body['name']} {words} {share} % of the traffic of endpoint {endpoint['name']}; give that"
                " to another deployment first."
            )
    url = operation(call, online_operations.DEPLOYMENT)
    name = online_operations.begin(call.store, url)
    for member in ("traffic", "mirrorTraffic"):
        endpoint["properties"][member].pop(body["name"], None)
    call.store.put(endpoint["id"], endpoint)
    call.store.delete(body["id"])
    serving_of(call).withdraw(body, name)
    return accepted(url)


async def get_logs(call: Call) -> Response:
    """POST for the last lines of a container's log."""
    body, sent = _found(call), await call.json()
    container, said = str(sent.get("containerType") or SERVER), sent.get("tail")
    if container not in (SERVER, INITIALIZER):
        raise bad_request(f"containerType is {container!r}; give {SERVER} or {INITIALIZER}.")
    if said is not None and (isinstance(said, bool) or not isinstance(said, int) or said < 1):
        raise bad_request(f"tail is {said!r}; give a number of lines.")
    content = serving_of(call).log(body["id"]).tail(container, lines=said or _LINES)
    return JSONResponse({"content": content})


async def get_skus(call: Call) -> Response:
    """GET how many instances a deployment may have."""
    _found(call)
    return listing(
        [
            {
                "resourceType": f"{online_bodies.TYPE}/deployments",
                "sku": {"name": "Default", "tier": "Standard"},
                "capacity": {
                    "minimum": 1,
                    "maximum": online_bodies.MOST_INSTANCES,
                    "default": 1,
                    "scaleType": "Automatic",
                },
            }
        ]
    )

"""Online endpoints: who may ask, and which deployment answers how much."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import online_keys, online_operations
from azureml_emulator.errors import Json, WireError, bad_request, refusal
from azureml_emulator.online_faults import OnlineFault, OnlineFaults
from azureml_emulator.routes import online_bodies
from azureml_emulator.routes.batch import no_endpoint
from azureml_emulator.routes.calls import USER, WORKSPACE, Call, listing, null, operation, route
from azureml_emulator.serving import CHANGING, Deployments
from azureml_emulator.store import now
from azureml_emulator.tokens import LIFETIME_S

ALL = f"{WORKSPACE}/onlineEndpoints"
ONE = f"{ALL}/{{name}}"
TIMEOUT = {"x-ms-async-operation-timeout": "PT30M", "Retry-After": "1"}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", ALL, get_all),
        route("GET", ONE, get),
        route("PUT", ONE, put),
        route("PATCH", ONE, patch),
        route("DELETE", ONE, delete),
        route("POST", f"{ONE}/listKeys", list_keys),
        route("POST", f"{ONE}/regenerateKeys", regenerate_keys),
        route("POST", f"{ONE}/token", token),
    ]


def serving_of(call: Call) -> Deployments:
    """Who runs the processes.

    Raises:
        WireError: 501 where nobody does.
    """
    if call.services.deployments is None:
        raise refusal(501, "This emulator was made without scoring processes.", code="NotEmulated")
    return call.services.deployments


def faults_of(call: Call) -> OnlineFaults:
    """What shall go wrong; nothing where the control interface is off."""
    return call.services.control.online if call.services.control else OnlineFaults()


def found_endpoint(call: Call) -> Json:
    """Find the endpoint that the path names.

    Raises:
        WireError: 404.
    """
    name = call.names["name"]
    found = call.store.get(f"{call.workspace.arm_id}/onlineEndpoints/{name}")
    if found is None:
        raise no_endpoint(name, call.workspace.name)
    return found


def deployments_of(call: Call, endpoint: Json) -> list[Json]:
    """List the deployments of an endpoint."""
    return call.store.children(f"{endpoint['id']}/deployments")


def busy(body: Json) -> WireError:
    """The answer to a change of what is being changed; that it is 409 is documented, its words are our own."""
    state = body["properties"]["provisioningState"]
    return refusal(
        409,
        f"{body['name']} is {state}: another operation is in progress on it. Try again when that has ended.",
        inner_codes=("Conflict", "OperationInProgress"),
    )


def stamp(call: Call, body: Json, sent: Json, before: Json | None) -> Json:
    """Say of a resource when it was made and changed, and where it is."""
    at = now()
    created = before["systemData"]["createdAt"] if before else at
    return body | {
        "systemData": {"createdAt": created, "createdBy": USER["createdBy"], "lastModifiedAt": at},
        "location": sent.get("location") or call.location,
    }


def _seen(call: Call, body: Json) -> Json:
    """Add the addresses, which depend on how the client came."""
    scoring, swagger = call.origin.online(call.workspace, body["name"])
    return body | {"properties": body["properties"] | {"scoringUri": scoring, "swaggerUri": swagger}}


async def get(call: Call) -> Response:
    """GET an endpoint."""
    return JSONResponse(_seen(call, found_endpoint(call)))


async def get_all(call: Call) -> Response:
    """GET the endpoints."""
    found = call.store.children(f"{call.workspace.arm_id}/onlineEndpoints")
    return listing([_seen(call, body) for body in found])


async def put(call: Call) -> Response:
    """PUT an endpoint, or its traffic; its name is its own in the whole location, as in Azure."""
    workspace, name, sent = call.workspace, call.names["name"], await call.json()
    online_bodies.check_name(name, "endpoint")
    before = call.store.get(f"{workspace.arm_id}/onlineEndpoints/{name}")
    _own_name(call, name)
    body = online_bodies.endpoint(workspace, before["name"] if before else name, sent)
    _check_change(call, body, before)
    body = stamp(call, body, sent, before)
    url = _apply(call, body, before)
    answer = body | {"properties": body["properties"] | {"provisioningState": "Updating" if before else "Creating"}}
    headers = {"Azure-AsyncOperation": url, "Location": call.url, **TIMEOUT}
    return JSONResponse(answer, 201, headers)  # recorded: of an update, too


def _own_name(call: Call, name: str) -> None:
    """Take the name of an endpoint, which batch and online endpoints have from one list.

    Raises:
        WireError: 400 where another has it.
    """
    owner_id = f"/endpoint-names/{call.location}/{name}"
    mine = {"workspace": call.workspace.arm_id, "endpoint": name, "kind": "online"}
    owner = call.store.get(owner_id)
    if owner is None:
        call.store.put(owner_id, mine)
    elif owner["workspace"].lower() != mine["workspace"].lower() or owner.get("kind") != "online":
        raise bad_request(
            f"There is already an endpoint with the name {name} in {call.location}; choose another name.",
            "BadArgument",
            "EndpointNameNotUnique",
        )


def _check_change(call: Call, body: Json, before: Json | None) -> None:
    """Refuse a change that cannot be.

    Raises:
        WireError: 400.
    """
    properties, names = body["properties"], [one["name"] for one in deployments_of(call, body)]
    online_bodies.check_traffic(properties["traffic"], properties["mirrorTraffic"], names)
    if before and before["kind"] != body["kind"]:
        raise bad_request(f"Endpoint {body['name']} is {before['kind']}; it cannot become {body['kind']}.")


def _apply(call: Call, body: Json, before: Json | None) -> str:
    """Keep an endpoint as it is to be, unless a fault strikes; then what answered before still does.

    Returns:
        The address of the operation.
    """
    url = operation(call, online_operations.ENDPOINT)
    name = online_operations.begin(call.store, url)
    fault = faults_of(call).strike(body["name"]) or OnlineFault()
    if fault.fails:
        old = before["properties"] if before else {"traffic": {}, "mirrorTraffic": {}}
        kept = {member: old[member] for member in ("traffic", "mirrorTraffic")}
        body["properties"] |= {**kept, "provisioningState": "Failed"}
    body["properties"]["properties"] |= {"AzureAsyncOperationUri": url}
    call.store.put(body["id"], body)
    if fault.fails:
        online_operations.end(call.store, name, status="Failed", error=fault.error)
    else:
        online_operations.end(call.store, name)
    return url


async def patch(call: Call) -> Response:
    """PATCH an endpoint: its tags; azure-rest-api-specs has nothing more of it but the identity."""
    body, sent = found_endpoint(call), await call.json()
    changed = body | {"tags": sent["tags"] if sent.get("tags") is not None else body["tags"]}
    url = _apply(call, stamp(call, changed, body, body), body)
    return null(202, {"Azure-AsyncOperation": url, "Location": _result(url), **TIMEOUT})


def _result(url: str) -> str:
    return url.replace("/mfeOperationsStatus/", "/mfeOperationResults/")


def accepted(url: str) -> Response:
    """Answer that a deletion goes on."""
    return null(202, {"Azure-AsyncOperation": url, "Location": _result(url), **TIMEOUT})


async def delete(call: Call) -> Response:
    """DELETE an endpoint and its deployments, whose processes answer what is in them before they end."""
    body = found_endpoint(call)
    url = operation(call, online_operations.ENDPOINT)
    name = online_operations.begin(call.store, url)
    remove(call, body)
    online_operations.end(call.store, name)
    return accepted(url)


def remove(call: Call, body: Json) -> None:
    """Remove an endpoint, and have its processes ended."""
    gone, serving = deployments_of(call, body), serving_of(call)
    call.store.delete(body["id"])
    call.store.delete(f"/endpoint-names/{call.location}/{body['name']}")
    for one in gone:
        serving.withdraw(one)


# keys and tokens


async def list_keys(call: Call) -> Response:
    """POST for the keys of an endpoint that has some."""
    body = found_endpoint(call)
    _check_mode(body, "Key")
    return JSONResponse(online_keys.keys_of(call.store, body["id"]).to_wire())


def _check_mode(body: Json, mode: str) -> None:
    if (own := body["properties"]["authMode"]) != mode:
        raise bad_request(f"Endpoint {body['name']} has authMode {own}; that is for {mode} only.")


async def regenerate_keys(call: Call) -> Response:
    """POST to have another key in the place of one."""
    body, sent = found_endpoint(call), await call.json()
    _check_mode(body, "Key")
    kind = str(sent.get("keyType") or "")
    if kind not in ("Primary", "Secondary"):
        raise bad_request(f"keyType is {kind!r}; give Primary or Secondary.")
    online_keys.regenerate(call.store, body["id"], kind)
    url = operation(call, online_operations.ENDPOINT)
    online_operations.end(call.store, online_operations.begin(call.store, url))
    return accepted(url)


async def token(call: Call) -> Response:
    """POST for a token of the endpoint's own."""
    body = found_endpoint(call)
    _check_mode(body, "AMLToken")
    control = call.services.control
    lifetime_s = control.lifetime.seconds if control else LIFETIME_S
    return JSONResponse(online_keys.token_body(body["id"], lifetime_s))


def is_changing(body: Json) -> bool:
    """Tell whether an operation is in progress on a resource."""
    return body["properties"]["provisioningState"] in CHANGING

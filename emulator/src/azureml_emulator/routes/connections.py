"""Connections of a workspace to what is elsewhere: where, of which kind, and credentials, which only one route shows.

Source: recorded answers of Azure ML, 2023 (API version 2022-01-01-preview).
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError, bad_request, inner, service_error
from azureml_emulator.names import PROVIDER
from azureml_emulator.routes.asset_kinds import text, words
from azureml_emulator.routes.calls import WORKSPACE, Call, listing, route

_ALL = f"{WORKSPACE}/connections"
_ONE = f"{_ALL}/{{name}}"
#: What is kept beside the five members that were recorded, where a client sends it.
_MORE = ("isSharedToAll", "expiryTime")


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", _ALL, get_all),
        route("GET", _ONE, get),
        route("PUT", _ONE, put),
        route("DELETE", _ONE, delete),
        route("POST", f"{_ONE}/listsecrets", post_secrets),
    ]


def _missing(name: str) -> WireError:
    message = f"Connection {name} can't be found in this workspace"
    return WireError(404, service_error(message, inner_error=inner("NotFoundError"), component="account-rp"))


def _id(call: Call) -> str:
    return f"{call.workspace.arm_id}/connections/{call.names['name']}"


def _found(call: Call) -> Json:
    found = call.store.get(_id(call))
    if found is None:
        raise _missing(call.names["name"])
    return found


async def get_all(call: Call) -> Response:
    """GET the connections, of one category where that is asked for."""
    found = call.store.children(f"{call.workspace.arm_id}/connections")
    if category := call.query.get("category"):
        found = [one for one in found if str(one["properties"]["category"]).lower() == category.lower()]
    return listing(found)


async def get(call: Call) -> Response:
    """GET a connection, without its credentials."""
    return JSONResponse(_found(call))


async def put(call: Call) -> Response:
    """PUT a connection: 200 whether it is new or not."""
    arm_id, sent = _id(call), await call.properties()
    kind, category, target = (text(sent, member) for member in ("authType", "category", "target"))
    if not kind or not category:
        raise bad_request(f"Connection {call.names['name']} needs an authType and a category.")
    credentials = words(sent, "credentials")
    properties = {
        "authType": kind,
        "credentials": None,
        "category": category,
        "target": target,
        "metadata": words(sent, "metadata") or None,
        **{member: sent[member] for member in _MORE if sent.get(member) is not None},
    }
    body = {
        "tags": None,
        "location": None,
        "id": arm_id,
        "name": call.names["name"],
        "type": f"{PROVIDER}/workspaces/connections",
        "properties": properties,
        "systemData": None,
    }
    call.store.put(arm_id, body)
    call.store.put(f"{arm_id}/secrets", {"credentials": credentials or None})
    return JSONResponse(body)


async def delete(call: Call) -> Response:
    """DELETE a connection with its credentials."""
    call.store.delete(_found(call)["id"])
    return Response(status_code=200)


async def post_secrets(call: Call) -> Response:
    """POST for a connection with its credentials."""
    body = _found(call)
    kept = call.store.get(f"{body['id']}/secrets") or {}
    return JSONResponse(body | {"properties": body["properties"] | {"credentials": kept.get("credentials")}})

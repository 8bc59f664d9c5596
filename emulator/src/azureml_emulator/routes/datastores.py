"""Datastores: names for places in the storage account."""

from __future__ import annotations

import re

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError, bad_request, not_emulated, refusal
from azureml_emulator.names import PROVIDER, WorkspaceName, blob_store_container, guid
from azureml_emulator.routes.calls import WORKSPACE, Call, Services, listing, route, system_data

_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
_TYPE = f"{PROVIDER}/workspaces/datastores"
#: What says where a datastore is, by its type. Of those that are no blobs, only what was said of them is kept.
_PLACES: dict[str, tuple[str, ...]] = {
    "AzureBlob": ("accountName", "containerName"),
    "AzureFile": ("accountName", "fileShareName"),
    "AzureDataLakeGen2": ("accountName", "filesystem"),
    "AzureDataLakeGen1": ("storeName",),
}
_ALL = f"{WORKSPACE}/datastores"
_ONE = f"{_ALL}/{{name}}"
ARTIFACTS = "workspaceartifactstore"
BLOBS = "workspaceblobstore"


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", _ALL, get_all),
        route("GET", _ONE, get),
        route("PUT", _ONE, put),
        route("DELETE", _ONE, delete),
        route("POST", f"{_ONE}/listSecrets", list_secrets),
    ]


def artifact_container(workspace: WorkspaceName) -> str:
    """The container behind ``workspaceartifactstore``.

    In Azure it is ``azureml`` in the workspace's own account; here all workspaces share one account.
    """
    return f"azureml-{workspace.guid}"


def create_defaults(services: Services, workspace: WorkspaceName) -> None:
    """Create the four datastores of a new workspace; the two file shares are names without a share behind them."""
    account = {"accountName": services.settings.account}
    blob, file = account | {"kind": "AzureBlob"}, account | {"kind": "AzureFile"}
    stores: dict[str, Json] = {
        "workspacefilestore": file | {"fileShareName": f"azureml-filestore-{workspace.guid}"},
        "workspaceworkingdirectory": file | {"fileShareName": f"code-{guid(workspace.arm_id, 'code')}"},
        ARTIFACTS: blob | {"containerName": artifact_container(workspace)},
        BLOBS: blob | {"containerName": blob_store_container(workspace)},
    }
    for name, place in stores.items():
        properties = {
            "description": None,
            "tags": None if name == BLOBS else {},
            "properties": None,
            "isDefault": name == BLOBS,
            "credentials": {"credentialsType": "AccountKey"},
            "datastoreType": place.pop("kind"),
            **place,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "WorkspaceSystemAssignedIdentity" if name == BLOBS else "None",
        }
        services.store.put(f"{workspace.arm_id}/datastores/{name}", _body(workspace, name, properties))


def _body(workspace: WorkspaceName, name: str, properties: Json, *, before: Json | None = None) -> Json:
    return {
        "id": f"{workspace.arm_id}/datastores/{name}",
        "name": name,
        "type": _TYPE,
        "properties": properties,
        "systemData": system_data(before["systemData"] if before else None),
    }


def _missing(name: str) -> WireError:
    return refusal(404, f"Could not find datastore: {name}.", inner_codes=("NotFoundError",))


def _found(call: Call) -> Json:
    name = call.names["name"]
    found = call.store.get(f"{call.workspace.arm_id}/datastores/{name}")
    if found is None:
        raise _missing(name)
    return found


async def get(call: Call) -> Response:
    """GET a datastore."""
    return JSONResponse(_found(call))


async def get_all(call: Call) -> Response:
    """GET the datastores, newest first."""
    found = call.store.children(f"{call.workspace.arm_id}/datastores")[::-1]
    if (wanted := call.query.get("isDefault")) is not None:
        found = [body for body in found if body["properties"]["isDefault"] == (wanted.lower() == "true")]
    return listing(found)


async def put(call: Call) -> Response:
    """PUT a datastore; that of a blob container must be in the emulated account, and its container is created."""
    workspace, name, sent = call.workspace, call.names["name"], await call.properties()
    kind, credentials = str(sent.get("datastoreType")), sent.get("credentials") or {}
    if kind not in _PLACES:
        raise not_emulated("PUT", call.request.url.path, f"a datastore of type {kind}")
    if lacking := [member for member in _PLACES[kind] if not isinstance(sent.get(member), str)]:
        raise bad_request(f"A datastore of type {kind} needs {' and '.join(lacking)}.")
    if not isinstance(credentials, dict):
        raise bad_request("The credentials of the datastore are no object.")
    if kind == "AzureBlob":
        await _ensure_container(call, sent)
    before = call.store.get(f"{workspace.arm_id}/datastores/{name}")
    web = {} if kind == "AzureDataLakeGen1" else {"endpoint": "core.windows.net", "protocol": "https"}
    properties = {
        "description": sent.get("description"),
        "tags": sent.get("tags") or {},
        "properties": sent.get("properties"),
        "isDefault": bool(before and before["properties"]["isDefault"]),
        "credentials": {"credentialsType": "None"} | {key: one for key, one in credentials.items() if key != "secrets"},
        "datastoreType": kind,
        **{member: sent[member] for member in _PLACES[kind]},
        **{member: sent.get(member) or usual for member, usual in web.items()},
        "serviceDataAccessAuthIdentity": sent.get("serviceDataAccessAuthIdentity") or "None",
    }
    body = _body(workspace, name, properties, before=before)
    new = call.store.put(body["id"], body)
    if isinstance(secrets := credentials.get("secrets"), dict):
        call.store.put(f"{body['id']}/secrets", {"secretsType": properties["credentials"]["credentialsType"]} | secrets)
    return JSONResponse(body, 201 if new else 200, {"Location": call.url} if new else None)


async def _ensure_container(call: Call, sent: Json) -> None:
    account, here, container = sent["accountName"], call.services.settings.account, sent["containerName"]
    if account != here:
        raise bad_request(f"The only storage account here is {here}; the datastore names {account}.")
    if not _CONTAINER.fullmatch(container):
        raise bad_request(f"{container!r:.100} is no container's name: 3 to 63 of a-z, 0-9 and single hyphens within.")
    await call.services.storage.ensure_container(container)


async def delete(call: Call) -> Response:
    """DELETE a datastore; the container and its blobs stay."""
    call.store.delete(_found(call)["id"])
    return Response(status_code=200)


async def list_secrets(call: Call) -> Response:
    """POST for the secrets: those that were sent, or else the account's key, which is the public development key."""
    found = _found(call)
    key = {"secretsType": "AccountKey", "key": call.services.settings.account_key}
    kept = call.store.get(f"{found['id']}/secrets")
    # Whoever reads blobs here needs the key that Azurite takes, whatever was sent.
    return JSONResponse(kept if kept and kept["secretsType"] != "AccountKey" else key)

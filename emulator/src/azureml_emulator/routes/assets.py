"""Environments, code, components, data and models: containers and their versions."""

from __future__ import annotations

from functools import partial

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, bad_request, no_component
from azureml_emulator.names import PROVIDER, guid
from azureml_emulator.routes.asset_kinds import ANONYMOUS, KINDS, Asked, AssetKind, minted_version, next_version
from azureml_emulator.routes.calls import WORKSPACE, Call, listing, route, system_data

_PAGE = 100
_DEFAULT_LABEL = "azureml_default"


def routes() -> list[Route]:
    """List the routes of this module."""
    found: list[Route] = []
    for kind in KINDS:
        root = f"{WORKSPACE}/{kind.segment}"
        found += [
            route("GET", root, partial(get_containers, kind)),
            route("GET", f"{root}/{{name}}", partial(get_container, kind)),
            route("PUT", f"{root}/{{name}}", partial(put_container, kind)),
            route("GET", f"{root}/{{name}}/versions", partial(get_versions, kind)),
            route("GET", f"{root}/{{name}}/versions/{{version}}", partial(get_version, kind)),
            route("PUT", f"{root}/{{name}}/versions/{{version}}", partial(put_version, kind)),
        ]
    upload = f"{WORKSPACE}/codes/{{name}}/versions/{{version}}/startPendingUpload"
    return [*found, route("POST", upload, start_pending_upload)]


def _type(kind: AssetKind) -> str:
    return f"{PROVIDER}/workspaces/{kind.segment}"


def _versions(call: Call, kind: AssetKind, name: str) -> list[Json]:
    """List the versions, newest first."""
    return call.store.children(f"{call.workspace.arm_id}/{kind.segment}/{name}/versions")[::-1]


async def get_version(kind: AssetKind, call: Call) -> Response:
    """GET one version; a component's default label is asked for as if it were a version."""
    name, version = call.names["name"], call.names["version"]
    if kind.segment == "components" and version == _DEFAULT_LABEL:
        return JSONResponse(_default_version(call, kind, name))
    found = call.store.get(f"{call.workspace.arm_id}/{kind.segment}/{name}/versions/{version}")
    if found is None:
        raise kind.missing(name, version)
    return JSONResponse(found)


def _default_version(call: Call, kind: AssetKind, name: str) -> Json:
    active = [one for one in _versions(call, kind, name) if not one["properties"]["isArchived"]]
    if not active:
        raise no_component(name)
    return active[0] | {"id": f"{call.workspace.arm_id}/components/{name}/labels/default"}


async def put_version(kind: AssetKind, call: Call) -> Response:
    """PUT one version: create it, or change what may be changed."""
    workspace, name, version = call.workspace, call.names["name"], call.names["version"]
    asked = Asked(call.store, workspace, name, version, await call.properties())
    properties = kind.properties(asked)
    minted = name == "azureml_anonymous"
    if minted:
        version = minted_version(version, properties["componentSpec"])
    container = f"{workspace.arm_id}/{kind.segment}/{name}"
    before = call.store.get(f"{container}/versions/{version}")
    if before and kind.path_member and before["properties"][kind.path_member] != properties[kind.path_member]:
        raise bad_request("Asset paths cannot be updated.", "Immutable", "AssetPathImmutable")
    data = system_data(before["systemData"] if before else None, keep=kind.keeps_times)
    if kind.segment == "data" and not before:
        data = {key: value for key, value in data.items() if not key.startswith("lastModifiedBy")}
    body = {
        "id": (arm_id := f"{container}/versions/{version}"),
        "name": version,
        "type": f"{_type(kind)}/versions",
        "properties": properties,
        "systemData": data,
    }
    if call.store.get(container) is None:
        call.store.put(container, _container(kind, container, isArchived=False))
    call.store.put(arm_id, body)
    created = before is None or kind.always_created or minted
    return JSONResponse(body, 201 if created else 200, {"Location": call.url} if created else None)


def _container(kind: AssetKind, arm_id: str, **properties: object) -> Json:
    stored = {"description": "", "tags": {}, "properties": {}} | properties
    return {
        "id": arm_id,
        "name": arm_id.rpartition("/")[2],
        "type": _type(kind),
        "properties": stored,
        "systemData": system_data(),
    }


def _shown_container(call: Call, kind: AssetKind, body: Json) -> Json:
    versions = _versions(call, kind, body["name"])
    shown = {
        "latestVersion": versions[0]["name"] if kind.shows_latest and versions else None,
        "nextVersion": next_version(kind, versions),
    }
    if kind.segment == "data" and versions:
        shown["dataType"] = versions[0]["properties"]["dataType"]
    return body | {"properties": body["properties"] | shown}


async def get_container(kind: AssetKind, call: Call) -> Response:
    """GET a container: what the next version would be, above all."""
    found = call.store.get(f"{call.workspace.arm_id}/{kind.segment}/{call.names['name']}")
    if found is None:
        raise kind.missing(call.names["name"], "")
    return JSONResponse(_shown_container(call, kind, found))


async def put_container(kind: AssetKind, call: Call) -> Response:
    """PUT a container: its description and tags, and whether it is archived."""
    sent = await call.properties()
    arm_id = f"{call.workspace.arm_id}/{kind.segment}/{call.names['name']}"
    body = _container(
        kind,
        arm_id,
        description=sent.get("description") or "",
        tags=sent.get("tags") or {},
        properties=sent.get("properties") or {},
        isArchived=bool(sent.get("isArchived")),
    )
    if before := call.store.get(arm_id):
        body["systemData"] = system_data(before["systemData"])
    new = call.store.put(arm_id, body)
    return JSONResponse(_shown_container(call, kind, body), 201 if new else 200)


async def get_containers(kind: AssetKind, call: Call) -> Response:
    """GET the containers, newest first, without those that hold anonymous versions."""
    found = call.store.children(f"{call.workspace.arm_id}/{kind.segment}")[::-1]
    named = [body for body in _viewed(call, found) if body["name"] not in ANONYMOUS]
    page, link = call.page(named, key=lambda body: body["name"], size=_PAGE, token="$skipToken")  # noqa: S106
    return listing([_shown_container(call, kind, body) for body in page], link)


def _viewed(call: Call, items: list[Json]) -> list[Json]:
    view = call.query.get("listViewType", "ActiveOnly")
    if view == "All":
        return items
    return [item for item in items if item["properties"]["isArchived"] == (view == "ArchivedOnly")]


async def get_versions(kind: AssetKind, call: Call) -> Response:
    """GET the versions, newest first; code is looked up by its hash, whatever container the path names."""
    if kind.segment == "codes" and (wanted := call.query.get("hash")):
        return listing(_code_by_hash(call, wanted))
    found = _viewed(call, _versions(call, kind, call.names["name"]))
    if stage := call.query.get("stage"):
        found = [one for one in found if one["properties"].get("stage") == stage]
    order = call.query.get("$orderBy", "createdtime desc").lower().split()
    if order[0] != "createdtime":
        raise bad_request(f"Versions are ordered by createdtime only, not by {order[0]}.")
    if order[1:] == ["asc"]:
        found = found[::-1]
    size = int(call.query.get("$top") or _PAGE)
    page, link = call.page(found, key=lambda body: body["name"], size=size, token="$skipToken")  # noqa: S106
    return listing([_listed(call, kind, one) for one in page], link)


def _listed(call: Call, kind: AssetKind, body: Json) -> Json:
    """Show a version as a listing does: data names its workspace by GUID there."""
    if kind.segment != "data":
        return body
    workspace = call.workspace
    uri = body["properties"]["dataUri"].replace(
        f"azureml://{workspace.short}/", f"azureml://workspaces/{workspace.guid}/"
    )
    return body | {"properties": body["properties"] | {"dataUri": uri}}


def _code_by_hash(call: Call, wanted: str) -> list[Json]:
    root = f"{call.workspace.arm_id}/codes"
    for container in call.store.children(root)[::-1]:
        for version in call.store.children(f"{root}/{container['name']}/versions"):
            if version["properties"]["properties"].get("hash_sha256") == wanted:
                return [version]
    return []


async def start_pending_upload(call: Call) -> Response:
    """POST for a container of its own, to upload one version of code to."""
    workspace, name, version = call.workspace, call.names["name"], call.names["version"]
    container = f"{workspace.guid[:10].rstrip('-')}-{guid(workspace.arm_id, name, version)}"
    await call.services.storage.ensure_container(container)
    uri = call.origin.blob(container)
    credential = {"credentialType": "SAS", "sasUri": f"{uri}?{call.services.storage.sas(container)}"}
    answer = {
        "blobReferenceForConsumption": {
            "blobUri": uri,
            "storageAccountArmId": "",
            "credential": credential,
        },
        "pendingUploadId": guid(container, "upload"),
        "pendingUploadType": "TemporaryBlobReference",
    }
    return JSONResponse(answer)

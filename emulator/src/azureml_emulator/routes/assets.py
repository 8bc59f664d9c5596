"""Environments, code, components, data and models of a workspace: containers and their versions."""

from __future__ import annotations

from functools import partial

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, bad_request, no_component
from azureml_emulator.names import guid
from azureml_emulator.routes import asset_views, curated
from azureml_emulator.routes.asset_kinds import KINDS, Asked, AssetKind, minted_version
from azureml_emulator.routes.calls import WORKSPACE, Call, listing, route, system_data
from azureml_emulator.routes.registry_copies import into_workspace

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
            route("DELETE", f"{root}/{{name}}", partial(delete, kind)),
            route("GET", f"{root}/{{name}}/versions", partial(get_versions, kind)),
            route("GET", f"{root}/{{name}}/versions/{{version}}", partial(get_version, kind)),
            route("PUT", f"{root}/{{name}}/versions/{{version}}", partial(put_version, kind)),
            route("DELETE", f"{root}/{{name}}/versions/{{version}}", partial(delete, kind)),
        ]
    upload = f"{WORKSPACE}/codes/{{name}}/versions/{{version}}/startPendingUpload"
    return [*found, route("POST", upload, start_pending_upload)]


async def get_version(kind: AssetKind, call: Call) -> Response:
    """GET one version; a component's default label is asked for as if it were a version."""
    name, version = call.names["name"], call.names["version"]
    if kind.segment == "components" and version == _DEFAULT_LABEL:
        return JSONResponse(_default_version(call, kind, name))
    found = call.store.get(f"{call.workspace.arm_id}/{kind.segment}/{name}/versions/{version}")
    if found is None and curated.is_curated(kind.segment, name):
        found = curated.version(call.workspace, name, version)
    if found is None:
        raise kind.missing(name, version)
    return JSONResponse(found)


def _default_version(call: Call, kind: AssetKind, name: str) -> Json:
    versions = asset_views.versions(call, kind, call.workspace, name)
    active = [one for one in versions if not one["properties"]["isArchived"]]
    if not active:
        raise no_component(name)
    return active[0] | {"id": f"{call.workspace.arm_id}/components/{name}/labels/default"}


async def put_version(kind: AssetKind, call: Call) -> Response:
    """PUT one version: create it, or change what may be changed."""
    workspace, name, version = call.workspace, call.names["name"], call.names["version"]
    asked = Asked(call.store, workspace, name, version, await call.properties())
    if kind.segment == "models":
        asked = await into_workspace(call, asked)
    properties = kind.properties(asked)
    minted = name == "azureml_anonymous"
    if minted:
        version = minted_version(version, properties["componentSpec"])
    container = f"{workspace.arm_id}/{kind.segment}/{name}"
    before = call.store.get(f"{container}/versions/{version}")
    if before and kind.path_member and before["properties"][kind.path_member] != properties[kind.path_member]:
        raise bad_request("Asset paths cannot be updated.", "Immutable", "AssetPathImmutable")
    if before and kind.segment == "models":
        properties |= _kept(before["properties"], properties, asked.sent)
    data = system_data(before["systemData"] if before else None, keep=kind.keeps_times)
    if kind.segment == "data" and not before:
        data = {key: value for key, value in data.items() if not key.startswith("lastModifiedBy")}
    body = {
        "id": (arm_id := f"{container}/versions/{version}"),
        "name": version,
        "type": f"{asset_views.kind_of(kind, workspace)}/versions",
        "properties": properties,
        "systemData": data,
    }
    asset_views.ensure_container(call.store, kind, workspace, name)
    call.store.put(arm_id, body)
    created = before is None or kind.always_created or minted
    return JSONResponse(body, 201 if created else 200, {"Location": call.url} if created else None)


def _kept(before: Json, properties: Json, sent: Json) -> Json:
    """What another PUT of a model leaves as it was: clients that archive leave the stage out, and none says the job."""
    stage = {} if "stage" in sent else {"stage": before["stage"]}
    return stage | {"jobName": properties["jobName"] or before["jobName"]}


async def delete(kind: AssetKind, call: Call) -> Response:
    """DELETE one version, or a container with all of them; what is not there is gone already (204)."""
    arm_id = f"{call.workspace.arm_id}/{kind.segment}/{call.names['name']}"
    if "version" in call.names:
        arm_id += f"/versions/{call.names['version']}"
    return Response(status_code=200 if call.store.delete(arm_id) else 204)


async def get_container(kind: AssetKind, call: Call) -> Response:
    """GET a container: what the next version would be, above all."""
    name = call.names["name"]
    found = call.store.get(f"{call.workspace.arm_id}/{kind.segment}/{name}")
    if found is None and curated.is_curated(kind.segment, name):
        return JSONResponse(curated.container(call.workspace, name))
    if found is None:
        raise kind.missing(name, "")
    shown = asset_views.shown_container(call, kind, call.workspace, found)
    return JSONResponse(asset_views.told_by_name(kind, shown))


async def put_container(kind: AssetKind, call: Call) -> Response:
    """PUT a container: its description and tags, and whether it is archived."""
    workspace = call.workspace
    new, body = await asset_views.put_container(call, kind, workspace)
    shown = asset_views.shown_container(call, kind, workspace, body)
    return JSONResponse(asset_views.told_by_name(kind, shown), 201 if new else 200)


async def get_containers(kind: AssetKind, call: Call) -> Response:
    """GET the containers, newest first, without those that hold anonymous versions."""
    return listing(*asset_views.containers_page(call, kind, call.workspace))


async def get_versions(kind: AssetKind, call: Call) -> Response:
    """GET the versions, newest first; code is looked up by its hash, whatever container the path names."""
    if kind.segment == "codes" and (wanted := call.query.get("hash")):
        return listing(_code_by_hash(call, wanted))
    page, link = asset_views.versions_page(call, kind, call.workspace)
    if not page and curated.is_curated(kind.segment, call.names["name"]):
        return listing([curated.version(call.workspace, call.names["name"], curated.LATEST)])
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

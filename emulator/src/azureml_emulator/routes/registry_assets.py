"""The assets of registries, as the registry's own service keeps them.

Source: recorded answers of Azure ML, 2023 (2021-10-01-dataplanepreview). The files of a version never change; its words
do, and whether it is archived.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, bad_request, not_emulated, refusal
from azureml_emulator.names import PROVIDER, RegistryName, WorkspaceName, guid
from azureml_emulator.routes import asset_views
from azureml_emulator.routes.asset_kinds import KINDS, Asked, AssetKind
from azureml_emulator.routes.calls import REGISTRY, Call, listing, null, route, system_data
from azureml_emulator.routes.registry_copies import copied, no_asset
from azureml_emulator.storage import BlobPlace, StorageError

_ROOT = f"/mferp/managementfrontend{REGISTRY}"
_IMPORT = "import:"
_KINDS = {kind.segment: kind for kind in KINDS}
#: The member that says where the files of an asset are; an environment has none.
_FILES = {"models": "modelUri", "data": "dataUri", "codes": "codeUri"}
_SOURCE = re.compile(
    r"azureml://locations/[^/]+/workspaces/(?P<workspace>[^/]+)"
    r"/(?P<segment>[^/]+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)
_DESTINATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def routes() -> list[Route]:
    """List the routes of this module."""
    found: list[Route] = []
    for kind in KINDS:
        root = f"{_ROOT}/{kind.segment}"
        found += [
            route("GET", root, partial(get_containers, kind)),
            route("GET", f"{root}/{{name}}", partial(get_container, kind)),
            route("PUT", f"{root}/{{name}}", partial(put_container, kind)),
            route("GET", f"{root}/{{name}}/versions", partial(get_versions, kind)),
            route("GET", f"{root}/{{name}}/versions/{{version}}", partial(get_version, kind)),
            route("PUT", f"{root}/{{name}}/versions/{{version}}", partial(put_version, kind)),
        ]
    return [
        *found,
        route("PUT", f"{_ROOT}/tempdatarefs/{{name}}/versions/{{version}}", put_temporary_reference),
        route("POST", f"{_ROOT}/datarefs/{{name}}/versions/{{version}}", post_reference),
        route("POST", f"{_ROOT}/import", post_import),
        route("GET", "/assetstore/v1.0/operations/{operation}", operation),
    ]


def _id(registry: RegistryName, segment: str, name: str, version: str) -> str:
    return f"azureml://{registry.short}/{segment}/{name}/versions/{version}"


def _kept(registry: RegistryName, segment: str, name: str, version: str) -> str:
    return f"/{registry.short}/{segment}/{name}/versions/{version}"


def _container_of(registry: RegistryName, asset_id: str) -> str:
    """The blob container of one asset's files."""
    return f"{_prefix(registry)}-{guid(asset_id)}"


def _prefix(registry: RegistryName) -> str:
    return f"r{registry.guid[:10].rstrip('-')}"


# versions and containers


def _seen(call: Call, kind: AssetKind, body: Json) -> Json:
    """Show a version with its files' address as the client knows the storage account; models as they were recorded."""
    properties = dict(body["properties"])
    if place := _place(call, kind, properties):
        properties[_FILES[kind.segment]] = f"{call.origin.blob(place.container)}/{place.path}"
    shown = body | {"properties": properties}
    return shown | {"name": body["id"].split("/")[-3], "type": "models"} if kind.segment == "models" else shown


def _place(call: Call, kind: AssetKind, properties: Json) -> BlobPlace | None:
    uri = str(properties.get(_FILES.get(kind.segment, "")) or "")
    try:
        urlsplit(uri)
        return call.services.storage.resolve(uri, "") if uri.startswith("http") else None
    except (StorageError, ValueError):
        return None


async def get_version(kind: AssetKind, call: Call) -> Response:
    """GET one version."""
    registry, name, version = call.registry, call.names["name"], call.names["version"]
    found = call.store.get(_kept(registry, kind.segment, name, version))
    if found is None:
        raise no_asset(_id(registry, kind.segment, name, version))
    return JSONResponse(_seen(call, kind, found))


async def put_version(kind: AssetKind, call: Call) -> Response:
    """PUT one version: accepted, and there by the time somebody asks."""
    registry, name, version = call.registry, call.names["name"], call.names["version"]
    asked = Asked(call.store, registry, name, version, await call.properties())
    if _FILES.get(kind.segment) and not _own(call, kind, registry, asked.sent):
        member = _FILES[kind.segment]
        raise bad_request(f"{member} is not in the storage of registry {registry.name}; upload the files there first.")
    properties = kind.properties(asked)
    before = call.store.get(_kept(registry, kind.segment, name, version))
    if before and _place(call, kind, before["properties"]) != _place(call, kind, properties):
        raise bad_request("Asset paths cannot be updated.", "Immutable", "AssetPathImmutable")
    if before and "originAssetId" in before["properties"]:
        properties |= {"originAssetId": before["properties"]["originAssetId"]}
    _keep(call, kind, asked, properties)
    return _accepted(call, _id(registry, kind.segment, name, version))


def _own(call: Call, kind: AssetKind, registry: RegistryName, sent: Json) -> bool:
    place = _place(call, kind, sent)
    return place is not None and place.container.startswith(f"{_prefix(registry)}-")


def _keep(call: Call, kind: AssetKind, asked: Asked, properties: Json) -> None:
    registry, where = RegistryName.of_arm_id(asked.workspace.arm_id), (kind.segment, asked.name, asked.version)
    before = call.store.get(_kept(registry, *where))
    body = {
        "id": _id(registry, *where),
        "name": asked.version,
        "type": f"{PROVIDER}/registries/{kind.segment}/versions",
        "properties": properties,
        "systemData": system_data(before["systemData"] if before else None, keep=kind.keeps_times),
    }
    asset_views.ensure_container(call.store, kind, registry, asked.name)
    call.store.put(_kept(registry, *where), body)


async def get_versions(kind: AssetKind, call: Call) -> Response:
    """GET the versions, newest first."""
    page, link = asset_views.versions_page(call, kind, call.registry)
    return listing([_seen(call, kind, one) for one in page], link)


async def get_container(kind: AssetKind, call: Call) -> Response:
    """GET a container."""
    registry = call.registry
    found = call.store.get(f"/{registry.short}/{kind.segment}/{call.names['name']}")
    if found is None:
        raise no_asset(f"azureml://{registry.short}/{kind.segment}/{call.names['name']}")
    return JSONResponse(asset_views.shown_container(call, kind, registry, found))


async def put_container(kind: AssetKind, call: Call) -> Response:
    """PUT a container: its words, and whether it is archived."""
    registry = call.registry
    new, body = await asset_views.put_container(call, kind, registry)
    return JSONResponse(asset_views.shown_container(call, kind, registry, body), 201 if new else 200)


async def get_containers(kind: AssetKind, call: Call) -> Response:
    """GET the containers, newest first."""
    return listing(*asset_views.containers_page(call, kind, call.registry))


# files


async def put_temporary_reference(call: Call) -> Response:
    """PUT for a place to upload the files of a version to, which is not there yet."""
    registry, asset_id = await _asset(call)
    _refuse_again(call, asset_id)
    container = _container_of(registry, asset_id)
    await call.services.storage.ensure_container(container)
    return _reference(call, container, temporaryDataReferenceId=guid(container), temporaryDataReferenceType=None)


async def post_reference(call: Call) -> Response:
    """POST for the right to read the files of a version."""
    _, asset_id = await _asset(call)
    found = call.store.get("/" + asset_id.removeprefix("azureml://"))
    kind = _KINDS[asset_id.split("/")[4]]
    if found is None:
        raise no_asset(asset_id)
    if (place := _place(call, kind, found["properties"])) is None:
        raise bad_request(f"{asset_id} has no files.")
    return _reference(call, place.container)


async def _asset(call: Call) -> tuple[RegistryName, str]:
    """Read which asset of the registry a body names, which must be the one that the path names."""
    registry, asset_id = call.registry, str((await call.json()).get("assetId"))
    name, version = call.names["name"], call.names["version"]
    wanted = {_id(registry, segment, name, version).lower(): segment for segment in _KINDS}
    if asset_id.lower() not in wanted:
        raise bad_request(f"assetId {asset_id} is no version {version} of {name} in registry {registry.name}.")
    return registry, _id(registry, wanted[asset_id.lower()], name, version)


def _reference(call: Call, container: str, **more: object) -> Response:
    uri = call.origin.blob(container)
    credential = {
        "credentialType": "SAS",
        "sasUri": f"{uri}?{call.services.storage.sas(container)}",
        "wasbsUri": None,
    }
    blob = {"blobUri": uri, "storageAccountArmId": "", "credential": credential}
    return JSONResponse({"blobReferenceForConsumption": blob, "imageReferenceForConsumption": None, **more})


# sharing


async def post_import(call: Call) -> Response:
    """POST that a workspace's asset comes into the registry: with its files, under the name and version asked for."""
    registry, sent = call.registry, await call.properties()
    name, version = (str(sent.get(member) or "") for member in ("destinationName", "destinationVersion"))
    if not (_DESTINATION.fullmatch(name) and _DESTINATION.fullmatch(version)):
        raise bad_request(
            "An import needs a destinationName and a destinationVersion of letters, digits, '.', '_', '-'."
        )
    kind, workspace, source = _source(call, str(sent.get("sourceAssetId") or ""))
    asset_id = _id(registry, kind.segment, name, version)
    _refuse_again(call, asset_id)
    properties = dict(source["properties"])
    if member := _FILES.get(kind.segment):
        folder = BlobPlace(_container_of(registry, asset_id), "")
        place = await copied(call, str(properties[member]), workspace.arm_id, folder)
        properties[member] = f"{call.origin.blob(place.container)}/{place.path}"
    properties |= {"originAssetId": str(sent["sourceAssetId"]), "isArchived": False}
    properties |= {"jobName": None} if kind.segment == "models" else {}
    _refuse_again(call, asset_id)  # somebody may have been quicker
    _keep(call, kind, Asked(call.store, registry, name, version, {}), properties)
    return _accepted(call, asset_id, imported=True)


def _refuse_again(call: Call, asset_id: str) -> None:
    if call.store.get("/" + asset_id.removeprefix("azureml://")) is not None:
        raise refusal(409, f"Asset {asset_id} exists already.", inner_codes=("Conflict",))


def _source(call: Call, asset_id: str) -> tuple[AssetKind, WorkspaceName, Json]:
    """Find the workspace's asset that an id names."""
    found = _SOURCE.fullmatch(asset_id)
    if not found or found["segment"] not in _KINDS:
        raise bad_request(f"sourceAssetId {asset_id!r} is no asset of a workspace.")
    if found["segment"] == "components":
        raise not_emulated("POST", call.request.url.path, "importing a component; create it in the registry instead")
    workspaces = (WorkspaceName.of_arm_id(body["id"]) for body in call.store.of_type(f"{PROVIDER}/workspaces"))
    workspace = next((one for one in workspaces if one.guid == found["workspace"]), None)
    if workspace is None:
        raise no_asset(asset_id)
    source = call.store.get(f"{workspace.arm_id}/{found['segment']}/{found['name']}/versions/{found['version']}")
    if source is None:
        raise no_asset(asset_id)
    return _KINDS[found["segment"]], workspace, source


# operations


def _accepted(call: Call, asset_id: str, *, imported: bool = False) -> Response:
    """Answer 202 for an operation, which has ended by the time somebody asks for it."""
    name = base64.urlsafe_b64encode(f"{_IMPORT if imported else ''}{asset_id}".encode()).decode().rstrip("=")
    location = f"{call.origin.api}/assetstore/v1.0/operations/{name}"
    return null(202, {"Location": location, "x-ms-async-operation-timeout": "PT1H"})


async def operation(call: Call) -> Response:
    """GET how an operation ended: with the asset's id, or 204 for an import."""
    name = call.names["operation"]
    try:
        what = base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        what = ""
    asset_id = what.removeprefix(_IMPORT)
    if not what or call.store.get("/" + asset_id.removeprefix("azureml://")) is None:
        raise refusal(404, f"The operation {name} was not found.", inner_codes=("NotFound",))
    return Response(status_code=204) if what != asset_id else JSONResponse({"assetId": asset_id})

"""Workspaces, and the discovery of their data plane."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, bad_request
from azureml_emulator.names import PROVIDER, TENANT, WorkspaceName, blob_store_container, guid
from azureml_emulator.routes import datastores, online
from azureml_emulator.routes.calls import LOCATION, USER, WORKSPACE, Call, Services, listing, new_guid, route
from azureml_emulator.store import now

_TYPE = f"{PROVIDER}/workspaces"
_GROUP = WORKSPACE.rpartition("/")[0]
_SUBSCRIPTION = f"/subscriptions/{{sub}}/providers/{PROVIDER}/workspaces"


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", WORKSPACE, get),
        route("PUT", WORKSPACE, put),
        route("DELETE", WORKSPACE, delete),
        route("GET", _GROUP, list_of_group),
        route("GET", _SUBSCRIPTION, list_of_subscription),
        route("GET", f"{LOCATION}/workspaceOperationsStatus/{{operation}}", status),
        route("GET", "/discovery", discovery),
    ]


async def create(services: Services, name: WorkspaceName, *, tags: Json | None = None, **said: str) -> bool:
    """Create a workspace with what every new one has; say whether it is new.

    Args:
        services: Where to create it.
        name: Its name; the spelling of the first creation stays.
        tags: Its tags.
        said: What the client chose: ``description``, ``friendlyName``.
    """
    if services.store.get(name.arm_id) is not None:
        return False
    created = now().replace("+00:00", "Z")  # recorded, unlike all other resources
    body = {
        "id": name.arm_id,
        "name": name.name,
        "type": _TYPE,
        "location": services.settings.location,
        "tags": tags or {},
        "etag": None,
        "properties": _properties(services, name, created=created) | said,
        "identity": {"type": "SystemAssigned", "principalId": guid(name.arm_id, "principal"), "tenantId": TENANT},
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "systemData": {
            "createdAt": created,
            **USER,
            "lastModifiedAt": created,
            "lastModifiedBy": USER["createdBy"],
            "lastModifiedByType": USER["createdByType"],
        },
    }
    for container in (blob_store_container(name), datastores.artifact_container(name)):
        await services.storage.ensure_container(container)
    datastores.create_defaults(services, name)
    # Last, for a process that died before is to do all of it again.
    return services.store.put(name.arm_id, body)


def _properties(services: Services, name: WorkspaceName, *, created: str) -> Json:
    beside = f"/subscriptions/{name.subscription}/resourceGroups/{name.group}/providers"
    return {
        "friendlyName": name.name,
        "description": "",
        "storageAccount": f"{beside}/Microsoft.Storage/storageAccounts/{services.settings.account}",
        "keyVault": f"{beside}/Microsoft.Keyvault/vaults/kv{name.guid[:8]}",
        "applicationInsights": f"{beside}/Microsoft.insights/components/ai{name.guid[:8]}",
        "hbiWorkspace": False,
        "tenantId": TENANT,
        "imageBuildCompute": None,
        "provisioningState": "Succeeded",
        "managedNetwork": {"isolationMode": "Disabled"},
        "v1LegacyMode": False,
        "softDeleteEnabled": False,
        "containerRegistry": None,
        "creationTime": created,
        "notebookInfo": None,
        "storageHnsEnabled": False,
        "workspaceId": name.guid,
        "linkedModelInventoryArmId": None,
        "privateLinkCount": 0,
        "publicNetworkAccess": "Enabled",
        "enableDataIsolation": False,
    }


def seen(call: Call, body: Json) -> Json:
    """Add the addresses, which depend on how the client came."""
    name = WorkspaceName.of_arm_id(body["id"])
    properties = body["properties"] | {
        "discoveryUrl": f"{call.origin.api}/discovery",
        "mlFlowTrackingUri": call.origin.tracking(name),
        "sdkTelemetryAppInsightsKey": None,
        "sasGetterUri": "",
    }
    return body | {"properties": properties}


async def get(call: Call) -> Response:
    """GET a workspace."""
    return JSONResponse(seen(call, call.store.get(call.workspace.arm_id) or {}))


async def put(call: Call) -> Response:
    """PUT a workspace: 202 where it is made, as the REST reference has it; azure-ai-ml deploys a template instead."""
    body = await call.json()
    name = WorkspaceName(call.names["sub"], call.names["group"], call.names["ws"])
    wanted = body.get("location", call.location)
    if str(wanted).replace(" ", "").lower() != call.location:
        raise bad_request(f"All workspaces of this emulator are in {call.location}; {wanted} was asked for.")
    said = {key: str(value) for key, value in (body.get("properties") or {}).items() if key in _CHOSEN and value}
    if await create(call.services, name, tags=body.get("tags"), **said):
        return _accepted(call)
    found = call.store.get(name.arm_id) or {}
    changed = found | {"tags": body.get("tags") or found["tags"], "properties": found["properties"] | said}
    call.store.put(name.arm_id, changed)
    return JSONResponse(seen(call, changed))


_CHOSEN = ("description", "friendlyName")


async def delete(call: Call) -> Response:
    """DELETE a workspace and what is registered in it; its runs and blobs stay."""
    workspace = call.workspace
    for endpoint in call.store.children(f"{workspace.arm_id}/batchEndpoints"):
        call.store.delete(f"/endpoint-names/{call.location}/{endpoint['name']}")
    for endpoint in call.store.children(f"{workspace.arm_id}/onlineEndpoints"):
        online.remove(call, endpoint)
    answer = _accepted(call)
    call.store.delete(workspace.arm_id)
    return answer


def _accepted(call: Call) -> Response:
    """Answer 202 for an operation, which has ended by the time somebody asks for it."""
    root = f"{call.origin.root}/subscriptions/{call.names['sub']}/providers/{PROVIDER}/locations/{call.location}"
    operation = f"{root}/workspaceOperationsStatus/{new_guid()}?api-version={call.version}"
    headers = {"Azure-AsyncOperation": f"{operation}&type=async", "Location": f"{operation}&type=location"}
    return Response(status_code=202, headers={**headers, "Retry-After": "1"})


async def status(call: Call) -> Response:
    """GET how the making or the deletion of a workspace goes: it is over."""
    if call.query.get("type") == "location":
        return Response(status_code=200)
    return JSONResponse({"status": "Succeeded", "percentComplete": 100.0})


async def list_of_group(call: Call) -> Response:
    """GET the workspaces of a resource group."""
    return listing([seen(call, body) for body in _all(call) if _in_group(body, call.names["group"])])


async def list_of_subscription(call: Call) -> Response:
    """GET the workspaces of a subscription."""
    return listing([seen(call, body) for body in _all(call)])


def _in_group(body: Json, group: str) -> bool:
    return WorkspaceName.of_arm_id(body["id"]).group.lower() == group.lower()


def _all(call: Call) -> list[Json]:
    wanted = call.names["sub"].lower()
    found = call.store.of_type(_TYPE)
    return [body for body in found if WorkspaceName.of_arm_id(body["id"]).subscription.lower() == wanted]


async def discovery(call: Call) -> Response:
    """GET where the data plane's services are: all at one address here."""
    names = ("api", "catalog", "experimentation", "gallery", "history", "hyperdrive", "labeling", "modelmanagement")
    services = dict.fromkeys((*names, "pipelines", "quota-manager"), call.origin.api)
    studio = "https://ml.azure.com" if call.origin.real else f"{call.origin.root}/ui"
    return JSONResponse(services | {"studio": studio}, headers={"Access-Control-Allow-Origin": "*"})

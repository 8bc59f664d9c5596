"""Registries: assets that several workspaces share. Where they are, how they come and go.

Source: recorded answers of Azure ML, 2023 (API version 2022-10-01-preview).
"""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError, bad_request, inner, service_error
from azureml_emulator.names import PROVIDER, TENANT, RegistryName, guid
from azureml_emulator.routes.calls import LOCATION, REGISTRY, Call, listing, new_guid, route

_TYPE = f"{PROVIDER}/registries"
_GROUP = REGISTRY.rpartition("/")[0]
_SUBSCRIPTION = f"/subscriptions/{{sub}}/providers/{PROVIDER}/registries"
_DISCOVERY = "/registrymanagement/v1.0/registries/{registry}/discovery"


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", REGISTRY, get),
        route("PUT", REGISTRY, put),
        route("DELETE", REGISTRY, delete),
        route("GET", _GROUP, list_of_group),
        route("GET", _SUBSCRIPTION, list_of_subscription),
        route("GET", f"{LOCATION}/registryOperationsStatus/{{operation}}", status),
        route("GET", _DISCOVERY, discovery),
    ]


def _holder(name: str) -> str:
    """What says whose the name of a registry is: it is taken everywhere at once."""
    return f"/registry-names/{name}"


def _region(sent: Any, registry: RegistryName) -> Json:
    """Write a region with the accounts that the service would make there."""
    if not isinstance(sent, dict) or not isinstance(sent.get("location"), str):
        raise bad_request(f"A region of registry {registry.name} has no location.")
    where = _plain(sent["location"])
    group = (
        f"/subscriptions/{registry.subscription}/resourceGroups/azureml-rg-{registry.name}_{registry.guid}/providers"
    )
    account, acr = (guid(registry.arm_id, where, kind).replace("-", "")[:24] for kind in ("storage", "acr"))
    storage = {
        "storageAccountName": account,
        "storageAccountType": _asked(sent, "storageAccountDetails", "storageAccountType") or "standard_lrs",
        "storageAccountHnsEnabled": bool(_asked(sent, "storageAccountDetails", "storageAccountHnsEnabled")),
        "armResourceId": {"resourceId": f"{group}/Microsoft.Storage/storageAccounts/{account}"},
    }
    images = {
        "acrAccountName": acr,
        "acrAccountSku": _asked(sent, "acrDetails", "acrAccountSku") or "Premium",
        "armResourceId": {"resourceId": f"{group}/Microsoft.ContainerRegistry/registries/{acr}"},
    }
    return {
        "location": where,
        "storageAccountDetails": [{"userCreatedStorageAccount": None, "systemCreatedStorageAccount": storage}],
        "acrDetails": [{"userCreatedAcrAccount": None, "systemCreatedAcrAccount": images}],
    }


def _asked(sent: Json, details: str, member: str) -> Any:
    """Find what the client asked of an account that the service is to make."""
    for detail in sent.get(details) or []:
        for account in detail.values() if isinstance(detail, dict) else ():
            if isinstance(account, dict) and account.get(member) is not None:
                return account[member]
    return None


def _plain(location: str) -> str:
    return location.replace(" ", "").lower()


async def put(call: Call) -> Response:
    """PUT a registry: create it, or change its tags."""
    sent, asked = await call.json(), RegistryName(*(call.names[word] for word in ("sub", "group", "registry")))
    if _plain(str(sent.get("location", call.location))) != call.location:
        raise bad_request(f"All registries of this emulator are in {call.location}, not in {sent['location']}.")
    owner = call.store.get(_holder(asked.name))
    if owner and owner["registry"].lower() != asked.arm_id.lower():
        raise bad_request(f"The name {asked.name} is taken by registry {owner['registry']}.", "Conflict")
    name = RegistryName.of_arm_id(owner["registry"]) if owner else asked
    call.store.put(name.arm_id, _body(call, name, sent))
    call.store.put(_holder(name.name), {"registry": name.arm_id})
    return _accepted(call, 202)


def _body(call: Call, name: RegistryName, sent: Json) -> Json:
    properties = sent.get("properties") or {}
    if not isinstance(properties, dict) or not isinstance(properties.get("regionDetails") or [], list):
        raise bad_request(f"The properties of registry {name.name} have no list of regionDetails.")
    group = f"/subscriptions/{name.subscription}/resourceGroups/azureml-rg-{name.name}_{name.guid}"
    regions = properties.get("regionDetails") or [{"location": call.location}]
    return {
        "tags": sent.get("tags") or {},
        "location": call.location,
        "identity": {"type": "SystemAssigned", "principalId": guid(name.arm_id, "principal"), "tenantId": TENANT},
        "id": name.arm_id,
        "name": name.name,
        "type": _TYPE,
        "properties": {
            "regionDetails": [_region(region, name) for region in regions],
            "intellectualPropertyPublisher": properties.get("intellectualPropertyPublisher"),
            "publicNetworkAccess": properties.get("publicNetworkAccess") or "Enabled",
            "managedResourceGroup": {"resourceId": group},
            "managedResourceGroupTags": properties.get("managedResourceGroupTags") or {},
        },
        "systemData": None,
    }


def _seen(call: Call, body: Json) -> Json:
    """Add the addresses, which depend on how the client came."""
    api = call.origin.api
    properties = body["properties"] | {
        "discoveryUrl": f"{api}{_DISCOVERY.format(registry=body['name'])}",
        "mlFlowRegistryUri": f"azureml://{api.partition('://')[2]}/mlflow/v1.0{body['id']}",
    }
    return body | {"properties": properties}


async def get(call: Call) -> Response:
    """GET a registry."""
    return JSONResponse(_seen(call, call.store.get(call.registry.arm_id) or {}))


async def delete(call: Call) -> Response:
    """DELETE a registry and what is registered in it; its blobs stay."""
    registry = call.registry
    for one in (registry.arm_id, f"/{registry.short}", _holder(registry.name)):
        call.store.delete(one)
    return _accepted(call, 202)


def _accepted(call: Call, code: int) -> Response:
    root = f"{call.origin.root}/subscriptions/{call.names['sub']}/providers/{PROVIDER}/locations/{call.location}"
    status = f"{root}/registryOperationsStatus/{new_guid()}?api-version={call.version}"
    headers = {"Azure-AsyncOperation": f"{status}&type=async", "Location": f"{status}&type=location"}
    return Response(status_code=code, headers=headers)


async def status(call: Call) -> Response:
    """GET how an operation goes: it is over."""
    if call.query.get("type") == "location":
        return Response(status_code=200)
    return JSONResponse({"status": "Succeeded", "percentComplete": 100.0})


async def list_of_group(call: Call) -> Response:
    """GET the registries of a resource group."""
    wanted = call.names["group"].lower()
    return listing([one for one in _all(call) if RegistryName.of_arm_id(one["id"]).group.lower() == wanted])


async def list_of_subscription(call: Call) -> Response:
    """GET the registries of a subscription."""
    return listing(_all(call))


def _all(call: Call) -> list[Json]:
    wanted = call.names["sub"].lower()
    found = call.store.of_type(_TYPE)
    return [_seen(call, one) for one in found if RegistryName.of_arm_id(one["id"]).subscription.lower() == wanted]


async def discovery(call: Call) -> Response:
    """GET where a registry is, of which only the name is known."""
    owner = call.store.get(_holder(call.names["registry"]))
    if owner is None:
        raise _unknown(call.names["registry"])
    name = RegistryName.of_arm_id(owner["registry"])
    answer = {
        "registryId": name.guid,
        "registryName": name.name,
        "tenantId": TENANT,
        "primaryRegion": call.location,
        "regions": [call.location],
        "subscriptionId": name.subscription,
        "resourceGroup": name.group,
        "workspaceName": None,
        "primaryRegionResourceProviderUri": f"{call.origin.api}/",
        "registryFqdns": {call.location: {"uri": call.origin.api}},
    }
    return JSONResponse(answer)


def _unknown(name: str) -> WireError:
    """The answer for a name that no registry has; in Azure's envelope, in words of our own."""
    message = f"Registry {name} was not found."
    return WireError(404, service_error(message, inner_error=inner("NotFoundError"), component="registrymanagement"))

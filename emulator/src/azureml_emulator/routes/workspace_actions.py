"""What is done with a workspace beside making it: changed, asked for its keys, looked after, deployed by a template.

Source: REST reference of Azure Machine Learning, 2024-04-01, and azure-ai-ml 1.35, which makes workspaces by templates.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, bad_request, not_emulated, not_found
from azureml_emulator.names import PROVIDER, WorkspaceName, guid
from azureml_emulator.routes import workspaces
from azureml_emulator.routes.calls import WORKSPACE, Call, listing, route
from azureml_emulator.store import now

_RESOURCE_GROUP = "/subscriptions/{sub}/resourcegroups/{group}"
_TEMPLATE = f"{_RESOURCE_GROUP}/providers/Microsoft.Resources/deployments/{{name}}"
_PARAMETER = re.compile(r"\[parameters\('(?P<name>\w+)'\)\]")
_BESIDE = "/subscriptions/{sub}/resourceGroups/{group}/providers"
#: What a workspace names as its own, and is not played here.
_BELONGING = (
    "Microsoft.insights/components",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.Keyvault/vaults",
    "Microsoft.ContainerRegistry/registries",
)
#: What a PATCH may change, as azure-ai-ml sends it.
_CHANGED = ("description", "friendlyName", "publicNetworkAccess", "imageBuildCompute")


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("PATCH", WORKSPACE, patch),
        route("POST", f"{WORKSPACE}/listKeys", list_keys),
        route("POST", f"{WORKSPACE}/resyncKeys", resync_keys),
        route("POST", f"{WORKSPACE}/diagnose", diagnose),
        route("POST", f"{WORKSPACE}/provisionManagedNetwork", provision_network),
        *(route("GET", f"{_BESIDE}/{kind}/{{name}}", get_belonging) for kind in _BELONGING),
        *(route("DELETE", f"{_BESIDE}/{kind}/{{name}}", delete_belonging) for kind in _BELONGING),
        route("GET", _RESOURCE_GROUP, get_group),
        route("PUT", _TEMPLATE, put_template),
        route("GET", _TEMPLATE, get_template),
        route("GET", f"{_RESOURCE_GROUP}/deployments/{{name}}/operations", get_template_operations),
    ]


async def patch(call: Call) -> Response:
    """PATCH a workspace's description, tags and the like."""
    arm_id, sent = call.workspace.arm_id, await call.json()
    found = call.store.get(arm_id) or {}
    properties = sent.get("properties") or {}
    # Clients send back what they were told of a workspace, too.
    told = {name: value for name, value in properties.items() if not _is_same(value, found["properties"].get(name))}
    if unknown := sorted(told.keys() - set(_CHANGED)):
        raise not_emulated("PATCH", call.request.url.path, f"a change of {', '.join(unknown)}")
    changed = {name: properties[name] for name in _CHANGED if properties.get(name) is not None}
    tags = found["tags"] if sent.get("tags") is None else sent["tags"]
    at = found["systemData"] | {"lastModifiedAt": now()}
    body = found | {"tags": tags, "systemData": at, "properties": found["properties"] | changed}
    call.store.put(arm_id, body)
    return JSONResponse(workspaces.seen(call, body))


def _is_same(new: Any, old: Any) -> bool:
    """Tell whether a PATCH would change nothing; what is null or empty in it is not said."""
    if isinstance(new, dict):
        return all(_is_same(value, old.get(name) if isinstance(old, dict) else None) for name, value in new.items())
    return new in (None, [], "") or str(new).lower() == str(old).lower()


async def list_keys(call: Call) -> Response:
    """POST for the keys of what belongs to a workspace; here it is the one storage account."""
    settings = call.services.settings
    properties = (call.store.get(call.workspace.arm_id) or {})["properties"]
    return JSONResponse(
        {
            "userStorageKey": settings.account_key,
            "userStorageResourceId": properties["storageAccount"],
            "userStorageArmId": properties["storageAccount"],
            "appInsightsInstrumentationKey": guid(call.workspace.arm_id, "insights"),
            "containerRegistryCredentials": None,
            "notebookAccessKeys": {"primaryAccessKey": None, "secondaryAccessKey": None},
        }
    )


async def resync_keys(call: Call) -> Response:
    """POST to take over the storage account's keys, which are the same for ever here."""
    if call.store.get(call.workspace.arm_id) is None:
        raise bad_request("There is no such workspace.")
    return Response(status_code=200)


async def diagnose(call: Call) -> Response:
    """POST to look for what is wrong with what belongs to a workspace: nothing that could be told here."""
    if call.store.get(call.workspace.arm_id) is None:
        raise bad_request("There is no such workspace.")
    kinds = (
        *("userDefinedRoute", "networkSecurityRule", "resourceLock", "dnsResolution", "storageAccount", "keyVault"),
        *("containerRegistry", "applicationInsights", "other"),
    )
    return JSONResponse({"value": {f"{kind}Results": [] for kind in kinds}})


async def provision_network(call: Call) -> Response:
    """POST to provision a workspace's managed network: no workspace has one here, and so it is not active."""
    if call.store.get(call.workspace.arm_id) is None:
        raise bad_request("There is no such workspace.")
    return JSONResponse({"sparkReady": False, "status": "Inactive"})


async def get_belonging(call: Call) -> Response:
    """GET what a workspace names as its own: there is nothing to tell of it but where it is."""
    arm_id = call.request.url.path
    kind = "/".join(arm_id.split("/")[-3:-1])
    body = {"id": arm_id, "name": call.names["name"], "type": kind, "location": call.location, "properties": {}}
    return JSONResponse(body)


async def delete_belonging(call: Call) -> Response:
    """DELETE it, as clients do that delete a workspace with all that is its own; the storage account is everybody's."""
    del call
    return Response(status_code=204)


# templates


async def get_group(call: Call) -> Response:
    """GET a resource group; each one that somebody names is there."""
    sub, group = call.names["sub"], call.names["group"]
    return JSONResponse(
        {
            "id": f"/subscriptions/{sub}/resourceGroups/{group}",
            "name": group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": call.location,
            "properties": {"provisioningState": "Succeeded"},
        }
    )


async def put_template(call: Call) -> Response:
    """PUT a deployment of a template: the workspace in it is made; what belongs to one on Azure is not needed here."""
    properties = await call.properties()
    template, parameters = properties.get("template"), properties.get("parameters")
    if not isinstance(template, dict) or not isinstance(parameters, dict):
        raise bad_request("A deployment has a template and parameters, both objects.")
    wanted = _workspace(call, template, parameters)
    tags = _value(parameters, "tagValues")
    said = {member: str(text) for member in ("description", "friendlyName") if (text := _value(parameters, member))}
    await workspaces.create(call.services, wanted, tags=tags if isinstance(tags, dict) else None, **said)
    body = _deployment(call, wanted)
    call.store.put(body["id"], body)
    return JSONResponse(body, 201)


def _workspace(call: Call, template: Json, parameters: Json) -> WorkspaceName:
    """Find the one workspace that a template makes.

    Raises:
        WireError: 501 where it makes none, or its name is no parameter.
    """
    resources = template.get("resources")
    kind = f"{PROVIDER}/workspaces"
    named = [
        str(one.get("name"))
        for one in (resources if isinstance(resources, list) else [])
        if isinstance(one, dict) and one.get("type") == kind
    ]
    found = _PARAMETER.fullmatch(named[0]) if len(named) == 1 else None
    name = _value(parameters, found["name"]) if found else None
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}", name):
        raise not_emulated("PUT", call.request.url.path, f"a template but that of a workspace (its name is {name!r})")
    return WorkspaceName(call.names["sub"], call.names["group"], name)


def _value(parameters: Json, name: str) -> object:
    said = parameters.get(name)
    return said.get("value") if isinstance(said, dict) else None


def _deployment(call: Call, made: WorkspaceName) -> Json:
    name = call.names["name"]
    return {
        "id": _deployment_id(call),
        "name": name,
        "type": "Microsoft.Resources/deployments",
        "properties": {
            "mode": "Incremental",
            "provisioningState": "Succeeded",
            "timestamp": now(),
            "duration": "PT1S",
            "correlationId": guid(name, "correlation"),
            "outputResources": [{"id": made.arm_id}],
        },
    }


def _deployment_id(call: Call) -> str:
    group = f"/subscriptions/{call.names['sub']}/resourceGroups/{call.names['group']}"
    return f"{group}/providers/Microsoft.Resources/deployments/{call.names['name']}"


async def get_template(call: Call) -> Response:
    """GET a deployment of a template, which is over."""
    found = call.store.get(_deployment_id(call))
    if found is None:
        raise not_found("DeploymentNotFound", f"Deployment '{call.names['name']}' could not be found.")
    return JSONResponse(found)


async def get_template_operations(call: Call) -> Response:
    """GET the steps of a deployment, none of which goes on."""
    del call
    return listing([])

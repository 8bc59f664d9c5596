"""Batch endpoints and their deployments, of pipeline components and of models."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import scoring
from azureml_emulator.errors import Json, WireError, bad_request, not_found
from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.routes import computes
from azureml_emulator.routes.calls import USER, WORKSPACE, Call, listing, null, operation, route
from azureml_emulator.routes.job_specs import check_component
from azureml_emulator.store import now

_ALL = f"{WORKSPACE}/batchEndpoints"
_ONE = f"{_ALL}/{{name}}"
_DEPLOYMENT = f"{_ONE}/deployments/{{deployment}}"
_NOBODY = "00000000-0000-0000-0000-000000000000"
_TIMEOUT = {"x-ms-async-operation-timeout": "PT30M", "Retry-After": "1"}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", _ALL, get_all),
        route("GET", _ONE, get),
        route("PUT", _ONE, put),
        route("PATCH", _ONE, patch),
        route("DELETE", _ONE, delete),
        route("GET", f"{_ONE}/deployments", get_deployments),
        route("GET", _DEPLOYMENT, get_deployment),
        route("PUT", _DEPLOYMENT, put_deployment),
        route("PATCH", _DEPLOYMENT, patch_deployment),
        route("DELETE", _DEPLOYMENT, delete_deployment),
    ]


def endpoint_id(workspace: WorkspaceName, endpoint: str) -> str:
    """An endpoint's ARM id."""
    return f"{workspace.arm_id}/batchEndpoints/{endpoint}"


def no_endpoint(name: str, workspace: str) -> WireError:
    """The answer for an endpoint that is not there."""
    return not_found("NoSuchEndpoint", f"There is no endpoint with name: {name} in {workspace}", code="NotFound")


def no_deployment(name: str, endpoint: str) -> WireError:
    """The answer for a deployment that is not there."""
    message = f"There is no deployment with name: {name} in endpoint: {endpoint}"
    return not_found("NoSuchDeployment", message, code="NotFound")


def _found(call: Call) -> Json:
    name = call.names["name"]
    found = call.store.get(endpoint_id(call.workspace, name))
    if found is None:
        raise no_endpoint(name, call.workspace.name)
    return found


def _seen(call: Call, body: Json) -> Json:
    """Add the scoring URI, which depends on how the client came."""
    uri = call.origin.scoring(call.workspace, body["name"])
    return body | {"properties": body["properties"] | {"scoringUri": uri}}


async def get(call: Call) -> Response:
    """GET an endpoint."""
    return JSONResponse(_seen(call, _found(call)))


async def get_all(call: Call) -> Response:
    """GET the endpoints."""
    found = call.store.children(f"{call.workspace.arm_id}/batchEndpoints")
    return listing([_seen(call, body) for body in found])


async def put(call: Call) -> Response:
    """PUT an endpoint; its name is its own in the whole location, as in Azure."""
    workspace, name, sent = call.workspace, call.names["name"], await call.json()
    properties = sent.get("properties") or {}
    owner_id = f"/endpoint-names/{call.location}/{name}"
    owner = call.store.get(owner_id)
    if owner and (owner["workspace"].lower() != workspace.arm_id.lower() or owner.get("kind") == "online"):
        raise bad_request(
            f"There is already an endpoint with the name {name} in {call.location}; choose another name.",
            "BadArgument",
            "EndpointNameNotUnique",
        )
    body = _endpoint(call, name, sent, before=call.store.get(endpoint_id(workspace, name)))
    if (default := body["properties"]["defaults"]["deploymentName"]) is not None:
        _check_default(call, name, default)
    if str(properties.get("authMode", "aadToken")).lower() != "aadtoken":
        raise bad_request(f"A batch endpoint's authMode is aadToken, not {properties['authMode']}.")
    call.store.put(owner_id, {"workspace": workspace.arm_id, "endpoint": name})
    call.store.put(body["id"], body)
    creating = body["properties"] | {"scoringUri": None, "provisioningState": "Creating"}
    headers = {"Azure-AsyncOperation": operation(call, "bebes"), "Location": call.url, **_TIMEOUT}
    return JSONResponse(body | {"properties": creating}, 201, headers)


def _endpoint(call: Call, name: str, sent: Json, *, before: Json | None) -> Json:
    properties, at = sent.get("properties") or {}, now()
    arm_id = endpoint_id(call.workspace, name)
    own = {"BatchEndpointCreationApiVersion": call.version, "azureml.onlineendpointid": arm_id}
    made = before["systemData"]["createdAt"] if before else at
    return {
        "id": arm_id,
        "name": name,
        "type": f"{PROVIDER}/workspaces/batchEndpoints",
        "properties": {
            "description": properties.get("description"),
            "properties": (properties.get("properties") or {}) | own,
            "scoringUri": None,
            "swaggerUri": None,
            "authMode": "AADToken",
            "defaults": {"deploymentName": (properties.get("defaults") or {}).get("deploymentName")},
            "provisioningState": "Succeeded",
        },
        "systemData": {"createdAt": made, "createdBy": USER["createdBy"], "lastModifiedAt": at},
        "tags": sent.get("tags") or {},
        "location": sent.get("location") or call.location,
        "identity": {"type": "None", "principalId": _NOBODY, "tenantId": _NOBODY},
    }


def _check_default(call: Call, endpoint: str, deployment: str) -> None:
    if call.store.get(f"{endpoint_id(call.workspace, endpoint)}/deployments/{deployment}") is None:
        raise bad_request(f"The default deployment {deployment} does not exist in endpoint {endpoint}.")


async def patch(call: Call) -> Response:
    """PATCH an endpoint: its default deployment and its tags."""
    body, sent = _found(call), await call.json()
    defaults = (sent.get("properties") or {}).get("defaults") or {}
    if (default := defaults.get("deploymentName")) is not None:
        _check_default(call, call.names["name"], default)
        body["properties"]["defaults"] = {"deploymentName": default}
    body["tags"] = sent.get("tags") if sent.get("tags") is not None else body["tags"]
    call.store.put(body["id"], body)
    return JSONResponse(_seen(call, body))


async def delete(call: Call) -> Response:
    """DELETE an endpoint and its deployments; the jobs it started stay."""
    body = _found(call)
    call.store.delete(body["id"])
    call.store.delete(f"/endpoint-names/{call.location}/{body['name']}")
    return _deleted(call, "bebes")


def _deleted(call: Call, prefix: str) -> Response:
    status = operation(call, prefix)
    location = status.replace("/mfeOperationsStatus/", "/mfeOperationResults/")
    return null(202, {"Azure-AsyncOperation": status, "Location": location, **_TIMEOUT})


async def get_deployments(call: Call) -> Response:
    """GET an endpoint's deployments."""
    return listing(call.store.children(f"{_found(call)['id']}/deployments"))


def _found_deployment(call: Call) -> Json:
    endpoint, name = _found(call), call.names["deployment"]
    found = call.store.get(f"{endpoint['id']}/deployments/{name}")
    if found is None:
        raise no_deployment(name, endpoint["name"])
    return found


async def get_deployment(call: Call) -> Response:
    """GET a deployment."""
    return JSONResponse(_found_deployment(call))


async def put_deployment(call: Call) -> Response:
    """PUT a deployment of a pipeline component or of a model."""
    endpoint, name, sent = _found(call), call.names["deployment"], await call.json()
    properties = sent.get("properties") or {}
    if properties.get("model"):
        computes.check(call, properties.get("compute"))
        made = scoring.deployment_properties(call.store, name, properties)
    else:
        made = _component_deployment(call, name, properties)
    arm_id = f"{endpoint['id']}/deployments/{name}"
    before, at = call.store.get(arm_id), now()
    created = before["systemData"]["createdAt"] if before else at
    body = {
        "id": arm_id,
        "name": name,
        "type": f"{PROVIDER}/workspaces/batchEndpoints/deployments",
        "properties": made | {"provisioningState": "Succeeded"},
        "systemData": {"createdAt": created, "createdBy": USER["createdBy"], "lastModifiedAt": at},
        "tags": sent.get("tags") or {},
        "location": sent.get("location") or call.location,
    }
    call.store.put(arm_id, body)
    headers = {"Azure-AsyncOperation": operation(call, "bdbes"), "Location": call.url, **_TIMEOUT}
    return JSONResponse(body | {"properties": made | {"provisioningState": "Updating"}}, 201, headers)


async def patch_deployment(call: Call) -> Response:
    """PATCH a deployment: its tags and its description."""
    body, sent = _found_deployment(call), await call.json()
    properties = sent.get("properties") or {}
    if properties.get("description") is not None:
        body["properties"]["description"] = properties["description"]
    body["tags"] = sent["tags"] if sent.get("tags") is not None else body["tags"]
    body["systemData"]["lastModifiedAt"] = now()
    call.store.put(body["id"], body)
    return JSONResponse(body)


def _component_deployment(call: Call, name: str, properties: Json) -> Json:
    """Make the ``properties`` of a deployment of a pipeline component."""
    configuration = properties.get("deploymentConfiguration") or {}
    if configuration.get("deploymentConfigurationType") != "PipelineComponent":
        raise _no_model_reference()
    component = scoring.asset_id(configuration.get("componentId"))
    if not component:
        raise bad_request(f"Deployment {name} names no component (deploymentConfiguration.componentId.assetId).")
    check_component(call.store, component)
    # azure-ai-ml reads the settings of a deployment without asking whether there are any.
    return properties | {"deploymentConfiguration": {**configuration, "settings": configuration.get("settings") or {}}}


def _no_model_reference() -> WireError:
    """Azure's answer to a deployment with neither model nor component."""
    message = (
        "The Deployment request provided has the following validation errors. Please resolve them and try again.\n"
        'Errors:\n[\n  {\n    "PropertyName": "ModelConfiguration.ModelReference",\n'
        '    "ErrorMessage": "\'Model Reference\' must not be empty.",\n'
        '    "ErrorCode": "ArgumentNullOrEmpty"\n  }\n]\n'
    )
    return bad_request(message, "BadArgument", "ArgumentInvalid", "InvalidInputArguments")


async def delete_deployment(call: Call) -> Response:
    """DELETE a deployment that is not the default one."""
    body, endpoint = _found_deployment(call), _found(call)
    if endpoint["properties"]["defaults"]["deploymentName"] == body["name"]:
        raise bad_request(
            f"Deployment {body['name']} is the default of endpoint {endpoint['name']}; change that first."
        )
    call.store.delete(body["id"])
    return _deleted(call, "bdbes")

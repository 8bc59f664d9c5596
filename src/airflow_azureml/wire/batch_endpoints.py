"""Batch endpoints and their deployments as resources: looked at, created, made the default, removed.

Bodies are those of azure-ai-ml 1.35. A PATCH of Azure's changes tags alone, so the default deployment is changed by
writing the endpoint as it was read.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow_azureml.core.publication import DeploymentNow, EndpointNow
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError
from airflow_azureml.wire import compute, workspaces
from airflow_azureml.wire.absence import is_absent, read
from airflow_azureml.wire.compute import Operation
from airflow_azureml.wire.endpoints import API_VERSION
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages

#: The version that azure-ai-ml 1.35 uses for deployments of pipeline components.
DEPLOYMENT_VERSION = "2023-02-01-preview"


def look(workspace: Workspace, name: str) -> Flow[EndpointNow | None]:
    """Look at an endpoint and its deployments; None when it is not there.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    found = yield from read(_request(workspace, name, "GET", f"Look at batch endpoint {name}"))
    if found is None:
        return None
    url, params = f"{_url(workspace, name)}/deployments", {"api-version": API_VERSION}
    doing = f"List the deployments of batch endpoint {name}"
    listed = yield from all_pages(Request(doing=doing, method="GET", url=url, params=params))
    properties = found.get("properties") or {}
    return EndpointNow(
        state=str(properties.get("provisioningState") or ""),
        default=str((properties.get("defaults") or {}).get("deploymentName") or ""),
        tags=_texts(found.get("tags")),
        deployments={str(each.get("name")): _deployment(each) for each in listed},
    )


def put_endpoint(
    workspace: Workspace, name: str, *, description: str = "", auth_mode: str = "", tags: Mapping[str, str]
) -> Flow[Operation]:
    """Create an endpoint without a default deployment; one that is there keeps its default, and its other tags.

    Args:
        workspace: Where.
        name: Its name, which no other of the region may have.
        description: For people.
        auth_mode: As YAML writes it; empty for Azure's only one, ``aad_token``.
        tags: Tags to be set.

    Raises:
        RefusedError: Azure refuses it: the name is taken, the mode is none, or the permission is missing.
        UnavailableError: The service did not take it; asking again is safe.
    """
    before = (yield from read(_request(workspace, name, "GET", f"Look at batch endpoint {name}"))) or {}
    mode = auth_mode.split("_", maxsplit=1)[0] + "".join(word.capitalize() for word in auth_mode.split("_")[1:])
    properties = {"authMode": mode or "aadToken", "properties": {}}
    if description:
        properties["description"] = description
    if before:
        body = _written(before, {}, tags)
    else:
        body = {"location": (yield from _location(workspace)), "tags": dict(tags), "properties": properties}
    create = _request(workspace, name, "PUT", f"Create batch endpoint {name}", body=body)
    return (yield from compute.begin(workspace, create))


def set_default(workspace: Workspace, name: str, deployment: str, *, tags: Mapping[str, str]) -> Flow[Operation]:
    """Make a deployment the one that answers callers who name none.

    Args:
        workspace: Where.
        name: The endpoint.
        deployment: One of its deployments.
        tags: Tags to be set at the endpoint; its others stay.

    Raises:
        ConfigError: There is no such endpoint.
        RefusedError: There is no such deployment, or we may not change the endpoint.
        UnavailableError: The service did not take it; asking again is safe.
    """
    before = yield from read(_request(workspace, name, "GET", f"Look at batch endpoint {name}"))
    if before is None:
        raise ConfigError(f"There is no batch endpoint {name} in workspace {workspace.name}: check the name.")
    doing = f"Make {deployment} the default deployment of batch endpoint {name}"
    body = _written(before, {"defaults": {"deploymentName": deployment}}, tags)
    return (yield from compute.begin(workspace, _request(workspace, name, "PUT", doing, body=body)))


def put_component_deployment(  # noqa: PLR0913  # a resource's parts, by name
    workspace: Workspace,
    endpoint: str,
    name: str,
    *,
    component_id: str,
    settings: Mapping[str, str],
    description: str,
    tags: Mapping[str, str],
) -> Flow[Operation]:
    """Deploy a registered pipeline component to an endpoint, beside its other deployments.

    Args:
        workspace: Where.
        endpoint: The endpoint.
        name: The deployment.
        component_id: The component version's ARM id.
        settings: Of the jobs that it starts; the service takes words only.
        description: For people.
        tags: Its tags.

    Raises:
        RefusedError: Azure refuses it: the component, the compute or the name.
        UnavailableError: The service did not take it; asking again is safe.
    """
    configuration = {
        "deploymentConfigurationType": "PipelineComponent",
        "componentId": {"assetId": component_id, "referenceType": "Id"},
        "settings": dict(settings),
    }
    # The last four are what azure-ai-ml sends for a deployment that has no use for them.
    properties: dict[str, Any] = {
        "deploymentConfiguration": configuration,
        "description": description,
        "errorThreshold": -1,
        "maxConcurrencyPerInstance": 1,
        "miniBatchSize": 10,
        "outputFileName": "predictions.csv",
    }
    body = {"location": (yield from _location(workspace)), "tags": dict(tags), "properties": properties}
    create = Request(
        doing=f"Create deployment {name} of batch endpoint {endpoint}",
        method="PUT",
        url=f"{_url(workspace, endpoint)}/deployments/{quote(name, safe='')}",
        params={"api-version": DEPLOYMENT_VERSION},
        json=body,
    )
    return (yield from compute.begin(workspace, create))


def delete_deployment(workspace: Workspace, endpoint: str, name: str) -> Flow[Operation | None]:
    """Ask for a deployment's end; None when it is not there. Jobs that it has started go on.

    Raises:
        RefusedError: It is the default one, or we may not.
        UnavailableError: The service did not take it; asking again is safe.
    """
    remove = Request(
        doing=f"Remove deployment {name} of batch endpoint {endpoint}",
        method="DELETE",
        url=f"{_url(workspace, endpoint)}/deployments/{quote(name, safe='')}",
        params={"api-version": API_VERSION},
    )
    try:
        return (yield from compute.begin(workspace, remove))
    except RefusedError as error:
        if is_absent(error):
            return None
        raise


def _deployment(raw: Mapping[str, Any]) -> DeploymentNow:
    return DeploymentNow(
        state=str((raw.get("properties") or {}).get("provisioningState") or ""),
        tags=_texts(raw.get("tags")),
        created=str((raw.get("systemData") or {}).get("createdAt") or ""),
    )


def _written(before: Mapping[str, Any], changed: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Write an endpoint as it was read, but for what changes."""
    inner = before.get("properties") or {}
    kept = {name: inner[name] for name in ("authMode", "description", "properties", "defaults") if inner.get(name)}
    if str(kept.get("authMode", "")).lower() == "aadtoken":
        kept["authMode"] = "aadToken"  # answered as AADToken
    outer: dict[str, Any] = {"location": before.get("location")}
    identity = before.get("identity") or {}
    if str(identity.get("type") or "None") != "None":
        users = identity.get("userAssignedIdentities") or {}
        outer["identity"] = {"type": identity["type"]} | (
            {"userAssignedIdentities": {one: {} for one in users}} if users else {}
        )
    return {**outer, "tags": {**_texts(before.get("tags")), **tags}, "properties": {**kept, **changed}}


def _texts(raw: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in raw.items()} if isinstance(raw, Mapping) else {}


def _url(workspace: Workspace, name: str) -> str:
    return f"{workspace.url}/batchEndpoints/{quote(name, safe='')}"


def _request(workspace: Workspace, name: str, method: str, doing: str, *, body: Any = None) -> Request:
    where = f"{doing} in workspace {workspace.name}"
    params = {"api-version": API_VERSION}
    return Request(doing=where, method=method, url=_url(workspace, name), params=params, json=body)


def _location(workspace: Workspace) -> Flow[str]:
    ask = Request(
        doing=f"Read the region of workspace {workspace.name}",
        method="GET",
        url=workspace.url,
        params={"api-version": workspaces.API_VERSION},
    )
    return str((yield ask).expect(ask, 200).get("location") or "")

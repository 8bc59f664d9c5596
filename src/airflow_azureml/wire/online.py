"""Online endpoints and their deployments: looking, writing, moving traffic, keys and tokens, logs."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from attrs import evolve, field, frozen

from airflow_azureml.core.online import OnlineDeployment, OnlineEndpoint, check_traffic
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError
from airflow_azureml.wire import compute, workspaces
from airflow_azureml.wire.absence import is_absent, read
from airflow_azureml.wire.compute import Operation
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages

#: Azure's current stable one; azure-ai-ml 1.35 uses previews of the same resources.
API_VERSION = "2024-04-01"
#: What of a resource is written back as it was read. Source: ``OnlineEndpointProperties``; the rest is read only.
_KEPT = ("location", "tags", "kind", "identity", "sku")
_KEPT_OF_ENDPOINT = ("authMode", "compute", "description", "properties", "publicNetworkAccess")
#: Most lines of a log that Azure gives at a time.
MOST_LOG_LINES = 1000


@frozen(kw_only=True)
class EndpointSpec:
    """What an online endpoint is to be.

    Attributes:
        auth_mode: ``Key``, ``AMLToken`` or ``AADToken``.
        compute: The id of an attached Kubernetes cluster; empty for an endpoint that Azure manages.
    """

    name: str
    auth_mode: str = "Key"
    description: str = ""
    compute: str = ""
    tags: Mapping[str, str] = field(factory=dict)
    properties: Mapping[str, str] = field(factory=dict)
    public: bool = True


@frozen(kw_only=True)
class DeploymentSpec:
    """A deployment that needs no code: an MLflow model, or what the id of an environment and of code describe.

    Attributes:
        model: The id of a model's version.
        properties: More of Azure's ``properties``, by its names: ``environmentId``, ``codeConfiguration``,
            ``requestSettings``, ``livenessProbe``, ``dataCollector`` …
    """

    name: str
    endpoint: str
    model: str
    instance_type: str
    instances: int = 1
    compute_type: str = "Managed"
    tags: Mapping[str, str] = field(factory=dict)
    properties: Mapping[str, Any] = field(factory=dict)

    def to_wire(self, location: str) -> dict[str, Any]:
        """Write the body of the resource."""
        own = {"endpointComputeType": self.compute_type, "model": self.model, "instanceType": self.instance_type}
        usual = {"appInsightsEnabled": False, "environmentVariables": {}, "scaleSettings": {"scaleType": "Default"}}
        return {
            "location": location,
            "tags": dict(self.tags),
            "sku": {"name": "Default", "capacity": self.instances},
            "properties": {**usual, **self.properties, **own},
        }


@frozen(kw_only=True)
class Keys:
    """An endpoint's keys; never shown."""

    primary: str = field(repr=False)
    secondary: str = field(repr=False)


@frozen(kw_only=True)
class Token:
    """A token with which an endpoint is asked; never shown.

    Attributes:
        expires_at: Seconds since 1970, UTC.
        refresh_after: When Azure advises to ask for another, likewise.
    """

    token: str = field(repr=False)
    expires_at: float
    refresh_after: float


# endpoints


def read_endpoint(workspace: Workspace, name: str) -> Flow[OnlineEndpoint | None]:
    """Look at an endpoint; None when it is not there.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    found = yield from read(
        _request(workspace, name, "GET", f"Look at online endpoint {name} in workspace {workspace.name}")
    )
    return None if found is None else OnlineEndpoint.from_wire(found)


def list_endpoints(workspace: Workspace) -> Flow[Sequence[OnlineEndpoint]]:
    """List the endpoints of a workspace.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = Request(
        doing=f"List the online endpoints of workspace {workspace.name}",
        method="GET",
        url=f"{workspace.url}/onlineEndpoints",
        params={"api-version": API_VERSION},
    )
    return [OnlineEndpoint.from_wire(entry) for entry in (yield from all_pages(look))]


def put_endpoint(
    workspace: Workspace, spec: EndpointSpec, *, found: OnlineEndpoint | None = None
) -> Flow[OnlineEndpoint]:
    """Create an endpoint, or change one that is there, whose traffic and keys stay as they are.

    Args:
        workspace: Where.
        spec: What it is to be.
        found: What a look just before has shown.

    Returns:
        What Azure answers at once: it is rarely ready yet.

    Raises:
        RefusedError: Azure refuses it: the name is taken in the region, the permission, or a change is under way (409).
        UnavailableError: The service did not take it; asking again is safe.
    """
    before = _writable(found.resource) if found else {"properties": {"traffic": {}, "mirrorTraffic": {}}}
    own: dict[str, Any] = {"authMode": spec.auth_mode, "publicNetworkAccess": "Enabled" if spec.public else "Disabled"}
    own |= {name: value for name, value in (("description", spec.description), ("compute", spec.compute)) if value}
    kept = before["properties"]
    body = {
        "identity": {"type": "SystemAssigned"},
        **before,
        "location": before.get("location") or (yield from workspaces.region(workspace)),
        "kind": "Kubernetes" if spec.compute else "Managed",
        "tags": {**(before.get("tags") or {}), **spec.tags},
        "properties": {**kept, **own, "properties": {**(kept.get("properties") or {}), **spec.properties}},
    }
    doing = f"{'Change' if found else 'Create'} online endpoint {spec.name} in workspace {workspace.name}"
    write = _request(workspace, spec.name, "PUT", doing, body=body)
    return OnlineEndpoint.from_wire((yield write).expect(write, 200, 201, 202))


def delete_endpoint(workspace: Workspace, name: str) -> Flow[Operation | None]:
    """Ask for the end of an endpoint with all its deployments; None when it is not there.

    Raises:
        RefusedError: Azure refuses it.
        UnavailableError: The service did not take it; asking again is safe.
    """
    request = _request(workspace, name, "DELETE", f"Delete online endpoint {name} of workspace {workspace.name}")
    return (yield from _delete(workspace, request))


def set_traffic(
    workspace: Workspace, name: str, traffic: Mapping[str, int], mirror: Mapping[str, int] | None = None
) -> Flow[OnlineEndpoint]:
    """Have an endpoint divide its requests so, and copy so many of them; what is so already is not written again.

    Azure has no condition for it, so whoever moves traffic must be the only one who does. The endpoint goes on as
    before until Azure is done; see `OnlineEndpoint.carries`.

    Args:
        workspace: Where.
        name: The endpoint.
        traffic: Percent by deployment; 100 in sum, or nothing.
        mirror: Percent that is copied to one deployment; nothing by default.

    Raises:
        ConfigError: There is no such endpoint or deployment, or the percentages make no sense.
        RefusedError: Azure refuses it, such as while another change is under way (409).
        UnavailableError: The service did not take it; asking again is safe.
    """
    found = yield from read_endpoint(workspace, name)
    if found is None:
        raise no_endpoint(workspace, name)
    deployments = yield from list_deployments(workspace, name)
    check_traffic(traffic, [one.name for one in deployments], mirror=mirror, endpoint=name)
    if found.is_told(traffic, mirror or {}) and not found.is_broken:
        return found
    body = _writable(found.resource)
    body["properties"] |= {"traffic": dict(traffic), "mirrorTraffic": dict(mirror or {})}
    write = _request(workspace, name, "PUT", f"Move the traffic of online endpoint {name}", body=body)
    return OnlineEndpoint.from_wire((yield write).expect(write, 200, 201, 202))


def list_keys(workspace: Workspace, name: str) -> Flow[Keys]:
    """Read the keys of an endpoint whose callers prove themselves by one.

    Raises:
        RefusedError: We may not, or it has none.
        UnavailableError: The service did not say; asking again is safe.
    """
    ask = _request(workspace, f"{name}/listKeys", "POST", f"Read the keys of online endpoint {name}")
    found = (yield ask).expect(ask, 200)
    return Keys(primary=str(found.get("primaryKey") or ""), secondary=str(found.get("secondaryKey") or ""))


def make_token(workspace: Workspace, name: str) -> Flow[Token]:
    """Have a token made for an endpoint whose callers prove themselves by one.

    Raises:
        RefusedError: We may not, or it takes keys.
        UnavailableError: The service did not say; asking again is safe.
    """
    ask = _request(workspace, f"{name}/token", "POST", f"Make a token for online endpoint {name}")
    found = (yield ask).expect(ask, 200)
    return Token(
        token=str(found.get("accessToken") or ""),
        expires_at=float(found.get("expiryTimeUtc") or 0),
        refresh_after=float(found.get("refreshAfterTimeUtc") or 0),
    )


# deployments


def read_deployment(workspace: Workspace, endpoint: str, name: str) -> Flow[OnlineDeployment | None]:
    """Look at a deployment; None when it, or its endpoint, is not there.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    doing = f"Look at deployment {name} of online endpoint {endpoint}"
    found = yield from read(_request(workspace, f"{endpoint}/deployments/{name}", "GET", doing))
    return None if found is None else OnlineDeployment.from_wire(endpoint, found)


def list_deployments(workspace: Workspace, endpoint: str) -> Flow[Sequence[OnlineDeployment]]:
    """List the deployments of an endpoint; none when it is not there.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = _request(workspace, f"{endpoint}/deployments", "GET", f"List the deployments of online endpoint {endpoint}")
    try:
        entries = yield from all_pages(look)
    except RefusedError as error:
        if is_absent(error):
            return []
        raise
    return [OnlineDeployment.from_wire(endpoint, entry) for entry in entries]


def put_deployment(workspace: Workspace, spec: DeploymentSpec) -> Flow[OnlineDeployment]:
    """Create a deployment that needs no code; see `write_deployment`."""
    location = yield from workspaces.region(workspace)
    return (yield from write_deployment(workspace, spec.endpoint, spec.name, spec.to_wire(location)))


def write_deployment(
    workspace: Workspace, endpoint: str, name: str, body: Mapping[str, Any], *, version: str = API_VERSION
) -> Flow[OnlineDeployment]:
    """Create a deployment, or have one that is there become so; it takes no traffic by that.

    Args:
        workspace: Where.
        endpoint: The endpoint.
        name: The deployment.
        body: Azure's resource.
        version: The API version that it is written for.

    Returns:
        What Azure answers at once: it is ready minutes later.

    Raises:
        RefusedError: Azure refuses it: the model, the machine, the quota, the permission, or a change is under way.
        UnavailableError: The service did not take it; asking again is safe.
    """
    doing = f"Deploy {name} to online endpoint {endpoint}"
    write = _request(workspace, f"{endpoint}/deployments/{name}", "PUT", doing, body=dict(body))
    write = evolve(write, params={"api-version": version})
    return OnlineDeployment.from_wire(endpoint, (yield write).expect(write, 200, 201, 202))


def scale_deployment(workspace: Workspace, found: OnlineDeployment, instances: int) -> Flow[None]:
    """Ask for another number of instances; all else stays.

    Raises:
        RefusedError: Azure refuses it: the quota, the permission, or a change is under way.
        UnavailableError: The service did not take it; asking again is safe.
    """
    doing = f"Scale deployment {found.name} of online endpoint {found.endpoint} to {instances}"
    body = {"sku": {"name": "Default", "capacity": instances}}
    write = _request(workspace, f"{found.endpoint}/deployments/{found.name}", "PATCH", doing, body=body)
    (yield write).expect(write, 200, 201, 202)


def delete_deployment(workspace: Workspace, endpoint: str, name: str) -> Flow[Operation | None]:
    """Ask for a deployment's end; None when it is not there.

    Raises:
        RefusedError: Azure refuses it, such as while it takes traffic.
        UnavailableError: The service did not take it; asking again is safe.
    """
    doing = f"Delete deployment {name} of online endpoint {endpoint}"
    return (yield from _delete(workspace, _request(workspace, f"{endpoint}/deployments/{name}", "DELETE", doing)))


def read_logs(workspace: Workspace, endpoint: str, name: str, *, lines: int = 100, container: str = "") -> Flow[str]:
    """Read the end of what a deployment's containers said.

    Args:
        workspace: Where.
        endpoint: The endpoint.
        name: The deployment.
        lines: Most lines, at most 1000.
        container: ``InferenceServer`` or ``StorageInitializer``; by default Azure's choice, the former.

    Raises:
        RefusedError: We may not, or there is nothing to read yet.
        UnavailableError: The service did not say; asking again is safe.
    """
    doing = f"Read the log of deployment {name} of online endpoint {endpoint}"
    body = {"tail": min(lines, MOST_LOG_LINES), **({"containerType": container} if container else {})}
    ask = _request(workspace, f"{endpoint}/deployments/{name}/getLogs", "POST", doing, body=body)
    return str((yield ask).expect(ask, 200).get("content") or "")


def last_operation(workspace: Workspace, found: OnlineEndpoint | OnlineDeployment) -> Flow[Operation | None]:
    """Ask how the last change of an endpoint or a deployment went; None where Azure does not say which that was.

    Raises:
        RefusedError: Azure does not know it any more, or we may not ask.
        UnavailableError: The service did not say; asking again is safe.
    """
    parts = urlsplit(found.operation)
    if not parts.path.startswith("/subscriptions/"):
        return None
    # Our token goes with it: the way is Azure's own, and the host is the one that we talk to anyway.
    url = f"{workspace.endpoint}{parts.path}?{parts.query}"
    return (yield from compute.follow(Operation(doing=f"last change of {found.name}", url=url)))


# how it is asked


def url_of(workspace: Workspace, path: str) -> str:
    """Write the address of an endpoint, or of what is below it."""
    return f"{workspace.url}/onlineEndpoints/{quote(path, safe='/')}"


def _request(workspace: Workspace, path: str, method: str, doing: str, *, body: Any = None) -> Request:
    params = {"api-version": API_VERSION}
    return Request(doing=doing, method=method, url=url_of(workspace, path), params=params, json=body)


def _delete(workspace: Workspace, request: Request) -> Flow[Operation | None]:
    try:
        return (yield from compute.begin(workspace, request))
    except RefusedError as error:
        if is_absent(error):
            return None
        raise


def _writable(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what of an endpoint may be written back."""
    inner = resource.get("properties") or {}
    kept = {name: resource[name] for name in _KEPT if resource.get(name)}
    if "identity" in kept:
        kept["identity"] = {
            name: ({one: {} for one in value} if isinstance(value, Mapping) else value)
            for name, value in kept["identity"].items()
            if name in ("type", "userAssignedIdentities") and value
        }
    properties = {name: inner[name] for name in _KEPT_OF_ENDPOINT if inner.get(name)}
    split = {name: dict(inner.get(name) or {}) for name in ("traffic", "mirrorTraffic")}
    return {**kept, "properties": {**properties, **split}}


def no_endpoint(workspace: Workspace, name: str) -> ConfigError:
    """Say that there is no such endpoint."""
    return ConfigError(
        f"There is no online endpoint {name} in workspace {workspace.name}: check the name, or create it first "
        "(AzureMLOnlineEndpointOperator)."
    )

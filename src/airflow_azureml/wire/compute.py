"""Compute clusters: looking at one, creating or changing it, deleting it, and following what Azure makes of that."""

import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

from attrs import evolve, field, frozen

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import RefusedError
from airflow_azureml.wire import workspaces
from airflow_azureml.wire.absence import is_absent, read
from airflow_azureml.wire.http import Flow, Request, Response

#: The version that azure-ai-ml 1.35 uses for compute.
API_VERSION = "2023-08-01-preview"
KIND = "AmlCompute"
#: Azure's words for a compute, and for an operation, that does not change any more.
#: Source: ``ComputeProvisioningState``; "Track asynchronous Azure operations" of Azure Resource Manager.
FINAL = frozenset({"Succeeded", "Failed", "Canceled"})
#: Seconds between two looks at an operation where Azure does not say.
RETRY_AFTER_S = 5.0
#: What of a cluster may be written back as it was read. Source: ``AmlComputeProperties``; the rest is read only.
_WRITABLE = (
    "osType",
    "vmSize",
    "vmPriority",
    "virtualMachineImage",
    "isolatedNetwork",
    "scaleSettings",
    "remoteLoginPortPublicAccess",
    "subnet",
    "enableNodePublicIp",
)
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?")


@frozen(kw_only=True)
class Scale:
    """How a cluster grows and shrinks.

    Attributes:
        idle_s: Whole seconds that a node may be idle before it is given back.
    """

    min_nodes: int
    max_nodes: int
    idle_s: int

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self | None:
        """Read Azure's ``scaleSettings``; None when something of it is missing or unreadable."""
        least, most = raw.get("minNodeCount"), raw.get("maxNodeCount")
        match = _DURATION.fullmatch(str(raw.get("nodeIdleTimeBeforeScaleDown") or ""))
        if not isinstance(least, int) or not isinstance(most, int) or match is None:
            return None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return cls(min_nodes=least, max_nodes=most, idle_s=((days * 24 + hours) * 60 + minutes) * 60 + seconds)

    def to_wire(self) -> dict[str, Any]:
        """Write Azure's ``scaleSettings``."""
        return {
            "minNodeCount": self.min_nodes,
            "maxNodeCount": self.max_nodes,
            "nodeIdleTimeBeforeScaleDown": f"PT{self.idle_s}S",
        }

    def __str__(self) -> str:
        return f"{self.min_nodes} to {self.max_nodes} nodes, idle for {self.idle_s} s"


@frozen(kw_only=True)
class Cluster:
    """A compute as Azure shows it.

    Attributes:
        kind: Azure's ``computeType``.
        state: Azure's ``provisioningState``.
        scale: None when it has none, or one that we cannot read.
        trouble: Azure's own words on why it failed; empty when there are none.
        resource: All that Azure showed.
    """

    name: str
    kind: str
    state: str
    vm_size: str
    scale: Scale | None
    trouble: str
    resource: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_wire(cls, name: str, raw: Mapping[str, Any]) -> Self:
        """Read a compute resource."""
        outer = raw.get("properties") or {}
        inner = outer.get("properties") or {}
        errors = [one.get("error") or one for one in outer.get("provisioningErrors") or [] if isinstance(one, dict)]
        return cls(
            name=name,
            kind=str(outer.get("computeType") or ""),
            state=str(outer.get("provisioningState") or ""),
            vm_size=str(inner.get("vmSize") or ""),
            scale=Scale.from_wire(inner.get("scaleSettings") or {}),
            trouble="; ".join(str(error.get("message") or error.get("code") or "") for error in errors),
            resource=raw,
        )


@frozen(kw_only=True)
class Operation:
    """Something that Azure has begun to do.

    Attributes:
        url: Where to ask how it goes; empty when Azure did not say, or said an address that is not its own.
        status: Azure's word; only those in `FINAL` are an end.
        retry_after_s: Seconds until asking again makes sense.
        code: Azure's code for why it failed.
        trouble: Azure's own words on why it failed, the code first.
    """

    doing: str
    url: str
    status: str = "InProgress"
    retry_after_s: float = RETRY_AFTER_S
    code: str = ""
    trouble: str = ""


def get(workspace: Workspace, name: str) -> Flow[Cluster | None]:
    """Look at a compute; None when it is not there.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    found = yield from read(_request(workspace, name, "GET", f"Look at compute {name} in workspace {workspace.name}"))
    return None if found is None else Cluster.from_wire(name, found)


def create(workspace: Workspace, name: str, *, vm_size: str, vm_priority: str, scale: Scale) -> Flow[Operation]:
    """Ask for a cluster in the workspace's region; asking twice is asking once.

    Raises:
        RefusedError: Azure refuses it: the size, the quota, the name or the permission.
        UnavailableError: The service did not take it; asking again is safe.
    """
    look = Request(
        doing=f"Read the region of workspace {workspace.name}",
        method="GET",
        url=workspace.url,
        params={"api-version": workspaces.API_VERSION},
    )
    location = (yield look).expect(look, 200).get("location")
    inner = {"osType": "Linux", "vmSize": vm_size, "vmPriority": vm_priority, "scaleSettings": scale.to_wire()}
    body = {"location": location, "properties": {"computeType": KIND, "properties": inner}}
    return (yield from begin(workspace, _request(workspace, name, "PUT", f"Create compute {name}", body=body)))


def rescale(workspace: Workspace, found: Cluster, scale: Scale) -> Flow[Operation]:
    """Ask for other limits of a cluster that is there; the rest of it stays.

    Raises:
        RefusedError: Azure refuses it.
        UnavailableError: The service did not take it; asking again is safe.
    """
    outer = found.resource.get("properties") or {}
    before = outer.get("properties") or {}
    inner = {name: before[name] for name in _WRITABLE if before.get(name) is not None}
    properties = {"computeType": KIND, "properties": {**inner, "scaleSettings": scale.to_wire()}}
    if outer.get("description"):
        properties["description"] = outer["description"]
    kept = {name: found.resource[name] for name in ("location", "tags", "identity") if found.resource.get(name)}
    body = {**kept, "properties": properties}
    request = _request(workspace, found.name, "PUT", f"Change compute {found.name}", body=body)
    return (yield from begin(workspace, request))


def delete(workspace: Workspace, name: str) -> Flow[Operation | None]:
    """Ask for a compute's end, with its machines; None when it is not there.

    Raises:
        RefusedError: Azure refuses it.
        UnavailableError: The service did not take it; asking again is safe.
    """
    request = _request(workspace, name, "DELETE", f"Delete compute {name}")
    request = evolve(request, params={**request.params, "underlyingResourceAction": "Delete"})
    try:
        return (yield from begin(workspace, request))
    except RefusedError as error:
        if is_absent(error):
            return None
        raise


def follow(operation: Operation) -> Flow[Operation]:
    """Ask how an operation goes.

    Raises:
        RefusedError: Azure does not know it, or we may not ask.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = Request(doing=f"Follow: {operation.doing}", method="GET", url=operation.url)
    answer = yield look
    body = answer.expect(look, 200, 202)
    error = body.get("error") or {}
    return evolve(
        operation,
        status=str(body.get("status") or ("InProgress" if answer.status == 202 else "Succeeded")),  # noqa: PLR2004  # Accepted
        retry_after_s=_retry_after_s(answer, operation.retry_after_s),
        code=str(error.get("code") or ""),
        trouble=" ".join(str(error[name]) for name in ("code", "message") if error.get(name)),
    )


def _request(workspace: Workspace, name: str, method: str, doing: str, *, body: Any = None) -> Request:
    url = f"{workspace.url}/computes/{quote(name, safe='')}"
    return Request(doing=doing, method=method, url=url, params={"api-version": API_VERSION}, json=body)


def begin(workspace: Workspace, request: Request) -> Flow[Operation]:
    """Ask Azure for something that takes time.

    Raises:
        RefusedError: Azure refuses it.
        UnavailableError: The service did not take it.
    """
    answer = yield request
    answer.expect(request, 200, 201, 202, 204)
    url = answer.headers.get("azure-asyncoperation", "")
    # The address gets our token: it is Azure Resource Manager's, or nobody's.
    is_ours = url.startswith(f"{workspace.endpoint}/")
    return Operation(
        doing=request.doing, url=url if is_ours else "", retry_after_s=_retry_after_s(answer, RETRY_AFTER_S)
    )


def _retry_after_s(answer: Response, otherwise: float) -> float:
    text = answer.headers.get("retry-after", "").strip()
    return max(0.5, float(text)) if text.isdecimal() else otherwise

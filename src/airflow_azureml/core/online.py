"""Online endpoints: what Azure shows of one, of its deployments, of their traffic, and of the requests they answer."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from attrs import asdict, field, frozen

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, ProtocolError

#: Azure's words for what is ready, and for what will not become so without somebody's help.
#: Source: ``EndpointProvisioningState`` and ``DeploymentProvisioningState``, API version 2024-04-01.
READY, BROKEN = "Succeeded", frozenset({"Failed", "Canceled"})
WHOLE = 100
#: Azure mirrors at most this percentage, to one deployment, which then takes no live traffic.
#: Source: https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints, "mirrored".
MOST_MIRRORED = 50
#: Source: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, limits of online endpoints.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
MINUTE_S = 60.0
#: Seconds after which Azure Monitor has the metrics of a minute, as a rule. Source: "Azure Monitor Metrics overview".
METRICS_LAG_S = 180.0


@frozen(kw_only=True)
class OnlineEndpoint:
    """An online endpoint as Azure shows it.

    Attributes:
        scoring_uri: Where it is asked; empty until it is ready.
        auth_mode: ``Key``, ``AMLToken`` or ``AADToken``.
        state: Azure's ``provisioningState``.
        traffic: Percent by deployment; deployments without any are left out.
        mirror: Percent of the requests that is copied to a deployment, likewise.
        kind: ``Managed``, or ``Kubernetes``.
        operation: Where Azure tells how the last change of it went; empty when it does not say.
        resource: All that Azure showed.
    """

    name: str
    scoring_uri: str = ""
    auth_mode: str = ""
    state: str = ""
    traffic: Mapping[str, int] = field(factory=dict)
    mirror: Mapping[str, int] = field(factory=dict)
    kind: str = ""
    tags: Mapping[str, str] = field(factory=dict)
    properties: Mapping[str, str] = field(factory=dict)
    operation: str = field(default="", repr=False)
    resource: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read an endpoint resource.

        Raises:
            ProtocolError: Its traffic cannot be read.
        """
        inner = raw.get("properties") or {}
        name, properties = str(raw.get("name") or ""), _texts(inner.get("properties"))
        return cls(
            name=name,
            scoring_uri=str(inner.get("scoringUri") or ""),
            auth_mode=str(inner.get("authMode") or ""),
            state=str(inner.get("provisioningState") or ""),
            traffic=_percents(name, inner.get("traffic")),
            mirror=_percents(name, inner.get("mirrorTraffic")),
            kind=str(raw.get("kind") or ("Kubernetes" if inner.get("compute") else "Managed")),
            tags=_texts(raw.get("tags")),
            properties=properties,
            operation=properties.get("AzureAsyncOperationUri", ""),
            resource=raw,
        )

    @property
    def is_ready(self) -> bool:
        """Whether Azure has nothing left to do about it, and it is sound."""
        return self.state == READY

    @property
    def is_broken(self) -> bool:
        """Whether its last change failed; it may serve all the same, as before."""
        return self.state in BROKEN

    def carries(self, traffic: Mapping[str, int], mirror: Mapping[str, int]) -> bool:
        """Tell whether this traffic is in force: written, and Azure is done with it."""
        return self.is_ready and self.is_told(traffic, mirror)

    def is_told(self, traffic: Mapping[str, int], mirror: Mapping[str, int]) -> bool:
        """Tell whether this traffic is written; Azure may still be at it."""
        return self.traffic == without_zeros(traffic) and self.mirror == without_zeros(mirror)

    def told(self) -> str:
        """Say what is true of it now, as the end of a sentence that begins with its name."""
        shown = ", ".join(f"{percent} % to {name}" for name, percent in sorted(self.traffic.items())) or "no traffic"
        copied = "".join(f", {percent} % mirrored to {name}" for name, percent in sorted(self.mirror.items()))
        return f"is {self.state or 'in no state'}, with {shown}{copied}"

    def to_wire(self) -> dict[str, Any]:
        """Write what a task may return of it."""
        return {
            "endpoint": self.name,
            "scoring_uri": self.scoring_uri,
            "auth_mode": self.auth_mode,
            "state": self.state,
            "traffic": dict(self.traffic),
            "mirror": dict(self.mirror),
            "kind": self.kind,
        }


@frozen(kw_only=True)
class OnlineDeployment:
    """A deployment of an online endpoint as Azure shows it.

    Attributes:
        state: Azure's ``provisioningState``.
        model: The id of the model's version; empty where its code brings the model.
        instances: How many instances it has.
        kind: ``Managed``, or ``Kubernetes``.
        operation: Where Azure tells how the last change of it went; empty when it does not say.
        resource: All that Azure showed.
    """

    name: str
    endpoint: str
    state: str = ""
    model: str = ""
    instance_type: str = ""
    instances: int = 0
    kind: str = ""
    tags: Mapping[str, str] = field(factory=dict)
    properties: Mapping[str, str] = field(factory=dict)
    operation: str = field(default="", repr=False)
    resource: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @classmethod
    def from_wire(cls, endpoint: str, raw: Mapping[str, Any]) -> Self:
        """Read a deployment resource."""
        inner, capacity = raw.get("properties") or {}, (raw.get("sku") or {}).get("capacity")
        properties = _texts(inner.get("properties"))
        return cls(
            name=str(raw.get("name") or ""),
            endpoint=endpoint,
            state=str(inner.get("provisioningState") or ""),
            model=str(inner.get("model") or ""),
            instance_type=str(inner.get("instanceType") or ""),
            instances=capacity if isinstance(capacity, int) else 0,
            kind=str(inner.get("endpointComputeType") or raw.get("kind") or ""),
            tags=_texts(raw.get("tags")),
            properties=properties,
            operation=properties.get("AzureAsyncOperationUri", ""),
            resource=raw,
        )

    @property
    def is_ready(self) -> bool:
        """Whether it can take requests."""
        return self.state == READY

    @property
    def is_broken(self) -> bool:
        """Whether its last change failed."""
        return self.state in BROKEN

    def to_wire(self) -> dict[str, Any]:
        """Write what a task may return of it."""
        return {
            "endpoint": self.endpoint,
            "deployment": self.name,
            "state": self.state,
            "model": self.model,
            "instance_type": self.instance_type,
            "instances": self.instances,
            "tags": dict(self.tags),
        }


def name_faults(**names: str) -> list[str]:
    """Say which names Azure would not take for an endpoint or a deployment; an empty list when it would take all.

    Args:
        names: By what they are the names of.
    """
    rule = "3 to 32 letters, digits and hyphens, beginning with a letter and not ending with a hyphen"
    return [f"{what} is {name!r}, not {rule}" for what, name in names.items() if not _NAME.fullmatch(name)]


def without_zeros(percents: Mapping[str, int]) -> dict[str, int]:
    """Leave out the deployments that get nothing; Azure takes both spellings for the same."""
    return {name: percent for name, percent in percents.items() if percent}


def check_traffic(
    traffic: Mapping[str, int], deployments: Iterable[str], *, mirror: Mapping[str, int] | None = None, endpoint: str
) -> None:
    """Check a traffic split before Azure is asked for it, and complain once of all that is wrong.

    Args:
        traffic: Percent by deployment: 100 in sum, or none at all.
        deployments: The deployments that there are.
        mirror: Percent that is copied to one deployment that takes no live traffic; at most 50.
        endpoint: What to call the endpoint in the message.

    Raises:
        ConfigError: The split makes no sense.
    """
    faults = list(_traffic_faults(traffic, frozenset(deployments), mirror or {}))
    if faults:
        raise ConfigError(f"Traffic of online endpoint {endpoint}: {'; '.join(faults)}. Nothing was changed.")


def _traffic_faults(
    traffic: Mapping[str, int], deployments: frozenset[str], mirror: Mapping[str, int]
) -> Iterator[str]:
    live, copied = without_zeros(traffic), without_zeros(mirror)
    told = [(name, percent) for percents in (traffic, mirror) for name, percent in percents.items()]
    odd = [f"{name}: {percent!r}" for name, percent in told if not _is_percentage(percent)]
    if odd:
        yield f"{', '.join(odd)} is no whole percentage from 0 to {WHOLE}"
    elif sum(live.values()) not in (0, WHOLE):
        yield f"the percentages add up to {sum(live.values())}, and must to {WHOLE} (or to 0, for no traffic)"
    missing = sorted((live.keys() | copied.keys()) - deployments)
    if missing:
        there = ", ".join(sorted(deployments)) or "none"
        yield f"there is no deployment {', '.join(missing)} (there are: {there})"
    if len(copied) > 1:
        yield f"traffic is mirrored to one deployment at most, not to {', '.join(sorted(copied))}"
    if not odd and sum(copied.values()) > MOST_MIRRORED:
        yield f"{sum(copied.values())} % is mirrored, and {MOST_MIRRORED} is the most"
    both = sorted(live.keys() & copied.keys())
    if both:
        yield f"{', '.join(both)} takes live traffic, and can then get no mirrored traffic"


def _is_percentage(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= WHOLE


def check_removal(endpoint: OnlineEndpoint, deployment: str) -> None:
    """See to it that nobody depends on a deployment that is to go.

    Raises:
        ConfigError: It takes traffic, live or mirrored.
    """
    percent, copied = endpoint.traffic.get(deployment, 0), endpoint.mirror.get(deployment, 0)
    if percent or copied:
        share = f"{percent} % of the traffic" if percent else f"{copied} % of the traffic, mirrored,"
        raise ConfigError(
            f"Deployment {deployment} of online endpoint {endpoint.name} takes {share} and was not deleted: move its "
            "traffic to another deployment first."
        )


@frozen(kw_only=True)
class LiveMetrics:
    """How a deployment answered in some whole minutes, as Azure Monitor counted.

    Attributes:
        since: Beginning of the first minute that counts: seconds since 1970, UTC.
        until: End of the last, likewise.
        requests: Requests of every outcome.
        failures: Those for which the deployment is to blame: 5xx, a model that timed out (408), a model that raised
            (424, unless the model itself answered 4xx).
        client_errors: Those for which the caller is: 4xx but for what is counted elsewhere.
        throttled: Those that the deployment had no capacity for (429).
        p50_ms: Median latency: the mean of the minutes' medians, each by its requests, since Azure keeps no finer
            figures; None when there was no request. So for those below.
    """

    deployment: str
    since: float
    until: float
    requests: int = 0
    failures: int = 0
    client_errors: int = 0
    throttled: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    @property
    def failure_rate(self) -> float:
        """Failures by requests, from 0 to 1; NaN when there was no request, so that no bound holds."""
        return self.failures / self.requests if self.requests else math.nan

    @property
    def duration_s(self) -> float:
        """Seconds that it is about."""
        return self.until - self.since

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        return cls(**raw)


def whole_minutes(since: float, until: float) -> tuple[float, float]:
    """Find the whole minutes within a time: from the first that begins in it to the last that ends in it.

    Args:
        since: Seconds since 1970, UTC.
        until: Likewise.

    Returns:
        Beginning and end; the same twice when there is no whole minute.
    """
    first, last = math.ceil(since / MINUTE_S) * MINUTE_S, math.floor(until / MINUTE_S) * MINUTE_S
    return first, max(first, last)


def model_id(workspace: Workspace, model: str) -> str:
    """Write ``NAME:VERSION`` or ``azureml:NAME:VERSION`` as the id of the version; other ids stay as they are.

    Raises:
        ConfigError: It names no version of a model.
    """
    text = model.strip()
    if text.startswith(("/subscriptions/", "azureml://registries/")):
        return text
    if text.startswith("azureml:/subscriptions/"):
        return text.removeprefix("azureml:")
    name, _, version = text.removeprefix("azureml:").partition(":")
    if not name or not version or "/" in text:
        raise ConfigError(
            f"The model is {model!r}; give NAME:VERSION, azureml:NAME:VERSION, azureml://registries/… or the id of a "
            "version."
        )
    return f"{workspace.arm_id}/models/{name}/versions/{version}"


def compute_id(workspace: Workspace, compute: str) -> str:
    """Write a cluster's name, or ``azureml:NAME``, as its id; an id, and nothing, stay as they are."""
    if not compute or compute.startswith("/"):
        return compute
    return f"{workspace.arm_id}/computes/{compute.removeprefix('azureml:')}"


def same_model(one: str, other: str) -> bool:
    """Tell whether two ids are of the same version; Azure Resource Manager knows no upper and lower case."""
    return one.removeprefix("azureml:").lower() == other.removeprefix("azureml:").lower()


def _texts(raw: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in raw.items()} if isinstance(raw, Mapping) else {}


def _percents(endpoint: str, raw: Any) -> dict[str, int]:
    """Read percentages; Azure writes whole numbers."""
    found: dict[str, int] = {}
    for name, value in (raw or {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise ProtocolError(f"Online endpoint {endpoint} came with a traffic of {value!r:.50} to {name}")
        found[str(name)] = int(value)
    return without_zeros(found)

"""What a deployment of an online endpoint runs, read from its resource."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import attrs

from azureml_emulator.durations import seconds
from azureml_emulator.names import WorkspaceName

Json = dict[str, Any]

#: What the service fills in. Recorded but for ``maxQueueWait``, whose default is azure-rest-api-specs' (2024-04-01).
PROBE: Mapping[str, Any] = {
    "failureThreshold": 30,
    "successThreshold": 1,
    "timeout": "PT2S",
    "period": "PT10S",
    "initialDelay": "PT10S",
}
REQUESTS: Mapping[str, Any] = {
    "maxQueueWait": "PT0.5S",
    "requestTimeout": "PT5S",
    "maxConcurrentRequestsPerInstance": 1,
}


@attrs.frozen(kw_only=True)
class Spec:
    """What the processes of a deployment run; while it stays the same, a change of their number starts none anew.

    Attributes:
        workspace: The workspace's ARM id.
        endpoint: The endpoint's name.
        name: The deployment's name.
        model: The model's id; empty for none.
        code: The id of the code; empty for an MLflow model that has none.
        script: The scoring script, beneath the code.
        environment: The id of the environment; empty for none.
        variables: The deployment's own environment variables.
        collector: What its data collector is to collect.
    """

    workspace: str
    endpoint: str
    name: str
    model: str = ""
    code: str = ""
    script: str = ""
    environment: str = ""
    variables: Mapping[str, str] = attrs.field(factory=dict)
    collector: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Read a deployment's resource."""
        properties, parts = body["properties"], body["id"].split("/")
        code = properties.get("codeConfiguration") or {}
        return cls(
            workspace=WorkspaceName.of_arm_id(body["id"]).arm_id,
            endpoint=parts[-3],
            name=parts[-1],
            model=str(properties.get("model") or ""),
            code=str(code.get("codeId") or ""),
            script=str(code.get("scoringScript") or ""),
            environment=str(properties.get("environmentId") or ""),
            variables={name: str(value) for name, value in (properties.get("environmentVariables") or {}).items()},
            collector=properties.get("dataCollector") or {},
        )

    @property
    def workers(self) -> int:
        """How many calls of ``run`` a process makes at once; Azure's variable says it, and 1 where it does not."""
        said = self.variables.get("WORKER_COUNT", "")
        return max(1, int(said)) if said.isdecimal() else 1


def patience_s(body: Mapping[str, Any]) -> float:
    """Say how long a deployment may take to become ready: what its readiness probe allows, in seconds."""
    probe = {**PROBE, **(body["properties"].get("readinessProbe") or {})}
    return seconds(probe["initialDelay"]) + int(probe["failureThreshold"]) * seconds(probe["period"])


def drain_s(body: Mapping[str, Any]) -> float:
    """Say how long a request may take at most, in seconds, and a little more."""
    return seconds({**REQUESTS, **(body["properties"].get("requestSettings") or {})}["requestTimeout"]) + 5


def capacity(body: Mapping[str, Any]) -> int:
    """Say how many processes a deployment has."""
    return int((body.get("sku") or {}).get("capacity") or 1)

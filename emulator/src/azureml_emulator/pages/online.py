"""What the pages show of online endpoints: their deployments, how traffic is shared, and what processes serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from azureml_emulator import online_operations
from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.store import Store

Json = dict[str, Any]

TYPE = f"{PROVIDER}/workspaces/onlineEndpoints"
#: The colour of each state; one that is not here is shown as waiting.
STATES: Mapping[str, str] = {"Succeeded": "good", "Failed": "bad", "Creating": "busy", "Updating": "busy"}
#: The end of a log that a page shows, in lines.
LOG_LINES = 200


@attrs.frozen(kw_only=True)
class Deployment:
    """One deployment.

    Attributes:
        ready: How many of its instances are ready now.
        error: Why its last operation failed; empty for one that did not.
        log: The end of its log; empty in a list.
    """

    name: str
    state: str
    tone: str
    model: str
    script: str
    size: str
    instances: int
    ready: int
    traffic: int
    mirror: int
    tags: Sequence[tuple[str, str]]
    changed: str
    error: str
    log: str


@attrs.frozen(kw_only=True)
class Endpoint:
    """One endpoint, with its deployments.

    Attributes:
        id: Its ARM id, by which its page is found.
    """

    id: str
    name: str
    workspace: str
    kind: str
    auth: str
    state: str
    tone: str
    tags: Sequence[tuple[str, str]]
    description: str
    created: str
    deployments: Sequence[Deployment]

    @property
    def is_live(self) -> bool:
        """Whether something of it is being changed."""
        return any(one.tone == "busy" for one in self.deployments)


@attrs.frozen
class Sight:
    """What pages need to show endpoints.

    Attributes:
        ready: Counts the processes of a deployment that are ready, by its ARM id.
        log: Reads the end of a deployment's log, of so many lines.
    """

    store: Store
    ready: Callable[[str], int]
    log: Callable[[str, int], str]

    def endpoints(self) -> list[Endpoint]:
        """List the endpoints of all workspaces, the newest first."""
        return [self._endpoint(body) for body in self.store.of_type(TYPE)[::-1]]

    def endpoint(self, arm_id: str) -> Endpoint | None:
        """Find an endpoint by its ARM id."""
        body = self.store.get(arm_id)
        return self._endpoint(body, lines=LOG_LINES) if body and body.get("type") == TYPE else None

    def _endpoint(self, body: Json, *, lines: int = 0) -> Endpoint:
        properties = body["properties"]
        state = str(properties["provisioningState"])
        return Endpoint(
            id=body["id"],
            name=body["name"],
            workspace=WorkspaceName.of_arm_id(body["id"]).name,
            kind=body["kind"],
            auth=properties["authMode"],
            state=state,
            tone=STATES.get(state, "wait"),
            tags=_pairs(body["tags"]),
            description=str(properties["description"] or ""),
            created=_moment(body["systemData"]["createdAt"]),
            deployments=[
                self._deployment(body, one, lines=lines) for one in self.store.children(f"{body['id']}/deployments")
            ],
        )

    def _deployment(self, endpoint: Json, body: Json, *, lines: int) -> Deployment:
        properties, name = body["properties"], body["name"]
        state = str(properties["provisioningState"])
        return Deployment(
            name=name,
            state=state,
            tone=STATES.get(state, "wait"),
            model=short_name(str(properties["model"] or "")),
            script=str((properties["codeConfiguration"] or {}).get("scoringScript") or ""),
            size=str(properties["instanceType"] or ""),
            instances=int(body["sku"]["capacity"]),
            ready=self.ready(body["id"]),
            traffic=endpoint["properties"]["traffic"].get(name, 0),
            mirror=endpoint["properties"]["mirrorTraffic"].get(name, 0),
            tags=_pairs(body["tags"]),
            changed=_moment(body["systemData"]["lastModifiedAt"]),
            error=self._error(properties) if state == "Failed" else "",
            log=self.log(body["id"], lines) if lines else "",
        )

    def _error(self, properties: Json) -> str:
        operation = online_operations.name_of(str(properties["properties"].get("AzureAsyncOperationUri") or ""))
        error = (online_operations.find(self.store, operation) or {}).get("error") or {}
        return f"{error.get('code', '')}: {error.get('message', '')}" if error else ""


def short_name(asset_id: str) -> str:
    """Name a model or a component ``NAME:VERSION``, whatever its id."""
    parts = asset_id.split("/")
    return f"{parts[-3]}:{parts[-1]}" if "versions" in parts[-2:-1] else asset_id


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"


def _pairs(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in (found or {}).items()]

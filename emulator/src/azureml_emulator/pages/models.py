"""What the pages show of models, in workspaces and in registries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.store import Store

Json = dict[str, Any]

_TYPES = (f"{PROVIDER}/workspaces/models", f"{PROVIDER}/registries/models")
#: The colour of each stage; one that is not here is shown as waiting.
STAGES: Mapping[str, str] = {"Production": "good", "Staging": "busy", "Archived": "off"}


@attrs.frozen(kw_only=True)
class Model:
    """One registered model in a list, and what its newest version says.

    Attributes:
        id: The id of the container, by which its page is found.
        home: Whose it is, in words.
    """

    id: str
    name: str
    home: str
    description: str
    tags: Sequence[tuple[str, str]]
    is_archived: bool
    versions: Sequence[Version]


@attrs.frozen(kw_only=True)
class Version:
    """One version.

    Attributes:
        job: The run that its files came from; empty for none.
        workspace: The ARM id of the workspace; empty in a registry.
        origin: What a registry's version was shared from.
    """

    name: str
    kind: str
    stage: str
    tone: str
    tags: Sequence[tuple[str, str]]
    properties: Sequence[tuple[str, str]]
    aliases: Sequence[str]
    description: str
    created: str
    is_archived: bool
    uri: str
    job: str
    workspace: str
    origin: str


def models(store: Store) -> list[Model]:
    """List the models of all workspaces and registries, the one that was registered last first."""
    found = [_model(store, body) for kind in _TYPES for body in store.of_type(kind)]
    return sorted(found, key=lambda one: one.versions[0].created if one.versions else "", reverse=True)


def model(store: Store, wanted: str) -> Model | None:
    """Find a model by the id of its container."""
    body = store.get(_key(wanted))
    return _model(store, body) if body and body.get("type") in _TYPES else None


def _key(container_id: str) -> str:
    return container_id.removeprefix("azureml:/")


def _model(store: Store, body: Json) -> Model:
    properties, key = body["properties"], _key(body["id"])
    aliases: dict[str, str] = (store.get(f"{key}/mlflow") or {}).get("aliases", {})
    versions = [_version(one, aliases) for one in store.children(f"{key}/versions")[::-1]]
    return Model(
        id=body["id"],
        name=body["name"],
        home=_home(body["id"]),
        description=str(properties.get("description") or ""),
        tags=_pairs(properties.get("tags")),
        is_archived=bool(properties.get("isArchived")),
        versions=versions,
    )


def _home(container_id: str) -> str:
    if container_id.startswith("azureml://"):
        return f"registry {container_id.split('/')[3]}"
    return WorkspaceName.of_arm_id(container_id).name


def _version(body: Json, aliases: Mapping[str, str]) -> Version:
    properties, name = body["properties"], body["name"]
    in_registry = body["id"].startswith("azureml://")
    stage = str(properties.get("stage") or "")
    return Version(
        name=name,
        kind=str(properties["modelType"]),
        stage=stage,
        tone=STAGES.get(stage, "wait"),
        tags=_pairs(properties["tags"]),
        properties=_pairs(properties["properties"]),
        aliases=sorted(alias for alias, of in aliases.items() if of == name),
        description=str(properties["description"] or ""),
        created=f"{datetime.fromisoformat(body['systemData']['createdAt']):%Y-%m-%d %H:%M:%S}",
        is_archived=bool(properties["isArchived"]),
        uri=str(properties["modelUri"]),
        job=str(properties.get("jobName") or ""),
        workspace="" if in_registry else WorkspaceName.of_arm_id(body["id"]).arm_id,
        origin=str(properties.get("originAssetId") or ""),
    )


def _pairs(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in (found or {}).items()]

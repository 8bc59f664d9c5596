"""Registered models and their versions."""

from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

from attrs import field, frozen

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import RefusedError
from airflow_azureml.wire.absence import is_absent, read
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages

#: What may be written of a version; the rest is Azure's own.
_WRITABLE = (
    *("description", "tags", "properties", "isAnonymous", "isArchived"),
    *("flavors", "modelType", "modelUri", "jobName", "stage"),
)
#: What Azure ML says when a version's files are to be others. Source: azure-ai-ml 1.35, ``ASSET_PATH_ERROR``.
PATH_TAKEN = ("AssetPathImmutable", "Asset paths cannot be updated")

#: The version that azure-ai-ml 1.35 uses for models.
API_VERSION = "2023-08-01-preview"


@frozen(kw_only=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        uri: Where its files are.
        job: The job that made it; empty when it was not made by one.
        provisioning: Azure's word for whether it is ready; empty when Azure does not say.
        tags: What may change.
        properties: What was said when it was registered.
        stage: Azure's own word for it; empty when it has none.
        resource: Azure's ``properties`` of it, as they came.
    """

    version: str
    uri: str
    job: str
    provisioning: str
    is_archived: bool
    tags: Mapping[str, str] = field(factory=dict)
    properties: Mapping[str, str] = field(factory=dict)
    stage: str = ""
    resource: Mapping[str, Any] = field(factory=dict, repr=False)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read a model version resource."""
        properties = raw.get("properties") or {}
        return cls(
            version=str(raw.get("name") or ""),
            uri=str(properties.get("modelUri") or ""),
            job=str(properties.get("jobName") or ""),
            provisioning=str(properties.get("provisioningState") or ""),
            is_archived=bool(properties.get("isArchived")),
            tags=_texts(properties.get("tags")),
            properties=_texts(properties.get("properties")),
            stage=str(properties.get("stage") or ""),
            resource=properties,
        )

    @property
    def number(self) -> int:
        """The version as a number; -1 when it is none."""
        return int(self.version) if self.version.isascii() and self.version.isdecimal() else -1


def get(workspace: Workspace, model: str, version: str) -> Flow[ModelVersion | None]:
    """Look at one version; None when it is not there.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    found = yield from read(
        Request(
            doing=f"Look at version {version} of model {model} in workspace {workspace.name}",
            method="GET",
            url=f"{_url(workspace, model)}/versions/{quote(version, safe='')}",
            params={"api-version": API_VERSION},
        )
    )
    return None if found is None else ModelVersion.from_wire(found)


def versions(workspace: Workspace, model: str, *, archived: bool = False) -> Flow[Sequence[ModelVersion]]:
    """List the versions, newest first; none when there is no such model.

    Args:
        workspace: Where.
        model: The model's name.
        archived: Whether those that are archived are listed, too.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = Request(
        doing=f"List the versions of model {model} in workspace {workspace.name}",
        method="GET",
        url=f"{_url(workspace, model)}/versions",
        params={
            "api-version": API_VERSION,
            "listViewType": "All" if archived else "ActiveOnly",
            "$orderBy": "createdtime desc",
        },
    )
    try:
        entries = yield from all_pages(look)
    except RefusedError as error:
        if is_absent(error):
            return []
        raise
    return [ModelVersion.from_wire(entry) for entry in entries]


def highest(workspace: Workspace, model: str) -> Flow[int]:
    """Ask for the highest number that a version of the model has or had; 0 when there is no such model.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    found = yield from read(
        Request(
            doing=f"Look at model {model} in workspace {workspace.name}",
            method="GET",
            url=_url(workspace, model),
            params={"api-version": API_VERSION},
        )
    )
    properties = {} if found is None else found.get("properties") or {}
    latest, following = (str(properties.get(name) or "") for name in ("latestVersion", "nextVersion"))
    told = [int(latest)] if latest.isdecimal() else []
    told += [int(following) - 1] if following.isdecimal() else []
    return max(told, default=0)


def put(workspace: Workspace, model: str, version: str, properties: Mapping[str, Any]) -> Flow[ModelVersion]:
    """Write a version. One that is there is overwritten without a word, but for where its files are.

    Azure ML has no condition for it, so look first; writing the same twice changes nothing.

    Args:
        workspace: Where.
        model: The model's name.
        version: The version.
        properties: The ``properties`` of Azure's resource.

    Raises:
        RefusedError: Azure refuses it; with one of `PATH_TAKEN`, since the version has other files.
        UnavailableError: The service did not take it; writing again is safe.
    """
    write = Request(
        doing=f"Write version {version} of model {model} in workspace {workspace.name}",
        method="PUT",
        url=f"{_url(workspace, model)}/versions/{quote(version, safe='')}",
        params={"api-version": API_VERSION},
        json={"properties": dict(properties)},
    )
    return ModelVersion.from_wire((yield write).expect(write, 200, 201))


def change(workspace: Workspace, model: str, found: ModelVersion, **changes: Any) -> Flow[ModelVersion]:
    """Write a version once more with other ``tags``, another ``stage``, or ``isArchived``; all else stays.

    Args:
        workspace: Where.
        model: The model's name.
        found: The version as a look showed it.
        changes: What is to be different, by Azure's names.

    Raises:
        RefusedError: Azure refuses it.
        UnavailableError: The service did not take it; writing again is safe.
    """
    kept = {name: found.resource[name] for name in _WRITABLE if found.resource.get(name) is not None}
    return (yield from put(workspace, model, found.version, {**kept, **changes}))


def is_path_taken(error: RefusedError) -> bool:
    """Tell whether a version could not be written since it has other files, which are somebody else's."""
    return any(words in str(error) for words in PATH_TAKEN)


def _url(workspace: Workspace, model: str) -> str:
    return f"{workspace.url}/models/{quote(model, safe='')}"


def _texts(raw: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in raw.items()} if isinstance(raw, Mapping) else {}

"""Registered models and their versions."""

from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

from attrs import frozen

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import RefusedError
from airflow_azureml.wire.absence import is_absent, read
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages

#: The version that azure-ai-ml 1.35 uses for models.
API_VERSION = "2023-08-01-preview"


@frozen(kw_only=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        uri: Where its files are.
        job: The job that made it; empty when it was not made by one.
        provisioning: Azure's word for whether it is ready; empty when Azure does not say.
    """

    version: str
    uri: str
    job: str
    provisioning: str
    is_archived: bool

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


def versions(workspace: Workspace, model: str) -> Flow[Sequence[ModelVersion]]:
    """List the versions that are not archived, newest first; none when there is no such model.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = Request(
        doing=f"List the versions of model {model} in workspace {workspace.name}",
        method="GET",
        url=f"{_url(workspace, model)}/versions",
        params={"api-version": API_VERSION, "listViewType": "ActiveOnly", "$orderBy": "createdtime desc"},
    )
    try:
        entries = yield from all_pages(look)
    except RefusedError as error:
        if is_absent(error):
            return []
        raise
    return [ModelVersion.from_wire(entry) for entry in entries]


def _url(workspace: Workspace, model: str) -> str:
    return f"{workspace.url}/models/{quote(model, safe='')}"

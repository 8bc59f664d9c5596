"""Versions of environments and components: whether they are there, and whose they are."""

from collections.abc import Mapping
from urllib.parse import quote

from airflow_azureml.core.bundle_parts import SEGMENTS, Kind, Reference
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.wire.absence import read
from airflow_azureml.wire.components import API_VERSION as COMPONENT_VERSION
from airflow_azureml.wire.components import DEFAULT
from airflow_azureml.wire.findings import ASSET_VERSION
from airflow_azureml.wire.http import Flow, Request

_VERSIONS: Mapping[Kind, str] = {Kind.ENVIRONMENT: ASSET_VERSION, Kind.COMPONENT: COMPONENT_VERSION}


def asset_id(workspace: Workspace, kind: Kind, name: str, version: str) -> str:
    """Write the ARM id of a version."""
    return f"{workspace.arm_id}/{SEGMENTS[kind]}/{quote(name, safe='')}/versions/{quote(version, safe='')}"


def tags_of(workspace: Workspace, kind: Kind, name: str, version: str) -> Flow[Mapping[str, str] | None]:
    """Read the tags of a version; None when it is not there.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = Request(
        doing=f"Look for {kind} {name}:{version} in workspace {workspace.name}",
        method="GET",
        url=f"{workspace.endpoint}{asset_id(workspace, kind, name, version)}",
        params={"api-version": _VERSIONS[kind]},
    )
    found = yield from read(look)
    if found is None:
        return None
    tags = (found.get("properties") or {}).get("tags") or {}
    return {str(label): str(value) for label, value in tags.items()}


def is_there(workspace: Workspace, wanted: Reference) -> Flow[bool]:
    """Tell whether the workspace has what a file refers to.

    Raises:
        RefusedError: We may not look, or there is no such workspace.
        UnavailableError: The service did not say; asking again is safe.
    """
    if wanted.version:
        return (yield from tags_of(workspace, wanted.kind, wanted.name, wanted.version)) is not None
    if wanted.label == "default" and wanted.kind is Kind.COMPONENT:
        return (yield from tags_of(workspace, wanted.kind, wanted.name, DEFAULT)) is not None
    look = Request(
        doing=f"Look for {wanted.kind} {wanted.name}@{wanted.label} in workspace {workspace.name}",
        method="GET",
        url=f"{workspace.url}/{SEGMENTS[wanted.kind]}/{quote(wanted.name, safe='')}/versions",
        params={"api-version": _VERSIONS[wanted.kind], "$orderBy": "createdtime desc", "$top": "1"},
    )
    found = yield from read(look)
    return bool(found and found.get("value"))

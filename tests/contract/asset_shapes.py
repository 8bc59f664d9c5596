"""What versions and containers of assets look like."""

from __future__ import annotations

from typing import Any

from tests.contract.shapes import GROUP, NAME, OF_ASSET, SUBSCRIPTION, TYPE, W, like

#: How the newest version is asked for.
LATEST = "$orderBy=createdtime%20desc&$top=1"
PLACE = "datastores/workspaceblobstore/paths/LocalUpload/0123456789abcdef0123456789abcdef"
LONG = f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{NAME}/{PLACE}"


def version_of(segment: str, name: str, version: str, properties: Any, *, of: Any = OF_ASSET) -> Any:
    """Make the shape of a version."""
    return {
        "id": f"{W}/{segment}/{name}/versions/{version}",
        "name": version,
        "type": f"{TYPE}/{segment}/versions",
        "properties": properties,
        "systemData": of,
    }


def container_of(segment: str, name: Any, properties: Any, *, of: Any = OF_ASSET) -> Any:
    """Make the shape of what has versions."""
    return {
        "id": f"{W}/{segment}/{name}" if isinstance(name, str) else like(f"{W}/{segment}/<word>"),
        "name": name,
        "type": f"{TYPE}/{segment}",
        "properties": {"isArchived": False, **properties},
        "systemData": of,
    }


def said_of(**more: Any) -> Any:
    """Make the shape of the words that all have."""
    return {"description": None, "tags": {}, "properties": {}, "isArchived": False, "isAnonymous": False, **more}

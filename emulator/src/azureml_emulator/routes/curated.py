"""Curated environments: those of Azure ML itself, which every workspace has without anybody having made them.

Which ones there are changes with time, and no list of them is kept here: whatever is named as they are, ``AzureML-…``,
is there, in whatever version. Jobs run with them as with any other environment. What Azure tells of one was not
recorded; the members are those of an environment that a user has made.
"""

from __future__ import annotations

from azureml_emulator.errors import Json
from azureml_emulator.names import PROVIDER, WorkspaceName

_PREFIX = "AzureML-"
#: The version that is the latest.
LATEST = "1"
_AT = "2024-01-01T00:00:00.0000000+00:00"
_WHO = {"createdBy": "Microsoft", "createdByType": "Application"}
_DATA = {"createdAt": _AT, **_WHO, "lastModifiedAt": _AT}


def is_curated(segment: str, name: str) -> bool:
    """Tell whether an asset is an environment of Azure ML's own."""
    return segment == "environments" and name.startswith(_PREFIX)


def version(workspace: WorkspaceName, name: str, number: str) -> Json:
    """Show one version."""
    short = name.removeprefix(_PREFIX).lower()
    return {
        "id": f"{workspace.arm_id}/environments/{name}/versions/{number}",
        "name": number,
        "type": f"{PROVIDER}/workspaces/environments/versions",
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            "isAnonymous": False,
            "environmentType": "Curated",
            "image": f"mcr.microsoft.com/azureml/curated/{short}:{number}",
            "condaFile": "",
            "osType": "Linux",
        },
        "systemData": _DATA,
    }


def container(workspace: WorkspaceName, name: str) -> Json:
    """Show the container."""
    return {
        "id": f"{workspace.arm_id}/environments/{name}",
        "name": name,
        "type": f"{PROVIDER}/workspaces/environments",
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            "latestVersion": LATEST,
            "nextVersion": None,
        },
        "systemData": _DATA,
    }

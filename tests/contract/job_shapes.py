"""What the answers of all kinds of jobs have in common; see `tests.contract.shapes`."""

from __future__ import annotations

import re
from typing import Any

from tests.contract.shapes import (
    API,
    GROUP,
    NAME,
    OF_JOB,
    SUBSCRIPTION,
    TYPE,
    W,
)

#: A text that holds an object.
JSON = re.compile(r"\{.*\}", re.DOTALL)


def services_of(name: str, *kinds: str) -> Any:
    """Make the links of a job; all there are, unless their kinds are given."""
    where = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{NAME}"
    endpoints = {
        "Tracking": f"azureml://{API.removeprefix('https://')}/mlflow/v1.0{W}?",
        "Studio": f"https://ml.azure.com/runs/{name}?wsid={where}",
    }
    unsaid = dict.fromkeys(("port", "status", "errorMessage", "properties", "nodes"))
    return {
        kind: {**unsaid, "jobServiceType": kind, "endpoint": endpoints[kind]} for kind in (kinds or tuple(endpoints))
    }


def job_of(name: str, **properties: Any) -> Any:
    """Make a job whose display name is its name, with what its kind adds."""
    return {
        "id": f"{W}/jobs/{name}",
        "name": name,
        "type": f"{TYPE}/jobs",
        "properties": {
            "description": None,
            "tags": {},
            "displayName": name,
            "experimentName": "recorded",
            "services": services_of(name),
            "computeId": None,
            "isArchived": False,
            **dict.fromkeys(("identity", "componentId", "notificationSetting", "secretsConfiguration")),
            **properties,
        },
        "systemData": OF_JOB,
    }


def output_of(uri: str | None = None, **more: Any) -> Any:
    """Make an output."""
    unsaid = dict.fromkeys(("description", "assetName", "assetVersion", "autoDeleteSetting"))
    return {**unsaid, "uri": uri, "mode": "ReadWriteMount", "jobOutputType": "uri_folder", **more}


def default_output_of(name: str) -> Any:
    """Make the output that every job has unless it is a pipeline: the folder of its artifacts."""
    return output_of(f"azureml://datastores/workspaceartifactstore/ExperimentRun/dcid.{name}")


#: What of the resources of a job is null unless it was sent.
NO_RESOURCES = dict.fromkeys(("maxInstanceCount", "instanceType", "locations", "properties", "dockerArgs"))

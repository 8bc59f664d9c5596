"""Outputs of jobs that have an asset's name: each becomes a version of that data asset or model.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-read-write-data-v2#write-data-from-your-azure-machine-learning-job-to-azure-storage
for data; an output of a model's type becomes a model.
"""

from __future__ import annotations

from typing import Any

from azureml_emulator.names import PROVIDER
from azureml_emulator.store import Run, Store, now

Json = dict[str, Any]

#: The types of outputs that become models.
MODEL_TYPES = frozenset({"custom_model", "mlflow_model", "triton_model"})
_WHO = {"createdBy": "azureml-emulator", "createdByType": "Application"}


def register(store: Store, run: Run, output: Json) -> None:
    """Make an output that has an asset's name a version of that asset.

    Args:
        store: Holds the assets.
        run: The job or step that has made it.
        output: As of a run, with its URI; ``assetName``, and ``assetVersion`` or the next one.
    """
    segment = "models" if output["jobOutputType"] in MODEL_TYPES else "data"
    container = f"{run.workspace}/{segment}/{output['assetName']}"
    if store.get(container) is None:
        store.put(container, _container(container, segment))
    version = str(output.get("assetVersion") or _next(store, container))
    properties = _model(run, output) if segment == "models" else _data(output)
    arm_id = f"{container}/versions/{version}"
    store.put(arm_id, _body(arm_id, f"{segment}/versions", _common() | properties))


def _next(store: Store, container: str) -> int:
    names = [str(one["name"]) for one in store.children(f"{container}/versions")]
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def _container(arm_id: str, segment: str) -> Json:
    unsaid: Json = {} if segment == "models" else {"tags": None, "properties": None}
    without = {name: value for name, value in _common().items() if name != "isAnonymous"}
    return _body(arm_id, segment, without | unsaid)


def _common() -> Json:
    return {"description": None, "tags": {}, "properties": {}, "isArchived": False, "isAnonymous": False}


def _body(arm_id: str, kind: str, properties: Json) -> Json:
    at = now()
    modified = {"lastModifiedAt": at, "lastModifiedBy": _WHO["createdBy"], "lastModifiedByType": _WHO["createdByType"]}
    return {
        "id": arm_id,
        "name": arm_id.rpartition("/")[2],
        "type": f"{PROVIDER}/workspaces/{kind}",
        "properties": properties,
        "systemData": {"createdAt": at, **_WHO, **modified},
    }


def _data(output: Json) -> Json:
    return {"dataUri": output["uri"], "dataType": output["jobOutputType"]}


def _model(run: Run, output: Json) -> Json:
    return {
        "autoDeleteSetting": None,
        "flavors": {},
        "modelType": output["jobOutputType"],
        "modelUri": str(output["uri"]).replace("/resourcegroups/", "/resourceGroups/"),
        "jobName": run.name,
        "provisioningState": "Succeeded",
        "stage": None,
        "intellectualProperty": None,
    }

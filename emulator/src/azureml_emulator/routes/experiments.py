"""Experiments: a name and an id, made by whoever names one first."""

from __future__ import annotations

from azureml_emulator.errors import Json
from azureml_emulator.names import WorkspaceName, guid
from azureml_emulator.store import Store, now


def experiment_id(workspace: WorkspaceName, name: str) -> str:
    """The id of an experiment; the same whenever it is made."""
    return guid(workspace.arm_id, "experiment", name)


def ensure(store: Store, workspace: WorkspaceName, name: str) -> Json:
    """Find or make an experiment."""
    arm_id = f"{workspace.arm_id}/experiments/{experiment_id(workspace, name)}"
    if found := store.get(arm_id):
        return found
    made = {"id": experiment_id(workspace, name), "name": name, "created": now(), "tags": {}}
    store.put(arm_id, made)
    return made


def by_id(store: Store, workspace: WorkspaceName, wanted: str) -> Json | None:
    """Find an experiment by its id."""
    return store.get(f"{workspace.arm_id}/experiments/{wanted}")

"""What the pages show of batch endpoints: what their deployments run, which is the default, and their last jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from azureml_emulator.listings import Wanted
from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.pages import online, views
from azureml_emulator.store import Store

Json = dict[str, Any]

TYPE = f"{PROVIDER}/workspaces/batchEndpoints"
#: So many of an endpoint's jobs are shown, the newest.
MOST_JOBS = 3


@attrs.frozen(kw_only=True)
class Deployment:
    """One deployment.

    Attributes:
        runs: The component or the model, as ``NAME:VERSION``.
        is_default: Whether it is asked where a request names none.
    """

    name: str
    runs: str
    is_default: bool


@attrs.frozen(kw_only=True)
class Endpoint:
    """One endpoint, with its deployments."""

    name: str
    workspace: str
    created: str
    deployments: Sequence[Deployment]
    jobs: Sequence[views.Row]

    @property
    def is_live(self) -> bool:
        """Whether one of the jobs that are shown has not ended."""
        return any(job.is_live for job in self.jobs)


def endpoints(store: Store, path_of: Callable[[str, str], str]) -> list[Endpoint]:
    """List the batch endpoints of all workspaces, the newest first.

    Args:
        store: Where they are kept.
        path_of: Gives the page of a job, by its workspace's ARM id and its name.
    """
    return [_endpoint(store, body, path_of) for body in store.of_type(TYPE)[::-1]]


def _endpoint(store: Store, body: Json, path_of: Callable[[str, str], str]) -> Endpoint:
    workspace = WorkspaceName.of_arm_id(body["id"])
    default = body["properties"]["defaults"]["deploymentName"]
    runs = store.listed(workspace.arm_id, Wanted(endpoint=body["name"]), most=MOST_JOBS)
    return Endpoint(
        name=body["name"],
        workspace=workspace.name,
        created=views.moment(body["systemData"]["createdAt"]),
        deployments=[
            Deployment(name=one["name"], runs=_runs(one["properties"]), is_default=one["name"] == default)
            for one in store.children(f"{body['id']}/deployments")
        ],
        jobs=[views.row(run, path=path_of(run.workspace, run.name)) for run in runs],
    )


def _runs(properties: Json) -> str:
    """Name what a deployment runs."""
    component = (properties.get("deploymentConfiguration") or {}).get("componentId")
    named = component or properties.get("model") or {}
    return online.short_name(str(named.get("assetId") or ""))

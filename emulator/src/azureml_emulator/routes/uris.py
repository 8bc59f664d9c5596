"""Where things are: the forms of ``azureml://`` URIs, and where the outputs of a run lie."""

from __future__ import annotations

import re

import attrs

from azureml_emulator.errors import bad_request
from azureml_emulator.names import WorkspaceName
from azureml_emulator.routes.datastores import ARTIFACTS, BLOBS
from azureml_emulator.store import Run, Store

_SHORT = re.compile(r"azureml://datastores/([^/]+)/paths/(.*)", re.DOTALL)
_LONG = re.compile(
    r"azureml://subscriptions/[^/]+/resourcegroups/[^/]+/workspaces/[^/]+/datastores/([^/]+)/paths/(.*)",
    re.DOTALL | re.IGNORECASE,
)
_JOB = re.compile(r"azureml://jobs/([^/]+)/outputs/([^/]+)(?:/paths)?/?(.*)", re.DOTALL)
_MLFLOW = re.compile(r"(?:azureml:)?runs:/([^/]+)/?(.*)", re.DOTALL)
_OUTPUT = re.compile(r"azureml://locations/[^/]+/workspaces/([^/]+)/data/azureml_(.+)_output_data_(.+)/versions/1")
#: The outputs of a job that are its artifact folder, in the two spellings that clients use.
_ARTIFACT_OUTPUTS = frozenset({"artifacts", "default"})


@attrs.frozen
class OutputAsset:
    """The data asset of one output of one run.

    Attributes:
        run: The run's name.
        output: The output's.
        workspace_guid: The workspace it is in.
    """

    run: str
    output: str
    workspace_guid: str

    @classmethod
    def parse(cls, asset_id: str) -> OutputAsset | None:
        """Read an asset id; None when it is of another kind."""
        found = _OUTPUT.fullmatch(asset_id)
        return cls(found[2], found[3], found[1]) if found else None

    def asset_id(self, location: str) -> str:
        """Write it."""
        where = f"azureml://locations/{location}/workspaces/{self.workspace_guid}"
        return f"{where}/data/azureml_{self.run}_output_data_{self.output}/versions/1"


def long_form(workspace: WorkspaceName, uri: str, *, group_word: str = "resourcegroups") -> str:
    """Write a datastore URI with its workspace; any other URI stays as it is."""
    found = _SHORT.fullmatch(uri) or _LONG.fullmatch(uri)
    if not found:
        return uri
    where = (
        f"azureml://subscriptions/{workspace.subscription}/{group_word}/{workspace.group}/workspaces/{workspace.name}"
    )
    return f"{where}/datastores/{found[1]}/paths/{found[2]}"


def artifacts_of(run: str) -> str:
    """The folder of a run's artifacts: its log, and what it wrote to ``./outputs``."""
    return f"azureml://datastores/{ARTIFACTS}/paths/ExperimentRun/dcid.{run}/"


def output_of(run: Run, name: str) -> str | None:
    """The URI of a run's output; None when the run has no such output."""
    if name in _ARTIFACT_OUTPUTS and name not in run.outputs:
        return artifacts_of(run.name)
    if name not in run.outputs:
        return None
    return run.outputs[name].get("uri") or f"azureml://datastores/{BLOBS}/paths/azureml/{run.name}/{name}/"


def model_source(store: Store, workspace: WorkspaceName, uri: str) -> tuple[str, str | None]:
    """Resolve where a model's files are, and which job made them (None when the URI names none).

    Raises:
        WireError: 400 when the URI names a job or an output that is not there.
    """
    job, output, path = "", "artifacts", ""
    if found := _JOB.fullmatch(uri):
        job, output, path = found[1], found[2], found[3]
    elif found := _MLFLOW.fullmatch(uri):
        job, path = found[1], found[2]
    if not job:
        return long_form(workspace, uri, group_word="resourceGroups"), None
    run = store.run(workspace.arm_id, job)
    where = output_of(run, output) if run else None
    if run is None or where is None:
        raise bad_request(f"The model's path {uri} names {'output ' + output if run else 'job ' + job}, not found.")
    return long_form(workspace, where.rstrip("/") + "/" + path, group_word="resourceGroups"), job

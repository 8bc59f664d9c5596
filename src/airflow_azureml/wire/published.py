"""Pipelines published with SDK v1: finding one, its runs, and submitting it without ever doing so twice.

v1 answers on the workspace's data plane. Source: azureml-pipeline-core 1.62, ``_restclients/aeva``, which is v1's own
client; how v1 says that something is not there was not recorded.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from attrs import evolve, field, frozen

from airflow_azureml.core.jobs import ATTEMPT_PROPERTY, KEY_PROPERTY, OWNER_PROPERTY, JobKey, JobSnapshot
from airflow_azureml.core.published import Assignments, PipelineEndpoint, Published, PublishedPipeline
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError, RefusedError, UnavailableError
from airflow_azureml.wire import absence, datastores, jobs, workspaces
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import MOST_PAGES, all_pages

#: How many runs a page of a query has.
PAGE = 100
#: Azure ML's words for those of v1; the service is between numbers and words.
#: Source: azureml-pipeline-core 1.62, ``_AevaPipelineRunProvider.get_status``.
STATUS_OF_CODE: Mapping[str, str] = {
    "0": "NotStarted",
    "1": "Running",
    "2": "Failed",
    "3": "Completed",
    "4": "Canceled",
    "Finished": "Completed",
}
#: The longest name of an experiment. Source: azureml-core 1.61, ``EXPERIMENT_LENGTH_MAX``.
EXPERIMENT_LENGTH = 255


@frozen(kw_only=True)
class Found:
    """A published pipeline, ready to be submitted.

    Attributes:
        published: What it takes.
        data_plane: The workspace's data plane, without a slash at its end.
        submit_path: Where it is submitted, below v1's root.
        params: What stands in the query then.
        experiment: The experiment of its runs where a DAG names none; the same on every try.
    """

    published: Published
    data_plane: str
    submit_path: str
    params: Mapping[str, str]
    experiment: str


def describe(workspace: Workspace, pipeline: PublishedPipeline | PipelineEndpoint) -> Flow[Found]:
    """Find out what a published pipeline takes, and where it is submitted.

    An endpoint is submitted in the version that was read, so that what was checked is what runs.

    Raises:
        ConfigError: There is no such pipeline, endpoint or version, or it is disabled.
        RefusedError: We may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    data_plane = yield from workspaces.data_plane(workspace)
    root = _root(workspace, data_plane)
    if isinstance(pipeline, PublishedPipeline):
        published = yield from _published(root, pipeline.id, what=f"{pipeline} in workspace {workspace.name}")
        path, params, named = f"PipelineSubmit/{_quoted(pipeline.id)}", {}, published.name or pipeline.id
    else:
        endpoint_id, version, pipeline_id = yield from _version(workspace, root, pipeline)
        what = f"{pipeline} (published pipeline {pipeline_id}) in workspace {workspace.name}"
        published = yield from _published(root, pipeline_id, what=what)
        path = f"PipelineEndpointSubmit/Id/{_quoted(endpoint_id)}/{_quoted(version)}"
        params, named = {"pipelineVersion": version}, pipeline.endpoint
    return Found(
        published=published,
        data_plane=data_plane,
        submit_path=path,
        params=params,
        experiment=re.sub(r"[^A-Za-z0-9_-]+", "-", named).strip("-_")[:EXPERIMENT_LENGTH] or "published-pipelines",
    )


def _version(workspace: Workspace, root: str, endpoint: PipelineEndpoint) -> Flow[tuple[str, str, str]]:
    """Find an endpoint: its id, the version that is meant, and the published pipeline behind that."""
    by = f"Id/{_quoted(endpoint.endpoint)}" if endpoint.is_id else "Name"
    look = Request(
        doing=f"Read {endpoint} in workspace {workspace.name}",
        method="GET",
        url=f"{root}/PipelineEndpoints/{by}",
        params={} if endpoint.is_id else {"Name": endpoint.endpoint},
    )
    body = yield from _read(look)
    versions = {
        str(one.get("Version")): str(one.get("PipelineId") or "")
        for one in body.get("PipelineVersionList") or []
        if isinstance(one, Mapping)
    }
    version = str(endpoint.version or body.get("DefaultVersion") or "")
    if not versions.get(version):
        raise ConfigError(
            f"{look.doing}: it has no version {version or 'that is its default'} (its versions:"
            f" {', '.join(sorted(versions)) or 'none'})."
        )
    if not isinstance(body.get("Id"), str):
        raise ProtocolError(f"{look.doing}: it came without its Id")
    return body["Id"], version, versions[version]


def read(workspace: Workspace, pipeline_id: str) -> Flow[Published]:
    """Read what a published pipeline is told.

    Raises:
        ConfigError: There is no such pipeline.
        RefusedError: We may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    data_plane = yield from workspaces.data_plane(workspace)
    what = f"published pipeline {pipeline_id} in workspace {workspace.name}"
    return (yield from _described(_root(workspace, data_plane), pipeline_id, what=what))


def _published(root: str, pipeline_id: str, *, what: str) -> Flow[Published]:
    published = yield from _described(root, pipeline_id, what=what)
    if published.status.lower() == "disabled":
        raise ConfigError(f"The {what} is disabled: enable it, or run another.")
    return published


def _described(root: str, pipeline_id: str, *, what: str) -> Flow[Published]:
    if not pipeline_id.strip():
        raise ConfigError(f"The {what} has no id.")
    entity = yield from _read(
        Request(doing=f"Read {what}", method="GET", url=f"{root}/Pipelines/{_quoted(pipeline_id)}")
    )
    graph = str(entity.get("GraphId") or "")
    if not graph:
        return Published.from_wire(entity, {})
    url = f"{root}/Graphs/{_quoted(graph)}/Interface"
    interface = yield from _read(Request(doing=f"Read the parameters of {what}", method="GET", url=url))
    return Published.from_wire(entity, interface)


def _read(look: Request) -> Flow[Mapping[str, Any]]:
    found = yield from absence.read(look)
    if found is None:
        raise ConfigError(f"{look.doing}: 404. Check the id or the name, and that it is published in this workspace.")
    return found


def _root(workspace: Workspace, data_plane: str) -> str:
    return f"{data_plane}/pipelines/v1.0{workspace.arm_id}"


def _quoted(word: str) -> str:
    return quote(word.strip(), safe="")


def blob_datastores(workspace: Workspace) -> Flow[Mapping[tuple[str, str], str]]:
    """List the datastores that are containers of blobs, by storage account and container.

    Where several are the same container, the first by name stands for it.

    Raises:
        RefusedError: We may not list them.
        UnavailableError: The service did not give a page; asking again is safe.
    """
    look = Request(
        doing=f"List the datastores of workspace {workspace.name}",
        method="GET",
        url=f"{workspace.url}/datastores",
        params={"api-version": datastores.API_VERSION},
    )
    listed = [datastores.Datastore.from_wire(entry) for entry in (yield from all_pages(look))]
    by_name = sorted(listed, key=lambda one: one.name, reverse=True)
    return {(one.account, one.container): one.name for one in by_name if one.account and one.container}


def runs_of(workspace: Workspace, data_plane: str, experiment: str, key: JobKey) -> Flow[Sequence[JobSnapshot]]:
    """Look for the runs of a key among those of an experiment.

    Source: run history's ``runs:query`` (azure-ai-ml 1.35, ``_restclient/runhistory``), with the filter that SDK v1
    writes for ``Experiment.get_runs`` (azureml-core 1.61, ``_odata``).

    Raises:
        RefusedError: We may not look.
        UnavailableError: The service did not say; asking again is safe.
        ProtocolError: A page has no list, or the list does not end.
    """
    wanted = f'((Properties/{KEY_PROPERTY} eq "{key.digest}") or (Tags/{KEY_PROPERTY} eq "{key.digest}"))'
    look = Request(
        doing=f"Look for the runs of key {key.digest} in experiment {experiment}",
        method="POST",
        url=f"{data_plane}/history/v1.0{workspace.arm_id}/experiments/{_quoted(experiment)}/runs:query",
        params={"api-version": jobs.HISTORY_VERSION},
        json={"filter": wanted, "top": PAGE},
    )
    found: list[JobSnapshot] = []
    for run in (yield from _queried(look)):
        if run.key == key.digest:
            found.append((yield from _seen(workspace, run)))  # noqa: PERF401  # a comprehension cannot yield
    return found


def _queried(look: Request) -> Flow[Sequence[JobSnapshot]]:
    """Read every page of a query; one of an experiment that is not there yet has none."""
    found: list[JobSnapshot] = []
    ask = look
    for _ in range(MOST_PAGES):
        try:
            page = (yield ask).expect(ask, 200)
        except RefusedError as error:
            # An experiment is there from its first run on. A 404 without the service's own words is a wrong address.
            if absence.is_absent(error) and error.code:
                return []
            raise
        entries = page.get("value")
        if not isinstance(entries, list):
            raise ProtocolError(f"{look.doing}: a page without a list: {sorted(page)}")
        found += [run for entry in entries for run in _run(entry)]
        if not page.get("continuationToken"):
            return found
        ask = evolve(look, json={**look.json, "continuationToken": page["continuationToken"]})
    raise ProtocolError(f"{look.doing}: more than {MOST_PAGES} pages")


def _run(entry: Any) -> list[JobSnapshot]:
    """Read a run of run history; a step is none, even where it has its pipeline's tags."""
    if not isinstance(entry, Mapping) or not entry.get("runId") or entry.get("parentRunId"):
        return []
    told = {**(entry.get("tags") or {}), **(entry.get("properties") or {})}
    return [
        JobSnapshot(
            name=str(entry["runId"]),
            status=str(entry.get("status") or "Unknown"),
            properties={str(label): str(value) for label, value in told.items()},
        )
    ]


def _seen(workspace: Workspace, run: JobSnapshot) -> Flow[JobSnapshot]:
    """Look at a run as the job that Azure ML shows it as; where that cannot be had, what is known of it stands."""
    try:
        job = yield from jobs.get(workspace, run.name)
    except AzureMLError:
        return run
    return evolve(job, properties={**job.properties, **run.properties})


@frozen(kw_only=True)
class Submission:
    """One attempt at a key.

    Attributes:
        owner: Whose run this is, as ``dag/run/task/map index/try``.
        experiment: The experiment it is listed under.
        continues_on_step_failure: Whether other steps go on when one fails; None for what was published.
        besides: What else the run is to say of its task.
    """

    key: JobKey
    attempt: int
    owner: str
    assignments: Assignments
    experiment: str
    continues_on_step_failure: bool | None = None
    besides: Mapping[str, str] = field(factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """Write v1's PipelineSubmissionInfo; whose run it is stands in both places that run history shows."""
        whose = {KEY_PROPERTY: self.key.digest, ATTEMPT_PROPERTY: str(self.attempt), OWNER_PROPERTY: self.owner}
        whose = {**self.besides, **whose}
        body = {
            "ExperimentName": self.experiment,
            "RunSource": "API",
            "RunType": "HTTP",
            **self.assignments.to_wire(),
            "tags": whose,
            "Properties": whose,
        }
        if self.continues_on_step_failure is not None:
            body["ContinueRunOnStepFailure"] = self.continues_on_step_failure
        return body


def submit(workspace: Workspace, found: Found, submission: Submission) -> Flow[JobSnapshot]:
    """Start a run. It is posted once; when the answer is lost, it is looked for, and never posted again.

    Raises:
        RefusedError: The service refuses.
        UnavailableError: Nobody knows whether it was taken; whoever tries again looks first.
        ProtocolError: The answer names no run.
    """
    post = Request(
        doing=f"Submit published pipeline {found.published.name or found.published.id}",
        method="POST",
        url=f"{_root(workspace, found.data_plane)}/PipelineRuns/{found.submit_path}",
        params=found.params,
        headers={"x-ms-client-request-id": submission.key.repeatability_id(submission.attempt)},
        json=submission.to_wire(),
        repeatable=False,
    )
    try:
        taken = (yield post).expect(post, 200, 201)
    except UnavailableError as lost:
        runs = yield from runs_of(workspace, found.data_plane, submission.experiment, submission.key)
        mine = [run for run in runs if run.attempt == submission.attempt]
        if not mine:
            raise lost from None
        return mine[0]
    if not isinstance(taken.get("Id"), str):
        raise ProtocolError(f"{post.doing}: the answer names no run: {sorted(taken)}")
    code = str((taken.get("Status") or {}).get("StatusCode") or "NotStarted")
    run = JobSnapshot(
        name=taken["Id"], status=STATUS_OF_CODE.get(code, code), properties=submission.to_wire()["Properties"]
    )
    return (yield from _seen(workspace, run))

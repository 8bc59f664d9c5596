"""Batch endpoints: finding a deployment, its jobs, and invoking it without ever doing so twice."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from airflow_azureml.core.jobs import (
    ATTEMPT_PROPERTY,
    KEY_PROPERTY,
    OWNER_PROPERTY,
    JobKey,
    JobSnapshot,
)
from airflow_azureml.core.pipelines import BatchEndpoint, Interface, Invocation, Target
from airflow_azureml.core.scoring import INTERFACE
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError, ServiceError, UnavailableError
from airflow_azureml.wire import jobs, workspaces
from airflow_azureml.wire.http import NOT_FOUND, Audience, Flow, Request
from airflow_azureml.wire.paging import all_pages

#: The version that azure-ai-ml 1.35 uses for batch endpoints; the one for listing their jobs is the data plane's.
API_VERSION = "2023-10-01"
COMPONENT_VERSION = "2024-01-01-preview"
JOBS_VERSION = "2020-09-01-dataplanepreview"
HISTORY_VERSION = "v1.0"


def describe(workspace: Workspace, pipeline: BatchEndpoint) -> Flow[Target]:
    """Find out where a deployment is invoked, and what its pipeline or its model takes.

    Raises:
        ConfigError: There is no such endpoint or deployment, it has no default, or it serves neither a pipeline nor a
            model.
        RefusedError: We may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    data_plane = yield from workspaces.data_plane(workspace)
    base = f"{workspace.url}/batchEndpoints/{pipeline.name}"
    here = f"in workspace {workspace.name}"
    endpoint = yield from _read(f"Read batch endpoint {pipeline.name} {here}", base, API_VERSION)
    properties = endpoint.get("properties") or {}
    deployment = pipeline.deployment or str((properties.get("defaults") or {}).get("deploymentName") or "")
    if not deployment:
        raise ConfigError(
            f"Batch endpoint {pipeline.name} has no default deployment: name one, or set the endpoint's default."
        )
    found = yield from _read(
        f"Read deployment {deployment} of batch endpoint {pipeline.name} {here}",
        f"{base}/deployments/{deployment}",
        API_VERSION,
    )
    served = found.get("properties") or {}
    interface = INTERFACE if served.get("model") else (yield from _interface(workspace, pipeline, deployment, served))
    return Target(
        endpoint=pipeline.name,
        deployment=deployment,
        deployment_is_named=bool(pipeline.deployment),
        scoring_uri=str(properties.get("scoringUri") or ""),
        data_plane=data_plane,
        interface=interface,
        serves_model=bool(served.get("model")),
    )


def _interface(
    workspace: Workspace, pipeline: BatchEndpoint, deployment: str, served: Mapping[str, Any]
) -> Flow[Interface]:
    """Read what the pipeline component of a deployment declares."""
    configuration = served.get("deploymentConfiguration") or {}
    component = str((configuration.get("componentId") or {}).get("assetId") or "").removeprefix("azureml:")
    if not component.startswith("/"):
        raise ConfigError(
            f"Deployment {deployment} of batch endpoint {pipeline.name} serves neither a pipeline component nor a"
            " model."
        )
    spec = yield from _read(
        f"Read the pipeline component of deployment {deployment}", workspace.endpoint + component, COMPONENT_VERSION
    )
    return Interface.from_wire(spec)


def _read(doing: str, url: str, version: str) -> Flow[Mapping[str, Any]]:
    look = Request(doing=doing, method="GET", url=url, params={"api-version": version})
    answer = yield look
    try:
        return answer.expect(look, 200)
    except RefusedError as error:
        if answer.status == NOT_FOUND:
            raise ConfigError(f"{error}. Check the name, and that it is published in this workspace.") from error
        raise


def jobs_of(workspace: Workspace, target: Target) -> Flow[Sequence[JobSnapshot]]:
    """List the jobs that an endpoint has started, with their properties.

    Raises:
        RefusedError: We may not list them.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = Request(
        doing=f"List the jobs of batch endpoint {target.endpoint}",
        method="GET",
        url=f"{target.data_plane}/mferp/managementfrontend{workspace.arm_id}/batchEndpoints/{target.endpoint}/jobs",
        params={"api-version": JOBS_VERSION},
        audience=Audience.MACHINE_LEARNING,
    )
    entries = yield from all_pages(look)
    snapshots = []
    for entry in entries:
        body = entry.get("properties")
        if isinstance(body, Mapping) and "properties" not in body and "tags" not in body and entry.get("name"):
            # A list that leaves the properties out does not show whose a job is: look at the job itself.
            snapshots.append((yield from jobs.get(workspace, str(entry["name"]))))
        else:
            snapshots.append(JobSnapshot.from_wire(entry))
    return snapshots


@frozen(kw_only=True)
class Submission:
    """One attempt at a key.

    Attributes:
        owner: Whose job this is, as ``dag/run/task/map index/try``.
        experiment: The experiment it is listed under; empty for the endpoint's own.
        tags: Tags besides.
        besides: What else the job is to say of its task, among its properties.
    """

    key: JobKey
    attempt: int
    owner: str
    invocation: Invocation
    experiment: str = ""
    tags: Mapping[str, str] = field(factory=dict)
    besides: Mapping[str, str] = field(factory=dict)

    @property
    def marks(self) -> dict[str, str]:
        """The properties that say whose job it is."""
        whose = {KEY_PROPERTY: self.key.digest, ATTEMPT_PROPERTY: str(self.attempt), OWNER_PROPERTY: self.owner}
        return {**self.besides, **whose}

    def to_wire(self, *, tagged: bool = False) -> dict[str, Any]:
        """Write the body of the invocation.

        Args:
            tagged: Whether key and attempt are tags too.
        """
        properties = self.marks
        if self.experiment:
            properties["experimentName"] = self.experiment
        body: dict[str, Any] = {"inputData": dict(self.invocation.inputs), "properties": properties}
        if self.invocation.outputs:
            body["outputData"] = dict(self.invocation.outputs)
        tags = dict(self.tags)
        if tagged:
            tags |= {name: properties[name] for name in (KEY_PROPERTY, ATTEMPT_PROPERTY)}
        if tags:
            body["tags"] = tags
        return {"properties": body}


def invoke(workspace: Workspace, target: Target, submission: Submission) -> Flow[JobSnapshot]:
    """Start a job. It is posted once; when the answer is lost, it is looked for, and never posted again.

    Raises:
        RefusedError: The service refuses the invocation.
        UnavailableError: Nobody knows whether it was taken; whoever tries again looks first.
    """
    post = Request(
        doing=f"Invoke deployment {target.deployment} of batch endpoint {target.endpoint}",
        method="POST",
        url=target.scoring_uri,
        headers={
            **({"azureml-model-deployment": target.deployment} if target.deployment_is_named else {}),
            "repeatability-request-id": submission.key.repeatability_id(submission.attempt),
            "x-ms-client-request-id": submission.key.repeatability_id(submission.attempt),
        },
        json=submission.to_wire(tagged=target.serves_model),
        audience=Audience.MACHINE_LEARNING,
        repeatable=False,
    )
    try:
        taken = (yield post).expect(post, 200, 201)
    except UnavailableError as lost:
        found = yield from jobs_of(workspace, target)
        mine = [j for j in found if j.key == submission.key.digest and j.attempt == submission.attempt]
        if not mine:
            raise lost from None
        job = mine[0]
    else:
        job = JobSnapshot.from_wire(taken)
    if target.serves_model and not submission.marks.items() <= job.properties.items():
        return (yield from _mark(workspace, target, job, submission))
    return job


def _mark(workspace: Workspace, target: Target, job: JobSnapshot, submission: Submission) -> Flow[JobSnapshot]:
    """Write onto a job whose it is, since Azure takes the properties of an invocation for pipelines only.

    Source: https://learn.microsoft.com/azure/machine-learning/how-to-access-data-batch-endpoints-jobs, "Configure job
    properties". Whether it takes the tags is not documented. A job that cannot be marked runs all the same.
    """
    where = f"experiments/{target.endpoint}/runs/{job.name}"
    patch = Request(
        doing=f"Mark job {job.name} of batch endpoint {target.endpoint}",
        method="PATCH",
        url=f"{target.data_plane}/history/v1.0{workspace.arm_id}/{where}",
        params={"api-version": HISTORY_VERSION},
        json={"properties": submission.marks},
    )
    try:
        (yield patch).expect(patch, 200)
    except ServiceError as error:
        return job.saying(str(error))
    return evolve(job, properties={**job.properties, **submission.marks})

"""Reading what became of a job: steps and outputs from run history, metrics from MLflow's REST API."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.repair import judged
from airflow_azureml.core.reports import Report, Step, metrics_of
from airflow_azureml.core.scoring import SCORE, STEP
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError
from airflow_azureml.wire import jobs
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages

HISTORY_VERSION = "v1.0"
#: Source: azure-ai-ml 1.35.
RESOLVE_VERSION = "1.5.0"
#: Steps whose own metrics are read; each costs a request.
STEPS_MEASURED = 10
#: Pipelines in a pipeline whose steps are read, and jobs with reused results that are looked at; each costs a request.
PIPELINES_READ = 10
MAKERS_READ = 5


def read(workspace: Workspace, job: JobSnapshot, data_plane: str) -> Flow[Report]:
    """Read all that is to be known of a job that has ended; what cannot be read is said, and raises nothing.

    Args:
        workspace: Where the job is.
        job: A look at it.
        data_plane: The address of the workspace's data plane, without a slash at its end.
    """
    report = Report()
    try:
        report = evolve(report, steps=(yield from _steps(workspace, job, data_plane)))
    except AzureMLError as error:
        report = evolve(report, unread=[*report.unread, str(error)])
    try:
        report = evolve(report, steps=(yield from _with_makers(workspace, job, report.steps)))
    except AzureMLError as error:
        report = evolve(report, unread=[*report.unread, f"Whose results were reused is not known: {error}"])
    try:
        report = yield from _measured(workspace, job, data_plane, report)
    except AzureMLError as error:
        report = evolve(report, unread=[*report.unread, str(error)])
    try:
        report = evolve(report, outputs=(yield from _outputs_of_job(workspace, job, data_plane, report)))
    except AzureMLError as error:
        report = evolve(report, unread=[*report.unread, str(error)])
    return report


def _steps(workspace: Workspace, job: JobSnapshot, data_plane: str) -> Flow[list[Step]]:
    """Read the steps, and those of the first pipelines among them, named by the path to them."""
    steps = yield from _children(workspace, job.name, data_plane)
    pipelines = [step for step in steps if step.is_pipeline]
    for at in range(PIPELINES_READ):
        if at >= len(pipelines):
            break
        known = {step.run for step in steps}
        inner = yield from _children(workspace, pipelines[at].run, data_plane)
        fresh = [evolve(one, name=f"{pipelines[at].name}/{one.name}") for one in inner if one.run not in known]
        steps += fresh
        pipelines += [step for step in fresh if step.is_pipeline]
    return steps


def _children(workspace: Workspace, run: str, data_plane: str) -> Flow[list[Step]]:
    look = Request(
        doing=f"Read the steps of job {run}",
        method="GET",
        url=f"{data_plane}/history/v1.0{workspace.arm_id}/runs/{run}/children",
        params={"api-version": HISTORY_VERSION},
    )
    return [Step.from_wire(raw) for raw in (yield from all_pages(look))]


def _with_makers(workspace: Workspace, job: JobSnapshot, steps: Sequence[Step]) -> Flow[list[Step]]:
    """Say of each step that was reused whether an earlier attempt of the same task made what it has."""
    names = dict.fromkeys(step.reused_job for step in steps if step.reused and step.reused_job and job.key)
    makers = {}
    for name in list(names)[:MAKERS_READ]:
        makers[name] = yield from jobs.get(workspace, name)
    return [judged(step, job, makers.get(step.reused_job)) for step in steps]


def _measured(workspace: Workspace, job: JobSnapshot, data_plane: str, report: Report) -> Flow[Report]:
    """Add the metrics of the job and of its first steps."""
    metrics = yield from _metrics(workspace, job.name, data_plane)
    steps = list(report.steps)
    for place, step in enumerate(steps[:STEPS_MEASURED]):
        if step.status == "Completed" and step.run and not step.is_pipeline:
            own = yield from _metrics(workspace, step.measured, data_plane)
            steps[place] = evolve(step, metrics=own)
            metrics |= {f"{step.name}.{name}": value for name, value in own.items()}
    return evolve(report, steps=steps, metrics=metrics)


def _metrics(workspace: Workspace, run: str, data_plane: str) -> Flow[dict[str, float]]:
    look = Request(
        doing=f"Read the metrics of run {run}",
        method="GET",
        url=f"{data_plane}/mlflow/v2.0{workspace.arm_id}/api/2.0/mlflow/runs/get",
        params={"run_id": run},
    )
    return metrics_of((yield look).expect(look, 200))


def _outputs_of_job(workspace: Workspace, job: JobSnapshot, data_plane: str, report: Report) -> Flow[dict[str, str]]:
    """Find the job's outputs; a model's score is its step's, where the job itself does not show it."""
    found = yield from _outputs(workspace, job.name, data_plane)
    for step in report.steps:
        if step.name == STEP and SCORE not in found:
            found |= yield from _outputs(workspace, step.run, data_plane)
    return found


def _outputs(workspace: Workspace, run: str, data_plane: str) -> Flow[dict[str, str]]:
    look = Request(
        doing=f"Read the outputs of job {run}",
        method="POST",
        url=f"{data_plane}/history/v1.0{workspace.arm_id}/rundata",
        json={"runId": run, "selectRunMetadata": True},
    )
    described = (yield look).expect(look, 200)
    outputs: Mapping[str, Any] = (described.get("runMetadata") or {}).get("outputs") or {}
    assets = {
        name: str(one["assetId"]) for name, one in outputs.items() if isinstance(one, dict) and one.get("assetId")
    }
    assets.pop("default", None)
    if not assets:
        return {}
    ask = Request(
        doing=f"Resolve the outputs of job {run}",
        method="POST",
        url=f"{data_plane}/data/v1.0{workspace.arm_id}/dataversion/batchGetResolvedUris",
        params={"api-version": RESOLVE_VERSION},
        json={"values": sorted(assets.values())},
    )
    resolved = (yield ask).expect(ask, 200).get("values") or {}
    return {name: str((resolved.get(asset) or {}).get("uri") or "") for name, asset in sorted(assets.items())}

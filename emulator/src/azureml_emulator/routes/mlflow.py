"""MLflow's tracking API, as far as runs with their metrics, parameters and tags go."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.clock import CLOCK
from azureml_emulator.errors import Json, WireError
from azureml_emulator.names import WorkspaceName, job_name
from azureml_emulator.routes import artifacts, experiments, job_specs, logged_models, mlflow_lineage
from azureml_emulator.routes.calls import USER, Call, route
from azureml_emulator.routes.metrics import number
from azureml_emulator.routes.mlflow_experiments import no_experiment, stages_of
from azureml_emulator.routes.mlflow_search import FilterError, ordered, selected
from azureml_emulator.routes.mlflow_wire import (
    BASES,
    ROOTS,
    absent,
    invalid,
    items,
    millis,
    needed,
    paged,
    pairs,
    tag_list,
)
from azureml_emulator.store import Metric, Run, now

_STATUS = {
    "Completed": "FINISHED",
    "Failed": "FAILED",
    "Canceled": "KILLED",
    "NotStarted": "SCHEDULED",
    "Queued": "SCHEDULED",
}
_OF_STATUS = {"FINISHED": "Completed", "FAILED": "Failed", "KILLED": "Canceled", "RUNNING": "Running"}
_PAGE = 1000


def routes() -> list[Route]:
    """List the routes of this module, under both versions of the data plane's path."""
    handlers: list[tuple[str, str, Callable[[Call], Awaitable[Response]]]] = [
        ("GET", "runs/get", get_run),
        ("POST", "runs/create", create_run),
        ("POST", "runs/update", update_run),
        ("POST", "runs/search", search_runs),
        ("POST", "runs/log-metric", log_metric),
        ("POST", "runs/log-batch", log_batch),
        ("POST", "runs/log-parameter", log_parameter),
        ("POST", "runs/set-tag", set_tag),
        ("POST", "runs/delete-tag", delete_tag),
        ("GET", "metrics/get-history", get_history),
        ("POST", "runs/delete", delete_run),
        ("POST", "runs/restore", restore_run),
    ]
    found = [route(method, f"{root}/{path}", handler) for root in ROOTS for method, path, handler in handlers]
    # azureml-mlflow's own, for what a client need not wait for.
    return found + [
        route("POST", f"{base}/api/2.0/preview/mlflow/runs/log-batch-async", log_batch_async) for base in BASES
    ]


def _no_run(name: str) -> WireError:
    return absent(f"Run {name} was not found.")


def _asked_run(call: Call, said: Any) -> Run:
    """Find the run that a body or a query names; old clients say ``run_uuid``."""
    return call.run(str(said.get("run_id") or said.get("run_uuid") or ""), _no_run)


def _moment(given: Any) -> str:
    try:
        at = datetime.fromtimestamp(int(given) / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise invalid(f"{given!r} is no time in milliseconds.") from error
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f0+00:00")


def _info(call: Call, run: Run) -> Json:
    workspace = WorkspaceName.of_arm_id(run.workspace)
    return {
        "run_id": run.name,
        "run_uuid": run.name,
        "run_name": run.display_name,
        "experiment_id": experiments.experiment_id(workspace, run.experiment),
        "user_id": USER["createdBy"],
        "status": _STATUS.get(run.status, "RUNNING"),
        "start_time": millis(run.started or run.created),
        "end_time": millis(run.ended),
        "artifact_uri": artifacts.run_address(call, run),
        "lifecycle_stage": "deleted" if run.spec.get("isArchived") else "active",
    }


def _run(call: Call, run: Run) -> Json:
    latest: dict[str, Metric] = {}
    for point in call.store.metrics(run.workspace, run.name):
        known = latest.get(point.key)
        if known is None or (point.step, point.timestamp_ms, point.value) >= (
            known.step,
            known.timestamp_ms,
            known.value,
        ):
            latest[point.key] = point
    tags = run.tags | {"mlflow.user": USER["createdBy"], "mlflow.runName": run.display_name}
    tags |= {"mlflow.parentRunId": run.parent} if run.parent else {}
    params = call.store.params(run.workspace, run.name)
    return {
        "info": _info(call, run),
        "data": {
            "metrics": [_point(point) for point in latest.values()],
            "params": tag_list(params),
            "tags": tag_list(tags),
        },
        **mlflow_lineage.shown(call.store, run),
    }


def _point(point: Metric) -> Json:
    return {"key": point.key, "value": number(point.value), "timestamp": point.timestamp_ms, "step": point.step}


async def get_run(call: Call) -> Response:
    """GET a run with the last value of each metric."""
    return JSONResponse({"run": _run(call, _asked_run(call, call.query))})


async def create_run(call: Call) -> Response:
    """POST a run of the client's own: the emulator keeps what it logs, and runs nothing."""
    said, workspace = await call.json(), call.workspace
    wanted = str(said.get("experiment_id") or "")
    experiment = experiments.by_id(call.store, workspace, wanted) if wanted not in {"", "0"} else None
    if experiment is None and wanted not in {"", "0"}:
        raise no_experiment(wanted)
    tags = pairs(said, "tags")
    run = Run(
        workspace=workspace.arm_id,
        name=str(uuid.uuid4()),
        kind="Tracked",
        status="Running",
        parent=_parent(call, tags),
        display_name=str(said.get("run_name") or tags.get("mlflow.runName") or job_name(8)),
        experiment=experiment["name"] if experiment else "Default",
        spec={"jobType": "Command"},
        tags=tags,
        started=_moment(said.get("start_time") or CLOCK.now_s() * 1000),
    )
    experiments.ensure(call.store, workspace, run.experiment)
    call.store.add_run(run)
    return JSONResponse({"run": _run(call, run)})


def _parent(call: Call, tags: dict[str, str]) -> str | None:
    """Name the run that a client has begun another one in; one that is not there is a tag like any other."""
    named = tags.get("mlflow.parentRunId", "")
    return named if call.store.run(call.workspace.arm_id, named) else None


async def update_run(call: Call) -> Response:
    """POST a run's new name or end; a job ends when its process does, whatever its script says of itself."""
    said = await call.json()
    run, changes = _asked_run(call, said), {}
    if said.get("run_name"):
        changes["display_name"] = str(said["run_name"])
    if run.kind == "Tracked" and (status := _OF_STATUS.get(str(said.get("status")))):
        changes["status"] = status
        if status != "Running":
            changes["ended"] = _moment(said["end_time"]) if said.get("end_time") else now()
    run = call.store.change_run(run.workspace, run.name, **changes)
    return JSONResponse({"run_info": _info(call, run)})


def _log(call: Call, run: Run, said: Json, metric: Metric) -> None:
    """Keep a point of a run, and of the logged model that it is about."""
    call.store.log_metric(run.workspace, run.name, metric)
    if model := str(said.get("model_id") or ""):
        logged_models.note_metric(call.store, call.workspace, model, run=run.name, metric=metric)


def _metric(said: Json) -> Metric:
    try:
        return Metric(
            key=str(said["key"]),
            value=float(said["value"]),
            timestamp_ms=int(said.get("timestamp") or CLOCK.now_s() * 1000),
            step=int(said.get("step") or 0),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise invalid(f"The metric {said} cannot be read: {error!r}.") from error


async def log_metric(call: Call) -> Response:
    """POST one point."""
    said = await call.json()
    run = _asked_run(call, said)
    _log(call, run, said, _metric(said))
    return JSONResponse({})


async def log_batch(call: Call) -> Response:
    """POST points, parameters and tags."""
    said = await call.json()
    run = _asked_run(call, said)
    points = [(point, _metric(point)) for point in items(said, "metrics")]
    tags = pairs(said, "tags")
    for key, value in pairs(said, "params").items():
        _set_param(call, run, key, value)
    for sent, point in points:
        _log(call, run, sent, point)
    _set_tags(call, run, tags)
    return JSONResponse({})


async def log_batch_async(call: Call) -> Response:
    """POST points, parameters and tags that nobody waits for: they are kept all the same before the answer."""
    await log_batch(call)
    return JSONResponse({"batch_tracking_id": ""})


def _set_param(call: Call, run: Run, key: str, value: str) -> None:
    known = call.store.params(run.workspace, run.name).get(key)
    if known is not None and known != value:
        message = f"Parameter {key} of run {run.name} is {known!r} already and cannot become {value!r}."
        raise invalid(message)
    call.store.set_param(run.workspace, run.name, key, value)


def _set_tags(call: Call, run: Run, tags: dict[str, str]) -> None:
    if tags:
        current = call.run(run.name, _no_run)
        call.store.change_run(run.workspace, run.name, tags=current.tags | tags)


async def log_parameter(call: Call) -> Response:
    """POST a parameter; a second value for it is refused."""
    said = await call.json()
    _set_param(call, _asked_run(call, said), needed(said, "key"), job_specs.text(said.get("value", "")))
    return JSONResponse({})


async def set_tag(call: Call) -> Response:
    """POST a tag."""
    said = await call.json()
    _set_tags(call, _asked_run(call, said), {needed(said, "key"): job_specs.text(said.get("value", ""))})
    return JSONResponse({})


async def delete_tag(call: Call) -> Response:
    """POST that a tag goes."""
    said = await call.json()
    run = _asked_run(call, said)
    if said.get("key") not in run.tags:
        raise absent(f"Run {run.name} has no tag {said.get('key')}.")
    tags = {key: value for key, value in run.tags.items() if key != said["key"]}
    call.store.change_run(run.workspace, run.name, tags=tags)
    return JSONResponse({})


async def get_history(call: Call) -> Response:
    """GET the points of one metric, all of them or in pages."""
    run, key = _asked_run(call, call.query), needed(call.query, "metric_key")
    points = [_point(point) for point in call.store.metrics(run.workspace, run.name) if point.key == key]
    page, more = paged(points, call.query, size=len(points) or 1)
    return JSONResponse({"metrics": page, **more})


async def delete_run(call: Call) -> Response:
    """POST that a run goes; it is archived, as Azure ML keeps what ran."""
    return _archive(call, _asked_run(call, await call.json()), is_archived=True)


async def restore_run(call: Call) -> Response:
    """POST that a run is back."""
    return _archive(call, _asked_run(call, await call.json()), is_archived=False)


def _archive(call: Call, run: Run, *, is_archived: bool) -> Response:
    call.store.change_run(run.workspace, run.name, spec=run.spec | {"isArchived": is_archived})
    return JSONResponse({})


async def search_runs(call: Call) -> Response:
    """POST a search: conditions joined by AND, one or more orders, pages."""
    said, workspace = await call.json(), call.workspace
    wanted = {str(one) for one in said.get("experiment_ids") or []}
    stages = stages_of(said.get("run_view_type"))
    found = [run for run in call.store.runs(workspace.arm_id) if bool(run.spec.get("isArchived")) in stages]
    runs = [_run(call, run) for run in found]
    try:
        met = selected([run for run in runs if run["info"]["experiment_id"] in wanted], str(said.get("filter") or ""))
        met = ordered(met, [str(one) for one in said.get("order_by") or []])
    except FilterError as error:
        raise invalid(str(error)) from error
    page, more = paged(met, said, size=_PAGE)
    return JSONResponse({"runs": page, **more})

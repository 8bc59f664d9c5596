"""Jobs: submit, look, list, change, cancel."""

from __future__ import annotations

import json

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import control
from azureml_emulator.errors import Json, bad_request, immutable_job, no_job, not_emulated
from azureml_emulator.listings import Wanted
from azureml_emulator.names import PROVIDER, WorkspaceName, guid
from azureml_emulator.plans import is_true
from azureml_emulator.routes import computes, experiments, job_kinds, job_specs
from azureml_emulator.routes.calls import CANCEL_NEVER_ENDS, WORKSPACE, Call, Services, listing, null, route
from azureml_emulator.routes.job_bodies import job
from azureml_emulator.store import Run, now

_ALL = f"{WORKSPACE}/jobs"
_ONE = f"{_ALL}/{{name}}"
_PAGE = 100
_UNKNOWN_FILTERS = ("assetName", "scheduled", "scheduleId")


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", _ALL, get_all),
        route("GET", _ONE, get),
        route("PUT", _ONE, put),
        route("DELETE", _ONE, delete),
        route("POST", f"{_ONE}/cancel", cancel),
    ]


async def get(call: Call) -> Response:
    """GET a job; a step's answer has no properties."""
    return JSONResponse(job(call.run(call.names["name"], no_job), call.origin))


async def get_all(call: Call) -> Response:
    """GET the jobs, newest first, without steps."""
    for name in _UNKNOWN_FILTERS:
        if call.query.get(name):
            raise not_emulated("GET", call.request.url.path, f"a listing with {name}")
    page, link = call.jobs_page(_wanted(call), size=_PAGE)
    return listing([job(run, call.origin) for run in page], link)


def _wanted(call: Call) -> Wanted:
    view = call.query.get("listViewType", "ActiveOnly")
    pairs = (pair.partition("=") for pair in call.query.get("properties", "").split(",") if pair)
    return Wanted(
        kind=call.query.get("jobType", ""),
        archived=None if view == "All" else view == "ArchivedOnly",
        tag=call.query.get("tag", ""),
        properties=tuple((name, value if sign else None) for name, sign, value in pairs),
    )


async def put(call: Call) -> Response:
    """PUT a job: submit it, or change what may be changed of the one that has this name."""
    workspace, name, spec = call.workspace, call.names["name"], await call.properties()
    if (before := call.store.run(workspace.arm_id, name)) is not None:
        return _change(call, before, spec)
    job_specs.check(call.store, spec, call.request.url.path)
    computes.check(call, spec.get("computeId"))
    computes.check_pipeline(call, spec)
    if not start(call.services, workspace, name, spec):
        return _change(call, call.run(name, no_job), spec)
    return JSONResponse(job(call.run(name, no_job), call.origin), 201, {"Location": call.url})


def start(services: Services, workspace: WorkspaceName, name: str, spec: Json) -> bool:
    """Begin a job whose specification was checked; False when its name is taken, and nothing is done then."""
    run = _new_run(workspace, name, spec)
    experiments.ensure(services.store, workspace, run.experiment)
    script = control.chosen(services.control, spec.get("properties"), spec.get("settings"))
    added = control.add_scripted(services.store, run, script) if script else services.store.add_run(run)
    if added and script is None:
        services.runner.submit(run)
    return added


def _new_run(workspace: WorkspaceName, name: str, spec: Json) -> Run:
    pipeline = spec["jobType"] == "Pipeline"
    inputs = job_specs.normal_inputs(spec.get("inputs"))
    added, tags = _added(spec, inputs)
    sent = {key: job_specs.text(value) for key, value in (spec.get("properties") or {}).items()}
    return Run(
        workspace=workspace.arm_id,
        name=name,
        kind=spec["jobType"],
        status="Preparing" if pipeline else "Starting",
        display_name=spec.get("displayName") or name,
        experiment=spec.get("experimentName") or "Default",
        description=spec.get("description"),
        spec=spec,
        properties=sent | added,
        tags={key: job_specs.text(value) for key, value in (spec.get("tags") or {}).items()} | tags,
        inputs=inputs,
        outputs=job_specs.normal_outputs(spec.get("outputs")),
    )


def _added(spec: Json, inputs: dict[str, Json]) -> tuple[dict[str, str], dict[str, str]]:
    """Say which properties and tags the service adds."""
    if spec["jobType"] in job_kinds.KINDS:
        return job_kinds.added(spec)
    return (_pipeline_properties(spec, inputs) if spec["jobType"] == "Pipeline" else _command_properties(spec)), {}


def _command_properties(spec: Json) -> dict[str, str]:
    added = {"_azureml.ComputeTargetType": "amlctrain"}
    return added | ({"ContentSnapshotId": guid("snapshot", spec["codeId"])} if spec.get("codeId") else {})


def _pipeline_properties(spec: Json, inputs: dict[str, Json]) -> dict[str, str]:
    settings = spec.get("settings") or {}
    literals = {name: one["value"] for name, one in inputs.items() if one["jobInputType"] == "literal"}
    compute = str(settings.get("default_compute") or spec.get("computeId") or "").rpartition("/")[2]
    datastore = str(settings.get("default_datastore") or "workspaceblobstore").rpartition("/")[2]
    return {
        "azureml.DevPlatv2": "true",
        "azureml.DatasetAccessMode": "Asset",
        "azureml.runsource": "azureml.PipelineRun",
        "runSource": "MFE",
        "runType": "HTTP",
        "azureml.parameters": json.dumps(literals, separators=(",", ":")),
        "azureml.continue_on_step_failure": str(is_true(settings.get("continue_on_step_failure"))),
        "azureml.continue_on_failed_optional_input": str(
            is_true(settings.get("continue_run_on_failed_optional_input", True))
        ),
        "azureml.enforceRerun": str(is_true(settings.get("force_rerun"))),
        "azureml.defaultComputeName": compute,
        "azureml.defaultDataStoreName": datastore,
        "azureml.pipelineComponent": "pipelinerun",
    }


def _change(call: Call, before: Run, spec: Json) -> Response:
    """Answer a PUT of a name that is taken."""
    shown = job(before, call.origin).get("properties", {})
    if before.kind == "Step" or job_specs.changed(before.spec, shown, spec):
        raise immutable_job(before.name)
    changes: Json = {"spec": before.spec | {"isArchived": bool(spec.get("isArchived"))}}
    if spec.get("displayName"):
        changes["display_name"] = spec["displayName"]
    if "description" in spec:
        changes["description"] = spec["description"]
    if spec.get("tags") is not None:
        changes["tags"] = {key: job_specs.text(value) for key, value in spec["tags"].items()}
    if spec.get("properties"):
        new = {key: job_specs.text(value) for key, value in spec["properties"].items()}
        changes["properties"] = before.properties | new
    run = call.store.change_run(before.workspace, before.name, **changes)
    return JSONResponse(job(run, call.origin))


async def delete(call: Call) -> Response:
    """DELETE a job that has ended, with its steps; their logs and outputs stay where they are."""
    run = call.run(call.names["name"], no_job)
    if not run.is_final:
        raise bad_request(f"Job {run.name} is {run.status}; cancel it first.", "JobNotInTerminalState")
    call.store.delete_run(run.workspace, run.name)
    return null(202, {"Location": _result(call, f"jd:{call.workspace.guid}:{run.name}"), "Retry-After": "1"})


def _result(call: Call, operation: str) -> str:
    subscription = call.workspace.subscription
    root = f"{call.origin.root}/subscriptions/{subscription}/providers/{PROVIDER}/locations/{call.location}"
    return f"{root}/mfeOperationResults/{operation}?api-version={call.version}"


async def cancel(call: Call) -> Response:
    """POST to cancel: 202 with where to look when there is something to cancel, an empty 200 when not."""
    workspace, name = call.workspace, call.names["name"]
    run = call.run(name, no_job)
    if run.kind == "Tracked" and not run.is_final:  # nothing here runs it, so there is nothing to wait for
        call.store.change_run(run.workspace, name, status="Canceled", ended=now())
        return Response(status_code=200)
    ends = not call.request.scope.get(CANCEL_NEVER_ENDS)
    if not await call.services.runner.cancel(workspace.arm_id, name, ends=ends):
        return Response(status_code=200)
    url = _result(call, f"jc:{workspace.guid}:{name}")
    return null(202, {"Location": url, "x-ms-async-operation-timeout": "PT1H", "Retry-After": "1"})

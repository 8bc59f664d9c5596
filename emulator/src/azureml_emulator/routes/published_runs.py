"""Runs of pipelines published with SDK v1: submitting, looking and cancelling, in v1's words.

Names and shapes are those of azureml-pipeline-core 1.62, ``_restclients/aeva``; no answer of the service was recorded.
A run is a pipeline job like any other: it is shown, watched and cancelled as one, too.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import control
from azureml_emulator.errors import Json, bad_request, no_job, no_run, not_emulated
from azureml_emulator.names import guid
from azureml_emulator.routes import experiments, job_specs, jobs
from azureml_emulator.routes.calls import WORKSPACE, Call, new_guid, route
from azureml_emulator.routes.published import absent, endpoint_of, stored
from azureml_emulator.steps import SpecificationError, effective_inputs
from azureml_emulator.store import Run

_RUNS = f"/pipelines/v1.0{WORKSPACE}/PipelineRuns"
#: v1's words for the statuses of runs; any other is one of a run that goes on.
_CODES = {"Completed": "Finished", "Failed": "Failed", "Canceled": "Canceled", "NotStarted": "NotStarted"}
_WAITING = frozenset({"Preparing", "Queued", "Starting", "Provisioning"})


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("POST", f"{_RUNS}/PipelineSubmit/{{id}}", submit),
        route("POST", f"{_RUNS}/PipelineEndpointSubmit/Id/{{id}}", submit_endpoint),
        route("POST", f"{_RUNS}/PipelineEndpointSubmit/Id/{{id}}/{{version}}", submit_endpoint),
        route("GET", f"{_RUNS}/{{name}}", get_run),
        route("POST", f"{_RUNS}/{{name}}/Cancel", cancel),
        route("DELETE", f"{_RUNS}/{{name}}/Execution", cancel),
    ]


async def submit(call: Call) -> Response:
    """POST a published pipeline to run it; two POSTs are two runs."""
    return await _submitted(call, call.names["id"])


async def submit_endpoint(call: Call) -> Response:
    """POST a pipeline endpoint to run its default version, or the one that is named."""
    body = endpoint_of(call)
    version = call.names.get("version") or call.query.get("pipelineVersion") or body["DefaultVersion"]
    for one in body["PipelineVersionList"]:
        if one["Version"] == version:
            return await _submitted(call, one["PipelineId"])
    raise absent(f"Pipeline endpoint {body['Name']} has no version {version}.")


async def _submitted(call: Call, pipeline: str) -> Response:
    sent = await call.json()
    run = _new_run(call, stored(call, pipeline), sent)
    experiments.ensure(call.store, call.workspace, run.experiment)
    script = control.chosen(call.services.control, run.properties)
    if script:
        control.add_scripted(call.store, run, script)
    else:
        call.store.add_run(run)
        call.services.runner.submit(run)
    return JSONResponse(_run_entity(call.run(run.name, no_job)))


def _new_run(call: Call, kept: Json, sent: Json) -> Run:
    if sent.get("DataSetDefinitionValueAssignments"):
        raise not_emulated("POST", call.request.url.path, "a dataset of SDK v1 as a parameter")
    if not sent.get("ExperimentName"):
        raise bad_request("The submission names no experiment (ExperimentName).")
    spec = _component(call, kept)
    inputs, outputs = _assigned(spec, sent)
    goes_on = sent.get("ContinueRunOnStepFailure")
    own = {
        "azureml.runsource": "azureml.PipelineRun",
        "runSource": str(sent.get("RunSource") or "Unavailable"),
        "runType": str(sent.get("RunType") or "HTTP"),
        "azureml.pipelineid": kept["entity"]["Id"],
        "azureml.continue_on_step_failure": str(bool(goes_on)),
        "azureml.pipelineComponent": "pipelinerun",
    }
    return Run(
        workspace=call.workspace.arm_id,
        name=new_guid(),
        kind="Pipeline",
        status="Preparing",
        display_name=kept["entity"]["Name"],
        experiment=str(sent["ExperimentName"]),
        description=sent.get("Description"),
        spec={
            "jobType": "Pipeline",
            "componentId": kept["componentId"],
            "settings": {"continue_on_step_failure": bool(goes_on)},
        },
        properties={key: str(value) for key, value in (sent.get("Properties") or {}).items()} | own,
        tags={key: str(value) for key, value in (sent.get("tags") or {}).items()},
        inputs=inputs,
        outputs=outputs,
    )


def _component(call: Call, kept: Json) -> Json:
    component = call.store.get(kept["componentId"])
    if component is None:
        raise bad_request(f"The component {kept['componentId']} does not exist any more.")
    spec: Json = component["properties"]["componentSpec"]
    return spec


def _assigned(spec: Json, sent: Json) -> tuple[dict[str, Json], dict[str, Json]]:
    """Read a submission's assignments as a run's inputs and outputs.

    Raises:
        WireError: 400 when one is unknown, missing or of the wrong kind; how v1 says that was not recorded.
    """
    declared, outputs = spec.get("inputs") or {}, spec.get("outputs") or {}
    texts, paths = sent.get("ParameterAssignments") or {}, sent.get("DataPathAssignments") or {}
    if unknown := sorted({*texts, *paths} - {*declared, *outputs}):
        raise bad_request(f"The pipeline has no parameter {', '.join(unknown)}.")
    uris = {
        name: f"azureml://datastores/{one.get('DataStoreName')}/paths/{one.get('RelativePath') or ''}"
        for name, one in paths.items()
    }
    if wrong := sorted(texts.keys() & outputs.keys()):
        raise bad_request(f"{', '.join(wrong)} is a DataPath, and was given a text.")
    given: dict[str, Json] = {name: {"jobInputType": "literal", "value": str(value)} for name, value in texts.items()}
    given |= {name: {"uri": uri, "mode": "ReadOnlyMount"} for name, uri in uris.items() if name in declared}
    try:
        inputs = effective_inputs(declared, given, whose="The pipeline")
    except SpecificationError as error:
        raise bad_request(str(error)) from error
    asked = {name: {"jobOutputType": one.get("type"), "uri": uris.get(name)} for name, one in outputs.items()}
    return inputs, job_specs.normal_outputs(asked)


def _run(call: Call) -> Run:
    run = call.run(call.names["name"], no_run)
    if run.kind != "Pipeline":
        raise no_run(run.name)
    return run


def _run_entity(run: Run) -> Json:
    waits = run.status in _WAITING
    code = _CODES.get(run.status, "NotStarted" if waits else "Running")
    return {
        "Id": run.name,
        "Description": run.description,
        "Status": {"StatusCode": code, "StatusDetail": None, "CreationTime": run.created, "EndTime": run.ended},
        "GraphId": guid("graph", run.properties.get("azureml.pipelineid", run.name)),
        "IsSubmitted": True,
        "HasErrors": run.status == "Failed",
        "HasWarnings": False,
        "ParameterAssignments": {
            name: one["value"] for name, one in run.inputs.items() if one.get("jobInputType") == "literal"
        },
        "RunHistoryExperimentName": run.experiment,
        "PipelineId": run.properties.get("azureml.pipelineid"),
        "RunSource": run.properties.get("runSource"),
        "RunType": run.properties.get("runType"),
        "tags": run.tags,
        "Properties": run.properties,
        "EntityStatus": "Active",
        "CreatedDate": run.created,
        "LastModifiedDate": run.ended or run.started or run.created,
    }


async def get_run(call: Call) -> Response:
    """GET a run, in v1's words."""
    return JSONResponse(_run_entity(_run(call)))


async def cancel(call: Call) -> Response:
    """POST or DELETE to cancel a run; one that has ended stays as it is."""
    _run(call)
    await jobs.cancel(call)
    return Response(status_code=200)

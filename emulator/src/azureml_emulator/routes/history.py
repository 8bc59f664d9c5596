"""Run history: runs as the data plane tells them, with times, errors, children and log files."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, no_run, service_error
from azureml_emulator.joblogs import log_name
from azureml_emulator.names import TENANT, WorkspaceName, guid
from azureml_emulator.reuse import REUSED_RUN
from azureml_emulator.routes import job_specs
from azureml_emulator.routes.calls import USER, WORKSPACE, Call, listing, route
from azureml_emulator.routes.datastores import artifact_container
from azureml_emulator.routes.experiments import experiment_id
from azureml_emulator.routes.uris import OutputAsset, long_form, output_of
from azureml_emulator.store import Run, instant, now

_ROOT = f"/history/v1.0{WORKSPACE}"
_RUN = f"{_ROOT}/runs/{{name}}"
_IN_EXPERIMENT = f"{_ROOT}/experiments/{{experiment}}/runs/{{name}}"
_PAGE = 100
_ASSET_TYPES = {"uri_file": "UriFile", "uri_folder": "UriFolder", "mltable": "MLTable"}
_USER = {
    "userObjectId": guid("user"),
    "userPuId": None,
    "userIdp": None,
    "userAltSecId": None,
    "userIss": f"https://sts.windows.net/{TENANT}/",
    "userTenantId": TENANT,
    "userName": USER["createdBy"],
    "upn": None,
}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", _RUN, get),
        route("GET", f"{_RUN}/details", get_details),
        route("GET", f"{_RUN}/serviceinstances/{{node}}", get_service_instances),
        route("GET", f"{_RUN}/children", get_children),
        route("GET", _IN_EXPERIMENT, get),
        route("GET", f"{_IN_EXPERIMENT}/details", get_details),
        route("PATCH", _IN_EXPERIMENT, patch),
        route("PATCH", _RUN, patch),
        route("POST", f"{_ROOT}/rundata", post_rundata),
        route("POST", f"/data/v1.0{WORKSPACE}/dataversion/batchGetResolvedUris", resolve_uris),
    ]


#: What the emulator has nothing to say of, at three places of the body.
_UNSAID = dict.fromkeys(("runDefinition", "jobSpecification", "primaryMetricName", "createdFrom"))
#: Recorded: the type of a run, its orchestrator, its traits and its attribution.
_ALONE = ("azureml.scriptrun", "Execution", ("scriptRun", "remote"), "azureml.scriptrun")
_KINDS: dict[str, tuple[str, str, tuple[str, ...], str | None]] = {
    "Pipeline": ("azureml.PipelineRun", "Pipeline", ("azureml.PipelineRun", "MFE", "HTTP", "DevPlatv2"), None),
    "Step": (
        "azureml.StepRun",
        "Execution",
        ("azureml.StepRun", "scriptRun", "remote", "AlmostCommonRuntime", "OsType:Linux", "CommonRuntime"),
        "Aether",
    ),
}
_EMPTY: Json = {"settings": {}, "services": {}, "inputDatasets": [], "outputDatasets": []}


def shown(call: Call, run: Run) -> Json:
    """Show a run; ``inputs`` and ``outputs`` are null but in rundata."""
    uri = _cancel_uri(call, run)
    return {
        **_identity(run),
        "error": run_error(call, run),
        "warnings": None,
        **_times(run),
        **_names(run),
        **_kind(run),
        "properties": run.properties,
        "parameters": call.store.params(run.workspace, run.name),
        "actionUris": {"Cancel": uri, "Diagnose": ""},
        "scriptName": None,
        "target": _target(run),
        "uniqueChildRunComputeTargets": [],
        "tags": run.tags,
        **_EMPTY,
        **_UNSAID,
        "cancelUri": uri,
        "completeUri": None,
        "diagnosticsUri": "",
        **_compute(run),
        "retainForLifetimeOfWorkspace": False,
        "queueingInfo": None,
        "inputs": None,
        "outputs": None,
    }


def _identity(run: Run) -> Json:
    return {
        "runNumber": int(instant(run.created).timestamp()),
        "rootRunId": _root(run),
        "createdUtc": run.created,
        "createdBy": _USER,
        "userId": _USER["userObjectId"],
        "token": None,
        "tokenExpiryTimeUtc": None,
    }


def _root(run: Run) -> str:
    return str(run.spec.get("root") or run.parent or run.name)


def _original(run: Run) -> str:
    """Name the run whose results a run has: its own, unless it was not run because an earlier one did the same."""
    return run.properties.get(REUSED_RUN, run.name)


def _times(run: Run) -> Json:
    length = _duration(run)
    return {
        "revision": 3,
        "statusRevision": 1,
        "runUuid": guid(run.workspace, run.name),
        "parentRunUuid": guid(run.workspace, run.parent) if run.parent else None,
        "rootRunUuid": guid(run.workspace, _root(run)),
        "lastStartTimeUtc": None,
        "currentComputeTime": None,
        "computeDuration": length,
        "effectiveStartTimeUtc": None,
        "lastModifiedBy": _USER,
        "lastModifiedUtc": run.ended or run.started or run.created,
        "duration": length,
        "cancelationReason": None,
        "currentAttemptId": 1,
    }


def _names(run: Run) -> Json:
    return {
        "runId": run.name,
        "parentRunId": run.parent,
        "experimentId": experiment_id(WorkspaceName.of_arm_id(run.workspace), run.experiment),
        "experimentName": run.experiment,
        "status": run.status,
        "startTimeUtc": run.started,
        "endTimeUtc": run.ended,
        "scheduleId": None,
        "displayName": run.display_name or run.node,
        "name": _component_name(run),
        "dataContainerId": f"dcid.{_original(run)}",
        "description": run.description,
        "hidden": bool(run.spec.get("isArchived")),
    }


def _kind(run: Run) -> Json:
    if REUSED_RUN in run.properties:  # recorded
        reused = {"orchestrator": None, "traits": ["azureml.StepRun"], "attribution": None, "computeType": None}
        return {"runType": "azureml.StepRun", "runTypeV2": reused}
    inner = "Pipeline" if run.spec.get("type") == "pipeline" else run.kind
    kind, orchestrator, traits, attribution = _KINDS.get(inner, _ALONE)
    compute = None if inner == "Pipeline" else "AmlcTrain"
    version_2 = {"orchestrator": orchestrator, "traits": [*traits], "attribution": attribution, "computeType": compute}
    return {"runType": kind, "runTypeV2": version_2}


def run_type(run: Run) -> str:
    """Say what kind of run it is, in run history's words."""
    return str(_kind(run)["runType"])


def _component_name(run: Run) -> str | None:
    component = run.spec.get("componentId") or run.spec.get("component")
    if run.kind != "Step" or not isinstance(component, str) or "/components/" not in component:
        return None
    return component.partition("/components/")[2].partition("/")[0]


def _compute(run: Run) -> Json:
    """Say what a step or a command runs on; one that was not run has nothing."""
    if run.kind not in {"Step", "Command"} or REUSED_RUN in run.properties or run.spec.get("type") == "pipeline":
        return {"computeRequest": None, "compute": None}
    unsaid = dict.fromkeys(("vmSize", "instanceType", "instanceCount", "gpuCount", "priority", "region", "armId"))
    target = {"target": _target(run) or "serverless", "targetType": "amlcompute", **unsaid, "properties": None}
    return {"computeRequest": {"nodeCount": 1, "gpuCount": 0}, "compute": target | {"instanceCount": 1, "gpuCount": 0}}


def _target(run: Run) -> str | None:
    compute = run.spec.get("computeId")
    return str(compute).rpartition("/")[2] if compute and run.kind != "Pipeline" else None


def _cancel_uri(call: Call, run: Run) -> str:
    return f"{call.origin.root}{run.workspace}/jobs/{run.name}/cancel"


def run_error(call: Call, run: Run) -> Json | None:
    """Wrap a run's error as the service that ran it does; None unless it failed."""
    if not run.error:
        return None
    return service_error(
        str(run.error.get("message")),
        code=str(run.error.get("code", "UserError")),
        inner_error=run.error.get("innerError"),
        time=run.ended or now(),
        component="CommonRuntime",
        location=call.location,
    )


def _duration(run: Run) -> str | None:
    if not run.started or not run.ended:
        return None
    length = instant(run.ended) - instant(run.started)
    whole = length.days * 86400 + length.seconds
    parts = f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{parts}.{length.microseconds:06}0" if length.microseconds else parts


async def get(call: Call) -> Response:
    """GET a run, a step too."""
    return JSONResponse(shown(call, call.run(call.names["name"], no_run)))


async def get_details(call: Call) -> Response:
    """GET what a stream of the log needs: status, error and the addresses of the log files."""
    run = call.run(call.names["name"], no_run)
    await call.services.runner.ship_scripted_log(run)
    answer: Json = {
        "runId": run.name,
        "target": _target(run),
        "status": run.status,
        "startTimeUtc": run.started,
        "endTimeUtc": run.ended,
        "error": run_error(call, run),
        "warnings": [],
        "properties": run.properties,
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": None,
        "logFiles": _log_files(call, run),
        "submittedBy": USER["createdBy"],
    }
    return JSONResponse(answer)


def _log_files(call: Call, run: Run) -> Json:
    """Name the log that there is; a pipeline's after its second line, for then the first has been stored."""
    if run.started is None or run.kind == "Tracked":
        return {}
    text = call.services.runner.log(run.workspace, run.name)
    if run.script and not text:
        return {}
    if not run.script and run.kind == "Pipeline" and text.count("\n") < 2:  # noqa: PLR2004  # see above
        return {}
    name = log_name(run)
    container = artifact_container(call.workspace)
    path = quote(f"ExperimentRun/dcid.{_original(run)}/{name}")
    return {name: f"{call.origin.blob(container)}/{path}?{call.services.storage.sas(container)}"}


async def get_service_instances(call: Call) -> Response:
    """GET what a job's node serves for people, such as a notebook; jobs serve nothing here."""
    call.run(call.names["name"], no_run)
    return JSONResponse({"instances": {}})


async def get_children(call: Call) -> Response:
    """GET the steps of a pipeline run, oldest first."""
    parent = call.run(call.names["name"], no_run)
    runs = call.store.runs(call.workspace.arm_id, parent=parent.name)[::-1]
    size = int(call.query.get("$top") or _PAGE)
    page, link = call.page(runs, key=lambda run: run.name, size=size, token="$skiptoken")  # noqa: S106
    return listing([shown(call, run) for run in page], link)


async def patch(call: Call) -> Response:
    """PATCH what people may change of a run: name, description, tags, properties, whether it is hidden."""
    run, sent = call.run(call.names["name"], no_run), await call.json()
    changes: Json = {}
    if sent.get("displayName"):
        changes["display_name"] = sent["displayName"]
    if sent.get("description") is not None:
        changes["description"] = sent["description"]
    if sent.get("tags") is not None:
        changes["tags"] = run.tags | {key: job_specs.text(value) for key, value in sent["tags"].items()}
    if sent.get("properties"):
        changes["properties"] = run.properties | {k: job_specs.text(v) for k, v in sent["properties"].items()}
    if sent.get("hidden") is not None:
        changes["spec"] = run.spec | {"isArchived": bool(sent["hidden"])}
    return JSONResponse(shown(call, call.store.change_run(run.workspace, run.name, **changes)))


async def post_rundata(call: Call) -> Response:
    """POST for a run with its outputs' data assets."""
    run = call.run(str((await call.json()).get("runId")), no_run)
    body = shown(call, run) | {"inputs": {}, "outputs": _outputs(call, run)}
    return JSONResponse({"runMetadata": body, "runDefinition": None, "jobSpecification": None, "systemSettings": None})


def _outputs(call: Call, run: Run) -> Json:
    kinds = {name: str(one.get("jobOutputType")) for name, one in run.outputs.items()}
    return {
        name: {
            "assetId": OutputAsset(_original(run), name, call.workspace.guid).asset_id(call.location),
            "type": _ASSET_TYPES.get(kind, "UriFolder"),
        }
        for name, kind in ({"default": "uri_folder"} | kinds).items()
    }


async def resolve_uris(call: Call) -> Response:
    """POST asset ids of runs' outputs for where they lie; one that is not known is left out."""
    workspace, found = call.workspace, {}
    for asset_id in (await call.json()).get("values") or []:
        asset = OutputAsset.parse(asset_id)
        run = call.store.run(workspace.arm_id, asset.run) if asset else None
        uri = output_of(run, asset.output) if run and asset else None
        if run and asset and uri:
            kind = str(run.outputs.get(asset.output, {}).get("jobOutputType", "uri_folder"))
            found[asset_id] = {
                "uri": long_form(workspace, uri),
                "type": _ASSET_TYPES.get(kind, "UriFolder"),
                "legacyDatasetType": None,
            }
    return JSONResponse({"values": found})

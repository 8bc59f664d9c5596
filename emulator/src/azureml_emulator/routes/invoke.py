"""Calling a batch endpoint, and the jobs that it started."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import attrs
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import control, scoring
from azureml_emulator.errors import Json, bad_request, no_job
from azureml_emulator.listings import Wanted
from azureml_emulator.names import PROVIDER, WorkspaceName, guid, job_name
from azureml_emulator.routes import experiments, job_specs
from azureml_emulator.routes.batch import endpoint_id, no_deployment, no_endpoint
from azureml_emulator.routes.body_shapes import MEMBERS, faults
from azureml_emulator.routes.calls import USER, WORKSPACE, Call, listing, new_guid, route
from azureml_emulator.routes.job_bodies import services
from azureml_emulator.steps import LITERAL_TYPES
from azureml_emulator.store import Run

_PAGE = 100
_LOOPBACK = "/inference/{sub}/{group}/{ws}/{name}/jobs"
_DATA_PLANE = f"/mferp/managementfrontend{WORKSPACE}/batchEndpoints/{{name}}"
_DATA_PLANE_VERSION = "2020-09-01-dataplanepreview"
_TYPE = f"{PROVIDER}/workspaces/batchEndpoints/deployments/jobs"
#: Words of an endpoint's own spelling, by that of jobs.
_PASCAL = {snake: pascal for pascal, snake in job_specs.WORDS.items()}


def routes() -> list[Route]:
    """List the routes of this module; on Azure's scoring host the path is rewritten to the first ones."""
    return [
        route("POST", _LOOPBACK, invoke),
        route("GET", f"{_LOOPBACK}/{{job}}", get_job),
        route("GET", f"{_DATA_PLANE}/jobs", get_jobs),
        route("GET", f"{_DATA_PLANE}/deployments/{{deployment}}/jobs", get_jobs),
    ]


@attrs.frozen(kw_only=True)
class _Target:
    """Which deployment an invocation runs.

    Attributes:
        properties: The deployment's.
        may_name_script: What may name the script of a scripted job.
    """

    endpoint: str
    deployment: str
    properties: Json
    may_name_script: tuple[Json, ...]


async def invoke(call: Call) -> Response:
    """POST an invocation; two with the same repeatability id are two jobs, as in Azure."""
    target = _target(call)
    asked = await _asked(call)
    run = _model_run(call, target, asked) if target.properties.get("model") else _pipeline_run(call, target, asked)
    experiments.ensure(call.store, call.workspace, run.experiment)
    script = control.chosen(call.services.control, asked.get("properties"), *target.may_name_script)
    if script:
        control.add_scripted(call.store, run, script)
        run = call.run(run.name, no_job)
    else:
        call.store.add_run(run)
        call.services.runner.submit(run)
    where = call.workspace.arm_id
    headers = {
        "X-Request-ID": new_guid(),
        "azureml-model-deployment": target.deployment,
        "Location": f"{call.origin.api}/mferp/managementfrontend{where}/batchEndpoints/{target.endpoint}"
        f"/deployments/{target.deployment}?api-version={_DATA_PLANE_VERSION}",
    }
    return JSONResponse(_body(call, run), 201, headers)


async def _asked(call: Call) -> Json:
    """Read the invocation's ``properties``: clients write ``inputData``, and the documentation ``InputData``.

    Source: https://learn.microsoft.com/azure/machine-learning/how-to-access-data-batch-endpoints-jobs, "REST".
    """
    said: Json = _small(await call.properties())
    for member in ("inputData", "outputData"):
        if isinstance(given := said.get(member), dict):
            said[member] = {name: _small(one) for name, one in given.items()}
    for member in ("retrySettings", "compute"):
        said |= {member: _small(said[member])} if member in said else {}
    if wrong := "; ".join(faults(said, MEMBERS)):
        raise bad_request(f"The request body is wrong: {wrong:.1000}.")
    return said


def _small(said: Any) -> Any:
    """Write the names of an object's members with a small first letter."""
    return {name[:1].lower() + name[1:]: one for name, one in said.items()} if isinstance(said, dict) else said


def _target(call: Call) -> _Target:
    workspace, name = call.workspace, call.names["name"]
    endpoint = call.store.get(endpoint_id(workspace, name))
    if endpoint is None:
        raise no_endpoint(name, workspace.name)
    wanted = (
        call.request.headers.get("azureml-model-deployment") or endpoint["properties"]["defaults"]["deploymentName"]
    )
    if not wanted:
        raise bad_request(
            f"Endpoint {endpoint['name']} has no default deployment; name one in the header azureml-model-deployment."
        )
    deployment = call.store.get(f"{endpoint['id']}/deployments/{wanted}")
    if deployment is None:
        raise no_deployment(wanted, endpoint["name"])
    return _Target(
        endpoint=endpoint["name"],
        deployment=deployment["name"],
        properties=deployment["properties"],
        may_name_script=tuple(
            holder or {}
            for body in (deployment, endpoint)
            for holder in (body["tags"], body["properties"].get("properties"))
        ),
    )


def _pipeline_run(call: Call, target: _Target, asked: Mapping[str, Any]) -> Run:
    """Make the run of a pipeline component's deployment."""
    configuration = target.properties["deploymentConfiguration"]
    component_id = configuration["componentId"]["assetId"].removeprefix("azureml:")
    component = call.store.get(component_id)
    if component is None:
        raise bad_request(f"The component {component_id} of deployment {target.deployment} does not exist any more.")
    declared, settings = component["properties"]["componentSpec"], configuration.get("settings") or {}
    given = job_specs.normal_inputs(asked.get("inputData"))
    inputs = _inputs(target, given, declared=declared.get("inputs") or {})
    outputs = job_specs.normal_outputs(asked.get("outputData"))
    run = _run(call.workspace, target, asked, source=component["id"])
    literals = {name: one["value"] for name, one in inputs.items() if one["jobInputType"] == "literal"}
    own = {
        "azureml.parameters": json.dumps(literals, separators=(",", ":")),
        "azureml.continue_on_step_failure": str(settings.get("continue_on_step_failure", False)),
    }
    return attrs.evolve(
        run,
        spec={"jobType": "Pipeline", "componentId": component["id"], "settings": settings},
        properties=run.properties | own,
        # What the SDK tells a pipeline's batch job by; not recorded.
        tags=run.tags | {"azureml.jobtype": "azureml.pipelinejob"},
        inputs=inputs,
        outputs=_outputs(target, outputs, declared=declared.get("outputs") or {}),
    )


def _model_run(call: Call, target: _Target, asked: Mapping[str, Any]) -> Run:
    """Make the run of a model's deployment, which takes no properties from its invocation, nor an experiment.

    Source: learn.microsoft.com, how-to-access-data-batch-endpoints-jobs, "Configure job properties".
    """
    plan = scoring.plan(
        call.store,
        target.properties,
        asked,
        inputs=job_specs.normal_inputs(asked.get("inputData")),
        outputs=job_specs.normal_outputs(asked.get("outputData")),
    )
    taken = {key: value for key, value in asked.items() if key not in ("properties", "experimentName")}
    run = _run(call.workspace, target, taken, source=str(target.properties["model"]["assetId"]))
    return attrs.evolve(
        run,
        spec=plan.spec,
        properties=run.properties | {"azureml.parameters": json.dumps(plan.parameters, separators=(",", ":"))},
        tags=run.tags | plan.tags,
        inputs=plan.inputs,
        outputs=plan.outputs,
    )


def _run(workspace: WorkspaceName, target: _Target, asked: Mapping[str, Any], *, source: str) -> Run:
    """Make what the runs of all deployments have in common."""
    said = {key: job_specs.text(value) for key, value in (asked.get("properties") or {}).items()}
    own = {
        "azureml.pipelineid": guid("pipeline", source),
        "azureml.runsource": "azureml.PipelineRun",
        "runSource": "Unavailable",
        "runType": "HTTP",
        "azureml.continue_on_step_failure": "False",
        "azureml.continue_on_failed_optional_input": "False",
        "azureml.pipelineComponent": "pipelinerun",
    }
    tags = {key: job_specs.text(value) for key, value in (asked.get("tags") or {}).items()}
    return Run(
        workspace=workspace.arm_id,
        name=f"batchjob-{uuid.uuid4()}",
        kind="Pipeline",
        status="Preparing",
        display_name=str(asked.get("displayName") or job_name(8)),
        experiment=said.get("experimentName") or str(asked.get("experimentName") or target.endpoint),
        description=f"Pipeline submission for endpoint: {target.endpoint}, deployment: {target.deployment}.",
        properties=said | own,
        tags=tags | {"azureml.batchrun": "true", "azureml.deploymentname": target.deployment},
        endpoint=target.endpoint,
        deployment=target.deployment,
    )


def _inputs(target: _Target, given: dict[str, Json], *, declared: Json) -> dict[str, Json]:
    """Check what was given against what the component declares.

    Raises:
        WireError: 400 that names every input that is unknown, missing or of the wrong kind.
    """
    where = f"deployment {target.deployment} of endpoint {target.endpoint}"
    wrong = [f"{name} is no input of it" for name in given if name not in declared]
    for name, one in declared.items():
        wants_text = str(one.get("type", "")).lower() in LITERAL_TYPES
        if name not in given:
            if str(one.get("optional")).lower() != "true" and one.get("default") is None:
                wrong.append(f"{name} ({one.get('type')}) is missing")
        elif (given[name]["jobInputType"] == "literal") != wants_text:
            wrong.append(f"{name} is a {one.get('type')}, not a {given[name]['jobInputType']}")
    if wrong:
        known = ", ".join(declared) or "none"
        raise bad_request(f"The inputs do not fit {where}: {'; '.join(wrong)}. Its inputs are: {known}.")
    return given


def _outputs(target: _Target, given: dict[str, Json], *, declared: Json) -> dict[str, Json]:
    if unknown := [name for name in given if name not in declared]:
        known = ", ".join(declared) or "none"
        raise bad_request(
            f"Deployment {target.deployment} has no output {', '.join(unknown)}; its outputs are: {known}."
        )
    types = {name: {"jobOutputType": spec.get("type") or "uri_folder"} for name, spec in declared.items()}
    return job_specs.normal_outputs(types | given)


def _body(call: Call, run: Run) -> Json:
    """Show a run as a job of its endpoint."""
    endpoint = f"{run.workspace}/batchEndpoints/{run.endpoint}"
    interaction = {
        name: {"jobEndpointType": name, "port": None, "endpoint": one["endpoint"], "properties": None}
        for name, one in services(run, call.origin).items()
    }
    created, shown = run.created, run.spec.get("scoring") or {}
    return {
        "id": f"{endpoint}/deployments/{run.deployment}/jobs/{run.name}",
        "name": run.name,
        "type": _TYPE,
        "properties": {
            "provisioningState": "Succeeded",
            "inputData": {name: _pascal(one, "jobInputType") for name, one in run.inputs.items()},
            "outputData": {name: _pascal(one, "jobOutputType") for name, one in run.outputs.items()},
            "compute": _compute(shown.get("compute")),
            "output": {"datastoreId": None, "path": None},
            "retrySettings": shown.get("retrySettings"),
            "status": run.status,
            "interactionEndpoints": interaction,
            "tags": run.tags,
            "properties": run.properties,
            "experimentName": run.experiment,
            "name": run.display_name,
        },
        "systemData": {
            "createdAt": created,
            "createdBy": USER["createdBy"],
            "lastModifiedAt": run.ended or run.started or created,
            "lastModifiedBy": USER["createdBy"],
        },
    }


def _compute(target: str | None) -> Json | None:
    """Show a model's compute; recorded."""
    if target is None:
        return None
    return {"target": target, "isLocal": False} | dict.fromkeys(
        ("instanceCount", "location", "instanceType", "properties")
    )


def _pascal(one: Json, member: str) -> Json:
    return {"description": None} | one | {member: _PASCAL.get(one[member], one[member])}


async def get_job(call: Call) -> Response:
    """GET a job by its endpoint's address."""
    run = call.run(call.names["job"], no_job)
    if (run.endpoint or "").lower() != call.names["name"].lower():
        raise no_job(run.name)
    return JSONResponse(_body(call, run))


async def get_jobs(call: Call) -> Response:
    """GET the jobs that an endpoint started, newest first."""
    workspace, name = call.workspace, call.names["name"]
    if call.store.get(endpoint_id(workspace, name)) is None:
        raise no_endpoint(name, workspace.name)
    wanted = Wanted(endpoint=name, deployment=call.names.get("deployment", ""))
    page, link = call.jobs_page(wanted, size=_PAGE)
    return listing([_body(call, run) for run in page], link)

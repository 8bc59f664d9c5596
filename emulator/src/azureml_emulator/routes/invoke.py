"""Calling a batch endpoint, and the jobs that it started."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import attrs
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import control
from azureml_emulator.errors import Json, bad_request, no_job
from azureml_emulator.listings import Wanted
from azureml_emulator.names import PROVIDER, WorkspaceName, guid, job_name
from azureml_emulator.routes import experiments, job_specs
from azureml_emulator.routes.batch import endpoint_id, no_deployment, no_endpoint
from azureml_emulator.routes.calls import USER, WORKSPACE, Call, listing, route
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
    """What an invocation runs: a deployment, and the pipeline component in it."""

    endpoint: str
    deployment: str
    component_id: str
    settings: Json
    inputs: Json
    outputs: Json
    may_name_script: tuple[Json, ...]


async def invoke(call: Call) -> Response:
    """POST an invocation; two with the same repeatability id are two jobs, as in Azure."""
    target = _target(call)
    asked = await call.properties()
    run = _new_run(call.workspace, target, asked)
    experiments.ensure(call.store, call.workspace, run.experiment)
    script = control.chosen(call.services.control, run.properties, *target.may_name_script)
    if script:
        control.add_scripted(call.store, run, script)
        run = call.run(run.name, no_job)
    else:
        call.store.add_run(run)
        call.services.runner.submit(run)
    where = call.workspace.arm_id
    headers = {
        "azureml-model-deployment": target.deployment,
        "Location": f"{call.origin.api}/mferp/managementfrontend{where}/batchEndpoints/{target.endpoint}"
        f"/deployments/{target.deployment}?api-version={_DATA_PLANE_VERSION}",
    }
    return JSONResponse(_body(call, run), 201, headers)


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
    configuration = deployment["properties"]["deploymentConfiguration"]
    component_id = configuration["componentId"]["assetId"].removeprefix("azureml:")
    component = call.store.get(component_id)
    if component is None:
        raise bad_request(f"The component {component_id} of deployment {wanted} does not exist any more.")
    spec = component["properties"]["componentSpec"]
    return _Target(
        endpoint=endpoint["name"],
        deployment=deployment["name"],
        component_id=component["id"],
        settings=configuration.get("settings") or {},
        inputs=spec.get("inputs") or {},
        outputs=spec.get("outputs") or {},
        may_name_script=tuple(
            holder or {}
            for body in (deployment, endpoint)
            for holder in (body["tags"], body["properties"].get("properties"))
        ),
    )


def _new_run(workspace: WorkspaceName, target: _Target, asked: Mapping[str, Any]) -> Run:
    inputs = _inputs(target, job_specs.normal_inputs(asked.get("inputData")))
    outputs = _outputs(target, job_specs.normal_outputs(asked.get("outputData")))
    literals = {name: one["value"] for name, one in inputs.items() if one["jobInputType"] == "literal"}
    said = {key: job_specs.text(value) for key, value in (asked.get("properties") or {}).items()}
    own = {
        "azureml.pipelineid": guid("pipeline", target.component_id),
        "azureml.runsource": "azureml.PipelineRun",
        "runSource": "Unavailable",
        "runType": "HTTP",
        "azureml.parameters": json.dumps(literals, separators=(",", ":")),
        "azureml.continue_on_step_failure": str(target.settings.get("continue_on_step_failure", False)),
        "azureml.continue_on_failed_optional_input": "False",
        "azureml.pipelineComponent": "pipelinerun",
    }
    tags = {key: job_specs.text(value) for key, value in (asked.get("tags") or {}).items()}
    batch_tags = {
        "azureml.batchrun": "true",
        "azureml.deploymentname": target.deployment,
        "azureml.jobtype": "azureml.pipelinejob",  # what the SDK tells a pipeline's batch job by; not recorded
    }
    return Run(
        workspace=workspace.arm_id,
        name=f"batchjob-{uuid.uuid4()}",
        kind="Pipeline",
        status="Preparing",
        display_name=str(asked.get("displayName") or job_name(8)),
        experiment=said.get("experimentName") or str(asked.get("experimentName") or target.endpoint),
        description=f"Pipeline submission for endpoint: {target.endpoint}, deployment: {target.deployment}.",
        spec={"jobType": "Pipeline", "componentId": target.component_id, "settings": target.settings},
        properties=said | own,
        tags=tags | batch_tags,
        inputs=inputs,
        outputs=outputs,
        endpoint=target.endpoint,
        deployment=target.deployment,
    )


def _inputs(target: _Target, given: dict[str, Json]) -> dict[str, Json]:
    """Check what was given against what the component declares.

    Raises:
        WireError: 400 that names every input that is unknown, missing or of the wrong kind.
    """
    where = f"deployment {target.deployment} of endpoint {target.endpoint}"
    wrong = [f"{name} is no input of it" for name in given if name not in target.inputs]
    for name, declared in target.inputs.items():
        wants_text = str(declared.get("type", "")).lower() in LITERAL_TYPES
        if name not in given:
            if str(declared.get("optional")).lower() != "true" and declared.get("default") is None:
                wrong.append(f"{name} ({declared.get('type')}) is missing")
        elif (given[name]["jobInputType"] == "literal") != wants_text:
            wrong.append(f"{name} is a {declared.get('type')}, not a {given[name]['jobInputType']}")
    if wrong:
        known = ", ".join(target.inputs) or "none"
        raise bad_request(f"The inputs do not fit {where}: {'; '.join(wrong)}. Its inputs are: {known}.")
    return given


def _outputs(target: _Target, given: dict[str, Json]) -> dict[str, Json]:
    if unknown := [name for name in given if name not in target.outputs]:
        known = ", ".join(target.outputs) or "none"
        raise bad_request(
            f"Deployment {target.deployment} has no output {', '.join(unknown)}; its outputs are: {known}."
        )
    declared = {name: {"jobOutputType": spec.get("type") or "uri_folder"} for name, spec in target.outputs.items()}
    return job_specs.normal_outputs(declared | given)


def _body(call: Call, run: Run) -> Json:
    """Show a run as a job of its endpoint."""
    endpoint = f"{run.workspace}/batchEndpoints/{run.endpoint}"
    interaction = {
        name: {"jobEndpointType": name, "port": None, "endpoint": one["endpoint"], "properties": None}
        for name, one in services(run, call.origin).items()
    }
    created = run.created
    return {
        "id": f"{endpoint}/deployments/{run.deployment}/jobs/{run.name}",
        "name": run.name,
        "type": _TYPE,
        "properties": {
            "provisioningState": "Succeeded",
            "inputData": {name: _pascal(one, "jobInputType") for name, one in run.inputs.items()},
            "outputData": {name: _pascal(one, "jobOutputType") for name, one in run.outputs.items()},
            "compute": None,
            "output": {"datastoreId": None, "path": None},
            "retrySettings": None,
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

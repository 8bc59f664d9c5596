"""Pipelines published with SDK v1, and their endpoints; what runs them is in `published_runs`.

Names and shapes are those of azureml-pipeline-core 1.62, ``_restclients/aeva``; no answer of the service was recorded.
What is published here is a pipeline component: the emulator has a route of its own to publish one, for SDK v1's way
of doing so, a graph of modules, is not emulated.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError, bad_request, inner, not_emulated, service_error
from azureml_emulator.names import WorkspaceName, guid
from azureml_emulator.routes.calls import WORKSPACE, Call, new_guid, route
from azureml_emulator.steps import LITERAL_TYPES
from azureml_emulator.store import now

_ROOT = f"/pipelines/v1.0{WORKSPACE}"
_OURS = f"/emulator/published{WORKSPACE}"
#: v1's words for the types of components. Source: azureml-pipeline-core 1.62, ``_get_backend_param_type_code``.
_TYPES = {"integer": "Int", "number": "Double", "float": "Double", "boolean": "Bool"}
_PLACE = re.compile(r"azureml://datastores/([^/]+)/paths/(.*)", re.DOTALL)


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("POST", f"{_OURS}/Pipelines", publish),
        route("POST", f"{_OURS}/PipelineEndpoints", publish_version),
        route("GET", f"{_ROOT}/Pipelines", get_all),
        route("GET", f"{_ROOT}/Pipelines/{{id}}", get),
        route("GET", f"{_ROOT}/Graphs/{{id}}/Interface", get_interface),
        route("GET", f"{_ROOT}/PipelineEndpoints", get_endpoints),
        route("GET", f"{_ROOT}/PipelineEndpoints/Id/{{id}}", get_endpoint),
        route("GET", f"{_ROOT}/PipelineEndpoints/Name", get_endpoint_by_name),
    ]


async def publish(call: Call) -> Response:
    """POST a pipeline component to publish it; the same component under the same name is published once."""
    _refuse_azures_hosts(call)
    sent, workspace = await call.json(), call.workspace
    unknown = sorted(set(sent) - {"component", "name", "description"})
    if unknown or not isinstance(sent.get("component"), str):
        raise bad_request(f"Publish {{component, name, description}}; unknown: {', '.join(unknown) or 'none'}.")
    component_id = _component_id(workspace, sent["component"])
    component = call.store.get(component_id)
    spec = component["properties"]["componentSpec"] if component else {}
    if component is None or spec.get("type") != "pipeline":
        raise bad_request(f"{sent['component']} is no pipeline component of workspace {workspace.name}.")
    name = str(sent.get("name") or spec.get("name") or component["name"])
    made = guid("published", component["id"], name)
    kept = {
        "componentId": component["id"],
        "interface": _interface(spec),
        "entity": _entity(made, name, spec, description=sent.get("description")),
    }
    call.store.put(_pipeline_id(workspace, made), kept)
    return JSONResponse(_shown(call, kept))


def _refuse_azures_hosts(call: Call) -> None:
    """Azure has no such route: it is one of the plain http address alone."""
    if call.origin.real:
        raise not_emulated(call.request.method, call.request.url.path)


def _component_id(workspace: WorkspaceName, written: str) -> str:
    if written.startswith("/"):
        return written
    name, colon, version = written.removeprefix("azureml:").partition(":")
    if not name or not colon or not version:
        raise bad_request(f"{written!r} names no component: write NAME:VERSION.")
    return f"{workspace.arm_id}/components/{name}/versions/{version}"


def _interface(spec: Json) -> Json:
    """Write what a component declares as v1 would; what is no text is a DataPath, what is written to as well."""
    inputs, outputs = spec.get("inputs") or {}, spec.get("outputs") or {}
    if twice := sorted(inputs.keys() & outputs.keys()):
        raise bad_request(f"v1 tells inputs and outputs by name alone, and {', '.join(twice)} is both.")
    texts = {name: one for name, one in inputs.items() if _type(one) in LITERAL_TYPES}
    return {
        "Parameters": [
            _declared(name, one)
            | {
                "DefaultValue": None if one.get("default") is None else str(one["default"]),
                "MinMaxRules": None,
                "EnumRules": None,
                "Type": _TYPES.get(_type(one), "String"),
            }
            for name, one in texts.items()
        ],
        "DataPathParameters": [
            _declared(name, one)
            | {
                "DefaultValue": _data_path(one.get("default")),
                "DataTypeId": "AnyFile" if _type(one) == "uri_file" else "AnyDirectory",
            }
            for name, one in {**inputs, **{name: {**one, "optional": True} for name, one in outputs.items()}}.items()
            if name not in texts
        ],
        "DataPathParameterList": [],
        "MetadataParameters": [],
        "Ports": None,
    }


def _type(declared: Json) -> str:
    return str(declared.get("type") or "uri_folder").lower()


def _declared(name: str, one: Json) -> Json:
    optional = str(one.get("optional")).lower() == "true" or one.get("default") is not None
    return {"Name": name, "Documentation": one.get("description"), "IsOptional": optional}


def _data_path(uri: Any) -> Json | None:
    found = _PLACE.fullmatch(str(uri))
    return {"DataStoreName": found[1], "RelativePath": found[2]} if found else None


def _entity(pipeline_id: str, name: str, spec: Json, *, description: Any) -> Json:
    at = now()
    literals = {
        key: str(one["default"])
        for key, one in (spec.get("inputs") or {}).items()
        if _type(one) in LITERAL_TYPES and one.get("default") is not None
    }
    return {
        "Name": name,
        "Description": description or spec.get("description"),
        "Version": str(spec.get("version") or "1"),
        "GraphId": guid("graph", pipeline_id),
        "TotalRunSteps": len(spec.get("jobs") or {}),
        "ParameterAssignments": literals,
        "DataSetDefinitionValueAssignments": {},
        "ContinueRunOnStepFailure": False,
        "EnableNotification": False,
        "Properties": {},
        "EntityStatus": "Active",
        "Id": pipeline_id,
        "Etag": f'"{new_guid()}"',
        "CreatedDate": at,
        "LastModifiedDate": at,
    }


def _pipeline_id(workspace: WorkspaceName, pipeline: str) -> str:
    return f"{workspace.arm_id}/publishedPipelines/{pipeline}"


async def publish_version(call: Call) -> Response:
    """POST a published pipeline to an endpoint: it becomes its next version and, unless told otherwise, its default."""
    _refuse_azures_hosts(call)
    sent, workspace = await call.json(), call.workspace
    name, pipeline = str(sent.get("name") or ""), str(sent.get("pipelineId") or "")
    unknown = sorted(set(sent) - {"name", "pipelineId", "default"})
    if unknown or not name:
        raise bad_request(f"Publish {{name, pipelineId, default}}; unknown: {', '.join(unknown) or 'none'}.")
    stored(call, pipeline)
    endpoint = guid("pipeline endpoint", workspace.arm_id, name)
    arm_id = f"{workspace.arm_id}/pipelineEndpoints/{endpoint}"
    at = now()
    body = call.store.get(arm_id) or {
        "Name": name,
        "Description": None,
        "DefaultVersion": "0",
        "PipelineVersionList": [],
        "EntityStatus": "Active",
        "Properties": {},
        "tags": {},
        "SwaggerUrl": None,
        "Id": endpoint,
        "CreatedDate": at,
    }
    version = str(len(body["PipelineVersionList"]))
    body["PipelineVersionList"].append({"Version": version, "PipelineId": pipeline})
    if sent.get("default", True):
        body["DefaultVersion"] = version
    call.store.put(arm_id, body | {"Etag": f'"{new_guid()}"', "LastModifiedDate": at})
    return JSONResponse(_shown_endpoint(call, body))


def stored(call: Call, pipeline: str) -> Json:
    """Find a published pipeline.

    Raises:
        WireError: 404.
    """
    found = call.store.get(_pipeline_id(call.workspace, pipeline))
    if found is None:
        raise absent(f"Pipeline {pipeline} was not found in workspace {call.workspace.name}.")
    return found


def absent(message: str) -> WireError:
    """Answer that something of v1 is not there; how the service says it was not recorded."""
    body = service_error(message, inner_error=inner("NotFoundError"), component="pipelines")
    return WireError(404, body)


def _shown(call: Call, kept: Json) -> Json:
    entity: Json = kept["entity"]
    return entity | {"Url": f"{_runs_url(call)}/PipelineSubmit/{entity['Id']}"}


def _shown_endpoint(call: Call, body: Json) -> Json:
    return body | {"Url": f"{_runs_url(call)}/PipelineEndpointSubmit/Id/{body['Id']}"}


def _runs_url(call: Call) -> str:
    return f"{call.origin.api}/pipelines/v1.0{call.workspace.arm_id}/PipelineRuns"


async def get_all(call: Call) -> Response:
    """GET the published pipelines: a bare list."""
    found = call.store.children(f"{call.workspace.arm_id}/publishedPipelines")
    return JSONResponse([_shown(call, kept) for kept in found])


async def get(call: Call) -> Response:
    """GET a published pipeline."""
    return JSONResponse(_shown(call, stored(call, call.names["id"])))


async def get_interface(call: Call) -> Response:
    """GET the parameters of a graph, with their types."""
    for kept in call.store.children(f"{call.workspace.arm_id}/publishedPipelines"):
        if kept["entity"]["GraphId"] == call.names["id"]:
            return JSONResponse(kept["interface"])
    raise absent(f"Graph {call.names['id']} was not found.")


def _endpoints(call: Call) -> list[Json]:
    return call.store.children(f"{call.workspace.arm_id}/pipelineEndpoints")


async def get_endpoints(call: Call) -> Response:
    """GET the pipeline endpoints: a bare list."""
    return JSONResponse([_shown_endpoint(call, body) for body in _endpoints(call)])


def endpoint_of(call: Call) -> Json:
    """Find the pipeline endpoint of the path, by its id.

    Raises:
        WireError: 404.
    """
    for body in _endpoints(call):
        if body["Id"] == call.names["id"]:
            return body
    raise absent(f"Pipeline endpoint {call.names['id']} was not found.")


async def get_endpoint(call: Call) -> Response:
    """GET a pipeline endpoint by its id."""
    return JSONResponse(_shown_endpoint(call, endpoint_of(call)))


async def get_endpoint_by_name(call: Call) -> Response:
    """GET a pipeline endpoint by its name."""
    name = {key.lower(): value for key, value in call.query.items()}.get("name", "")
    for body in _endpoints(call):
        if body["Name"] == name:
            return JSONResponse(_shown_endpoint(call, body))
    raise absent(f"Pipeline endpoint {name} was not found.")

"""Long-running operations: they have ended when somebody asks, but for cancelling a job and for online deployments."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import online_operations
from azureml_emulator.errors import WireError, refusal
from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.routes.calls import LOCATION, Call, route
from azureml_emulator.store import now

RETRY_AFTER_S = 1


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", f"{LOCATION}/mfeOperationsStatus/{{operation}}", status),
        route("GET", f"{LOCATION}/mfeOperationResults/{{operation}}", result),
        route("GET", f"{LOCATION}/computeOperationsStatus/{{operation}}", compute_status),
    ]


async def status(call: Call) -> Response:
    """GET how the operation of an endpoint, a deployment or a schedule goes."""
    path = call.request.url.path
    name = call.names["operation"]
    kind = name.partition(":")[0]
    if kind == "s":  # recorded: a schedule's says Results, and when it began and ended
        ended = now()
        at = {"startTime": ended, "endTime": f"{ended[:19]}+00:00"}
        return JSONResponse(
            {"id": path.replace("OperationsStatus/", "OperationResults/"), "name": name, "status": "Succeeded", **at}
        )
    if kind in online_operations.KINDS:
        found = online_operations.find(call.store, name)
        if found is None:
            raise _unknown(name)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if "endTime" not in found else {}
        return JSONResponse({"id": path} | found, headers=headers)
    if kind not in {"bebes", "bdbes"}:
        raise _unknown(name)
    return JSONResponse({"id": path, "name": name, "status": "Succeeded"})


async def compute_status(call: Call) -> Response:
    """GET how a compute's operation goes."""
    del call
    return JSONResponse({"status": "Succeeded", "percentComplete": 100.0})


async def result(call: Call) -> Response:
    """GET whether a cancellation is done: 202 while the job's processes still end, then an empty 200."""
    kind, _, rest = call.names["operation"].partition(":")
    if kind in {"bebes", "bdbes", "s", "jd", *online_operations.KINDS}:
        return Response(status_code=200)
    workspace_guid, _, job = rest.partition(":")
    workspace = _workspace(call, workspace_guid)
    run = call.store.run(workspace.arm_id, job) if workspace and kind == "jc" else None
    if run is None:
        raise _unknown(call.names["operation"])
    if run.is_final:
        return Response(status_code=200)
    return JSONResponse({}, 202, {"Location": call.url, "Retry-After": str(RETRY_AFTER_S)})


def _workspace(call: Call, guid: str) -> WorkspaceName | None:
    names = (WorkspaceName.of_arm_id(body["id"]) for body in call.store.of_type(f"{PROVIDER}/workspaces"))
    return next((name for name in names if name.guid == guid), None)


def _unknown(name: str) -> WireError:
    return refusal(404, f"The operation {name} was not found.", inner_codes=("NotFound",))

"""MLflow's tracking API, as far as experiments go.

An experiment is a name here, which jobs carry: it is never renamed, and one that is deleted is archived with its runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError
from azureml_emulator.routes import experiments, job_specs
from azureml_emulator.routes.calls import Call, route
from azureml_emulator.routes.mlflow_search import FilterError, ordered, selected
from azureml_emulator.routes.mlflow_wire import ROOTS, absent, invalid, millis, needed, paged, pairs, refusal, tag_list

_PAGE = 1000
#: Whether what is archived is wanted, by the view that a client asks for.
_STAGES = {
    "ACTIVE_ONLY": frozenset({False}),
    "DELETED_ONLY": frozenset({True}),
    "ALL": frozenset({False, True}),
}


def routes() -> list[Route]:
    """List the routes of this module, under both versions of the data plane's path."""
    handlers: list[tuple[str, str, Callable[[Call], Awaitable[Response]]]] = [
        ("GET", "experiments/get", get),
        ("GET", "experiments/get-by-name", get_by_name),
        ("POST", "experiments/create", create),
        ("POST", "experiments/search", search),
        ("GET", "experiments/search", search),
        ("POST", "experiments/set-experiment-tag", set_tag),
        ("POST", "experiments/delete-experiment-tag", delete_tag),
        ("POST", "experiments/update", rename),
        ("POST", "experiments/delete", delete),
        ("POST", "experiments/restore", restore),
    ]
    return [route(method, f"{root}/{path}", handler) for root in ROOTS for method, path, handler in handlers]


def stages_of(view: Any) -> frozenset[bool]:
    """Read which view of runs or experiments is wanted: whether what is archived is, and what is not.

    Raises:
        WireError: 400 when there is no such view.
    """
    word = str(view or "ACTIVE_ONLY")
    if word not in _STAGES:
        raise invalid(f"There is no view {word}; write {', '.join(_STAGES)}.")
    return _STAGES[word]


def no_experiment(name: str) -> WireError:
    """The answer for an experiment that is not there."""
    return absent(f"Experiment {name} was not found.")


def _shown(experiment: Json) -> Json:
    made = millis(experiment["created"])
    return {
        "experiment_id": experiment["id"],
        "name": experiment["name"],
        "artifact_location": "",
        "lifecycle_stage": "deleted" if experiment.get("archived") else "active",
        "last_update_time": made,
        "creation_time": made,
        "tags": tag_list(experiment["tags"]),
    }


def _asked(call: Call, said: Any) -> Json:
    """Find the experiment that a body or a query names; 0 is the one called Default."""
    workspace, wanted = call.workspace, needed(said, "experiment_id")
    if wanted == "0":
        return experiments.ensure(call.store, workspace, "Default")
    found = experiments.by_id(call.store, workspace, wanted)
    if found is None:
        raise no_experiment(wanted)
    return found


def _keep(call: Call, experiment: Json, **changes: Any) -> Response:
    call.store.put(f"{call.workspace.arm_id}/experiments/{experiment['id']}", experiment | changes)
    return JSONResponse({})


async def get(call: Call) -> Response:
    """GET an experiment by its id."""
    return JSONResponse({"experiment": _shown(_asked(call, call.query))})


async def get_by_name(call: Call) -> Response:
    """GET an experiment by its name."""
    workspace, name = call.workspace, call.query.get("experiment_name", "")
    found = experiments.by_id(call.store, workspace, experiments.experiment_id(workspace, name))
    if found is None:
        raise no_experiment(name)
    return JSONResponse({"experiment": _shown(found)})


async def create(call: Call) -> Response:
    """POST an experiment."""
    said, workspace = await call.json(), call.workspace
    name = str(said.get("name") or "")
    if not name:
        raise invalid("The experiment has no name.")
    if experiments.by_id(call.store, workspace, experiments.experiment_id(workspace, name)):
        raise refusal(400, "RESOURCE_ALREADY_EXISTS", f"Experiment {name} exists already.")
    made = experiments.ensure(call.store, workspace, name)
    _keep(call, made, tags=pairs(said, "tags"))
    return JSONResponse({"experiment_id": made["id"]})


async def search(call: Call) -> Response:
    """GET or POST for the experiments that meet a filter, newest first unless asked otherwise."""
    said = call.query if call.request.method == "GET" else await call.json()
    stages = stages_of(said.get("view_type"))
    found = call.store.children(f"{call.workspace.arm_id}/experiments")[::-1]
    entries = [_searchable(one) for one in found if bool(one.get("archived")) in stages]
    given = call.request.query_params.getlist("order_by") if call.request.method == "GET" else said.get("order_by")
    try:
        entries = selected(entries, str(said.get("filter") or ""))
        entries = ordered(entries, [str(one) for one in given or []])
    except FilterError as error:
        raise invalid(str(error)) from error
    page, more = paged([one["shown"] for one in entries], said, size=_PAGE)
    return JSONResponse({"experiments": page, **more})


def _searchable(experiment: Json) -> Json:
    """Put an experiment into the shape that the search language is about."""
    shown = _shown(experiment)
    return {"shown": shown, "info": shown, "data": {"tags": shown["tags"], "metrics": [], "params": []}}


async def set_tag(call: Call) -> Response:
    """POST a tag."""
    said = await call.json()
    found = _asked(call, said)
    return _keep(call, found, tags=found["tags"] | {needed(said, "key"): job_specs.text(said.get("value", ""))})


async def delete_tag(call: Call) -> Response:
    """POST that a tag goes."""
    said = await call.json()
    found, key = _asked(call, said), needed(said, "key")
    if key not in found["tags"]:
        raise absent(f"Experiment {found['name']} has no tag {key}.")
    return _keep(call, found, tags={name: value for name, value in found["tags"].items() if name != key})


async def rename(call: Call) -> Response:
    """POST an experiment's new name, which it never gets."""
    found = _asked(call, await call.json())
    raise refusal(501, "NOT_IMPLEMENTED", f"Renaming experiment {found['name']} is not emulated: jobs carry its name.")


async def delete(call: Call) -> Response:
    """POST that an experiment goes; it is archived with its runs."""
    return _archive(call, _asked(call, await call.json()), is_archived=True)


async def restore(call: Call) -> Response:
    """POST that an experiment is back, with its runs."""
    return _archive(call, _asked(call, await call.json()), is_archived=False)


def _archive(call: Call, experiment: Json, *, is_archived: bool) -> Response:
    for run in call.store.runs(call.workspace.arm_id):
        if run.experiment == experiment["name"]:
            call.store.change_run(run.workspace, run.name, spec=run.spec | {"isArchived": is_archived})
    return _keep(call, experiment, archived=is_archived)

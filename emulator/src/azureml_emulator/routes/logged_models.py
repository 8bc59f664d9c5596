"""MLflow 3's logged models: a record of its own for each model that code logs, with its files.

The tracking servers of workspaces did not know them in spring 2026: they answered a client of MLflow 3 with 404 for
``logged-models`` (https://github.com/Azure/azure-sdk-for-python/issues/44896). A client of MLflow 2 asks for none.

The files of a model that a run logs lie among the artifacts of that run, below the model's name, as MLflow 2 puts them:
so ``runs:/RUN/NAME`` and ``azureml://jobs/RUN/outputs/artifacts/paths/NAME`` find them too. Of a second model of that
name in the run, they lie below name and id.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.clock import CLOCK
from azureml_emulator.errors import Json
from azureml_emulator.names import WorkspaceName
from azureml_emulator.routes import artifacts, experiments
from azureml_emulator.routes.calls import Call, route
from azureml_emulator.routes.mlflow_search import FilterError, ordered, selected
from azureml_emulator.routes.mlflow_wire import ROOTS, absent, invalid, items, needed, paged, pairs, tag_list
from azureml_emulator.store import Metric, Store

_STATUSES = ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED")
_PAGE = 100


def routes() -> list[Route]:
    """List the routes of this module, under both versions of the data plane's path."""
    one = "logged-models/{model}"
    handlers: list[tuple[str, str, Callable[[Call], Awaitable[Response]]]] = [
        ("POST", "logged-models", create),
        ("POST", "logged-models/search", search),
        ("GET", one, get),
        ("PATCH", one, finalize),
        ("DELETE", one, delete),
        ("POST", f"{one}/params", log_params),
        ("PATCH", f"{one}/tags", set_tags),
        ("DELETE", f"{one}/tags/{{key}}", delete_tag),
    ]
    return [route(method, f"{root}/{path}", handler) for root in ROOTS for method, path, handler in handlers]


def _id(workspace: WorkspaceName, model: str) -> str:
    return f"{workspace.arm_id}/loggedModels/{model}"


def find(store: Store, workspace: WorkspaceName, model: str) -> Json | None:
    """Find a logged model by its id."""
    return store.get(_id(workspace, model)) if model else None


def folder_of(found: Json) -> tuple[str, str]:
    """Say where the files of a model are: below which run's artifacts (empty for none), and the path there."""
    return str(found["run"]), str(found["path"])


def note_metric(store: Store, workspace: WorkspaceName, model: str, *, run: str, metric: Metric) -> None:
    """Keep a metric that was logged about a model; of a model that is not there, nothing is kept."""
    if (found := find(store, workspace, model)) is not None:
        point = {"key": metric.key, "value": metric.value, "timestamp": metric.timestamp_ms, "step": metric.step}
        _keep(store, found, metrics=[*found["metrics"], point | {"model_id": model, "run_id": run}])


def _asked(call: Call) -> Json:
    model = call.names["model"]
    found = find(call.store, call.workspace, model)
    if found is None or found["deleted"]:
        raise absent(f"Logged model with ID '{model}' not found.")
    return found


def _keep(store: Store, found: Json, **changes: Any) -> Json:
    changed = found | {"changed": _now()} | changes
    store.put(changed["id"], changed)
    return changed


def _now() -> int:
    return int(CLOCK.now_s() * 1000)


def _shown(call: Call, found: Json) -> Json:
    info = {
        "model_id": found["name"],
        "experiment_id": found["experiment_id"],
        "name": found["title"],
        "creation_timestamp_ms": found["created"],
        "last_updated_timestamp_ms": found["changed"],
        "artifact_uri": _address(call, found),
        "status": found["status"],
        "model_type": found["model_type"],
        "source_run_id": found["run"],
        "tags": tag_list(found["tags"]),
    }
    return {"info": info, "data": {"params": tag_list(found["params"]), "metrics": found["metrics"]}}


def _address(call: Call, found: Json) -> str:
    """Write where the files are, as the client that asks can follow it: see `routes.artifacts`."""
    run, path = folder_of(found)
    if run:
        root = artifacts.run_address(call, call.run(run, lambda name: absent(f"Run {name} was not found.")))
        return f"{root}/{path if call.origin.real else quote(path)}"
    if call.origin.real:
        return f"azureml://artifacts/{artifacts.UPLOADS}/{found['name']}/{path}"
    return f"mlflow-artifacts:/uploads/{found['name']}/{quote(path)}"


def _answer(call: Call, found: Json) -> Response:
    return JSONResponse({"model": _shown(call, found)})


async def create(call: Call) -> Response:
    """POST a model, whose files come later."""
    said, workspace = await call.json(), call.workspace
    run, wanted = str(said.get("source_run_id") or ""), needed(said, "experiment_id")
    if run:
        call.run(run, lambda name: absent(f"Run {name} was not found."))
    if wanted != "0" and experiments.by_id(call.store, workspace, wanted) is None:
        raise absent(f"Experiment {wanted} was not found.")
    model = f"m-{uuid.uuid4().hex}"
    title = str(said.get("name") or model)
    created = _now()
    found = {
        "id": _id(workspace, model),
        "name": model,
        "title": title,
        "experiment_id": wanted,
        "run": run,
        "path": _free_path(call, run, artifacts.safe(title), model),
        "status": _STATUSES[0],
        "model_type": str(said.get("model_type") or ""),
        "tags": pairs(said, "tags"),
        "params": pairs(said, "params"),
        "metrics": [],
        "created": created,
        "deleted": False,
    }
    return _answer(call, _keep(call.store, found))


def _free_path(call: Call, run: str, title: str, model: str) -> str:
    taken = {one["path"] for one in _all(call) if one["run"] == run} if run else set()
    return f"{title}-{model}" if title in taken else title


def _all(call: Call) -> list[Json]:
    return call.store.children(f"{call.workspace.arm_id}/loggedModels")


async def get(call: Call) -> Response:
    """GET a model; one that was deleted where it is asked for."""
    if call.query.get("allow_deleted", "").lower() == "true":
        found = find(call.store, call.workspace, call.names["model"])
        if found is not None:
            return _answer(call, found)
    return _answer(call, _asked(call))


async def finalize(call: Call) -> Response:
    """PATCH whether all of a model is there."""
    said, found = await call.json(), _asked(call)
    status = needed(said, "status")
    if status not in _STATUSES[1:]:
        raise invalid(f"A logged model becomes {' or '.join(_STATUSES[1:])}, not {status}.")
    return _answer(call, _keep(call.store, found, status=status))


async def delete(call: Call) -> Response:
    """DELETE a model; its files stay."""
    _keep(call.store, _asked(call), deleted=True)
    return JSONResponse({})


async def log_params(call: Call) -> Response:
    """POST parameters of a model."""
    said, found = await call.json(), _asked(call)
    _keep(call.store, found, params=found["params"] | pairs(said, "params"))
    return JSONResponse({})


async def set_tags(call: Call) -> Response:
    """PATCH tags of a model: others that it has stay."""
    said, found = await call.json(), _asked(call)
    return _answer(call, _keep(call.store, found, tags=found["tags"] | pairs(said, "tags")))


async def delete_tag(call: Call) -> Response:
    """DELETE a tag of a model."""
    found, key = _asked(call), call.names["key"]
    if key not in found["tags"]:
        raise absent(f"Logged model {found['name']} has no tag {key}.")
    _keep(call.store, found, tags={name: value for name, value in found["tags"].items() if name != key})
    return JSONResponse({})


async def search(call: Call) -> Response:
    """POST for the models of some experiments that meet a filter, newest first unless asked otherwise."""
    said = await call.json()
    if said.get("datasets"):
        raise invalid("Searching logged models by dataset is not emulated.")
    wanted = {str(one) for one in said.get("experiment_ids") or []}
    kept = [one for one in _all(call)[::-1] if not one["deleted"] and one["experiment_id"] in wanted]
    orders = [_order(one) for one in items(said, "order_by")]
    try:
        entries = selected([_searchable(call, one) for one in kept], str(said.get("filter") or ""))
        entries = ordered(entries, orders)
    except FilterError as error:
        raise invalid(str(error)) from error
    page, more = paged([one["shown"] for one in entries], said, size=_PAGE)
    return JSONResponse({"models": page, **more})


def _order(said: Json) -> str:
    return f"{needed(said, 'field_name')} {'ASC' if said.get('ascending', True) else 'DESC'}"


def _searchable(call: Call, found: Json) -> Json:
    """Put a model into the shape that the search language is about."""
    shown = _shown(call, found)
    info, data = shown["info"], shown["data"]
    times = {
        **dict.fromkeys(("creation_timestamp", "creation_time"), found["created"]),
        **dict.fromkeys(("last_updated_timestamp", "last_updated_time"), found["changed"]),
    }
    told = {**info, **times, "status": found["status"].removeprefix("LOGGED_MODEL_")}
    return {"shown": shown, "info": told, "data": data | {"tags": info["tags"]}}

"""What MLflow's runs are made from and what they made: datasets and logged models."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json
from azureml_emulator.routes.calls import Call, route
from azureml_emulator.routes.mlflow_wire import ROOTS, absent, invalid, items, needed
from azureml_emulator.store import Run, Store

#: The tag in which MLflow 2 keeps the models that a run has logged.
_HISTORY = "mlflow.log-model.history"


def routes() -> list[Route]:
    """List the routes of this module, under both versions of the data plane's path."""
    handlers: list[tuple[str, str, Callable[[Call], Awaitable[Response]]]] = [
        ("POST", "runs/log-inputs", log_inputs),
        ("POST", "runs/outputs", log_outputs),
        ("POST", "runs/log-model", log_model),
    ]
    return [route(method, f"{root}/{path}", handler) for root in ROOTS for method, path, handler in handlers]


def _id(run: Run) -> str:
    return f"{run.workspace}/mlflowRuns/{run.name}"


def shown(store: Store, run: Run) -> Json:
    """Show what a run is made from and what it made, as two members of it."""
    kept = store.get(_id(run)) or {}
    inputs = {"dataset_inputs": kept.get("datasets", []), "model_inputs": kept.get("inputs", [])}
    return {"inputs": inputs, "outputs": {"model_outputs": kept.get("outputs", [])}}


def _asked(call: Call, said: Any) -> Run:
    return call.run(needed(said, "run_id"), lambda name: absent(f"Run {name} was not found."))


def _add(call: Call, run: Run, **more: list[Json]) -> Response:
    """Add to what is kept of a run; what is there already is not there twice."""
    kept = call.store.get(_id(run)) or {}
    for member, found in more.items():
        known = kept.get(member, [])
        kept = kept | {member: known + [one for one in found if one not in known]}
    call.store.put(_id(run), kept)
    return JSONResponse({})


async def log_inputs(call: Call) -> Response:
    """POST datasets and logged models that a run was made from."""
    said = await call.json()
    run, datasets = _asked(call, said), items(said, "datasets")
    for one in datasets:
        if not isinstance(one.get("dataset"), dict):
            raise invalid("One of 'datasets' has no dataset.")
        for member in ("name", "digest", "source_type", "source"):
            needed(one["dataset"], member)
    models = [{"model_id": needed(one, "model_id")} for one in items(said, "models")]
    return _add(call, run, datasets=datasets, inputs=models)


async def log_outputs(call: Call) -> Response:
    """POST logged models that a run made."""
    said = await call.json()
    run = _asked(call, said)
    models = [{"model_id": needed(one, "model_id"), "step": one.get("step", 0)} for one in items(said, "models")]
    return _add(call, run, outputs=models)


async def log_model(call: Call) -> Response:
    """POST what MLflow 2 says of a model whose files a run has logged."""
    said = await call.json()
    run = _asked(call, said)
    try:
        model = json.loads(needed(said, "model_json"))
        known = json.loads(run.tags.get(_HISTORY, "[]"))
    except ValueError as error:
        raise invalid(f"'model_json' is no JSON: {error}.") from error
    call.store.change_run(run.workspace, run.name, tags=run.tags | {_HISTORY: json.dumps([*known, model])})
    return JSONResponse({})

"""MLflow's model registry, on the models that Azure Resource Manager shows.

What one of them registers, tags, describes or stages, the other sees. Of what MLflow can do, Azure ML does not rename
registered models, nor delete one with all its versions, and takes nothing from other workspaces or registries this way
(https://learn.microsoft.com/azure/machine-learning/how-to-manage-models-mlflow). Aliases are MLflow's alone; whether
Azure ML keeps them is not documented.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError
from azureml_emulator.names import WorkspaceName
from azureml_emulator.routes import model_records as records
from azureml_emulator.routes.calls import Call, route
from azureml_emulator.routes.mlflow_search import FilterError, ordered, selected
from azureml_emulator.routes.mlflow_wire import ROOTS, absent, invalid, millis, needed, paged, pairs, refusal, tag_list
from azureml_emulator.routes.model_records import Models

_MODELS_PAGE, _VERSIONS_PAGE = 100, 10_000


def routes() -> list[Route]:
    """List the routes of this module, under both versions of the data plane's path."""
    handlers: list[tuple[str, str, Callable[[Call], Awaitable[Response]]]] = [
        ("POST", "registered-models/create", create_model),
        ("GET", "registered-models/get", get_model),
        ("PATCH", "registered-models/update", update_model),
        ("POST", "registered-models/rename", rename_model),
        ("DELETE", "registered-models/delete", delete_model),
        ("GET", "registered-models/search", search_models),
        ("GET", "registered-models/get-latest-versions", get_latest_versions),
        ("POST", "registered-models/get-latest-versions", get_latest_versions),
        ("POST", "registered-models/set-tag", set_model_tag),
        ("DELETE", "registered-models/delete-tag", delete_model_tag),
        ("POST", "registered-models/alias", set_alias),
        ("DELETE", "registered-models/alias", delete_alias),
        ("GET", "registered-models/alias", get_by_alias),
        ("POST", "model-versions/create", create_version),
        ("GET", "model-versions/get", get_version),
        ("PATCH", "model-versions/update", update_version),
        ("POST", "model-versions/transition-stage", transition),
        ("DELETE", "model-versions/delete", delete_version),
        ("GET", "model-versions/search", search_versions),
        ("GET", "model-versions/get-download-uri", get_download_uri),
        ("POST", "model-versions/set-tag", set_version_tag),
        ("DELETE", "model-versions/delete-tag", delete_version_tag),
    ]
    return [route(method, f"{root}/{path}", handler) for root in ROOTS for method, path, handler in handlers]


def _no_model(name: str) -> WireError:
    return absent(f"Registered Model with name={name} not found")


def _models(call: Call) -> Models:
    return Models(call.store, call.workspace)


def _model(models: Models, said: Any) -> Json:
    """Find the registered model that a body or a query names."""
    name = needed(said, "name")
    found = models.container(name)
    if found is None:
        raise _no_model(name)
    return found


def _version(models: Models, said: Any) -> Json:
    """Find the version that a body or a query names."""
    name, version = needed(said, "name"), needed(said, "version")
    found = models.version(name, version)
    if found is None:
        raise absent(f"Model Version (name={name}, version={version}) not found")
    return found


async def _said(call: Call) -> Any:
    """What a request says: in its query when it is a GET, in its body else."""
    return call.query if call.request.method == "GET" else await call.json()


# as MLflow shows them


def _times(body: Json) -> Json:
    data = body["systemData"]
    return {
        "creation_timestamp": millis(data.get("createdAt")),
        "last_updated_timestamp": millis(data.get("lastModifiedAt")),
        "user_id": data.get("createdBy") or "",
    }


def _shown_model(call: Call, models: Models, body: Json) -> Json:
    name, properties = body["name"], body["properties"]
    return {
        "name": name,
        **_times(body),
        "description": properties["description"] or "",
        "latest_versions": [_shown(call, models, one) for one in models.latest(name)],
        "tags": tag_list(properties["tags"]),
        "aliases": [{"alias": alias, "version": version} for alias, version in models.aliases(name).items()],
    }


def _shown(call: Call, models: Models, body: Json) -> Json:
    name, version, properties = records.name_of(body), body["name"], body["properties"]
    return {
        "name": name,
        "version": version,
        **_times(body),
        "current_stage": properties["stage"] or records.NO_STAGE,
        "description": properties["description"] or "",
        "source": records.address(call, body),
        "run_id": properties["jobName"] or "",
        "status": "READY",
        "status_message": "",
        "tags": tag_list(properties["tags"]),
        "run_link": "",
        "aliases": [alias for alias, of in models.aliases(name).items() if of == version],
    }


def _answer(call: Call, models: Models, body: Json) -> Response:
    return JSONResponse({"model_version": _shown(call, models, body)})


# registered models


async def create_model(call: Call) -> Response:
    """POST a registered model."""
    said = await call.json()
    models, name = _models(call), _name(said)
    if models.container(name) is not None:
        raise refusal(400, "RESOURCE_ALREADY_EXISTS", f"Registered Model (name={name}) already exists.")
    body = models.create(name, description=str(said.get("description") or ""), tags=pairs(said, "tags"))
    return JSONResponse({"registered_model": _shown_model(call, models, body)})


def _name(said: Json) -> str:
    name = needed(said, "name")
    if not records.NAME.fullmatch(name):
        raise invalid(
            f"{name!r} is no name of a model: up to 255 letters, digits, '_', '-' and '.', a letter or digit first."
        )
    return name


async def get_model(call: Call) -> Response:
    """GET a registered model."""
    models = _models(call)
    return JSONResponse({"registered_model": _shown_model(call, models, _model(models, call.query))})


async def update_model(call: Call) -> Response:
    """PATCH a registered model's description."""
    said, models = await call.json(), _models(call)
    body = models.change(_model(models, said), description=str(said.get("description") or ""))
    return JSONResponse({"registered_model": _shown_model(call, models, body)})


async def rename_model(call: Call) -> Response:
    """POST a registered model's new name, which it never gets."""
    _model(_models(call), await call.json())
    raise refusal(400, "INVALID_PARAMETER_VALUE", "Renaming registered models is not supported by Azure ML.")


async def delete_model(call: Call) -> Response:
    """DELETE a registered model, which stays."""
    _model(_models(call), await call.json())
    message = (
        "Deleting a registered model with its versions is not supported by Azure ML; delete or archive its versions."
    )
    raise refusal(400, "INVALID_PARAMETER_VALUE", message)


async def search_models(call: Call) -> Response:
    """GET the registered models that meet a filter, by name unless asked otherwise."""
    models = _models(call)
    shown = [_shown_model(call, models, body) for body in models.containers()]
    page, more = _found(call, sorted(shown, key=lambda one: str(one["name"])), size=_MODELS_PAGE)
    return JSONResponse({"registered_models": page, **more})


async def get_latest_versions(call: Call) -> Response:
    """GET or POST for the latest version of each stage."""
    said, models = await _said(call), _models(call)
    name = _model(models, said)["name"]
    given = said.getlist("stages") if call.request.method == "GET" else said.get("stages") or []
    if not isinstance(given, list):
        raise invalid("'stages' is no list.")
    wanted = {_stage(one) for one in given}
    found = [one for one in models.latest(name) if not wanted or one["properties"]["stage"] in wanted]
    return JSONResponse({"model_versions": [_shown(call, models, one) for one in found]})


def _found(call: Call, shown: list[Json], *, size: int) -> tuple[list[Json], Json]:
    """Filter, order and cut what is shown, as the query says."""
    entries = [_searchable(one) for one in shown]
    try:
        kept = ordered(selected(entries, call.query.get("filter") or ""), call.request.query_params.getlist("order_by"))
    except FilterError as error:
        raise invalid(str(error)) from error
    return paged([one["shown"] for one in kept], call.query, size=size)


def _searchable(shown: Json) -> Json:
    """Put what is shown into the shape that the search language is about."""
    version = str(shown.get("version", ""))
    number = {"version_number": int(version) if version.isdecimal() else None} if version else {}
    info = shown | number | ({"source_path": shown["source"]} if "source" in shown else {})
    return {"shown": shown, "info": info, "data": {"tags": shown["tags"], "metrics": [], "params": []}}


# their tags and aliases


async def set_model_tag(call: Call) -> Response:
    """POST a tag of a registered model."""
    said, models = await call.json(), _models(call)
    return _tagged(models, _model(models, said), needed(said, "key"), str(said.get("value", "")))


async def delete_model_tag(call: Call) -> Response:
    """DELETE a tag of a registered model; one that is not there is gone already."""
    said, models = await call.json(), _models(call)
    return _tagged(models, _model(models, said), needed(said, "key"), None)


async def set_version_tag(call: Call) -> Response:
    """POST a tag of a version."""
    said, models = await call.json(), _models(call)
    return _tagged(models, _version(models, said), needed(said, "key"), str(said.get("value", "")))


async def delete_version_tag(call: Call) -> Response:
    """DELETE a tag of a version; one that is not there is gone already."""
    said, models = await call.json(), _models(call)
    return _tagged(models, _version(models, said), needed(said, "key"), None)


def _tagged(models: Models, body: Json, key: str, value: str | None) -> Response:
    tags = {name: kept for name, kept in body["properties"]["tags"].items() if name != key}
    models.change(body, tags=tags if value is None else tags | {key: value})
    return JSONResponse({})


async def set_alias(call: Call) -> Response:
    """POST which version an alias means; it means that one alone from then on."""
    said, models = await call.json(), _models(call)
    version, alias = _version(models, said), needed(said, "alias")
    models.set_alias(records.name_of(version), alias, version["name"])
    return JSONResponse({})


async def delete_alias(call: Call) -> Response:
    """DELETE an alias; one that is not there is gone already."""
    said, models = await call.json(), _models(call)
    models.set_alias(_model(models, said)["name"], needed(said, "alias"), None)
    return JSONResponse({})


async def get_by_alias(call: Call) -> Response:
    """GET the version that an alias means."""
    models, alias = _models(call), needed(call.query, "alias")
    name = _model(models, call.query)["name"]
    version = models.version(name, models.aliases(name).get(alias, ""))
    if version is None:
        raise absent(f"Registered model alias {alias} not found.")
    return _answer(call, models, version)


# versions


async def create_version(call: Call) -> Response:
    """POST a version of a registered model, from a run's artifacts, another model, or where else its files are."""
    said, models = await call.json(), _models(call)
    name, source, run = _model(models, said)["name"], needed(said, "source"), str(said.get("run_id") or "")
    workspace: WorkspaceName = call.workspace
    if run and call.store.run(workspace.arm_id, run) is None:
        raise absent(f"Run {run} was not found.")
    uri, job = records.source(call, source)
    body = models.add(
        name, uri=uri, job=run or job, description=str(said.get("description") or ""), tags=pairs(said, "tags")
    )
    return _answer(call, models, body)


async def get_version(call: Call) -> Response:
    """GET a version."""
    models = _models(call)
    return _answer(call, models, _version(models, call.query))


async def update_version(call: Call) -> Response:
    """PATCH a version's description."""
    said, models = await call.json(), _models(call)
    body = models.change(_version(models, said), description=str(said.get("description") or ""))
    return _answer(call, models, body)


def _stage(said: Any) -> str | None:
    """Read a stage, in whatever case; None for the one that is called None.

    Raises:
        WireError: 400 when there is no such stage.
    """
    word = str(said).capitalize()
    if word not in records.STAGES:
        raise invalid(f"Invalid Model Version stage: {said}. Value must be one of {', '.join(records.STAGES)}.")
    return None if word == records.NO_STAGE else word


async def transition(call: Call) -> Response:
    """POST a version's stage; those that were in it before are archived where that is asked for."""
    said, models = await call.json(), _models(call)
    version, stage = _version(models, said), _stage(needed(said, "stage"))
    if str(said.get("archive_existing_versions")).lower() == "true" and stage:
        for other in models.versions(records.name_of(version)):
            if other["properties"]["stage"] == stage and other["name"] != version["name"]:
                models.change(other, stage="Archived")
    return _answer(call, models, models.change(version, stage=stage))


async def delete_version(call: Call) -> Response:
    """DELETE a version; its files stay."""
    said, models = await call.json(), _models(call)
    models.delete(_version(models, said))
    return JSONResponse({})


async def search_versions(call: Call) -> Response:
    """GET the versions that meet a filter, the one that was changed last first unless asked otherwise."""
    models = _models(call)
    shown = [_shown(call, models, version) for body in models.containers() for version in models.versions(body["name"])]
    shown.sort(key=lambda one: int(one["last_updated_timestamp"] or 0), reverse=True)
    page, more = _found(call, shown, size=_VERSIONS_PAGE)
    return JSONResponse({"model_versions": page, **more})


async def get_download_uri(call: Call) -> Response:
    """GET where a version's files are, for the client that asks."""
    return JSONResponse({"artifact_uri": records.address(call, _version(_models(call), call.query))})

"""The files that runs and models have, as azureml-mlflow and plain MLflow log, list and download them.

Clients that come by Azure's names get addresses as Azure writes them, which only azureml-mlflow can follow: it asks
run history or the artifact service where each file is, and goes to the storage account itself (azureml-mlflow 1.62).
Whoever came by the plain http address gets ``mlflow-artifacts:``, which MLflow can follow without a plugin, and which
Azure ML does not have: so a job that logs artifacts needs no plugin here.
"""

from __future__ import annotations

import re
from urllib.parse import quote

import attrs
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError, inner, no_run, not_emulated, service_error
from azureml_emulator.names import WorkspaceName
from azureml_emulator.routes.calls import WORKSPACE, Call, route
from azureml_emulator.routes.datastores import ARTIFACTS
from azureml_emulator.routes.mlflow_wire import BASES, ROOTS, absent, invalid, needed
from azureml_emulator.routes.uris import artifacts_of
from azureml_emulator.storage import BlobPlace, StorageError
from azureml_emulator.store import Run

_HISTORY = f"/history/v1.0{WORKSPACE}"
_SERVICE = f"/artifact/v2.0{WORKSPACE}/artifacts/{{origin}}/{{container}}"
#: The origins of the artifact service: what runs wrote, what clients uploaded, and the files of models.
RUNS, UPLOADS, MODELS = "ExperimentRun", "LocalUpload", "Models"
_PLAIN_RUN = re.compile(r"runs/(?P<run>[^/]+)/artifacts(?:/(?P<path>.*))?", re.DOTALL)
_PLAIN_UPLOAD = re.compile(r"uploads/(?P<container>[^/]+)(?:/(?P<path>.*))?", re.DOTALL)
_PLAIN_MODEL = re.compile(r"models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)(?:/(?P<path>.*))?", re.DOTALL)


def routes() -> list[Route]:
    """List the routes of this module."""
    found: list[Route] = []
    for root in (
        f"{_HISTORY}/{word}/{{experiment}}/runs/{{name}}/artifacts" for word in ("experiments", "experimentids")
    ):
        found += _service(root)
    found += _service(_SERVICE)
    for base in BASES:
        root = f"{base}/api/2.0/mlflow-artifacts/artifacts"
        found += [
            route("GET", root, get_folder),
            route("GET", f"{root}/{{path:path}}", get_file),
            route("PUT", f"{root}/{{path:path}}", put_file),
            route("DELETE", f"{root}/{{path:path}}", delete_file),
        ]
    return found + [route("GET", f"{root}/artifacts/list", get_artifacts) for root in ROOTS]


def _service(root: str) -> list[Route]:
    """The three routes of run history and of the artifact service, which are alike."""
    return [
        route("GET", root, get_all),
        route("GET", f"{root}/contentinfo", get_content),
        route("POST", f"{root}/batch/metadata", post_new),
    ]


def address(call: Call, run: Run, experiment: str) -> str:
    """Write where the artifacts of a run are.

    Args:
        call: Who asks.
        run: The run.
        experiment: The address of its experiment, as Azure writes it.
    """
    if call.origin.real:
        return f"{experiment}/runs/{run.name}/artifacts"
    return f"mlflow-artifacts:/runs/{quote(run.name)}/artifacts"


def run_address(call: Call, run: Run) -> str:
    """Write where the artifacts of a run are, for the client that asks."""
    root = call.origin.tracking(call.workspace).replace("/mlflow/v1.0", "/mlflow/v2.0")
    return address(call, run, f"{root}/experiments/{run.experiment}")


def safe(path: str) -> str:
    """Check that a path stays where it is.

    Raises:
        WireError: 400 when it may not.
    """
    parts = path.split("/")
    if "\\" in path or "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise invalid(f"{path!r} is no path of an artifact.")
    return path


def _within(folder: BlobPlace, path: str) -> BlobPlace:
    return folder / safe(path) if path else folder


def run_folder(call: Call, name: str, workspace: WorkspaceName) -> BlobPlace:
    """The folder of a run's artifacts.

    Raises:
        WireError: 404 where there is no such run.
    """
    if call.store.run(workspace.arm_id, name) is None:
        raise no_run(name)
    return call.services.storage.resolve(artifacts_of(name), workspace.arm_id)


def model_folder(call: Call, name: str, version: str, workspace: WorkspaceName) -> BlobPlace:
    """The folder of a model's files.

    Raises:
        WireError: 404 where there is no such version; 400 where its files are not in a blob store.
    """
    found = call.store.get(f"{workspace.arm_id}/models/{name}/versions/{version}")
    if found is None:
        raise absent(f"Model Version (name={name}, version={version}) not found")
    try:
        return call.services.storage.resolve(found["properties"]["modelUri"], workspace.arm_id)
    except StorageError as error:
        raise invalid(f"The files of model {name}, version {version} cannot be found: {error}") from error


# as azureml-mlflow asks


@attrs.frozen
class _Shelf:
    """Some artifacts that belong together, in the service's words.

    Attributes:
        folder: Where they are.
        prefix: What their paths begin with here and not in the folder.
    """

    origin: str
    container: str
    folder: BlobPlace
    prefix: str = ""

    def place(self, path: str) -> BlobPlace:
        inside = path.removeprefix(self.prefix)
        if len(inside) + len(self.prefix) != len(path):
            raise _no_artifact(path, self.container)
        return _within(self.folder, inside)


def _no_artifact(path: str, container: str) -> WireError:
    message = f"Could not find artifact {path} in container {container}."
    body = service_error(message, inner_error=inner("NotFoundError"), component="artifact")
    return WireError(404, body)


def _shelf(call: Call) -> _Shelf:
    workspace, names = call.workspace, call.names
    if "name" in names:
        return _Shelf(RUNS, f"dcid.{names['name']}", run_folder(call, names["name"], workspace))
    origin, container = names["origin"], names["container"]
    if origin == RUNS:
        return _Shelf(origin, container, run_folder(call, container.removeprefix("dcid."), workspace))
    if origin == MODELS:
        name, _, version = container.rpartition(":")
        folder = model_folder(call, name, version, workspace)
        last = folder.path.rstrip("/").rpartition("/")[2]
        return _Shelf(origin, container, folder, f"{last}/")
    if origin != UPLOADS:
        raise _no_artifact(origin, container)
    return _Shelf(origin, container, _upload_folder(call, container))


def _upload_folder(call: Call, container: str) -> BlobPlace:
    """The folder of what a client uploads that belongs to no run."""
    base = f"azureml://datastores/{ARTIFACTS}/paths/{UPLOADS}/{safe(container)}"
    return call.services.storage.resolve(base, call.workspace.arm_id)


def _told(shelf: _Shelf, path: str) -> Json:
    return {
        "artifactId": f"{shelf.origin}/{shelf.container}/{path}",
        "origin": shelf.origin,
        "container": shelf.container,
        "path": path,
        "etag": None,
        "createdTime": None,
        "dataPath": None,
        "tags": {},
    }


def _content(call: Call, shelf: _Shelf, path: str) -> Json:
    place = shelf.place(path)
    uri = f"{call.origin.blob(place.container)}/{quote(place.path)}?{call.services.storage.sas(place.container)}"
    return {"contentUri": uri, "origin": shelf.origin, "container": shelf.container, "path": path, "tags": None}


async def get_all(call: Call) -> Response:
    """GET all artifacts of a run, or of a container of the artifact service."""
    shelf = _shelf(call)
    found = await call.services.storage.listed(shelf.folder)
    value = [_told(shelf, f"{shelf.prefix}{path}") for path, _ in found]
    return JSONResponse({"value": value, "continuationToken": None, "nextLink": None})


async def get_content(call: Call) -> Response:
    """GET where one artifact can be read."""
    shelf, path = _shelf(call), needed(call.query, "path")
    place = shelf.place(path)
    if not await call.services.storage.exists(place):
        raise _no_artifact(path, shelf.container)
    return JSONResponse(_content(call, shelf, path))


async def post_new(call: Call) -> Response:
    """POST for the places of artifacts that are to be written."""
    shelf, sent = _shelf(call), await call.json()
    if shelf.origin == MODELS:
        raise not_emulated("POST", call.request.url.path, "the files of a model never change")
    paths = sent.get("paths")
    if not isinstance(paths, list) or not all(isinstance(one, dict) for one in paths):
        raise invalid("'paths' is no list of objects.")
    named = [needed(one, "path") for one in paths]
    await call.services.storage.ensure_container(shelf.folder.container)
    answer = {
        "artifacts": {path: _told(shelf, path) for path in named},
        "artifactContentInformation": {path: _content(call, shelf, path) for path in named},
        "errors": {},
    }
    return JSONResponse(answer)


# as MLflow asks without a plugin


def _plain(call: Call, path: str, *, writes: bool = False) -> BlobPlace:
    """Find what a path below ``mlflow-artifacts:`` means."""
    if call.origin.real:
        raise not_emulated(
            call.request.method, call.request.url.path, "Azure ML has no mlflow-artifacts; use azureml-mlflow"
        )
    workspace = call.workspace
    if found := _PLAIN_RUN.fullmatch(path.rstrip("/")):
        return _within(run_folder(call, found["run"], workspace), found["path"] or "")
    if found := _PLAIN_UPLOAD.fullmatch(path.rstrip("/")):
        return _within(_upload_folder(call, found["container"]), found["path"] or "")
    if found := _PLAIN_MODEL.fullmatch(path.rstrip("/")):
        if writes:
            raise invalid("The files of a registered model never change; register another version.")
        return _within(model_folder(call, found["name"], found["version"], workspace), found["path"] or "")
    raise absent(f"There is no artifact {path}.")


async def get_folder(call: Call) -> Response:
    """GET what is right in a folder."""
    return JSONResponse({"files": await _files(call, _plain(call, call.query.get("path", "")))})


async def _files(call: Call, folder: BlobPlace, *, under: str = "") -> list[Json]:
    """List what is right in a folder, files with their sizes; ``under`` is put before each name."""
    found: dict[str, Json] = {}
    for path, size in await call.services.storage.listed(folder):
        name, deeper, _ = path.partition("/")
        told = {"path": f"{under}{name}", "is_dir": bool(deeper)}
        found[name] = told if deeper else told | {"file_size": size}
    return list(found.values())


async def get_file(call: Call) -> Response:
    """GET one file."""
    place = _plain(call, call.names["path"])
    try:
        chunks = await call.services.storage.read(place)
    except StorageError as error:
        raise absent(f"There is no artifact {call.names['path']}.") from error
    return StreamingResponse(chunks, media_type="application/octet-stream")


async def put_file(call: Call) -> Response:
    """PUT one file of a run."""
    place = _plain(call, call.names["path"], writes=True)
    await call.services.storage.write(place, call.request.stream())
    return JSONResponse({})


async def delete_file(call: Call) -> Response:
    """DELETE one file of a run, or all files of a folder."""
    place = _plain(call, call.names["path"], writes=True)
    await call.services.storage.remove(place)
    for path, _ in await call.services.storage.listed(place):
        await call.services.storage.remove(place / path)
    return JSONResponse({})


async def get_artifacts(call: Call) -> Response:
    """GET what is right in a folder of a run's artifacts, as MLflow's own REST API says it."""
    run = call.run(needed(call.query, "run_id"), lambda name: absent(f"Run {name} was not found."))
    path = call.query.get("path", "").strip("/")
    folder = _within(run_folder(call, run.name, call.workspace), path)
    root = address(call, run, f"{call.origin.tracking(call.workspace)}/experiments/{run.experiment}")
    files = await _files(call, folder, under=f"{path}/" if path else "")
    return JSONResponse({"root_uri": root, "files": files})

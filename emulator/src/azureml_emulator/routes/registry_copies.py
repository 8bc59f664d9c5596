"""The files of assets that go from a workspace into a registry, and from there into another workspace."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path, PurePosixPath

import attrs

from azureml_emulator.errors import Json, WireError, bad_request, refusal
from azureml_emulator.routes.asset_kinds import Asked
from azureml_emulator.routes.calls import Call
from azureml_emulator.storage import BlobPlace, StorageError

_ASSET = re.compile(r"azureml://registries/([^/]+)/([^/]+)/([^/]+)/versions/([^/]+)", re.IGNORECASE)


def no_asset(asset_id: str) -> WireError:
    """The answer for an asset that is not in its registry."""
    return refusal(404, f"Could not find asset with ID: {asset_id}", inner_codes=("NotFoundError",))


async def copied(call: Call, uri: str, home: str, folder: BlobPlace) -> BlobPlace:
    """Copy the blob, or the folder of blobs, that a URI means into a folder, and say where it is then.

    Args:
        call: The request that wants it.
        uri: What to copy.
        home: The ARM id of the workspace in which the URI is read.
        folder: What to copy it into; it keeps its name there.

    Raises:
        WireError: 400 when there is nothing at the URI.
    """
    storage = call.services.storage
    try:
        source = storage.resolve(uri, home)
        name = PurePosixPath(source.path.rstrip("/")).name or "files"
        with tempfile.TemporaryDirectory(dir=call.services.settings.state_dir) as scratch:
            brought = await storage.download(source, Path(scratch) / name)
            await storage.upload(brought, folder / name)
    except StorageError as error:
        raise bad_request(f"The files of the asset cannot be copied: {error}") from error
    return folder / name


async def into_workspace(call: Call, asked: Asked) -> Asked:
    """Copy the files of a registry's model that a workspace's model is to be made of; others stay where they are.

    What Azure does here was not recorded.
    """
    found = _ASSET.fullmatch(str(asked.sent.get("modelUri") or ""))
    if not found:
        return asked
    registry, _, name, version = found.groups()
    model: Json | None = call.store.get(f"/registries/{registry}/models/{name}/versions/{version}")
    if model is None:
        raise no_asset(found[0])
    base = f"azureml://datastores/workspaceblobstore/paths/registries/{registry}/{name}/{version}"
    folder = call.services.storage.resolve(base, asked.workspace.arm_id)
    place = await copied(call, model["properties"]["modelUri"], asked.workspace.arm_id, folder)
    own = {"modelUri": f"{base}/{place.path.rpartition('/')[2]}"}
    if not asked.sent.get("flavors"):
        own["flavors"] = model["properties"]["flavors"]
    return attrs.evolve(asked, sent=asked.sent | own)

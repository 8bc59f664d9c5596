"""What identifies the files of a model, alike in a workspace and in a registry."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from attrs import frozen

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.blob_folder import BlobFolder
from airflow_azureml.client.opened import opened_in_worker
from airflow_azureml.client.scoring_logs import address
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.client.storage import service_error
from airflow_azureml.errors import ConfigError
from airflow_azureml.wire import models, registry_files

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings


@frozen(kw_only=True)
class ModelDigest:
    """What identifies a model's files.

    Attributes:
        asset: ``NAME:VERSION``, or the id of a registry's model.
        digest: ``sha256:`` and 64 digits, over the paths and the contents of all files.
        files: How many there are.
    """

    asset: str
    digest: str
    files: int


def digest_of(settings: "ConnectionSettings", asset: str) -> ModelDigest:
    """Read all files of a model, one after the other, and say what identifies them.

    Args:
        settings: The connection whose identity reads.
        asset: ``NAME:VERSION`` of its workspace, with or without ``azureml:``; or a registry's,
            ``azureml://registries/REGISTRY/models/MODEL/versions/VERSION``.

    Raises:
        ConfigError: There is no such model, or it has no files.
        RefusedError: The identity may not read it.
        UnavailableError: The service or the storage does not answer; trying again is safe.
    """
    with emulator_in_reach(settings):
        shared = registry_files.is_shared(asset)
        found = _of_registry(settings, asset) if shared else _of_workspace(settings, asset)
    if not found:
        raise ConfigError(f"Model {asset} has no files.")
    text = json.dumps(sorted(found.items()))
    return ModelDigest(asset=asset, digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", files=len(found))


def _of_workspace(settings: "ConnectionSettings", asset: str) -> Mapping[str, str]:
    """Digest each file, by its path in the model."""
    name, _, version = asset.removeprefix("azureml:").rpartition(":")
    with Client(settings) as client:
        found = client.run(models.get(settings.workspace, name, version)) if name and version else None
    if found is None:
        raise ConfigError(f"{asset!r} is no version of a model of workspace {settings.workspace.name}.")
    url = address(settings, found.uri)
    with tempfile.TemporaryDirectory(prefix="airflow-azureml-model-") as scratch, BlobFolder(settings, url) as folder:
        here, path, digests = Path(scratch, "file"), folder.path.rstrip("/"), {}
        for each in folder.files():
            if folder.fetch(each.path, here):
                with here.open("rb") as file:
                    digests[_inner(each.path, path)] = hashlib.file_digest(file, "sha256").hexdigest()
        return digests


def _of_registry(settings: "ConnectionSettings", asset: str) -> Mapping[str, str]:
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # not when a DAG is parsed
    from azure.storage.blob import ContainerClient  # noqa: PLC0415  # as above

    with Client(settings) as client:
        files = client.run(registry_files.files_of(settings.workspace, asset))
    base = urlsplit(files.container)
    path = unquote(urlsplit(files.uri).path.removeprefix(base.path)).strip("/")
    make = ContainerClient.from_container_url
    try:
        if base.query:
            # The signature is the right to read; no other is to be sent with it.
            with make(files.container) as container:
                return dict(_digests(container, path))
        with opened_in_worker(settings, files.container, make) as container:
            return dict(_digests(container, path))
    except AzureError as error:
        raise service_error(f"Read the files of {asset}", error) from error


def _digests(container: "ContainerClient", path: str) -> Iterator[tuple[str, str]]:
    for name in container.list_blob_names(name_starts_with=path):
        if name == path or name.startswith(f"{path}/"):
            found = hashlib.sha256()
            for chunk in container.download_blob(name, max_concurrency=1).chunks():
                found.update(chunk)
            yield _inner(name, path), found.hexdigest()


def _inner(name: str, path: str) -> str:
    """Give a file's path in the model; the name of one that is the model."""
    return name.rpartition("/")[2] if name == path else name[len(path) + 1 :]

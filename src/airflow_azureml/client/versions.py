"""One very version of a blob, from a worker: read in a stream into a file, and found to be the same at the end."""

import contextlib
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from airflow_azureml.client.opened import opened_in_worker
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.client.storage import (
    service_error,
)
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.errors import ConfigError, NotReadyError, ServiceError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings

#: What is in memory at a time. Bytes.
CHUNK = 4 << 20
#: What a download leaves free on the disk. Bytes.
SPARE = 256 << 20
#: Statuses with which a blob that is gone, or has another version, is told.
_NOT_FOUND, _NO_SUCH_VERSION = 404, (404, 412)
TYPE_OF_ENDING = {".html": "text/html; charset=utf-8", ".json": "application/json", ".svg": "image/svg+xml"}


class GoneError(ConfigError):
    """There is no such blob, or no such container."""


class ReplacedError(NotReadyError):
    """The blob has another version by now; whoever did not ask for the old one may try again."""


@frozen(kw_only=True)
class Head:
    """What a look at a blob showed.

    Attributes:
        etag: The version that is there now, without quotes.
        modified: When it was written, UTC.
    """

    etag: str
    size_bytes: int
    modified: datetime


@contextlib.contextmanager
def opened_container(settings: "ConnectionSettings", base: str, name: str) -> Iterator["ContainerClient"]:
    """Open a container; nothing is asked yet.

    Args:
        settings: The connection whose identity is used; an emulator's blobs are reached by the way that it names.
        base: The account's address, without a slash at its end.
        name: The container.

    Raises:
        ConfigError: The address is none of Azure Storage.
    """
    from azure.storage.blob import ContainerClient  # noqa: PLC0415  # not for DAG parsing

    def _make(base: str, **options: Any) -> ContainerClient:
        return ContainerClient(base, name, max_single_get_size=CHUNK, max_chunk_get_size=CHUNK, **options)

    with emulator_in_reach(settings), opened_in_worker(settings, base, _make) as container:
        yield container


def version_now(settings: "ConnectionSettings", url: str) -> Head:
    """Look which version a blob has.

    Raises:
        ConfigError: The address names no blob.
        GoneError: There is none.
        RefusedError: The identity may not read it; it needs the role Storage Blob Data Reader.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # not for DAG parsing

    base, container, path = _parts(url)
    try:
        with opened_container(settings, base, container) as client:
            found = client.get_blob_client(path).get_blob_properties()
    except AzureError as error:
        failure = service_error(f"Look at blob {url}", error)
        if failure.status == _NOT_FOUND:
            raise GoneError(f"{failure}. There is no such blob.") from error
        raise failure from error
    return Head(etag=str(found.etag).strip('"'), size_bytes=int(found.size), modified=found.last_modified)


def check_same(settings: "ConnectionSettings", url: str, etag: str) -> None:
    """See that a blob still has the version that was read.

    Raises:
        ReplacedError: It has another one.
        GoneError: It was deleted.
        RefusedError: The identity may not read it.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    now = version_now(settings, url).etag
    if now != etag:
        raise ReplacedError(f"Blob {url} was replaced: its version was {etag}, and is {now} now.")


def check_still_there(settings: "ConnectionSettings", url: str, etag: str, failure: ServiceError) -> None:
    """Say of a refusal that is about a blob's version what has become of the blob; do nothing about any other.

    Args:
        settings: The connection whose identity looks.
        url: The blob's address.
        etag: The version that was wanted.
        failure: What was refused, with the condition that the blob has a certain version.

    Raises:
        ReplacedError: The blob has another version by now.
        GoneError: There is no such blob.
    """
    if failure.status in _NO_SUCH_VERSION:
        now = version_now(settings, url).etag
        if now != etag:
            raise ReplacedError(f"{failure}. Its version is {now} now.") from failure


def download(settings: "ConnectionSettings", url: str, file: Path, *, etag: str, spare: int = SPARE) -> None:
    """Read a version into a file, some megabytes at a time.

    Args:
        settings: The connection whose identity reads.
        url: The blob's address, quoted.
        file: Where to; it is overwritten.
        etag: The version, without quotes.
        spare: What is to stay free on the disk. Bytes.

    Raises:
        ReplacedError: The blob has another version by now, or got one while it was read.
        GoneError: There is no such blob.
        ConfigError: The disk of this worker has no room for it.
        RefusedError: The identity may not read it; it needs the role Storage Blob Data Reader.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    from azure.core import MatchConditions  # noqa: PLC0415  # not for DAG parsing
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above

    base, container, path = _parts(url)
    try:
        with opened_container(settings, base, container) as client, file.open("wb") as written:
            content = client.get_blob_client(path).download_blob(
                max_concurrency=1, etag=f'"{etag}"', match_condition=MatchConditions.IfNotModified
            )
            _check_room(file.parent, int(content.size), url, spare)
            for chunk in content.chunks():
                written.write(chunk)
    except AzureError as error:
        failure = service_error(f"Read version {etag} of blob {url}", error)
        check_still_there(settings, url, etag, failure)
        raise failure from error


def write_blob(settings: "ConnectionSettings", url: str, content: bytes) -> None:
    """Write a small blob, over what is there; its container is made where it is missing.

    Args:
        settings: The connection whose identity writes.
        url: The blob's address, quoted; how it ends says its content type.
        content: What it is to hold.

    Raises:
        RefusedError: The identity may not write there; it needs the role Storage Blob Data Contributor.
        UnavailableError: Storage does not answer; trying again is safe.
    """
    from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError  # noqa: PLC0415  # as above
    from azure.storage.blob import ContentSettings  # noqa: PLC0415  # as above

    base, container, path = _parts(url)
    kind = ContentSettings(content_type=TYPE_OF_ENDING.get(path[path.rfind(".") :]))
    try:
        with opened_container(settings, base, container) as client:
            try:
                client.upload_blob(path, content, overwrite=True, content_settings=kind)
            except ResourceNotFoundError:
                with contextlib.suppress(ResourceExistsError):
                    client.create_container()
                client.upload_blob(path, content, overwrite=True, content_settings=kind)
    except AzureError as error:
        raise service_error(f"Write blob {url}", error) from error


def _check_room(folder: Path, size_bytes: int, url: str, spare: int) -> None:
    free = shutil.disk_usage(folder).free
    if size_bytes + spare > free:
        raise ConfigError(
            f"Blob {url} has {size_bytes} bytes, and {folder} on this worker {free} free, of which {spare} stay so."
            " Give the worker a larger disk (TMPDIR says where), or test the data in a job: run_on='job'."
        )


def _parts(url: str) -> tuple[str, str, str]:
    """Take an address apart: the account's, the container, the blob's name."""
    place = StorageUrl.parse(url)
    container, _, path = place.path.partition("/")
    if not path:
        raise ConfigError(f"{url!r} names no blob.")
    return place.blob_base, container, path

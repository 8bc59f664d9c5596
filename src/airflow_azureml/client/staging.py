"""The folders of batches in Blob Storage: copies of the very versions that a batch has, made by the service itself."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import quote

from attrs import field, frozen

from airflow_azureml.client.opened import open_client, opened_in_worker
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.client.storage import (
    service_error,
)
from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.files import FAULT_OF_FORMAT, HEAD_BYTES
from airflow_azureml.core.staging import DATA, DELETED, MANIFEST, SUPERSEDED, file_name, manifest
from airflow_azureml.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Blobs that are copied at the same time.
AT_ONCE = 16
#: Tries of a request beyond the first, and seconds between them.
_RETRIES, _WAIT_S = 3, 1
#: How long a copy that the service makes behind our back is followed. Seconds.
COPY_S = 600.0
#: Most blobs that one request deletes. Source: Blob Batch, REST API of Blob Storage.
_DELETED_AT_ONCE = 256
_NOT_FOUND, _CONFLICT, _PRECONDITION, _NO_SUCH_RANGE = 404, 409, 412, 416


@frozen(kw_only=True)
class Staged:
    """What became of a batch's versions.

    Attributes:
        files: Those that are in its folder now, in their order.
        left_out: Why each of the others is not, by its key.
    """

    files: Sequence[Arrival] = ()
    left_out: Mapping[str, str] = field(factory=dict)


class Staging:
    """Where batches are staged, on an event loop; use it with ``async with``.

    Args:
        settings: The connection whose identity copies; not used for an account on this machine.
        url: The address of a folder, or of a container, in the account of the blobs.
    """

    def __init__(self, settings: "ConnectionSettings", url: str) -> None:
        self.url = url.rstrip("/")
        self._settings = settings
        self._place = StorageUrl.parse(self.url)
        container, _, folder = self._place.path.partition("/")
        if not container:
            raise ConfigError(f"staging is {url!r}; it must name a container: …/CONTAINER or …/CONTAINER/FOLDER.")
        self._container, self._folder = container, f"{folder}/" if folder else ""
        self._opened = contextlib.AsyncExitStack()
        self._service: BlobServiceClient | None = None
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        """Open the connections."""
        from azure.storage.blob.aio import BlobServiceClient, LinearRetry  # noqa: PLC0415  # not for DAG parsing

        retries = LinearRetry(backoff=_WAIT_S, retry_total=_RETRIES, random_jitter_range=0)
        self._service = await open_client(
            self._opened, self._settings, self._place.blob_base, BlobServiceClient, retry_policy=retries
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._opened.aclose()

    async def stage(self, batch_id: str, arrivals: Sequence[Arrival], *, format_name: str = "") -> Staged:
        """Copy versions into their batch's folder, and write the manifest beside it; again changes nothing.

        A version that is not there any more, or whose head shows that it is not of the format, is left out.

        Args:
            batch_id: The batch.
            arrivals: Its versions, all of the account that the folder is in.
            format_name: What they must be, a name of `airflow_azureml.core.files.FAULT_OF_FORMAT`; empty for anything.

        Raises:
            ConfigError: A blob is in another storage account.
            RefusedError: The identity may not read or write; it needs the role Storage Blob Data Contributor.
            UnavailableError: Storage does not answer; trying again is safe.
        """
        elsewhere = sorted({each.account for each in arrivals} - {self._place.account})
        if elsewhere:
            raise ConfigError(
                f"Stage batch {batch_id}: blobs of account {', '.join(elsewhere)} cannot be copied into account"
                f" {self._place.account}; stage them in their own account."
            )
        faults = await asyncio.gather(*(self._stage_one(batch_id, each, format_name) for each in arrivals))
        left_out = {each.key: fault for each, fault in zip(arrivals, faults, strict=True) if fault}
        files = [each for each in arrivals if each.key not in left_out]
        await self._write(f"{batch_id}/{MANIFEST}", manifest(batch_id, files))
        return Staged(files=files, left_out=left_out)

    async def clear(self, batch_id: str, arrivals: Sequence[Arrival]) -> None:
        """Delete the copies of a batch; the manifest stays.

        Raises:
            RefusedError: The identity may not delete.
            UnavailableError: Storage does not answer; trying again is safe.
        """
        names = [self._name(batch_id, each) for each in arrivals]

        async def _delete() -> None:
            for first in range(0, len(names), _DELETED_AT_ONCE):
                some = names[first : first + _DELETED_AT_ONCE]
                await self._in_container().delete_blobs(*some, raise_on_any_failure=False)

        await self._call(f"Delete the copies of batch {batch_id} in {self.url}", _delete)

    async def _stage_one(self, batch_id: str, arrival: Arrival, format_name: str) -> str:
        """Copy one version; return why it is left out, or nothing."""
        async with self._gate:
            source = self._opened_service.get_blob_client(arrival.container, arrival.path)
            copy = self._in_container().get_blob_client(self._name(batch_id, arrival))
            doing = f"Copy {arrival.uri}, eTag {arrival.etag}, into batch {batch_id}"
            if format_name and (fault := await self._call(doing, lambda: self._fault(source, arrival, format_name))):
                return fault
            return await self._call(doing, lambda: self._copy(source, copy, arrival))

    async def _fault(self, source: "BlobClient", arrival: Arrival, format_name: str) -> str:
        """Judge a version by its first bytes."""
        from azure.core import MatchConditions  # noqa: PLC0415  # not for DAG parsing
        from azure.core.exceptions import HttpResponseError  # noqa: PLC0415  # as above

        try:
            content = await source.download_blob(
                offset=0,
                length=HEAD_BYTES,
                max_concurrency=1,
                etag=f'"{arrival.etag}"',
                match_condition=MatchConditions.IfNotModified,
            )
            head = await content.readall()
        except HttpResponseError as error:
            if error.status_code == _NO_SUCH_RANGE:
                return "it is empty"
            return await _gone(source, error)
        _, _, size = str(content.properties.content_range).rpartition("/")
        fault = FAULT_OF_FORMAT[format_name](head, whole=int(size) <= len(head))
        return f"no {format_name.upper()} that can be scored: {fault}" if fault else ""

    async def _copy(self, source: "BlobClient", copy: "BlobClient", arrival: Arrival) -> str:
        """Let the service copy a version, unless the copy is there already."""
        from azure.core import MatchConditions  # noqa: PLC0415  # not for DAG parsing
        from azure.core.exceptions import HttpResponseError  # noqa: PLC0415  # as above

        try:
            begun = await copy.start_copy_from_url(
                f"{self._place.blob_base}/{arrival.container}/{quote(arrival.path, safe='/~')}",
                source_etag=f'"{arrival.etag}"',
                source_match_condition=MatchConditions.IfNotModified,
                match_condition=MatchConditions.IfMissing,
            )
        except HttpResponseError as error:
            told = getattr(error, "error_code", None)
            code = str(getattr(told, "value", told))
            if code == "ContainerNotFound" and await self._make_container():
                return await self._copy(source, copy, arrival)
            if error.status_code in (_CONFLICT, _PRECONDITION) and await self._is_copied(copy):
                return ""
            return await _gone(source, error)
        if begun["copy_status"] == "success" or await self._is_copied(copy):
            return ""
        raise UnavailableError(f"Copy {arrival.uri}", message=f"The copy {copy.url} did not succeed.")

    async def _is_copied(self, copy: "BlobClient") -> bool:
        """Tell whether a copy is there, once the service has made it; one that failed is taken away."""
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415  # not for DAG parsing

        waited_s = 0.0
        try:
            while (status := (await copy.get_blob_properties()).copy.status) == "pending":
                if waited_s >= COPY_S:
                    return False
                await asyncio.sleep(1)
                waited_s += 1
            if status != "success":
                await copy.delete_blob()
        except ResourceNotFoundError:
            return False
        return bool(status == "success")

    async def _write(self, name: str, text: str) -> None:
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415  # not for DAG parsing

        async def _upload() -> None:
            try:
                await self._in_container().upload_blob(f"{self._folder}{name}", text.encode(), overwrite=True)
            except ResourceNotFoundError:
                if not await self._make_container():
                    raise
                await self._in_container().upload_blob(f"{self._folder}{name}", text.encode(), overwrite=True)

        await self._call(f"Write {self.url}/{name}", _upload)

    async def _make_container(self) -> bool:
        """Make the container, unless it is there by now."""
        from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415  # not for DAG parsing

        with contextlib.suppress(ResourceExistsError):
            await self._in_container().create_container()
        return True

    async def _call(self, doing: str, call: Callable[[], Awaitable[T]]) -> T:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # not for DAG parsing

        try:
            return await call()
        except AzureError as error:
            raise service_error(doing, error) from error

    def _name(self, batch_id: str, arrival: Arrival) -> str:
        return f"{self._folder}{batch_id}/{DATA}/{file_name(arrival)}"

    def _in_container(self) -> "ContainerClient":
        return self._opened_service.get_container_client(self._container)

    @property
    def _opened_service(self) -> "BlobServiceClient":
        if self._service is None:
            raise AssertionError("use it with `async with`")
        return self._service


def write_once(settings: "ConnectionSettings", url: str, content: bytes) -> bool:
    """Write a blob, unless it is there already, from a worker.

    Args:
        settings: The connection whose identity writes; an emulator's blobs are reached by the way that it names.
        url: The blob's address.
        content: What it is to hold.

    Returns:
        Whether it was not there.

    Raises:
        ConfigError: The URL is none of Azure Storage.
        RefusedError: The identity may not write it; it needs the role Storage Blob Data Contributor.
        UnavailableError: Storage does not answer; trying again is safe.
    """
    from azure.core.exceptions import AzureError, ResourceExistsError  # noqa: PLC0415  # not for DAG parsing
    from azure.storage.blob import BlobClient  # noqa: PLC0415  # as above

    opened = opened_in_worker(settings, url, BlobClient.from_blob_url, retries=_RETRIES)
    try:
        with emulator_in_reach(settings), opened as client:
            client.upload_blob(content, overwrite=False)
    except ResourceExistsError:
        return False
    except AzureError as error:
        raise service_error(f"Write blob {url}", error) from error
    return True


async def _gone(source: "BlobClient", error: "HttpResponseError") -> str:
    """Say what an answer tells of a version that cannot be read any more; anything else is an error.

    Raises:
        HttpResponseError: It is about something else.
    """
    if error.status_code == _PRECONDITION and await source.exists():
        return f"{SUPERSEDED}: the blob was replaced after it arrived, and the newer version is scored for itself"
    if error.status_code in (_NOT_FOUND, _PRECONDITION):
        return f"{DELETED}: the blob was deleted after it arrived"
    raise error

"""The files of a folder in Blob Storage, from a worker: listed, fetched to the disk, put there once, deleted."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow_azureml.client.opened import opened_in_worker
from airflow_azureml.client.storage import (
    service_error,
)
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.scoring_logs import Segment
from airflow_azureml.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T")

#: A piece of a file may take so long. Seconds.
READ_S = 60
#: Bytes that are in memory at a time.
_CHUNK = 8 << 20
#: Answers that mean: that version is not there.
_GONE = frozenset({404, 412})
_CONFLICT = 409
_NO_CONTAINER = "ContainerNotFound"


class BlobFolder:
    """A folder in Blob Storage; use it with ``with``, and within `airflow_azureml.client.sdk.emulator_in_reach`.

    Every method raises `RefusedError` where the identity may not, and `UnavailableError` where storage does not answer.

    Args:
        settings: The connection whose identity is used; not used for an account on this machine.
        url: The folder's address, quoted: ``https://ACCOUNT.blob.core.windows.net/CONTAINER/FOLDER/``.

    Raises:
        ConfigError: The address is none of Azure Storage, or names no container.
    """

    def __init__(self, settings: "ConnectionSettings", url: str) -> None:
        place = StorageUrl.parse(url)
        container, _, path = place.path.partition("/")
        if not container:
            raise ConfigError(f"{url!r} names no container.")
        self.url = url
        self.container_url = f"{place.blob_base}/{container}"
        self.path = path.rstrip("/") + "/" if path else ""
        self._settings = settings
        self._opened = contextlib.ExitStack()
        self._client: ContainerClient | None = None

    def __enter__(self) -> Self:
        from azure.storage.blob import ContainerClient  # noqa: PLC0415  # not when a DAG is parsed

        sizes = dict.fromkeys(
            ("max_single_get_size", "max_chunk_get_size", "max_single_put_size", "max_block_size"), _CHUNK
        )
        make = ContainerClient.from_container_url
        self._client = self._opened.enter_context(opened_in_worker(self._settings, self.container_url, make, **sizes))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def files(self, below: str = "") -> Iterator[Segment]:
        """List the files below a path of the folder, as they were written; none where there is no container.

        Args:
            below: The path.
        """
        pages = self._container.list_blobs(name_starts_with=f"{self.path}{below}" or None)
        while True:
            try:
                each = self._call(f"List {self.url}{below}", lambda: next(pages, None))
            except ServiceError as error:
                if error.code == _NO_CONTAINER:
                    return
                raise
            if each is None:
                return
            yield Segment.written(
                str(each.name), at=each.last_modified, etag=str(each.etag).strip('"'), size_bytes=int(each.size or 0)
            )

    def fetch(self, path: str, to: Path, *, etag: str = "") -> bool:
        """Fetch a file, in bounded memory.

        Args:
            path: In the container.
            to: Where to.
            etag: The version that is wanted; empty for any.

        Returns:
            Whether that version was there.
        """
        from azure.core import MatchConditions  # noqa: PLC0415  # not when a DAG is parsed

        only: dict[str, Any] = {}
        if etag:
            only = {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}

        def _fetch() -> None:
            with to.open("wb") as file:
                self._container.get_blob_client(path).download_blob(max_concurrency=1, **only).readinto(file)

        try:
            self._call(f"Fetch {self.container_url}/{path}", _fetch)
        except ServiceError as error:
            if error.status not in _GONE:
                raise
            to.unlink(missing_ok=True)
            return False
        return True

    def read(self, path: str) -> bytes | None:
        """Read a small file whole; None where there is none."""
        try:
            return self._call(
                f"Read {self.container_url}/{path}",
                lambda: bytes(self._container.get_blob_client(path).download_blob(max_concurrency=1).readall()),
            )
        except ServiceError as error:
            if error.status in _GONE:
                return None
            raise

    def put(self, path: str, source: Path) -> bool:
        """Write a file, unless there is one, whole or not at all; the container is made when it is missing.

        Args:
            path: In the container.
            source: Its content.

        Returns:
            Whether there was none.
        """

        def _put() -> None:
            with source.open("rb") as file:
                self._container.upload_blob(path, file, overwrite=False, max_concurrency=1)

        doing = f"Write {self.container_url}/{path}"
        try:
            self._call(doing, _put)
        except ServiceError as error:
            if error.code == _NO_CONTAINER:
                self._make()
                return self.put(path, source)
            if error.status != _CONFLICT:
                raise
            return False
        return True

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is fine."""
        try:
            self._call(f"Delete {self.container_url}/{path}", lambda: self._container.delete_blob(path))
        except ServiceError as error:
            if error.status not in _GONE:
                raise

    def _make(self) -> None:
        try:
            self._call(f"Create container {self.container_url}", self._container.create_container)
        except ServiceError as error:
            if error.code != "ContainerAlreadyExists":
                raise

    def _call(self, doing: str, call: Callable[[], T]) -> T:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # not when a DAG is parsed

        try:
            return call()
        except AzureError as error:
            raise service_error(doing, error) from error

    @property
    def _container(self) -> "ContainerClient":
        if self._client is None:
            raise AssertionError("use it with `with`")
        return self._client

"""Finding the files of scoring logs and of labels, from a worker."""

import contextlib
import posixpath
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import evolve

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.blob_folder import BlobFolder
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.scoring_logs import (
    Published,
    ScoringLogs,
    Segment,
    markers_below,
    segments_in_marker,
    segments_of,
)
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings


class Folder(Protocol):
    """What is asked of a folder; see `airflow_azureml.client.blob_folder.BlobFolder`."""

    path: str
    container_url: str

    def files(self, below: str = "") -> Iterator[Segment]:
        """List files."""

    def fetch(self, path: str, to: Path, *, etag: str = "") -> bool:
        """Fetch a file."""

    def read(self, path: str) -> bytes | None:
        """Read a small file."""

    def put(self, path: str, source: Path) -> bool:
        """Write a file, unless there is one."""

    def delete(self, path: str) -> None:
        """Delete a file."""


def address(settings: "ConnectionSettings", uri: str) -> str:
    """Give the address in Blob Storage of a place in a datastore; an address stays as it is.

    Raises:
        ConfigError: It is no such place.
        RefusedError: There is no such datastore, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    if in_datastore(uri) is None:
        return StorageUrl.parse(uri).base and uri
    with Client(settings) as client:
        return client.run(outputs.blob_url(settings.workspace, uri, domain=settings.addresses.storage))


@contextlib.contextmanager
def folder_of(settings: "ConnectionSettings", uri: str) -> Iterator[BlobFolder]:
    """Open the folder that a URI names; see `address`."""
    with BlobFolder(settings, address(settings, uri)) as opened:
        yield opened


def segments(folder: Folder, logs: ScoringLogs, *, since: datetime | None = None) -> Iterator[Segment]:
    """Find the files of logs, in no order.

    Args:
        folder: Theirs, opened.
        logs: Which.
        since: Those that count as of an earlier time may be left out.

    Raises:
        RefusedError: The identity may not read them (role Storage Blob Data Reader).
        UnavailableError: Storage does not answer; trying again is safe.
        ProtocolError: A marker is none.
    """
    if not isinstance(logs, Published):
        for each in segments_of(folder.files(), logs, folder=folder.path):
            if since is None or each.time >= since:
                yield each
        return
    below = markers_below(folder.path)[len(folder.path) :]
    for marker in folder.files(below):
        if since is not None and marker.time < since:
            continue
        content, doing = folder.read(marker.path), f"Read {folder.container_url}/{marker.path}"
        if content is None:
            raise ProtocolError(f"{doing}: it was listed, and is gone; markers are never deleted")
        yield from _measured(folder, segments_in_marker(content, logs, at=marker.time, doing=doing), doing)


def _measured(folder: Folder, found: Sequence[Segment], doing: str) -> Iterator[Segment]:
    """Look up the sizes of a batch's files; one that is not there has none.

    Raises:
        ConfigError: They are not below the folder in which the marker is.
    """
    outside = [each.path for each in found if not each.path.startswith(folder.path)]
    if outside:
        raise ConfigError(f"{doing}: it names {outside[0]}, which is not below {folder.path}.")
    if found:
        below = posixpath.commonpath([posixpath.dirname(each.path) for each in found])
        sizes = {each.path: each.size_bytes for each in folder.files(f"{below}/"[len(folder.path) :])}
        yield from (evolve(each, size_bytes=sizes.get(each.path, 0)) for each in found)

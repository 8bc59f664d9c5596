"""Putting a version of a blob into quarantine: a copy that the service makes, with its report beside it."""

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from airflow_azureml.client.storage import service_error
from airflow_azureml.client.versions import check_still_there, opened_container, write_blob
from airflow_azureml.core.quarantine import Cell
from airflow_azureml.errors import UnavailableError

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings

#: How long a copy that the service makes behind our back is followed. Seconds.
COPY_S = 600.0
#: States of a copy that left nothing that can be read. Source: Get Blob Properties, REST API of Blob Storage.
_BROKEN = ("failed", "aborted")
_CONFLICT, _PRECONDITION = 409, 412


def put_away(
    settings: "ConnectionSettings", source: str, etag: str, *, cell: Cell, written: Mapping[str, bytes]
) -> dict[str, str]:
    """Copy a version into its cell, and write what is said of it beside; again changes nothing but what is said.

    Args:
        settings: The connection whose identity copies and writes.
        source: The blob's address, quoted.
        etag: The version, without quotes.
        cell: Where it goes.
        written: What goes beside it, in this order, by its name in the container.

    Returns:
        The address of everything, by its name in the container.

    Raises:
        ReplacedError: The blob has another version by now, and this one was not copied before.
        GoneError: The blob was deleted, likewise.
        RefusedError: The identity may not write there; it needs the role Storage Blob Data Contributor.
        UnavailableError: Storage does not answer, or the copy takes too long; trying again is safe.
    """
    addresses = {cell.copy: copy(settings, source, etag, cell)}
    for name, content in written.items():
        addresses[name] = cell.address(name)
        write_blob(settings, addresses[name], content)
    return addresses


def copy(settings: "ConnectionSettings", source: str, etag: str, cell: Cell) -> str:
    """Let the service copy a version, unless the copy is there already; return the copy's address.

    Raises:
        ReplacedError: The blob has another version by now, and this one was not copied before.
        GoneError: The blob was deleted, likewise.
        RefusedError: The identity may not write there.
        UnavailableError: Storage does not answer, or the copy takes too long; trying again is safe.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

    url = cell.address(cell.copy)
    doing = f"Copy version {etag} of {source} into quarantine {url}"
    try:
        with opened_container(settings, cell.base, cell.container) as container:
            blob = container.get_blob_client(cell.copy)
            begun = _begin(container, blob, source, etag)
            if begun != "success" and not _is_copied(blob):
                raise UnavailableError(doing, message="The copy did not succeed; it is begun again with the next try.")
    except AzureError as error:
        failure = service_error(doing, error)
        check_still_there(settings, source, etag, failure)
        raise failure from error
    return url


def _begin(container: "ContainerClient", blob: "BlobClient", source: str, etag: str) -> str:
    """Begin a copy, or find the one that an earlier try has begun; return its state as the service calls it."""
    from azure.core import MatchConditions  # noqa: PLC0415  # as above
    from azure.core.exceptions import HttpResponseError, ResourceExistsError  # noqa: PLC0415  # as above

    def _ask() -> str:
        begun = blob.start_copy_from_url(
            source,
            source_etag=f'"{etag}"',
            source_match_condition=MatchConditions.IfNotModified,
            match_condition=MatchConditions.IfMissing,
        )
        return str(begun["copy_status"])

    try:
        return _ask()
    except HttpResponseError as error:
        if service_error("", error).code == "ContainerNotFound":
            with contextlib.suppress(ResourceExistsError):
                container.create_container()
            return _ask()
        if error.status_code in (_CONFLICT, _PRECONDITION) and _is_copied(blob):
            return "success"
        raise


def _is_copied(blob: "BlobClient") -> bool:
    """Tell whether a copy is there, once the service has made it; one that failed is taken away."""
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415  # as above

    began = time.monotonic()
    try:
        while (status := blob.get_blob_properties().copy.status) == "pending":
            if time.monotonic() - began >= COPY_S:
                return False
            time.sleep(1)
        if status in _BROKEN:
            blob.delete_blob()
    except ResourceNotFoundError:
        return False
    return bool(status == "success")

"""Where the registers of models are kept: documents in the workspace's blob store, changed by compare-and-set."""

import contextlib
from datetime import UTC
from typing import TYPE_CHECKING, Any, Protocol, Self

from airflow_azureml.client.opened import opened_in_worker
from airflow_azureml.client.storage import service_error
from airflow_azureml.core.documents import Document, check_ids

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings

#: Why a conditional write was not done. Source: "Status and error codes", REST API of Blob Storage.
_NOT_DONE = frozenset({"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "BlobNotFound"})


class Shelf(Protocol):
    """A store of documents, from a worker, one at a time; see `airflow_azureml.core.documents.Documents`."""

    @property
    def url(self) -> str:
        """Where they are, for people, with a slash at its end."""

    def read(self, name: str) -> Document | None:
        """Read a document; None when there is none."""

    def write(self, name: str, text: str, *, over: str = "") -> Document | None:
        """Write a document over the version expected, or where there is none, and return what is there then.

        That is what was to be written, or something else where others were faster, or None where it is gone.
        """


class BlobShelf:
    """Documents in a folder of a container; use it with ``with``.

    Args:
        settings: The connection whose identity is used (role Storage Blob Data Contributor); not used for an account
            on this machine.
        container: The container's address, without a slash at its end; it must be there.
        folder: The folder, with a slash at its end; empty for the container itself.
    """

    def __init__(self, settings: "ConnectionSettings", container: str, *, folder: str) -> None:
        self.url = f"{container}/{folder}"
        self._folder = folder
        self._opening = settings, container
        self._opened = contextlib.ExitStack()
        self._client: ContainerClient | None = None

    def __enter__(self) -> Self:
        from azure.storage.blob import ContainerClient  # noqa: PLC0415  # not when a DAG is parsed

        make = ContainerClient.from_container_url
        self._client = self._opened.enter_context(opened_in_worker(*self._opening, make))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def _container(self) -> "ContainerClient":
        if self._client is None:
            raise AssertionError("use it with `with`")
        return self._client

    def read(self, name: str) -> Document | None:
        """Read a document; None when there is none.

        Raises:
            RefusedError: The identity may not read it, or there is no such container.
            UnavailableError: Storage does not answer; trying again is safe.
        """
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above

        check_ids([name])
        try:
            stream = self._container.get_blob_client(f"{self._folder}{name}").download_blob(max_concurrency=1)
            text, seen = stream.readall().decode("utf-8", "replace"), stream.properties
        except AzureError as error:
            failure = service_error(f"Read {self.url}{name}", error)
            if failure.code == "BlobNotFound":
                return None
            raise failure from error
        return Document(name, str(seen.etag), text, seen.last_modified.astimezone(UTC))

    def write(self, name: str, text: str, *, over: str = "") -> Document | None:
        """See `Shelf.write`; a write whose answer was lost counts as done if the document has this very text.

        Raises:
            RefusedError: The identity may not write it, or there is no such container.
            UnavailableError: Storage does not answer; trying again is safe.
        """
        from azure.core import MatchConditions  # noqa: PLC0415  # as above
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above

        check_ids([name])
        condition: dict[str, Any] = {"overwrite": False}
        if over:
            condition = {"overwrite": True, "etag": over, "match_condition": MatchConditions.IfNotModified}
        try:
            told = self._container.get_blob_client(f"{self._folder}{name}").upload_blob(text.encode(), **condition)
        except AzureError as error:
            failure = service_error(f"Write {self.url}{name}", error)
            if failure.code not in _NOT_DONE:
                raise failure from error
            return self.read(name)
        return Document(name, str(told["etag"]), text, told["last_modified"].astimezone(UTC))

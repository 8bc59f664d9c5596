"""Documents beside a workspace's own data, for what several runs may be at; changed by compare-and-set."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.core.documents import Document, Documents
from airflow_azureml.core.places import in_datastore
from airflow_azureml.errors import ConfigError, UnavailableError
from airflow_azureml.wire import datastores

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import AsyncClient
    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T")

#: Where they are, unless told otherwise: in the datastore that every workspace has.
FOLDER = "azureml://datastores/workspaceblobstore/paths/airflow-azureml/"
#: How often a change is tried again when somebody else was faster.
TRIES = 20


@frozen
class WorkspaceDocuments:
    """Documents of one folder.

    Args:
        documents: Where; opened and closed by the caller.
        folder: With what every id begins: empty, or a path with a slash at its end.
    """

    documents: Documents
    folder: str = ""

    async def read(self, name: str) -> str | None:
        """Read a document; None where there is none.

        Raises:
            ServiceError: Storage refused, or does not answer.
        """
        found = await self._read(name)
        return None if found is None else found.text

    async def now(self) -> datetime:
        """Tell the store's time, UTC.

        Raises:
            ServiceError: Storage refused, or does not answer.
        """
        return await self.documents.now()

    async def texts(self, prefix: str) -> list[str]:
        """Read all documents whose name begins so.

        Raises:
            ServiceError: Storage refused, or does not answer.
        """
        return [one.text async for page in self.documents.scan(f"{self.folder}{prefix}") for one in page]

    async def change(
        self, name: str, change: Callable[[str | None, datetime], tuple[T, str | None]], *, doing: str
    ) -> T:
        """Change a document.

        Args:
            name: Which.
            change: Is given its text, None where there is none, and the store's time; returns what the caller wants to
                know, and the text that is to be, None where nothing is to change. Asked again where others are faster.
            doing: What this is for, as the start of a sentence.

        Returns:
            What `change` returned when the document was written, or needed no change.

        Raises:
            UnavailableError: Others were always faster, or storage does not answer.
            RefusedError: The identity may not write there (role Storage Blob Data Contributor).
        """
        for _ in range(TRIES):
            found = await self._read(name)
            known, text = change(None if found is None else found.text, await self.documents.now())
            if text is None or await self._write(name, text, over=found):
                return known
        raise UnavailableError(doing, message=f"Others were faster {TRIES} times.")

    async def _read(self, name: str) -> Document | None:
        return (await self.documents.read([f"{self.folder}{name}"])).get(f"{self.folder}{name}")

    async def _write(self, name: str, text: str, *, over: Document | None) -> bool:
        ident = f"{self.folder}{name}"
        if over is None:
            return bool(await self.documents.create({ident: text}))
        return bool(await self.documents.replace({ident: (over.version, text)}))


@contextlib.asynccontextmanager
async def workspace_documents(
    settings: "ConnectionSettings", client: "AsyncClient", folder: str
) -> AsyncIterator[WorkspaceDocuments]:
    """Open the documents of a folder.

    Where the workspace is an emulator's, the caller has it in reach; see
    `airflow_azureml.client.sdk.emulator_in_reach`.

    Args:
        settings: The connection; its identity needs the role Storage Blob Data Contributor there.
        client: Speaks with the workspace.
        folder: A folder of a datastore; all who are to know of one another must name the same.

    Raises:
        RefusedError: The identity may not read the workspace's datastores, or there is no such datastore.
        UnavailableError: The workspace does not answer.
        ConfigError: The datastore is no container of blobs, or this is no folder of one.
    """
    place = in_datastore(folder)
    if place is None or place.workspace not in {"", settings.workspace.name.lower()}:
        raise ConfigError(f"{folder!r} is no folder azureml://datastores/NAME/paths/FOLDER/ of the workspace.")
    store = await client.run(datastores.named(settings.workspace, place.name))
    container = store.container_url(settings.addresses.storage)
    async with BlobDocuments(settings, container) as documents:
        yield WorkspaceDocuments(documents, f"{place.path.rstrip('/')}/" if place.path else "")

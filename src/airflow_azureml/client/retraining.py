"""Who retrains which model, in a document for each model beside the workspace's own data."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from airflow_azureml.client.azureml import AsyncClient
from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.core.documents import Document, Documents
from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.retraining import Holding, Standing, document_of
from airflow_azureml.errors import ConfigError, UnavailableError
from airflow_azureml.wire import datastores

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings

#: Where it is written, unless told otherwise: in the datastore that every workspace has.
FOLDER = "azureml://datastores/workspaceblobstore/paths/airflow-azureml/"
#: How often a change is tried again when somebody else was faster.
TRIES = 20


@frozen
class Holdings:
    """Who holds which model.

    Args:
        documents: Where that is written; opened and closed by the caller.
        folder: With what every id begins: empty, or a path with a slash at its end.
    """

    documents: Documents
    folder: str = ""

    async def look(self, model: str) -> Holding:
        """Read what is written of a model.

        Raises:
            ProtocolError: It cannot be read.
            ServiceError: Storage refused, or does not answer.
        """
        return (await self._read(model))[0]

    async def take(self, model: str, owner: str, *, instance: str, lives: Callable[[str], bool]) -> Holding:
        """Take a model for a run, unless another run that lives holds it; again changes nothing.

        Args:
            model: The model's name.
            owner: The run, ``dag/run/group``.
            instance: The Airflow whose run it is.
            lives: Tells whether a run of this Airflow still works.

        Returns:
            What is written now: whose it is, is in it.

        Raises:
            ProtocolError: What is written cannot be read.
            UnavailableError: Others were always faster, or storage does not answer.
            RefusedError: The identity may not write there (role Storage Blob Data Contributor).
        """
        for _ in range(TRIES):
            found, document = await self._read(model)
            now = await self.documents.now()
            match found.standing(owner, instance, now=now):
                case Standing.MINE | Standing.FOREIGN:
                    return found
                case Standing.ANOTHER if lives(found.owner):
                    return found
                case _:
                    wanted = found.taken(owner, instance, now=now)
                    if await self._write(wanted, document):
                        return wanted
        raise _crowded(model)

    async def give_back(self, model: str, owner: str, *, instance: str) -> Holding:
        """Give a model back, if this run holds it; again changes nothing.

        Returns:
            What is written now.

        Raises:
            ProtocolError: What is written cannot be read.
            ServiceError: Storage refused, or does not answer.
        """
        for _ in range(TRIES):
            found, document = await self._read(model)
            now = await self.documents.now()
            if found.standing(owner, instance, now=now) is not Standing.MINE:
                return found
            wanted = found.given_back(now=now)
            if await self._write(wanted, document):
                return wanted
        raise _crowded(model)

    async def _read(self, model: str) -> tuple[Holding, Document | None]:
        name = f"{self.folder}{document_of(model)}"
        document = (await self.documents.read([name])).get(name)
        return Holding(model=model) if document is None else Holding.from_text(document.text), document

    async def _write(self, wanted: Holding, over: Document | None) -> bool:
        name, text = f"{self.folder}{document_of(wanted.model)}", wanted.to_text()
        if over is None:
            return bool(await self.documents.create({name: text}))
        return bool(await self.documents.replace({name: (over.version, text)}))


@contextlib.asynccontextmanager
async def holdings(settings: "ConnectionSettings", *, folder: str = FOLDER) -> AsyncIterator[Holdings]:
    """Open them.

    Where the workspace is an emulator's, the caller has it in reach; see
    `airflow_azureml.client.sdk.emulator_in_reach`.

    Args:
        settings: The connection; its identity needs the role Storage Blob Data Contributor there.
        folder: A folder of a datastore; whoever retrains the same model must name the same.

    Raises:
        RefusedError: The identity may not read the workspace's datastores, or there is no such datastore.
        UnavailableError: The workspace does not answer.
        ConfigError: The datastore is no container of blobs, or this is no folder of one.
    """
    place = in_datastore(folder)
    if place is None or place.workspace not in {"", settings.workspace.name.lower()}:
        raise ConfigError(f"{folder!r} is no folder azureml://datastores/NAME/paths/FOLDER/ of the workspace.")
    async with AsyncClient(settings) as client:
        store = await client.run(datastores.named(settings.workspace, place.name))
    container = store.container_url(settings.addresses.storage)
    async with BlobDocuments(settings, container) as documents:
        yield Holdings(documents, f"{place.path.rstrip('/')}/" if place.path else "")


async def last_retraining(settings: "ConnectionSettings", model: str) -> tuple[str, datetime | None]:
    """Say who retrains a model now, and when the last retraining ended, or else began.

    Returns:
        The run, ``dag/run/group``, which may have died meanwhile, or an empty text for none; and the time, UTC, None
        where the model was never retrained.

    Raises:
        AzureMLError: See `holdings` and `Holdings.look`.
    """
    async with holdings(settings) as opened:
        found = await opened.look(model)
    return found.owner if found.is_held else "", found.last


def _crowded(model: str) -> UnavailableError:
    return UnavailableError(f"Take model {model} for a retraining", message=f"Others were faster {TRIES} times.")

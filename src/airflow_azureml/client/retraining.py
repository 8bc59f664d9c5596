"""Who retrains which model, in a document for each model beside the workspace's own data."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from airflow_azureml.client.azureml import AsyncClient
from airflow_azureml.client.workspace_documents import FOLDER, WorkspaceDocuments, workspace_documents
from airflow_azureml.core.retraining import Holding, Standing, document_of

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings


@frozen
class Holdings:
    """Who holds which model.

    Args:
        documents: Where that is written.
    """

    documents: WorkspaceDocuments

    async def look(self, model: str) -> Holding:
        """Read what is written of a model.

        Raises:
            ProtocolError: It cannot be read.
            ServiceError: Storage refused, or does not answer.
        """
        return _parsed(model, await self.documents.read(document_of(model)))

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

        def _taken(text: str | None, now: datetime) -> tuple[Holding, str | None]:
            found = _parsed(model, text)
            match found.standing(owner, instance, now=now):
                case Standing.MINE | Standing.FOREIGN:
                    return found, None
                case Standing.ANOTHER if lives(found.owner):
                    return found, None
                case _:
                    wanted = found.taken(owner, instance, now=now)
                    return wanted, wanted.to_text()

        return await self.documents.change(document_of(model), _taken, doing=_doing(model))

    async def give_back(self, model: str, owner: str, *, instance: str) -> Holding:
        """Give a model back, if this run holds it; again changes nothing.

        Returns:
            What is written now.

        Raises:
            ProtocolError: What is written cannot be read.
            ServiceError: Storage refused, or does not answer.
        """

        def _given_back(text: str | None, now: datetime) -> tuple[Holding, str | None]:
            found = _parsed(model, text)
            if found.standing(owner, instance, now=now) is not Standing.MINE:
                return found, None
            wanted = found.given_back(now=now)
            return wanted, wanted.to_text()

        return await self.documents.change(document_of(model), _given_back, doing=_doing(model))


def _parsed(model: str, text: str | None) -> Holding:
    return Holding(model=model) if text is None else Holding.from_text(text)


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
    async with AsyncClient(settings) as client, workspace_documents(settings, client, folder) as documents:
        yield Holdings(documents)


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


def _doing(model: str) -> str:
    return f"Take model {model} for a retraining"

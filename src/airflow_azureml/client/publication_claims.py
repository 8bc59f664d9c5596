"""Who publishes what, in a document for each folder beside the workspace's own data."""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_azureml.client.azureml import AsyncClient
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.client.workspace_documents import FOLDER, workspace_documents
from airflow_azureml.core.publication_claims import Claim, document_of
from airflow_azureml.errors import OvertakenError

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings


class Claims:
    """The claims of one publisher; for blocking code, outside of an event loop.

    Args:
        settings: The connection; its identity needs the role Storage Blob Data Contributor there.
        bundle: The folder's name.
        owner: Who publishes; the same on every try, and another when it is asked for anew.
        version: What is published.
        folder: A folder of a datastore; whoever publishes the same must name the same.
    """

    def __init__(
        self, settings: "ConnectionSettings", bundle: str, *, owner: str, version: str, folder: str = FOLDER
    ) -> None:
        self._settings = settings
        self._bundle = bundle
        self._owner = owner
        self._version = version
        self._folder = folder

    def look(self) -> Claim:
        """Read who began last.

        Raises:
            ProtocolError: It cannot be read.
            ServiceError: Storage refused, or does not answer.
        """
        return self._run(begins=False)

    def begin(self) -> Claim:
        """Begin, unless somebody has begun to publish something else since; again changes nothing.

        Raises:
            OvertakenError: Somebody has.
            ProtocolError: What is written cannot be read.
            ServiceError: Storage refused, or does not answer.
        """
        return self._run(begins=True)

    def check(self) -> None:
        """See that nobody has begun to publish something else since.

        Raises:
            OvertakenError: Somebody has.
            ProtocolError: What is written cannot be read.
            ServiceError: Storage refused, or does not answer.
        """
        found = self._run(begins=False)
        if found.version != self._version:
            raise self._overtaken(found)

    def _run(self, *, begins: bool) -> Claim:
        with emulator_in_reach(self._settings):
            return asyncio.run(self._opened(begins=begins))

    async def _opened(self, *, begins: bool) -> Claim:
        name = document_of(self._bundle)
        async with (
            AsyncClient(self._settings) as client,
            workspace_documents(self._settings, client, self._folder) as documents,
        ):
            if begins:
                return await documents.change(name, self._begun, doing=f"Begin to publish {self._bundle}")
            return _parsed(await documents.read(name))

    def _begun(self, text: str | None, now: datetime) -> tuple[Claim, str | None]:
        found = _parsed(text)
        if found.knows(self._owner, self._version):
            if found.version != self._version:
                raise self._overtaken(found)
            return found, None
        wanted = found.begun(self._owner, self._version, now=now)
        return wanted, wanted.to_text()

    def _overtaken(self, by: Claim) -> OvertakenError:
        return OvertakenError(
            f"The publication of {self._bundle} {self._version} to workspace {self._settings.workspace.name} was"
            f" overtaken by that of {by}. What this one has created stays, and it switches no default deployment any"
            " more; look at the other one, and publish this commit again if it is the one that is wanted."
        )


def _parsed(text: str | None) -> Claim:
    return Claim() if text is None else Claim.from_text(text)

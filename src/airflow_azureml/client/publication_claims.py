"""Who publishes what, in a document for each folder beside the workspace's own data."""

import asyncio
from typing import TYPE_CHECKING

from airflow_azureml.client.azureml import AsyncClient
from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.publication_claims import Claim, document_of
from airflow_azureml.errors import ConfigError, OvertakenError, UnavailableError
from airflow_azureml.wire import datastores

if TYPE_CHECKING:
    from airflow_azureml.core.documents import Document, Documents
    from airflow_azureml.core.workspace import ConnectionSettings

#: Where it is written: in the datastore that every workspace has.
FOLDER = "azureml://datastores/workspaceblobstore/paths/airflow-azureml/"
#: How often a change is tried again when somebody else was faster.
TRIES = 20


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
        place = in_datastore(self._folder)
        if place is None:
            raise ConfigError(f"{self._folder!r} is no folder azureml://datastores/NAME/paths/FOLDER/.")
        async with AsyncClient(self._settings) as client:
            store = await client.run(datastores.named(self._settings.workspace, place.name))
        prefix = f"{place.path.rstrip('/')}/" if place.path else ""
        name = f"{prefix}{document_of(self._bundle)}"
        container = store.container_url(self._settings.addresses.storage)
        async with BlobDocuments(self._settings, container) as documents:
            if begins:
                return await self._begun(documents, name)
            return (await _read(documents, name))[0]

    async def _begun(self, documents: "Documents", name: str) -> Claim:
        for _ in range(TRIES):
            found, document = await _read(documents, name)
            if found.knows(self._owner, self._version):
                if found.version != self._version:
                    raise self._overtaken(found)
                return found
            wanted = found.begun(self._owner, self._version, now=await documents.now())
            text = wanted.to_text()
            if document is None:
                is_ours = bool(await documents.create({name: text}))
            else:
                is_ours = bool(await documents.replace({name: (document.version, text)}))
            if is_ours:
                return wanted
        raise UnavailableError(f"Begin to publish {self._bundle}", message=f"Others were faster {TRIES} times.")

    def _overtaken(self, by: Claim) -> OvertakenError:
        return OvertakenError(
            f"The publication of {self._bundle} {self._version} to workspace {self._settings.workspace.name} was"
            f" overtaken by that of {by}. What this one has created stays, and it switches no default deployment any"
            " more; look at the other one, and publish this commit again if it is the one that is wanted."
        )


async def _read(documents: "Documents", name: str) -> "tuple[Claim, Document | None]":
    document = (await documents.read([name])).get(name)
    return Claim() if document is None else Claim.from_text(document.text), document

"""Which batches still have consequences to come: an index beside the ledger, in the same store.

The ledger knows when a batch has ended. Its end has consequences: the result is published, or its blobs are claimed
again. Whoever dies between the two leaves the batch in this index, for the next claim.
"""

from collections.abc import Iterable

from attrs import frozen

from airflow_azureml.client.ledger import Ledger


@frozen
class Unsettled:
    """The index of one ledger.

    Args:
        ledger: An open ledger.
    """

    ledger: Ledger

    async def add(self, batch_ids: Iterable[str]) -> None:
        """Put batches into the index; those that are in it already stay."""
        if texts := {self._id(each): "{}" for each in batch_ids}:
            await self.ledger.documents.create(texts)

    async def remove(self, batch_ids: Iterable[str]) -> None:
        """Take batches out of the index, whether they are in it or not."""
        found = await self.ledger.documents.read([self._id(each) for each in batch_ids])
        if found:
            await self.ledger.documents.remove({name: each.version for name, each in found.items()})

    async def ids(self) -> list[str]:
        """List the batches in the index."""
        prefix = f"{self.ledger.name}/unsettled/"
        pages = self.ledger.documents.ids(prefix)
        return [each.removeprefix(prefix) async for page in pages for each in page]

    def _id(self, batch_id: str) -> str:
        return f"{self.ledger.name}/unsettled/{batch_id}"

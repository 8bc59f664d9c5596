"""What is done, for many blobs at once: read from batches and shards, which are few, and not from entries."""

from collections.abc import Collection

from attrs import define, field, frozen

from airflow_azureml.client.ledger_store import LedgerStore
from airflow_azureml.core.ledger import Batch, BlobState

#: Batches that may be read for one blob that is asked about.
_BATCHES_PER_BLOB = 2


@frozen
class Done:
    """What became of blob versions, and in which batch; empty where that was folded away."""

    state: BlobState
    batch: str = ""
    owner: str = ""


@define
class Survey:
    """All that is done in one ledger, read once.

    A reconciliation asks about every blob of a container, most of which were scored long ago: one request for each of
    them would cost more than all the rest. What is done stays done, unless a person opens or forgets a blob, which has
    a mark then; so what was read once holds for as long as a task lasts. Whatever is not found here is looked up.

    Attributes:
        store: The ledger's documents.
        done: What is known to be done, by key in bytes; None before it was read. About 100 bytes a blob version.
    """

    store: LedgerStore
    done: dict[bytes, Done] | None = field(default=None, repr=False)

    async def look_up(self, keys: Collection[str]) -> dict[str, Done]:
        """Say which of these are done; there may be more of them.

        Args:
            keys: So many that reading the whole is worth it; where it is not, the answer is empty.
        """
        if self.done is None:
            if await self.store.count_batches(most=_BATCHES_PER_BLOB * len(keys)) is None:
                return {}
            self.done = await self._read()
        found = {key: self.done.get(bytes.fromhex(key)) for key in keys}
        return {key: each for key, each in found.items() if each is not None}

    async def _read(self) -> dict[bytes, Done]:
        """Read batches before shards: a compaction writes a shard before it removes a batch."""
        done: dict[bytes, Done] = {}
        async for page in self.store.all_batches():
            for batch, _ in page:
                done |= _done_in(batch)
        for shard in (await self.store.all_shards()) if await self.store.folds() else ():
            for group, keys in shard.groups.items():
                entry = Done(group.state)
                done |= {bytes.fromhex(key): entry for key in keys}
        for key in await self.store.touched():
            done.pop(bytes.fromhex(key), None)
        return done


def _done_in(batch: Batch) -> dict[bytes, Done]:
    """List what a batch has settled: all of one that is scored, and whatever it has rejected."""
    scored, rejected = (Done(state, batch.id, batch.owner) for state in (BlobState.SCORED, BlobState.REJECTED))
    found = {bytes.fromhex(key): rejected for key in batch.rejected}
    if batch.state is batch.state.SCORED:
        found |= {bytes.fromhex(each.key): scored for each in batch.items if each.key not in batch.rejected}
    return found

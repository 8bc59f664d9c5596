"""The ledger's values in a store of documents: entries, batches, the index of those that have not ended, shards."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping

from attrs import field, frozen

from airflow_azureml.core.documents import Document, Documents
from airflow_azureml.core.ledger import Batch, BlobState, Entry, faults_of_name
from airflow_azureml.core.ledger_shards import SHARDS, Shard, shard_of
from airflow_azureml.errors import ConfigError, UnavailableError

#: How often a change is tried again when somebody else was faster; each time somebody has got on with it.
TRIES = 50
_MARKER = "{}"


def _check_name(_: object, __: object, name: str) -> None:
    if faults := faults_of_name(name):
        raise ConfigError(faults[0])


@frozen(kw_only=True)
class LedgerStore:
    """One ledger's documents.

    Attributes:
        documents: Where they are; opened and closed by the caller.
        name: The ledger's; each id begins with it.
    """

    documents: Documents
    name: str = field(validator=_check_name)

    async def entries(self, keys: Iterable[str]) -> dict[str, Entry]:
        """Read entries, by key."""
        found = await self.documents.read([self._entry_id(key) for key in keys])
        return {_last(each.id): Entry.of(each) for each in found.values()}

    async def look(self, keys: Iterable[str]) -> tuple[dict[str, Entry], dict[str, Batch]]:
        """Read entries, by key, and the batches that they name, by id; one may name a batch that is not there.

        A compaction removes an entry before its batch: so an entry without its batch is read again.
        """
        entries = await self.entries(keys)
        batches: dict[str, Batch] = {}
        lost: dict[str, Entry] = {}
        for _ in range(TRIES):
            batches |= await self.batches({each.batch for each in entries.values() if each.batch} - batches.keys())
            named = {key: each for key, each in entries.items() if each.batch and each.batch not in batches}
            unsure = {key: each for key, each in named.items() if lost.get(key) != each}
            if not unsure:
                return entries, batches
            lost |= unsure
            again = await self.entries(unsure)
            entries = {key: each for key, each in entries.items() if key not in unsure} | again
        raise _crowded(f"{self.name}/blobs")

    async def enter(self, entries: Mapping[str, Entry]) -> dict[str, str]:
        """Write entries where there is none, or over the version that each of them has; return the versions of ours."""
        new = {self._entry_id(key): each.to_text() for key, each in entries.items() if not each.version}
        old = {self._entry_id(key): (each.version, each.to_text()) for key, each in entries.items() if each.version}
        written = await self.documents.create(new) if new else {}
        replaced = await self.documents.replace(old) if old else {}
        return {_last(each.id): each.version for each in (*written.values(), *replaced.values())}

    async def forget(self, versions: Mapping[str, str]) -> set[str]:
        """Remove entries that still have these versions, by key; return the keys of those that are gone."""
        gone = await self.documents.remove({self._entry_id(key): version for key, version in versions.items()})
        return set(map(_last, gone))

    async def all_entries(self) -> AsyncIterator[list[Entry]]:
        """Read all entries, page by page."""
        async for page in self.documents.scan(f"{self.name}/blobs/"):
            yield [Entry.of(each) for each in page]

    async def batches(self, ids: Iterable[str]) -> dict[str, Batch]:
        """Read batches; those that are not there are left out."""
        found = await self.documents.read([self._batch_id(each) for each in ids])
        return {_last(each.id): Batch.of(each) for each in found.values()}

    async def all_batches(self) -> AsyncIterator[list[tuple[Batch, Document]]]:
        """Read all batches, page by page."""
        async for page in self.documents.scan(f"{self.name}/batches/"):
            yield [(Batch.of(each), each) for each in page]

    async def count_batches(self, *, most: int) -> int | None:
        """Count the batches; None where there are more than so many."""
        count = 0
        async for page in self.documents.ids(f"{self.name}/batches/"):
            count += len(page)
            if count > most:
                return None
        return count

    async def begin(self, batches: Collection[Batch]) -> list[Batch]:
        """Store new batches; the index first, so that none is ever unknown."""
        await self.mark(each.id for each in batches)
        written = await self.documents.create({self._batch_id(each.id): each.to_text() for each in batches})
        return [
            Batch.of(written[name]) for name in map(self._batch_id, (each.id for each in batches)) if name in written
        ]

    async def step(self, batch_id: str, step: Callable[[Batch], Batch]) -> Batch:
        """Move a batch on, by compare-and-set; one that has ended leaves the index.

        Raises:
            ConfigError: There is none of this id.
            AzureMLError: What `step` raises; nothing is changed then.
        """
        name = self._batch_id(batch_id)
        for _ in range(TRIES):
            found = (await self.documents.read([name])).get(name)
            if found is None:
                raise ConfigError(f"Ledger {self.name!r} has no batch {batch_id!r}: it ended long ago, or never was.")
            before = Batch.of(found)
            after = step(before)
            if after != before:
                written = (await self.documents.replace({name: (found.version, after.to_text())})).get(name)
                if written is None:
                    continue
                after = Batch.of(written)
            if after.state.is_final:
                await self.unmark([batch_id])
            return after
        raise _crowded(name)

    async def replace(self, batches: Mapping[str, Batch]) -> dict[str, Batch]:
        """Write batches, by id, over the version that each was made from; return those that are written."""
        changes = {self._batch_id(name): (each.version, each.to_text()) for name, each in batches.items()}
        return {_last(each.id): Batch.of(each) for each in (await self.documents.replace(changes)).values()}

    async def drop(self, batches: Collection[Batch]) -> set[str]:
        """Remove batches that are still as they were read, then their marks; return the ids of those that are gone."""
        gone = await self.documents.remove({self._batch_id(each.id): each.version for each in batches})
        ids = set(map(_last, gone))
        await self.unmark(ids)
        return ids

    async def marks(self) -> AsyncIterator[list[Document]]:
        """Read the index of batches that have not ended, page by page."""
        async for page in self.documents.scan(f"{self.name}/open/"):
            yield page

    async def marked(self) -> list[str]:
        """List the ids of batches that have not ended; some have, or were never begun."""
        return [_last(each) async for page in self.documents.ids(f"{self.name}/open/") for each in page]

    async def mark(self, ids: Iterable[str]) -> None:
        """Put batches into the index."""
        await self.documents.create({self._open_id(each): _MARKER for each in ids})

    async def unmark(self, ids: Iterable[str]) -> None:
        """Take batches out of the index."""
        if marks := {self._open_id(each): "" for each in ids}:
            await self.documents.remove(marks)

    async def folds(self) -> str:
        """Tell how far entries have been folded away, as a word to compare; empty where none ever were."""
        name = f"{self.name}/folds"
        found = (await self.documents.read([name])).get(name)
        return found.version if found else ""

    async def folded(self, keys: Collection[str]) -> dict[str, BlobState]:
        """Say what became of those of these keys that were folded away."""
        shards = await self.shards({shard_of(key) for key in keys})
        found = {key: shards[shard_of(key)].state_of(key) for key in keys}
        return {key: state for key, state in found.items() if state}

    async def fold(self) -> None:
        """Say that shards have grown, before any entry is removed for it."""
        name = f"{self.name}/folds"
        for _ in range(TRIES):
            found = (await self.documents.read([name])).get(name)
            if found is None:
                written = await self.documents.create({name: "1"})
            else:
                written = await self.documents.replace({name: (found.version, str(int(found.text) + 1))})
            if written:
                return
        raise _crowded(name)

    async def shards(self, names: Collection[str]) -> dict[str, Shard]:
        """Read shards; one that is not there is empty."""
        ids = {name: f"{self.name}/done/{name}" for name in names}
        found = await self.documents.read(list(ids.values()))
        return {name: Shard.of(name, found.get(each)) for name, each in ids.items()}

    async def all_shards(self) -> list[Shard]:
        """Read all shards."""
        return list((await self.shards(SHARDS)).values())

    async def touch(self, key: str) -> None:
        """Mark a blob version that a person opens or forgets, before anything of it is changed."""
        await self.documents.create({f"{self.name}/touched/{key}": _MARKER})

    async def untouch(self, keys: Collection[str]) -> None:
        """Take away the marks of blob versions that were settled and folded away once more."""
        await self.documents.remove({f"{self.name}/touched/{key}": "" for key in keys})

    async def touched(self) -> set[str]:
        """List the blob versions that a person has opened or forgotten."""
        return {_last(each) async for page in self.documents.ids(f"{self.name}/touched/") for each in page}

    async def reshape(self, changes: Mapping[str, Callable[[Shard], Shard]]) -> None:
        """Change shards, by name, by compare-and-set."""
        left = dict(changes)
        for _ in range(TRIES):
            shards = await self.shards(left)
            changed = {name: left[name](shard) for name, shard in shards.items()}
            changed = {name: shard for name, shard in changed.items() if shard != shards[name]}
            ids = {name: f"{self.name}/done/{name}" for name in changed}
            new = {ids[name]: shard.to_text() for name, shard in changed.items() if not shard.version}
            old = {ids[name]: (shard.version, shard.to_text()) for name, shard in changed.items() if shard.version}
            written = {**await self.documents.create(new), **await self.documents.replace(old)}
            left = {name: left[name] for name in changed if ids[name] not in written}
            if not left:
                return
        raise _crowded(f"{self.name}/done/{min(left)}")

    def _entry_id(self, key: str) -> str:
        return f"{self.name}/blobs/{key[:2]}/{key}"

    def _batch_id(self, batch_id: str) -> str:
        return f"{self.name}/batches/{batch_id}"

    def _open_id(self, batch_id: str) -> str:
        return f"{self.name}/open/{batch_id}"


def _last(document_id: str) -> str:
    return document_id.rpartition("/")[2]


def _crowded(name: str) -> UnavailableError:
    return UnavailableError(f"Change {name} of the ledger", message=f"Others were faster {TRIES} times.")

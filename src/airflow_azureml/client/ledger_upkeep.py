"""Looking after a ledger: what is in it, opening and forgetting single blobs, and keeping it small."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import evolve, field, frozen

from airflow_azureml.client.ledger import Ledger
from airflow_azureml.client.ledger_store import LedgerStore
from airflow_azureml.client.unsettled import Unsettled
from airflow_azureml.core import ledger_steps as steps
from airflow_azureml.core.documents import Documents
from airflow_azureml.core.ledger import Batch, BlobState, Compacted, Entry, Shown
from airflow_azureml.core.ledger_shards import SHARDS, Group, Shard, shard_of
from airflow_azureml.errors import ConfigError

#: How long entries of a settled batch are kept as they are.
KEPT = timedelta(days=30)
#: Entries that one round of a compaction folds; the more, the fewer writes of shards.
_ROUND = 20_000


@frozen(kw_only=True)
class Upkeep:
    """The upkeep of one ledger, on an event loop; `documents` is opened and closed by the caller.

    Every method raises `RefusedError` or `UnavailableError` of its store; doing the same again is always safe.

    Args:
        documents: Where the ledger is kept.
        name: Which one of the store.

    Raises:
        ConfigError: The name is none.
    """

    documents: Documents
    name: str = "default"
    store: LedgerStore = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "store", LedgerStore(documents=self.documents, name=self.name))

    async def show(
        self, *, prefix: str = "", states: Collection[BlobState] = (), batch: str = "", at_most: int = 100
    ) -> tuple[list[Shown], bool]:
        """Read what the ledger has of blobs, in no order that means anything.

        Args:
            prefix: How their paths begin.
            states: Where they are; empty for anywhere.
            batch: Which batch has them; empty for any.
            at_most: How many to return.

        Returns:
            The blobs, and whether there are more.
        """
        found: list[Shown] = []
        async for each in self._shown():
            wanted = each.arrival is not None and each.arrival.path.startswith(prefix)
            wanted = wanted and (not states or each.state in states)
            if not wanted or (batch and (each.batch is None or each.batch.id != batch)):
                continue
            if len(found) == at_most:
                return found, True
            found.append(each)
        return found, False

    async def find(self, which: str) -> list[Shown]:
        """Find blob versions by a key, or by the whole path of a blob; what was folded away by its key only."""
        if not _is_key(which):
            return [each async for each in self._shown() if each.arrival is not None and each.arrival.path == which]
        entries, batches = await self.store.look([which])
        found = [steps.shown(each, batches.get(each.batch)) for each in entries.values()]
        if not found and await self.store.folds():
            state = (await self.store.folded([which])).get(which)
            found = [Shown(key=which, state=state, turn=1)] if state else []
        return found

    async def totals(self) -> dict[BlobState, int]:
        """Count what was folded away, by what became of it."""
        if not await self.store.folds():
            return {}
        counts: dict[BlobState, int] = {}
        for shard in await self.store.all_shards():
            for group, keys in shard.groups.items():
                counts[group.state] = counts.get(group.state, 0) + len(keys)
        return counts

    async def retry(self, which: str) -> list[Shown]:
        """Open blobs again that are scored or rejected.

        Args:
            which: A key, or a blob's whole path.

        Returns:
            Those that were opened.

        Raises:
            ConfigError: The ledger has none of them, or a batch has one that has not ended.
        """
        opened = [each for each in await self._settled(which) if each.state.is_done]
        for each in opened:
            await self.store.touch(each.key)
            entry = (await self.store.entries([each.key])).get(each.key)
            if entry is not None:
                await self._enter(steps.pardoned(entry))
            await self._out_of_shard(each.key)
        return opened

    async def forget(self, which: str) -> list[Shown]:
        """Forget blobs: if they are there still, they are as new.

        Args:
            which: A key, or a blob's whole path.

        Returns:
            Those that were forgotten.

        Raises:
            ConfigError: The ledger has none of them, or a batch has one that has not ended.
        """
        found = await self._settled(which)
        for each in found:
            await self.store.touch(each.key)
            await self._out_of_shard(each.key)
            entry = (await self.store.entries([each.key])).get(each.key)
            if entry is not None and not await self.store.forget({each.key: entry.version}):
                raise ConfigError(f"Blob {each.key} was not forgotten: somebody has just claimed it.")
        return found

    async def compact(
        self, *, older_than: timedelta = KEPT, alive: Mapping[str, Collection[str]] | None = None
    ) -> Compacted:
        """Fold what was settled long ago; safe at any moment, beside claims and beside another compaction.

        A batch whose end still has consequences to come, such as a result to publish, stays as it is.

        Args:
            older_than: How long ago a batch must have ended, by the store's clock.
            alive: Keys of all blob versions that there are, by ``ACCOUNT/CONTAINER``: others of these containers that
                were folded in an earlier month are forgotten. None forgets nothing.
        """
        before = await self.documents.now() - older_than
        done = Compacted()
        async for batches in self._ended(before):
            done = await self._fold(batches, done)
        await self._mend_index(before)
        if alive:
            done = evolve(done, dropped=await self._drop(alive, before=f"{before:%Y-%m}"))
        return done

    async def _shown(self) -> AsyncIterator[Shown]:
        async for page in self.store.all_entries():
            batches = await self.store.batches({each.batch for each in page if each.batch})
            for each in page:
                yield steps.shown(each, batches.get(each.batch))

    async def _settled(self, which: str) -> list[Shown]:
        found = await self.find(which)
        if not found:
            raise ConfigError(
                f"Ledger {self.name!r} knows no blob {which!r}: give a key, or the whole path in the container. "
                "Of what was settled long ago the key alone is kept."
            )
        for each in found:
            if each.state in {BlobState.CLAIMED, BlobState.SUBMITTED} and each.batch is not None:
                raise ConfigError(
                    f"Blob {each.key} is {each.state.value} by batch {each.batch.id} of {each.batch.owner}, which has "
                    "not ended: wait for it, or clear its task."
                )
        return found

    async def _enter(self, entry: Entry) -> None:
        if not await self.store.enter({entry.item.key: entry}):
            raise ConfigError(f"Blob {entry.item.key} was not opened: somebody has just changed its entry.")

    async def _out_of_shard(self, key: str) -> None:
        if await self.store.folds():
            await self.store.reshape({shard_of(key): lambda shard: shard.without({key})})

    async def _ended(self, before: datetime) -> AsyncIterator[list[Batch]]:
        """Read batches that ended before a time, so many that a round of them is worth its writes."""
        found: list[Batch] = []
        unsettled = set(await Unsettled(Ledger(documents=self.documents, name=self.name)).ids())
        async for page in self.store.all_batches():
            ended = [batch for batch, document in page if batch.state.is_final and document.time <= before]
            found += [each for each in ended if each.id not in unsettled]
            await self.store.mark(batch.id for batch, _ in page if not batch.state.is_final)
            if sum(len(each.items) for each in found) >= _ROUND:
                yield found
                found = []
        if found:
            yield found

    async def _fold(self, batches: Sequence[Batch], done: Compacted) -> Compacted:
        """Fold the blobs of these batches, and remove the batches.

        In this order: the shards know a blob before its entry is removed, and no entry names a batch that is removed
        after it.
        """
        by_id = {each.id: each for each in batches}
        found = await self.store.entries({item.key for each in batches for item in each.items})
        entries = {key: each for key, each in found.items() if each.batch in by_id}
        states = {key: steps.state_of(each, by_id[each.batch]) for key, each in entries.items()}
        folding = {key: entries[key] for key, state in states.items() if state.is_done}
        await self._into_shards([(steps.group_of(each, by_id[each.batch]), key) for key, each in folding.items()])
        opening = {key: each for key, each in entries.items() if key not in folding}
        # One that was claimed by mistake after it was folded away; see `Ledger.sort`.
        again = await self.store.folded([key for key, each in opening.items() if each.item.turn == 1])
        gone = await self.store.forget({key: entries[key].version for key in (*folding, *again)})
        opened = await self.store.enter(
            {key: steps.reopened(each, by_id[each.batch]) for key, each in opening.items() if key not in again}
        )
        removed = await self.store.drop(batches)
        if touched := gone & await self.store.touched():
            await self.store.untouch(touched)
        return evolve(
            done,
            folded=done.folded + len(gone - again.keys()),
            reopened=done.reopened + len(opened),
            batches=done.batches + len(removed),
        )

    async def _into_shards(self, keys: Sequence[tuple[Group, str]]) -> None:
        by_shard: dict[str, list[tuple[Group, str]]] = {}
        for group, key in keys:
            by_shard.setdefault(shard_of(key), []).append((group, key))
        if by_shard:
            await self.store.reshape({name: _adding(some) for name, some in by_shard.items()})
            await self.store.fold()

    async def _mend_index(self, before: datetime) -> None:
        """Take out of the index what was begun long ago and never became a batch."""
        async for page in self.store.marks():
            old = {each.id.rpartition("/")[2]: each for each in page if each.time <= before}
            known = await self.store.batches(old)
            await self.store.unmark(old.keys() - known.keys())

    async def _drop(self, alive: Mapping[str, Collection[str]], *, before: str) -> int:
        counts: dict[str, int] = {}

        def _only(shard: Shard) -> Shard:
            left = shard.only(alive, before=before)
            counts[shard.name] = len(shard) - len(left)
            return left

        if await self.store.folds():
            await self.store.reshape(dict.fromkeys(SHARDS, _only))
        return sum(counts.values())


def _adding(keys: Sequence[tuple[Group, str]]) -> Callable[[Shard], Shard]:
    return lambda shard: shard.with_keys(keys)


def _is_key(text: str) -> bool:
    return len(text) == len("0" * 32) and not set(text) - set("0123456789abcdef")

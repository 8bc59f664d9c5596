"""The ledger over a store of documents; what it decides stands in `airflow_azureml.core.ledger`."""

import contextlib
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from attrs import evolve, field, frozen

from airflow_azureml.client.ledger_store import LedgerStore
from airflow_azureml.client.ledger_survey import Survey
from airflow_azureml.core import ledger_steps as steps
from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.documents import Documents
from airflow_azureml.core.ledger import (
    MOST_FAILURES,
    Batch,
    BatchState,
    BlobState,
    Entry,
    Known,
    Open,
    Sorted,
)
from airflow_azureml.errors import ConfigError, FencedError


@frozen(kw_only=True)
class Ledger:
    """One ledger, on an event loop; `documents` is opened and closed by the caller.

    Every method raises `RefusedError` or `UnavailableError` of its store; doing the same again is always safe.

    Args:
        documents: Where it is kept.
        name: Tells it from other ledgers of the same store; ASCII letters, digits, ``.``, ``_`` and ``-``.
        most_failures: How often a blob's job may fail while the blob is alone in its batch, before it is rejected.
        new_id: Makes a batch's id, another each time.
        many: From how many blobs on `sort` reads what is done from batches, and not from each blob's entry.

    Raises:
        ConfigError: The name is none.
    """

    documents: Documents
    name: str = "default"
    most_failures: int = MOST_FAILURES
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex, repr=False)
    many: int = 500
    store: LedgerStore = field(init=False, repr=False)
    _survey: Survey = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        store = LedgerStore(documents=self.documents, name=self.name)
        object.__setattr__(self, "store", store)
        object.__setattr__(self, "_survey", Survey(store))

    async def sort(self, arrivals: Iterable[Arrival]) -> Sorted:
        """Say which of these may be claimed, which a batch has, and which are done; each once."""
        asked = {each.key: each for each in arrivals}
        past = await self._survey.look_up(asked) if len(asked) >= self.many else {}
        wanted = {key: each for key, each in asked.items() if key not in past}
        # In this order: whatever is folded away meanwhile is found in its shard at the latest.
        folds = await self.store.folds()
        entries, batches = await self.store.look(wanted)
        states = {key: steps.state_of(each, batches.get(each.batch)) for key, each in entries.items()}
        states |= await self._folded(wanted, entries, states) if folds or await self.store.folds() else {}
        open_: list[Open] = []
        known = [Known(arrival=asked[key], state=it.state, batch=it.batch, owner=it.owner) for key, it in past.items()]
        for key, arrival in wanted.items():
            entry, state = entries.get(key), states.get(key, BlobState.OPEN)
            batch = batches.get(entry.batch) if entry else None
            if state is BlobState.OPEN:
                item = steps.next_turn(entry, batch) if entry else Open(arrival=arrival)
                open_.append(evolve(item, arrival=arrival, folds=folds))
            else:
                whose = (batch.id, batch.owner) if batch else ("", "")
                known.append(Known(arrival=arrival, state=state, batch=whose[0], owner=whose[1]))
        return Sorted(
            open=tuple(open_),
            held=tuple(each for each in known if not each.state.is_done),
            done=tuple(each for each in known if each.state.is_done),
        )

    async def claim(self, packs: Sequence[Sequence[Open]], *, owner: str) -> list[Batch]:
        """Claim packs of blobs, each for a batch of its own.

        A blob that somebody else has claimed meanwhile is left out of its batch; a batch without any is not returned.

        Args:
            packs: Blobs as `sort` gave them; each blob once, and no more together than each of them allows.
            owner: ``dag/run/task``; by this, `mine` finds the batches again.

        Raises:
            ConfigError: The packs are none.
        """
        _check(packs)
        batches = [Batch(id=self.new_id(), owner=owner, items=tuple(pack)) for pack in packs if pack]
        stored = {each.id: each for each in await self.store.begin(batches)}
        begun = [(each, stored[each.id]) for each in batches if each.id in stored]
        return await self._finish([evolve(each, version=its.version, times=its.times) for each, its in begun])

    async def mine(self, owner: str) -> list[Batch]:
        """Return this owner's batches that have not ended; a claim that died half way is finished first."""
        batches = [each for each in await self.open_batches() if each.owner == owner]
        half = [each for each in batches if each.state is BatchState.CLAIMING]
        whole = [each for each in batches if each.state is not BatchState.CLAIMING]
        return [*whole, *await self._finish(half)]

    async def open_batches(self) -> list[Batch]:
        """Return all batches that have not ended, those included that are still being claimed; oldest first."""
        found = await self.store.batches(await self.store.marked())
        await self.store.unmark(each.id for each in found.values() if each.state.is_final)
        unended = [each for each in found.values() if not each.state.is_final]
        return sorted(unended, key=lambda each: (min(each.times.values()), each.id))

    async def batch(self, batch_id: str) -> Batch:
        """Return a batch.

        Raises:
            ConfigError: There is none of this id.
        """
        return await self.store.step(batch_id, lambda found: found)

    async def submit(
        self, batch_id: str, *, owner: str, job: str = "", rejected: Mapping[str, str] | None = None
    ) -> Batch:
        """Note that the batch's job is going to be posted; before it is. The same owner may say so again.

        Args:
            batch_id: Which one.
            owner: Who claimed it.
            job: The job's name, where it is known; said again, the newest holds.
            rejected: Why single blobs of it are not scored, by key; that is for good.

        Raises:
            FencedError: It is somebody else's, or was settled: nothing may be posted.
            ConfigError: There is none of this id.
        """
        return await self.store.step(
            batch_id, lambda batch: steps.submitted(batch, owner=owner, job=job, rejected=rejected or {})
        )

    async def scored(self, batch_id: str, *, job: str, output: str, rejected: Mapping[str, str] | None = None) -> Batch:
        """Settle the batch: its blobs are scored, but those that are rejected.

        Args:
            batch_id: Which one.
            job: The job that scored it.
            output: Where its result is, or is going to be, published.
            rejected: Why single blobs of it were not scored, by key.

        Raises:
            FencedError: It was settled otherwise: the job's result must not be published.
            ConfigError: There is none of this id.
        """
        return await self.store.step(
            batch_id, lambda batch: steps.scored(batch, job=job, output=output, rejected=rejected or {})
        )

    async def failed(self, batch_id: str, *, reason: str, job: str = "") -> Batch:
        """Settle the batch: its job failed, and its blobs are open again, in smaller batches.

        Raises:
            FencedError: It was settled otherwise.
            ConfigError: There is none of this id.
        """
        return await self.store.step(
            batch_id, lambda batch: steps.failed(batch, reason=reason, job=job, most_failures=self.most_failures)
        )

    async def void(self, batch_id: str, *, reason: str) -> Batch:
        """Take the batch back: its blobs are open again, as if nothing had been.

        Raises:
            FencedError: It was settled otherwise.
            ConfigError: There is none of this id.
        """
        return await self.store.step(batch_id, lambda batch: steps.voided(batch, reason=reason))

    async def _finish(self, batches: Sequence[Batch]) -> list[Batch]:
        """Write the entries of batches that are being claimed, and seal those that have won any."""
        won = await self._enter(batches)
        empty = [each for each in batches if not won[each.id]]
        if empty:
            await self.store.drop(empty)
        ours = {each.id: each for each in batches if won[each.id]}
        written = await self.store.replace({name: steps.sealed(each, won=won[name]) for name, each in ours.items()})
        for name in ours.keys() - written.keys():
            # Somebody else has finished it for us; or has taken it back, and its blobs are open again.
            with contextlib.suppress(FencedError):
                written[name] = await self.store.step(name, partial(steps.sealed, won=won[name]))
        return [written[name] for name in ours if name in written]

    async def _enter(self, batches: Sequence[Batch]) -> dict[str, set[str]]:
        """Write the entries of all these batches; return the keys that each of them has."""
        asked = {
            each.key: Entry(item=each, batch=batch.id, version=each.version)
            for batch in batches
            for each in batch.items
        }
        unsure = [key for key, each in asked.items() if each.item.turn > 1 and not each.version]
        there = await self.store.entries(unsure) if unsure else {}
        mine = {key for key, each in there.items() if (each.batch, each.item) == (asked[key].batch, asked[key].item)}
        before = {key: each for key, each in there.items() if each.item.turn == asked[key].item.turn - 1}
        sure = {key: each for key, each in asked.items() if key not in unsure}
        sure |= {key: evolve(asked[key], version=each.version) for key, each in before.items()}
        written = await self.store.enter(sure)
        won = (mine | written.keys()) - await self._done_before(asked, written)
        return {batch.id: {each.key for each in batch.items if each.key in won} for batch in batches}

    async def _done_before(self, asked: Mapping[str, Entry], written: Mapping[str, str]) -> set[str]:
        """Find those whose entry was missing only because it was folded away after `sort` had looked.

        An entry is removed only after its shard is written and `LedgerStore.folds` has changed. We have written ours
        after that removal: so we see the shard now, or `sort` has seen it.
        """
        first = {key: asked[key].item for key in written if asked[key].item.turn == 1}
        folds = await self.store.folds() if first else ""
        if all(each.folds == folds for each in first.values()):
            return set()
        done = set(await self.store.folded(first))
        await self.store.forget({key: written[key] for key in done})
        return done

    async def _folded(
        self, wanted: Collection[str], entries: Mapping[str, Entry], states: Mapping[str, BlobState]
    ) -> dict[str, BlobState]:
        """Look into the shards for those that seem open: all that are done are in one, or have an entry.

        An entry of a first turn proves nothing against its shard: somebody may have written it after its own entry was
        folded away. One that a person has opened again, and all later turns, do.
        """
        seem = [
            key
            for key in wanted
            if key not in entries
            or (states[key] is BlobState.OPEN and entries[key].batch and entries[key].item.turn == 1)
        ]
        return await self.store.folded(seem)


def _check(packs: Sequence[Sequence[Open]]) -> None:
    keys = [each.key for pack in packs for each in pack]
    if len(set(keys)) < len(keys):
        raise ConfigError("A blob is in two of the packs to claim.")
    for pack in packs:
        bound = min((each.at_most for each in pack if each.at_most), default=len(pack))
        if len(pack) > bound:
            raise ConfigError(f"A pack to claim has {len(pack)} blobs, and one of them may be among {bound} at most.")

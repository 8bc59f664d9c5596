"""The ledger against everything that can happen to it, seen by a witness that knows nothing of how it is made.

Claimers, those that settle what others left, compactions and people are coroutines that stop before each request. In
any order, each request is carried out, or loses its answer, or never arrives, or arrives long after its sender is gone;
and any of them may be killed between any two requests. A claimer that is thought dead may still be at work.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.client.ledger import Ledger
from airflow_azureml.client.ledger_upkeep import Upkeep
from airflow_azureml.client.sql_documents import SqlDocuments
from airflow_azureml.core.documents import Documents
from airflow_azureml.core.ledger import Batch, BatchState, Open
from airflow_azureml.errors import AzureMLError, FencedError
from demo.azure import ACCOUNT, Azurite
from tests.unit.provider.arrivals.ledger_world import (
    Fate,
    Memory,
    Real,
    Shelf,
    Stage,
    Witness,
    arrival,
    now_or_never,
)
from tests.unit.provider.arrivals.local import SETTINGS

BLOBS = [arrival(f"p/{number}.csv") for number in range(8)]
KEYS = [each.key for each in BLOBS]
CLAIMERS = 8
#: Those beside the claimers: two that settle what others left, two compactions, two people.
SLOTS = CLAIMERS + 6
DAYS = timedelta(days=1)


def packed(items: list[Open], size: int) -> list[list[Open]]:
    """Make packs no larger than any of their blobs allows."""
    packs: list[list[Open]] = []
    for item in sorted(items, key=lambda each: each.at_most or size):
        bound = min([size, *(each.at_most for each in (*packs[-1], item) if each.at_most)]) if packs else 0
        if packs and len(packs[-1]) < bound:
            packs[-1].append(item)
        else:
            packs.append([item])
    return packs


class World(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    #: Whether the whole is looked at after each step.
    looks_often = True

    def __init__(self) -> None:
        super().__init__()
        self.witness = Witness(self.make())
        self.late: list[Any] = []
        self.running: dict[int, Coroutine[Any, Any, None]] = {}
        self.lives = self.compactions = 0
        self.ids = itertools.count()

    @staticmethod
    def make() -> Shelf:
        """Make what the machine is run against."""
        return Memory()

    def ledger(self, stage: Stage, *, many: int = 500) -> Ledger:
        return Ledger(documents=stage, name="test", most_failures=2, new_id=lambda: f"b{next(self.ids)}", many=many)

    def stage(self, dice: random.Random) -> Stage:
        return Stage(self.witness, late=self.late, order=lambda names: dice.sample(names, len(names)))

    @property
    def still(self) -> Stage:
        return Stage(self.witness, stops=False)

    # ---- what runs

    async def fenced(self, work: Coroutine[Any, Any, Batch], stage: Stage) -> Batch | None:
        """Take a step of a batch; one that is refused has changed nothing."""
        before = stage.written
        try:
            return await work
        except FencedError:
            assert stage.written == before, "whoever was fenced off has changed something"
            return None

    async def claim(self, stage: Stage, dice: random.Random, owner: str) -> None:
        ledger = self.ledger(stage, many=dice.choice((1, 500)))
        batches = await ledger.mine(owner)
        if not batches or dice.random() < 0.2:
            found = await ledger.sort(dice.sample(BLOBS, dice.randint(1, len(BLOBS))))
            batches = [*batches, *await ledger.claim(packed(list(found.open), dice.choice((1, 2, 4, 8))), owner=owner)]
        for batch in batches:
            if batch.state is BatchState.CLAIMED:
                why = {each.key: "no CSV" for each in batch.items if dice.random() < 0.1}
                job = f"job of {batch.id}"
                going = await self.fenced(ledger.submit(batch.id, owner=owner, job=job, rejected=why), stage)
                if going is None:
                    continue
                assert going.state is BatchState.SUBMITTED
            await self.settle(ledger, stage, dice, batch)

    async def settle(self, ledger: Ledger, stage: Stage, dice: random.Random, batch: Batch) -> None:
        job, end = f"job of {batch.id}", dice.random()
        if end < 0.6:
            why = {each.key: "row 7" for each in batch.items if dice.random() < 0.1}
            done = await self.fenced(ledger.scored(batch.id, job=job, output=f"out/{batch.id}", rejected=why), stage)
            assert done is None or (done.state, done.job) == (BatchState.SCORED, job)
        elif end < 0.85:
            done = await self.fenced(ledger.failed(batch.id, job=job, reason="exit code 1"), stage)
            assert done is None or done.state is BatchState.FAILED

    async def take_over(self, stage: Stage, dice: random.Random) -> None:
        """Settle what somebody seems to have left, whether he is dead or not."""
        ledger = self.ledger(stage)
        for batch in await ledger.open_batches():
            if batch.state is BatchState.SUBMITTED and dice.random() < 0.5:
                await self.settle(ledger, stage, dice, batch)
            elif dice.random() < 0.6:
                await self.fenced(ledger.void(batch.id, reason="its run is over"), stage)

    async def compact(self, stage: Stage, dice: random.Random) -> None:
        del dice
        self.compactions += 1
        await Upkeep(documents=stage, name="test").compact(older_than=0 * DAYS)

    async def person(self, stage: Stage, dice: random.Random) -> None:
        keeper, key = Upkeep(documents=stage, name="test"), dice.choice(KEYS)
        self.witness.pardons[key] += 1
        await (keeper.retry if dice.random() < 0.7 else keeper.forget)(key)

    # ---- what happens

    @rule(slot=st.integers(0, SLOTS - 1), seed=st.integers(0, 2**32), again=st.booleans())
    def begin(self, slot: int, seed: int, again: bool) -> None:
        if slot in self.running:
            return
        dice = random.Random(seed)  # noqa: S311  # hypothesis draws the seed
        stage = self.stage(dice)
        self.lives += 1
        if slot < CLAIMERS:
            owner = f"dag/run-{slot}/claim" if again else f"dag/run-{slot}-{self.lives}/claim"
            work = self.claim(stage, dice, owner)
        else:
            work = (self.take_over, self.compact, self.person)[slot % 3](stage, dice)
        self.running[slot] = work
        self._step(slot, None)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, SLOTS), steps=st.integers(0, 40), fate=st.sampled_from([Fate.DONE, Fate.DONE, *Fate]))
    def go_on(self, which: int, steps: int, fate: Fate) -> None:
        """Let one of them do some requests in peace, and one more."""
        slot = sorted(self.running)[which % len(self.running)]
        for each in (*[Fate.DONE] * steps, fate):
            if slot not in self.running:
                return
            self._step(slot, each)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, SLOTS))
    def kill(self, which: int) -> None:
        self.running.pop(sorted(self.running)[which % len(self.running)]).close()

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 10))
    def arrive_late(self, which: int) -> None:
        self.late.pop(which % len(self.late)).carry_out()

    def _step(self, slot: int, fate: Fate | None) -> None:
        try:
            self.running[slot].send(fate)
        except (StopIteration, AzureMLError):  # it has ended, or dies of it; whoever comes next finds what it left
            del self.running[slot]

    # ---- what must hold

    @invariant()
    def the_ledger_knows_what_is_settled(self) -> None:
        if self.looks_often:
            self.look()

    def look(self) -> None:
        found = now_or_never(self.ledger(self.still).sort(BLOBS))
        done = {each.arrival.key for each in found.done}
        sure = {key for key in KEYS if not self.witness.pardons[key]}
        settled = {key for key in sure if self.witness.settled[key]}
        assert done & sure == settled

    def survey(self) -> None:
        """Ask about many at once: the answer is the same."""
        one_by_one, at_once = (now_or_never(self.ledger(self.still, many=many).sort(BLOBS)) for many in (500, 1))
        assert {each.arrival.key for each in at_once.done} == {each.arrival.key for each in one_by_one.done}

    def teardown(self) -> None:
        """Let all die and all that is under way arrive; then one of them does what is left to do."""
        for work in self.running.values():
            work.close()
        for write in self.late:
            write.carry_out()
        self.look()
        self.survey()
        ledger = self.ledger(self.still)
        if self.compactions:  # one that thinks nothing too new takes marks from the index, and mends it the next time
            now_or_never(Upkeep(documents=self.still, name="test").compact(older_than=0 * DAYS))
        for batch in now_or_never(ledger.open_batches()):
            now_or_never(ledger.void(batch.id, reason="all are dead"))
        self.look()
        found = now_or_never(ledger.sort(BLOBS))
        assert not found.held, "a blob is held by a batch that is not in the index"
        batches = now_or_never(ledger.claim(packed(list(found.open), 4), owner="last"))
        assert sorted(each.key for batch in batches for each in batch.items) == sorted(each.key for each in found.open)
        for batch in batches:
            now_or_never(ledger.submit(batch.id, owner="last"))
            now_or_never(ledger.scored(batch.id, job="j", output="o"))
        assert {each.arrival.key for each in now_or_never(ledger.sort(BLOBS)).done} == set(KEYS)
        assert all(self.witness.settled[key] for key in KEYS), "a blob is called done that nobody has settled"


def run(world: type[World], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        world,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_each_blob_version_is_settled_once_and_none_is_lost() -> None:
    run(World, examples=150, steps=60)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


def against(loop: asyncio.AbstractEventLoop, opened: Callable[[], Documents]) -> type[World]:
    """Make the machine's kind for a real store."""

    class Against(World):
        looks_often = False

        @staticmethod
        def make() -> Shelf:
            return Real(loop.run_until_complete, opened())

    return Against


def test_the_same_holds_for_a_ledger_in_sqlite(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    names = itertools.count()
    opened = contextlib.AsyncExitStack()

    def _open() -> Documents:
        store = SqlDocuments(f"sqlite:///{tmp_path}/{next(names)}.db")
        return loop.run_until_complete(opened.enter_async_context(store))

    run(against(loop, _open), examples=5, steps=25)
    loop.run_until_complete(opened.aclose())


def test_the_same_holds_for_a_ledger_in_a_storage_account(loop: asyncio.AbstractEventLoop, azurite: Azurite) -> None:
    opened = contextlib.AsyncExitStack()

    def _open() -> Documents:
        url = f"{azurite.blob_url}/{ACCOUNT}/l{uuid.uuid4().hex[:12]}"
        return loop.run_until_complete(opened.enter_async_context(BlobDocuments(SETTINGS, url)))

    run(against(loop, _open), examples=2, steps=20)
    loop.run_until_complete(opened.aclose())

"""Eight claimers at once, on each real store: each blob goes all the way once, and none is left."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

from airflow_azureml.client.ledger import Ledger
from airflow_azureml.client.ledger_store import LedgerStore
from airflow_azureml.client.ledger_upkeep import Upkeep
from airflow_azureml.core.ledger import BatchState
from airflow_azureml.errors import ConfigError, FencedError, UnavailableError
from tests.contract import test_documents
from tests.contract.test_documents import Place
from tests.unit.provider.arrivals.ledger_world import arrival

postgres, place = test_documents.postgres, test_documents.place

CLAIMERS = 8
BLOBS = [arrival(f"in/{number}.csv") for number in range(120)]


async def work(place: Place, number: int) -> None:
    """Claim until nothing is left; one batch in three is left lying, and somebody else takes it back.

    Where the store does not answer, a claimer begins anew, as a task's retry does.
    """
    dice = random.Random(number)  # noqa: S311  # the same each time
    async with place.open() as documents:
        ledger = Ledger(documents=documents, name=place.at)
        for round_ in range(100):
            with contextlib.suppress(UnavailableError):
                found = await ledger.sort(BLOBS)
                if len(found.done) == len(BLOBS):
                    return
                mine = dice.sample(found.open, min(40, len(found.open)))
                owner = f"dag/run-{number}-{round_}/claim"
                packs = [mine[at : at + 20] for at in range(0, len(mine), 20)]
                for batch in await ledger.claim(packs, owner=owner):
                    await settle(ledger, batch.id, owner, leave=dice.random() < 0.3)
                for batch in await ledger.open_batches():
                    if dice.random() < 0.3:
                        await give_up(ledger, batch.id)


async def settle(ledger: Ledger, batch_id: str, owner: str, *, leave: bool) -> None:
    with contextlib.suppress(FencedError):
        await ledger.submit(batch_id, owner=owner, job="j")
        if not leave:
            await ledger.scored(batch_id, job="j", output="o")


async def give_up(ledger: Ledger, batch_id: str) -> None:
    with contextlib.suppress(FencedError, ConfigError):  # it has ended, or was empty and is gone
        await ledger.void(batch_id, reason="its run is over")


def test_each_blob_is_scored_once_by_one_of_eight_claimers_and_none_is_left(place: Place) -> None:
    failures: list[BaseException] = []

    def _claimer(number: int) -> None:
        try:
            asyncio.run(work(place, number))
        except BaseException as error:  # noqa: BLE001  # told by the test, whatever it is
            failures.append(error)

    threads = [threading.Thread(target=_claimer, args=(number,)) for number in range(CLAIMERS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert failures == []
    assert asyncio.run(scored(place)) == dict.fromkeys((each.key for each in BLOBS), 1)
    assert asyncio.run(what_is_left(place)) == (0, 0, len(BLOBS), 0)


async def scored(place: Place) -> Counter[str]:
    """Count in how many batches that are scored each blob is."""
    async with place.open() as documents:
        store = LedgerStore(documents=documents, name=place.at)
        batches = [batch async for page in store.all_batches() for batch, _ in page]
        return Counter(each.key for batch in batches if batch.state is BatchState.SCORED for each in batch.items)


async def what_is_left(place: Place) -> tuple[int, int, int, int]:
    """Compact by two at once; then count what is open, held and done, and the documents of single blobs."""
    async with place.open() as documents:
        keepers: list[Any] = [Upkeep(documents=documents, name=place.at) for _ in range(2)]
        await asyncio.gather(*(each.compact(older_than=timedelta(seconds=-5)) for each in keepers))
        found = await Ledger(documents=documents, name=place.at).sort(BLOBS)
        left = [each async for page in documents.ids(f"{place.at}/blobs/") for each in page]
        return len(found.open), len(found.held), len(found.done), len(left)

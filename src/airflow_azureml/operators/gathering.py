"""What is open when a claim begins: what others have left, what events tell, what the container shows."""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from attrs import define, field

from airflow_azureml.core.arrivals import Arrival, StorageUrl, latest
from airflow_azureml.core.batches import same_group
from airflow_azureml.core.ledger import Batch, Open

if TYPE_CHECKING:
    from airflow_azureml.client.finding import Finder, Seen
    from airflow_azureml.operators.settling import Desk

log = logging.getLogger(__name__)

#: How many blobs that are not complete yet are named in the log.
NAMED = 10


@define(kw_only=True)
class Gathering:
    """Gathers what is open, each blob once and in its newest version; the ledger decides what is.

    Attributes:
        desk: The ledger.
        finder: Finds what counts.
        owner: Who claims.
        most: More than so many blobs need not be gathered.
        open: What may be claimed, by key.
        told: The keys of what events told of and is open.
        waiting: Blobs that are not complete yet, by key, with the reason.
    """

    desk: "Desk"
    finder: "Finder"
    owner: str
    most: int
    open: dict[str, Open] = field(factory=dict)
    told: set[str] = field(factory=set)
    waiting: dict[str, tuple[Arrival, str]] = field(factory=dict)
    _again: list[tuple[Batch, set[str]]] = field(factory=list)

    async def take_back(self, batches: Iterable[Batch]) -> None:
        """Add the blobs of batches that have ended without a result.

        Those of our own group count whatever its filter and its window are in this run; others' only as all blobs do.
        """
        for batch in batches:
            mine: Collection[Arrival] = batch.accepted
            if not same_group(batch.owner, self.owner):
                mine = (await self.finder.told(self._of_account(batch.accepted))).ready
            await self._sort(mine)
            self._again.append((batch, {each.key for each in batch.accepted} - {each.key for each in mine}))

    async def hear(self, arrivals: Sequence[Arrival]) -> None:
        """Add what events tell of."""
        seen = await self.finder.told(self._of_account(arrivals))
        self._note(seen)
        self.told |= await self._sort(seen.ready)

    async def look(self) -> bool:
        """Add what the container shows; tell whether it was listed to its end."""
        count = 0
        async for seen in self.finder.everything():
            self._note(seen)
            count += len(seen.ready)
            await self._sort(seen.ready)
            if len(self.open) > self.most:
                return False
        log.info("Container %s shows %d blobs that count", self.finder.wanted.container, count)
        return True

    def settled(self, claimed: Collection[str]) -> list[str]:
        """Name the batches of which nothing is left to be claimed, now that these keys are."""
        left = self.open.keys() - claimed
        return [
            batch.id
            for batch, not_ours in self._again
            if not not_ours and not left.intersection(each.key for each in batch.arrivals)
        ]

    def is_heard(self, claimed: Collection[str], *, patience: timedelta) -> bool:
        """Tell whether the events need not be read again, now that these keys are claimed.

        Args:
            claimed: The keys.
            patience: For how long a blob that is not complete is waited for so; then the listing finds it.
        """
        if self.told - set(claimed):
            return False
        oldest = datetime.now(UTC) - patience
        return not any(datetime.fromisoformat(each.time) > oldest for each, _ in self.waiting.values())

    def tell(self) -> None:
        """Say what waits."""
        for arrival, why in list(self.waiting.values())[:NAMED]:
            log.info("Not complete yet: %s %s", arrival.uri, why)
        if len(self.waiting) > NAMED:
            log.info("Not complete yet: %d more", len(self.waiting) - NAMED)

    async def _sort(self, arrivals: Collection[Arrival]) -> set[str]:
        """Add what is open of these; return the keys of that."""
        newest = latest([*arrivals, *(each.arrival for each in self.open.values())])
        for each in newest.superseded:
            self.open.pop(each.key, None)
        fresh = [each for each in newest.kept if each.key not in self.open]
        if fresh:
            found = await self.desk.ledger.sort(fresh)
            self.open |= {each.key: each for each in found.open}
        return {each.key for each in arrivals if each.key in self.open}

    def _note(self, seen: "Seen") -> None:
        self.waiting |= {arrival.key: (arrival, why) for arrival, why in seen.waiting}

    def _of_account(self, arrivals: Iterable[Arrival]) -> list[Arrival]:
        account = StorageUrl.parse(self.finder.account_url).account
        return [each for each in arrivals if each.account == account]

"""A ledger in memory, and what it takes to stop its callers at the worst moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

import attrs

from airflow_azureml.client.ledger import Ledger
from airflow_azureml.client.ledger_upkeep import Upkeep
from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.ledger import Batch, Sorted
from tests.unit.provider.arrivals.ledger_world import Fate, Memory, Stage, Witness, Write, arrival, now_or_never

OLD = timedelta(0)
A, B, C, D = (arrival(f"in/{name}.csv") for name in "abcd")


@attrs.define
class Bench:
    """A ledger in memory; `slow` gives one that stops before each request."""

    witness: Witness = attrs.field(factory=lambda: Witness(Memory()))
    ids: itertools.count[int] = attrs.field(factory=itertools.count)

    def ledger(self, *, stops: bool = False, most_failures: int = 3) -> Ledger:
        stage = Stage(self.witness, stops=stops)
        new_id = lambda: f"b{next(self.ids)}"  # noqa: E731  # short enough
        return Ledger(documents=stage, name="test", most_failures=most_failures, new_id=new_id)

    def upkeep(self, *, stops: bool = False) -> Upkeep:
        return Upkeep(documents=Stage(self.witness, stops=stops), name="test")

    def sort(self, *arrivals: Arrival) -> Sorted:
        return now_or_never(self.ledger().sort(arrivals))

    def claim(self, *arrivals: Arrival, owner: str = "me") -> Batch:
        (batch,) = now_or_never(self.ledger().claim([self.sort(*arrivals).open], owner=owner))
        return batch

    def score(self, *arrivals: Arrival, rejected: dict[str, str] | None = None) -> Batch:
        batch = self.claim(*arrivals)
        now_or_never(self.ledger().submit(batch.id, owner="me", job="j"))
        return now_or_never(self.ledger().scored(batch.id, job="j", output="o", rejected=rejected))

    def fail(self, *arrivals: Arrival, most_failures: int = 3) -> Batch:
        batch = self.claim(*arrivals)
        now_or_never(self.ledger().submit(batch.id, owner="me"))
        return now_or_never(self.ledger(most_failures=most_failures).failed(batch.id, reason="exit code 1", job="j"))

    def compact(self) -> None:
        now_or_never(self.upkeep().compact(older_than=OLD))

    def names(self, part: str) -> list[str]:
        return self.witness.ids(f"test/{part}/")


def until(work: Coroutine[Any, Any, Any], is_there: Callable[[str], bool]) -> None:
    """Let it run until it is about to do one request."""
    write: Write = work.send(None)
    while not is_there(write.name):
        write = work.send(Fate.DONE)


def to_its_end(work: Coroutine[Any, Any, Any]) -> Any:
    """Let it run."""
    while True:
        try:
            work.send(Fate.DONE)
        except StopIteration as ended:
            return ended.value


def keys(*found: Sequence[Any]) -> list[str]:
    return sorted(each.arrival.key for part in found for each in part)

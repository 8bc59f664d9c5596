"""The operator, with stores in memory that it is given as Airflow gives it its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException
from attrs import define, evolve, field, frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.operators.arrivals import ClaimArrivalsOperator
from airflow_azureml.operators.events import PAGE

ASSET = Asset("incoming")
START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ARRIVAL = Arrival(
    account="acme",
    container="c",
    path="a",
    etag="0x1",
    size_bytes=1,
    sequencer="1",
    time="2026-01-31T12:00:00+00:00",
    api="PutBlob",
    url="https://acme.blob.core.windows.net/c/a",
)


class CrashError(Exception):
    """The worker died here."""


@frozen
class Stored:
    """What Airflow returns for one event."""

    id: int
    timestamp: datetime
    extra: dict[str, Any]


@define
class Query:
    """Airflow's events of the asset, asked for as it wants to be asked; both bounds are included."""

    events: list[Stored]
    first: str = ""
    last: str = ""
    most: int = 0

    def ascending(self) -> Self:
        return self

    def after(self, time: str) -> Self:
        return evolve(self, first=time)

    def before(self, time: str) -> Self:
        return evolve(self, last=time)

    def limit(self, most: int) -> Self:
        return evolve(self, most=most)

    def __iter__(self) -> Iterator[Stored]:
        bounded = [
            each
            for each in sorted(self.events, key=lambda each: (each.timestamp, each.id))
            if (not self.first or each.timestamp >= datetime.fromisoformat(self.first))
            and (not self.last or each.timestamp <= datetime.fromisoformat(self.last))
        ]
        return iter(bounded[: self.most])


@define
class Store:
    """A state store that dies when it is told to, before or after it has kept the value."""

    kept: dict[str, Any] = field(factory=dict)
    dies: str = ""

    def get(self, key: str) -> Any:
        return self.kept.get(key)

    def set(self, key: str, value: Any, *, retention: object = None) -> None:
        assert retention is None or retention == timedelta.max
        if self.dies == "before":
            raise CrashError
        self.kept[key] = value
        if self.dies == "after":
            raise CrashError


@define
class World:
    events: list[Stored] = field(factory=list)
    cursor: Store = field(factory=Store)

    def tell(self, *arrivals: Arrival, seconds: float = 0) -> None:
        payload = [arrival.to_wire() for arrival in arrivals]
        self.add({"from_trigger": True, "payload": payload}, seconds=seconds)

    def add(self, extra: dict[str, Any], *, seconds: float = 0) -> None:
        self.events.append(Stored(len(self.events) + 1, START + timedelta(seconds=seconds), extra))

    def claim(self, memory: Store | None = None, *, at_most: int = 1000) -> list[str]:
        operator = ClaimArrivalsOperator(task_id="claim", asset=ASSET, at_most=at_most)
        context: Any = {
            "inlet_events": {ASSET: Query(self.events)},
            "asset_state_store": {ASSET: self.cursor},
            "task_state_store": memory or Store(),
        }
        return [f"{each['path']}@{each['etag']}" for each in operator.execute(context)]


def blob(path: str, etag: str = "0x1", sequencer: str = "1") -> Arrival:
    return evolve(ARRIVAL, path=path, etag=etag, sequencer=sequencer)


@pytest.fixture
def world() -> World:
    return World()


def test_the_operator_reads_the_events_of_its_asset() -> None:
    assert ClaimArrivalsOperator(task_id="claim", asset=ASSET).inlets == [ASSET]


def test_only_one_task_claims_at_a_time_whatever_the_number_of_runs() -> None:
    assert ClaimArrivalsOperator(task_id="claim", asset=ASSET).max_active_tis_per_dag == 1


def test_everything_open_is_claimed_once(world: World) -> None:
    world.tell(blob("a"), blob("b"))
    world.tell(blob("c"))

    assert sorted(world.claim()) == ["a@0x1", "b@0x1", "c@0x1"]
    assert world.claim() == []


def test_nothing_open_is_an_empty_claim_that_says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert world.claim() == []

    assert "Nothing is open" in caplog.text


def test_a_task_run_once_more_returns_the_same_claim_though_more_has_arrived(world: World) -> None:
    memory = Store()
    world.tell(blob("a"))
    first = world.claim(memory)
    world.tell(blob("b"), seconds=1)

    assert (first, world.claim(memory)) == (["a@0x1"], ["a@0x1"])
    assert world.claim() == ["b@0x1"]


def test_a_task_cleared_long_after_returns_its_claim_and_disturbs_nobody(world: World) -> None:
    memory = Store()
    world.tell(blob("a"))
    world.claim(memory)
    world.tell(blob("b"), seconds=10**6)
    world.claim()

    assert world.claim(memory) == ["a@0x1"]
    assert world.claim() == []


@pytest.mark.parametrize("store", ["note", "cursor"])
@pytest.mark.parametrize("dies", ["before", "after"])
def test_whoever_dies_at_a_store_and_is_retried_loses_nothing_and_claims_nothing_twice(
    world: World, store: str, dies: str
) -> None:
    memory = Store(dies=dies if store == "note" else "")
    world.cursor.dies = dies if store == "cursor" else ""
    world.tell(blob("a"))
    with pytest.raises(CrashError):
        world.claim(memory)
    memory.dies = world.cursor.dies = ""

    assert (world.claim(memory), world.claim()) == (["a@0x1"], [])


@pytest.mark.parametrize("dies", ["before", "after"])
def test_whoever_dies_before_the_ledger_and_is_never_retried_leaves_all_to_the_next_run(
    world: World, dies: str
) -> None:
    world.tell(blob("a"))
    with pytest.raises(CrashError):
        world.claim(Store(dies=dies))

    assert world.claim() == ["a@0x1"]


def test_a_version_that_was_replaced_and_a_version_told_twice_are_left_out_and_named(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.tell(blob("a", "0x1", "1"), blob("b"), blob("b"))
    world.tell(blob("a", "0x2", "2"))
    with caplog.at_level(logging.INFO):
        claimed = world.claim()

    assert sorted(claimed) == ["a@0x2", "b@0x1"]
    assert "Replaced since by a newer version: https://acme.blob.core.windows.net/c/a, eTag 0x1" in caplog.text
    assert "Told twice: https://acme.blob.core.windows.net/c/b, eTag 0x1" in caplog.text


def test_an_arrival_delivered_again_after_it_was_claimed_is_not_claimed_again_nor_on_a_retry(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.tell(blob("a"))
    world.claim()
    world.tell(blob("a"), blob("b"), seconds=90)
    memory = Store()
    with caplog.at_level(logging.INFO):
        first = world.claim(memory)

    assert (first, world.claim(memory)) == (["b@0x1"], ["b@0x1"])
    assert "delivered once more: https://acme.blob.core.windows.net/c/a" in caplog.text


def test_a_full_claim_leaves_the_rest_to_the_next_run_and_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        world.tell(blob(f"{number}"), seconds=number)

    assert world.claim(at_most=2) == ["0@0x1", "1@0x1"]
    assert "the next run claims what is left open" in caplog.text
    assert world.claim(at_most=2) == ["2@0x1", "3@0x1"]
    assert world.claim(at_most=2) == ["4@0x1"]


@pytest.mark.parametrize("apart_s", [0, 0.001])
def test_more_events_than_one_page_holds_are_all_read(world: World, apart_s: float) -> None:
    for number in range(2 * PAGE + 7):
        world.tell(blob(f"{number}"), seconds=number * apart_s)

    assert len(set(world.claim())) == 2 * PAGE + 7
    assert world.claim() == []


def test_an_event_made_by_hand_only_wakes_the_dag(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.add({"from_rest_api": True})
    world.tell(blob("a"))

    assert world.claim() == ["a@0x1"]
    assert "was made by hand" in caplog.text


@pytest.mark.parametrize("payload", [None, "text", [{"path": "a"}]])
def test_an_event_of_a_watcher_that_cannot_be_read_is_an_error_and_is_not_passed_over(
    world: World, payload: object
) -> None:
    world.add({"from_trigger": True, "payload": payload})

    with pytest.raises(AirflowFailException, match="Read"):
        world.claim()
    assert world.cursor.kept == {}


def test_a_claim_whose_events_were_deleted_is_an_error_and_never_a_smaller_claim(world: World) -> None:
    memory = Store()
    world.tell(blob("a"))
    world.tell(blob("b"))
    world.claim(memory)
    del world.events[0]

    with pytest.raises(AirflowFailException, match="only 1 of them still"):
        world.claim(memory)


def test_a_ledger_that_cannot_be_read_stops_the_task(world: World) -> None:
    world.tell(blob("a"))
    world.cursor.kept["claimed by adhoc_airflow.claim"] = {"until": 7}

    with pytest.raises(AirflowFailException, match="Read the cursor"):
        world.claim()

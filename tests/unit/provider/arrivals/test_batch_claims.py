"""Claims that are woken by events: what they take from Airflow's events, and what they leave for later."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import TaskDeferred
from attrs import define, evolve, field
from azure.storage.blob import BlobServiceClient

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.batches import Batching
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.sets import Sets
from demo.azure import ACCOUNT, Emulator
from demo.stack import airflow_environment
from tests.unit.provider.arrivals.scoring import World

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
SELDOM: dict[str, Any] = {"reconcile_every": timedelta(hours=1)}


@define
class Stored:
    """What Airflow returns for one event."""

    id: int
    timestamp: datetime
    extra: dict[str, Any]


@define
class Events:
    """Airflow's events of the asset; both bounds are included."""

    stored: list[Stored] = field(factory=list)
    first: str = ""
    most: int = 0

    def tell(self, *arrivals: Arrival) -> None:
        number = len(self.stored) + 1
        extra = {"from_trigger": True, "payload": [each.to_wire() for each in arrivals]}
        self.stored.append(Stored(number, START + timedelta(seconds=number), extra))

    def ascending(self) -> Self:
        return self

    def after(self, time: str) -> Self:
        return evolve(self, first=time)

    def limit(self, most: int) -> Self:
        return evolve(self, most=most)

    def __iter__(self) -> Iterator[Stored]:
        found = [one for one in self.stored if not self.first or one.timestamp >= datetime.fromisoformat(self.first)]
        return iter(found[: self.most])


@pytest.fixture
def world(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world whose container was listed by an empty claim just now, so that only events tell of blobs."""
    for name, value in airflow_environment(emulator).items():
        monkeypatch.setenv(name, value)
    with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
        incoming = service.create_container(f"in{uuid.uuid4().hex[:12]}")
        made = World(emulator=emulator, service=service, incoming=incoming, asset=Asset("patients"), events=Events())
        assert made.claim("r0", **SELDOM) == []
        yield made


def arrival(world: World, path: str, etag: str) -> Arrival:
    return Arrival(
        account=ACCOUNT,
        container=world.incoming.container_name,
        path=path,
        etag=etag,
        size_bytes=8,
        sequencer="",
        time=datetime.now(UTC).isoformat(),
        api="PutBlob",
        url=f"{world.account_url}/{world.incoming.container_name}/{path}",
    )


def sizes(world: World, run: str, **more: Any) -> int:
    """Claim; how many batches that is."""
    return len(world.claim(run, **{**SELDOM, **more}))


def test_what_events_tell_is_claimed_once_though_it_is_delivered_again(world: World) -> None:
    told = arrival(world, "a.csv", world.put("a.csv"))
    world.events.tell(told)

    assert sizes(world, "r1") == 1
    world.events.tell(told, told)
    assert sizes(world, "r2") == 0


def test_what_no_event_told_of_is_found_when_the_container_is_listed_again(world: World) -> None:
    world.put("lost.csv")

    assert sizes(world, "r1") == 0
    assert sizes(world, "r2", reconcile_every=timedelta(0)) == 1


def test_a_claim_that_is_full_leaves_the_rest_of_the_events_to_the_next_and_says_how_many(world: World) -> None:
    for number in range(5):
        world.events.tell(arrival(world, f"{number}.csv", world.put(f"{number}.csv")))
    one = Batching(blobs=2, batches=1)

    claimed = [sizes(world, f"r{number}", batching=one) for number in range(1, 5)]

    assert claimed == [1, 1, 1, 0]


def test_blobs_of_a_batch_that_was_taken_back_are_claimed_though_no_event_tells_of_them_again(world: World) -> None:
    world.events.tell(arrival(world, "a.csv", world.put("a.csv")))
    assert sizes(world, "r1") == 1
    world.end("r1", "failed")

    assert sizes(world, "r2") == 1


def test_of_a_blob_that_was_overwritten_only_the_newest_version_is_claimed(world: World) -> None:
    old = arrival(world, "a.csv", world.put("a.csv"))
    world.events.tell(old)
    world.events.tell(evolve(old, etag=world.put("a.csv", "a,b\n3,4\n"), time=datetime.now(UTC).isoformat()))

    (batch,) = world.claim("r1", **SELDOM)

    assert batch
    assert sizes(world, "r2", reconcile_every=timedelta(0)) == 0


def test_a_blob_that_is_still_written_is_waited_for_and_then_claimed(world: World) -> None:
    world.events.tell(arrival(world, "a.csv", world.put("a.csv")))
    quiet = ArrivalFilter(container=world.incoming.container_name, quiet_s=3600).to_wire()

    with pytest.raises(TaskDeferred) as deferred:
        world.claim("r1", wanted=quiet, **SELDOM)

    assert deferred.value.method_name == "look_again"
    assert sizes(world, "r1") == 1


def test_no_blob_of_a_set_is_claimed_before_the_set_is_complete(world: World) -> None:
    first = arrival(world, "day/a.csv", world.put("day/a.csv"))
    world.events.tell(first)
    sets = Sets(marker="_SUCCESS").to_wire()
    with pytest.raises(TaskDeferred):
        world.claim("r1", sets=sets, **SELDOM)
    world.put("day/b.csv")
    world.events.tell(arrival(world, "day/_SUCCESS", world.put("day/_SUCCESS", "x")))

    (batch,) = world.claim("r1", sets=sets, **SELDOM)

    assert batch
    assert sizes(world, "r2", reconcile_every=timedelta(0)) == 0


def test_a_set_is_in_a_window_as_a_whole_by_when_it_was_completed(world: World) -> None:
    def written(path: str) -> datetime:
        return world.incoming.get_blob_client(path).get_blob_properties().last_modified

    world.put("day/a.csv")
    world.put("day/_SUCCESS", "x")
    while written("day/_SUCCESS") == written("day/a.csv"):  # in whole seconds
        world.put("day/_SUCCESS", "x")
    sets = Sets(marker="_SUCCESS").to_wire()

    assert sizes(world, "r1", sets=sets, until=written("day/_SUCCESS").isoformat()) == 0
    assert sizes(world, "r2", sets=sets, since=written("day/_SUCCESS").isoformat()) == 1


def test_events_of_another_account_are_passed_over(world: World) -> None:
    world.events.tell(evolve(arrival(world, "a.csv", world.put("a.csv")), account="another"))

    assert sizes(world, "r1") == 0

"""The ledger's upkeep: folding away, opening and forgetting; and what is stored."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.client.ledger import Ledger
from airflow_azureml.client.ledger_upkeep import Upkeep
from airflow_azureml.core.documents import Document
from airflow_azureml.core.ledger import Batch, BatchState, BlobState, Entry, Open
from airflow_azureml.core.ledger_shards import Group, Shard, shard_of
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError
from tests.unit.provider.arrivals.ledger_bench import OLD, A, B, Bench, C, D, keys, to_its_end, until
from tests.unit.provider.arrivals.ledger_world import Fate, Memory, Stage, Witness, arrival, now_or_never


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("part", ["/blobs/", "/batches/"])
def test_who_asks_while_a_compaction_is_at_work_finds_what_is_done(bench: Bench, part: str) -> None:
    bench.fail(A, B)
    bench.score(A)
    work = bench.ledger(stops=True).sort([A])
    until(work, lambda name: part in name)
    bench.compact()

    assert keys(to_its_end(work).done) == [A.key]


def test_who_asks_about_many_at_once_gets_the_same_answer(bench: Bench) -> None:
    bench.score(A, B, rejected={B.key: "row 7"})
    bench.compact()
    other = arrival("in/e.csv")
    bench.score(C, other)
    bench.fail(D)
    bench.witness.pardons[C.key] += 1
    now_or_never(bench.upkeep().retry(C.key))
    blobs = (A, B, C, D, other)
    one_by_one = bench.sort(*blobs)
    at_once = now_or_never(attrs.evolve(bench.ledger(), many=1).sort(blobs))

    assert {(each.arrival, each.state) for each in at_once.done} == {
        (each.arrival, each.state) for each in one_by_one.done
    }
    assert keys(at_once.done) == sorted([A.key, B.key, other.key])
    assert at_once.open == one_by_one.open


def test_what_is_folded_away_is_still_known_and_takes_twenty_bytes(bench: Bench) -> None:
    many = [arrival(f"in/{number}") for number in range(400)]
    for at in range(0, 400, 100):
        bench.score(*many[at : at + 100], rejected={many[at].key: "row 7"})
    before = bench.sort(*many)
    bench.compact()

    assert {(each.arrival, each.state) for each in bench.sort(*many).done} == {
        (each.arrival, each.state) for each in before.done
    }
    assert (bench.names("blobs"), bench.names("batches")) == ([], [])
    packed = Shard(
        name="00",
        groups={
            Group(container="acme/incoming", state=BlobState.SCORED, month="2026-01"): frozenset(
                f"00{number:030x}" for number in range(1000)
            )
        },
    )
    assert 20 <= len(packed.to_text()) / 1000 < 20.1


def test_a_compaction_keeps_what_is_open_held_or_young(bench: Bench) -> None:
    bench.fail(A, B)
    held = bench.claim(C)
    now_or_never(bench.ledger().void(bench.claim(D).id, reason="over"))
    done = now_or_never(bench.upkeep().compact(older_than=timedelta(days=10_000)))
    assert done.batches == 0
    before = bench.sort(A, B, C, D)
    bench.compact()

    assert bench.sort(A, B, C, D) == before
    assert [name.rpartition("/")[2] for name in bench.names("batches")] == [held.id]


def test_a_claimer_that_looked_before_a_compaction_does_not_score_again(bench: Bench) -> None:
    late = bench.sort(A)
    bench.score(A, B)
    bench.compact()

    assert now_or_never(bench.ledger().claim([late.open], owner="late")) == []
    assert keys(bench.sort(A, B).done) == sorted([A.key, B.key])
    assert bench.names("blobs") == []


@pytest.mark.parametrize("finished", [True, False], ids=["retried", "taken back"])
def test_neither_does_one_that_died_over_it(bench: Bench, *, finished: bool) -> None:
    late = bench.sort(A)
    bench.score(A, B)
    bench.compact()
    work = bench.ledger(stops=True).claim([late.open], owner="late")
    until(work, lambda name: name == "read test/folds")
    work.close()

    if finished:
        assert now_or_never(bench.ledger().mine("late")) == []
    else:
        (batch,) = now_or_never(bench.ledger().open_batches())
        now_or_never(bench.ledger().void(batch.id, reason="its run is over"))
    assert keys(bench.sort(A, B).done) == sorted([A.key, B.key])
    bench.compact()
    assert keys(bench.sort(A, B).done) == sorted([A.key, B.key])
    assert bench.names("blobs") == []


@pytest.mark.parametrize("died_before", range(0, 40, 3))
def test_a_compaction_that_died_anywhere_has_opened_nothing(bench: Bench, died_before: int) -> None:
    bench.score(A, B)
    bench.fail(C, D)
    bench.score(C)
    work = bench.upkeep(stops=True).compact(older_than=OLD)
    work.send(None)
    for _ in range(died_before):
        try:
            work.send(Fate.DONE)
        except StopIteration:
            break
        assert keys(bench.sort(A, B, C, D).done) == sorted([A.key, B.key, C.key])
    work.close()

    bench.compact()
    assert keys(bench.sort(A, B, C, D).done) == sorted([A.key, B.key, C.key])
    assert [(each.key, each.turn, each.at_most) for each in bench.sort(D).open] == [(D.key, 2, 1)]


def test_a_batch_whose_end_has_consequences_to_come_is_not_folded_away(bench: Bench) -> None:
    batch = bench.score(A)
    bench.witness.create(f"test/unsettled/{batch.id}", "{}")
    bench.compact()

    assert [name.rpartition("/")[2] for name in bench.names("batches")] == [batch.id]


@pytest.mark.parametrize("folded", [False, True], ids=["young", "folded away"])
def test_a_person_opens_what_is_done_and_it_is_scored_once_more(bench: Bench, *, folded: bool) -> None:
    bench.score(A, B)
    if folded:
        bench.compact()
    bench.witness.pardons[A.key] += 1
    opened = now_or_never(bench.upkeep().retry(A.key))

    assert [each.key for each in opened] == [A.key]
    assert keys(bench.sort(A, B).open) == [A.key]
    bench.score(A)
    bench.compact()
    assert keys(bench.sort(A, B).done) == sorted([A.key, B.key])


@pytest.mark.parametrize("steps", range(0, 30, 2))
def test_what_a_person_opens_while_a_compaction_is_at_work_stays_open(bench: Bench, steps: int) -> None:
    bench.score(A, B)
    bench.witness.pardons[A.key] += 1
    work = bench.upkeep(stops=True).compact(older_than=OLD)
    work.send(None)
    ended = False
    for _ in range(steps):
        try:
            work.send(Fate.DONE)
        except StopIteration:
            ended = True
            break
    now_or_never(bench.upkeep().retry(A.key))
    if not ended:
        to_its_end(work)

    assert keys(bench.sort(A, B).open) == [A.key]


def test_a_person_forgets_a_blob_and_it_is_as_new(bench: Bench) -> None:
    bench.fail(A, B)
    bench.score(C)
    bench.compact()
    for each in (A, C):
        bench.witness.pardons[each.key] += 1
        now_or_never(bench.upkeep().forget(each.key))

    assert [(each.turn, each.at_most) for each in bench.sort(A, C).open] == [(1, None), (1, None)]


def test_what_is_gone_from_its_container_is_forgotten_and_nothing_else(bench: Bench) -> None:
    other = arrival("in/a.csv", container="other")
    bench.score(A, B, other)
    bench.compact()
    done = now_or_never(bench.upkeep().compact(older_than=OLD, alive={"acme/incoming": {A.key}}))

    assert done.dropped == 1
    assert keys(bench.sort(A, B, other).done) == sorted([A.key, other.key])


def test_what_lies_there_and_is_nothing_of_ours_is_said_to_be_none(bench: Bench) -> None:
    for name, message in (
        (f"test/blobs/{A.key[:2]}/{A.key}", "it is no entry"),
        ("test/batches/b0", "it is no batch"),
    ):
        for text in ("[]", "{", '{"batch": "x"}', '{"state": "odd"}'):
            bench.witness.shelf = Memory()
            bench.witness.shelf.create(name, text)
            work: Coroutine[Any, Any, Any]
            work = bench.ledger().sort([A]) if "blobs" in name else bench.ledger().batch("b0")
            with pytest.raises(ProtocolError, match=rf"Read {name} of the ledger: ({message}|it is no JSON)"):
                now_or_never(work)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "ä", ".x", "x" * 101])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    for kind in (Ledger, Upkeep):
        with pytest.raises(ConfigError, match="is no ledger's name"):
            kind(documents=Stage(Witness(Memory())), name=name)


# ---- what is stored

texts = st.text(max_size=30)
arrivals = st.builds(arrival, texts, etag=texts, container=st.just("incoming"))
opens = st.builds(
    Open, arrival=arrivals, turn=st.integers(1, 9), at_most=st.none() | st.integers(1, 9), alone=st.integers(0, 9)
)
batches = st.builds(
    Batch,
    id=st.just("b"),
    owner=texts,
    items=st.lists(opens, max_size=3).map(tuple),
    state=st.sampled_from(BatchState),
    job=texts,
    output=texts,
    reason=texts,
    rejected=st.dictionaries(texts, texts, max_size=3),
)


def stored(name: str, text: str) -> Document:
    shelf = Memory()
    made = shelf.create(name, text)
    assert made is not None
    return made


@settings(deadline=None)
@given(batches)
def test_a_batch_is_read_as_it_was_written(batch: Batch) -> None:
    read = Batch.of(stored("test/batches/b", batch.to_text()))

    assert read == batch
    assert read.to_text() == batch.to_text()


@settings(deadline=None)
@given(opens, st.sampled_from(["", "b1"]))
def test_an_entry_is_read_as_it_was_written(item: Open, batch: str) -> None:
    entry = Entry(item=item, batch=batch)

    assert Entry.of(stored(f"test/blobs/{item.key}", entry.to_text())) == entry


shard_keys = st.integers(0, 2**120 - 1).map(lambda number: f"7f{number:030x}")
groups = st.builds(
    Group,
    container=st.sampled_from(["acme/in", "acme/out"]),
    state=st.sampled_from([BlobState.SCORED, BlobState.REJECTED]),
    month=st.sampled_from(["2026-01", "2026-02"]),
)


@settings(deadline=None)
@given(st.lists(st.tuples(groups, shard_keys), max_size=20), st.sets(shard_keys, max_size=5))
def test_a_shard_knows_what_was_entered_and_not_taken_out(entered: list[tuple[Group, str]], out: set[str]) -> None:
    first = {key: group for group, key in reversed(entered)}
    shard = Shard(name="7f").with_keys(entered)
    read = Shard.of("7f", stored("test/done/7f", shard.to_text()))
    left = read.without(out)

    assert read == shard
    assert len(read) == len(first)
    assert all(shard_of(key) == "7f" and read.state_of(key) is group.state for key, group in first.items())
    assert {key for key in first if left.state_of(key)} == first.keys() - out


def test_a_shard_that_is_none_is_said_to_be_none() -> None:
    for text in ("[]", "{", '{"c": {"odd": {"2026-01": ""}}}', '{"c": {"scored": {"2026-01": "AAAA"}}}', '{"c": 1}'):
        with pytest.raises(AzureMLError, match="it is no shard"):
            Shard.of("7f", stored("test/done/7f", text))

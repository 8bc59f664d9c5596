"""The ledger step by step: what each verb does, and what is left when its caller dies at the worst moment."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import pytest

from airflow_azureml.client.ledger import Ledger
from airflow_azureml.core.ledger import Batch, BatchState, BlobState
from airflow_azureml.errors import ConfigError, FencedError
from tests.unit.provider.arrivals.ledger_bench import A, B, Bench, C, D, keys, to_its_end, until
from tests.unit.provider.arrivals.ledger_world import Fate, Memory, now_or_never


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---- the way of a blob


def test_a_blob_goes_from_open_to_held_to_done(bench: Bench) -> None:
    assert [each.turn for each in bench.sort(A, A).open] == [1]
    batch = bench.claim(A, B)
    (held, _) = bench.sort(A, B).held
    assert (held.state, held.batch, held.owner) == (BlobState.CLAIMED, batch.id, "me")
    now_or_never(bench.ledger().submit(batch.id, owner="me", job="j"))
    assert {each.state for each in bench.sort(A, B).held} == {BlobState.SUBMITTED}
    now_or_never(bench.ledger().scored(batch.id, job="j", output="o", rejected={B.key: "row 7"}))

    assert {each.arrival: each.state for each in bench.sort(A, B).done} == {
        A: BlobState.SCORED,
        B: BlobState.REJECTED,
    }


def test_another_version_of_a_blob_is_another_blob(bench: Bench) -> None:
    bench.score(A)
    newer = attrs.evolve(A, etag="0x2")

    assert keys(bench.sort(newer).open) == [newer.key]


def test_of_two_that_claim_the_same_each_blob_has_one(bench: Bench) -> None:
    mine, theirs = bench.sort(A, B, C), bench.sort(B, C, D)
    (first,) = now_or_never(bench.ledger().claim([mine.open], owner="me"))
    (second,) = now_or_never(bench.ledger().claim([theirs.open], owner="they"))
    nothing = now_or_never(bench.ledger().claim([mine.open, theirs.open[1:2]][:1], owner="third"))

    assert keys(first.items) == sorted(each.key for each in (A, B, C))
    assert keys(second.items) == [D.key]
    assert nothing == []
    assert len(bench.names("batches")) == len(bench.names("open")) == 2


def test_what_was_rejected_before_it_was_submitted_stays_so_whatever_becomes_of_its_batch(bench: Bench) -> None:
    batch = bench.claim(A, B)
    now_or_never(bench.ledger().submit(batch.id, owner="me", rejected={A.key: "no CSV", "other": "?"}))
    failed = now_or_never(bench.ledger().failed(batch.id, reason="exit code 1"))

    assert failed.rejected == {A.key: "no CSV"}
    assert keys(bench.sort(A, B).done) == [A.key]
    assert keys(bench.sort(A, B).open) == [B.key]


def test_the_blobs_of_a_batch_that_failed_go_into_smaller_batches_until_one_is_found_out(bench: Bench) -> None:
    bench.fail(A, B, C, D)
    first = bench.sort(A, B, C, D).open
    assert {(each.turn, each.at_most) for each in first} == {(2, 2)}
    bench.fail(A, B)
    assert {(each.turn, each.at_most) for each in bench.sort(A, B).open} == {(3, 1)}

    counts = []
    for _ in range(3):
        counts.append([each.alone for each in bench.sort(A).open])
        bench.fail(A)
    assert counts == [[0], [1], [2]]
    (done,) = bench.sort(A).done
    assert done.state is BlobState.REJECTED
    assert now_or_never(bench.ledger().batch(done.batch)).rejected == {A.key: "exit code 1"}


def test_what_a_void_batch_had_is_open_as_before(bench: Bench) -> None:
    bench.fail(A, B, C, D)
    now_or_never(bench.ledger().void(bench.claim(A, B).id, reason="its run is over"))

    assert {(each.turn, each.at_most, each.alone) for each in bench.sort(A, B).open} == {(3, 2, 0)}


def test_packs_that_are_none_are_refused(bench: Bench) -> None:
    bench.fail(A, B)
    again = bench.sort(A, B).open

    with pytest.raises(ConfigError, match="has 2 blobs, and one of them may be among 1 at most"):
        now_or_never(bench.ledger().claim([again], owner="me"))
    with pytest.raises(ConfigError, match="in two of the packs"):
        now_or_never(bench.ledger().claim([again[:1], again[:1]], owner="me"))


# ---- fences


def _submit(ledger: Ledger, batch_id: str) -> Coroutine[Any, Any, Batch]:
    return ledger.submit(batch_id, owner="me")


def _score(ledger: Ledger, batch_id: str) -> Coroutine[Any, Any, Batch]:
    return ledger.scored(batch_id, job="late", output="late")


def _fail(ledger: Ledger, batch_id: str) -> Coroutine[Any, Any, Batch]:
    return ledger.failed(batch_id, reason="late")


def _void(ledger: Ledger, batch_id: str) -> Coroutine[Any, Any, Batch]:
    return ledger.void(batch_id, reason="late")


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        (BatchState.CLAIMED, [_score]),
        (BatchState.SUBMITTED, []),
        (BatchState.SCORED, [_submit, _score, _fail, _void]),
        (BatchState.FAILED, [_submit, _score, _void]),
        (BatchState.VOID, [_submit, _score, _fail]),
    ],
    ids=lambda value: value if isinstance(value, BatchState) else f"{len(value)}-refused",
)
def test_a_step_that_comes_too_late_or_too_soon_is_fenced_off_and_changes_nothing(
    state: BatchState, refused: list[Callable[[Ledger, str], Coroutine[Any, Any, Batch]]]
) -> None:
    for step in (_submit, _score, _fail, _void):
        bench = Bench()
        batch = bench.claim(A)
        if state is not BatchState.CLAIMED:
            now_or_never(bench.ledger().submit(batch.id, owner="me"))
        if state is BatchState.SCORED:
            now_or_never(bench.ledger().scored(batch.id, job="j", output="o"))
        if state is BatchState.FAILED:
            now_or_never(bench.ledger().failed(batch.id, reason="exit code 1"))
        if state is BatchState.VOID:
            now_or_never(bench.ledger().void(batch.id, reason="its run is over"))
        before = bench.witness.writes
        if step in refused:
            with pytest.raises(FencedError, match=rf"batch {batch.id} of me is {state.value}"):
                now_or_never(step(bench.ledger(), batch.id))
            assert bench.witness.writes == before
        else:
            now_or_never(step(bench.ledger(), batch.id))


def test_only_the_owner_submits_and_may_say_so_again(bench: Bench) -> None:
    batch = bench.claim(A)
    with pytest.raises(FencedError, match="Cannot submit for they"):
        now_or_never(bench.ledger().submit(batch.id, owner="they"))
    now_or_never(bench.ledger().submit(batch.id, owner="me"))
    again = now_or_never(bench.ledger().submit(batch.id, owner="me", job="j"))
    with pytest.raises(FencedError):
        now_or_never(bench.ledger().submit(batch.id, owner="they"))

    assert (again.state, again.job) == (BatchState.SUBMITTED, "j")


def test_the_same_end_said_again_is_fine(bench: Bench) -> None:
    done = bench.score(A)
    before = bench.witness.writes

    assert now_or_never(bench.ledger().scored(done.id, job="j", output="o")) == done
    assert bench.witness.writes == before


def test_a_batch_that_nobody_knows_is_said_to_be_none(bench: Bench) -> None:
    for work in (bench.ledger().batch("b9"), bench.ledger().submit("b9", owner="me")):
        with pytest.raises(ConfigError, match="Ledger 'test' has no batch 'b9'"):
            now_or_never(work)


# ---- who dies half way


@pytest.mark.parametrize("died_before", range(20))
def test_a_claim_that_died_anywhere_is_finished_by_its_retry_or_taken_back_by_others(
    bench: Bench, died_before: int
) -> None:
    bench.fail(A, B)
    packs = [[each] for each in bench.sort(A, B).open] + [list(bench.sort(C, D).open)]
    work = bench.ledger(stops=True).claim(packs, owner="me")
    work.send(None)
    for _ in range(died_before):
        try:
            work.send(Fate.DONE)
        except StopIteration:
            break
    work.close()
    others = Bench(attrs.evolve(bench.witness), bench.ids)
    others.witness.shelf = Memory(dict(bench.witness.shelf.documents))  # type: ignore[attr-defined]

    mine = now_or_never(bench.ledger().mine("me"))
    rest = bench.sort(A, B, C, D).open
    assert keys(*(each.items for each in mine), rest) == sorted(each.key for each in (A, B, C, D))
    assert all(each.state is BatchState.CLAIMED for each in mine)

    for batch in now_or_never(others.ledger().open_batches()):
        now_or_never(others.ledger().void(batch.id, reason="its run is over"))
    assert keys(others.sort(A, B, C, D).open) == sorted(each.key for each in (A, B, C, D))


def test_a_batch_is_in_the_index_before_it_is_there(bench: Bench) -> None:
    work = bench.ledger(stops=True).claim([bench.sort(A).open], owner="me")
    until(work, lambda name: "/batches/" in name)

    assert len(bench.names("open")) == 1


def test_a_mark_that_was_left_behind_is_cleared_away(bench: Bench) -> None:
    batch = bench.claim(A)
    work = bench.ledger(stops=True).void(batch.id, reason="over")
    until(work, lambda name: name.startswith("remove"))
    work.close()
    assert len(bench.names("open")) == 1

    assert now_or_never(bench.ledger().open_batches()) == []
    assert bench.names("open") == []


def test_a_claimer_that_was_thought_dead_finds_its_batch_void_and_claims_nothing(bench: Bench) -> None:
    work = bench.ledger(stops=True).claim([bench.sort(A, B).open], owner="me")
    until(work, lambda name: "/blobs/" in name and name.endswith(max(A.key, B.key)))
    (batch,) = now_or_never(bench.ledger().open_batches())
    now_or_never(bench.ledger().void(batch.id, reason="its run is over"))

    assert to_its_end(work) == []
    assert keys(bench.sort(A, B).open) == sorted([A.key, B.key])


def test_a_claim_that_died_before_its_entries_takes_none_that_others_have_claimed_since(bench: Bench) -> None:
    bench.fail(A, B)
    work = bench.ledger(stops=True).claim([bench.sort(A).open], owner="me")
    until(work, lambda name: "/blobs/" in name)
    work.close()
    theirs = bench.claim(A, owner="they")

    assert now_or_never(bench.ledger().mine("me")) == []
    assert [each.batch for each in bench.sort(A).held] == [theirs.id]

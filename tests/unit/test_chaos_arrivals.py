"""The plan of `make chaos CASE=arrivals` is the seed's, and its judge says no to every kind of fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.event_faults import EventFaults
from demo.agenda import Agenda
from demo.chaos_arrivals_judge import KINDS, Batch, Fault, Job, Published, Truth, Version, World, faults, figures
from demo.chaos_arrivals_plan import DOUBLED, LATE, LOST, OVERTAKEN, draw
from demo.chaos_arrivals_plan import KINDS as KILLED

A, B, C = (Version(f"inbox/{name}.csv", f"0x{name}") for name in "abc")
#: B as it was before it was overwritten; it had been scored by then.
OLD_B = Version(B.path, "0xold")
GONE = Version("inbox/gone.csv", "0x9")
TRUTH = Truth(
    last={A.path: "aa", B.path: "bb", C.path: "cc"},
    contents={
        A.path: frozenset({"aa"}),
        B.path: frozenset({"b0", "bb"}),
        C.path: frozenset({"cc"}),
        GONE.path: frozenset({"99"}),
    },
)


def _world() -> World:
    """Two batches with results, one that failed, and a deleted blob that was scored before."""
    first = Published(batch="1", job="job-1", read={A: "aa", OLD_B: "b0", GONE: "99"})
    second = Published(batch="2", job="job-2", read={B: "bb", C: "cc"})
    batches = [
        Batch(id=each.batch, state="scored", job=each.job, versions=frozenset(each.read)) for each in (first, second)
    ]
    batches.append(Batch(id="0", state="failed", job="job-0", versions=frozenset({B, C})))
    return World(
        current={version.path: version.etag for version in (A, B, C)},
        published=(first, second),
        batches=tuple(batches),
        entries={version: each.batch for each in (first, second) for version in each.read},
        jobs=(
            Job(name="job-0", status="Failed", owner="run-1"),
            Job(name="job-1", status="Completed", owner="run-1"),
            Job(name="job-2", status="Completed", owner="run-2"),
        ),
        runs={"run-1": "success", "run-2": "failed"},
    )


GOOD = _world()


def _published(number: int, **changes: Any) -> World:
    changed = list(GOOD.published)
    changed[number] = attrs.evolve(changed[number], **changes)
    return attrs.evolve(GOOD, published=tuple(changed))


def _batch(number: int, **changes: Any) -> World:
    changed = list(GOOD.batches)
    changed[number] = attrs.evolve(changed[number], **changes)
    return attrs.evolve(GOOD, batches=tuple(changed))


def _jobs(**statuses: str) -> World:
    jobs = [attrs.evolve(job, status=statuses.get(job.name.replace("-", "_"), job.status)) for job in GOOD.jobs]
    return attrs.evolve(GOOD, jobs=tuple(jobs))


def _without(read: Mapping[Version, str | None], *versions: Version) -> dict[Version, str | None]:
    return {version: digest for version, digest in read.items() if version not in versions}


def test_nothing_is_wrong_where_each_version_is_read_once_and_ledger_outputs_and_jobs_agree() -> None:
    assert faults(GOOD, TRUTH) == []
    assert GOOD.is_done
    told = figures(GOOD, [])
    assert told["ok"] is True
    assert {name: told[name] for name in KINDS} == dict.fromkeys(KINDS, 0)
    assert (told["surviving"], told["published"], told["published_versions"], told["failed_jobs"]) == (3, 2, 5, 1)


def test_a_version_that_was_replaced_or_deleted_before_it_was_scored_may_be_left_out() -> None:
    early = Version(B.path, "0xearly")
    world = _published(0, rejected={early: "superseded: the blob was replaced after it arrived"})
    batches = (_left_out(world.batches[0], early), *world.batches[1:])

    assert faults(attrs.evolve(world, batches=batches), TRUTH) == []


def _left_out(batch: Batch, version: Version) -> Batch:
    return attrs.evolve(
        batch,
        versions=batch.versions | {version},
        rejected={version: "superseded: the blob was replaced after it arrived"},
    )


def test_a_batch_of_which_nothing_was_left_needs_no_job() -> None:
    empty = Published(batch="3", job="", read={})
    batch = Batch(id="3", state="scored", job="", versions=frozenset())
    world = attrs.evolve(GOOD, published=(*GOOD.published, empty), batches=(*GOOD.batches, batch))

    assert faults(world, TRUTH) == []


FIRST, SECOND = (each.read for each in GOOD.published)
WRONG: dict[str, tuple[World, Fault]] = {
    "a version is in no output": (
        _published(0, read=_without(FIRST, A)),
        Fault("lost", "inbox/a.csv (0xa) is in no published output"),
    ),
    "an older version was scored instead": (
        _published(1, read={**_without(SECOND, B), Version(B.path, "0xolder"): "b0"}),
        Fault("lost", "inbox/b.csv (0xb) is in no published output"),
    ),
    "a version is in two outputs": (
        _published(1, read={**SECOND, A: "aa"}),
        Fault("doubled", "inbox/a.csv (0xa) is in 2 published outputs: 1, 2"),
    ),
    "a version that is no more is in two outputs": (
        _published(1, read={**SECOND, GONE: "99"}),
        Fault("doubled", "inbox/gone.csv (0x9) is in 2 published outputs: 1, 2"),
    ),
    "a batch has two markers": (
        attrs.evolve(GOOD, published=(*GOOD.published, attrs.evolve(GOOD.published[0], read={}))),
        Fault("doubled", "batch 1 has 2 markers"),
    ),
    "an older content was read as the version that is there": (
        _published(1, read={**SECOND, B: "b0"}),
        Fault("disagreeing", "inbox/b.csv (0xb) was read as b0 by batch 2, not as it is there"),
    ),
    "a version was published that the output says nothing of": (
        _published(1, read={**SECOND, C: None}),
        Fault("disagreeing", "inbox/c.csv (0xc) was read as None by batch 2, not as it is there"),
    ),
    "something was read that nobody wrote": (
        _published(0, read={**FIRST, GONE: "00"}),
        Fault("disagreeing", "inbox/gone.csv (0x9) was read as 00 by batch 1; nobody wrote that"),
    ),
    "a sound blob was rejected by a marker": (
        _published(0, rejected={GONE: "no CSV that can be scored"}),
        Fault("disagreeing", "inbox/gone.csv (0x9) of batch 1 is rejected by its marker: no CSV that can be scored"),
    ),
    "a sound blob was rejected in the ledger": (
        _batch(2, rejected={C: "superseded: the blob was replaced"}),
        Fault(
            "disagreeing", "inbox/c.csv (0xc) of batch 0 is rejected by the ledger: superseded: the blob was replaced"
        ),
    ),
    "a scored batch is not published": (
        attrs.evolve(GOOD, published=GOOD.published[:1]),
        Fault("disagreeing", "batch 2 is scored in the ledger, and not published"),
    ),
    "a failed batch is published": (
        _batch(1, state="failed"),
        Fault("disagreeing", "batch 2 is published, and not scored in the ledger"),
    ),
    "a batch is unknown to the ledger": (
        attrs.evolve(GOOD, batches=GOOD.batches[1:]),
        Fault("disagreeing", "batch 1 is published, and not scored in the ledger"),
    ),
    "the ledger has other blobs in a batch": (
        _batch(0, versions=frozenset({A, GONE})),
        Fault("disagreeing", "batch 1 has other blobs in the ledger than in its output: inbox/b.csv (0xold)"),
    ),
    "the ledger has another job for a batch": (
        _batch(0, job="job-0"),
        Fault("disagreeing", "batch 1 is of job job-0 in the ledger, of job-1 by its marker"),
    ),
    "a version's own document names another batch": (
        attrs.evolve(GOOD, entries={**GOOD.entries, C: "1"}),
        Fault("disagreeing", "inbox/c.csv (0xc) is of batch 1 in the ledger, published by 2"),
    ),
    "a version has no document of its own": (
        attrs.evolve(GOOD, entries={}),
        Fault("disagreeing", "inbox/c.csv (0xc) is of batch None in the ledger, published by 2"),
    ),
    "a job of a published batch failed": (
        _jobs(job_1="Failed"),
        Fault("disagreeing", "batch 1 is published, and its job job-1 is Failed"),
    ),
    "a job of a published batch is not there": (
        attrs.evolve(GOOD, jobs=GOOD.jobs[1:2]),
        Fault("disagreeing", "batch 2 is published, and its job job-2 is not there"),
    ),
    "a job goes on": (_jobs(job_0="Running"), Fault("orphans", "job job-0 is left Running, of run-1")),
    "a job of a failed batch completed": (
        _jobs(job_0="Completed"),
        Fault("orphans", "job job-0 of run-1 completed for nothing, which a batch names"),
    ),
    "a job of nobody's completed": (
        attrs.evolve(GOOD, jobs=(*GOOD.jobs, Job(name="job-9", status="Completed", owner=""))),
        Fault("orphans", "job job-9 of nobody completed for nothing, which no batch names"),
    ),
    "a batch is left submitted": (
        _batch(2, state="submitted"),
        Fault("unfinished", "batch 0 is submitted in the ledger"),
    ),
    "a run goes on": (
        attrs.evolve(GOOD, runs={**GOOD.runs, "run-3": "running"}),
        Fault("unfinished", "run run-3 is running"),
    ),
    "the storage has forgotten a blob": (
        attrs.evolve(GOOD, current={version.path: version.etag for version in (B, C)}),
        Fault("unfinished", "inbox/a.csv was written and acknowledged, and is not in the storage"),
    ),
    "the storage has a blob that was deleted": (
        attrs.evolve(GOOD, current={**GOOD.current, GONE.path: GONE.etag}),
        Fault("unfinished", "inbox/gone.csv is in the storage, and was deleted or never written"),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_each_kind_of_fault_is_found_and_counted(what: str) -> None:
    world, fault = WRONG[what]

    found = faults(world, TRUTH)

    assert fault in found
    told = figures(world, found)
    assert told["ok"] is False
    assert {name: told[name] for name in KINDS} == {**dict.fromkeys(KINDS, 0), **Counter(each.kind for each in found)}


def test_every_kind_of_fault_is_shown_here() -> None:
    assert {fault.kind for _, fault in WRONG.values()} == set(KINDS)


@pytest.mark.parametrize(
    "world",
    [_published(0, read=_without(FIRST, A)), _jobs(job_0="Running"), _batch(2, state="claimed")],
    ids=["a version is not published", "a job goes on", "a batch goes on"],
)
def test_it_is_not_done_while_anything_is_to_come(world: World) -> None:
    assert not world.is_done


# the plan


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_the_same_seed_gives_the_same_plan_and_each_kind_of_process_dies(seed: int) -> None:
    plan = draw(seed, blobs=300, kills=50, span_s=100)

    assert plan == draw(seed, blobs=300, kills=50, span_s=100)
    assert plan.counts["blobs"] == 300
    assert len(plan.kills) == 50
    of_kind = Counter(kind for kill in plan.kills for kind, parts in KILLED.items() if kill.part in parts)
    assert set(of_kind) == set(KILLED)
    assert min(of_kind.values()) >= 5
    assert all(0 < kill.at_s <= 100 for kill in plan.kills)


def test_a_whole_plan_overwrites_deletes_and_revives_and_no_two_contents_are_alike() -> None:
    plan = draw(7)
    written = [write for write in plan.writes if write.content is not None]

    counts = plan.counts
    assert counts["blobs"] == 1000
    assert 60 <= counts["overwritten"] <= 150
    assert 20 <= counts["deleted"] <= 70
    assert len({write.digest for write in written}) == len(written)
    assert [write.at_s for write in plan.writes] == sorted(write.at_s for write in plan.writes)
    deleted = {write.path for write in plan.writes if write.content is None}
    assert deleted & set(plan.last)
    assert deleted - set(plan.last)


def test_events_are_lost_doubled_overtaken_and_late_in_the_shares_that_are_said() -> None:
    plan = draw(3)
    in_force = EventFaults()
    in_force.replace([dict(fault) for fault in plan.faults])
    events = [
        {
            "subject": f"/blobServices/default/containers/incoming/blobs/{write.path}",
            "eventType": "Microsoft.Storage.BlobCreated",
            "data": {"contentLength": len(write.content)},
        }
        for write in plan.writes
        if write.content is not None
    ]

    struck = [in_force.strike(event) for event in events]

    wanted = {"lost": LOST, "doubled": DOUBLED, "behind": OVERTAKEN, "delay_s": LATE}
    for name, share in wanted.items():
        count = sum(name in each.to_wire() for each in struck if each)
        assert abs(count / len(events) - share) < 0.04, name


# the clock of both cases


def test_things_happen_in_the_order_of_their_times_and_again_when_they_say_so() -> None:
    agenda = Agenda()
    happened: list[str] = []

    def again() -> float | None:
        happened.append("again")
        return 0.0 if happened.count("again") < 3 else None

    agenda.add(0.0, lambda: happened.append("second"))
    agenda.add(-1.0, lambda: happened.append("first"))
    agenda.add(0.0, again)
    agenda.add(10_000.0, lambda: happened.append("never"))
    while happened.count("again") < 3:
        agenda.happen()

    assert happened == ["first", "second", "again", "again", "again"]
    assert not agenda.is_empty

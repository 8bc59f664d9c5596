"""The tasks of a group that scores batches, on a real Azurite and a real emulator: whatever dies, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from attrs import evolve, frozen
from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.unsettled import Unsettled
from airflow_azureml.core.batches import Batching
from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.ledger import Batch
from airflow_azureml.core.staging import Publication
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import JobError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.claim_batches import AzureMLClaimBatchesOperator
from airflow_azureml.operators.gathering import Gathering
from airflow_azureml.operators.score_batch import AzureMLScoreBatchOperator
from airflow_azureml.operators.settling import Desk
from demo.azure import Emulator
from demo.stack import airflow_environment
from tests.unit.provider.arrivals.scoring import COUNT_LINES, World, publish


@pytest.fixture(scope="module")
def count(emulator: Emulator) -> Emulator:
    """An emulator with the pipeline."""
    publish(emulator, "count", COUNT_LINES)
    return emulator


@pytest.fixture
def world(count: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in airflow_environment(count).items():
        monkeypatch.setenv(name, value)
    with BlobServiceClient.from_connection_string(count.connection_string) as service:
        incoming = service.create_container(f"in{uuid.uuid4().hex[:12]}")
        yield World(emulator=count, service=service, incoming=incoming)


def settings() -> ConnectionSettings:
    return AzureMLHook().settings


def ledger_of(world: World, *, forgets: str = "", marks: str = "") -> dict[str, Batch]:
    """Read the ledger's batches; put one into the index of those that are unsettled, or take one out."""

    async def _read() -> dict[str, Batch]:
        async with world.ledger.open(settings(), world.account_url) as ledger:
            if marks:
                await Unsettled(ledger).add([marks])
            if forgets:
                await Unsettled(ledger).remove([forgets])
            pages = [page async for page in ledger.store.all_batches()]
            return {batch.id: batch for page in pages for batch, _ in page}

    return asyncio.run(_read())


def unsettled(world: World) -> list[str]:
    async def _read() -> list[str]:
        async with world.ledger.open(settings(), world.account_url) as ledger:
            return await Unsettled(ledger).ids()

    return asyncio.run(_read())


def test_every_version_is_scored_once_and_published_and_nothing_is_left_behind(world: World) -> None:
    etags = {name: world.put(name) for name in ("a.csv", "b.csv", "sub/ü #%.csv", "d.csv", "e.csv")}
    world.put("ignored.txt")

    claimed = world.claim("r1")
    results = [world.score("r1", batch) for batch in claimed]
    told = world.report("r1", claimed, results)
    world.end("r1")

    assert world.scored() == sorted(f"{name}@{etag}" for name, etag in etags.items())
    assert [result["blobs"] for result in results] == [4, 1]
    assert told == {
        "batches": 2,
        "failed_batches": 0,
        "blobs": 5,
        "rejected_blobs": 0,
        "gone_blobs": 0,
        "rows": 10,
        "rejected_rows": 5,
        "rejected": [],
    }
    assert (world.staged(), unsettled(world)) == ([], [])
    assert world.claim("r2") == []
    world.put("a.csv", "a,b\n3,4\n")
    assert len(world.run("r3")) == 1
    assert len(world.jobs()) == 3


def test_what_goes_through_xcom_stays_small_whatever_the_number_of_blobs(world: World) -> None:
    for number in range(30):
        world.put(f"{'x' * 400}{number}.csv", "a\n")

    claimed = world.claim("r1", batching=Batching(blobs=15))
    results = [world.score("r1", batch) for batch in claimed]
    told = world.report("r1", claimed, results)

    assert told["rejected_blobs"] == 30
    assert max(len(json.dumps(each)) for each in (claimed, told, *results)) < 4096


def test_a_claim_run_once_more_returns_its_open_batches_though_more_has_arrived(world: World) -> None:
    world.put("a.csv")
    first = world.claim("r1")
    world.put("b.csv")

    assert world.claim("r1") == first
    assert len(world.claim("r2")) == 1


def test_two_runs_that_claim_share_nothing(world: World) -> None:
    for number in range(8):
        world.put(f"{number}.csv")
    first = world.claim("r1", batching=Batching(blobs=4, batches=1))
    second = world.claim("r2", batching=Batching(blobs=4, batches=1))
    for run, batches in (("r1", first), ("r2", second)):
        for batch in batches:
            world.score(run, batch)

    assert len(world.scored()) == len(set(world.scored())) == 8


def test_a_poisoned_blob_is_found_by_halves_and_rejected_and_the_others_are_scored(world: World) -> None:
    for number in range(4):
        world.put(f"{number}.csv", "a,b\npoison,1\n" if number == 2 else "a,b\n1,2\n")
    sizes, runs = [], 0
    while claimed := world.claim(f"r{runs}"):
        sizes.append([len(ledger_of(world)[each].items) for each in claimed])
        for batch in claimed:
            try:
                world.score(f"r{runs}", batch)
            except AirflowFailException as error:
                assert "in smaller batches" in str(error)  # noqa: PT017  # some batches fail, some do not
        world.end(f"r{runs}")
        runs += 1

    assert sizes == [[4], [2, 2], [1, 1], [1], [1]]
    assert [each.split("@")[0] for each in world.scored()] == ["0.csv", "1.csv", "3.csv"]
    (hopeless,) = [each for each in ledger_of(world).values() if each.rejected]
    assert (len(hopeless.items), hopeless.arrivals[0].path) == (1, "2.csv")
    assert unsettled(world) == []


def test_a_failure_of_the_pipeline_itself_is_not_tried_again_but_in_smaller_batches(world: World) -> None:
    world.put("a.csv", "a,b\npoison,1\n")
    (batch,) = world.claim("r1")

    with pytest.raises(AirflowFailException, match="in smaller batches"):
        world.score("r1", batch, last=False)

    assert ledger_of(world)[batch].state.value == "failed"


@pytest.mark.parametrize(("tries_left", "state"), [(3, "submitted"), (0, "failed")])
def test_a_failure_that_another_try_may_mend_leaves_the_batch_to_that_try(
    world: World, tries_left: int, state: str
) -> None:
    world.put("a.csv")
    (batch,) = world.claim("r1")
    dies_at(world, batch, run="r1", where="find_or_start")
    error = JobError("its node was taken away", cause="preempted")

    told = world.scorer(batch).failed(
        world.context("r1", "score", batch, max_tries=tries_left), JobSnapshot(name="j", status="Failed"), error
    )

    assert ledger_of(world)[batch].state.value == state
    assert (told is error) == (state == "submitted")


def test_a_batch_that_nobody_submitted_before_its_run_was_over_is_claimed_again(world: World) -> None:
    world.put("a.csv")
    (dead,) = world.claim("r1")
    world.end("r1", "failed")

    (batch,) = world.claim("r2")
    world.score("r2", batch)

    assert batch != dead
    assert ledger_of(world)[dead].state.value == "void"
    assert len(world.scored()) == 1


def test_a_batch_whose_owner_is_alive_is_left_to_it(world: World) -> None:
    world.put("a.csv")
    (batch,) = world.claim("r1")
    world.airflow.tasks["r1"] = {"patients.claim": "success", "patients.score_0": "deferred"}

    assert world.claim("r2") == []
    world.airflow.tasks["r1"] = {"patients.claim": "success", "patients.score_0": "failed"}
    assert len(world.claim("r2")) == 1
    with pytest.raises(AirflowSkipException, match="is void"):
        world.score("r1", batch)
    assert world.jobs() == []


def test_a_run_that_airflow_does_not_know_any_more_is_over(world: World) -> None:
    world.put("a.csv")
    world.claim("r1")
    del world.airflow.runs["r1"]

    assert len(world.claim("r2")) == 1


class CrashError(Exception):
    """The worker died here."""


@frozen(kw_only=True)
class MortalDesk(Desk):
    """A desk whose worker dies at one of its steps."""

    where: str

    def reach(self, step: str) -> None:
        if self.where == step:
            raise CrashError

    async def publish(self, batch: Batch, job: str) -> Publication:
        self.reach("publish")
        return await super().publish(batch, job)

    def _write_marker(self, publication: Publication) -> None:
        self.reach("_write_marker")
        super()._write_marker(publication)

    async def _clear(self, batch: Batch) -> None:
        self.reach("_clear")
        await super()._clear(batch)


class MortalOperator(AzureMLScoreBatchOperator):
    """Scores a batch until its worker dies at one step."""

    def __init__(self, *, where: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.where = where

    @contextlib.asynccontextmanager
    async def desk(self, settings: ConnectionSettings) -> AsyncIterator[Desk]:
        async with super().desk(settings) as desk:
            whole = {each.name: getattr(desk, each.name) for each in attrs.fields(Desk)}
            yield MortalDesk(where=self.where, **whole)

    def find_or_start(self, *args: Any, **kwargs: Any) -> Any:
        if self.where == "find_or_start":
            raise CrashError
        return super().find_or_start(*args, **kwargs)

    def failed(self, *args: Any, **kwargs: Any) -> JobError:
        if self.where == "failed":
            raise CrashError
        return super().failed(*args, **kwargs)

    def result(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if self.where == "result":
            raise CrashError
        return super().result(*args, **kwargs)


class ImpatientClaim(AzureMLClaimBatchesOperator):
    """Waits for no job that may come yet; Azurite tells times in whole seconds, which may lie ahead."""

    grace_s = -5.0


class MortalClaim(AzureMLClaimBatchesOperator):
    """Dies when it has settled what others left, and taken nothing back."""

    def _gathering(self, context: Context, desk: Desk) -> Gathering:
        whole = super()._gathering(context, desk)
        return MortalGathering(desk=whole.desk, finder=whole.finder, owner=whole.owner, most=whole.most)


class MortalGathering(Gathering):
    async def take_back(self, batches: Iterable[Batch]) -> None:  # noqa: ARG002  # it never comes to them
        raise CrashError


def dies_at(world: World, batch: str, *, run: str, where: str) -> None:
    """Let the worker that scores a batch die at a step of its own."""
    with pytest.raises(CrashError):
        world.score(run, batch, kind=MortalOperator, where=where)


@pytest.mark.parametrize("where", ["result", "publish", "_write_marker", "_clear"])
def test_a_batch_whose_worker_died_after_its_job_is_published_by_the_next_claim_without_another_job(
    world: World, where: str
) -> None:
    etag = world.put("a.csv")
    (batch,) = world.claim("r1")
    dies_at(world, batch, run="r1", where=where)
    world.end("r1", "failed")

    assert world.claim("r2") == []
    assert (world.scored(), len(world.jobs())) == ([f"a.csv@{etag}"], 1)
    assert unsettled(world) == []


@pytest.mark.parametrize("where", ["result", "publish", "_write_marker", "_clear"])
def test_a_batch_whose_worker_died_is_published_by_the_retry(world: World, where: str) -> None:
    world.put("a.csv")
    (batch,) = world.claim("r1")
    dies_at(world, batch, run="r1", where=where)

    assert world.score("r1", batch)["blobs"] == 1
    assert world.score("r1", batch)["blobs"] == 1
    assert (len(world.scored()), len(world.jobs())) == (1, 1)


def test_a_batch_entered_as_submitted_that_has_no_job_is_claimed_again_once_it_can_get_none(
    world: World,
) -> None:
    world.put("a.csv")
    (batch,) = world.claim("r1")
    dies_at(world, batch, run="r1", where="find_or_start")
    world.end("r1", "failed")

    assert world.claim("r2") == []
    (again,) = world.claim("r3", kind=ImpatientClaim)
    world.score("r3", again)
    assert (len(world.scored()), len(world.jobs())) == (1, 1)


def test_a_batch_whose_job_failed_after_its_run_was_over_is_opened_again(world: World) -> None:
    for name in ("a.csv", "b.csv"):
        world.put(name, "a,b\npoison,1\n")
    (batch,) = world.claim("r1")
    dies_at(world, batch, run="r1", where="failed")
    world.end("r1", "failed")

    assert len(world.claim("r2")) == 2
    assert "ended as Failed" in ledger_of(world)[batch].reason


def test_what_was_opened_again_by_a_claim_that_died_is_claimed_by_the_next(
    world: World,
) -> None:
    world.put("a.csv")
    (dead,) = world.claim("r1")
    world.end("r1", "failed")
    world.incoming.delete_blob("a.csv")
    with pytest.raises(CrashError):
        world.claim("r2", kind=MortalClaim)
    world.end("r2", "failed")

    assert ledger_of(world)[dead].state.value == "void"
    assert unsettled(world) == [dead]
    (batch,) = world.claim("r3")
    assert ledger_of(world)[batch].arrivals[0].path == "a.csv"
    assert unsettled(world) == [batch]


def test_a_version_that_was_replaced_or_deleted_is_left_out_and_the_newer_one_is_scored(world: World) -> None:
    for name in ("kept.csv", "replaced.csv", "deleted.csv"):
        world.put(name)
    (batch,) = world.claim("r1")
    newer = world.put("replaced.csv", "a,b\n3,4\n")
    world.incoming.delete_blob("deleted.csv")

    result = world.score("r1", batch)
    world.run("r2")

    assert (result["blobs"], result["rejected_blobs"], result["gone_blobs"]) == (1, 0, 2)
    assert [each.split("@")[0] for each in world.scored()] == ["kept.csv", "replaced.csv"]
    assert f"replaced.csv@{newer}" in world.scored()


def test_blobs_that_are_no_csv_are_rejected_alone_and_a_batch_of_nothing_else_has_no_job(world: World) -> None:
    world.put("picture.csv", "\x00\x01")
    (batch,) = world.claim("r1")
    result = world.score("r1", batch)

    assert (result["blobs"], result["rejected_blobs"], world.jobs()) == (0, 1, [])
    assert "it is binary" in world.rejected()["picture.csv"]
    assert world.claim("r2") == []
    with pytest.raises(AirflowFailException, match="1 blobs were rejected"):
        world.report("r1", [batch], [result], on_rejected="fail")


def test_what_the_pipeline_could_not_score_is_rejected_alone_for_the_reason_it_tells(world: World) -> None:
    world.put("bad.csv", "a,b\nunreadable,1\n")
    world.put("good.csv")

    (result,) = world.run("r1")

    assert (result["blobs"], result["rejected_blobs"], result["rows"]) == (1, 1, 2)
    assert world.rejected() == {"bad.csv": "it cannot be read"}
    assert world.claim("r2") == []


def test_a_report_that_cannot_be_read_publishes_nothing_and_the_batch_fails(world: World) -> None:
    publish(world.emulator, "babble", "printf babble > ${{outputs.predictions}}/report.json")
    world.put("a.csv")
    (batch,) = world.claim("r1", pipeline="babble")

    with pytest.raises(Exception, match=r"report\.json"):
        world.score("r1", batch, pipeline="babble")

    world.end("r1", "failed")
    assert len(world.claim("r2", pipeline="babble")) == 1
    assert (world.published(), ledger_of(world)[batch].state.value) == ({}, "failed")


def test_only_what_was_written_in_the_window_is_claimed_and_what_came_late_by_a_later_run(world: World) -> None:
    world.put("a.csv")
    now = datetime.now(UTC)
    ago = (now - timedelta(hours=2)).isoformat()

    assert world.claim("r1", since=ago, until="+1h") == []
    assert len(world.claim("r2", since=(now + timedelta(minutes=1)).isoformat(), late=timedelta(hours=1))) == 1


def test_less_than_a_batch_lingers_and_a_full_one_does_not(world: World) -> None:
    world.put("a.csv")
    batching = Batching(blobs=2, linger=timedelta(hours=1))
    with pytest.raises(TaskDeferred) as deferred:
        world.claim("r1", batching=batching)
    world.put("b.csv")

    assert deferred.value.method_name == "look_again"
    assert len(world.claim("r1", batching=batching)) == 1


def test_a_batch_that_another_group_left_is_not_published_in_our_place(world: World) -> None:
    world.put("a.csv")
    (batch,) = world.claim("r1")
    assert batch
    ours = evolve(world, memories={})

    assert ours.claim("r2", group="others") == []


def test_the_report_fails_when_a_batch_was_not_scored_or_nobody_knows_what_was_claimed(world: World) -> None:
    world.put("a.csv")
    claimed = world.claim("r1")

    with pytest.raises(AirflowFailException, match="1 of 1 batches were not scored"):
        world.report("r1", claimed, [])
    with pytest.raises(AirflowFailException, match="the claim did not end well"):
        world.report("r1", None, [])  # type: ignore[arg-type]  # what Airflow gives for a task that failed


def test_the_dag_is_woken_again_only_where_another_run_would_get_on(world: World) -> None:
    world.put("a.csv")
    world.put("b.csv", "a,b\npoison,1\n")
    good, bad = world.claim("r1", batching=Batching(blobs=1))
    with pytest.raises(AirflowSkipException):
        world.more("r1", [good, bad], left=5)
    world.score("r1", good)

    with pytest.raises(AirflowSkipException):
        world.more("r1", [good], left=0)
    with pytest.raises(AirflowSkipException):
        world.more("r1", None)
    world.more("r1", [good], left=5)
    world.more("r1", [good])
    with pytest.raises(AirflowFailException):
        world.score("r1", bad)
    world.more("r1", [bad], left=0)

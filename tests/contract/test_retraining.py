"""Never two retrainings of one model: what is written of it, in a real store."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.client.retraining import Holdings
from airflow_azureml.client.workspace_documents import WorkspaceDocuments
from airflow_azureml.core.retraining import document_of
from airflow_azureml.errors import ProtocolError
from demo.azure import ACCOUNT
from tests.contract.test_documents_faults import wait_until_open
from tests.unit.provider.arrivals.local import SETTINGS

pytestmark = pytest.mark.anyio

RIVALS, ROUNDS = 8, 10


@pytest.fixture
def store(azurite: tuple[int, int]) -> BlobDocuments:
    """A container of one test's own, which is not there yet."""
    wait_until_open(azurite[0])
    return BlobDocuments(SETTINGS, f"http://127.0.0.1:{azurite[0]}/{ACCOUNT}/h{uuid.uuid4().hex[:12]}")


def always(_: str) -> bool:
    return True


def never(_: str) -> bool:
    return False


async def test_of_many_that_take_a_model_at_once_one_has_it_and_all_are_told_who(store: BlobDocuments) -> None:
    async with store as documents:
        opened = Holdings(WorkspaceDocuments(documents))
        for number in range(ROUNDS):
            runs = [f"dag/{number}-{rival}/group" for rival in range(RIVALS)]
            found = await asyncio.gather(*(opened.take("m", run, instance="a", lives=always) for run in runs))

            assert {each.owner for each in found} == {found[0].owner}
            assert found[0].owner in runs
            await opened.give_back("m", found[0].owner, instance="a")


async def test_taking_it_again_changes_nothing(store: BlobDocuments) -> None:
    async with store as documents:
        opened = Holdings(WorkspaceDocuments(documents))
        first = await opened.take("m", "d/r/g", instance="a", lives=always)

        assert await opened.take("m", "d/r/g", instance="a", lives=never) == first


async def test_a_model_whose_run_has_died_is_taken_over_by_one_of_those_who_want_it(store: BlobDocuments) -> None:
    async with store as documents:
        opened = Holdings(WorkspaceDocuments(documents))
        for number in range(ROUNDS):
            await opened.take("m", f"d/dead-{number}/g", instance="a", lives=never)
            runs = [f"d/{number}-{rival}/g" for rival in range(RIVALS)]

            def lives(owner: str, runs: list[str] = runs) -> bool:
                return owner in runs

            found = await asyncio.gather(*(opened.take("m", run, instance="a", lives=lives) for run in runs))

            assert len({each.owner for each in found}) == 1
            assert found[0].owner in runs
            await opened.give_back("m", found[0].owner, instance="a")


async def test_a_run_of_another_airflow_is_not_asked_after_and_is_respected(store: BlobDocuments) -> None:
    async with store as documents:
        opened = Holdings(WorkspaceDocuments(documents))
        await opened.take("m", "d/r/g", instance="north", lives=never)

        found = await opened.take("m", "d/r/g", instance="south", lives=never)

    assert (found.owner, found.instance) == ("d/r/g", "north")


async def test_only_who_holds_a_model_gives_it_back(store: BlobDocuments) -> None:
    async with store as documents:
        opened = Holdings(WorkspaceDocuments(documents))
        await opened.take("m", "d/mine/g", instance="a", lives=always)

        others = await opened.give_back("m", "d/other/g", instance="a")
        mine = await opened.give_back("m", "d/mine/g", instance="a")
        again = await opened.give_back("m", "d/mine/g", instance="a")

    assert (others.is_held, mine.is_held) == (True, False)
    assert again == mine
    assert mine.last is not None


async def test_two_models_are_held_apart(store: BlobDocuments) -> None:
    async with store as documents:
        opened = Holdings(WorkspaceDocuments(documents))
        one = await opened.take("m", "d/1/g", instance="a", lives=always)
        other = await opened.take("M", "d/2/g", instance="a", lives=always)

    assert (one.owner, other.owner) == ("d/1/g", "d/2/g")


async def test_what_somebody_else_wrote_there_gives_the_model_to_nobody(store: BlobDocuments) -> None:
    async with store as documents:
        await documents.create({document_of("m"): json.dumps({"schema": 7})})

        with pytest.raises(ProtocolError, match="not of schema 1"):
            await Holdings(WorkspaceDocuments(documents)).take("m", "d/r/g", instance="a", lives=never)

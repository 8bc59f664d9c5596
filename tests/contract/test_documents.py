"""What a store of documents promises, by each store that there is."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.client.sql_documents import SqlDocuments
from airflow_azureml.core.documents import Documents
from airflow_azureml.errors import ProtocolError, RefusedError, UnavailableError
from demo.azure import ACCOUNT
from demo.postgres import MissingError, Postgres
from tests.contract.test_documents_faults import wait_until_open
from tests.unit.provider.arrivals.local import SETTINGS

pytestmark = pytest.mark.anyio

STORES = ("blobs", "sqlite", "postgresql")
RIVALS = 8


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    if not importlib.util.find_spec("psycopg2"):
        pytest.skip("psycopg2 is not installed; `make .venv/.postgres` does it")
    try:
        server = Postgres(tmp_path_factory.mktemp("postgres"))
    except MissingError as error:
        pytest.skip(str(error))
    with server:
        yield server


@attrs.frozen
class Place:
    """The same store for any number of clients, as many processes have it; `at` tells one test's ids from another's."""

    open: Callable[[], contextlib.AbstractAsyncContextManager[Documents]]
    at: str


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    name = f"d{uuid.uuid4().hex[:12]}"
    if request.param == "blobs":
        port, _ = request.getfixturevalue("azurite")
        wait_until_open(port)
        return Place(lambda: BlobDocuments(SETTINGS, f"http://127.0.0.1:{port}/{ACCOUNT}/{name}"), name)
    if request.param == "sqlite":
        return Place(lambda: SqlDocuments(f"sqlite:///{tmp_path / name}.db"), name)
    url = request.getfixturevalue("postgres").url
    return Place(lambda: SqlDocuments(url), name)


async def test_what_is_created_is_read_as_it_was_and_nothing_else_is_there(place: Place) -> None:
    texts = {f"{place.at}/{name}": f'"{name} ä€😀"' for name in ("a", "b/c", "b/D-1_2.x")}
    async with place.open() as store:
        before = await store.read(texts)
        made = await store.create(texts)
        found = await store.read([*texts, f"{place.at}/other"])

    assert before == {}
    assert found == made
    assert {name: each.text for name, each in found.items()} == texts
    assert all(each.id == name and each.version for name, each in found.items())


async def test_a_document_is_created_once(place: Place) -> None:
    async with place.open() as mine, place.open() as other:
        await mine.create({f"{place.at}/a": "1"})
        made = await other.create({f"{place.at}/a": "2", f"{place.at}/b": "2"})
        found = await mine.read([f"{place.at}/a"])

    assert list(made) == [f"{place.at}/b"]
    assert found[f"{place.at}/a"].text == "1"


async def test_what_was_created_with_the_very_same_text_counts_as_ones_own(place: Place) -> None:
    async with place.open() as store:
        first = await store.create({f"{place.at}/a": "1"})
        again = await store.create({f"{place.at}/a": "1"})

    assert again == first


async def test_only_the_version_expected_is_replaced(place: Place) -> None:
    name = f"{place.at}/a"
    async with place.open() as store:
        first = (await store.create({name: "1"}))[name]
        second = (await store.replace({name: (first.version, "2")}))[name]
        late = await store.replace({name: (first.version, "3")})
        missing = await store.replace({f"{place.at}/b": (first.version, "3")})
        found = await store.read([name, f"{place.at}/b"])

    assert first.version != second.version
    assert (late, missing) == ({}, {})
    assert found == {name: second}
    assert second.time >= first.time


async def test_what_was_replaced_by_the_very_same_text_counts_as_ones_own(place: Place) -> None:
    name = f"{place.at}/a"
    async with place.open() as store:
        first = (await store.create({name: "1"}))[name]
        second = await store.replace({name: (first.version, "2")})
        again = await store.replace({name: (first.version, "2")})

    assert again == second


async def test_only_the_version_expected_is_removed_and_what_is_gone_is_gone(place: Place) -> None:
    one, two, three, never = (f"{place.at}/{name}" for name in ("one", "two", "three", "never"))
    async with place.open() as store:
        made = await store.create({one: "1", two: "1", three: "1"})
        await store.replace({two: (made[two].version, "2")})
        gone = await store.remove({one: made[one].version, two: made[two].version, three: "", never: "x"})
        left = await store.read([one, two, three])

    assert gone == {one, three, never}
    assert list(left) == [two]


async def test_a_version_never_comes_twice_even_where_the_document_was_removed_between(place: Place) -> None:
    name = f"{place.at}/a"
    async with place.open() as store:
        first = (await store.create({name: "1"}))[name]
        await store.remove({name: first.version})
        await store.create({name: "1"})
        late = await store.replace({name: (first.version, "2")})
        kept = await store.remove({name: first.version})

    assert (late, kept) == ({}, set())


async def test_a_scan_gives_all_below_a_prefix_in_the_order_of_their_ids(place: Place) -> None:
    names = sorted(f"{place.at}/{part}/{number:04}" for part in ("a", "a-b", "B") for number in range(400))
    async with place.open() as store:
        await store.create(dict.fromkeys(names, "x"))
        whole = [each.id async for page in store.scan(f"{place.at}/") for each in page]
        part = [(each.id, each.text) async for page in store.scan(f"{place.at}/a/") for each in page]
        ids = [each async for page in store.ids(f"{place.at}/a/") for each in page]

    assert whole == names
    assert ids == [name for name in names if "/a/" in name]
    assert part == [(name, "x") for name in ids]


async def test_looking_where_nothing_ever_was_finds_nothing(place: Place) -> None:
    name = f"{place.at}/a"
    async with place.open() as store:
        assert await store.read([name]) == {}
        assert await store.replace({name: ("x", "1")}) == {}
        assert await store.remove({name: "x"}) == {name}
        assert [page async for page in store.scan(place.at) if page] == []


async def test_times_are_the_stores_own_and_about_now(place: Place) -> None:
    name = f"{place.at}/a"
    async with place.open() as store:
        made = (await store.create({name: "1"}))[name]
        told = await store.now()

    assert abs(told - datetime.now(UTC)) < timedelta(minutes=2)
    assert timedelta(seconds=-1) <= told - made.time < timedelta(minutes=2)


async def test_of_many_that_write_at_once_exactly_one_wins_each_document(place: Place) -> None:
    names = [f"{place.at}/{number:02}" for number in range(60)]

    async def _rival(number: int) -> tuple[set[str], set[str]]:
        async with place.open() as store:
            mine = names[number:] + names[:number]
            made = set(await store.create(dict.fromkeys(mine, f"first of {number}")))
            there = await store.read(mine)
            return made, set(
                await store.replace({name: (there[name].version, f"second of {number}") for name in reversed(mine)})
            )

    async with place.open() as store:
        won = await asyncio.gather(*(_rival(number) for number in range(RIVALS)))
        found = await store.read(names)

    assert sorted(name for made, _ in won for name in made) == names
    replaced = [name for _, names in won for name in names]
    # Whoever reads after another's replacement may replace in turn: so at least once, and the last one stands.
    assert set(replaced) == set(names)
    winners = {name: {number for number, (_, theirs) in enumerate(won) if name in theirs} for name in names}
    assert all(int(found[name].text.rpartition(" ")[2]) in winners[name] for name in names)


@pytest.mark.parametrize("name", ["", "a//b", "/a", "a/", "../a", "a/./b", "ä", "a b", "a%2F", "x" * 513, "a\nb"])
async def test_what_is_no_id_is_refused_before_anything_is_asked(name: str, tmp_path: Path) -> None:
    for store in (
        BlobDocuments(SETTINGS, f"http://127.0.0.1:1/{ACCOUNT}/c"),
        SqlDocuments(f"sqlite:////{tmp_path}/never/a.db"),
    ):
        with pytest.raises(ProtocolError, match="is no document's id"):
            await store.read([name])


async def test_a_service_that_does_not_answer_is_an_error_that_may_be_retried(tmp_path: Path) -> None:
    async with BlobDocuments(SETTINGS, f"http://127.0.0.1:1/{ACCOUNT}/c", first_wait_s=0.01) as store:
        with pytest.raises(UnavailableError, match=r"Read http://127\.0\.0\.1:1/devstoreaccount1/c/a: no answer"):
            await store.read(["a"])
    async with SqlDocuments(f"sqlite:///{tmp_path}/never/a.db") as store:
        with pytest.raises(
            RefusedError, match=r"Read documents in sqlite .*never/a.db: .*unable to open database file"
        ):
            await store.read(["a"])

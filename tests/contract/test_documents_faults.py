"""A store of documents whose answers are lost, or that has no time: the real ones, behind a door that misbehaves."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import time
import traceback
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import attrs
import pytest
from aiohttp import web

from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.client.sql_documents import SqlDocuments
from airflow_azureml.errors import ConfigError, ProtocolError, RefusedError, UnavailableError
from demo.azure import ACCOUNT
from tests.contract.conftest import wait_for
from tests.unit.provider.arrivals.local import SETTINGS

pytestmark = pytest.mark.anyio


@attrs.define
class Door:
    """A proxy before Azurite.

    Attributes:
        fates: What becomes of the next requests that are none for reading; the rest goes through.
        asked: Method and status of each request that came.
    """

    behind: str
    address: str = ""
    fates: list[str] = attrs.field(factory=list)
    asked: list[tuple[str, int]] = attrs.field(factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        fate = self.fates.pop(0) if self.fates and request.method != "GET" else "through"
        if fate == "busy":
            self.asked.append((request.method, 503))
            return web.Response(status=503, headers={"Retry-After": "1", "x-ms-error-code": "ServerBusy"})
        if fate == "html":
            return web.Response(status=201, text="<html>sign in", content_type="text/html")
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                self.behind + request.raw_path,
                headers={name: value for name, value in request.headers.items() if name.lower() != "host"},
                data=await request.read(),
                skip_auto_headers=("Content-Type", "Accept-Encoding"),
            ) as answer,
        ):
            content = await answer.read()
            self.asked.append((request.method, answer.status))
            if fate == "lost" and request.transport is not None:
                request.transport.abort()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOPS}
            return web.Response(status=answer.status, headers=kept, body=content)


def wait_until_open(port: int) -> None:
    """Wait until somebody listens there."""

    def _is_open() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
        return False

    wait_for(_is_open, f"somebody listens on port {port}")


_HOPS = {"transfer-encoding", "content-length", "connection", "keep-alive"}


@pytest.fixture
async def door(azurite: tuple[int, int]) -> AsyncIterator[Door]:
    wait_until_open(azurite[0])
    made = Door(f"http://127.0.0.1:{azurite[0]}")
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app, handler_cancellation=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.address = f"http://127.0.0.1:{runner.addresses[0][1]}/{ACCOUNT}/d{uuid.uuid4().hex[:12]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def store(door: Door) -> AsyncIterator[BlobDocuments]:
    async with BlobDocuments(SETTINGS, door.address, first_wait_s=0.05) as opened:
        await opened.create({"there": "0"})  # and the container
        door.asked.clear()
        yield opened


async def test_a_document_that_was_created_and_whose_answer_was_lost_is_ours(store: BlobDocuments, door: Door) -> None:
    door.fates = ["lost"]
    made = await store.create({"a": "mine"})

    assert made == await store.read(["a"])
    assert door.asked[:2] == [("PUT", 201), ("PUT", 409)]


async def test_a_document_that_was_replaced_and_whose_answer_was_lost_is_ours(store: BlobDocuments, door: Door) -> None:
    first = (await store.create({"a": "1"}))["a"]
    door.asked.clear()
    door.fates = ["lost"]
    made = await store.replace({"a": (first.version, "2")})

    assert made == await store.read(["a"])
    assert made["a"].text == "2"
    assert door.asked[:2] == [("PUT", 201), ("PUT", 412)]


async def test_a_document_whose_removal_was_not_answered_is_gone(store: BlobDocuments, door: Door) -> None:
    first = (await store.create({"a": "1"}))["a"]
    door.fates = ["lost"]

    assert await store.remove({"a": first.version}) == {"a"}
    assert await store.read(["a"]) == {}


async def test_a_service_that_is_busy_is_asked_again_no_sooner_than_it_says(store: BlobDocuments, door: Door) -> None:
    door.fates = ["busy"]
    began = time.monotonic()
    made = await store.create({"a": "1"})

    assert list(made) == ["a"]
    assert time.monotonic() - began >= 1
    assert door.asked == [("PUT", 503), ("PUT", 201)]


async def test_a_service_that_stays_busy_is_given_up_and_one_may_try_again(door: Door) -> None:
    door.fates = ["busy"] * 100
    async with BlobDocuments(SETTINGS, door.address, first_wait_s=0.01) as store:
        with pytest.raises(UnavailableError, match=r"Write .*/a: 503 ServerBusy"):
            await store.create({"a": "1"})

    assert door.asked == [("PUT", 503)] * 5


async def test_what_answers_and_is_no_storage_is_said_to_be_none(store: BlobDocuments, door: Door) -> None:
    door.fates = ["html"]

    with pytest.raises(ProtocolError, match="the answer is none of Azure Storage's"):
        await store.create({"a": "1"})


async def test_the_first_write_makes_the_container_also_where_many_come_at_once(door: Door) -> None:
    async with contextlib.AsyncExitStack() as opened:
        stores = [await opened.enter_async_context(BlobDocuments(SETTINGS, door.address)) for _ in range(3)]
        made = [await store.create({f"a{number}": "1" for number in range(20)}) for store in stores]

    assert [len(each) for each in made] == [20, 20, 20]


async def test_a_database_that_is_away_or_says_no_is_an_error_without_its_password() -> None:
    url = "postgresql+psycopg2://ledger:s3cr3t@127.0.0.1:1/db"
    pytest.importorskip("psycopg2")
    async with SqlDocuments(url) as store:
        assert "s3cr3t" not in repr(store)
        with pytest.raises(UnavailableError, match=r"Read documents in postgresql 127\.0\.0\.1/db: ") as raised:
            await store.read(["a"])

    assert "s3cr3t" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no url", "no URL that SQLAlchemy can read"),
        ("mysql://u:s3cr3t@h/d", "'mysql'; SQLite and PostgreSQL are supported"),
        ("sqlite://", "SQLite in memory, which nobody else sees"),
        ("sqlite:///:memory:", "SQLite in memory, which nobody else sees"),
        ("postgresql+asyncpg://u:s3cr3t@h/d", "The driver 'asyncpg' of postgresql is not supported"),
        ("postgresql+psycopg://u:s3cr3t@h/d", "needs a driver that is not installed: psycopg"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_before_anything_is_asked(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        SqlDocuments(url)

    assert "s3cr3t" not in str(raised.value)


async def test_a_database_that_another_holds_too_long_may_be_asked_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    async with SqlDocuments(url) as store:
        await store.create({"a": "1"})
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")
        async with SqlDocuments(f"{url}?timeout=0.01") as store:
            with pytest.raises(UnavailableError, match=r"Write documents in sqlite .*\. database is locked"):
                await store.create({"b": "1"})


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("not a database, and longer than its header would be" * 10)
    async with SqlDocuments(f"sqlite:///{tmp_path}/a.db") as store:
        with pytest.raises(RefusedError, match="file is not a database"):
            await store.read(["a"])

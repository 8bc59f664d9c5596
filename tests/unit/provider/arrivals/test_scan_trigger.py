"""The way from a container of Azurite's to asset events, through Airflow's own shared streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.triggers.shared_stream import AckTimeout, AdvanceItem, AdvanceOutcome, SharedStreamManager
from azure.storage.blob import ContainerClient

from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.layouts import ANY, NAMES, Layout, dates
from airflow_azureml.core.scan import Scan, Scanning
from airflow_azureml.core.scan_state import ScanState
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import UnavailableError
from airflow_azureml.triggers.scan import BlobScanTrigger, Part, ScanPace, ScanProducer, Store
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.unit.provider.arrivals.listening import Listener
from tests.unit.provider.arrivals.local import SETTINGS

pytestmark = pytest.mark.anyio


class Memory:
    """An asset's state, as Airflow keeps it: JSON, by key."""

    kept: dict[str, str]
    is_there: bool = True

    def __init__(self) -> None:
        self.kept = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        if not self.is_there:
            raise RuntimeError("the API server is down")
        return json.loads(self.kept[key]) if key in self.kept else default

    async def aset(self, key: str, value: Any) -> None:
        if not self.is_there:
            raise RuntimeError("the API server is down")
        self.kept[key] = json.dumps(value)


#: By the asset's name.
MEMORIES: dict[str, Memory] = {}


class QuickTrigger(BlobScanTrigger):
    """The trigger, less patient, and with a memory that tests can look into."""

    pace = ScanPace(longest_wait_s=0.2, first_wait_s=0.01, page_size=3, note_every_s=0)

    @classmethod
    def store(cls, asset: str) -> Store:
        return MEMORIES[asset]

    @classmethod
    async def settings(cls, conn_id: str) -> ConnectionSettings:
        del conn_id
        return SETTINGS


class Follower(Listener):
    """A listener whose events are committed from its first commit on."""

    def commit(self) -> None:
        self.at_once = True
        super().commit()


@pytest.fixture
def container(azurite: Azurite) -> ContainerClient:
    url = f"{azurite.blob_url}/{ACCOUNT}/c{uuid.uuid4().hex[:12]}"
    client = ContainerClient.from_container_url(url, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})
    client.create_container()
    return client


@pytest.fixture
async def manager() -> AsyncIterator[SharedStreamManager]:
    streams = SharedStreamManager()
    yield streams
    await streams.stop_all()


def trigger_of(url: str, layout: Layout = ANY) -> BlobScanTrigger:
    account_url, _, container = url.rpartition("/")
    how = Scanning(layout=layout, every=timedelta(seconds=0.1))
    scan = Scan(account_url=account_url, wanted=ArrivalFilter(container=container, prefix="in/"), how=how)
    asset = uuid.uuid4().hex
    MEMORIES[asset] = Memory()
    return QuickTrigger(asset=asset, scan=scan.to_wire())


def state_of(trigger: BlobScanTrigger) -> ScanState:
    (kept,) = MEMORIES[trigger.asset].kept.values()
    return ScanState.from_wire(json.loads(kept))


def upload(container: ContainerClient, *paths: str) -> None:
    for path in paths:
        container.upload_blob(path, b"x", overwrite=True)


async def until(condition: Callable[[], object], *, deadline_s: float = 30) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("layout", [ANY, NAMES, dates("in/%Y/")], ids=lambda layout: layout.kind)
async def test_what_is_new_is_told_once_while_blobs_are_written_overwritten_and_deleted(
    manager: SharedStreamManager, container: ContainerClient, layout: Layout
) -> None:
    year = f"in/{time.gmtime().tm_year}/"
    names = [f"{year}{number}" for number in range(9)]
    upload(container, *names[:5], "out/1")
    trigger = trigger_of(container.url, layout)
    async with Follower(manager, trigger) as listener:
        listener.commit()
        await until(lambda: len(listener.arrivals) == 5)
        container.delete_blob(names[0])
        upload(container, names[4], *names[5:])
        await until(lambda: len(listener.arrivals) >= 10)
        since = state_of(trigger).since
        await until(lambda: state_of(trigger).since != since)

    assert listener.arrivals == [*names[:5], *names[4:]]


async def test_the_watermark_moves_only_after_the_events_are_committed(
    manager: SharedStreamManager, container: ContainerClient
) -> None:
    upload(container, "in/1", "in/2")
    trigger = trigger_of(container.url)
    async with Follower(manager, trigger) as listener:
        await until(lambda: len(listener.arrivals) == 2)
        await asyncio.sleep(0.5)
        before = dict(MEMORIES[trigger.asset].kept)
        listener.commit()
        await until(lambda: MEMORIES[trigger.asset].kept)

    assert before == {}


async def test_what_was_not_committed_when_the_triggerer_died_is_told_again_and_the_rest_is_not(
    container: ContainerClient,
) -> None:
    upload(container, "in/1", "in/2")
    trigger = trigger_of(container.url)
    first = SharedStreamManager()
    async with Follower(first, trigger) as listener:
        listener.commit()
        await until(lambda: MEMORIES[trigger.asset].kept and state_of(trigger).since)
        listener.at_once = False
        upload(container, "in/3")
        await until(lambda: len(listener.arrivals) == 3)
    await first.stop_all()
    second = SharedStreamManager()
    async with Follower(second, trigger) as again:
        again.commit()
        await until(lambda: again.arrivals)
        upload(container, "in/4")
        await until(lambda: "in/4" in again.arrivals)
    await second.stop_all()

    assert again.arrivals == ["in/3", "in/4"]


async def test_what_is_never_committed_ends_the_trigger_and_is_told_again(container: ContainerClient) -> None:
    upload(container, "in/1")
    manager = SharedStreamManager(ack_timeout=1)
    trigger = trigger_of(container.url)
    async with Follower(manager, trigger) as first:
        await until(first.task.done)
    async with Follower(manager, trigger) as second:
        second.commit()
        await until(lambda: MEMORIES[trigger.asset].kept)
    await manager.stop_all()

    assert isinstance(first.task.exception(), (AckTimeout, UnavailableError))
    assert first.arrivals == second.arrivals == ["in/1"]


async def test_an_event_that_the_triggerer_did_not_take_does_not_count_as_stored() -> None:
    memory = Memory()
    scan = Scan.from_wire(trigger_of("http://127.0.0.1:1/devstoreaccount1/incoming").scan)

    async def _settings() -> ConnectionSettings:
        return SETTINGS

    producer = ScanProducer(scan, store=memory, settings=_settings, pace=ScanPace())
    part = Part(arrivals=(), state=ScanState())
    accepted = AdvanceOutcome(acked=1, failed=0)

    with pytest.raises(UnavailableError, match="Airflow has not stored them; they are told again"):
        await producer.advance([AdvanceItem(part, accepted)])
    assert memory.kept == {}
    part.is_handed_on = True
    await producer.advance([AdvanceItem(part, accepted)])
    assert list(memory.kept) == [scan.key]


async def test_a_container_that_is_missing_is_said_once_and_scanned_as_soon_as_it_is_there(
    manager: SharedStreamManager, azurite: Azurite, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{azurite.blob_url}/{ACCOUNT}/c{uuid.uuid4().hex[:12]}"
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    async with Follower(manager, trigger_of(url)) as listener:
        await until(lambda: "ContainerNotFound" in caplog.text)
        await asyncio.sleep(1)
        said = caplog.text.count("ContainerNotFound")
        assert not listener.task.done()
        client = ContainerClient.from_container_url(url, credential=key)
        client.create_container()
        upload(client, "in/1")
        await until(lambda: listener.arrivals)

    assert (said, listener.arrivals) == (1, ["in/1"])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\nConnection: close\r\n\r\n<html><body>Sign in</body></ht>",
        b"",
    ],
    ids=["503", "html", "nothing"],
)
async def test_an_account_that_fails_in_the_middle_of_a_scan_is_said_once_and_nothing_is_left_out(
    manager: SharedStreamManager, container: ContainerClient, caplog: pytest.LogCaptureFixture, answer: bytes
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    # Every eleventh request is served: those between are more than a page is asked for.
    names = [f"in/{number}" for number in range(8)]
    upload(container, *names)
    _, _, address = container.url.partition("//")
    host, _, path = address.partition("/")
    asked: list[int] = []

    async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            request = await reader.readuntil(b"\r\n\r\n")
            asked.append(1)
            if len(asked) % 11 == 1:
                there, here = await asyncio.open_connection(*host.split(":"))
                here.write(request.replace(b"keep-alive", b"close"))
                writer.write((await there.read()).replace(b"keep-alive", b"close"))
                here.close()
            else:
                writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Follower(manager, trigger_of(f"http://127.0.0.1:{port}/{path}")) as listener:
        listener.commit()
        await until(lambda: len(listener.arrivals) == len(names), deadline_s=60)
        await until(lambda: "answers again" in caplog.text)

    assert listener.arrivals == names
    assert len([each for each in caplog.messages if each.startswith("The scan of")]) == 1


async def test_a_store_that_is_down_is_waited_for_and_one_that_cannot_be_read_means_the_beginning(
    manager: SharedStreamManager, container: ContainerClient, caplog: pytest.LogCaptureFixture
) -> None:
    upload(container, "in/1")
    trigger = trigger_of(container.url)
    memory = MEMORIES[trigger.asset]
    memory.kept[Scan.from_wire(trigger.scan).key] = '{"of": "another time"}'
    memory.is_there = False
    async with Follower(manager, trigger) as listener:
        listener.commit()
        await until(lambda: "the API server is down" in caplog.text)
        assert listener.arrivals == []
        memory.is_there = True
        await until(lambda: "since" in next(iter(memory.kept.values())))

    assert listener.arrivals == ["in/1"]
    assert "is scanned from the beginning" in caplog.text


async def test_by_itself_the_trigger_moves_its_watermark_when_the_next_event_is_asked_for(
    container: ContainerClient,
) -> None:
    upload(container, "in/1")
    trigger = trigger_of(container.url)
    stream = trigger.run()
    event = await anext(stream)
    before = dict(MEMORIES[trigger.asset].kept)
    following = asyncio.ensure_future(anext(stream))
    await until(lambda: MEMORIES[trigger.asset].kept)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)

    assert ([arrival["path"] for arrival in event.payload], before) == (["in/1"], {})


async def test_a_quiet_container_is_not_spoken_of(
    manager: SharedStreamManager, container: ContainerClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    trigger = trigger_of(container.url)
    async with Follower(manager, trigger):
        await until(lambda: MEMORIES[trigger.asset].kept)
        since = state_of(trigger).since
        await until(lambda: state_of(trigger).since != since)

    assert [each for each in caplog.messages if container.container_name in each] == []

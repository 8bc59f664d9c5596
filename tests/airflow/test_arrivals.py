"""The way from a storage queue to asset events, through Airflow's own shared streams and a real Azurite."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from airflow.triggers.shared_stream import AckTimeout, SharedStreamManager
from azure.storage.queue import QueueClient

from airflow_azureml.client.storage import StorageQueue
from airflow_azureml.triggers.arrivals import BlobArrivalTrigger
from airflow_azureml.triggers.receiving import Pace
from airflow_azureml.triggers.storage_queue import MESSAGE_BYTES
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.unit.provider.arrivals.listening import Listener, until

pytestmark = pytest.mark.anyio


class QuickTrigger(BlobArrivalTrigger):
    """The trigger, less patient."""

    pace = Pace(start_delay_s=0.1, visibility_s=30, again_s=1, poll_s=0.1, longest_wait_s=0.3)


class ShortHoldTrigger(BlobArrivalTrigger):
    pace = Pace(start_delay_s=0.1, visibility_s=2, poll_s=0.1)


class LateStartTrigger(BlobArrivalTrigger):
    pace = Pace(start_delay_s=2, poll_s=0.1)


class Queue:
    """A queue of the test's own."""

    def __init__(self, azurite: Azurite, *, exists: bool = True) -> None:
        self.url = f"{azurite.queue_url}/{ACCOUNT}/q{uuid.uuid4().hex[:12]}"
        self._own = self._client(self.url)
        self._poison = self._client(f"{self.url}-poison")
        if exists:
            self._own.create_queue()

    @staticmethod
    def _client(url: str) -> QueueClient:
        return QueueClient.from_queue_url(url, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})

    def create(self) -> None:
        self._own.create_queue()

    def send(self, *messages: str) -> None:
        for message in messages:
            self._own.send_message(message)

    @property
    def length(self) -> int:
        """How many messages there are, hidden ones included."""
        return int(self._own.get_queue_properties().approximate_message_count or 0)

    def visible(self) -> list[Any]:
        return list(self._own.peek_messages(max_messages=32))

    def put_aside(self) -> list[str]:
        return [str(message.content) for message in self._poison.peek_messages(max_messages=32)]

    def refused(self) -> list[dict[str, Any]]:
        return [json.loads(content) for content in self.put_aside()]


@pytest.fixture
def queue(azurite: Azurite) -> Queue:
    return Queue(azurite)


@pytest.fixture
async def manager() -> AsyncIterator[SharedStreamManager]:
    streams = SharedStreamManager()
    yield streams
    await streams.stop_all()


def trigger(queue: Queue, kind: type[BlobArrivalTrigger] = QuickTrigger, **changes: Any) -> BlobArrivalTrigger:
    wanted = {"container": "incoming", "prefix": changes.pop("prefix", "")}
    return kind(**{"queue_url": queue.url, "wanted": wanted, **changes})


def message(path: str, *, account: str = ACCOUNT, kind: str = "Microsoft.Storage.BlobCreated") -> str:
    event = {
        "topic": f"/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/{account}",
        "subject": f"/blobServices/default/containers/incoming/blobs/{path}",
        "eventType": kind,
        "eventTime": "2026-01-31T18:41:00.9584103Z",
        "id": str(uuid.uuid4()),
        "data": {
            "api": "PutBlob",
            "eTag": "0x8D4BCC2E4835CD0",
            "contentLength": 10,
            "url": f"http://127.0.0.1:10000/{account}/incoming/{path}",
            "sequencer": "1",
        },
    }
    return base64.b64encode(json.dumps(event).encode()).decode()


async def test_messages_that_came_together_are_one_event_and_are_deleted_only_when_it_is_committed(
    manager: SharedStreamManager, queue: Queue
) -> None:
    queue.send(message("a"), message("b"), message("c"))
    async with Listener(manager, trigger(queue)) as listener:
        await until(lambda: listener.arrivals)
        await asyncio.sleep(0.5)
        before = queue.length
        listener.commit()
        await until(lambda: queue.length == 0)

    assert (sorted(listener.arrivals), listener.events, before) == (["a", "b", "c"], 1, 3)


async def test_what_is_never_committed_is_delivered_again(queue: Queue) -> None:
    manager = SharedStreamManager(ack_timeout=1)
    queue.send(message("a"))
    async with Listener(manager, trigger(queue)) as first:
        await until(first.task.done)
    async with Listener(manager, trigger(queue)) as second:
        await until(lambda: second.arrivals)
        second.commit()
        await until(lambda: queue.length == 0)

    assert isinstance(first.task.exception(), AckTimeout)
    assert first.arrivals == second.arrivals == ["a"]


async def test_an_asset_whose_event_is_not_stored_gets_it_again_though_its_sibling_has_stored_it(queue: Queue) -> None:
    manager = SharedStreamManager(ack_timeout=1)
    queue.send(message("a"))
    async with Listener(manager, trigger(queue), 1) as one, Listener(manager, trigger(queue), 2) as two:
        await until(lambda: one.arrivals and two.arrivals)
        one.commit()
        await until(two.task.done)
        async with Listener(manager, trigger(queue), 2) as two_again:
            await until(lambda: two_again.arrivals)

    assert two_again.arrivals == ["a"]


async def test_when_the_triggerer_stops_what_is_not_committed_is_visible_at_once(
    manager: SharedStreamManager, queue: Queue
) -> None:
    queue.send(message("a"))
    async with Listener(manager, trigger(queue)) as listener:
        await until(lambda: listener.arrivals)
        assert queue.visible() == []

    assert [seen.dequeue_count for seen in queue.visible()] == [1]


async def test_a_message_that_waits_long_for_its_commit_stays_hidden_and_as_it_is(
    manager: SharedStreamManager, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    text = message("a")
    queue.send(text)
    async with Listener(manager, trigger(queue, ShortHoldTrigger)) as listener:
        await until(lambda: listener.arrivals)
        end = time.monotonic() + 3 * ShortHoldTrigger.pace.visibility_s
        while time.monotonic() < end:
            assert queue.visible() == []
            await asyncio.sleep(0.1)
        assert listener.events == 1
        listener.commit()
        await until(lambda: queue.length == 0)

    assert "Held 1 messages" in caplog.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no event at all!", "neither JSON nor base64"),
        (message("a", kind="Microsoft.Storage.BlobPainted"), "unknown event type"),
        (message("a", account="another"), "storage account another; allowed here: devstoreaccount1"),
    ],
)
async def test_what_cannot_be_an_arrival_is_put_aside_with_its_reason_and_the_rest_goes_on(
    manager: SharedStreamManager, queue: Queue, text: str, reason: str
) -> None:
    queue.send(text, message("good"))
    async with Listener(manager, trigger(queue)) as listener:
        await until(lambda: listener.arrivals)
        listener.commit()
        await until(lambda: queue.length == 0)

    (refused,) = queue.refused()
    assert reason in refused["reason"]
    assert (refused["content"], refused["dequeued"], bool(refused["message_id"])) == (text, 1, True)
    assert listener.arrivals == ["good"]


async def test_a_message_that_was_delivered_more_than_five_times_is_put_aside(
    manager: SharedStreamManager, queue: Queue
) -> None:
    queue.send(message("a"))
    async with StorageQueue(queue.url, None) as own:
        for _ in range(5):
            (received,) = await own.receive(visibility_s=30)
            await own.hold(received, visibility_s=0)
    async with Listener(manager, trigger(queue)) as listener:
        await until(lambda: queue.length == 0)

    assert [refused["reason"] for refused in queue.refused()] == ["delivered 6 times and never stored"]
    assert listener.arrivals == []


async def test_a_message_too_large_to_be_wrapped_is_put_aside_as_it_is(
    manager: SharedStreamManager, queue: Queue
) -> None:
    queue.send(text := json.dumps({"eventType": "x" * (MESSAGE_BYTES - 100)}))
    async with Listener(manager, trigger(queue)):
        await until(lambda: queue.length == 0)

    assert queue.refused() == [json.loads(text)]


@pytest.mark.parametrize(
    ("text", "put_aside"),
    [
        ("?" + "sig=a&" * 10_900, "?sig=***&sig=***&"),
        (base64.b64encode(b"\x01" * 12_000 + b"?sig=SECRET").decode(), "?" * 12_000 + "?sig=***"),
    ],
    ids=["longer without its secrets", "nothing for XML"],
)
async def test_whatever_a_large_message_holds_it_is_put_aside_and_its_queue_can_be_read(
    manager: SharedStreamManager, queue: Queue, text: str, put_aside: str
) -> None:
    queue.send(text)
    async with Listener(manager, trigger(queue)):
        await until(lambda: queue.length == 0)

    (refused,) = queue.put_aside()
    assert refused.startswith(put_aside)
    assert len(refused) <= MESSAGE_BYTES


async def test_an_event_that_is_no_arrival_is_deleted_and_named_in_the_log(
    manager: SharedStreamManager, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    queue.send(message("a", kind="Microsoft.Storage.BlobDeleted"))
    async with Listener(manager, trigger(queue)) as listener:
        await until(lambda: queue.length == 0)

    assert "Microsoft.Storage.BlobDeleted" in caplog.text
    assert listener.events == 0


async def test_a_missing_queue_is_said_once_and_read_as_soon_as_it_is_there(
    manager: SharedStreamManager, azurite: Azurite, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(azurite, exists=False)
    async with Listener(manager, trigger(queue)) as listener:
        await until(lambda: "QueueNotFound" in caplog.text)
        await asyncio.sleep(1.5)
        said = caplog.text.count("QueueNotFound")
        assert not listener.task.done()
        queue.create()
        queue.send(message("a"))
        await until(lambda: listener.arrivals)

    assert said == 1
    assert listener.arrivals == ["a"]


async def test_something_that_is_no_queue_service_is_said_and_asked_again(
    manager: SharedStreamManager, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            asked.append(1)
            body = b"<html><body>Please sign in</body></html>"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    own = QuickTrigger(queue_url=f"http://127.0.0.1:{port}/{ACCOUNT}/arrivals", wanted={"container": "incoming"})
    async with server, Listener(manager, own) as listener:
        await until(lambda: len(asked) > 2)
        alive = not listener.task.done()

    assert alive
    assert caplog.text.count("Arrivals of http") == 1


async def test_a_queue_service_that_does_not_answer_is_said_once_and_asked_again(
    manager: SharedStreamManager, caplog: pytest.LogCaptureFixture
) -> None:
    closed = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()
    own = QuickTrigger(queue_url=f"http://127.0.0.1:{port}/{ACCOUNT}/arrivals", wanted={"container": "incoming"})
    async with Listener(manager, own) as listener:
        await until(lambda: "no answer" in caplog.text)
        await asyncio.sleep(1.5)
        alive = not listener.task.done()

    assert alive
    assert caplog.text.count("no answer") == 1


async def test_two_assets_share_a_queue_and_each_gets_its_own(
    manager: SharedStreamManager, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    queue.send(message("one/a"), message("two/b"), message("nobody/c"))
    async with (
        Listener(manager, trigger(queue, prefix="one/"), 1) as one,
        Listener(manager, trigger(queue, prefix="two/"), 2) as two,
    ):
        await until(lambda: one.arrivals and two.arrivals)
        one.commit()
        await asyncio.sleep(0.5)
        before = queue.length
        two.commit()
        await until(lambda: queue.length == 0)

    assert (one.arrivals, two.arrivals, before) == (["one/a"], ["two/b"], 3)
    assert "Taken 1 arrivals for incoming/one/; left out: 2 path does not begin with one/" in caplog.text


async def test_an_asset_that_names_another_account_gets_its_arrivals_beside_one_that_does_not(
    manager: SharedStreamManager, queue: Queue
) -> None:
    queue.send(message("a"), message("b", account="another"))
    async with (
        Listener(manager, trigger(queue), 1) as own,
        Listener(manager, trigger(queue, account="another"), 2) as another,
    ):
        await until(lambda: own.arrivals and another.arrivals)
        own.commit()
        another.commit()
        await until(lambda: queue.length == 0)

    assert (own.arrivals, another.arrivals) == (["a"], ["b"])


async def test_an_asset_that_comes_back_a_second_after_its_sibling_misses_nothing(
    manager: SharedStreamManager, queue: Queue
) -> None:
    queue.send(message("one/a"), message("two/b"))
    async with Listener(manager, trigger(queue, LateStartTrigger, prefix="one/"), 1) as one:
        await asyncio.sleep(1)
        async with Listener(manager, trigger(queue, LateStartTrigger, prefix="two/"), 2) as two:
            await until(lambda: one.arrivals and two.arrivals)

    assert two.arrivals == ["two/b"]


async def test_by_itself_the_trigger_deletes_a_message_when_the_next_event_is_asked_for(queue: Queue) -> None:
    queue.send(message("a"))
    stream = trigger(queue).run()
    event = await anext(stream)
    following = asyncio.ensure_future(anext(stream))
    await until(lambda: queue.length == 0)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)

    assert [arrival["path"] for arrival in event.payload] == ["a"]

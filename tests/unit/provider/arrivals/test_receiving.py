"""Receiving and settling, whatever the kind of the queue: on a queue of this process."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
from airflow.triggers.shared_stream import SharedStreamManager

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.dead_letters import LONGEST_REASON, reason_of, without_secrets
from airflow_azureml.triggers.receiving import Pace
from airflow_azureml.wire.events import Message
from tests.unit.provider.arrivals.listening import Listener, message, trigger, until
from tests.unit.provider.arrivals.memory import URL, MemorySource, trigger_of

pytestmark = pytest.mark.anyio

QUICK = Pace(start_delay_s=0, visibility_s=30, again_s=1, poll_s=0.05, longest_wait_s=0.3)


@pytest.fixture
async def manager() -> AsyncIterator[SharedStreamManager]:
    streams = SharedStreamManager()
    yield streams
    await streams.stop_all()


async def test_several_receive_at_once_while_there_is_much_and_one_alone_while_there_is_nothing(
    manager: SharedStreamManager,
) -> None:
    source = MemorySource(QUICK, answer_s=0.02)
    kind, _ = trigger_of(source, QUICK)
    for number in range(1_000):
        source.queue.put(message(str(number)))
    async with Listener(manager, trigger(URL, kind), at_once=True) as listener:
        await until(lambda: not source.queue.messages)
        busy = source.queue.calls_at_once
        await asyncio.sleep(0.3)
        source.queue.calls_at_once = 0
        receives = source.queue.receives
        await asyncio.sleep(0.5)
        idle, asked = source.queue.calls_at_once, source.queue.receives - receives

    assert sorted(map(int, listener.arrivals)) == list(range(1_000))
    assert (busy, idle) == (QUICK.receivers, 1)
    assert asked <= 12


async def test_a_message_that_an_asset_cannot_look_at_is_put_aside_and_the_others_are_told(
    manager: SharedStreamManager,
) -> None:
    source = MemorySource(QUICK)
    kind, _ = trigger_of(source, QUICK)

    class Breaking(kind):  # type: ignore[misc, valid-type]  # a class that is made for each test
        def pick(self, told: Message, **others: Any) -> list[Arrival]:
            if told.arrivals[0].path.endswith("2"):
                raise ValueError("no such luck")
            return super().pick(told, **others)  # type: ignore[no-any-return]  # as above

    for number in range(4):
        source.queue.put(message(str(number)))
    async with Listener(manager, trigger(URL, Breaking), at_once=True) as listener:
        await until(lambda: not source.queue.messages)

    (refused,) = source.poison.messages.values()
    assert sorted(listener.arrivals) == ["0", "1", "3"]
    assert "an asset failed on it: ValueError: no such luck" in json.loads(refused.text)["reason"]


async def test_no_more_pages_are_taken_than_may_wait(manager: SharedStreamManager) -> None:
    pace = Pace(start_delay_s=0, poll_s=0.05, pages_at_once=3)
    source = MemorySource(pace)
    kind, _ = trigger_of(source, pace)
    for number in range(1_000):
        source.queue.put(message(str(number)))
    async with Listener(manager, trigger(URL, kind)) as listener:
        await until(lambda: listener.events == 3)
        await asyncio.sleep(0.3)
        waiting = sum(each.deliveries for each in source.queue.messages.values())
        listener.commit()
        await until(lambda: listener.events >= 6)

    assert waiting == 3 * 32


async def test_what_is_held_is_renewed_before_half_of_its_time_is_over(manager: SharedStreamManager) -> None:
    pace = Pace(start_delay_s=0, visibility_s=1, poll_s=0.05)
    source = MemorySource(pace)
    kind, _ = trigger_of(source, pace)
    source.queue.put(message("a"))
    async with Listener(manager, trigger(URL, kind)) as listener:
        await until(lambda: listener.arrivals)
        await asyncio.sleep(3)
        (held,) = source.queue.messages.values()
        deliveries = held.deliveries
        listener.commit()
        await until(lambda: not source.queue.messages)

    assert (deliveries, listener.arrivals) == (1, ["a"])


async def test_a_message_that_became_another_receivers_is_not_deleted_under_its_hands(
    manager: SharedStreamManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    source = MemorySource(QUICK)
    kind, _ = trigger_of(source, QUICK)
    source.queue.put(message("a"))
    async with Listener(manager, trigger(URL, kind)) as listener:
        await until(lambda: listener.arrivals)
        (held,) = source.queue.messages.values()
        held.receipt = "of somebody else"
        listener.commit()
        await until(lambda: "held too short" in caplog.text)

    assert list(source.queue.messages) == [held.id]


async def test_messages_that_no_asset_wants_are_deleted_and_counted(
    manager: SharedStreamManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    pace = attrs.evolve(QUICK, tell_s=0.2)
    source = MemorySource(pace)
    kind, producers = trigger_of(source, pace)
    source.queue.put(message("one/a"))
    source.queue.put(message("two/b"))
    source.queue.put(message("three/c"))
    source.queue.put(message("d", kind="Microsoft.Storage.BlobDeleted"))
    source.queue.put("rubbish!")
    async with (
        Listener(manager, trigger(URL, kind, prefix="one/"), 1, at_once=True) as one,
        Listener(manager, trigger(URL, kind, prefix="two/"), 2, at_once=True) as two,
    ):
        await until(lambda: not source.queue.messages)
        await until(lambda: "wanted by no asset" in caplog.text)

    assert (one.arrivals, two.arrivals) == (["one/a"], ["two/b"])
    assert producers[0].counts == {"received": 5, "wanted by no asset": 1, "no arrival": 1, "put aside": 1}


async def test_events_of_containers_that_this_provider_writes_are_deleted_and_told_to_nobody(
    manager: SharedStreamManager,
) -> None:
    source = MemorySource(QUICK)
    kind, producers = trigger_of(source, QUICK)
    source.queue.put(message("batches/x", container="airflow-azureml-ledger"))
    async with Listener(manager, trigger(URL, kind), at_once=True) as listener:
        await until(lambda: not source.queue.messages)

    assert (listener.arrivals, producers[0].counts["no arrival"]) == ([], 1)
    assert not source.poison.messages


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (message("a", container="else"), "container devstoreaccount1/else; allowed here: devstoreaccount1/incoming"),
        (message("a", account="another"), "storage account another; allowed here: devstoreaccount1"),
        (
            message("a", base="https://devstoreaccount1.blob.core.windows.net/"),
            "a blob in the cloud public; allowed here: this machine",
        ),
        (message("a").replace("PutBlob", "sig=SECRET"), "unknown storage operation 'sig=***'"),
    ],
    ids=["container", "account", "cloud", "secret"],
)
async def test_an_event_of_elsewhere_is_told_to_nobody_and_put_aside(
    manager: SharedStreamManager, text: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = MemorySource(QUICK)
    kind, _ = trigger_of(source, QUICK)
    source.queue.put(text)
    async with Listener(manager, trigger(URL, kind), at_once=True) as listener:
        await until(lambda: not source.queue.messages)

    (refused,) = source.poison.messages.values()
    assert listener.arrivals == []
    assert reason in json.loads(refused.text)["reason"]
    assert "SECRET" not in refused.text + caplog.text


@pytest.mark.parametrize(
    ("text", "cleared"),
    [
        ("https://a/b?sv=1&sig=SECRET&se=2", "https://a/b?sv=1&sig=***&se=2"),
        ("sig%3DSECRET", "sig%3D***"),
        ("x\\u0026sig\\u003dSECRET\\u0026y", "x\\u0026sig\\u003d***\\u0026y"),
        ("SharedAccessKey=SECRET;EntityPath=q", "SharedAccessKey=***;EntityPath=q"),
        ("AccountKey = SECRET", "AccountKey = ***"),
        ("c2lnPVNFQ1JFVCZ4PTE=", "sig=***&x=1"),
        ("https://me:SECRET@host/x", "https://me:***@host/x"),
        ("u%3Fsig%3DSECRET", "u%3Fsig%3D***"),
        ("u%253Fsv%253D1%2526sig%253DSECRET", "u%253Fsv%253D1%2526sig%253D***"),
        ("x\\u003fsig=SECRET", "x\\u003fsig=***"),
        ('{"accountKey": "SECRET"}', '{"accountKey": "***"}'),
        ('{"in": "{\\"sig\\":\\"SECRET\\"}"}', '{"in": "{\\"sig\\":\\"***\\"}"}'),
        ("design=fine, me@host", "design=fine, me@host"),
        ('{"design": "fine"}', '{"design": "fine"}'),
    ],
)
def test_signatures_and_keys_are_left_out_also_of_base64(text: str, cleared: str) -> None:
    assert without_secrets(text) == cleared


def test_a_reason_is_one_short_line() -> None:
    assert reason_of("a\n\tb\x00c\ud800") == "a b?c?"
    assert len(reason_of("x" * 10_000)) == LONGEST_REASON

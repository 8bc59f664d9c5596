"""The way from a Service Bus to asset events, through Airflow's shared streams and Microsoft's own client."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from airflow.triggers.shared_stream import AckTimeout, SharedStreamManager

from airflow_azureml.client.credentials import AsyncLocalCredential
from airflow_azureml.client.dead_letters import DeadLetters
from airflow_azureml.client.servicebus import BusQueue, BusTokens, connect
from airflow_azureml.core.queues import BusUrl
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from airflow_azureml.triggers.receiving import Pace
from airflow_azureml.watchers import blob_arrivals
from tests.servicebus.broker import ServiceBus
from tests.unit.provider.arrivals.listening import Listener, QuickTrigger, message, trigger, until
from tests.unit.provider.arrivals.local import SETTINGS

pytestmark = pytest.mark.anyio

NAMES = iter(f"arrivals{number}" for number in range(1_000))


class EagerTrigger(QuickTrigger):
    """Gives back what was not stored at once."""

    pace = Pace(start_delay_s=0.05, again_s=0, poll_s=0.1, longest_wait_s=0.3)


class OneReceiverTrigger(QuickTrigger):
    pace = Pace(start_delay_s=0.05, poll_s=0.1, longest_wait_s=0.3, receivers=1)


@pytest.fixture(scope="module")
def bus() -> Iterator[ServiceBus]:
    with ServiceBus() as server:
        yield server


@pytest.fixture
async def manager() -> AsyncIterator[SharedStreamManager]:
    streams = SharedStreamManager()
    yield streams
    await streams.stop_all()


async def test_messages_are_completed_only_when_airflow_has_stored_their_event(
    bus: ServiceBus, manager: SharedStreamManager
) -> None:
    url = bus.queue(name := next(NAMES))
    bus.send(name, message("a"), message("b"))
    async with Listener(manager, trigger(url)) as listener:
        await until(lambda: len(listener.arrivals) == 2)
        await asyncio.sleep(0.5)
        before = bus.length(name)
        listener.commit()
        await until(lambda: bus.length(name) == 0)

    assert (sorted(listener.arrivals), before) == (["a", "b"], 2)
    assert bus.refused(name) == []


async def test_a_subscription_of_a_topic_is_read_as_a_queue_is(bus: ServiceBus, manager: SharedStreamManager) -> None:
    url = bus.subscription(topic := next(NAMES), "airflow")
    bus.subscription(topic, "others")
    bus.send(topic, message("a"))
    async with Listener(manager, trigger(url), at_once=True) as listener:
        await until(lambda: bus.length(f"{topic}/subscriptions/airflow") == 0)

    assert listener.arrivals == ["a"]
    assert bus.length(f"{topic}/subscriptions/others") == 1


async def test_two_assets_share_the_links_to_one_queue(bus: ServiceBus, manager: SharedStreamManager) -> None:
    url = bus.queue(name := next(NAMES))
    bus.send(name, message("one/a"), message("two/b"))
    before = bus.connections
    async with (
        Listener(manager, trigger(url, OneReceiverTrigger, prefix="one/"), 1) as one,
        Listener(manager, trigger(url, OneReceiverTrigger, prefix="two/"), 2) as two,
    ):
        await until(lambda: one.arrivals and two.arrivals)
        one.commit()
        await asyncio.sleep(0.3)
        held = bus.length(name)
        two.commit()
        await until(lambda: bus.length(name) == 0)

    assert (one.arrivals, two.arrivals, held) == (["one/a"], ["two/b"], 2)
    assert bus.connections == before + 1


async def test_a_lock_is_renewed_while_airflow_has_not_stored_the_event(
    bus: ServiceBus, manager: SharedStreamManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    url = bus.queue(name := next(NAMES), lock_s=3)
    bus.send(name, message("a"))
    async with Listener(manager, trigger(url)) as listener:
        await until(lambda: listener.arrivals)
        end = time.monotonic() + 7
        while time.monotonic() < end:
            assert bus.visible(name) == 0
            await asyncio.sleep(0.1)
        listener.commit()
        await until(lambda: bus.length(name) == 0)

    assert listener.events == 1
    assert bus.renewals(name) >= 2
    assert "Held 1 messages" in caplog.text


async def test_a_lock_that_the_service_took_away_is_noticed_and_the_message_is_told_of_again(
    bus: ServiceBus, manager: SharedStreamManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="airflow_azureml")
    url = bus.queue(name := next(NAMES))
    bus.send(name, message("a"))
    async with Listener(manager, trigger(url)) as listener:
        await until(lambda: listener.arrivals)
        bus.take_locks_away(name)
        listener.commit()
        await until(lambda: len(listener.arrivals) == 2)
        listener.commit()
        await until(lambda: bus.length(name) == 0)

    assert "held too short" in caplog.text


async def test_what_is_never_stored_is_delivered_again(bus: ServiceBus) -> None:
    manager = SharedStreamManager(ack_timeout=1)
    url = bus.queue(name := next(NAMES))
    bus.send(name, message("a"))
    async with Listener(manager, trigger(url)) as first:
        await until(first.task.done)
    async with Listener(manager, trigger(url), at_once=True) as second:
        await until(lambda: bus.length(name) == 0)
    await manager.stop_all()

    assert isinstance(first.task.exception(), AckTimeout)
    assert first.arrivals == second.arrivals == ["a"]


async def test_when_the_triggerer_stops_what_is_not_stored_is_free_at_once(
    bus: ServiceBus, manager: SharedStreamManager
) -> None:
    url = bus.queue(name := next(NAMES))
    bus.send(name, message("a"))
    async with Listener(manager, trigger(url)) as listener:
        await until(lambda: listener.arrivals)
        assert bus.visible(name) == 0

    assert bus.visible(name) == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("no event at all!", "neither JSON nor base64"),
        (b"\xff\xfe{}", "neither JSON nor base64"),
        (message("a", kind="Microsoft.Storage.BlobPainted"), "unknown event type"),
        (message("a", account="another"), "storage account another; allowed here: devstoreaccount1"),
        (message("a", container="else"), "container devstoreaccount1/else; allowed here: devstoreaccount1/incoming"),
        (
            message("a", base="https://devstoreaccount1.blob.core.windows.net/").replace("net/devstoreaccount1", "net"),
            "a blob in the cloud public; allowed here: this machine",
        ),
    ],
)
async def test_what_cannot_be_an_arrival_is_dead_lettered_once_with_its_reason_and_the_rest_goes_on(
    bus: ServiceBus, manager: SharedStreamManager, body: str | bytes, reason: str
) -> None:
    url = bus.queue(name := next(NAMES))
    bus.send(name, body, message("good"))
    async with Listener(manager, trigger(url), at_once=True) as listener:
        await until(lambda: bus.length(name) == 0)

    (refused,) = bus.refused(name)
    assert reason in refused["reason"]
    assert refused["description"] == "Put aside at delivery 1 by airflow-provider-azureml."
    assert listener.arrivals == ["good"]


async def test_a_message_delivered_more_than_five_times_is_dead_lettered(
    bus: ServiceBus, manager: SharedStreamManager
) -> None:
    url = bus.queue(name := next(NAMES))
    bus.send(name, message("a"))
    async with BusQueue(url, None) as own:
        for _ in range(5):
            (locked,) = await own.receive(wait_s=5)
            await own.abandon(locked)
    async with Listener(manager, trigger(url)) as listener:
        await until(lambda: bus.length(name) == 0)

    assert [refused["reason"] for refused in bus.refused(name)] == ["delivered 6 times and never stored"]
    assert listener.arrivals == []


async def test_a_connection_that_breaks_is_made_again_and_nothing_is_lost(
    bus: ServiceBus, manager: SharedStreamManager
) -> None:
    url = bus.queue(name := next(NAMES), lock_s=3)
    bus.send(name, message("a"))
    async with Listener(manager, trigger(url, EagerTrigger)) as listener:
        await until(lambda: listener.arrivals)
        bus.hang_up()
        listener.commit()
        bus.send(name, message("b"))
        await until(lambda: "b" in listener.arrivals)
        while bus.length(name):
            listener.commit()
            await asyncio.sleep(0.1)

    assert set(listener.arrivals) == {"a", "b"}
    assert bus.refused(name) == []


async def test_a_message_of_a_link_that_broke_settles_none_of_the_link_that_came_after(
    bus: ServiceBus, manager: SharedStreamManager
) -> None:
    url = bus.queue(name := next(NAMES), lock_s=20)
    bus.send(name, message("a"))
    async with Listener(manager, trigger(url, OneReceiverTrigger)) as listener:
        await until(lambda: listener.arrivals)
        bus.hang_up()
        bus.send(name, message("b"))
        await until(lambda: "b" in listener.arrivals)
        manager.confirm_persisted(listener.waiting[:1])
        await asyncio.sleep(1)
        before = bus.length(name)
        listener.commit()
        await until(lambda: bus.length(name) == 1)
        bus.take_locks_away(name)
        await until(lambda: listener.arrivals == ["a", "b", "a"])
        listener.commit()
        await until(lambda: bus.length(name) == 0)

    assert before == 2


async def test_a_queue_that_is_not_there_is_said_once_and_read_as_soon_as_it_is(
    bus: ServiceBus, manager: SharedStreamManager, caplog: pytest.LogCaptureFixture
) -> None:
    name = next(NAMES)
    missing = bus.queue(next(NAMES)).rpartition("/")[0] + f"/{name}"
    async with Listener(manager, trigger(missing), at_once=True) as listener:
        await until(lambda: "could not be found" in caplog.text)
        await asyncio.sleep(1)
        said = caplog.text.count(f"Arrivals of {missing} wait")
        bus.queue(name)
        bus.send(name, message("a"))
        await until(lambda: listener.arrivals)

    assert said == 1


async def test_an_identity_that_may_not_is_refused_by_name(bus: ServiceBus) -> None:
    url = bus.queue(next(NAMES))
    bus.open = False
    try:
        async with BusQueue(url, None) as queue:
            with pytest.raises(RefusedError, match="Receive from queue arrivals"):
                await queue.receive(wait_s=1)
    finally:
        bus.open = True


async def test_a_service_that_does_not_answer_may_be_asked_again() -> None:
    async with BusQueue("sb://127.0.0.1:1/arrivals", None) as queue:
        with pytest.raises(UnavailableError, match="Receive from queue arrivals: no answer"):
            await queue.receive(wait_s=1)


async def test_a_token_of_the_connections_identity_is_for_service_bus(bus: ServiceBus) -> None:
    url = bus.queue(name := next(NAMES))
    bus.send(name, "x")
    tokens = BusTokens(AsyncLocalCredential)
    async with connect(BusUrl.parse(url), tokens) as client, client.get_queue_receiver(name) as receiver:
        received = await receiver.receive_messages(1, max_wait_time=5)

    assert len(received) == 1
    assert bus.audiences[-1].rstrip("/") == "https://servicebus.azure.net"


def test_a_namespace_of_the_cloud_needs_a_credential() -> None:
    with pytest.raises(ConfigError, match="needs a credential"):
        BusQueue("sb://acmebus.servicebus.windows.net/arrivals", None)


async def test_dead_letters_are_shown_replayed_and_dropped(bus: ServiceBus) -> None:
    url = bus.queue(name := next(NAMES))
    bus.send(name, "one", "two", "three")
    async with BusQueue(url, None) as own:
        for locked in await own.receive(wait_s=5):
            await own.dead_letter(locked, f"reason of {locked.text}")
    letters = DeadLetters(settings=SETTINGS, queue_url=url)

    aside = await letters.look()
    dropped = await letters.settle(lambda letter: letter.content == "one", replay=False)
    replayed = await letters.settle(lambda letter: letter.content == "two", replay=True)
    left = await letters.look()

    assert aside.count == 3
    assert [letter.content for letter in aside.first] == ["one", "two", "three"]
    assert all(letter.reason.startswith(f"reason of {letter.content}: ") for letter in aside.first)
    assert all(letter.message_id for letter in aside.first)
    assert [letter.content for letter in (*dropped, *replayed)] == ["one", "two"]
    assert (left.count, [letter.content for letter in left.first]) == (1, ["three"])
    assert bus.length(name) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sb://acmebus.servicebus.windows.net", "is no address of Azure Service Bus"),
        ("sb://acmebus.evil.example/arrivals", "is no address of Azure Service Bus"),
        ("sb://acmebus.servicebus.windows.net:443/arrivals", "is no address of Azure Service Bus"),
        ("sb://a.b.servicebus.windows.net/arrivals", "is no address of Azure Service Bus"),
        ("sb://acmebus.servicebus.windows.net/topic/subscriptions/a/b", "is no address of Azure Service Bus"),
        ("sb://acmebus.servicebus.windows.net/arrivals?sig=secret", "must carry no user, no query"),
    ],
)
def test_a_wrong_address_is_an_error_when_the_dag_is_parsed(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        blob_arrivals("x", queue_url=url, container="incoming", account="acme")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "entity", "subscription"),
    [
        ("sb://acmebus.servicebus.windows.net/a/b", "a/b", ""),
        ("sb://acmebus.servicebus.chinacloudapi.cn/topic/Subscriptions/name", "topic", "name"),
        ("sb://127.0.0.1:5672/arrivals", "arrivals", ""),
    ],
)
def test_an_address_names_a_queue_or_a_subscription(url: str, entity: str, subscription: str) -> None:
    place = BusUrl.parse(url)

    assert (place.entity, place.subscription) == (entity, subscription)


def test_whose_blobs_a_service_bus_tells_of_must_be_said() -> None:
    with pytest.raises(ConfigError, match="account is empty"):
        blob_arrivals("x", queue_url="sb://acmebus.servicebus.windows.net/arrivals", container="incoming")


def test_parsing_a_dag_loads_nothing_of_azure() -> None:
    done = _run("print(sorted(each for each in sys.modules if each.split('.')[0] in {'azure', 'aiohttp'}))")

    assert done.stdout.splitlines()[-1] == "[]"


def test_without_the_extra_the_watcher_says_what_to_install() -> None:
    done = _run(
        "sys.modules['azure.servicebus'] = None; import asyncio;"
        "from airflow_azureml.errors import ConfigError; from airflow_azureml.triggers.arrivals import source_of;"
        "from airflow_azureml.triggers.receiving import Pace; watcher, = asset.watchers;"
        "source = source_of(watcher.trigger.queue_url, 'none', Pace())\n"
        "try: asyncio.run(source.receive(0))\n"
        "except ConfigError as error: print(error)"
    )

    assert "install airflow-provider-azureml[servicebus]" in done.stdout


def _run(program: str) -> subprocess.CompletedProcess[str]:
    start = (
        "import sys; from airflow_azureml.watchers import blob_arrivals;"
        "asset = blob_arrivals('x', queue_url='sb://127.0.0.1:1/q', container='incoming', account='acme');"
    )
    return subprocess.run([sys.executable, "-c", start + program], capture_output=True, text=True, check=True)


def test_the_trigger_keeps_the_address_and_no_secret() -> None:
    asset = blob_arrivals(
        "x", queue_url="sb://acmebus.servicebus.windows.net/q", container="incoming", account="acme", conn_id="mine"
    )
    (watcher,) = asset.watchers
    kept: dict[str, Any] = watcher.trigger.serialize()[1]

    assert (kept["queue_url"], kept["conn_id"], kept["account"]) == (
        "sb://acmebus.servicebus.windows.net/q",
        "mine",
        "acme",
    )

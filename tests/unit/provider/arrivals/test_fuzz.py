"""Whatever lies in the queue: nothing is raised, what is broken is put aside once, what is wanted is told."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
from airflow.triggers.shared_stream import SharedStreamManager
from azure.storage.queue import QueueClient

from airflow_azureml.client.storage import StorageQueue
from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.triggers.receiving import Pace
from demo.azure import ACCOUNT_KEY, Azurite
from tests.servicebus.broker import ServiceBus
from tests.unit.provider.arrivals.listening import ACCOUNT, Listener, trigger, until
from tests.unit.provider.arrivals.memory import URL, MemorySource, trigger_of
from tests.unit.provider.arrivals.rubbish import SECRET, Fate, Sample, samples

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

SEED = 20260131
#: Seconds. It takes a fortieth of that where nothing else runs.
DEADLINE_S = 800
PACE = Pace(start_delay_s=0, poll_s=0.01)


class Watch(logging.Handler):
    """Keeps what must not be in a log: secrets, tracebacks, more than one line."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if SECRET in line or record.exc_info or "\n" in line:
            self.wrong.append(line)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Watch the log, and keep the thousands of lines from everybody else."""
    logger, watching = logging.getLogger("airflow_azureml"), Watch()
    before = logger.level, logger.propagate
    logger.addHandler(watching)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield watching
    logger.removeHandler(watching)
    logger.setLevel(before[0])
    logger.propagate = before[1]


@pytest.fixture
async def manager() -> AsyncIterator[SharedStreamManager]:
    streams = SharedStreamManager()
    yield streams
    await streams.stop_all()


def wrongs(sent: list[Sample], told: list[str], refused: list[str]) -> list[str]:
    """Compare what became of each message with what had to.

    Args:
        sent: The messages.
        told: The paths that were told.
        refused: The contents of what was put aside, as far as they are as they came.
    """
    was_told, was_refused = Counter(told), Counter(refused)
    found = []
    for sample in sent:
        paths, letters = was_told[sample.path], was_refused[sample.text]
        right = {
            Fate.TOLD: paths >= 1 and letters == 0,
            Fate.DELETED: paths == 0 and letters == 0,
            Fate.REFUSED: paths == 0,
            Fate.ANY: letters <= 1,
        }[sample.fate]
        if not right:
            found.append(f"{sample.kind}: told {paths} times, put aside {letters} times: {sample.text[:300]}")
    return found


async def test_of_100_000_messages_each_broken_one_is_put_aside_once_and_each_wanted_one_is_told(
    manager: SharedStreamManager, watch: Watch
) -> None:
    source = MemorySource(PACE)
    kind, producers = trigger_of(source, PACE)
    sent = list(samples(100_000, SEED))
    ids = {source.queue.put(sample.text): sample for sample in sent}
    async with Listener(manager, trigger(URL, kind, prefix="in/"), at_once=True) as listener:
        await until(lambda: not source.queue.messages or listener.task.done(), deadline_s=DEADLINE_S)
        assert not listener.task.done()

    letters = [json.loads(each.text) for each in source.poison.messages.values()]
    refused = Counter(letter["message_id"] for letter in letters)
    assert wrongs(sent, listener.arrivals, [letter["content"] for letter in letters if letter["content"] != ""]) == []
    assert [ids[name].kind for name in ids if ids[name].fate is Fate.REFUSED and refused[name] != 1] == []
    assert [ids[name].kind for name in refused if ids[name].fate in {Fate.TOLD, Fate.DELETED}] == []
    assert set(source.queue.deletes.values()) == {1}
    assert len(source.queue.deletes) == producers[0].counts["received"] == len(sent)
    assert watch.wrong == []
    assert [letter for letter in letters if SECRET in json.dumps(letter) or not letter["reason"]] == []
    assert max(len(letter["reason"]) for letter in letters) <= 500
    assert {ids[name].kind for name in refused} > {"deep", "one bad of three", "a token in the address", "a key twice"}


async def test_of_1_000_messages_in_a_real_storage_queue_each_broken_one_is_put_aside_once(
    manager: SharedStreamManager, watch: Watch, azurite: Azurite
) -> None:
    url = f"{azurite.queue_url}/{ACCOUNT}/q{uuid.uuid4().hex[:12]}"
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    aside = QueueClient.from_queue_url(f"{url}-poison", credential=key)
    aside.create_queue()
    sent = [sample for sample in samples(1_000, SEED + 1) if _fits(sample.text)]
    async with StorageQueue(url, None) as own:
        await own.create()
        for some in range(0, len(sent), 8):
            await asyncio.gather(*(own.send(sample.text) for sample in sent[some : some + 8]))
        async with Listener(manager, trigger(url, prefix="in/"), at_once=True) as listener:
            while await own.length():
                assert not listener.task.done()
                await asyncio.sleep(0.2)

    letters = [json.loads(each.content) for each in aside.receive_messages(messages_per_page=32)]
    assert wrongs(sent, listener.arrivals, [letter["content"] for letter in letters]) == []
    assert max(Counter(letter["message_id"] for letter in letters).values()) == 1
    broken = sum(sample.fate is Fate.REFUSED for sample in sent)
    assert broken <= len(letters) <= broken + sum(sample.fate is Fate.ANY for sample in sent)
    assert watch.wrong == []
    assert [letter for letter in letters if SECRET in json.dumps(letter)] == []


async def test_of_300_messages_in_a_service_bus_each_broken_one_is_dead_lettered_once(
    manager: SharedStreamManager, watch: Watch
) -> None:
    sent = list(samples(300, SEED + 2))
    with ServiceBus() as bus:
        url = bus.queue("arrivals")
        bus.send("arrivals", *(sample.text for sample in sent))
        async with Listener(manager, trigger(url, prefix="in/"), at_once=True) as listener:
            await until(lambda: bus.length("arrivals") == 0, deadline_s=DEADLINE_S)
        letters = bus.refused("arrivals")

    assert wrongs(sent, listener.arrivals, [letter["body"] for letter in letters if letter["body"]]) == []
    broken = sum(sample.fate is Fate.REFUSED for sample in sent)
    assert broken <= len(letters) <= broken + sum(sample.fate is Fate.ANY for sample in sent)
    assert watch.wrong == []
    assert [letter for letter in letters if SECRET in letter["reason"] + letter["description"]] == []


def test_whatever_is_told_can_be_named_and_stored() -> None:
    from airflow_azureml.wire import events  # noqa: PLC0415  # the parser alone

    told: list[Arrival] = []
    for sample in samples(5_000, SEED + 3):
        try:
            told += events.parse(sample.text).arrivals
        except events.MalformedMessageError:
            continue

    again = [Arrival.from_wire(json.loads(json.dumps(arrival.to_wire()))) for arrival in told]
    assert again == told
    assert all(arrival.key and arrival.uri for arrival in told)
    assert len(told) > 1_000


def _fits(text: str) -> bool:
    """Whether XML can carry it, and the service would take it."""
    return bool(text) and all(letter >= " " for letter in text) and len(text.encode()) < 48 * 1024

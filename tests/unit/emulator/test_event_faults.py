"""Events that are lost, doubled, delayed or overtaken because somebody asked for it."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.control import Control
from azureml_emulator.deliveries import Deliveries
from azureml_emulator.event_faults import EVENT_KINDS, EventFaults
from azureml_emulator.events import EventPublisher
from azureml_emulator.fault_members import FaultError
from azureml_emulator.settings import DEV_ACCOUNT, EventQueue, Settings
from azureml_emulator.store import Store
from demo.azure import ROOT
from tests.unit.emulator.serving import KEY, Front, proxying
from tests.unit.emulator.world import eventually

README = (ROOT / "emulator/README.md").read_text()
CREATED = "Microsoft.Storage.BlobCreated"


def event(name: str, size: int = 10, kind: str = CREATED) -> dict[str, Any]:
    subject = f"/blobServices/default/containers/incoming/blobs/{name}"
    return {"id": str(uuid.uuid4()), "subject": subject, "eventType": kind, "data": {"contentLength": size}}


def faults(*said: dict[str, Any]) -> EventFaults:
    made = EventFaults()
    made.replace(list(said))
    return made


def name_of(told: dict[str, Any]) -> str:
    return str(told["subject"]).rpartition("/")[2]


# which events


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.3, 0.8]), st.randoms(use_true_random=False))
def test_a_share_strikes_the_same_blobs_in_whatever_order_they_come(seed: int, share: float, mixing: Any) -> None:
    events = [event(f"{number}.csv", size=number % 7) for number in range(400)]
    mixed = list(events)
    mixing.shuffle(mixed)
    struck = [
        {name_of(each) for each in order if made.strike(each)}
        for order in (events, mixed)
        for made in [faults({"share": share, "seed": seed, "lost": True})]
    ]

    assert struck[0] == struck[1]
    # Six standard deviations: once in a billion draws.
    assert abs(len(struck[0]) - 400 * share) < 6 * (400 * share * (1 - share)) ** 0.5


def test_another_seed_another_size_and_another_fault_strike_other_blobs() -> None:
    def struck(seed: int, size: int, *before: dict[str, Any]) -> frozenset[int]:
        made = faults(*before, {"share": 0.2, "seed": seed, "lost": True})
        return frozenset(number for number in range(300) if made.strike(event(f"{number}.csv", size)))

    never = {"type": "Other.Type", "lost": True}
    drawn = [struck(1, 10), struck(2, 10), struck(1, 11), struck(1, 10, never)]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(
    ("said", "struck"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"every": 2}, [2, 4, 6]),
        ({"count": 2}, [1, 2]),
        ({"every": 2, "count": 1}, [2]),
        ({"subject": r".*/[12]\.csv"}, [1, 2]),
        ({"subject": r"[12]\.csv"}, []),
        ({"type": CREATED}, [1, 2, 3, 4, 5, 6]),
        ({"type": "Microsoft.Storage.BlobDeleted"}, []),
    ],
)
def test_subject_type_every_and_count_say_which(said: dict[str, Any], struck: list[int]) -> None:
    made = faults({**said, "lost": True})

    assert [number for number in range(1, 7) if made.strike(event(f"{number}.csv"))] == struck
    assert made.shown()[0]["struck"] == len(struck)


def test_an_event_is_struck_by_the_first_fault_that_is_due() -> None:
    made = faults({"count": 1, "lost": True}, {"doubled": True})
    struck = [made.strike(event("a")), made.strike(event("b"))]

    assert [each.to_wire() for each in struck if each] == [{"count": 1, "lost": True}, {"doubled": True}]
    assert [(one["matched"], one["struck"]) for one in made.shown()] == [(2, 1), (1, 1)]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "The faults of events are a list, not {}."),
        ([3], "Fault 0: 3 is no object."),
        ([{"lost": True}, {"share": 0.5}], "Fault 1: it has no effect; give exactly one of lost, doubled, "),
        ([{"lost": True, "doubled": True}], "Fault 0: it has lost and doubled; give exactly one of"),
        ([{"lost": True, "path": ".*"}], "Fault 0: path: unknown; the members are "),
        ([{"lost": False}], "Fault 0: lost is false; give true, or leave it out."),
        ([{"lost": True, "share": 0}], "Fault 0: share is 0; give a number above 0, at most 1."),
        ([{"lost": True, "share": 1.5}], "Fault 0: share is 1.5"),
        ([{"lost": True, "share": True}], "Fault 0: share is true"),
        ([{"lost": True, "seed": -1}], "Fault 0: seed is -1"),
        ([{"lost": True, "subject": "("}], 'Fault 0: subject "(" is no regular expression'),
        ([{"delay_s": [3, 1]}], "Fault 0: delay_s is [3, 1]; the first number is the least, the second the most."),
        ([{"delay_s": [1]}], "Fault 0: delay_s is [1]; give a number of seconds, or the least and the most."),
        ([{"delay_s": "soon"}], "Fault 0: The seconds of delay_s are"),
        ([{"behind": 0}], "Fault 0: behind is 0; give a whole number of 1 to 1000."),
    ],
)
def test_a_wrong_fault_is_refused_in_a_sentence_and_those_before_stay(said: Any, sentence: str) -> None:
    made = faults({"lost": True})

    with pytest.raises(FaultError) as refused:
        made.replace(said)
    assert sentence in str(refused.value)
    assert made.strike(event("a"))


def test_faults_and_their_counts_outlive_a_restart(tmp_path: Path) -> None:
    said = [{"subject": ".*", "every": 3, "lost": True}, {"share": 0.5, "seed": 4, "delay_s": [1.0, 2.5]}]
    store = Store(tmp_path)
    before = Control(store, Settings(state_dir=tmp_path)).events
    before.replace(said)
    struck = [bool(before.strike(event(str(number)))) for number in range(10)]
    shown = before.shown()
    store.close()

    again = Store(tmp_path)
    after = Control(again, Settings(state_dir=tmp_path)).events
    assert after.shown() == shown
    assert shown[0]["matched"] == 10
    after.strike(event("the eleventh"))
    assert after.strike(event("the twelfth is due")) is not None
    assert after.shown()[0]["struck"] == 4
    again.close()
    assert any(struck)


@pytest.mark.parametrize("word", EVENT_KINDS)
def test_each_effect_stands_in_the_readme(word: str) -> None:
    assert re.search(rf"^\| `{word}\b", README, re.MULTILINE)


# what becomes of them


@attrs.define
class Sent:
    """Deliveries into a list: queue and name of each event, in order."""

    deliveries: Deliveries
    told: list[str]


def sending(*said: dict[str, Any], longest_behind_s: float = 60.0) -> Sent:
    told: list[str] = []

    async def send(queue: str, event: dict[str, Any]) -> bool:
        told.append(f"{queue} {name_of(event)}")
        return True

    return Sent(Deliveries(send, faults(*said), longest_behind_s=longest_behind_s), told)


async def deliver(sent: Sent, names: Sequence[str], queues: Sequence[str] = ("q",)) -> list[bool]:
    return [await sent.deliveries.deliver(event(name), queues) for name in names]


@pytest.mark.anyio
async def test_a_lost_event_reaches_no_queue_and_a_doubled_one_reaches_each_twice() -> None:
    sent = sending({"subject": ".*/a", "lost": True}, {"subject": ".*/b", "doubled": True})

    told = await deliver(sent, ["a", "b", "c"], ["q", "p"])

    assert told == [False, True, True]
    assert Counter(sent.told) == {"q b": 2, "p b": 2, "q c": 1, "p c": 1}


@pytest.mark.anyio
async def test_an_event_behind_others_is_sent_as_soon_as_they_were() -> None:
    sent = sending({"subject": ".*/a", "behind": 2})

    await deliver(sent, ["a", "b"])
    await deliver(sent, ["x"], ["another"])
    before = list(sent.told)
    await deliver(sent, ["c", "d"])
    await sent.deliveries.close()

    assert before == ["q b", "another x"]
    assert sent.told == ["q b", "another x", "q c", "q a", "q d"]


@pytest.mark.anyio
async def test_events_that_are_behind_each_other_all_come_once() -> None:
    sent = sending({"subject": ".*/[ab]", "behind": 1})

    await deliver(sent, ["a", "b", "c"])
    await sent.deliveries.close()

    assert sent.told[0] == "q c"
    assert Counter(sent.told) == {"q a": 1, "q b": 1, "q c": 1}


@pytest.mark.anyio
async def test_an_event_that_nothing_overtakes_is_sent_after_a_while_and_one_that_was_overtaken_not_again() -> None:
    sent = sending({"subject": ".*/[ab]", "behind": 1}, longest_behind_s=0.2)

    await deliver(sent, ["a", "c", "b"])
    at_once = list(sent.told)
    await eventually(lambda: "q b" in sent.told, "b is sent")
    await sent.deliveries.close()

    assert at_once == ["q c", "q a"]
    assert sent.told == ["q c", "q a", "q b"]


@pytest.mark.anyio
async def test_a_delayed_event_is_sent_later_and_its_sender_does_not_wait() -> None:
    sent = sending({"subject": ".*/a", "delay_s": 0.3}, {"subject": ".*/b", "delay_s": [0.05, 0.1]})

    await deliver(sent, ["a", "b", "c"])
    at_once = list(sent.told)
    await eventually(lambda: len(sent.told) == 3, "all three are sent")

    assert at_once == ["q c"]
    assert sent.told == ["q c", "q b", "q a"]


@pytest.mark.anyio
async def test_what_is_held_back_when_the_emulator_ends_is_lost_and_the_log_counts_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = sending({"subject": ".*/a", "delay_s": 60}, {"subject": ".*/b", "behind": 5})

    await deliver(sent, ["a", "b"])
    await sent.deliveries.close()
    await deliver(sent, ["c"])

    assert sent.told == ["q c"]
    assert "2 events that faults held back are lost: the emulator stops" in caplog.text


# through the proxy, to a queue


@pytest.fixture
async def struck_front(settings: Settings) -> AsyncIterator[Callable[..., Awaitable[Front]]]:
    """Make a front whose events are struck by the faults that are given."""
    container, queue = f"c{uuid.uuid4().hex}", f"q{uuid.uuid4().hex}"
    told = attrs.evolve(settings, event_queues=(EventQueue(queue=queue, container=container),))
    in_force = EventFaults()
    async with proxying(told.azurite_blob, told, EventPublisher(told, in_force)) as url:
        service = BlobServiceClient(f"{url}/{DEV_ACCOUNT}", credential=KEY)
        reader = QueueClient(f"{told.azurite_queue}/{DEV_ACCOUNT}", queue, credential=KEY)

        async def made(*said: dict[str, Any]) -> Front:
            in_force.replace(list(said))
            await service.create_container(container)
            return Front(url=url, settings=told, container=service.get_container_client(container), queue=reader)

        async with service, reader:
            yield made


@pytest.mark.anyio
async def test_a_client_is_answered_whatever_becomes_of_its_event(
    struck_front: Callable[..., Awaitable[Front]],
) -> None:
    front = await struck_front(
        {"subject": ".*/lost.csv", "lost": True},
        {"subject": ".*/twice.csv", "doubled": True},
        {"subject": ".*/late.csv", "behind": 2},
    )

    for name in ("late.csv", "lost.csv", "twice.csv"):
        await front.blob(name).upload_blob(b"x")

    told = await front.told()
    assert [name_of(each) for each in told] == ["twice.csv", "twice.csv", "late.csv"]
    assert told[0] == told[1]
    assert {blob.name async for blob in front.container.list_blobs()} == {"late.csv", "lost.csv", "twice.csv"}

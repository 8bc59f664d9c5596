"""Messages that were put aside, in Azurite's queues."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial

import pytest
from azure.storage.queue import QueueClient
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.client.dead_letters import DeadLetters, Sorting
from airflow_azureml.core.dead_letters import POISON, DeadLetter
from airflow_azureml.errors import ConfigError, RefusedError
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.unit.provider.arrivals.local import SETTINGS


class Queues:
    """A queue, and that of the messages it refused."""

    def __init__(self, azurite: Azurite) -> None:
        self.url = f"{azurite.queue_url}/{ACCOUNT}/q{uuid.uuid4().hex[:12]}"
        key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
        self.own = QueueClient.from_queue_url(self.url, credential=key)
        self.aside = QueueClient.from_queue_url(self.url + POISON, credential=key)
        self.own.create_queue()
        self.letters = DeadLetters(settings=SETTINGS, queue_url=self.url)

    def refuse(self, *names: str) -> None:
        for name in names:
            letter = DeadLetter(message_id=name, reason="no JSON", deliveries=1, content=f"text of {name}")
            self.aside.send_message(letter.to_text())

    def texts(self) -> list[str]:
        return [message.content for message in self.own.peek_messages(max_messages=32)]


@pytest.fixture
def queues(azurite: Azurite) -> Iterator[Queues]:
    made = Queues(azurite)
    made.aside.create_queue()
    yield made
    made.own.delete_queue()
    made.aside.delete_queue()


@given(st.builds(DeadLetter, message_id=st.text(), reason=st.text(), deliveries=st.integers(0), content=st.text()))
def test_what_is_put_aside_is_read_as_it_was(letter: DeadLetter) -> None:
    assert DeadLetter.of_text(letter.to_text()) == letter


@given(st.text() | st.sampled_from(['{"reason": "x"}', "[]", "1", '{"content": 1}', "[" * 100_000]))
def test_whatever_else_lies_there_is_a_content_without_a_reason(text: str) -> None:
    letter = DeadLetter.of_text(text)

    assert (letter.content, letter.reason, letter.message_id) == (text, "", "")


@pytest.mark.anyio
async def test_looking_takes_nothing(queues: Queues) -> None:
    queues.refuse("one", "two")

    first, again = await queues.letters.look(), await queues.letters.look()
    assert first == again
    assert first.count == 2
    assert [(letter.message_id, letter.reason) for letter in first.first] == [("one", "no JSON"), ("two", "no JSON")]


@pytest.mark.anyio
async def test_what_is_replayed_is_in_its_queue_again_as_it_came_and_the_others_stay(queues: Queues) -> None:
    queues.refuse(*(f"m{number}" for number in range(40)))

    taken = await queues.letters.settle(lambda letter: letter.message_id in {"m3", "m39"}, replay=True)

    assert [letter.message_id for letter in taken] == ["m3", "m39"]
    assert queues.texts() == ["text of m3", "text of m39"]
    assert len(list(queues.aside.receive_messages(messages_per_page=32))) == 38


@pytest.mark.anyio
async def test_what_is_dropped_is_gone(queues: Queues) -> None:
    queues.refuse("one", "two")
    queues.aside.send_message("too large for its reason")

    taken = await queues.letters.settle(lambda letter: letter.message_id != "two", replay=False)

    assert [letter.content for letter in taken] == ["text of one", "too large for its reason"]
    assert queues.texts() == []
    assert [letter.message_id for letter in (await queues.letters.look()).first] == ["two"]


@pytest.mark.anyio
async def test_a_queue_that_never_refused_anything_has_no_dead_letters_and_one_that_is_none_is_told_of(
    azurite: Azurite,
) -> None:
    letters = Queues(azurite).letters
    found, taken = await letters.look(), await letters.settle(lambda _: True, replay=True)

    assert (found.count, found.first, taken) == (0, (), [])
    with pytest.raises(RefusedError, match=r"Count the messages of queue never-was: 404 QueueNotFound"):
        await DeadLetters(settings=SETTINGS, queue_url=f"{azurite.queue_url}/{ACCOUNT}/never-was").look()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://acme.blob.core.windows.net/q", "names the blob service"),
        ("https://acme.queue.core.windows.net/arrivals?sv=1&sig=SECRET", "must carry no user, no query"),
        ("https://acme.queue.core.windows.net/arrivals-poison", "is the queue of the refused; name the one"),
        ("arrivals", "is no address of Azure Storage"),
    ],
)
async def test_nothing_is_sent_to_an_address_that_is_no_queues(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        await DeadLetters(settings=SETTINGS, queue_url=url).look()

    assert "SECRET" not in str(raised.value)


@pytest.mark.anyio
async def test_a_message_without_its_envelope_is_named_by_its_queue_and_settled_alone(queues: Queues) -> None:
    queues.aside.send_message("too large for its reason")
    queues.aside.send_message("and another")
    (one, other) = (await queues.letters.look()).first

    taken = await queues.letters.settle(lambda letter: letter.message_id == one.message_id, replay=False)

    assert [letter.content for letter in taken] == ["too large for its reason"]
    assert (await queues.letters.look()).first == (other,)


@pytest.mark.anyio
async def test_what_is_broken_off_holds_no_message_back(queues: Queues) -> None:
    queues.refuse("one", "two", "three")

    def choose(letter: DeadLetter) -> bool:
        if letter.message_id == "two":
            raise RefusedError("Decide", status=403)
        return True

    with pytest.raises(RefusedError):
        await queues.letters.settle(choose, replay=True)

    assert queues.texts() == ["text of one"]
    assert [letter.message_id for letter in (await queues.letters.look()).first] == ["two", "three"]


@pytest.mark.anyio
async def test_a_message_that_could_not_be_put_back_is_not_removed() -> None:
    pages, done = [["one", "two"]], []

    async def take() -> list[str]:
        return pages.pop()

    async def replay(content: str) -> None:
        if content == "two":
            raise RefusedError("Send", status=403)

    async def note(verb: str, message: str) -> None:
        done.append((verb, message))

    sorting = Sorting[str](
        receive=take, letter=DeadLetter.of_text, remove=partial(note, "removed"), leave=partial(note, "left")
    )
    with pytest.raises(RefusedError):
        await sorting.run(lambda _: True, count=2, replay=replay)

    assert done == [("removed", "one"), ("left", "two")]

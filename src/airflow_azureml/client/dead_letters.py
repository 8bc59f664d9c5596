"""Looking at messages that were put aside, and settling them."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from airflow_azureml.client.credentials import proxies
from airflow_azureml.client.servicebus import BusQueue, Locked, bus_tokens
from airflow_azureml.client.storage import Received, StorageQueue, async_storage_tokens
from airflow_azureml.core.dead_letters import POISON, DeadLetter
from airflow_azureml.core.queues import BusUrl, is_bus, queue_faults
from airflow_azureml.core.workspace import is_loopback
from airflow_azureml.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings

M = TypeVar("M")

#: How long a message is kept from others while it is decided on. Seconds.
HELD_S = 600
#: Most dead letters of a Service Bus that are counted; it tells no number to who may only receive.
MOST_COUNTED = 10_000
#: How long is waited for a dead letter of a Service Bus that may be held by somebody. Seconds.
_WAIT_S = 2.0


@frozen(kw_only=True)
class Aside:
    """What lies in the queue of the refused.

    Attributes:
        count: About how many messages there are, those included that somebody holds just now; of a Service Bus at most
            `MOST_COUNTED`.
        first: The first of them that can be seen, at most 32.
    """

    count: int
    first: tuple[DeadLetter, ...]


@frozen(kw_only=True)
class Sorting(Generic[M]):
    """How messages of one kind of queue are taken out of it, or left.

    Attributes:
        receive: Holds the next messages; none when there are no more.
        letter: Reads one.
        remove: Takes one out for good.
        leave: Lets go of one.
    """

    receive: Callable[[], Awaitable[Sequence[M]]]
    letter: Callable[[M], DeadLetter]
    remove: Callable[[M], Awaitable[object]]
    leave: Callable[[M], Awaitable[object]]

    async def run(
        self, wanted: Callable[[DeadLetter], bool], *, count: int, replay: Callable[[str], Awaitable[object]] | None
    ) -> list[DeadLetter]:
        """Look at so many messages once; those that are wanted are removed, and put back before that by `replay`."""
        taken: list[DeadLetter] = []
        held: list[M] = []
        seen = 0
        try:
            while seen < count and (page := await self.receive()):
                seen += len(page)
                held += page
                for message in page:
                    letter = self.letter(message)
                    if not wanted(letter):
                        continue
                    if replay is not None:
                        await replay(letter.content)
                    await self.remove(message)
                    held.remove(message)
                    taken.append(letter)
        finally:
            for message in held:
                await self.leave(message)
        return taken


@frozen(kw_only=True)
class DeadLetters:
    """The messages of one queue that were put aside.

    Attributes:
        settings: The connection whose identity is used; role Storage Queue Data Contributor, or Azure Service Bus Data
            Receiver, and Sender for a replay.
        queue_url: The queue that they came from, or the queue or subscription of a Service Bus.
    """

    settings: "ConnectionSettings"
    queue_url: str

    async def look(self) -> Aside:
        """Look at the first, and take none.

        Raises:
            ConfigError: The URL names no queue.
            RefusedError: The identity may not, or there is no such queue.
            UnavailableError: Storage does not answer.
        """
        if is_bus(self.queue_url):
            return await self._look_at_bus()
        async with self._opened() as (queue, aside):
            count = await _count(queue, aside)
            found = await aside.peek() if count else []
            return Aside(count=count, first=tuple(DeadLetter.of_text(text, ident) for ident, text in found))

    async def settle(self, wanted: Callable[[DeadLetter], bool], *, replay: bool) -> list[DeadLetter]:
        """Take those that are wanted out of the queue of the refused.

        A message is deleted only after it is back in its own queue; whatever dies in between, none is lost. One that is
        refused again comes back here, and is left for the next time.

        Args:
            wanted: Chooses.
            replay: Whether to put them back into the queue they came from; otherwise they are gone. Those of a
                subscription go to its topic, so that its other subscriptions get them again, too.

        Returns:
            Those that were taken.

        Raises:
            AzureMLError: See `look`; those that were taken before stay so.
        """
        if is_bus(self.queue_url):
            return await self._settle_of_bus(wanted, replay=replay)
        async with self._opened() as (queue, aside):
            sorting = Sorting[Received](
                receive=lambda: aside.receive(visibility_s=HELD_S),
                letter=lambda message: DeadLetter.of_text(message.text, message.id),
                remove=aside.delete,
                leave=lambda message: aside.hold(message, visibility_s=0),
            )
            return await sorting.run(wanted, count=await _count(queue, aside), replay=queue.send if replay else None)

    async def _look_at_bus(self) -> Aside:
        async with self._opened_bus() as (_, aside):
            first = page = await aside.peek()
            count = len(page)
            while page and count < MOST_COUNTED:
                page = await aside.peek(after=int(page[-1].id), at_most=MOST_COUNTED - count)
                count += len(page)
            return Aside(count=count, first=tuple(map(_letter, first)))

    async def _settle_of_bus(self, wanted: Callable[[DeadLetter], bool], *, replay: bool) -> list[DeadLetter]:
        count = (await self._look_at_bus()).count
        async with self._opened_bus() as (queue, aside):
            sorting = Sorting[Locked](
                receive=lambda: aside.receive(wait_s=_WAIT_S),
                letter=_letter,
                remove=aside.complete,
                leave=aside.abandon,
            )
            return await sorting.run(wanted, count=count, replay=queue.send if replay else None)

    @contextlib.asynccontextmanager
    async def _opened_bus(self) -> AsyncIterator[tuple[BusQueue, BusQueue]]:
        async with contextlib.AsyncExitStack() as opened:
            proof = None
            if not BusUrl.parse(self.queue_url).is_local:
                proof = bus_tokens(self.settings)
                opened.push_async_callback(proof.close)
            through = self.settings.proxy
            queue = await opened.enter_async_context(BusQueue(self.queue_url, proof, proxy=through))
            aside = await opened.enter_async_context(BusQueue(self.queue_url, proof, proxy=through, dead=True))
            yield queue, aside

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[StorageQueue, StorageQueue]]:
        if faults := queue_faults(self.queue_url):
            raise ConfigError(faults[0])
        if self.queue_url.endswith(POISON):
            raise ConfigError(f"{self.queue_url!r} is the queue of the refused; name the one they came from.")
        async with contextlib.AsyncExitStack() as opened:
            proof, through = None, None
            if not is_loopback(self.queue_url):
                proof, through = async_storage_tokens(self.settings), proxies(self.settings)
                opened.push_async_callback(proof.close)
            queue = await opened.enter_async_context(StorageQueue(self.queue_url, proof, proxies=through))
            aside = await opened.enter_async_context(StorageQueue(self.queue_url + POISON, proof, proxies=through))
            yield queue, aside


async def _count(queue: StorageQueue, aside: StorageQueue) -> int:
    """Count the refused messages of a queue; the queue for them is made for the first one."""
    try:
        return await aside.length()
    except RefusedError as error:
        if error.code != "QueueNotFound":
            raise
        await queue.length()  # an address that names no queue at all is told of
        return 0


def _letter(message: Locked) -> DeadLetter:
    """Read a dead letter of a Service Bus, which has its reason beside its body."""
    return DeadLetter(message_id=message.id, reason=message.reason, deliveries=message.deliveries, content=message.text)

"""A storage queue as a source of messages; those that are refused go to the queue of its name with ``-poison``."""

import asyncio
import contextlib
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_azureml.core.clouds import Cloud
from airflow_azureml.core.dead_letters import POISON, DeadLetter, without_secrets
from airflow_azureml.core.queues import cloud_of_storage
from airflow_azureml.core.workspace import is_loopback
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.sources import Held

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from airflow_azureml.client.storage import Received, StorageQueue

__all__ = ["MESSAGE_BYTES", "StorageSource"]

#: The largest message that Queue Storage takes. Source: Put Message, REST API of Queue Storage.
MESSAGE_BYTES = 64 * 1024
#: What XML, in which messages travel, has no way to write. Source: https://www.w3.org/TR/xml/#charsets
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class StorageSource:
    """A storage queue, read with the identity of an Airflow connection; see `receiving.Source`.

    Args:
        url: The queue.
        conn_id: The Airflow connection; not used for a queue on this machine.
        visibility_s: How long a message that was received, or is held longer, is hidden from others.
    """

    def __init__(self, url: str, conn_id: str, *, visibility_s: int) -> None:
        self.url = url
        self._conn_id = conn_id
        self._visibility_s = visibility_s
        self._connecting = asyncio.Lock()
        self._queue: StorageQueue | None = None
        self._poison: StorageQueue | None = None
        self._credential: AsyncTokenCredential | None = None

    @property
    def aside(self) -> str:
        """The queue of the refused."""
        return self.url + POISON

    @property
    def cloud(self) -> Cloud | None:
        """The cloud it is in; None for this machine."""
        return cloud_of_storage(self.url)

    async def receive(self, lane: int) -> tuple[Sequence[Held], bool]:
        """Take what is visible; half a page is likely not the last, as the service may return less than there is."""
        from airflow_azureml.client.storage import PAGE  # noqa: PLC0415  # not when a DAG is parsed

        del lane  # all receivers share the client and its connections
        queue, _ = await self._connect()
        until = time.monotonic() + self._visibility_s
        received = await queue.receive(visibility_s=self._visibility_s)
        return [self._held(message, until) for message in received], len(received) >= PAGE // 2

    async def hold(self, message: Held) -> Held | None:
        """Hide a message as long again, from now on."""
        queue, _ = await self._connect()
        until = time.monotonic() + self._visibility_s
        held = await queue.hold(message.proof, visibility_s=self._visibility_s)
        return None if held is None else self._held(held, until)

    async def delete(self, message: Held) -> bool:
        """Delete a message."""
        queue, _ = await self._connect()
        return await queue.delete(message.proof)

    async def give_back(self, message: Held, *, after_s: float) -> None:
        """Let a message become visible."""
        queue, _ = await self._connect()
        await queue.hold(message.proof, visibility_s=int(after_s))

    async def refuse(self, message: Held, reason: str) -> None:
        """Write an envelope with message and reason into the queue of the refused, then delete the message.

        A message that is too large for that is written as it is, less secrets; and no more of it than a message holds.
        """
        content = without_secrets(message.text)
        letter = DeadLetter(message_id=message.id, reason=reason, deliveries=message.deliveries, content=content)
        text = letter.to_text()
        queue, poison = await self._connect()
        await poison.send(text if len(text) <= MESSAGE_BYTES else _fitting(content))
        await queue.delete(message.proof)

    async def close(self) -> None:
        """Close the connections."""
        opened = [each for each in (self._queue, self._poison, self._credential) if each is not None]
        self._queue = self._poison = self._credential = None
        for each in opened:
            with contextlib.suppress(OSError):
                await each.close()

    async def _connect(self) -> "tuple[StorageQueue, StorageQueue]":
        from airflow_azureml.client.credentials import proxies  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.client.storage import StorageQueue, async_storage_tokens  # noqa: PLC0415  # as above

        async with self._connecting:
            if self._queue is None or self._poison is None:
                through = None
                if not is_loopback(self.url):
                    settings = await AzureMLHook.aget(self._conn_id)
                    self._credential, through = async_storage_tokens(settings), proxies(settings)
                self._queue = StorageQueue(self.url, self._credential, proxies=through)
                self._poison = StorageQueue(self.aside, self._credential, proxies=through)
            return self._queue, self._poison

    def _held(self, message: "Received", until: float) -> Held:
        return Held(id=message.id, deliveries=message.deliveries, text=message.text, until=until, proof=message)


def _fitting(content: str) -> str:
    """Write what a message may hold of a text: what takes its secrets out may lengthen it, or find what XML has not."""
    return _NOT_IN_XML.sub("?", content).encode()[:MESSAGE_BYTES].decode(errors="ignore")

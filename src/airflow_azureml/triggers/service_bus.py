"""A queue or subscription of Service Bus as a source of messages; those that are refused go to its dead letters."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from airflow_azureml.core.clouds import Cloud
from airflow_azureml.core.queues import BusUrl, cloud_of_queue
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.sources import FAILURES, Held

if TYPE_CHECKING:
    from airflow_azureml.client.servicebus import BusQueue, BusTokens, Locked

__all__ = ["BusSource"]


@frozen
class _Proof:
    """What settles a message: the link that received it, and the link's own name for it."""

    queue: "BusQueue"
    message: "Locked"


class BusSource:
    """A queue or subscription, read with the identity of an Airflow connection; see `receiving.Source`.

    Each receiver has a link of its own; a message is settled on the link that received it.

    Args:
        url: The queue or subscription.
        conn_id: The Airflow connection; not used for one on this machine.
        poll_s: How long a receive waits for the first message.
    """

    def __init__(self, url: str, conn_id: str, *, poll_s: float) -> None:
        self.url = url
        self._conn_id = conn_id
        self._poll_s = poll_s
        self._connecting = asyncio.Lock()
        self._links: dict[int, BusQueue] = {}
        self._credential: BusTokens | None = None
        self._proxy = ""
        self._returning: dict[asyncio.Task[None], _Proof] = {}

    @property
    def aside(self) -> str:
        """The dead letters of the queue or subscription."""
        return f"{self.url}/$DeadLetterQueue"

    @property
    def cloud(self) -> Cloud | None:
        """The cloud it is in; None for this machine."""
        return cloud_of_queue(self.url)

    async def receive(self, lane: int) -> tuple[Sequence[Held], bool]:
        """Lock what is there; a full page is likely not the last."""
        from airflow_azureml.client.servicebus import PAGE  # noqa: PLC0415  # not when a DAG is parsed

        queue = await self._link(lane)
        received = await queue.receive(wait_s=self._poll_s)
        return [_held(queue, message) for message in received], len(received) == PAGE

    async def hold(self, message: Held) -> Held | None:
        """Renew the lock."""
        proof: _Proof = message.proof
        renewed = await proof.queue.renew(proof.message)
        return None if renewed is None else _held(proof.queue, renewed)

    async def delete(self, message: Held) -> bool:
        """Complete the message."""
        proof: _Proof = message.proof
        return await proof.queue.complete(proof.message)

    async def give_back(self, message: Held, *, after_s: float) -> None:
        """Abandon the message; the service would deliver it at once, so it is kept so long before."""
        proof: _Proof = message.proof
        wait_s = min(after_s, max(0.0, message.until - time.monotonic() - 1))
        if wait_s > 0:
            waiting = asyncio.create_task(self._abandon(proof, wait_s), name=f"give back message {message.id}")
            self._returning[waiting] = proof
            waiting.add_done_callback(lambda done: self._returning.pop(done, None))
        else:
            await proof.queue.abandon(proof.message)

    async def refuse(self, message: Held, reason: str) -> None:
        """Move the message to the dead letters, with the reason."""
        proof: _Proof = message.proof
        await proof.queue.dead_letter(proof.message, reason)

    async def close(self) -> None:
        """Give back what waits for that, and close the links."""
        returning = dict(self._returning)
        for task, proof in returning.items():
            task.cancel()
            await self._abandon(proof, 0)
        links, self._links = self._links, {}
        credential, self._credential = self._credential, None
        for link in links.values():
            await link.close()
        if credential is not None:
            await credential.close()

    async def _abandon(self, proof: _Proof, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        try:
            await proof.queue.abandon(proof.message)
        except FAILURES:
            return  # its lock runs out, and it is delivered again then

    async def _link(self, lane: int) -> "BusQueue":
        from airflow_azureml.client.servicebus import BusQueue, bus_tokens, require  # noqa: PLC0415  # as above

        async with self._connecting:
            if lane not in self._links:
                require()
                if self._credential is None and not BusUrl.parse(self.url).is_local:
                    settings = await AzureMLHook.aget(self._conn_id)
                    self._credential, self._proxy = bus_tokens(settings), settings.proxy
                self._links[lane] = BusQueue(self.url, self._credential, proxy=self._proxy)
            return self._links[lane]


def _held(queue: "BusQueue", message: "Locked") -> Held:
    return Held(
        id=message.id,
        deliveries=message.deliveries,
        text=message.text,
        until=time.monotonic() + message.seconds,
        proof=_Proof(queue, message),
    )

"""A queue of Azurite's that is kept full of Event Grid's messages, and what its SDK alone can take out of it.

``python -m benchmarks.queues URL BACKLOG`` keeps so many messages in a queue until it is ended.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import yarl
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import generate_queue_sas
from azure.storage.queue.aio import QueueClient

from azureml_emulator.events import Commit, message
from demo.azure import ACCOUNT, ACCOUNT_KEY, INCOMING, ROOT, Azurite

#: Most messages that one call receives, and calls that delete at the same moment: as our trigger does it.
PAGE, DELETES_AT_ONCE = 32, 8
LOOK_EVERY_S = 0.1
#: More than anybody takes with at once: so the queue stays full, whoever takes.
SENDS_AT_ONCE = 128
VISIBILITY_S = 120


def url_of(azurite: Azurite, queue: str) -> str:
    """Say where a queue of Azurite's is, past the emulator."""
    return f"{azurite.queue_url}/{ACCOUNT}/{queue}"


def client_of(url: str) -> QueueClient:
    """Open a queue of Azurite's with the SDK's asynchronous client."""
    return QueueClient.from_queue_url(url, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})


def event(number: int) -> str:
    """Write Event Grid's message of a blob of its own, as it stands in a queue."""
    path = f"patients/2026/11/ward-{number:06d}.csv"
    commit = Commit(
        api="PutBlob",
        container=INCOMING,
        path=path,
        url=f"http://127.0.0.1:10000/{ACCOUNT}/{INCOMING}/{path}",
        etag=f"0x8DC{number:012X}",
        size_bytes=4096,
        content_type="text/csv",
        blob_type="BlockBlob",
        request_id=str(uuid.uuid4()),
        client_request_id=str(uuid.uuid4()),
    )
    topic = f"/subscriptions/none/resourceGroups/none/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
    told = message(commit, topic=topic, order=number + 1, at=datetime.now(UTC))
    return base64.b64encode(json.dumps(told).encode()).decode()


async def feed(url: str, backlog: int) -> None:
    """Empty a queue, or make it, and keep so many messages in it for ever, taken ones included.

    It speaks HTTP by itself: the SDK would take a core for as many messages as it takes from the queue.
    """
    numbers = itertools.count()
    key = generate_queue_sas(
        ACCOUNT, url.rpartition("/")[2], ACCOUNT_KEY, permission="a", expiry=datetime.now(UTC) + timedelta(days=1)
    )
    into = yarl.URL(f"{url}/messages?messagettl=-1&{key}", encoded=True)
    async with client_of(url) as queue, aiohttp.ClientSession(raise_for_status=True) as session:

        async def _send(share: Iterator[int]) -> None:
            for _ in share:
                text = f"<QueueMessage><MessageText>{event(next(numbers))}</MessageText></QueueMessage>"
                await (await session.post(into, data=text, headers={"Content-Type": "application/xml"})).release()

        try:
            await queue.create_queue()
        except ResourceExistsError:
            await queue.clear_messages()
        while True:
            there = (await queue.get_queue_properties()).approximate_message_count or 0
            missing = iter(range(backlog - there))
            await asyncio.gather(*(_send(missing) for _ in range(SENDS_AT_ONCE)))
            await asyncio.sleep(LOOK_EVERY_S)


@contextlib.contextmanager
def fed(url: str, backlog: int) -> Iterator[None]:
    """Feed a queue from another process while the block lasts; it is full at its beginning."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.queues", url, str(backlog)], cwd=ROOT) as feeder:
        try:
            asyncio.run(_until_full(url, backlog))
            yield
        finally:
            feeder.kill()


async def _until_full(url: str, backlog: int) -> None:
    async with client_of(url) as queue:
        while True:
            with contextlib.suppress(ResourceExistsError):
                await queue.create_queue()
            if ((await queue.get_queue_properties()).approximate_message_count or 0) >= backlog:
                return
            await asyncio.sleep(LOOK_EVERY_S)


async def take(url: str, *, receivers: int, seconds: float) -> float:
    """Receive and delete for so long, with the SDK alone: each receiver by pages, deleting several at once.

    Returns:
        Messages a second.
    """
    done = 0
    async with client_of(url) as queue:

        async def _receive() -> None:
            nonlocal done
            at_once = asyncio.Semaphore(DELETES_AT_ONCE)

            async def _delete(received: Any) -> None:
                nonlocal done
                async with at_once:
                    await queue.delete_message(received.id, received.pop_receipt)
                    done += 1

            while True:
                page = queue.receive_messages(
                    messages_per_page=PAGE, max_messages=PAGE, visibility_timeout=VISIBILITY_S
                )
                received = [each async for each in page]
                await asyncio.gather(*map(_delete, received))

        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(_receive() for _ in range(receivers)))
        return done / (time.monotonic() - began)


if __name__ == "__main__":
    asyncio.run(feed(sys.argv[1], int(sys.argv[2])))

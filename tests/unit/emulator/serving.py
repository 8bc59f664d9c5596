"""An ASGI app on a free port of this event loop, and what its clients need."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import attrs
import uvicorn
from azure.core.exceptions import HttpResponseError
from azure.storage.blob.aio import BlobClient, ContainerClient
from azure.storage.queue.aio import QueueClient
from starlette.types import ASGIApp

from azureml_emulator.blob_proxy import BlobProxy
from azureml_emulator.events import EventPublisher
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY, Settings
from azureml_emulator.tokens import issue

KEY = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
STORAGE = "https://storage.azure.com/"


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, *, http: str = "auto") -> AsyncIterator[str]:
    """Serve an app and give its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, http=http, lifespan="off", log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110  # uvicorn's own flag
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@contextlib.asynccontextmanager
async def proxying(
    upstream: str, settings: Settings, publisher: EventPublisher | None = None, *, http: str = "auto"
) -> AsyncIterator[str]:
    """Serve a proxy before a service and give its URL."""
    proxy = BlobProxy(upstream, publisher, settings)
    try:
        async with serving(proxy, http=http) as url:
            yield url
    finally:
        await proxy.close()
        if publisher is not None:
            await publisher.close()


@attrs.frozen(kw_only=True)
class Front:
    """A proxy with a container of its own, and a queue that is told of it."""

    url: str
    settings: Settings
    container: ContainerClient
    queue: QueueClient

    def blob(self, name: str) -> BlobClient:
        return self.container.get_blob_client(name)

    @property
    def name(self) -> str:
        return str(self.container.container_name)

    async def told(self) -> list[dict[str, Any]]:
        """Take what the queue holds; a queue that is not there holds nothing."""
        found = []
        try:
            async for message in self.queue.receive_messages(messages_per_page=32):
                found.append(json.loads(base64.b64decode(message.content)))
                await self.queue.delete_message(message)
        except HttpResponseError as error:
            if error.status_code != 404:
                raise
        return found


def blob_url(front: Front, blob: str) -> str:
    return f"{front.url}/{DEV_ACCOUNT}/{front.name}/{blob}"


def bearer(audience: str = STORAGE, *, lifetime_s: int = 3600) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue(audience, lifetime_s=lifetime_s)}", "x-ms-version": "2021-12-02"}

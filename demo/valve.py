"""A valve before Azurite, so that a SIGKILL makes storage go away for some seconds, and never makes it forget.

Azurite (3.37) answers a write when it is in its memory, and its four LokiJS databases (blobs and queues, each with the
places of their contents) go to the disk every five seconds: a SIGKILL takes back what it has acknowledged since. Azure
Storage never does that. So whoever kills Azurite shuts the valve first, which refuses and cuts every connection: what
was being asked may have been done or not, and nobody knows. Then it waits until all four databases on the disk hold
everything that was acknowledged. A SIGKILL at any moment cannot tear them: LokiJS writes a file beside, and renames it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import struct
import threading
import uuid
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Self

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from demo.processes import StartError, free_ports, wait_until

CHUNK_BYTES = 64 * 1024
#: Azurite writes every five seconds; a busy machine takes its time.
FLUSH_PATIENCE_S = 60.0
#: Where what is written to see that Azurite has saved everything goes: a container and a queue.
SENTINELS = "valve"
_CREDENTIAL = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}


class Valve:
    """Passes on what comes to its ports, while it is open; use it with ``with``.

    Args:
        targets: The ports of 127.0.0.1 that stand behind it, by any name.
    """

    def __init__(self, targets: Mapping[str, int]) -> None:
        self.ports = dict(zip(targets, free_ports(len(targets)), strict=True))
        self._targets = dict(targets)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="valve", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> None:
        """Let connections through."""
        self._do(self._open())

    def shut(self) -> None:
        """Refuse new connections and cut all there are."""
        self._do(self._shut())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=30)

    async def _open(self) -> None:
        for name, port in self.ports.items():
            target = self._targets[name]

            async def connected(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int = target
            ) -> None:
                await self._join(reader, writer, target)

            self._servers.append(await asyncio.start_server(connected, "127.0.0.1", port, backlog=1024))

    async def _shut(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for writer in self._writers:
            _cut(writer)

    async def _end(self) -> None:
        """Shut, and wait for whoever still carries something."""
        await self._shut()
        carrying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        """Carry both directions until either end hangs up."""
        self._writers.add(writer)
        try:
            there = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            _cut(writer)
            self._writers.discard(writer)
            return
        self._writers.add(there[1])
        try:
            await asyncio.gather(_carry(reader, there[1]), _carry(there[0], writer))
        finally:
            for each in (writer, there[1]):
                self._writers.discard(each)
                _cut(each)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def _cut(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ValvedAzurite(Azurite):
    """An Azurite that everybody reaches through a valve; it can be killed without forgetting anything.

    Args:
        folder: Where its data and its log go.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._valve = Valve({"blob": self.blob_port, "queue": self.queue_port})
        self._exits = contextlib.ExitStack()

    @property
    def blob_url(self) -> str:
        """The blob service, through the valve."""
        return f"http://127.0.0.1:{self._valve.ports['blob']}"

    @property
    def queue_url(self) -> str:
        """The queue service, through the valve."""
        return f"http://127.0.0.1:{self._valve.ports['queue']}"

    def start(self) -> Self:
        """Open the valve, and start it."""
        self._exits.enter_context(self._valve)
        return super().start()

    def stop(self) -> None:
        """End it, and the valve."""
        super().stop()
        self._exits.close()

    def fall(self) -> None:
        """Kill it: the valve is shut, everything acknowledged is on the disk, and then comes SIGKILL.

        Raises:
            StartError: It has not saved everything in time; then it is not killed, and the valve is open again.
        """
        self._valve.shut()
        marks = self._leave_sentinels()
        if not wait_until(lambda: self._is_saved(marks), deadline_s=FLUSH_PATIENCE_S, step_s=0.1):
            self._valve.open()
            raise StartError(f"Azurite has not saved its state in {FLUSH_PATIENCE_S:.0f} s.\n{self.child.tail()}")
        self.child.kill(signal.SIGKILL)

    def rise(self) -> None:
        """Start it again after `fall`, and open the valve when it answers."""
        self.child.start()
        self.child.wait_until(self._answers_itself, deadline_s=60)
        self._valve.open()

    def _answers_itself(self) -> bool:
        for port in (self.blob_port, self.queue_port):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
                continue
            return False
        return True

    def _leave_sentinels(self) -> tuple[str, str]:
        """Write past the valve what only a later save can hold: a blob and a message; returns what each is known by."""
        name = uuid.uuid4().hex
        blobs = f"http://127.0.0.1:{self.blob_port}/{ACCOUNT}"
        queues = f"http://127.0.0.1:{self.queue_port}/{ACCOUNT}"
        with BlobServiceClient(blobs, credential=_CREDENTIAL) as blob_service:
            with contextlib.suppress(ResourceExistsError):
                blob_service.create_container(SENTINELS)
            blob_service.get_blob_client(SENTINELS, name).upload_blob(b"saved?")
        with QueueServiceClient(queues, credential=_CREDENTIAL) as queue_service:
            queue = queue_service.get_queue_client(SENTINELS)
            with contextlib.suppress(ResourceExistsError):
                queue.create_queue()
            message = queue.send_message("saved?")
        return name, str(message.id)

    def _is_saved(self, marks: tuple[str, str]) -> bool:
        """Whether the databases on the disk hold the sentinels, and where every content is that they name.

        A file of contents that no blob or message names is one whose first write was cut: nobody will ever know it.
        """
        data = self.folder / "data"
        for kind, mark in zip(("blob", "queue"), marks, strict=True):
            with contextlib.suppress(OSError):
                known = (data / f"__azurite_db_{kind}_extent__.json").read_bytes()
                extents = [each.name.encode() for each in (data / f"__{kind}storage__").iterdir()]
                saved = (data / f"__azurite_db_{kind}__.json").read_bytes()
                if mark.encode() in saved and all(each in known for each in extents if each in saved):
                    continue
            return False
        return True

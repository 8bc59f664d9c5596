"""A CONNECT proxy that sends Azure's host names here, and nothing anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

_log = logging.getLogger(__name__)
_HEAD_LIMIT = 16 * 1024
_HEAD_TIMEOUT_S = 30
_CHUNK = 64 * 1024


class ConnectProxy:
    """Tunnels for the hosts that are emulated; a 502 that names the host for every other.

    Args:
        target: The host and port of the TLS server.
        knows: Says whether a host name is one of ours.
    """

    def __init__(self, target: tuple[str, int], knows: Callable[[str], bool]) -> None:
        self._target = target
        self._knows = knows
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, bound: socket.socket) -> None:
        """Listen on a bound socket."""
        self._server = await asyncio.start_server(self._serve, sock=bound, limit=_HEAD_LIMIT)

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        if self._server:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # start_server always gives one
        self._open.add(task)
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            await self._answer(head, reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.debug("A proxy connection ended: %r", error)
        except asyncio.CancelledError:
            _log.debug("A tunnel was cut because the emulator stops")
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, _, rest = head.partition(b" ")
        host = rest.partition(b" ")[0].decode("latin-1")
        name, _, port = host.rpartition(":")
        if method != b"CONNECT":
            await _refuse(writer, f"only CONNECT is proxied, not {method.decode('latin-1')} {host}")
        elif port != "443" or not self._knows(name.lower()):
            _log.warning("Refused a tunnel to %s", host)
            await _refuse(writer, f"{host} is not emulated, and nothing is sent to any other host")
        else:
            to_reader, to_writer = await asyncio.open_connection(*self._target)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await _both_ways(reader, writer, to_reader, to_writer)


async def _both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    to_reader: asyncio.StreamReader,
    to_writer: asyncio.StreamWriter,
) -> None:
    try:
        await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
    finally:
        to_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


async def _refuse(writer: asyncio.StreamWriter, why: str) -> None:
    """Say why in the reason too: that is what clients show of a proxy's answer."""
    body = f"azureml-emulator: {why}.\n".encode()
    head = (
        f"HTTP/1.1 502 azureml-emulator: {why}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode("latin-1", "replace") + body)
    await writer.drain()

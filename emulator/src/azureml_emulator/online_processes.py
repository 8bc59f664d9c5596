"""Asking a scoring process: the request goes on as it came, and the answer comes back whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import aiohttp
import attrs
from starlette.types import Receive, Scope
from yarl import URL

from azureml_emulator.blob_proxy import HOP_BY_HOP, NOT_ADDED, WRITTEN_BY_THE_SERVER

_CONNECT_S = 5
#: Belongs to one connection, is for the front alone, or is written anew.
_NOT_SENT = HOP_BY_HOP | {"host", "authorization", "content-length"}
_NOT_TAKEN = HOP_BY_HOP | WRITTEN_BY_THE_SERVER | {"content-length"}


class ProcessGoneError(Exception):
    """The process did not answer.

    Attributes:
        asked: Whether it may have begun; asking another one is harmless where it has not.
    """

    def __init__(self, message: str, *, asked: bool) -> None:
        super().__init__(message)
        self.asked = asked


class ClientGoneError(Exception):
    """The client hung up before its request was complete."""


class TooLargeError(Exception):
    """The body of a request is larger than the front takes."""


@attrs.frozen(kw_only=True)
class Asked:
    """A request as it came; header names in lower case."""

    method: str
    query: str
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)

    @classmethod
    async def read(cls, scope: Scope, receive: Receive, *, most_bytes: int) -> Self:
        """Read all of a request.

        Raises:
            ClientGoneError: Its client hung up.
            TooLargeError: It is too large.
        """
        body, more = bytearray(), True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise ClientGoneError
            body += event.get("body", b"")
            more = event.get("more_body", False)
            if len(body) > most_bytes:
                raise TooLargeError
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        return cls(method=scope["method"], query=query, headers=headers, body=bytes(body))


@attrs.frozen(kw_only=True)
class ModelAnswer:
    """What a process answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)


class Processes:
    """The connections to scoring processes; opened on first use, and those of one event loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, url: str, asked: Asked, *, more: Mapping[str, str]) -> ModelAnswer:
        """Send a request to a process, and wait for its answer.

        Args:
            url: The address, without a query.
            asked: The request.
            more: Headers that go with it, in the place of its own of that name.

        Raises:
            ProcessGoneError: The process did not answer.
        """
        headers = {name: value for name, value in asked.headers.items() if name not in _NOT_SENT} | dict(more)
        target = URL(f"{url}?{asked.query}" if asked.query else url, encoded=True)
        try:
            request = self._opened().request(
                asked.method, target, data=asked.body, headers=headers, skip_auto_headers=NOT_ADDED
            )
            async with request as head:
                body = await head.read()
        except aiohttp.ClientConnectorError as error:
            raise ProcessGoneError(f"{url} takes no connection: {error}", asked=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ProcessGoneError(f"{url} broke off: {error!r}", asked=True) from error
        kept = {name.lower(): value for name, value in head.headers.items() if name.lower() not in _NOT_TAKEN}
        return ModelAnswer(status=head.status, headers=kept, body=body)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

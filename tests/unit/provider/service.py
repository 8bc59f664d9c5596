"""A service on this machine that counts and refuses, and credentials that say how often they were asked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from azure.core.credentials import AccessToken

from airflow_azureml.core.workspace import ConnectionSettings

NAMES = {"subscription_id": "s", "resource_group": "g", "workspace": "w"}
SECRET = "s3cr3t-of-nobody"  # noqa: S105  # a test's own word
EXPIRED = {"error": {"code": "ExpiredAuthenticationToken", "message": "The access token expiry UTC time has passed."}}


class Service(ThreadingHTTPServer):
    """Takes any token but those that it was told to refuse, and remembers what it was asked.

    Attributes:
        refused: Tokens that are answered with 401.
        refuses_all: Whether every token is.
        answers: Status and body by the end of the path; anything else is answered with 200 and nothing.
        asked: Method, path and token of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refused: set[str] = set()
        self.refuses_all = False
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def settings(self) -> ConnectionSettings:
        return ConnectionSettings.parse({**NAMES, "authentication": "emulator", "endpoint": self.url}, conn_id="mine")

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.asked.append((self.command, path, token))
        status: int
        body: Any
        status, body = next(
            (answer for end, answer in self.server.answers.items() if path.endswith(end)), (200, {"value": []})
        )
        if self.server.refuses_all or token in self.server.refused:
            status, body = 401, EXPIRED
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.send_header("x-ms-request-id", "req-1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815  # the base class's names

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


class Purse:
    """A credential that gives out numbered tokens, each good for so many seconds in its own opinion."""

    def __init__(self, lifetime_s: int = 3600) -> None:
        self.given = 0
        self.lifetime_s = lifetime_s
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.given += 1
        self.scopes += scopes
        return AccessToken(f"{SECRET}-{self.given}", int(time.time()) + self.lifetime_s)


class Remembering(Purse):
    """A credential that gives out the same token again and again, as azure-identity's do."""

    closed = False

    def get_token(self, *scopes: str, **more: Any) -> AccessToken:
        del scopes, more
        return AccessToken(f"{SECRET}-of-{id(self)}", int(time.time()) + 3600)

    def close(self) -> None:
        self.closed = True


class AsyncRemembering(Remembering):
    """`Remembering` for an event loop."""

    async def get_token(self, *scopes: str, **more: Any) -> AccessToken:  # type: ignore[override]  # the async protocol
        return super().get_token(*scopes, **more)

    async def close(self) -> None:  # type: ignore[override]  # likewise
        super().close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""


class AsyncPurse(Purse):
    """`Purse` for an event loop; giving takes a while, in which others may ask."""

    async def get_token(self, *scopes: str, **more: Any) -> AccessToken:  # type: ignore[override]  # the async protocol
        await asyncio.sleep(0.01)
        return super().get_token(*scopes, **more)

    async def close(self) -> None:
        """Do nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""

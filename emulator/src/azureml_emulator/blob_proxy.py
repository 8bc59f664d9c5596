"""A transparent proxy before Azurite: requests and answers pass as they are, and committed blobs are told of."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import formatdate
from typing import Any, Self
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

import aiohttp
import attrs
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from yarl import URL

from azureml_emulator import signing
from azureml_emulator.clock import CLOCK
from azureml_emulator.events import Commit, EventPublisher, blob_of, committing_api
from azureml_emulator.names import TENANT
from azureml_emulator.settings import Settings
from azureml_emulator.tokens import claims_of

log = logging.getLogger(__name__)

#: Headers that belong to one connection only (RFC 9110, 7.6.1); Expect is answered by our own server.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade", "expect"}
)  # fmt: skip
#: What our own server writes by itself.
WRITTEN_BY_THE_SERVER = frozenset({"date", "server"})
#: What aiohttp would add by itself; a header that the client did not send would break its signature.
NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
CHUNK_BYTES = 64 * 1024
#: How long an asynchronous copy is followed, in seconds, before its event is given up.
COPY_PATIENCE_S = 600.0


#: Says whether the holder of a token with these claims may ask so of a container: claims, method, container.
May = Callable[[Mapping[str, Any], str, str], bool]


class _ClientGoneError(Exception):
    """The client hung up before its body was complete."""


@attrs.frozen(kw_only=True)
class _Call:
    """One request as it came, percent-encodings and all; header names in lower case."""

    method: str
    scheme: str
    path: str
    query: str
    headers: Mapping[str, str]

    @classmethod
    def from_scope(cls, scope: Scope) -> Self:
        return cls(
            method=scope["method"],
            scheme=scope["scheme"],
            path=scope["raw_path"].decode("latin-1").partition("?")[0],
            query=scope["query_string"].decode("latin-1"),
            headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        )

    @property
    def has_body(self) -> bool:
        return self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers

    @property
    def url(self) -> str:
        """The address the client used, without its query (which may hold a signature)."""
        default_port = ":443" if self.scheme == "https" else ":80"
        return f"{self.scheme}://{self.headers.get('host', '').removesuffix(default_port)}{self.path}"

    def container(self, account: str) -> str:
        """Name the container that is asked for; empty for none."""
        parts = unquote(self.path).strip("/").split("/")
        own_host = self.headers.get("host", "").lower().startswith(f"{account}.".lower())
        return "".join(parts[:1] if own_host else parts[1:2])

    def signed(self, *, account: str, key: str) -> Self:
        """Sign it anew with the account's key, whatever its authorization was."""
        headers = {name: value for name, value in self.headers.items() if name != "authorization"}
        headers.setdefault("x-ms-date", formatdate(usegmt=True))
        request = signing.Signable(method=self.method, path=self.path, query=self.query, headers=headers)
        headers["authorization"] = signing.authorization(request, account=account, key=key)
        return attrs.evolve(self, headers=headers)


class BlobProxy:
    """An ASGI app that stands before one of Azurite's services.

    Host header, path and query go on unchanged, so that SharedKey and SAS signatures stay good. A bearer token is
    checked and replaced by a SharedKey signature. With a publisher, a committed blob is told of before the client has
    its answer: who was told "created" can rely on the event, unless the log says that it was lost.
    """

    def __init__(
        self, upstream_url: str, publisher: EventPublisher | None, settings: Settings, *, may: May | None = None
    ) -> None:
        """Stand before a service.

        Args:
            upstream_url: Azurite's blob or queue service, without the account, e.g. ``http://127.0.0.1:10000``.
            publisher: Who tells of committed blobs; None for a queue service.
            settings: The account and its key.
            may: Whether the holder of a bearer token may do what it asks of a container; None for everybody may.
        """
        self._upstream = upstream_url.rstrip("/")
        self._publisher = publisher
        self._account = settings.account
        self._key = settings.account_key
        self._may = may
        self._session: aiohttp.ClientSession | None = None
        self._copies: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        call = _Call.from_scope(scope)
        kind, _, token = call.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            why = signing.refusal(token.strip(), account=self._account, now_s=CLOCK.now_s())
            if why is not None:
                await unauthorized(why)(scope, receive, send)
                return
            container = call.container(self._account)
            if self._may is not None and not self._may(claims_of(token.strip()) or {}, call.method, container):
                await _forbidden()(scope, receive, send)
                return
            call = call.signed(account=self._account, key=self._key)
        started = False

        async def answer(head: aiohttp.ClientResponse) -> None:
            nonlocal started
            started = True
            await _pass_on(head, send)

        try:
            async with self._ask(call, _body(receive) if call.has_body else None) as head:
                await self._tell_of(call, head)
                await answer(head)
        except aiohttp.ClientError as error:
            if started or isinstance(error.__cause__, _ClientGoneError):
                log.info("%s %s broke off: %s", call.method, call.path, error)
                raise _ClientGoneError from error
            await _unreachable(self._upstream, error)(scope, receive, send)

    async def close(self) -> None:
        """Close the connections to Azurite; copies that are still followed are given up."""
        for task in self._copies:
            task.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _ask(
        self, call: _Call, body: AsyncIterator[bytes] | None = None
    ) -> aiohttp.client._RequestContextManager:  # the type has no public name
        if self._session is None:
            # A connection of its own per request: a kept one that Azurite closes at that moment could not be tried
            # again with a body that has been streamed already.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session.request(
            call.method,
            URL(
                f"{self._upstream}{call.path}?{call.query}" if call.query else self._upstream + call.path, encoded=True
            ),
            headers={name: value for name, value in call.headers.items() if name not in HOP_BY_HOP},
            data=body,
            allow_redirects=False,
            skip_auto_headers=NOT_ADDED,
        )

    async def _tell_of(self, call: _Call, answer: aiohttp.ClientResponse) -> None:
        """Publish the event of a request that committed a blob."""
        api = committing_api(call.method, call.query, call.headers)
        place = blob_of(call.path, call.headers.get("host", ""), self._account)
        if self._publisher is None or api is None or place is None or not answer.ok:
            return
        commit = Commit(
            api=api,
            container=place[0],
            path=place[1],
            url=call.url,
            etag=answer.headers.get("ETag", ""),
            size_bytes=int(call.headers.get("content-length", "0")),
            content_type=call.headers.get("x-ms-blob-content-type") or call.headers.get("content-type", ""),
            blob_type=call.headers.get("x-ms-blob-type", "BlockBlob"),
            request_id=answer.headers.get("x-ms-request-id", ""),
            client_request_id=call.headers.get("x-ms-client-request-id", ""),
        )
        if answer.headers.get("x-ms-copy-status") == "pending":
            task = asyncio.create_task(self._follow_copy(self._publisher, commit))
            self._copies.add(task)
            task.add_done_callback(self._copies.discard)
            return
        if api != "PutBlob" or commit.blob_type != "BlockBlob" or "content-length" not in call.headers:
            commit = _completed(commit, await self._look_at(commit))
        await self._publisher.publish(attrs.evolve(commit, content_type=commit.content_type or DEFAULT_CONTENT_TYPE))

    async def _look_at(self, commit: Commit) -> Mapping[str, str]:
        """Ask Azurite for a blob's properties; none when it is gone again."""
        path = f"/{self._account}/{quote(commit.container)}/{quote(commit.path)}"
        headers = {"x-ms-version": "2021-12-02", "host": URL(self._upstream).authority}
        call = _Call(method="HEAD", scheme="http", path=path, query="", headers=headers)
        try:
            async with self._ask(call.signed(account=self._account, key=self._key)) as answer:
                found = answer.headers if answer.ok else {}
        except aiohttp.ClientError as error:
            log.warning("Blob %s/%s cannot be looked at: %s", commit.container, commit.path, error)
            return {}
        return found

    async def _follow_copy(self, publisher: EventPublisher, commit: Commit) -> None:
        """Tell of a copy when it is complete."""
        deadline = time.monotonic() + COPY_PATIENCE_S
        found: Mapping[str, str] = {"x-ms-copy-status": "pending"}
        while found.get("x-ms-copy-status") == "pending" and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            found = await self._look_at(commit)
        if found.get("x-ms-copy-status") == "success":
            await publisher.publish(attrs.evolve(_completed(commit, found), etag=found.get("ETag", commit.etag)))
        else:
            log.error("No event: the copy to %s/%s did not succeed: %s", commit.container, commit.path, dict(found))


DEFAULT_CONTENT_TYPE = "application/octet-stream"


def _completed(commit: Commit, properties: Mapping[str, str]) -> Commit:
    """Take from a blob's properties what its request did not say."""
    return attrs.evolve(
        commit,
        size_bytes=int(properties.get("Content-Length", "0")),
        content_type=properties.get("Content-Type", commit.content_type),
        blob_type=properties.get("x-ms-blob-type", commit.blob_type),
    )


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _ClientGoneError
        more = event.get("more_body", False)
        if chunk := event.get("body", b""):
            yield chunk


async def _pass_on(answer: aiohttp.ClientResponse, send: Send) -> None:
    dropped = HOP_BY_HOP | WRITTEN_BY_THE_SERVER
    headers = [
        (name.lower(), value) for name, value in answer.raw_headers if name.decode("latin-1").lower() not in dropped
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def storage_error(status: int, code: str, *sentences: str) -> Response:
    """Make an error in the shape of Azure Storage."""
    said = escape("\n".join(sentences))
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{said}</Message></Error>'
    return Response(body, status, headers={"x-ms-error-code": code}, media_type="application/xml")


def unauthorized(why: str) -> Response:
    """Refuse a token as Azure Storage does."""
    said = "Server failed to authenticate the request. Please refer to the information in the www-authenticate header."
    answer = storage_error(401, "InvalidAuthenticationInfo", said, why)
    answer.headers["WWW-Authenticate"] = (
        f"Bearer authorization_uri=https://login.microsoftonline.com/{TENANT}/oauth2/authorize"
        " resource_id=https://storage.azure.com"
    )
    return answer


def _forbidden() -> Response:
    said = "This request is not authorized to perform this operation using this permission."
    return storage_error(403, "AuthorizationPermissionMismatch", said)


def _unreachable(upstream: str, error: Exception) -> Response:
    said = f"The emulator could not reach Azurite at {upstream}: {error}. Start Azurite, or give its address."
    log.error(said)
    return storage_error(502, "AzuriteUnreachable", said)

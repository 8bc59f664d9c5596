"""The two loops that hold every conversation with Azure ML, on azure-core's pipelines."""

import contextlib
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceResponseError
from azure.core.pipeline import policies
from azure.core.rest import HttpRequest

from airflow_azureml import __version__
from airflow_azureml.client.credentials import async_credential, proxies
from airflow_azureml.client.credentials import credential as own_credential
from airflow_azureml.client.tokens import AsyncTokenPolicy, AsyncTokens, TokenPolicy, Tokens
from airflow_azureml.core import entra
from airflow_azureml.core.workspace import ConnectionSettings, is_loopback
from airflow_azureml.errors import ConfigError, RefusedError, ServiceError, UnavailableError
from airflow_azureml.wire.http import Audience, Flow, Request, Response

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.credentials_async import AsyncTokenCredential

T = TypeVar("T")

USER_AGENT = f"airflow-provider-azureml/{__version__}"
#: Seconds, and tries beyond the first. The waiting for a job has patience of its own; a single look need not.
CONNECT_S, READ_S = 10, 60
_SIGNED = re.compile(r"\?[^\s'\"<>]*\bsig=[^\s'\"<>]*")
RETRIES = {"retry_total": 3, "retry_backoff_factor": 0.4, "retry_backoff_max": 20}


def scope_of(settings: ConnectionSettings, audience: Audience) -> str:
    """Name the audience as Entra wants it: that of the cloud, whatever the address the connection goes through."""
    addresses = settings.addresses
    of = addresses.resource_manager if audience is Audience.MANAGEMENT else addresses.machine_learning
    return f"{of}/.default"


def _plain_policies(settings: ConnectionSettings) -> list[Any]:
    return [
        policies.HeadersPolicy({"Accept": "application/json"}),
        policies.UserAgentPolicy(USER_AGENT),
        policies.ProxyPolicy(proxies(settings)),
    ]


def _to_azure(request: Request) -> tuple[HttpRequest, dict[str, Any]]:
    """Write a request for azure-core, with the options that hold for it.

    Raises:
        ConfigError: It would carry a token over plain http to another machine.
    """
    if not request.url.startswith("https://") and not (request.url.startswith("http://") and is_loopback(request.url)):
        raise ConfigError(
            f"{request.doing}: {request.address!r} is neither https nor on this machine; nothing was sent."
        )
    options: dict[str, Any] = {} if request.repeatable else {"retry_total": 0}
    if request.url.startswith("http://") and request.audience is not Audience.NOBODY:
        options["enforce_https"] = False
    http = HttpRequest(
        request.method,
        request.url,
        params=dict(request.params) or None,
        headers=dict(request.headers),
        json=request.json,
    )
    return http, options


def _from_azure(status: int, headers: Mapping[str, str], body: bytes) -> Response:
    return Response(status=status, headers={name.lower(): value for name, value in headers.items()}, body=body)


def unsigned(text: str) -> str:
    """Hide the query of every address that is signed: whoever has it may read."""
    return _SIGNED.sub("?…", text)


class _UnsignedRecords(logging.Filter):
    """Hides, when the worker logs at debug level, the signatures in the addresses that urllib3 tells of."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(unsigned(arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


_UNSIGNED_RECORDS = _UnsignedRecords()


def _no_answer(request: Request, error: AzureError) -> ServiceError:
    """Say what it means that there was no answer."""
    words = unsigned(str(error.message if hasattr(error, "message") else error)).strip()[:600]
    if isinstance(error, ClientAuthenticationError):
        kind = RefusedError if entra.is_refusal(words) else UnavailableError
        return kind(request.doing, code="no token", message=words)
    lost = " It may have been received." if isinstance(error, ServiceResponseError) and not request.repeatable else ""
    return UnavailableError(request.doing, message=f"{words}{lost}")


class AsyncClient:
    """Holds conversations in an event loop; one client serves any number of them at once.

    Use it with ``async with``.

    Args:
        settings: The connection.
        credential: Makes the tokens in place of the connection's own; it stays the caller's to close.

    Raises:
        ConfigError: The connection's certificate or token file cannot be read.
    """

    def __init__(self, settings: ConnectionSettings, *, credential: "AsyncTokenCredential | None" = None) -> None:
        self._settings = settings
        self._tokens = AsyncTokens(lambda: credential or async_credential(settings), own=credential is None)
        self._clients = {audience: self._client(audience) for audience in Audience}

    def _client(self, audience: Audience) -> AsyncPipelineClient[Any, Any]:
        chain = [*_plain_policies(self._settings), policies.AsyncRetryPolicy(**RETRIES)]
        if audience is not Audience.NOBODY:
            chain.append(AsyncTokenPolicy(self._tokens, scope_of(self._settings, audience)))
        return AsyncPipelineClient(
            self._settings.workspace.endpoint, policies=chain, connection_timeout=CONNECT_S, read_timeout=READ_S
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for client in self._clients.values():
            await client.close()
        await self._tokens.close()

    async def run(self, flow: Flow[T]) -> T:
        """Hold one conversation to its end and return what it found out."""
        with contextlib.closing(flow):
            try:
                request = next(flow)
                while True:
                    try:
                        response = await self._send(request)
                    except ServiceError as error:
                        request = flow.throw(error)
                    else:
                        request = flow.send(response)
            except StopIteration as end:
                result: T = end.value
                return result

    async def _send(self, request: Request) -> Response:
        http, options = _to_azure(request)
        try:
            answer = await self._clients[request.audience].send_request(http, **options)
            # The body was read already; azure-core 1.35 cannot read an empty one a second time.
            return _from_azure(answer.status_code, answer.headers, answer.content)
        except AzureError as error:
            raise _no_answer(request, error) from (None if request.audience is Audience.NOBODY else error)


class Client:
    """Holds conversations in a worker; the same as `AsyncClient`, less the waiting. Use it with ``with``."""

    def __init__(self, settings: ConnectionSettings, *, credential: "TokenCredential | None" = None) -> None:
        logging.getLogger("urllib3.connectionpool").addFilter(_UNSIGNED_RECORDS)
        self._settings = settings
        self._tokens = Tokens(lambda: credential or own_credential(settings), own=credential is None)
        self._clients = {audience: self._client(audience) for audience in Audience}

    def _client(self, audience: Audience) -> PipelineClient[Any, Any]:
        chain = [*_plain_policies(self._settings), policies.RetryPolicy(**RETRIES)]
        if audience is not Audience.NOBODY:
            chain.append(TokenPolicy(self._tokens, scope_of(self._settings, audience)))
        return PipelineClient(
            self._settings.workspace.endpoint, policies=chain, connection_timeout=CONNECT_S, read_timeout=READ_S
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        for client in self._clients.values():
            client.close()
        self._tokens.close()

    def run(self, flow: Flow[T]) -> T:
        """Hold one conversation to its end and return what it found out."""
        with contextlib.closing(flow):
            try:
                request = next(flow)
                while True:
                    try:
                        response = self._send(request)
                    except ServiceError as error:
                        request = flow.throw(error)
                    else:
                        request = flow.send(response)
            except StopIteration as end:
                result: T = end.value
                return result

    def _send(self, request: Request) -> Response:
        http, options = _to_azure(request)
        try:
            answer = self._clients[request.audience].send_request(http, **options)
            return _from_azure(answer.status_code, answer.headers, answer.content)
        except AzureError as error:
            raise _no_answer(request, error) from (None if request.audience is Audience.NOBODY else error)

"""The only sockets to Azure Storage: a queue for the triggerer, a look at a blob for workers."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import evolve, frozen

from airflow_azureml.client.transport import transport_to
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.entra import is_refusal
from airflow_azureml.core.workspace import Authentication, is_loopback
from airflow_azureml.errors import ConfigError, ProtocolError, RefusedError, ServiceError, UnavailableError

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError
    from azure.storage.blob import BlobClient

    from airflow_azureml.client.tokens import AsyncStorageTokens, StorageTokens
    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T")

#: The account that Azurite has, and its key, which is public: it opens nothing but an emulator on this machine.
#: Source: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#well-known-storage-account-and-key
DEVELOPMENT_ACCOUNT = "devstoreaccount1"
DEVELOPMENT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

#: Most messages that one call receives. Source: Get Messages, REST API of Queue Storage.
PAGE = 32
#: Seconds. The SDK's own would let a call to a silent service last 325 s, and one to a refusing host 80 s.
CONNECT_S, READ_S, CALL_S = 5, 10, 20
#: Tries of a call that changes something, and the longest wait before the second. Seconds.
TRIES, FIRST_WAIT_S = 3, 0.5
#: A blob is looked at by a worker, whose task can be retried: worst case 32 s.
_BLOB_RETRIES = 2
#: Statuses after which the same call may succeed. 409 is a queue or container that is still being deleted.
_PASSING = frozenset({408, 409, 429, 500, 502, 503, 504})
#: Answers that mean: this delivery of the message is not ours any more.
_GONE = frozenset({"MessageNotFound", "PopReceiptMismatch"})
_FORBIDDEN, _NOT_FOUND, _NO_SUCH_RANGE = 403, 404, 416
#: What reading blobs and their tags, and reading and settling messages, takes.
READS_BLOBS, READS_TAGS = "Storage Blob Data Reader", "Storage Blob Data Owner"
USES_QUEUES = "Storage Queue Data Contributor"
#: Azure's SDK writes 15 lines at INFO for each request, of which an empty queue makes one each second.
HTTP_LOG = logging.getLogger(f"{__name__}.http")
HTTP_LOG.setLevel(logging.WARNING)


@frozen(kw_only=True)
class Received:
    """One delivery of a message.

    Attributes:
        receipt: What proves that the delivery is ours; a new one after each `StorageQueue.hold`.
        deliveries: How often the message was delivered, this time included.
    """

    id: str
    receipt: str
    deliveries: int
    text: str


class StorageQueue:
    """One queue, on an event loop.

    No call lasts longer than `CALL_S` seconds for each of its tries. Errors are `RefusedError` or `UnavailableError`.

    Args:
        url: ``https://ACCOUNT.queue.core.windows.net/QUEUE``, or a queue of Azurite on this machine.
        credential: Proves who we are; None on this machine. It stays the caller's to close.
        proxies: Through which proxy it is reached, as azure-core wants it; None for what the environment says.

    Raises:
        ConfigError: The URL names no queue, or it would need a credential that is not there.
    """

    def __init__(
        self, url: str, credential: "AsyncTokenCredential | None", *, proxies: Mapping[str, str] | None = None
    ) -> None:
        from azure.storage.queue.aio import QueueClient  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

        self.url = url
        self._client = QueueClient.from_queue_url(
            url,
            credential=storage_credential(url, credential),
            retry_total=0,
            transport=transport_to(url, has_proxy=bool(proxies), connect_s=CONNECT_S, read_s=READ_S),
            logger=HTTP_LOG,
            **_through(proxies),
        )

    @property
    def name(self) -> str:
        """The queue's name."""
        return str(self._client.queue_name)

    async def receive(self, *, visibility_s: int) -> list[Received]:
        """Take what is visible, up to `PAGE` messages, for so many seconds; an empty list when nothing is."""

        async def _page() -> list[Received]:
            pages = self._client.receive_messages(
                messages_per_page=PAGE, max_messages=PAGE, visibility_timeout=visibility_s
            ).by_page()
            async for page in pages:
                return [_received(message) async for message in page]
            return []

        return await self._call(f"Receive from queue {self.name}", _page, tries=1)

    async def peek(self) -> list[tuple[str, str]]:
        """Look at what is visible, up to `PAGE` messages, and take none; returns ids and texts."""

        async def _peek() -> list[tuple[str, str]]:
            messages = await self._client.peek_messages(max_messages=PAGE)
            return [(str(message.id), str(message.content or "")) for message in messages]

        return await self._call(f"Look at queue {self.name}", _peek)

    async def length(self) -> int:
        """Count the messages, hidden ones included; about, as the service does."""

        async def _count() -> int:
            return int((await self._client.get_queue_properties()).approximate_message_count or 0)

        return await self._call(f"Count the messages of queue {self.name}", _count)

    async def hold(self, message: Received, *, visibility_s: int) -> Received | None:
        """Keep a message for so many seconds from now on; 0 gives it back.

        Returns:
            The message with its new receipt; None when this delivery is not ours any more.
        """

        async def _hold() -> Any:
            return await self._client.update_message(
                message.id, message.receipt, content=message.text, visibility_timeout=visibility_s
            )

        try:
            answer = await self._call(f"Hold message {message.id} of queue {self.name}", _hold)
        except RefusedError as error:
            if error.code in _GONE:
                return None
            raise
        return evolve(message, receipt=str(answer.pop_receipt))

    async def delete(self, message: Received) -> bool:
        """Delete a message; False when this delivery is not ours any more, so that it comes or came again."""

        async def _delete() -> None:
            await self._client.delete_message(message.id, message.receipt)

        try:
            await self._call(f"Delete message {message.id} of queue {self.name}", _delete)
        except RefusedError as error:
            if error.code in _GONE:
                return False
            raise
        return True

    async def send(self, text: str) -> None:
        """Send a message, and make the queue when it is missing."""

        async def _send() -> None:
            await self._client.send_message(text, time_to_live=-1)

        try:
            await self._call(f"Send to queue {self.name}", _send)
        except RefusedError as error:
            if error.code != "QueueNotFound":
                raise
            await self.create()
            await self._call(f"Send to queue {self.name}", _send)

    async def create(self) -> None:
        """Make the queue; one that is there already is fine."""

        async def _create() -> None:
            await self._client.create_queue()

        try:
            await self._call(f"Create queue {self.name}", _create)
        except ServiceError as error:
            if error.code != "QueueAlreadyExists":
                raise

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, doing: str, call: Callable[[], Awaitable[T]], *, tries: int = TRIES) -> T:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above

        wait_s = FIRST_WAIT_S
        for left in reversed(range(tries)):
            failure: ServiceError
            try:
                async with asyncio.timeout(CALL_S):
                    return await call()
            except TimeoutError as error:
                failure = UnavailableError(doing, message=f"No answer within {CALL_S} s.")
                failure.__cause__ = error
            except AzureError as error:
                failure = service_error(doing, error, role=USES_QUEUES)
                failure.__cause__ = error
            except (AttributeError, TypeError, ValueError) as error:
                # What the SDK makes of a page of HTML that a proxy answered with, status 200.
                raise ProtocolError(f"{doing}: the answer is none of Azure Storage's ({error})") from error
            if not left or not failure.retryable:
                raise failure
            await asyncio.sleep(random.uniform(0, wait_s))  # noqa: S311  # spreads load, guards nothing
            wait_s *= 2
        raise AssertionError(tries)


@frozen(kw_only=True)
class BlobHead:
    """What a look at a blob showed.

    Attributes:
        etag: The version that is there now, without quotes.
        head: The first bytes, as many as were asked for.
    """

    etag: str
    size_bytes: int
    head: bytes = b""


def look_at_blob(settings: "ConnectionSettings", url: str, *, head_bytes: int = 0) -> BlobHead | None:
    """Look at a blob from a worker; everything shown is of one and the same version.

    Args:
        settings: The connection whose identity looks; not used for a blob on this machine.
        url: The blob's address, quoted: `Arrival.uri`.
        head_bytes: How much of its content to read.

    Returns:
        None when there is no such blob or no such container.

    Raises:
        ConfigError: The URL is none of Azure Storage.
        RefusedError: The identity may not read it; it needs the role Storage Blob Data Reader.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above
    from azure.storage.blob import BlobClient  # noqa: PLC0415  # as above

    from airflow_azureml.client.opened import opened_in_worker  # noqa: PLC0415  # that module imports this one

    place = StorageUrl.parse(url)
    container, _, path = place.path.partition("/")
    if not path:
        raise ConfigError(f"{url!r} names no blob")

    def _make(base: str, **options: Any) -> BlobClient:
        # Not by `from_blob_url`: that takes the slash from the end of a name.
        return BlobClient(base, container, path, **options)

    try:
        with opened_in_worker(settings, place.blob_base, _make, retries=_BLOB_RETRIES) as client:
            return _head(client, head_bytes)
    except AzureError as error:
        failure = service_error(f"Look at blob {url}", error, role=READS_BLOBS)
        if failure.status == _NOT_FOUND:
            return None
        raise failure from error


def _head(client: "BlobClient", head_bytes: int) -> BlobHead:
    from azure.core.exceptions import HttpResponseError  # noqa: PLC0415  # as above

    if head_bytes:
        try:
            content = client.download_blob(offset=0, length=head_bytes, max_concurrency=1)
        except HttpResponseError as error:
            if error.status_code != _NO_SUCH_RANGE:  # of an empty blob there is no first byte
                raise
        else:
            _, _, size = str(content.properties.content_range).rpartition("/")
            return BlobHead(etag=_bare(content.properties.etag), size_bytes=int(size), head=content.readall())
    found = client.get_blob_properties()
    return BlobHead(etag=_bare(found.etag), size_bytes=int(found.size))


def _through(proxies: Mapping[str, str] | None) -> dict[str, Any]:
    """Write the proxies as an argument of the SDK's; without one, the environment says."""
    return {"proxies": dict(proxies)} if proxies else {}


def storage_credential(url: str, credential: Any) -> Any:
    """Choose what proves who we are: the public key on this machine, the caller's token elsewhere.

    Raises:
        ConfigError: The host is none of Azure Storage, or there is no credential for it.
    """
    place = StorageUrl.parse(url)
    if not is_loopback(url):
        if credential is None:
            raise ConfigError(f"{place.base} needs a credential, and none was given.")
        return credential
    if place.account != DEVELOPMENT_ACCOUNT:
        raise ConfigError(
            f"{place.base}: the account on this machine must be {DEVELOPMENT_ACCOUNT}, which Azurite has."
        )
    return {"account_name": DEVELOPMENT_ACCOUNT, "account_key": DEVELOPMENT_KEY}


def storage_tokens(settings: "ConnectionSettings") -> "StorageTokens":
    """Make the tokens of a connection's identity for a client of azure-storage; close them after use.

    Raises:
        ConfigError: The connection's certificate or token file cannot be read.
    """
    from airflow_azureml.client.credentials import credential  # noqa: PLC0415  # as above
    from airflow_azureml.client.tokens import StorageTokens  # noqa: PLC0415  # as above

    return StorageTokens(lambda: credential(settings), roams=settings.authentication is Authentication.DEFAULT)


def async_storage_tokens(settings: "ConnectionSettings") -> "AsyncStorageTokens":
    """Make `storage_tokens` for an event loop."""
    from airflow_azureml.client.credentials import async_credential  # noqa: PLC0415  # as above
    from airflow_azureml.client.tokens import AsyncStorageTokens  # noqa: PLC0415  # as above

    return AsyncStorageTokens(
        lambda: async_credential(settings), roams=settings.authentication is Authentication.DEFAULT
    )


def service_error(doing: str, error: "AzureError", *, role: str = "") -> ServiceError:
    """Read an error by its status; the SDK's classes say something else (409 is "exists", 403 plain).

    Args:
        doing: What we were doing, as the start of a sentence.
        error: What the SDK raised.
        role: What the identity needs for it, which is said where storage answers that it may not.
    """
    status = int(getattr(error, "status_code", None) or 0)
    code = str(getattr(getattr(error, "error_code", None), "value", getattr(error, "error_code", None)) or "")
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    words = str(error.message or "").strip().splitlines()
    message = words[0][:300] if words else type(error).__name__
    if status == _FORBIDDEN and role:
        message += f" The connection's identity needs the role {role}, and the account's network must let it in."
    if not status:
        kind: type[ServiceError] = RefusedError if is_refusal(message) else UnavailableError
    else:
        kind = UnavailableError if status in _PASSING else RefusedError
    return kind(doing, status=status, code=code, message=message, request_id=str(headers.get("x-ms-request-id") or ""))


def _received(message: Any) -> Received:
    return Received(
        id=str(message.id),
        receipt=str(message.pop_receipt),
        deliveries=int(message.dequeue_count),
        text=str(message.content or ""),
    )


def _bare(etag: object) -> str:
    return str(etag).strip('"')

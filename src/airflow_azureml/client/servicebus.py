"""The only sockets to Azure Service Bus: one queue or subscription, or its dead letters, on an event loop."""

import asyncio
import contextlib
import importlib.util
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from airflow_azureml.client.tokens import AsyncTokens
from airflow_azureml.core.entra import is_refusal
from airflow_azureml.core.queues import BusUrl
from airflow_azureml.errors import AzureMLError, ConfigError, RefusedError, ServiceError, UnavailableError

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T")

#: The key of Microsoft's emulator, which is public: it opens nothing but an emulator on this machine.
#: Source: https://learn.microsoft.com/azure/service-bus-messaging/test-locally-with-service-bus-emulator.
DEVELOPMENT_KEY_NAME = "RootManageSharedAccessKey"
DEVELOPMENT_KEY = "SAS_KEY_VALUE"
#: Most messages that one receive takes.
PAGE = 32
#: Seconds for a call but a receive, whose own wait comes to it.
CALL_S = 30
#: What the library's errors are in HTTP's words; others are no answer. Source: azure-servicebus 7.15, ``exceptions``.
_STATUS: Mapping[str, int] = {
    "ServiceBusAuthenticationError": 401,
    "ServiceBusAuthorizationError": 403,
    "MessagingEntityNotFoundError": 404,
    "MessagingEntityDisabledError": 403,
    "ServiceBusQuotaExceededError": 403,
    "ServiceBusServerBusyError": 503,
}
_REFUSED = frozenset({401, 403, 404})
#: Azure's library writes a line at INFO for each state of each link.
logging.getLogger("azure.servicebus._pyamqp").setLevel(logging.WARNING)


def require() -> None:
    """Say what to install where Azure's library is missing.

    Raises:
        ConfigError: It is not installed here.
    """
    try:
        found = importlib.util.find_spec("azure.servicebus") is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise ConfigError(
            "A Service Bus needs the package azure-servicebus: install airflow-provider-azureml[servicebus] where the "
            "triggerer runs."
        )


class BusTokens(AsyncTokens):
    """`AsyncTokens` as the client of Service Bus asks for them."""

    async def get_token(self, *scopes: str, **options: Any) -> "AccessToken":
        """Give the remembered token, or a new one where it is due."""
        from azure.core.credentials import AccessToken  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

        given = await self.get_token_info(*scopes, options=options)
        return AccessToken(given.token, given.expires_on)


def bus_tokens(settings: "ConnectionSettings") -> BusTokens:
    """Make the tokens of a connection's identity for a Service Bus; close them after use.

    Raises:
        ConfigError: The connection's certificate or token file cannot be read.
    """
    from airflow_azureml.client.credentials import async_credential  # noqa: PLC0415  # as above

    return BusTokens(lambda: async_credential(settings))


@frozen(kw_only=True)
class Locked:
    """One delivery of a message, which is locked for us for a time.

    Attributes:
        id: Its sequence number, which the service gave it; what the sender called it is not used.
        deliveries: How often the message was delivered, this time included.
        text: Its body; bytes that are no UTF-8 are lone surrogates in it.
        seconds: How long the lock holds, from when this was received or renewed.
        reason: Of a dead letter: why it is one.
    """

    id: str
    deliveries: int
    text: str
    seconds: float
    reason: str = ""
    _message: "ServiceBusReceivedMessage" = field(repr=False, alias="message")
    _link: "ServiceBusReceiver" = field(repr=False, alias="link")


class BusQueue:
    """A queue or subscription of Service Bus; its calls wait for each other, as Azure's library wants it.

    Errors are `RefusedError` or `UnavailableError`, or what the credential raises.

    Args:
        url: ``sb://NAMESPACE.servicebus.windows.net/QUEUE`` or ``…/TOPIC/subscriptions/NAME``, or one on this machine.
        credential: Proves who we are; None on this machine. It stays the caller's to close.
        proxy: The address of the proxy through which it is reached, as AMQP over WebSockets; empty for none.
        dead: Whether its dead letters are meant.

    Raises:
        ConfigError: The URL is wrong, or needs a credential that is not there, or azure-servicebus is not installed.
    """

    def __init__(
        self, url: str, credential: "AsyncTokenCredential | BusTokens | None", *, proxy: str = "", dead: bool = False
    ) -> None:
        require()
        self.url = url
        self.place = BusUrl.parse(url)
        self._dead = dead
        self._client = connect(self.place, credential, proxy=proxy)
        self._receiver: ServiceBusReceiver | None = None
        self._turn = asyncio.Lock()

    async def receive(self, *, wait_s: float, at_most: int = PAGE) -> list[Locked]:
        """Lock what is there, and wait so long for the first message; an empty list when none comes."""

        async def _receive() -> list[Locked]:
            link = await self._opened()
            return [_locked(message, link) for message in await link.receive_messages(at_most, max_wait_time=wait_s)]

        return await self._call("Receive from", _receive, call_s=CALL_S + wait_s)

    async def peek(self, *, after: int = 0, at_most: int = PAGE) -> list[Locked]:
        """Look at messages and lock none: those with a sequence number above this one."""

        async def _peek() -> list[Locked]:
            link = await self._opened()
            seen = await link.peek_messages(at_most, sequence_number=after + 1, timeout=CALL_S)
            return [_locked(message, link) for message in seen]

        return await self._call("Look at", _peek)

    async def renew(self, message: Locked) -> Locked | None:
        """Lock a message anew, for as long as the queue's lock duration says; None when it is not ours any more."""

        async def _renew() -> Locked:
            until = await message._link.renew_message_lock(message._message, timeout=CALL_S)  # noqa: SLF001  # our own
            return evolve(message, seconds=until.timestamp() - time.time())

        return await self._unless_lost(f"Renew the lock of message {message.id} of", message, _renew)

    async def complete(self, message: Locked) -> bool:
        """Take a message out of the queue for good; False when it is not ours any more."""
        return await self._settle(message, "Complete", lambda link, own: link.complete_message(own))

    async def abandon(self, message: Locked) -> bool:
        """Let a message be delivered again, at once; False when it is not ours any more."""
        return await self._settle(message, "Abandon", lambda link, own: link.abandon_message(own))

    async def dead_letter(self, message: Locked, reason: str) -> bool:
        """Move a message to the queue's dead letters, with the reason; False when it is not ours any more."""
        words = f"Put aside at delivery {message.deliveries} by airflow-provider-azureml."
        return await self._settle(
            message,
            "Dead-letter",
            lambda link, own: link.dead_letter_message(own, reason=reason, error_description=words),
        )

    async def send(self, text: str) -> None:
        """Send a message to the queue, or to the topic, whose subscriptions all get it."""
        from azure.servicebus import ServiceBusMessage  # noqa: PLC0415  # as above

        async def _send() -> None:
            body = text.encode("utf-8", "surrogateescape")
            async with self._client.get_queue_sender(self.place.entity) as sender:
                await sender.send_messages(ServiceBusMessage(body, content_type="application/json"))

        await self._call("Send to", _send)

    async def close(self) -> None:
        """Close the connections."""
        async with self._turn:
            with contextlib.suppress(Exception):
                await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _opened(self) -> "ServiceBusReceiver":
        """Give the link, opened again where it broke: the library would take a receive's own short wait for that."""
        from azure.servicebus import ServiceBusSubQueue  # noqa: PLC0415  # as above

        if self._receiver is None:
            sub = ServiceBusSubQueue.DEAD_LETTER if self._dead else None
            entity, subscription = self.place.entity, self.place.subscription
            if subscription:
                self._receiver = self._client.get_subscription_receiver(entity, subscription, sub_queue=sub)
            else:
                self._receiver = self._client.get_queue_receiver(entity, sub_queue=sub)
        return await self._receiver.__aenter__()  # opens it; the client closes it

    async def _settle(
        self,
        message: Locked,
        verb: str,
        settle: "Callable[[ServiceBusReceiver, ServiceBusReceivedMessage], Awaitable[None]]",
    ) -> bool:
        async def _settled() -> bool:
            await settle(message._link, message._message)  # noqa: SLF001  # our own
            return True

        return bool(await self._unless_lost(f"{verb} message {message.id} of", message, _settled))

    async def _unless_lost(self, doing: str, message: Locked, call: Callable[[], Awaitable[T]]) -> T | None:
        """Do something with a message; None when it is not ours any more, or its link is gone, so that it will be."""
        from azure.servicebus.exceptions import (  # noqa: PLC0415  # as above
            MessageAlreadySettled,
            MessageLockLostError,
            MessageNotFoundError,
        )

        async def _or_none() -> T | None:
            if message._link is not self._receiver:  # noqa: SLF001  # our own
                return None
            try:
                return await call()
            except (MessageAlreadySettled, MessageLockLostError, MessageNotFoundError):
                return None

        return await self._call(doing, _or_none)

    async def _call(self, doing: str, call: Callable[[], Awaitable[T]], *, call_s: float = CALL_S) -> T:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above

        doing = f"{doing} {self._name}"
        failure: AzureMLError
        async with self._turn:
            try:
                async with asyncio.timeout(call_s):
                    return await call()
            except TimeoutError as error:
                failure = UnavailableError(doing, message=f"No answer within {call_s:.0f} s.")
                failure.__cause__ = error
            except AzureError as error:
                failure = _failure(doing, error)
                failure.__cause__ = error
            except (OSError, AttributeError, RuntimeError, TypeError, ValueError) as error:
                # What the library makes of a connection that is gone while it is used.
                failure = UnavailableError(doing, message=f"{type(error).__name__}: {error}")
                failure.__cause__ = error
            await self._hang_up()
        raise failure

    async def _hang_up(self) -> None:
        """Let go of a link that failed; what it holds is free when its locks run out."""
        link, self._receiver = self._receiver, None
        if link is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CALL_S):
                    await link.close()

    @property
    def _name(self) -> str:
        kind = f"subscription {self.place.subscription} of topic" if self.place.subscription else "queue"
        return f"{'the dead letters of ' if self._dead else ''}{kind} {self.place.entity}"


def connect(
    place: BusUrl, credential: "AsyncTokenCredential | BusTokens | None", *, proxy: str = ""
) -> "ServiceBusClient":
    """Make a client of Azure's; it connects when it is first asked for something.

    On this machine it speaks without TLS and, where no credential is given, with the emulator's public key.

    Raises:
        ConfigError: A namespace of the cloud needs a credential, and none was given.
    """
    from azure.core.credentials import AzureNamedKeyCredential  # noqa: PLC0415  # as above
    from azure.servicebus.aio import ServiceBusClient  # noqa: PLC0415  # as above

    # A second try would settle on a new link, where the number of the delivery may be another message's.
    more: dict[str, Any] = {"retry_total": 0}
    if place.is_local:
        proof: Any = credential or AzureNamedKeyCredential(DEVELOPMENT_KEY_NAME, DEVELOPMENT_KEY)
        return ServiceBusClient(place.host, proof, use_tls=False, **more)
    if credential is None:
        raise ConfigError(f"{place.host} needs a credential, and none was given.")
    if proxy:
        more["http_proxy"] = _proxy(proxy)
    return ServiceBusClient(place.host, credential, **more)


def _proxy(address: str) -> Mapping[str, Any]:
    parts = urlsplit(address)
    return {"proxy_hostname": parts.hostname, "proxy_port": parts.port or (443 if parts.scheme == "https" else 80)}


def _failure(doing: str, error: Exception) -> AzureMLError:
    """Read an error of the library's by what it means for who asks again."""
    from azure.servicebus import exceptions as theirs  # noqa: PLC0415  # as above

    inner = getattr(error, "inner_exception", None)
    if isinstance(inner, AzureMLError):
        return inner
    words = str(getattr(error, "message", "") or error).strip().splitlines()
    message = words[0][:300] if words else type(error).__name__
    code = type(error).__name__.removesuffix("Error")
    status = next((number for name, number in _STATUS.items() if isinstance(error, getattr(theirs, name))), 0)
    refused = status in _REFUSED or is_refusal(message)
    kind: type[ServiceError] = RefusedError if refused else UnavailableError
    return kind(doing, status=status, code=code, message=message)


def _locked(message: "ServiceBusReceivedMessage", link: "ServiceBusReceiver") -> Locked:
    until = message.locked_until_utc
    told = [each for each in (message.dead_letter_reason, message.dead_letter_error_description) if each]
    return Locked(
        id=str(message.sequence_number),
        deliveries=int(message.delivery_count or 0) + 1,
        text=_text(message),
        seconds=until.timestamp() - time.time() if until else 0.0,
        reason=": ".join(told),
        message=message,
        link=link,
    )


def _text(message: "ServiceBusReceivedMessage") -> str:
    """Read a body: bytes in data sections, as Event Grid sends it, or a text as AMQP's value; empty for others."""
    from azure.servicebus.amqp import AmqpMessageBodyType  # noqa: PLC0415  # as above

    body: Any = message.body
    if message.body_type == AmqpMessageBodyType.DATA:
        body = b"".join(body)
    if isinstance(body, bytes):
        return body.decode("utf-8-sig", "surrogateescape")
    return body if isinstance(body, str) else ""

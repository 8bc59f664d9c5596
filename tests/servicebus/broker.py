"""A stand-in for Azure Service Bus: enough AMQP 1.0 for Microsoft's own client to receive, settle, renew and send.

What it keeps to, and from where: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide
(peek-lock, outcomes, ``$cbs``), https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
(``$management``: renewing locks and peeking), and what azure-servicebus 7.15 sends. Anything else is refused by name.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from typing import Any, Self
from urllib.parse import urlsplit

from proton import (
    UNDESCRIBED,
    Array,
    Condition,
    Data,
    Delivery,
    Endpoint,
    Message,
    int32,
    symbol,
    timestamp,
)
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector

from tests.servicebus.entities import Entity, Stored
from tests.servicebus.proofs import AUDIENCE, audience_of, is_signed

DEAD = "/$deadletterqueue"
LOOK_S = 0.05


class ServiceBus(MessagingHandler):  # type: ignore[misc]  # proton is untyped in part
    """A namespace on a port of this machine; it runs in a thread of its own while it is entered.

    Attributes:
        audiences: The audience of each token that was put, in their order.
        open: Whether tokens are taken; when not, each is answered with 401.
        connections: How many connections were opened.
    """

    def __init__(self) -> None:
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.audiences: list[str] = []
        self.open = True
        self.connections = 0
        self._lock = threading.RLock()
        self._entities: dict[str, Entity] = {}
        self._topics: dict[str, list[str]] = {}
        self._port = _free_port()
        self._ready = threading.Event()
        self._events = EventInjector()
        self._container = Container(self)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None
        self._live: set[Any] = set()
        self._replies: dict[tuple[str, str], Any] = {}
        self._numbers = 0
        self._unknown: list[Any] = []
        self._stopping = False

    def queue(self, name: str, *, lock_s: float = 30, most_deliveries: int = 10) -> str:
        """Make a queue, and give its address."""
        return self._entity(name, name, lock_s, most_deliveries)

    def subscription(self, topic: str, name: str, *, lock_s: float = 30, most_deliveries: int = 10) -> str:
        """Make a subscription of a topic, and give its address."""
        place = f"{topic}/subscriptions/{name}"
        with self._lock:
            self._topics.setdefault(topic.lower(), []).append(place.lower())
        return self._entity(place, place, lock_s, most_deliveries)

    def send(self, name: str, *bodies: str | bytes) -> None:
        """Put messages into a queue or a topic, as Event Grid does: bytes in a data section."""
        for body in bodies:
            body_bytes = body.encode() if isinstance(body, str) else body
            self._take_in(name, Message(body=body_bytes, inferred=True, content_type="application/json"))

    def send_value(self, name: str, value: object) -> None:
        """Put a message into a queue whose body is a value of AMQP's types."""
        self._take_in(name, Message(body=value))

    def length(self, name: str) -> int:
        """Count the messages of a queue or subscription, locked ones included."""
        with self._lock:
            return len(self._entities[name.lower()].messages)

    def visible(self, name: str) -> int:
        """Count the messages that nobody holds."""
        with self._lock:
            return sum(stored.lock is None for stored in self._entities[name.lower()].messages.values())

    def renewals(self, name: str) -> int:
        """Count the renewed locks."""
        with self._lock:
            return self._entities[name.lower()].renewals

    def refused(self, name: str) -> list[dict[str, Any]]:
        """Show the dead letters: reason, description, body."""
        with self._lock:
            return [
                {
                    "reason": stored.message.properties.get("DeadLetterReason"),
                    "description": stored.message.properties.get("DeadLetterErrorDescription"),
                    "body": bytes(stored.message.body).decode(errors="replace"),
                }
                for stored in self._entities[name.lower() + DEAD].messages.values()
            ]

    def take_locks_away(self, name: str) -> None:
        """End every lock, as a service does that moves to another node."""
        with self._lock:
            entity = self._entities[name.lower()]
            for stored in list(entity.messages.values()):
                if stored.lock is not None:
                    entity.give_back(stored)
        self._wake("look")

    def hang_up(self) -> None:
        """Close every connection."""
        self._wake("hang_up")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._wake("stop")
        self._thread.join(10)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._container.timeout = LOOK_S
            self._container.start()
            while self._container.process() and not self._stopping:
                pass
        except BaseException as error:  # noqa: BLE001  # raised where the stand-in is left
            self._failure = error

    def _entity(self, name: str, place: str, lock_s: float, most_deliveries: int) -> str:
        with self._lock:
            dead = Entity(lock_s, 2**31)
            self._entities[name.lower()] = Entity(lock_s, most_deliveries, dead)
            self._entities[name.lower() + DEAD] = dead
        return f"sb://127.0.0.1:{self._port}/{place}"

    def _take_in(self, name: str, message: Message) -> None:
        with self._lock:
            for place in self._topics.get(name.lower(), [name.lower()]):
                self._entities[place].put(message)
        self._wake("look")

    def _wake(self, name: str) -> None:
        self._events.trigger(ApplicationEvent(name))

    # What proton calls, in the thread.

    def on_start(self, event: Any) -> None:
        event.container.listen(f"127.0.0.1:{self._port}")
        event.container.selectable(self._events)
        event.container.schedule(LOOK_S, self)
        self._ready.set()

    def on_timer_task(self, event: Any) -> None:
        self._look()
        unknown, self._unknown = self._unknown, []
        for link in unknown:
            link.close()
        event.container.schedule(LOOK_S, self)

    def on_look(self, _event: Any) -> None:
        self._look()

    def on_hang_up(self, _event: Any) -> None:
        for connection in {sender.connection for sender in self._live}:
            connection.condition = Condition("amqp:connection:forced", "The service hangs up.")
            connection.close()
        self._live.clear()

    def on_stop(self, _event: Any) -> None:
        self._stopping = True

    def on_connection_opened(self, _event: Any) -> None:
        self.connections += 1

    def on_link_opening(self, event: Any) -> None:
        link = event.link
        address = _path(link.remote_source.address if link.is_sender else link.remote_target.address)
        with self._lock:
            known = address == "$cbs" or address.removesuffix("/$management") in {*self._entities, *self._topics}
        if not known:
            link.condition = Condition("amqp:not-found", f"The messaging entity '{address}' could not be found.")
            self._unknown.append(link)  # it is closed a moment later: proton would not tell of both at once
            return
        link.source.address, link.target.address = link.remote_source.address, link.remote_target.address
        link.snd_settle_mode, link.rcv_settle_mode = link.remote_snd_settle_mode, link.remote_rcv_settle_mode
        if link.is_receiver:
            link.flow(100)
        elif address == "$cbs" or address.endswith("/$management"):
            self._replies[link.connection.remote_container, address] = link
        else:
            self._live.add(link)

    def on_sendable(self, event: Any) -> None:
        if event.link in self._live:
            self._look()

    def on_link_flow(self, event: Any) -> None:
        if event.link.is_sender and event.link.drain_mode:
            event.link.drained()

    def on_link_closing(self, event: Any) -> None:
        self._live.discard(event.link)

    def on_connection_closing(self, event: Any) -> None:
        self._forget(event.connection)

    def on_disconnected(self, event: Any) -> None:
        self._forget(event.connection)

    def on_message(self, event: Any) -> None:
        address = _path(event.link.remote_target.address)
        if address == "$cbs":
            self._reply(event, address, *self._token(event.message))
        elif address.endswith("/$management"):
            self._reply(event, address, *self._manage(address.removesuffix("/$management"), event.message))
        else:
            self._take_in(address, event.message)
        event.delivery.update(Delivery.ACCEPTED)
        event.delivery.settle()
        event.link.flow(1)

    def on_delivery(self, event: Any) -> None:
        delivery = event.delivery
        if not event.link.is_sender or not delivery.updated:
            return
        if event.link in self._live and delivery.remote_state:
            self._settle(_path(event.link.remote_source.address), delivery)
        if delivery.remote_state or delivery.settled:
            delivery.settle()

    # What it does.

    def _forget(self, connection: Any) -> None:
        self._live = {link for link in self._live if link.connection != connection}
        self._replies = {key: link for key, link in self._replies.items() if link.connection != connection}

    def _look(self) -> None:
        """Let go of what was held too long, and deliver to whoever has credit."""
        with self._lock:
            now = time.time()
            for entity in self._entities.values():
                entity.expire(now)
            for link in list(self._live):
                entity = self._entities[_path(link.remote_source.address)]
                while link.state & Endpoint.LOCAL_ACTIVE and link.credit > 0 and (stored := entity.take(now)):
                    self._deliver(link, stored)

    def _deliver(self, link: Any, stored: Stored) -> None:
        assert stored.lock is not None
        stored.message.delivery_count = stored.deliveries
        stored.message.annotations = {
            symbol("x-opt-sequence-number"): stored.sequence,
            symbol("x-opt-locked-until"): timestamp(int(stored.locked_until * 1000)),
            symbol("x-opt-enqueued-time"): timestamp(int(time.time() * 1000)),
        }
        link.delivery(stored.lock.bytes_le)
        link.stream(stored.message.encode())
        link.advance()

    def _settle(self, address: str, delivery: Any) -> None:
        with self._lock:
            entity = self._entities[address]
            stored = entity.holder(uuid.UUID(bytes_le=delivery.tag.encode()))
            if stored is None:
                delivery.local.condition = Condition("com.microsoft:message-lock-lost", "The lock supplied is invalid.")
                delivery.update(Delivery.REJECTED)
                return
            if delivery.remote_state == Delivery.ACCEPTED:
                del entity.messages[stored.sequence]
            elif delivery.remote_state == Delivery.REJECTED:
                told = {
                    str(name): text
                    for name, text in ((delivery.remote.condition and delivery.remote.condition.info) or {}).items()
                }
                entity.bury(stored, str(told.get("DeadLetterReason")), str(told.get("DeadLetterErrorDescription")))
            else:
                entity.give_back(stored, counted=delivery.remote_state == Delivery.MODIFIED)
            delivery.update(delivery.remote_state)
        self._wake("look")

    def _reply(self, event: Any, address: str, status: int, words: str, body: object) -> None:
        cbs = address == "$cbs"
        answer = Message(
            body=body,
            correlation_id=event.message.id,
            properties={
                "status-code" if cbs else "statusCode": int32(status),
                "status-description" if cbs else "statusDescription": words,
                **({} if status < 300 else {"errorCondition": symbol(f"com.microsoft:{words}")}),
            },
        )
        link = self._replies[event.connection.remote_container, address]
        self._numbers += 1
        link.delivery(str(self._numbers).encode())
        link.stream(answer.encode())
        link.advance()

    def _token(self, message: Message) -> tuple[int, str, object]:
        """Take a token; the client calls a signature a ``jwt``, too."""
        token = str(message.body)
        if not self.open:
            return 401, "unauthorized-access", None
        audience = AUDIENCE if is_signed(token) else audience_of(token)
        if audience.rstrip("/") != AUDIENCE:
            return 401, "unauthorized-access", None
        self.audiences.append(audience)
        return 202, "Accepted", None

    def _manage(self, address: str, message: Message) -> tuple[int, str, object]:
        operation = str(message.properties["operation"])
        with self._lock:
            entity = self._entities[address]
            match operation:
                case "com.microsoft:renew-lock":
                    return self._renew(entity, list(message.body["lock-tokens"].elements))
                case "com.microsoft:peek-message":
                    first, count = int(message.body["from-sequence-number"]), int(message.body["message-count"])
                    return _peek(entity, first, count)
                case "com.microsoft:update-disposition":
                    return self._dispose(entity, message.body)
                case _:
                    return 501, f"{operation} is not here", None

    def _renew(self, entity: Entity, locks: list[uuid.UUID]) -> tuple[int, str, object]:
        held = [entity.holder(lock) for lock in locks]
        if None in held:
            entity.refused_renewals += 1
            return 410, "message-lock-lost", None
        until = time.time() + entity.lock_s
        for stored in filter(None, held):
            stored.locked_until = until
            entity.renewals += 1
        times = [timestamp(int(until * 1000)) for _ in held]
        return 200, "OK", {"expirations": Array(UNDESCRIBED, Data.TIMESTAMP, *times)}

    def _dispose(self, entity: Entity, body: dict[str, Any]) -> tuple[int, str, object]:
        for lock in body["lock-tokens"].elements:
            stored = entity.holder(lock)
            if stored is None:
                return 410, "message-lock-lost", None
            match body["disposition-status"]:
                case "completed":
                    del entity.messages[stored.sequence]
                case "abandoned":
                    entity.give_back(stored)
                case "suspended":
                    entity.bury(stored, str(body["deadletter-reason"]), str(body["deadletter-description"]))
                case other:
                    return 501, f"{other} is not here", None
        return 200, "OK", None


def _peek(entity: Entity, first: int, count: int) -> tuple[int, str, object]:
    found = [stored for stored in entity.messages.values() if stored.sequence >= first][:count]
    for stored in found:
        stored.message.delivery_count = stored.deliveries
        stored.message.annotations = {symbol("x-opt-sequence-number"): stored.sequence}
    if not found:
        return 204, "No content", None
    return 200, "OK", {"messages": [{"message": stored.message.encode()} for stored in found]}


def _path(address: str) -> str:
    """Take the entity from ``amqps://HOST/ENTITY`` or ``ENTITY``; names are the same in any case."""
    return (urlsplit(address).path if "://" in address else address).strip("/").lower()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

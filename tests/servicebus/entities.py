"""The queues of the stand-in: peek-lock, delivery counts and dead letters."""

from __future__ import annotations

import secrets
import uuid

import attrs
from proton import Message


@attrs.define(eq=False)
class Stored:
    """One message, as it lies in an entity."""

    message: Message
    sequence: int
    deliveries: int = 0
    lock: uuid.UUID | None = None
    locked_until: float = 0.0


@attrs.define(eq=False)
class Entity:
    """A queue, a subscription, or the dead letters of one.

    Attributes:
        renewals: How often a lock was renewed.
        refused_renewals: How often that was too late.
    """

    lock_s: float
    most_deliveries: int
    dead: Entity | None = None
    messages: dict[int, Stored] = attrs.field(factory=dict)
    next_sequence: int = 1
    renewals: int = 0
    refused_renewals: int = 0

    def put(self, message: Message) -> None:
        """Take a message in."""
        self.messages[self.next_sequence] = Stored(message, self.next_sequence)
        self.next_sequence += 1

    def take(self, now: float) -> Stored | None:
        """Lock the first message that nobody holds."""
        for stored in self.messages.values():
            if stored.lock is None:
                stored.lock, stored.locked_until = _new_lock(), now + self.lock_s
                return stored
        return None

    def holder(self, lock: uuid.UUID) -> Stored | None:
        """Find the message that a lock holds; None when the lock is lost."""
        return next((stored for stored in self.messages.values() if stored.lock == lock), None)

    def give_back(self, stored: Stored, *, counted: bool = True) -> None:
        """Let others have a message; one that was delivered too often goes to the dead letters."""
        stored.lock = None
        stored.deliveries += counted
        if self.dead is not None and stored.deliveries >= self.most_deliveries:
            self.bury(stored, "MaxDeliveryCountExceeded", f"Message could not be consumed after {stored.deliveries}.")

    def bury(self, stored: Stored, reason: str, description: str) -> None:
        """Move a message to the dead letters."""
        del self.messages[stored.sequence]
        if self.dead is None:
            return
        told = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        stored.message.properties = {**(stored.message.properties or {}), **told}
        self.dead.put(stored.message)

    def expire(self, now: float) -> None:
        """Let go of what was held too long."""
        for stored in list(self.messages.values()):
            if stored.lock is not None and stored.locked_until <= now:
                self.give_back(stored)


def _new_lock() -> uuid.UUID:
    """Make a lock whose bytes are text: proton shows a delivery's tag as such."""
    return uuid.UUID(bytes_le=secrets.token_hex(8).encode())

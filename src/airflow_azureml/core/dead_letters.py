"""Messages that were put aside: what they were, and why."""

import json
from collections.abc import Mapping
from typing import Any, Self

from attrs import frozen

#: What the queue for refused messages is called: the queue's name and this.
POISON = "-poison"


@frozen(kw_only=True)
class DeadLetter:
    """A message as it lies in the queue of the refused.

    Attributes:
        message_id: What the queue it came from called it; empty where it was put aside without its reason.
        reason: Why it was refused; empty likewise.
        deliveries: How often it was delivered there; 0 where that is not known.
        content: Its text, as it came.
    """

    message_id: str
    reason: str
    deliveries: int
    content: str

    def to_text(self) -> str:
        """Write it as a queue's message."""
        return json.dumps(
            {
                "reason": self.reason,
                "message_id": self.message_id,
                "dequeued": self.deliveries,
                "content": self.content,
            }
        )

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read a queue's message; whatever is no envelope of ours is a content without a reason."""
        try:
            body: Any = json.loads(text)
        except (ValueError, RecursionError):
            body = None
        if (
            isinstance(body, Mapping)
            and set(body) == {"reason", "message_id", "dequeued", "content"}
            and isinstance(body["content"], str)
            and isinstance(body["dequeued"], int)
        ):
            return cls(
                message_id=str(body["message_id"]),
                reason=str(body["reason"]),
                deliveries=body["dequeued"],
                content=body["content"],
            )
        return cls(message_id="", reason="", deliveries=0, content=text)

"""Messages that were put aside: what they were, and why."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Self

from attrs import frozen

#: What the queue for refused messages is called: the queue's name and this.
POISON = "-poison"
#: Most characters of a reason; it may quote what the message says.
LONGEST_REASON = 500
#: What opens something to whoever reads it: the signature of a SAS token, the keys of connection strings, passwords in
#: addresses.
_SECRET = re.compile(
    r"(?P<name>(?<![a-z])(?:sig|signature|sharedaccesssignature|sharedaccesskey|accountkey))(?P<is>\s*(?:=|%3d|\\u003d)\s*)"
    r"(?P<secret>[^&;\s\"'<>\\,]+)",
    re.IGNORECASE,
)

_WORDS = ("sig", "accesskey", "accountkey", "@")
_PASSWORD = re.compile(r"(?P<before>://[^/\s:@\"']*:)[^@\s/\"']+(?=@)")


def without_secrets(text: str) -> str:
    """Leave out of a text signatures of SAS tokens, keys and passwords, also where it is base64."""
    plain = _cleared(text)
    if plain != text or text.lstrip().startswith(("{", "[")):
        return plain
    try:
        inner = base64.b64decode(text.strip(), validate=True).decode()
    except (ValueError, binascii.Error):
        return plain
    cleared = _cleared(inner)
    return cleared if cleared != inner else text


def _cleared(text: str) -> str:
    lower = text.lower()
    # Looked for first: the expression takes twenty times as long, and few messages have anything to leave out.
    if not any(word in lower for word in _WORDS):
        return text
    return _PASSWORD.sub(r"\g<before>***", _SECRET.sub(r"\g<name>\g<is>***", text))


def reason_of(words: str) -> str:
    """Write why a message was refused: one line, without secrets, at most `LONGEST_REASON` characters."""
    line = " ".join(without_secrets(words).split()).encode("utf-8", "replace").decode()
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"


@frozen(kw_only=True)
class DeadLetter:
    """A message as it lies in the queue of the refused.

    Attributes:
        message_id: What the queue it came from called it; empty where it was put aside without its reason.
        reason: Why it was refused; empty likewise.
        deliveries: How often it was delivered there; 0 where that is not known.
        content: Its text as it came, but for what `without_secrets` left out.
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

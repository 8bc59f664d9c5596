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
#: They may be percent-encoded, several times even, written with the escapes of JSON, or as its fields; what stands
#: before a name may be the end of such an escape of a question mark.
_SECRET = re.compile(
    r"(?P<name>(?:(?<![a-z])|(?<=3f))(?:sig|signature|sharedaccesssignature|sharedaccesskey|accountkey))"
    r"(?P<is>\s*(?:=|%(?:25)*3d|\\u003d|\\*[\"']\s*:\s*\\*[\"'])\s*)"
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
    line = printable(without_secrets(words))
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1]}…"


def printable(text: str) -> str:
    """Write a text as one line that tells a terminal nothing: neither what moves it, nor what cannot be written."""
    line = " ".join(text.split()).encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in line)


@frozen(kw_only=True)
class DeadLetter:
    """A message as it lies in the queue of the refused.

    Attributes:
        message_id: What the queue it came from called it; where it was put aside without its reason, what the queue
            of the refused calls it.
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
    def of_text(cls, text: str, message_id: str = "") -> Self:
        """Read a queue's message; whatever is no envelope of ours is a content without a reason.

        Args:
            text: Its text.
            message_id: What the queue it lies in calls it.
        """
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
                message_id=str(body["message_id"]) or message_id,
                reason=str(body["reason"]),
                deliveries=body["dequeued"],
                content=body["content"],
            )
        return cls(message_id=message_id, reason="", deliveries=0, content=text)

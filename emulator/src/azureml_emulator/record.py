"""What the pages show that no store keeps: which queues were told of which events, and what was answered with 501.

It begins with the process, and is bounded: of events the newest are kept, of what is not covered the first kinds.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from starlette.types import Message, Scope, Send

from azureml_emulator.names import PROVIDER
from azureml_emulator.store import now

#: So many events are kept, the newest.
MOST_EVENTS = 500
#: So many different requests that are not covered are kept; those that come later are counted as one.
MOST_UNCOVERED = 500
#: What requests are counted as, once there are too many kinds.
OTHERS = "(others)"
_NOT_IMPLEMENTED = 501
_LONGEST = 300
_WORKSPACE = re.compile(
    rf"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{re.escape(PROVIDER)}/(workspaces|registries)/[^/]+",
    re.IGNORECASE,
)
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Told:
    """One event that a queue was told of.

    Attributes:
        at: When, by the emulator's clock, as the store says moments.
        kind: The event's type.
        says: What it says besides, in a word: a job's status, a blob's size; empty for nothing.
        arrived: Whether the queue took it.
    """

    at: str
    queue: str
    kind: str
    subject: str
    id: str
    says: str
    arrived: bool


@attrs.frozen(kw_only=True)
class Uncovered:
    """One kind of request that the emulator does not cover.

    Attributes:
        route: Its path, with ``{workspace}`` and ``{name}`` for what differs.
        what: What of it is not covered, where the route itself is; else empty.
        latest: The path of the last one.
        at: When that was.
    """

    method: str
    route: str
    what: str
    count: int
    latest: str
    at: str


class Record:
    """The events and the requests since the process began."""

    def __init__(self) -> None:
        self.since = now()
        self._events: deque[Told] = deque(maxlen=MOST_EVENTS)
        self._uncovered: dict[tuple[str, str, str], Uncovered] = {}

    # events

    def told(self, queue: str, event: Mapping[str, Any], *, arrived: bool) -> None:
        """Keep that a queue was told of an event, or could not be."""
        kind, subject, known = (str(event.get(member, "")) for member in ("eventType", "subject", "id"))
        told = Told(at=now(), queue=queue, kind=kind, subject=subject, id=known, says=_says(event), arrived=arrived)
        self._events.append(told)

    @property
    def events(self) -> Sequence[Told]:
        """Those that are kept, newest first."""
        return tuple(reversed(self._events))

    # what is not covered

    def watching(self, scope: Scope, send: Send) -> Send:
        """Count a request when its answer is 501.

        Args:
            scope: The request, with the path that the client sent.
            send: Where its answer goes, unchanged.
        """
        method, path = scope["method"], scope["path"]
        refused = False

        async def sending(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = message["status"] == _NOT_IMPLEMENTED
            elif refused:
                refused = False
                self.refuse(method, path, message_of(message.get("body", b"")))
            await send(message)

        return sending

    def refuse(self, method: str, path: str, message: str = "") -> None:
        """Count a request that was answered with 501, and in which words."""
        what = message.partition("is not emulated")[2].strip(":. ") if "is not emulated" in message else message
        key = (method, route_of(path)[:_LONGEST], what[:_LONGEST])
        if key not in self._uncovered and len(self._uncovered) >= MOST_UNCOVERED:
            key = ("", OTHERS, "")
        before = self._uncovered[key].count if key in self._uncovered else 0
        self._uncovered[key] = Uncovered(
            method=key[0], route=key[1], what=key[2], count=before + 1, latest=path[:_LONGEST], at=now()
        )

    @property
    def uncovered(self) -> Sequence[Uncovered]:
        """What was answered with 501, the most frequent first."""
        return sorted(self._uncovered.values(), key=lambda one: (-one.count, one.route, one.method))

    @property
    def refused(self) -> int:
        """How many requests that were."""
        return sum(one.count for one in self._uncovered.values())


def _says(event: Mapping[str, Any]) -> str:
    data = event.get("data")
    if not isinstance(data, Mapping):
        return ""
    size = data.get("contentLength")
    return str(data.get("runStatus") or data.get("ModelIds") or (f"{size} bytes" if size is not None else ""))


def route_of(path: str) -> str:
    """Write a path so that requests of one kind have one: the names in it as ``{name}``.

    After a workspace or a registry, Azure's paths go kind, name, kind, name.
    """
    found = _WORKSPACE.search(path)
    if found is None:
        return _GUID.sub("{guid}", path)
    parts = path[found.end() :].split("/")
    shown = [part if place % 2 or not part else "{name}" for place, part in enumerate(parts)]
    home = "{workspace}" if found[1].lower() == "workspaces" else "{registry}"
    return f"{_GUID.sub('{guid}', path[: found.start()])}{home}{'/'.join(shown)}"


def message_of(body: bytes) -> str:
    """Read the message of an error; empty where there is none."""
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    error = said.get("error") if isinstance(said, dict) else None
    found = error if isinstance(error, dict) else said if isinstance(said, dict) else {}
    return str(found.get("message") or "")

"""The long-running operations of online endpoints, with what came of them; kept, so that they outlive a restart."""

from __future__ import annotations

from typing import Any

from azureml_emulator.store import Store, now

Json = dict[str, Any]

#: How the names of operations begin that are kept here: those of endpoints, and those of deployments. Recorded.
ENDPOINT, DEPLOYMENT = "oe", "od"
KINDS = frozenset({ENDPOINT, DEPLOYMENT})


def name_of(url: str) -> str:
    """Read an operation's name from the address of its status."""
    return url.partition("/mfeOperationsStatus/")[2].partition("?")[0]


def _id(name: str) -> str:
    return f"/online-operations/{name}"


def begin(store: Store, url: str) -> str:
    """Keep a new operation, and return its name."""
    name = name_of(url)
    store.put(_id(name), {"name": name, "status": "Updating", "startTime": now(), "percentComplete": 0.0})
    return name


def end(store: Store, name: str, *, status: str = "Succeeded", error: Json | None = None) -> None:
    """Say what came of an operation: Succeeded, Failed or Canceled, and of the latter two why.

    Args:
        store: Where it is kept.
        name: The operation's.
        status: What came of it.
        error: ``code`` and ``message``.
    """
    found = find(store, name) or {"name": name}
    if found.get("endTime"):
        return
    ended = {"status": status, "endTime": now(), "percentComplete": 100.0}
    more = {"error": {**error, "details": [], "additionalInfo": []}} if error else {}
    store.put(_id(name), found | ended | more)


def find(store: Store, name: str) -> Json | None:
    """Find an operation."""
    return store.get(_id(name))

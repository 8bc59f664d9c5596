"""What the members of a fault must be; each reader is given the member's name and what was said for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from azureml_emulator.scripts import ScriptError, seconds

_MOST = 1_000_000_000


class FaultError(ValueError):
    """A fault is wrong; the message is one sentence that says which and what."""


def read_members(said: Any, readers: Mapping[str, Callable[[str, Any], Any]], kinds: Collection[str]) -> dict[str, Any]:
    """Read an object's members; exactly one of them is one of the kinds.

    Raises:
        FaultError: A member is unknown or wrong.
    """
    if not isinstance(said, dict):
        raise FaultError(f"{short(said)} is no object.")
    if unknown := sorted(said.keys() - readers.keys()):
        raise FaultError(f"{', '.join(unknown)}: unknown; the members are {', '.join(sorted(readers))}.")
    found = [kind for kind in kinds if kind in said]
    if len(found) != 1:
        raise FaultError(f"it has {' and '.join(found) or 'no effect'}; give exactly one of {', '.join(kinds)}.")
    return {name: readers[name](name, value) for name, value in said.items()}


def whole(least: int, most: int) -> Callable[[str, Any], int]:
    """Make the reader of a whole number within bounds."""

    def read(name: str, said: Any) -> int:
        if isinstance(said, bool) or not isinstance(said, int) or not least <= said <= most:
            raise FaultError(f"{name} is {short(said)}; give a whole number of {least} to {most}.")
        return said

    return read


#: Reads which of those that match are struck: each, or each nth.
every = whole(1, _MOST)


def count(name: str, said: Any) -> int | None:
    """Read how often a fault strikes at most; None for ever."""
    return None if said is None else whole(1, _MOST)(name, said)


def pattern(name: str, said: Any) -> str:
    """Read a regular expression."""
    try:
        return re.compile(text(name, said)).pattern
    except re.error as error:
        raise FaultError(f"{name} {short(said)} is no regular expression: {error}.") from error


def text(name: str, said: Any) -> str:
    """Read a text that is not empty."""
    if not isinstance(said, str) or not said:
        raise FaultError(f"{name} is {short(said)}; give a text.")
    return said


def duration(name: str, said: Any) -> float:
    """Read a number of seconds."""
    try:
        return seconds(said, name)
    except ScriptError as error:
        raise FaultError(str(error)) from error


def true(name: str, said: Any) -> bool:
    """Read a switch, which is true where it is said at all."""
    if said is not True:
        raise FaultError(f"{name} is {short(said)}; give true, or leave it out.")
    return True


def short(said: Any, most: int = 80) -> str:
    """Show what was said, cut."""
    shown = json.dumps(said)
    return shown if len(shown) <= most else f"{shown[:most]}…"

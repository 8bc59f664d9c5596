"""Members of a YAML file, each read as what it has to be; all faults are told at once, with line and column."""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow_azureml.core.marked import Mark, Marked, Path
from airflow_azureml.errors import ConfigError

_DURATION = re.compile(r"([0-9]{1,6})\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class ContradictionError(ConfigError):
    """A value does not go with the others: mend the member, or them.

    Args:
        member: The member.
        fault: One sentence.
    """

    def __init__(self, member: str, fault: str) -> None:
        super().__init__(f"{member}: {fault}")
        self.member = member
        self.fault = fault


class Members:
    """What a text says, member by member. What is absent or wrong is None; what is wrong is kept as a fault.

    Args:
        marked: The text.
    """

    def __init__(self, marked: Marked) -> None:
        self._faults: list[tuple[Mark, str]] = []
        self._marked = marked

    def raise_faults(self) -> None:
        """Complain of all that was wrong, from the first line to the last.

        Raises:
            ConfigError: Something was.
        """
        if self._faults:
            raise ConfigError("\n".join(told for _, told in sorted(self._faults)))

    def fault(self, path: Path, fault: str, *, key: bool = False) -> None:
        """Keep a fault of the value at a path, or of its key."""
        self._faults.append((self._marked.where(path, key=key), self._marked.told(path, fault, key=key)))

    @contextmanager
    def contradictions(self, path: Path) -> Iterator[None]:
        """Keep the contradiction in what is made within as a fault of its member."""
        try:
            yield
        except ContradictionError as error:
            self.fault((*path, error.member), error.fault)

    def mapping(self, path: Path, known: Collection[str] = ()) -> Mapping[str, Any]:
        """Read a mapping; where its members are known, others are faults."""
        value = self._at(path)
        if not isinstance(value, dict):
            if value is not None or not path:
                self._wrong(path, "a mapping")
            return {}
        for name in value:
            if known and name not in known:
                self.fault((*path, name), f"{name!r} is not known here; known: {', '.join(known)}.", key=True)
            elif known and value[name] is None:
                self.fault((*path, name), f"{name} has no value.", key=True)
        return value

    def text(self, path: Path) -> str | None:
        """Read a text that is not empty."""
        found: str | None = self._read(path, lambda value: isinstance(value, str) and value != "", "a text")
        return found

    def choice(self, path: Path, words: Collection[str]) -> str | None:
        """Read one of some words."""
        wanted = f"one of {', '.join(words)}"
        found: str | None = self._read(path, lambda value: isinstance(value, str) and value in words, wanted)
        return found

    def boolean(self, path: Path) -> bool | None:
        """Read true or false."""
        found: bool | None = self._read(path, lambda value: isinstance(value, bool), "true or false")
        return found

    def integer(self, path: Path, *, at_least: int) -> int | None:
        """Read a whole number."""
        found: int | None = self._read(
            path,
            lambda value: is_number(value) and isinstance(value, int) and value >= at_least,
            f"a whole number of at least {at_least}",
        )
        return found

    def number(self, path: Path, *, at_least: float = -math.inf, at_most: float = math.inf) -> float | None:
        """Read a finite number."""
        bounds = [f"of at least {at_least:g}"] * (at_least > -math.inf) + [f"at most {at_most:g}"] * (
            at_most < math.inf
        )
        found: float | None = self._read(
            path,
            lambda value: is_number(value) and at_least <= value <= at_most,
            " ".join(["a number", " and ".join(bounds)]).strip(),
        )
        return found

    def duration(self, path: Path) -> timedelta | None:
        """Read a time span such as ``26h``."""
        found: str | None = self._read(
            path,
            lambda value: isinstance(value, str) and _DURATION.fullmatch(value) is not None,
            "a time span such as 90s, 30m, 26h or 7d",
        )
        parts = _DURATION.fullmatch(found or "")
        return timedelta(**{_UNITS[parts[2]]: int(parts[1])}) if parts else None

    def scalar(self, path: Path) -> str | float | bool | None:
        """Read a text, a finite number, or true or false."""
        found: str | float | bool | None = self._read(
            path, lambda value: isinstance(value, (bool, str)) or is_number(value), "a text or a finite number"
        )
        return found

    def several(self, path: Path) -> tuple[Path, ...]:
        """Name the paths of a list's entries."""
        value = self._at(path)
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            self._wrong(path, "a list of one entry or more")
            return ()
        return tuple((*path, index) for index in range(len(value)))

    def texts(self, path: Path) -> tuple[str, ...]:
        """Read a list of texts."""
        found = []
        for each in self.several(path):
            text = self.text(each)
            if text is not None:
                found.append(text)
            elif self._at(each) is None:
                self._wrong(each, "a text")
        return tuple(found)

    def _read(self, path: Path, holds: Callable[[Any], bool], wanted: str) -> Any:
        value = self._at(path)
        if value is None or holds(value):
            return value
        self._wrong(path, wanted)
        return None

    def _at(self, path: Path) -> Any:
        value = self._marked.value
        for step in path:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int):
                value = value[step]
            else:
                return None
        return value

    def _wrong(self, path: Path, wanted: str) -> None:
        what = f"{path[-1]} must be" if path and isinstance(path[-1], str) else "This must be"
        self.fault(path, f"{what} {wanted}, and is {self._at(path)!r:.60}.")


def is_number(value: object) -> bool:
    """Tell whether this is a finite number, and not true or false."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    return isinstance(value, float) and math.isfinite(value)

"""YAML and JSON texts, read as plain values that know where they stand: errors can name the line and the column.

What is read is YAML 1.2's core schema, whatever YAML 1.1 makes of it: ``1e-3`` is a number, ``yes`` and ``2026-11-21``
are texts. Keys are texts and stand once in a mapping. Anchors, aliases and tags are refused: who writes a policy says
each thing where it counts, and whoever reads it is not made to build what no one wrote.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.errors import ConfigError

#: Where a value is: the keys and the indices on the way to it.
Path = tuple[str | int, ...]
#: Line and column, both counted from 1.
Mark = tuple[int, int]

#: How deep mappings and lists may be in one another.
DEEPEST = 50
#: Source: https://yaml.org/spec/1.2.2/#1032-tag-resolution
_CORE_SCHEMA: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"~|null|Null|NULL|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)


@frozen(kw_only=True)
class Marked:
    """A text that was read, and where in it everything stands.

    Attributes:
        name: What the text is called in errors: its file.
        value: What it says: mappings with texts as keys, lists, texts, numbers, booleans and None.
        marks: Where each value begins.
        keys: Where the key of each member of a mapping begins, by the path of its value.
    """

    name: str
    value: Any
    marks: Mapping[Path, Mark] = field(factory=dict, repr=False)
    keys: Mapping[Path, Mark] = field(factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str, *, name: str) -> Self:
        """Read YAML or JSON.

        Args:
            text: The text.
            name: What to call it in errors, such as its file's name.

        Raises:
            ConfigError: It is no YAML, or uses what is refused; the message names line and column.
        """
        try:
            import yaml  # noqa: PLC0415  # parsing a DAG must not need it
        except ImportError as error:
            raise ConfigError(f"Reading {name} needs PyYAML: install airflow-provider-azureml[quality].") from error
        try:
            reading = _Reading(name=name, events=yaml.parse(text, Loader=yaml.SafeLoader))
            value = reading.document()
        except yaml.MarkedYAMLError as error:
            at = error.problem_mark or error.context_mark
            said = ", ".join(part for part in (error.context, error.problem) if part)
            raise _fault(name, (at.line + 1, at.column + 1) if at else (1, 1), f"This is no YAML: {said}.") from error
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            mark = before.count("\n") + 1, len(before) - before.rfind("\n")
            raise _fault(name, mark, f"This is no YAML: {error.reason}.") from error
        return cls(name=name, value=value, marks=reading.marks, keys=reading.keys)

    def where(self, path: Path, *, key: bool = False) -> Mark:
        """Say where a value stands, or its key; of what is not there: where the nearest thing around it stands."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (1, 1))

    def told(self, path: Path, fault: str, *, key: bool = False) -> str:
        """Write a fault with the place of the value, or of its key: ``gate.yaml, line 3, column 5: ...``."""
        return _told(self.name, self.where(path, key=key), fault)


def _told(name: str, mark: Mark, fault: str) -> str:
    return f"{name}, line {mark[0]}, column {mark[1]}: {fault}"


def _fault(name: str, mark: Mark, fault: str) -> ConfigError:
    return ConfigError(_told(name, mark, fault))


class _Reading:
    """One reading of one text, from PyYAML's events."""

    def __init__(self, *, name: str, events: Iterator[Any]) -> None:
        self.name = name
        self.marks: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}
        self._events = events

    def document(self) -> Any:
        """Read the only document."""
        value = None
        event = self._next()
        while type(event).__name__ != "StreamEndEvent":
            if type(event).__name__ == "DocumentStartEvent":
                if self.marks:
                    raise _fault(self.name, _mark(event), "A second document begins here; one is read.")
                value = self._value(self._next(), ())
            event = self._next()
        return value

    def _next(self) -> Any:
        return next(self._events)

    def _value(self, event: Any, path: Path) -> Any:
        self._refuse(event, path)
        self.marks[path] = _mark(event)
        match type(event).__name__:
            case "MappingStartEvent":
                return self._mapping(path)
            case "SequenceStartEvent":
                return self._sequence(path)
            case _:
                return self._scalar(event)

    def _refuse(self, event: Any, path: Path) -> None:
        if type(event).__name__ == "AliasEvent":
            raise _fault(self.name, _mark(event), f"*{event.anchor} is an alias; write out what it stands for.")
        if event.anchor:
            raise _fault(self.name, _mark(event), f"&{event.anchor} is an anchor; those are not read.")
        if event.tag:
            raise _fault(self.name, _mark(event), f"{event.tag} is a tag; those are not read.")
        if len(path) > DEEPEST:
            raise _fault(self.name, _mark(event), f"This lies more than {DEEPEST} levels deep.")

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while type(event := self._next()).__name__ != "MappingEndEvent":
            key = self._key(event, path)
            if key in found:
                first = self.keys[*path, key][0]
                raise _fault(self.name, _mark(event), f"{key!r} stands here twice; line {first} has it, too.")
            self.keys[*path, key] = _mark(event)
            found[key] = self._value(self._next(), (*path, key))
        return found

    def _sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while type(event := self._next()).__name__ != "SequenceEndEvent":
            found.append(self._value(event, (*path, len(found))))
        return found

    def _key(self, event: Any, path: Path) -> str:
        self._refuse(event, path)
        if type(event).__name__ != "ScalarEvent":
            raise _fault(self.name, _mark(event), "A key must be a text.")
        key = self._scalar(event)
        if not isinstance(key, str):
            raise _fault(self.name, _mark(event), f"{event.value!r} is a key, and no text: put it in quotes.")
        return key

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.style is not None:
            # JSON escapes a character beyond the first 65,536 in two halves, and YAML leaves them apart.
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        try:
            return _resolved(text)
        except ValueError as error:
            raise _fault(self.name, _mark(event), f"The number has {len(text)} digits, which are too many.") from error


def _mark(event: Any) -> Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _resolved(text: str) -> Any:
    """Read a plain scalar; what is nothing else is a text."""
    for pattern, read in _CORE_SCHEMA:
        if pattern.fullmatch(text):
            return read(text)
    return text

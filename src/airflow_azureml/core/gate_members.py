"""Members of a gate's rules: they are taken as they come, so that all that is wrong with a policy is told at once."""

import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Self

from attrs import Attribute, Factory, evolve, fields, frozen, has

from airflow_azureml.core.marked import Path


@frozen
class Fault:
    """Something that is wrong with a policy.

    Attributes:
        path: Where it stands; empty for the whole.
        message: What is wrong, and what would be right; without a full stop.
        is_key: Whether the member's name is wrong, not its value.
    """

    path: Path
    message: str
    is_key: bool = False

    def below(self, *above: str | int) -> Self:
        """Say it of what this is a part of."""
        return evolve(self, path=(*above, *self.path))


def number(said: Any) -> Any:
    """Make a whole number a number; what is none stays, so that the policy's faults can name it."""
    if isinstance(said, bool) or not isinstance(said, int):
        return said
    try:
        return float(said)
    except OverflowError:
        return math.inf


def whole(said: Any) -> Any:
    """Make ``30.0`` a whole number, as JSON Schema does; what is none stays."""
    return int(said) if isinstance(said, float) and said.is_integer() else said


def worded(kind: type[StrEnum], said: Any) -> Any:
    """Make a text a word of a kind; what is none stays, so that the policy's faults can name it."""
    return kind(said) if isinstance(said, str) and said in set(kind) else said


def some_names(said: Any) -> Any:
    """Take a list of names, or a single one."""
    return (said,) if isinstance(said, str) else tuple(said)


def is_text(value: object) -> bool:
    """Whether it is a text with anything in it."""
    return isinstance(value, str) and bool(value.strip())


def is_number(value: object) -> bool:
    """Whether a bound is one."""
    return isinstance(value, float) and math.isfinite(value)


def wrong_numbers(rule: Any, *names: str, negative: bool = True) -> Iterator[Fault]:
    """Name the members that are given, and are no finite numbers, or negative where they may not be."""
    for name in names:
        value = getattr(rule, name)
        if value is None:
            continue
        if not is_number(value):
            yield Fault((name,), f"{name} is {value!r:.40}; it must be a finite number")
        elif value < 0 and not negative:
            yield Fault((name,), f"{name} is {value:g}; it must not be negative")


def wrong_words(rule: Any, kind: type[StrEnum], *names: str) -> Iterator[Fault]:
    """Name the members whose word is none of a kind."""
    for name in names:
        value = getattr(rule, name)
        if not isinstance(value, kind):
            yield Fault((name,), f"{name} is {value!r:.40}; it must be {' or '.join(kind)}")


def wrong_counts(rule: Any, **bounds: tuple[int, int | None]) -> Iterator[Fault]:
    """Name the members that are no whole numbers within their bounds."""
    for name, (least, most) in bounds.items():
        value = getattr(rule, name)
        is_count = isinstance(value, int) and not isinstance(value, bool)
        if not is_count or value < least or (most is not None and value > most):
            within = f"from {least} to {most}" if most is not None else f"of at least {least}"
            yield Fault((name,), f"{name} is {value!r:.40}; it must be a whole number {within}")


def wrong_texts(rule: Any, *names: str) -> Iterator[Fault]:
    """Name the members that are empty, or no texts."""
    for name in names:
        value = getattr(rule, name)
        if not is_text(value):
            yield Fault((name,), f"{name} is {value!r:.40}; it must be a text, and not empty")


def sparse(rule: Any) -> dict[str, Any]:
    """Write a value as JSON can hold it; what is as the default has it is left out."""
    told = {one.name: getattr(rule, one.name) for one in fields(type(rule)) if getattr(rule, one.name) != _default(one)}
    return {name: _plain(value) for name, value in told.items()}


def _default(one: "Attribute[Any]") -> Any:
    default: Any = one.default
    return default.factory() if isinstance(default, Factory) else default  # type: ignore[arg-type]  # it is a class


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return sparse(value) if has(type(value)) else value

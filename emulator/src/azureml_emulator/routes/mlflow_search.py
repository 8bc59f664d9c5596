"""The search language of MLflow's runs and models, as far as the client's own examples go.

Source: https://mlflow.org/docs/latest/search-runs.html. Comparisons joined by AND; an unknown word is an error. What is
searched has the shape of a run: its attributes in ``info``; metrics, parameters and tags in ``data``.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from azureml_emulator.errors import Json

_TERM = re.compile(
    r"""\s*(?:(?P<kind>\w+)\.)?(?P<key>`[^`]+`|"[^"]+"|[\w./-]+)\s*"""
    r"""(?P<operator><=|>=|!=|=|<|>|\bI?LIKE\b|\bIN\b)\s*(?P<value>'[^']*'|"[^"]*"|\([^()]*\)|[-+.\w]+)\s*""",
    re.IGNORECASE,
)
_AND = re.compile(r"\bAND\b", re.IGNORECASE)
_KINDS = {
    "metric": "metrics",
    "metrics": "metrics",
    "param": "params",
    "params": "params",
    "parameter": "params",
    "tag": "tags",
    "tags": "tags",
    "attribute": "info",
    "attributes": "info",
    "attr": "info",
    "run": "info",
    "": "info",
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "IN": lambda value, wanted: str(value) in wanted,
}
#: The client itself asks that models are no prompts, which are models with this tag; those without it are none.
_PROMPT = "mlflow.prompt.is_prompt"
_NUMBERS = frozenset({"start_time", "end_time", "version_number", "creation_timestamp", "last_updated_timestamp"})


class FilterError(Exception):
    """The filter or the order cannot be read; the message says which part."""


def selected(runs: Sequence[Json], text: str) -> list[Json]:
    """Keep the runs or models that meet all conditions; one without the value meets none.

    Raises:
        FilterError: A part is not understood.
    """
    conditions = []
    at = 0
    while at < len(text.strip()):
        found = _TERM.match(text, at)
        if not found:
            raise FilterError(f"The filter is not understood from {text[at:]!r} on; write e.g. metrics.auc > 0.9.")
        conditions.append(_condition(found))
        joined = _AND.match(text, found.end())
        if joined is None and found.end() < len(text):
            raise FilterError(f"The filter needs AND at {text[found.end() :]!r}.")
        at = joined.end() if joined else found.end()
    return [run for run in runs if all(holds(run) for holds in conditions)]


def _condition(found: re.Match[str]) -> Callable[[Json], bool]:
    kind, key = _column(found["kind"] or "", found["key"])
    wanted: Any = found["value"].strip("'\"")
    word = found["operator"].upper()
    if (word == "IN") != found["value"].startswith("("):
        raise FilterError(f"{found[0].strip()!r} is not understood; IN needs a list, ('a', 'b'), and no other does.")
    if word == "IN":
        wanted = {one.strip().strip("'\"") for one in wanted.strip("()").split(",")}
    elif kind == "metrics" or (kind == "info" and key in _NUMBERS):
        wanted = _number(wanted)
    compare = _COMPARISONS.get(word) or _like(word)

    def holds(run: Json) -> bool:
        value = _value(run, kind, key)
        if value is None:
            return key == _PROMPT and word == "!="
        return bool(compare(value, wanted))

    return holds


def _like(word: str) -> Callable[[Any, Any], bool]:
    """Compare with SQL's LIKE; ILIKE ignores case."""

    def compare(value: Any, pattern: Any) -> bool:
        like = str(pattern).replace("%", "*").replace("_", "?")
        text, like = (str(value), like) if word == "LIKE" else (str(value).lower(), like.lower())
        return fnmatch.fnmatchcase(text, like)

    return compare


def _column(kind: str, key: str) -> tuple[str, str]:
    if kind.lower() not in _KINDS:
        raise FilterError(f"{kind} is no column; write metrics, params, tags or attributes.")
    return _KINDS[kind.lower()], key.strip('`"')


def _value(run: Json, kind: str, key: str) -> Any:
    if kind == "info":
        name = {"run_name": "run_name", "Run Name": "run_name", "created": "start_time"}.get(key, key)
        if name not in run["info"]:
            raise FilterError(f"There is no attribute {key}.")
        return run["info"][name]
    found = next((one["value"] for one in run["data"][kind] if one["key"] == key), None)
    return float(found) if kind == "metrics" and found is not None else found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise FilterError(f"{text!r} is no number.") from error


def ordered(runs: Sequence[Json], orders: Sequence[str]) -> list[Json]:
    """Order runs, by the first order first; those without the value come last; newest first otherwise.

    Raises:
        FilterError: An order is not understood.
    """
    found = list(runs)
    for text in reversed(orders):
        name, _, direction = text.strip().partition(" ")
        kind, _, key = name.rpartition(".") if not name.endswith("`") else name.partition(".")
        column = _column(kind, key)
        descending = direction.strip().upper() == "DESC"
        there = [run for run in found if _value(run, *column) is not None]
        absent = [run for run in found if _value(run, *column) is None]
        there.sort(key=lambda run: _value(run, *column), reverse=descending)  # used at once
        found = there + absent
    return found

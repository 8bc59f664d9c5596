"""Querying the runs of an experiment in run history, steps among them, newest first.

Source: azure-ai-ml 1.35, ``_restclient/runhistory``; the filters are those that azureml-core 1.61 writes (``_odata``).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import Json, WireError, bad_request, inner, not_emulated, service_error
from azureml_emulator.routes import experiments
from azureml_emulator.routes.calls import WORKSPACE, Call, route
from azureml_emulator.routes.history import shown
from azureml_emulator.store import Run

Holds = Callable[[Run], bool]

_PATH = f"/history/v1.0{WORKSPACE}/experiments/{{experiment}}/runs:query"
#: Most runs that are asked for at once.
_MOST = 10_000
_PAGE = 100
_TOKEN = re.compile(
    r"""\s*(?:(?P<bracket>[()])|(?P<word>and|or)\b|(?P<field>[A-Za-z]+)(?:/(?P<key>[^\s()]+))?\s+(?P<sign>eq|ne)\s+"""
    r"""(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s()]+)))""",
    re.IGNORECASE,
)


class FilterError(Exception):
    """A filter cannot be read; the message says from where on."""


def routes() -> list[Route]:
    """List the routes of this module."""
    return [route("POST", _PATH, query)]


async def query(call: Call) -> Response:
    """POST a filter for the runs that meet it, in pages."""
    sent, workspace, name = await call.json(), call.workspace, call.names["experiment"]
    if unknown := sorted(set(sent) - {"filter", "top", "continuationToken", "orderBy"}):
        raise bad_request(f"A query has no {', '.join(unknown)}.")
    if sent.get("orderBy"):
        raise not_emulated("POST", call.request.url.path, "a query with orderBy")
    if experiments.by_id(call.store, workspace, experiments.experiment_id(workspace, name)) is None:
        raise _no_experiment(name)
    try:
        holds = condition(str(sent.get("filter") or ""))
    except FilterError as error:
        raise not_emulated("POST", call.request.url.path, str(error)) from error
    found = [run for run in call.store.runs(workspace.arm_id) if run.experiment == name and holds(run)]
    size = sent.get("top") or _PAGE
    if not isinstance(size, int) or not 1 <= size <= _MOST:
        raise bad_request(f"top is {size!r:.40}; give a whole number from 1 to {_MOST}.")
    return JSONResponse(_page(call, found, size=size, after=sent.get("continuationToken")))


def _page(call: Call, found: list[Run], *, size: int, after: str | None) -> Json:
    names = [run.name for run in found]
    if after is not None and after not in names:
        raise bad_request("The continuationToken is not one that was given out.")
    start = names.index(after) + 1 if after is not None else 0
    page = found[start : start + size]
    more = start + size < len(found)
    return {
        "value": [shown(call, run) for run in page],
        "continuationToken": page[-1].name if more else None,
        "nextLink": None,
    }


def _no_experiment(name: str) -> WireError:
    nested = inner("NotFoundError", "ExperimentNotFound")
    return WireError(
        404, service_error(f"Experiment {name} was not found.", inner_error=nested, component="run-history")
    )


def condition(text: str) -> Holds:
    """Read a filter: comparisons with ``eq`` and ``ne``, joined by ``and``, ``or`` and brackets; empty is any run.

    Raises:
        FilterError: A part is not understood.
    """
    tokens, at = [], 0
    while at < len(text.rstrip()):
        found = _TOKEN.match(text, at)
        if not found:
            raise FilterError(f"the filter is not understood from {text[at : at + 80]!r} on")
        tokens.append(found)
        at = found.end()
    if not tokens:
        return lambda _: True
    holds = _either(tokens)
    if tokens:
        raise FilterError(f"the filter is not understood at {tokens[0][0].strip()!r}")
    return holds


def _either(tokens: list[re.Match[str]]) -> Holds:
    holds = _both(tokens)
    while tokens and (tokens[0]["word"] or "").lower() == "or":
        tokens.pop(0)
        holds = _joined(any, holds, _both(tokens))
    return holds


def _both(tokens: list[re.Match[str]]) -> Holds:
    holds = _one(tokens)
    while tokens and (tokens[0]["word"] or "").lower() == "and":
        tokens.pop(0)
        holds = _joined(all, holds, _one(tokens))
    return holds


def _joined(how: Callable[[list[bool]], bool], one: Holds, other: Holds) -> Holds:
    return lambda run: how([one(run), other(run)])


def _one(tokens: list[re.Match[str]]) -> Holds:
    if not tokens:
        raise FilterError("the filter ends too early")
    token = tokens.pop(0)
    if token["field"]:
        return _compared(token)
    if token["bracket"] != "(":
        raise FilterError(f"the filter is not understood at {token[0].strip()!r}")
    holds = _either(tokens)
    if not tokens or tokens.pop(0)["bracket"] != ")":
        raise FilterError("a bracket of the filter is not closed")
    return holds


def _compared(token: re.Match[str]) -> Holds:
    value_of = _field(token["field"].lower(), token["key"])
    wanted = token["quoted"] if token["quoted"] is not None else token["bare"]
    is_null = token["quoted"] is None and wanted.lower() == "null"
    same = token["sign"].lower() == "eq"
    return lambda run: (value_of(run) == (None if is_null else wanted)) is same


def _field(name: str, key: str | None) -> Callable[[Run], str | None]:
    match name, key:
        case "properties", str(label):
            return lambda run: run.properties.get(label)
        case "tags", str(label):
            return lambda run: run.tags.get(label)
        case "runid", None:
            return lambda run: run.name
        case "parentrunid", None:
            return lambda run: run.parent
        case "status", None:
            return lambda run: run.status
        case _:
            raise FilterError(f"a filter by {name}{'/' + key if key else ''}")

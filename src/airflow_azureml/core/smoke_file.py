"""The YAML file of smoke tests, read with the line and the column of all that is wrong with it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from airflow_azureml.core.marked import Marked, Path
from airflow_azureml.core.members import Members
from airflow_azureml.core.smoke import NOTHING, SCHEMA, Case, Latency, SmokeTests

MEMBERS = ("schema", "name", "cases", "latency")
CASE = ("name", "request", "text", "status", "expected", "tolerance", "json_schema", "says", "within_ms")
LATENCY = ("requests", "p50_ms", "p95_ms", "p99_ms")
#: Most requests in a row: this is a smoke test; for load there is `AzureMLProfileOperator`.
MOST_REQUESTS = 1000
_STATUS = re.compile(r"[1-5](xx|[0-9]{2})")


def parse(text: str, *, name: str) -> SmokeTests:
    """Read smoke tests.

    Args:
        text: YAML or JSON.
        name: What errors call it, such as its file's name.

    Raises:
        ConfigError: They are none; the message has all faults, each with line and column.
    """
    marked = Marked.parse(text, name=name)
    said = Members(marked)
    top = said.mapping((), MEMBERS)
    if top and said.integer(("schema",), at_least=1) != SCHEMA:
        said.fault(("schema",), f"schema must be {SCHEMA}; this version reads no other.")
    places = said.several(("cases",))
    if top and not places and isinstance(top.get("cases", []), list):
        said.fault(("cases",), "cases must be a list of one entry or more.")
    cases = tuple(_case(said, place) for place in places)
    names = [case.name for case in cases]
    for place, each in zip(places, names, strict=True):
        if each and names.index(each) != place[-1]:
            said.fault((*place, "name"), f"{each!r} is the name of another case, too.")
    latency = _latency(said, ("latency",)) if "latency" in top else None
    if latency is not None and not any(case.is_good for case in cases):
        said.fault(("latency",), "latency asks the cases that want a success, and there is none.", key=True)
    tests = SmokeTests(name=said.text(("name",)) or name, cases=cases, latency=latency)
    said.raise_faults()
    return tests


def from_wire(raw: Mapping[str, Any], *, name: str) -> SmokeTests:
    """Read smoke tests that are a mapping already.

    Raises:
        ConfigError: They are none.
    """
    return parse(json.dumps(raw, default=str, indent=1), name=name)


def _case(said: Members, path: Path) -> Case:
    raw = said.mapping(path, CASE)
    has = [member for member in ("request", "text") if member in raw]
    if raw and len(has) != 1:
        said.fault(path, "A case has either request (JSON) or text (as it is).")
    name = said.text((*path, "name")) or ""
    if raw and "name" not in raw:
        said.fault(path, "name is missing.")
    status = str(said.scalar((*path, "status")) if "status" in raw else 200)
    if not _STATUS.fullmatch(status):
        said.fault((*path, "status"), f"status must be a number such as 400, or a class such as 4xx, and is {status}.")
    wants_body = [member for member in ("expected", "json_schema") if member in raw]
    if "tolerance" in raw and "expected" not in raw:
        said.fault((*path, "tolerance"), "tolerance is of expected, which is missing.", key=True)
    schema = said.mapping((*path, "json_schema")) if "json_schema" in wants_body else None
    text = raw.get("text")
    if text is not None and not isinstance(text, str):
        said.fault((*path, "text"), "text must be a text; write JSON as request.")
    return Case(
        name=name,
        body=str(text).encode() if "text" in raw else json.dumps(raw.get("request")).encode(),
        status=status,
        expected=raw.get("expected", NOTHING),
        tolerance=said.number((*path, "tolerance"), at_least=0) or 0.0,
        json_schema=schema,
        says=said.text((*path, "says")) or "",
        within_ms=said.number((*path, "within_ms"), at_least=0),
    )


def _latency(said: Members, path: Path) -> Latency:
    raw = said.mapping(path, LATENCY)
    requests = said.integer((*path, "requests"), at_least=1)
    if raw and requests is None:
        said.fault(path, "requests is missing.")
    if requests is not None and requests > MOST_REQUESTS:
        said.fault((*path, "requests"), f"requests must be {MOST_REQUESTS} at most; load is AzureMLProfileOperator's.")
    limits = {share: said.number((*path, f"p{share}_ms"), at_least=0) for share in (50, 95, 99)}
    if raw and not any(limits.values()):
        said.fault(path, "One of p50_ms, p95_ms and p99_ms is needed.")
    return Latency(
        requests=requests or 0, at_most_ms={float(share): most for share, most in limits.items() if most is not None}
    )

"""The request metrics of online endpoints and their deployments, as Azure Monitor serves them.

Source of names, units and dimensions: learn.microsoft.com, azure-monitor, supported-metrics,
microsoft-machinelearningservices-workspaces-onlineendpoints-metrics and …-onlineendpoints-deployments-metrics; of the
query and the answer: azure-rest-api-specs, Microsoft.Insights, Metrics_List. Nothing of it was recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import durations
from azureml_emulator.clock import utc_now
from azureml_emulator.errors import Json, WireError, not_found
from azureml_emulator.names import PROVIDER
from azureml_emulator.online_metrics import MINUTE_S, Minute, Outcome, RequestMetrics, percentile
from azureml_emulator.routes.calls import WORKSPACE, Call, route
from azureml_emulator.steps import SpecificationError

_ENDPOINT = f"{WORKSPACE}/onlineEndpoints/{{name}}"
_METRICS = "providers/Microsoft.Insights/metrics"
_DEFAULT_SPAN = timedelta(hours=1)
#: More points than this are refused; Azure answers no more than 31 days at PT1M.
_MOST_POINTS = 31 * 24 * 60
_GRAINS = ("PT1M", "PT5M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D")
_TERM = re.compile(r"\(*\s*(?P<name>\w+)\s+(?P<verb>eq|ne)\s+'(?P<value>[^']*)'\s*\)*", re.IGNORECASE)
_AGGREGATIONS: Mapping[str, Callable[[list[float]], float]] = {
    "average": lambda values: sum(values) / len(values),
    "total": sum,
    "minimum": min,
    "maximum": max,
    "count": lambda values: float(len(values)),
}
_PERCENTILES = {f"RequestLatency_P{share}": share / 100 for share in (50, 90, 95, 99)}
_REQUESTS = "RequestsPerMinute"
_NAMES = {_REQUESTS: "Requests Per Minute"} | {name: f"Request Latency {name[-3:]}" for name in _PERCENTILES}

_Reader = Callable[[Outcome], str]
_OF_OUTCOME: Mapping[str, _Reader] = {
    "deployment": lambda outcome: outcome.deployment,
    "statusCode": lambda outcome: str(outcome.status),
    "statusCodeClass": lambda outcome: outcome.status_class,
    "modelStatusCode": lambda outcome: "" if outcome.model_status is None else str(outcome.model_status),
}


def routes() -> list[Route]:
    """List the routes of this module."""
    return [
        route("GET", f"{_ENDPOINT}/{_METRICS}", get_of_endpoint),
        route("GET", f"{_ENDPOINT}/deployments/{{deployment}}/{_METRICS}", get_of_deployment),
    ]


@attrs.frozen(kw_only=True)
class _Query:
    """What is asked.

    Attributes:
        wanted: By dimension, which values are wanted; None for each there is, apart.
        unwanted: By dimension, which values are not.
        grain: Minutes of one point.
    """

    names: tuple[str, ...]
    since: datetime
    until: datetime
    interval: str
    grain: int
    aggregations: tuple[str, ...]
    wanted: Mapping[str, frozenset[str] | None]
    unwanted: Mapping[str, frozenset[str]]
    most: int

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions by which series are told apart."""
        return tuple(dict.fromkeys((*self.wanted, *self.unwanted)))

    def takes(self, values: Mapping[str, str]) -> bool:
        """Whether a combination of dimensions' values is wanted; case is ignored, as Azure Monitor does."""
        for name, value in values.items():
            wanted = self.wanted.get(name)
            if wanted is not None and value.lower() not in wanted:
                return False
            if value.lower() in self.unwanted.get(name, ()):
                return False
        return True


async def get_of_endpoint(call: Call) -> Response:
    """GET the figures of an endpoint, by deployment and status if that is asked for."""
    return _answer(call, deployment=None)


async def get_of_deployment(call: Call) -> Response:
    """GET the figures of one deployment."""
    return _answer(call, deployment=call.names["deployment"])


def _answer(call: Call, *, deployment: str | None) -> Response:
    workspace, name = call.workspace, call.names["name"]
    endpoint = call.store.get(f"{workspace.arm_id}/onlineEndpoints/{name}")
    if endpoint is None:
        message = f"There is no endpoint with name: {name} in {workspace.name}"
        raise not_found("NoSuchEndpoint", message, code="NotFound")
    resource = endpoint["id"] if deployment is None else f"{endpoint['id']}/deployments/{deployment}"
    if call.store.get(resource) is None:
        message = f"There is no deployment with name: {deployment} in endpoint: {name}"
        raise not_found("NoSuchDeployment", message, code="NotFound")
    query = _query(call.query, of_deployment=deployment is not None)
    metrics = call.services.request_metrics or RequestMetrics(call.store)
    found = metrics.minutes(endpoint["id"], since=_minute(query.since), until=_minute(query.until, up=True))
    if deployment is not None:
        found = {minute: _only(one, deployment) for minute, one in found.items()}
    kind = f"{PROVIDER}/workspaces/onlineEndpoints" + ("" if deployment is None else "/deployments")
    body = {
        "cost": len(query.names) * (_minute(query.until) - _minute(query.since)),
        "timespan": f"{_stamp(query.since)}/{_stamp(query.until)}",
        "interval": query.interval,
        "value": [_metric(resource, one, query, found) for one in query.names],
        "namespace": kind,
        "resourceregion": call.location,
    }
    return JSONResponse(body)


def _only(minute: Minute, deployment: str) -> Minute:
    """Leave out what other deployments had."""
    name = deployment.lower()
    requests = {outcome: count for outcome, count in minute.requests.items() if outcome.deployment.lower() == name}
    kept = {each: found for each, found in minute.durations.items() if each.lower() == name}
    return Minute(type(minute.requests)(requests), kept)


# the query


def _query(said: Mapping[str, str], *, of_deployment: bool) -> _Query:
    """Read the query's parameters.

    Raises:
        WireError: 400, which names the first that is wrong.
    """
    names = tuple(_named(name.strip()) for name in (said.get("metricnames") or _REQUESTS).split(","))
    since, until = _span(said.get("timespan") or "")
    interval = said.get("interval") or "PT1M"
    if interval not in _GRAINS:
        raise _bad(f"interval is {interval[:40]!r}; the time grains are {', '.join(_GRAINS)}.")
    grain = int(durations.seconds(interval)) // MINUTE_S
    if (until - since) / timedelta(minutes=grain) > _MOST_POINTS:
        raise _bad(f"The timespan has more than {_MOST_POINTS} points of {interval}; ask for less.")
    aggregations = tuple(each.strip().lower() for each in (said.get("aggregation") or "Average").split(","))
    if unknown := [each for each in aggregations if each not in _AGGREGATIONS]:
        raise _bad(f"aggregation is {unknown[0][:40]!r}; the aggregations are {', '.join(_AGGREGATIONS)}.")
    wanted, unwanted = _filter(said.get("$filter") or "", of_deployment=of_deployment)
    query = _Query(
        names=names,
        since=since,
        until=until,
        interval=interval,
        grain=grain,
        aggregations=aggregations,
        wanted=wanted,
        unwanted=unwanted,
        most=_most(said.get("top") or "10"),
    )
    for name in names:
        _check_dimensions(name, query.dimensions, of_deployment=of_deployment)
    return query


def _named(name: str) -> str:
    found = next((known for known in _NAMES if known.lower() == name.lower()), None)
    if found is None:
        valid = ",".join(_NAMES)
        raise _bad(
            f"Failed to find metric configuration for provider: {PROVIDER}, resource Type: workspaces/onlineEndpoints, "
            f"metric: {name[:80]}, Valid metrics: {valid}"
        )
    return found


def _span(said: str) -> tuple[datetime, datetime]:
    if not said:
        return utc_now() - _DEFAULT_SPAN, utc_now()
    first, slash, last = said.partition("/")
    try:
        if not slash:
            return utc_now() - timedelta(seconds=durations.seconds(first)), utc_now()
        since, until = (datetime.fromisoformat(each.replace(" ", "+")) for each in (first, last))
    except (ValueError, SpecificationError):
        raise _bad(f"timespan is {said[:80]!r}; give START/END in ISO 8601, or a duration.") from None
    since, until = (each if each.tzinfo else each.replace(tzinfo=UTC) for each in (since, until))
    if not since < until:
        raise _bad(f"timespan is {said[:80]!r}; its end is not behind its start.")
    return since.astimezone(UTC), until.astimezone(UTC)


def _most(said: str) -> int:
    if not (said.isascii() and said.isdecimal() and int(said[:9]) > 0):
        raise _bad(f"top is {said[:40]!r}; give a number from 1 on.")
    return int(said[:9])


def _filter(said: str, *, of_deployment: bool) -> tuple[dict[str, frozenset[str] | None], dict[str, frozenset[str]]]:
    """Read ``A eq 'x' and B eq '*'``; several values of one dimension are joined by ``or``."""
    known = ("envoy_response_code",) if of_deployment else tuple(_OF_OUTCOME)
    wanted: dict[str, frozenset[str] | None] = {}
    unwanted: dict[str, frozenset[str]] = {}
    for group in re.split(r"\s+and\s+", said.strip(), flags=re.IGNORECASE) if said.strip() else ():
        terms = [_TERM.fullmatch(term) for term in re.split(r"\s+or\s+", group, flags=re.IGNORECASE)]
        found = [(_dimension(each["name"], known), each["verb"].lower(), each["value"]) for each in terms if each]
        if len(found) < len(terms) or len({(name, verb) for name, verb, _ in found}) > 1:
            raise _bad(f"$filter is {said[:200]!r}; join DIMENSION eq 'VALUE' by 'and', and by 'or' for one dimension.")
        (name, verb, _), values = found[0], frozenset(value.lower() for _, _, value in found)
        if verb == "ne":
            unwanted[name] = unwanted.get(name, frozenset()) | values
        else:
            wanted[name] = None if "*" in values else values
    return wanted, unwanted


def _dimension(name: str, known: tuple[str, ...]) -> str:
    found = next((each for each in known if each.lower() == name.lower()), None)
    if found is None:
        raise _bad(f"{name[:80]} is no dimension here; the dimensions are {', '.join(known)}.")
    return found


def _check_dimensions(metric: str, asked: tuple[str, ...], *, of_deployment: bool) -> None:
    if metric == _REQUESTS:
        return
    supported = () if of_deployment else ("deployment",)
    if any(each not in supported for each in asked):
        raise _bad(
            f"Metric: {metric} does not support requested dimension combination: {','.join(asked)}, "
            f"supported ones are: {','.join(supported)}"
        )


def _bad(message: str) -> WireError:
    return WireError(400, {"code": "BadRequest", "message": message})


# the answer


def _metric(resource: str, name: str, query: _Query, found: Mapping[int, Minute]) -> Json:
    """Show one metric, with a series for each combination of the dimensions that the filter names."""
    series: dict[tuple[str, ...], dict[int, float]] = {}
    for minute, one in found.items():
        values = _requests(one, query) if name == _REQUESTS else _latencies(one, query, _PERCENTILES[name])
        for key, value in values.items():
            series.setdefault(key, {})[minute] = value
    shown = sorted(series.items(), key=lambda item: -sum(item[1].values()))[: query.most]
    return {
        "id": f"{resource}/providers/Microsoft.Insights/metrics/{name}",
        "type": "Microsoft.Insights/metrics",
        "name": {"value": name, "localizedValue": _NAMES[name]},
        "displayDescription": _NAMES[name],
        "unit": "Count" if name == _REQUESTS else "MilliSeconds",
        "timeseries": [_series(query, key, values) for key, values in shown],
        "errorCode": "Success",
    }


def _requests(minute: Minute, query: _Query) -> dict[tuple[str, ...], float]:
    counts: dict[tuple[str, ...], float] = {}
    for outcome, count in minute.requests.items():
        values = {name: _OF_OUTCOME.get(name, _OF_OUTCOME["statusCode"])(outcome) for name in query.dimensions}
        if query.takes(values):
            key = tuple(values.values())
            counts[key] = counts.get(key, 0.0) + count
    return counts


def _latencies(minute: Minute, query: _Query, share: float) -> dict[tuple[str, ...], float]:
    groups: dict[tuple[str, ...], list[str] | None] = {(): None}
    if query.dimensions:
        groups = {(name,): [name] for name in minute.durations if query.takes({"deployment": name})}
    found = {key: percentile(minute.of(names), share) for key, names in groups.items()}
    return {key: value for key, value in found.items() if value is not None}


def _series(query: _Query, key: tuple[str, ...], values: Mapping[int, float]) -> Json:
    metadata = [
        {"name": {"value": name, "localizedValue": name}, "value": value}
        for name, value in zip(query.dimensions, key, strict=True)
    ]
    data: list[dict[str, Any]] = []
    for start in range(_minute(query.since), _minute(query.until, up=True), query.grain):
        inside = [value for minute, value in values.items() if start <= minute < start + query.grain]
        point = {each: _AGGREGATIONS[each](inside) for each in query.aggregations} if inside else {}
        data.append({"timeStamp": _stamp(datetime.fromtimestamp(start * MINUTE_S, UTC)), **point})
    return {"metadatavalues": metadata, "data": data}


def _minute(moment: datetime, *, up: bool = False) -> int:
    seconds = moment.timestamp()
    return int(-(-seconds // MINUTE_S) if up else seconds // MINUTE_S)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

"""How the deployments of an online endpoint answer, as Azure Monitor counts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from airflow_azureml.core.online import LiveMetrics, whole_minutes
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.online import url_of

API_VERSION = "2023-10-01"
LATENCIES = ("P50", "P90", "P95", "P99")
#: Azure gives the ten largest series unless told otherwise.
MOST_SERIES = "500"
CLIENT_ERRORS, SERVER_ERRORS = range(400, 500), range(500, 600)
#: What the front of an online endpoint answers for a model that timed out, one that raised or answered with an error of
#: its own, and one that is busy. Source: "Troubleshoot online endpoints", HTTP status codes.
TIMED_OUT, MODEL_ERROR, THROTTLED = 408, 424, 429


def live_metrics(
    workspace: Workspace, endpoint: str, deployment: str, *, since: float, until: float
) -> Flow[LiveMetrics]:
    """Ask Azure Monitor how a deployment answered in the whole minutes within a time.

    It has a minute's figures some minutes late, see `airflow_azureml.core.online.METRICS_LAG_S`: let ``until`` be that
    long ago. Requests that are mirrored to it count as others do.

    Args:
        workspace: Where.
        endpoint: The endpoint.
        deployment: The deployment.
        since: Seconds since 1970, UTC.
        until: Likewise.

    Raises:
        RefusedError: We may not (the role Monitoring Reader is enough), or there is no such endpoint.
        UnavailableError: The service did not say; asking again is safe.
    """
    first, last = whole_minutes(since, until)
    if first == last:
        return LiveMetrics(deployment=deployment, since=first, until=last)
    whose = "deployment eq '{}'".format(deployment.replace("'", "''"))
    # Azure aggregates it by the average, which is the number of requests only where every dimension is told apart.
    split = f"{whose} and statusCode eq '*' and modelStatusCode eq '*'"
    look = _metrics(workspace, endpoint, ["RequestsPerMinute"], window=(first, last), only=split)
    counted = list(_series((yield look).expect(look, 200)))
    names = [f"RequestLatency_{each}" for each in LATENCIES]
    look = _metrics(workspace, endpoint, names, window=(first, last), only=whose)
    latencies = list(_series((yield look).expect(look, 200)))
    return _summed(deployment, (first, last), counted, latencies)


@frozen(kw_only=True)
class _Series:
    """One time series: the figures of a metric's minutes, by their time as Azure writes it."""

    metric: str
    dimensions: Mapping[str, str]
    averages: Mapping[str, float]

    @property
    def status(self) -> int:
        """What the front answered; 0 where it is not told."""
        return _number(self.dimensions.get("statuscode"))

    @property
    def model_status(self) -> int:
        """What the model itself answered; 0 where it is not told."""
        return _number(self.dimensions.get("modelstatuscode"))

    @property
    def outcome(self) -> str:
        """Who is to blame: the name of one of the counts of `LiveMetrics`; empty for nobody."""
        blames_caller = self.status == MODEL_ERROR and self.model_status in CLIENT_ERRORS
        if self.status == THROTTLED:
            return "throttled"
        if self.status in SERVER_ERRORS or (self.status in (TIMED_OUT, MODEL_ERROR) and not blames_caller):
            return "failures"
        return "client_errors" if self.status in CLIENT_ERRORS else ""


def _summed(
    deployment: str, window: tuple[float, float], counted: Iterable[_Series], latencies: Iterable[_Series]
) -> LiveMetrics:
    by_minute: dict[str, float] = {}
    by_outcome: dict[str, float] = {}
    for series in counted:
        for minute, number in series.averages.items():
            by_minute[minute] = by_minute.get(minute, 0.0) + number
            by_outcome[series.outcome] = by_outcome.get(series.outcome, 0.0) + number
    means = {series.metric.rpartition("_")[2]: _mean(series.averages, by_minute) for series in latencies}
    return LiveMetrics(
        deployment=deployment,
        since=window[0],
        until=window[1],
        requests=round(sum(by_minute.values())),
        failures=round(by_outcome.get("failures", 0.0)),
        client_errors=round(by_outcome.get("client_errors", 0.0)),
        throttled=round(by_outcome.get("throttled", 0.0)),
        p50_ms=means.get("P50"),
        p90_ms=means.get("P90"),
        p95_ms=means.get("P95"),
        p99_ms=means.get("P99"),
    )


def _mean(values: Mapping[str, float], weights: Mapping[str, float]) -> float | None:
    """Average the minutes' figures, each by its requests; None when there was no request."""
    total = sum(weights.get(minute, 0.0) for minute in values)
    return sum(value * weights.get(minute, 0.0) for minute, value in values.items()) / total if total else None


def _metrics(
    workspace: Workspace, endpoint: str, names: Sequence[str], *, window: tuple[float, float], only: str
) -> Request:
    times = [datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for at in window]
    return Request(
        doing=f"Read the live metrics of online endpoint {endpoint}",
        method="GET",
        url=f"{url_of(workspace, endpoint)}/providers/Microsoft.Insights/metrics",
        params={
            "api-version": API_VERSION,
            "metricnames": ",".join(names),
            "timespan": "/".join(times),
            "interval": "PT1M",
            "aggregation": "Average",
            "$filter": only,
            "top": MOST_SERIES,
        },
    )


def _series(raw: Mapping[str, Any]) -> Iterator[_Series]:
    """Read Azure Monitor's answer; minutes without a figure are left out."""
    for metric in raw.get("value") or []:
        for one in metric.get("timeseries") or []:
            dimensions = {
                str((told.get("name") or {}).get("value") or "").lower(): str(told.get("value") or "")
                for told in one.get("metadatavalues") or []
            }
            averages = {
                str(at.get("timeStamp")): float(at["average"]) for at in one.get("data") or [] if at.get("average")
            }
            name = str((metric.get("name") or {}).get("value") or "")
            yield _Series(metric=name, dimensions=dimensions, averages=averages)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0

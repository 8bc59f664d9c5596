"""Metrics as run history's own service tells them; MLflow's routes write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.errors import no_run
from azureml_emulator.names import guid
from azureml_emulator.routes.calls import WORKSPACE, Call, route

_ROOT = f"/metric/v2.0{WORKSPACE}/runs/{{name}}"


def routes() -> list[Route]:
    """List the routes of this module."""
    return [route("POST", f"{_ROOT}/list", post_list), route("POST", f"{_ROOT}/full", post_full)]


def number(value: float) -> Any:
    """Write a value as JSON can: NaN and the infinities as text, as .NET and protobuf both do."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


async def post_list(call: Call) -> Response:
    """POST for the names of a run's metrics."""
    run = call.run(call.names["name"], no_run)
    keys = dict.fromkeys(point.key for point in call.store.metrics(run.workspace, run.name))
    values = [
        {
            "name": key,
            "metricKey": {"metricName": key, "labels": []},
            "columns": {key: "Double"},
            "properties": {"uxMetricType": "azureml.v1.scalar"},
        }
        for key in keys
    ]
    return JSONResponse({"value": values, "continuationToken": None, "nextLink": None})


async def post_full(call: Call) -> Response:
    """POST for all points of one metric."""
    run = call.run(call.names["name"], no_run)
    key = str((await call.json()).get("metricName"))
    points = [point for point in call.store.metrics(run.workspace, run.name) if point.key == key]
    values = [
        {
            "metricId": guid(run.workspace, run.name, key, str(index)),
            "createdUtc": datetime.fromtimestamp(point.timestamp_ms / 1000, UTC).isoformat(),
            "step": point.step,
            "data": {key: number(point.value)},
        }
        for index, point in enumerate(points)
    ]
    answer = {
        "dataContainerId": f"dcid.{run.name}",
        "name": key,
        "columns": {key: "Double"},
        "properties": {"uxMetricType": "azureml.v1.scalar"},
        "namespace": None,
        "standardSchemaId": None,
        "value": values,
        "continuationToken": None,
        "nextLink": None,
    }
    return JSONResponse(answer)

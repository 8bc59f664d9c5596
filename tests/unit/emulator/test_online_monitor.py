"""Request metrics as Azure Monitor serves them: however they are asked for, every request is told of exactly once."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.clock import CLOCK
from azureml_emulator.online_metrics import MINUTE_S, Minute, Outcome, RequestMetrics
from azureml_emulator.routes.application import application
from azureml_emulator.routes.calls import Services
from azureml_emulator.settings import Settings
from azureml_emulator.tokens import Lifetime
from tests.unit.emulator.world import ADDRESSES, World

Json = dict[str, Any]
NOW = int(CLOCK.now_s()) // MINUTE_S
STATUSES = (200, 424, 503)

outcomes = st.builds(
    Outcome, st.sampled_from(["blue", "green"]), st.sampled_from(STATUSES), st.sampled_from([None, 200, 500])
)
#: Minutes before now, and what came in them.
requests = st.lists(st.tuples(st.integers(0, 14), outcomes, st.floats(1, 1000)), max_size=30)


@attrs.frozen
class Monitor:
    """Asks for the metrics of an endpoint that had some requests."""

    client: httpx.AsyncClient
    endpoint: str

    async def series(self, metric: str = "RequestsPerMinute", dimensions: str = "", **query: str) -> list[Json]:
        """Give the series of the last quarter of an hour."""
        moments = (datetime.fromtimestamp(minute * MINUTE_S, UTC) for minute in (NOW - 14, NOW + 1))
        asked = {
            "metricnames": metric,
            "timespan": "/".join(f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in moments),
            "aggregation": "Total,Average,Count",
            "$filter": dimensions,
            **query,
        }
        answer = await self.client.get(f"{self.endpoint}/providers/Microsoft.Insights/metrics", params=asked)
        assert answer.status_code == 200, answer.text
        found: list[Json] = answer.json()["value"][0]["timeseries"]
        return found

    async def total(self, dimensions: str = "", **query: str) -> int:
        points = [point for one in await self.series(dimensions=dimensions, **query) for point in one["data"]]
        return int(sum(point.get("total", 0) for point in points))


async def monitor_of(folder: Path, had: list[tuple[int, Outcome, float]]) -> Monitor:
    chosen = Settings(state_dir=folder / "state", workspaces=("s/g/w",), azurite_blob="http://127.0.0.1:9")
    world = World.make(chosen, folder)
    endpoint = f"{world.workspace}/onlineEndpoints/ep"
    metrics = RequestMetrics(world.store)
    for ago, outcome, duration_ms in had:
        metrics._minutes(endpoint).setdefault(NOW - ago, Minute()).add(outcome, duration_ms)  # the past
    services = Services(
        store=world.store,
        settings=chosen,
        addresses=ADDRESSES,
        runner=world.runner,
        storage=world.storage,
        request_metrics=metrics,
    )
    world.store.put(world.workspace, {"id": world.workspace})
    for arm_id in (endpoint, f"{endpoint}/deployments/blue"):
        world.store.put(arm_id, {"id": arm_id, "name": arm_id.rpartition("/")[2]})
    app = application(services, identity_header="x", lifetime=Lifetime())
    return Monitor(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"), endpoint)


@given(requests)
@settings(max_examples=25, deadline=None)
def test_however_requests_are_split_up_each_is_in_exactly_one_series(had: list[tuple[int, Outcome, float]]) -> None:
    async def ask() -> tuple[list[int], Counter[tuple[str, ...]]]:
        with tempfile.TemporaryDirectory() as folder:
            monitor = await monitor_of(Path(folder), had)
            totals = [
                await monitor.total(),
                await monitor.total("deployment eq '*'"),
                await monitor.total("statusCode eq '*' and deployment eq '*' and modelStatusCode eq '*'", top="100"),
                await monitor.total("deployment eq 'blue'") + await monitor.total("deployment ne 'BLUE'"),
                await monitor.total("(statusCode eq '200' or statusCode eq '424') and deployment eq '*'")
                + await monitor.total("statusCodeClass eq '5xx'"),
                await monitor.total(interval="PT5M"),
            ]
            split: Counter[tuple[str, ...]] = Counter()
            for one in await monitor.series(dimensions="deployment eq '*' and statusCode eq '*'"):
                key = tuple(each["value"] for each in one["metadatavalues"])
                split[key] += int(sum(point.get("total", 0) for point in one["data"]))
            await monitor.client.aclose()
            return totals, split

    totals, split = asyncio.run(ask())

    assert totals == [len(had)] * 6
    assert split == Counter((outcome.deployment, str(outcome.status)) for _, outcome, _ in had)


@pytest.mark.anyio
async def test_longer_intervals_tell_the_average_of_their_minutes(tmp_path: Path) -> None:
    ok = Outcome("blue", 200, 200)
    first = NOW - 14
    had = [(NOW - first, ok, 10.0)] * 3 + [(NOW - first - 1, ok, 1000.0)]
    monitor = await monitor_of(tmp_path, had)

    [requests_each] = await monitor.series(interval="PT5M")
    [latency] = await monitor.series("RequestLatency_P95", "deployment eq 'blue'", interval="PT5M")
    await monitor.client.aclose()

    point = requests_each["data"][0]
    assert (point["total"], point["average"], point["count"]) == (4.0, 2.0, 2.0)
    assert latency["data"][0]["average"] == pytest.approx(505, rel=0.011)
    assert [len(one["data"]) for one in (requests_each, latency)] == [3, 3]


@pytest.mark.anyio
async def test_a_deployment_shows_its_own_requests_alone(tmp_path: Path) -> None:
    monitor = await monitor_of(tmp_path, [(0, Outcome(name, 200, 200), 10.0) for name in ("blue", "green", "blue")])
    blue = attrs.evolve(monitor, endpoint=f"{monitor.endpoint}/deployments/blue")

    assert await blue.total() == await blue.total("envoy_response_code eq '200'") == 2
    assert (
        await monitor.client.get(f"{monitor.endpoint}/deployments/red/providers/Microsoft.Insights/metrics")
    ).status_code == 404
    await monitor.client.aclose()

"""What is measured of requests for scores: nothing is lost, percentiles are right, and minutes outlive a restart."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.clock import CLOCK
from azureml_emulator.online_metrics import MINUTE_S, Minute, Outcome, RequestMetrics, bucket, percentile
from azureml_emulator.store import Store

ENDPOINT = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/onlineEndpoints/e"
)

durations = st.lists(st.floats(0.02, 60_000), min_size=1, max_size=200)
outcomes = st.builds(
    Outcome, st.sampled_from(["blue", "green", ""]), st.sampled_from([200, 424, 503]), st.sampled_from([None, 200, 500])
)


@given(durations, st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_that_of_the_durations_within_a_bucket(found: list[float], share: float) -> None:
    exact = sorted(found)[math.ceil(share * len(found) - 1e-9) - 1]

    assert percentile(Counter(map(bucket, found)), share) == pytest.approx(exact, rel=0.011)


def test_nothing_has_no_percentile() -> None:
    assert percentile({}, 0.5) is None


@given(st.lists(st.tuples(outcomes, st.floats(0.02, 60_000)), max_size=50))
def test_a_minute_that_was_written_is_read_as_it_was_and_has_lost_no_request(
    requests: list[tuple[Outcome, float]],
) -> None:
    minute = Minute()
    for outcome, duration_ms in requests:
        minute.add(outcome, duration_ms)

    read = Minute.from_wire(minute.to_wire())

    assert read == minute
    assert read.requests.total() == read.of(None).total() == len(requests)
    assert sum(read.of([name]).total() for name in ("blue", "green", "")) == len(requests)


def test_minutes_outlive_a_restart_and_the_present_one_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    now = int(CLOCK.now_s()) // MINUTE_S
    before = RequestMetrics(store)
    for _ in range(3):
        before.add(ENDPOINT, Outcome("blue", 200, 200), 5.0)
    before.close()

    after = RequestMetrics(store)
    after.add(ENDPOINT.upper(), Outcome("blue", 200, 200), 5.0)

    found = after.minutes(ENDPOINT, since=now, until=now + 2)
    assert sum(minute.requests.total() for minute in found.values()) == 4
    assert after.minutes(ENDPOINT, since=0, until=now) == {}
    store.close()

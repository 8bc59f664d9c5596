"""Throttling as Azure Resource Manager does it: a bucket for each subscription, identity and kind of request."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.errors import WireError
from azureml_emulator.testing import Emulator, emulator
from azureml_emulator.throttle import READS, WRITES, Throttle
from azureml_emulator.tokens import issue
from demo.azure import Azurite


class _Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0


def _made() -> tuple[Throttle, _Time]:
    time = _Time()
    return Throttle(now_s=lambda: time.now_s), time


def _allowed(throttle: Throttle, count: int, *, who: str = "me", method: str = "GET") -> int:
    """Ask so often; how many were let through."""
    through = 0
    for _ in range(count):
        try:
            throttle.take("s", who, method)
        except WireError:
            continue
        through += 1
    return through


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 400)), max_size=8))
def test_no_span_of_time_lets_more_through_than_the_bucket_and_what_came_back(
    looks: list[tuple[float, int]],
) -> None:
    throttle, time = _made()
    passed = 0
    for later_s, count in looks:
        time.now_s += later_s
        passed += _allowed(throttle, count)

    assert passed <= READS.size + READS.per_s * time.now_s + 1e-6


def test_who_asks_within_the_rate_is_never_throttled() -> None:
    throttle, time = _made()
    for _ in range(2000):
        time.now_s += 1 / READS.per_s
        throttle.take("s", "me", "GET")


def test_kinds_identities_and_subscriptions_have_buckets_of_their_own() -> None:
    throttle, _ = _made()
    assert _allowed(throttle, 1000) == READS.size
    assert _allowed(throttle, 1000, who="another") == READS.size
    assert _allowed(throttle, 1000, method="PUT") == WRITES.size
    assert throttle.take("another", "me", "GET") == ("reads", READS.size - 1)


def test_after_the_time_that_was_said_a_request_passes() -> None:
    throttle, time = _made()
    _allowed(throttle, READS.size)
    with pytest.raises(WireError) as refused:
        throttle.take("s", "me", "GET")
    time.now_s += int(refused.value.headers["Retry-After"])
    throttle.take("s", "me", "GET")


@pytest.fixture(scope="module")
def throttled(azurite: Azurite) -> Iterator[Emulator]:
    told = {"azurite_blob": azurite.blob_url, "azurite_queue": azurite.queue_url}
    with emulator(options=["--throttle"], **told) as made:  # type: ignore[arg-type]  # texts
        yield made


def test_the_emulator_throttles_where_it_is_told_to(throttled: Emulator) -> None:
    workspace = throttled.workspace()
    throttled.control.clock.freeze()
    token = issue("https://management.azure.com", subject="somebody")
    with httpx.Client(base_url=throttled.addresses.http, trust_env=False, timeout=20) as http:
        answers = [
            http.get(workspace.arm_id, headers={"Authorization": f"Bearer {token}"}) for _ in range(READS.size + 1)
        ]
    throttled.control.clock.go_on()

    left = [int(answer.headers["x-ms-ratelimit-remaining-subscription-reads"]) for answer in answers[:-1]]
    assert [after - before for before, after in pairwise(left)] == [-1] * (READS.size - 1)
    assert {answer.status_code for answer in answers[:-1]} == {200}
    assert answers[-1].status_code == 429
    assert answers[-1].headers["Retry-After"] == "1"
    assert answers[-1].json()["error"]["code"] == "SubscriptionRequestsThrottled"

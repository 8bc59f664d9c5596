"""Azure Resource Manager's throttling: a bucket of tokens for each subscription, identity and kind of request.

Source: "Understand how Azure Resource Manager throttles requests", the limits by token bucket, of 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from azureml_emulator.clock import CLOCK
from azureml_emulator.errors import WireError


@attrs.frozen(kw_only=True)
class Limit:
    """A bucket's size, and how many tokens come back a second."""

    kind: str
    size: int
    per_s: float


READS = Limit(kind="reads", size=250, per_s=25)
WRITES = Limit(kind="writes", size=200, per_s=10)
DELETES = Limit(kind="deletes", size=200, per_s=10)
_BY_METHOD = {"GET": READS, "HEAD": READS, "DELETE": DELETES}


@attrs.define
class _Bucket:
    tokens: float
    at_s: float


@attrs.define
class Throttle:
    """Counts requests, by the emulator's clock, so that a test may move it on."""

    now_s: Callable[[], float] = CLOCK.now_s
    _buckets: dict[tuple[str, str, str], _Bucket] = attrs.field(factory=dict)

    def take(self, subscription: str, who: str, method: str) -> tuple[str, int]:
        """Take a token; gives the kind of request, and how many tokens are left.

        Raises:
            WireError: 429 with ``Retry-After`` where none is left.
        """
        limit, now = _BY_METHOD.get(method, WRITES), self.now_s()
        key = (subscription.lower(), who, limit.kind)
        bucket = self._buckets.setdefault(key, _Bucket(tokens=limit.size, at_s=now))
        bucket.tokens = min(limit.size, bucket.tokens + max(0.0, now - bucket.at_s) * limit.per_s)
        bucket.at_s = now
        if bucket.tokens < 1:
            raise _throttled(subscription, limit, wait_s=(1 - bucket.tokens) / limit.per_s)
        bucket.tokens -= 1
        return limit.kind, int(bucket.tokens)


def _throttled(subscription: str, limit: Limit, *, wait_s: float) -> WireError:
    after = max(1, math.ceil(wait_s))
    message = (
        f"Number of requests for subscription '{subscription}' and operation '{limit.kind}' exceeded the backend"
        f" storage limit. Please try again after '{after}' seconds."
    )
    headers = {"Retry-After": str(after), f"x-ms-ratelimit-remaining-subscription-{limit.kind}": "0"}
    headers["x-ms-failure-cause"] = "gateway"
    return WireError(429, {"error": {"code": "SubscriptionRequestsThrottled", "message": message}}, headers)

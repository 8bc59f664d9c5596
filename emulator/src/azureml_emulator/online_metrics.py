"""How many requests an online endpoint had, what became of them and how long they took, minute by minute.

Azure Monitor keeps such figures by the minute, too. A duration is kept as the number of its bucket, and buckets are 2 %
wide: so percentiles are exact within 1 %, minutes and deployments can be added up, and a minute takes some kilobytes
at most, however many requests it had.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

import attrs

from azureml_emulator.clock import CLOCK
from azureml_emulator.names import guid
from azureml_emulator.store import Store

MINUTE_S = 60
#: How long minutes are kept; Azure keeps them for 93 days.
KEPT_MINUTES = 7 * 24 * 60
_WIDTH = math.log(1.02)
#: Durations below this are as good as this, in milliseconds.
_SHORTEST_MS = 0.01


@attrs.frozen
class Outcome:
    """What became of a request.

    Attributes:
        deployment: Who answered; empty for a request that was refused before one was chosen.
        status: What the client was answered.
        model_status: What the model answered; None where it was not asked, or did not answer.
    """

    deployment: str
    status: int
    model_status: int | None = None

    @property
    def status_class(self) -> str:
        """Give ``2xx`` and so on."""
        return f"{self.status // 100}xx"


def bucket(duration_ms: float) -> int:
    """Number the bucket of a duration in milliseconds."""
    return round(math.log(max(duration_ms, _SHORTEST_MS)) / _WIDTH)


def percentile(durations: Mapping[int, int], share: float) -> float | None:
    """Give the duration that a share of the requests did not exceed.

    Args:
        durations: How many there are, by bucket.
        share: Above 0 and at most 1.

    Returns:
        Milliseconds; None where there are none.
    """
    left = math.ceil(share * sum(durations.values()) - 1e-9)
    for number in sorted(durations):
        left -= durations[number]
        if left <= 0:
            return math.exp(number * _WIDTH)
    return None


@attrs.frozen
class Minute:
    """One minute of an endpoint.

    Attributes:
        requests: How many there were of each outcome.
        durations: By deployment, how many requests there were in each bucket.
    """

    requests: Counter[Outcome] = attrs.field(factory=Counter)
    durations: dict[str, Counter[int]] = attrs.field(factory=dict)

    def add(self, outcome: Outcome, duration_ms: float) -> None:
        """Count one request."""
        self.requests[outcome] += 1
        self.durations.setdefault(outcome.deployment, Counter())[bucket(duration_ms)] += 1

    def of(self, deployments: Iterable[str] | None) -> Counter[int]:
        """Add up the durations of some deployments; of all for None."""
        chosen = self.durations if deployments is None else deployments
        total: Counter[int] = Counter()
        for name in chosen:
            total.update(self.durations.get(name, {}))
        return total

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {
            "requests": [[*attrs.astuple(outcome), count] for outcome, count in self.requests.items()],
            "durations": {name: list(found.items()) for name, found in self.durations.items()},
        }

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        requests = Counter({Outcome(*outcome): count for *outcome, count in body["requests"]})
        durations = {name: Counter(dict(found)) for name, found in body["durations"].items()}
        return cls(requests, durations)


class RequestMetrics:
    """The minutes of all endpoints; those that have passed outlive a restart, and with `close` the present one.

    Args:
        store: Where minutes are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[str, dict[int, Minute]] = {}
        self._open: dict[str, int] = {}

    def add(self, endpoint: str, outcome: Outcome, duration_ms: float) -> None:
        """Count one request, in the minute of the emulator's clock.

        Args:
            endpoint: The endpoint's ARM id.
            outcome: What became of it.
            duration_ms: How long it took, in milliseconds.
        """
        minutes, now = self._minutes(endpoint), int(CLOCK.now_s()) // MINUTE_S
        before = self._open.get(endpoint.lower())
        if before is not None and before != now:
            self._keep(endpoint, before)
            self._forget(endpoint, minutes, before=now - KEPT_MINUTES)
        self._open[endpoint.lower()] = now
        minutes.setdefault(now, Minute()).add(outcome, duration_ms)

    def minutes(self, endpoint: str, *, since: int, until: int) -> dict[int, Minute]:
        """Find the minutes in which there were requests.

        Args:
            endpoint: The endpoint's ARM id.
            since: The first minute, counted from 1970.
            until: The minute behind the last one.
        """
        found = self._minutes(endpoint)
        return {minute: found[minute] for minute in sorted(found) if since <= minute < until}

    def close(self) -> None:
        """Keep the minutes that have not passed."""
        for endpoint, minute in self._open.items():
            self._keep(endpoint, minute)

    def _minutes(self, endpoint: str) -> dict[int, Minute]:
        key = endpoint.lower()
        if key not in self._found:
            kept = self._store.children(_place(endpoint))
            self._found[key] = {body["minute"]: Minute.from_wire(body) for body in kept}
        return self._found[key]

    def _keep(self, endpoint: str, minute: int) -> None:
        found = self._minutes(endpoint)[minute]
        self._store.put(f"{_place(endpoint)}/{minute}", {"minute": minute, **found.to_wire()})

    def _forget(self, endpoint: str, minutes: dict[int, Minute], *, before: int) -> None:
        for minute in [each for each in minutes if each < before]:
            del minutes[minute]
            self._store.delete(f"{_place(endpoint)}/{minute}")


def _place(endpoint: str) -> str:
    return f"/online-metrics/{guid(endpoint)}"

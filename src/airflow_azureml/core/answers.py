"""What an endpoint answered, and counts of many answers."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen

#: Most failures whose words are kept.
MOST_FAILURES = 20
#: Most latencies that a tally keeps; beyond them, answers are counted only.
MOST_LATENCIES = 1_000_000
#: Characters of an answer's text that are shown.
_SHOWN = 200
_GOOD, _NO_LONGER_GOOD = 200, 300


@frozen(kw_only=True)
class Answer:
    """One answer of an endpoint.

    Attributes:
        status: The HTTP status. Of a model's own refusal that Azure passes on as 424, the model's status. 0 where there
            was no answer.
        latency_ms: From the moment at which it was to be asked until all of the answer was there.
        body: The answer's body.
        deployment: Which deployment answered; empty where nobody said.
        fault: Why there was no answer; empty where there was one.
    """

    status: int
    latency_ms: float
    body: bytes = b""
    deployment: str = ""
    fault: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it is a success."""
        return _GOOD <= self.status < _NO_LONGER_GOOD

    @property
    def shown(self) -> str:
        """Say what it was, in one short line."""
        if self.fault:
            return f"no answer: {self.fault}"[:_SHOWN]
        text = " ".join(self.body.decode("utf-8", "replace").split())
        return f"{self.status} {text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'}".strip()


@define(kw_only=True)
class Tally:
    """Counts of answers.

    Attributes:
        statuses: How many there were of each status; 0 where there was no answer.
        deployments: How many good ones each deployment gave.
        latencies_ms: Those of the good ones.
        failures: The first of those that were none, in words.
    """

    statuses: Counter[int] = field(factory=Counter)
    deployments: Counter[str] = field(factory=Counter)
    latencies_ms: list[float] = field(factory=list)
    failures: list[str] = field(factory=list)

    def add(self, answer: Answer) -> None:
        """Count one more."""
        self.statuses[answer.status] += 1
        if not answer.is_good:
            if len(self.failures) < MOST_FAILURES:
                self.failures.append(f"{answer.deployment} {answer.shown}".strip())
            return
        self.deployments[answer.deployment] += 1
        if len(self.latencies_ms) < MOST_LATENCIES:
            self.latencies_ms.append(answer.latency_ms)

    @property
    def requests(self) -> int:
        """How many were asked."""
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """How many of them had no good answer."""
        return self.requests - self.deployments.total()

    def percentile_ms(self, share: float) -> float:
        """Give the latency that this percentage of the good answers did not exceed; NaN where there is none."""
        return percentile(self.latencies_ms, share)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        shares = {f"p{share}_ms": self.percentile_ms(share) for share in (50, 95, 99)}
        return {
            "requests": self.requests,
            "failed": self.failed,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "deployments": dict(sorted(self.deployments.items())),
            **{name: None if math.isnan(value) else round(value, 2) for name, value in shares.items()},
            "failures": list(self.failures),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest of the values that at least this percentage of them do not exceed; NaN where there is none.

    Args:
        values: Finite numbers, in any order.
        share: Above 0, at most 100.
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]

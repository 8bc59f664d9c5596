"""Which setting of a deployment is the cheapest that holds a latency under a load, and what to measure next to find it.

Settings are measured from the cheapest to the dearest, and nothing is measured that cannot change the answer: a setting
that costs more than one that holds is left out. So the first price at which one holds is the answer.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.answers import Tally
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.members import is_number
from airflow_azureml.errors import ConfigError, ProtocolError

#: Bounds of one load, so that a slip of the pen is no attack.
MOST_REQUESTS, MOST_RATE_PER_S, MOST_SECONDS, MOST_INSTANCES = 200_000, 1000.0, 1800.0, 50


@frozen(kw_only=True, order=True)
class Setting:
    """How a deployment is set.

    Attributes:
        instances: How many instances it has.
        concurrency: How many requests each of them works on at once (``max_concurrent_requests_per_instance``).
    """

    instances: int
    concurrency: int

    def __str__(self) -> str:
        plural = "s" if self.instances > 1 else ""
        return f"{self.instances} instance{plural}, {self.concurrency} at once"


@frozen(kw_only=True)
class Goal:
    """What has to hold.

    Attributes:
        rate_per_s: How many requests come in a second.
        latency_ms: How long most of them may take.
        percentile: How many of them, in percent.
        failed: Which share of them may fail, from 0 to 1.
    """

    rate_per_s: float
    latency_ms: float
    percentile: float = 95.0
    failed: float = 0.0


@frozen(kw_only=True)
class Measured:
    """What one setting did under the load.

    Attributes:
        requests: How many were asked.
        failed: How many of them had no good answer.
        latency_ms: What the goal's percentage of the good answers did not exceed; infinite where there was none.
        p50_ms: Their median.
        p99_ms: What 99 % of them did not exceed.
        first_failure: The first that failed, in words.
    """

    setting: Setting
    requests: int
    failed: int
    latency_ms: float
    p50_ms: float = math.inf
    p99_ms: float = math.inf
    first_failure: str = ""

    @classmethod
    def of(cls, setting: Setting, tally: Tally, goal: Goal) -> Self:
        """Read what was counted."""
        found = (tally.percentile_ms(share) for share in (goal.percentile, 50, 99))
        latency_ms, p50_ms, p99_ms = (math.inf if math.isnan(each) else each for each in found)
        return cls(
            setting=setting,
            requests=tally.requests,
            failed=tally.failed,
            latency_ms=latency_ms,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            first_failure=tally.failures[0] if tally.failures else "",
        )

    def holds(self, goal: Goal) -> bool:
        """Whether it does what is wanted; without a request it does not."""
        return self.requests > 0 and self.failed <= goal.failed * self.requests and self.latency_ms <= goal.latency_ms

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no measurement.
        """
        counts = [raw.get(name) for name in ("instances", "concurrency", "requests", "failed")]
        if not all(isinstance(each, int) and not isinstance(each, bool) for each in counts):
            raise ProtocolError(f"A measurement needs four whole numbers, and is {dict(raw)!r:.200}.")
        times = [raw.get(name) for name in ("latency_ms", "p50_ms", "p99_ms")]
        latency_ms, p50_ms, p99_ms = (float(each) if is_number(each) else math.inf for each in times)  # type: ignore[arg-type]
        return cls(
            setting=Setting(instances=counts[0], concurrency=counts[1]),  # type: ignore[arg-type]
            requests=counts[2],  # type: ignore[arg-type]
            failed=counts[3],  # type: ignore[arg-type]
            latency_ms=latency_ms,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            first_failure=str(raw.get("first_failure") or ""),
        )

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it; a latency of nothing is None."""
        times = {"latency_ms": self.latency_ms, "p50_ms": self.p50_ms, "p99_ms": self.p99_ms}
        told: dict[str, Any] = {
            "instances": self.setting.instances,
            "concurrency": self.setting.concurrency,
            "requests": self.requests,
            "failed": self.failed,
            **{name: round(each, 3) if math.isfinite(each) else None for name, each in times.items()},
        }
        return {**told, "first_failure": self.first_failure[:200]} if self.first_failure else told


@frozen(kw_only=True)
class Profiling:
    """What is measured, and for what.

    Attributes:
        goal: What has to hold.
        instances: The counts of instances to try.
        concurrency: The numbers of requests at once in an instance to try, at each count.
        seconds: How long each setting is asked.
        warm_up_s: How long it is asked before that, without being measured.
        price_per_hour: Of one instance, in any currency; None where prices are not known, so that instances count.
        is_whole: Whether all settings are measured, for the picture; otherwise those that can change the answer.
    """

    goal: Goal
    instances: tuple[int, ...] = field(default=(1, 2, 3), converter=tuple[int, ...])
    concurrency: tuple[int, ...] = field(default=(1, 2, 4), converter=tuple[int, ...])
    seconds: float = 30.0
    warm_up_s: float = 2.0
    price_per_hour: float | None = None
    is_whole: bool = False

    def checked(self) -> Self:
        """Complain once of all that is out of bounds.

        Raises:
            ConfigError: Something is.
        """
        goal, wrong = self.goal, []
        requests = goal.rate_per_s * self.seconds
        bounds = (
            ("rate_per_s", goal.rate_per_s, 0.0, MOST_RATE_PER_S),
            ("latency_ms", goal.latency_ms, 0.0, math.inf),
            ("percentile", goal.percentile, 0.0, 100.0),
            ("seconds", self.seconds, 0.0, MOST_SECONDS),
            ("rate_per_s x seconds", requests, 0.0, MOST_REQUESTS),
            *(("instances", each, 0, MOST_INSTANCES) for each in self.instances),
            *(("concurrency", each, 0, math.inf) for each in self.concurrency),
        )
        for name, value, above, most in bounds:
            if not above < value <= most:
                wrong.append(f"{name} is {value:g}; it must be above {above:g} and {most:g} at most")
        if not 0 <= goal.failed < 1:
            wrong.append(f"failed is {goal.failed:g}; it must be a share, from 0 and below 1")
        if self.price_per_hour is not None and self.price_per_hour < 0:
            wrong.append(f"price_per_hour is {self.price_per_hour:g}; it must not be negative")
        wrong += [f"{name} is empty" for name in ("instances", "concurrency") if not getattr(self, name)]
        if wrong:
            raise ConfigError(f"Profiling: {'; '.join(wrong)}.")
        return self

    def cost_per_hour(self, setting: Setting) -> float | None:
        """Say what a setting costs; None where prices are not known."""
        return None if self.price_per_hour is None else setting.instances * self.price_per_hour

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings, the cheapest first."""
        return tuple(
            Setting(instances=instances, concurrency=concurrency)
            for instances in sorted(set(self.instances))
            for concurrency in sorted(set(self.concurrency))
        )

    def next(self, measured: Sequence[Measured]) -> Setting | None:
        """Say what to measure next; None when the answer is known."""
        known = {each.setting for each in measured}
        cheapest = self.cheapest(measured)
        for setting in self.settings:
            if setting in known:
                continue
            if not self.is_whole and cheapest is not None and setting.instances > cheapest.setting.instances:
                return None
            return setting
        return None

    def cheapest(self, measured: Sequence[Measured]) -> Measured | None:
        """Choose: the fewest instances that hold, and of those the fastest; None where none holds."""
        holding = [each for each in measured if each.holds(self.goal)]
        return min(
            holding, key=lambda each: (each.setting.instances, each.latency_ms, each.setting.concurrency), default=None
        )

    def verdict(self, measured: Sequence[Measured], *, subject: str) -> Verdict:
        """Say whether there is an answer, and what each setting did."""
        best = self.cheapest(measured)
        goal = self.goal
        asked = f"{goal.rate_per_s:g} requests a second, {goal.percentile:g} % of them within {goal.latency_ms:g} ms"
        found = Finding(
            check=f"a setting holds {asked}",
            passed=best is not None,
            reason=f"{best.setting} is the cheapest that does." if best else "None of those measured does.",
            subject="setting",
            value=best.latency_ms if best else None,
            against=goal.latency_ms,
        )
        facts = dict(self._facts(measured))
        return Verdict(subject=subject, policy=f"at least {asked}", findings=[found], facts=facts)

    def _facts(self, measured: Sequence[Measured]) -> Iterator[tuple[str, str]]:
        for each in measured:
            words = f"{each.latency_ms:.1f} ms, {each.failed} of {each.requests} failed"
            cost = self.cost_per_hour(each.setting)
            yield str(each.setting), words if cost is None else f"{words}, {cost:.4g} an hour"

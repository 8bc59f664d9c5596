"""What a new deployment's live figures must be like, in a rollout, for it to get more traffic."""

import math
from collections.abc import Iterator
from typing import Self

from attrs import field, frozen

from airflow_azureml.core.findings import Finding
from airflow_azureml.core.online import LiveMetrics

#: As many answers tell a latency.
LATENCY_REQUESTS = 20


@frozen(kw_only=True)
class Figures:
    """How a deployment answered; what is not known is None.

    Attributes:
        requests: Requests of every outcome.
        failures: Those for which the deployment is to blame, such as 5xx; see `LiveMetrics`.
        p50_ms: The median latency.
    """

    requests: int = 0
    failures: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    @classmethod
    def of(cls, found: LiveMetrics) -> Self:
        """Take what matters of what Azure Monitor counted; requests that had no capacity count as failures."""
        return cls(
            requests=found.requests,
            failures=found.failures + found.throttled,
            p50_ms=found.p50_ms,
            p95_ms=found.p95_ms,
            p99_ms=found.p99_ms,
        )

    @property
    def rate(self) -> float:
        """Failures by requests; NaN without requests."""
        return self.failures / self.requests if self.requests else math.nan

    def __str__(self) -> str:
        latency = "" if self.p95_ms is None else f", p95 {self.p95_ms:.0f} ms"
        return f"{self.requests} requests, {self.failures} failures{latency}"


def _share(value: float | None) -> bool:
    return value is None or 0 <= value < 1


def _above(value: float | None, least: float) -> bool:
    return value is None or (math.isfinite(value) and value >= least)


@frozen(kw_only=True)
class Limits:
    """How a new deployment must answer; what is None is not asked.

    A request that the deployment had no capacity for (429) counts as a failure, one that its caller got wrong does not.

    Attributes:
        failures_at_most: The greatest share of failures, 0 to 1.
        failures_above_champion: By how much that share may be greater than the champion's, likewise.
        p50_ms_at_most: The greatest median latency. Milliseconds.
        p95_ms_at_most: That of the 95th percentile.
        p99_ms_at_most: That of the 99th.
        p95_times_champion: How many times the champion's the 95th percentile may be; at least 1.
    """

    failures_at_most: float | None = 0.01
    failures_above_champion: float | None = None
    p50_ms_at_most: float | None = None
    p95_ms_at_most: float | None = None
    p99_ms_at_most: float | None = None
    p95_times_champion: float | None = 2.0

    def faults(self) -> list[str]:
        """Say what is wrong with them; an empty list when nothing is."""
        latencies = ("p50_ms_at_most", "p95_ms_at_most", "p99_ms_at_most")
        shares = ("failures_at_most", "failures_above_champion")
        return [
            *(f"{name} is {getattr(self, name)}; it must be from 0 to below 1" for name in shares
              if not _share(getattr(self, name))),
            *(f"{name} is {getattr(self, name)}; it must be above 0" for name in latencies
              if not _above(getattr(self, name), 1e-9)),
            *([] if _above(self.p95_times_champion, 1) else
              [f"p95_times_champion is {self.p95_times_champion}; it must be at least 1"]),
        ]  # fmt: skip


@frozen(kw_only=True)
class Judgement:
    """What limits say of figures.

    Attributes:
        findings: What could be judged.
        open: What could not yet, a sentence's end each.
    """

    findings: tuple[Finding, ...] = field(default=(), converter=tuple[Finding, ...])
    open: tuple[str, ...] = field(default=(), converter=tuple[str, ...])

    @property
    def violated(self) -> tuple[Finding, ...]:
        """What does not hold."""
        return tuple(each for each in self.findings if not each.passed)


def judge(new: Figures, champion: Figures | None, limits: Limits, *, least_requests: int) -> Judgement:
    """Judge a deployment by its figures of one step.

    A share of failures is a no as soon as no success of what is still missing of the least requests could mend it.

    Args:
        new: The new deployment's.
        champion: Those of what served before, of the same time; None where nothing did.
        limits: The limits.
        least_requests: How many requests it takes to call a share good.
    """
    findings = [*_failures(new, champion, limits, least_requests), *_latencies(new, champion, limits, least_requests)]
    missing = [each for each in findings if isinstance(each, str)]
    if new.requests < least_requests:
        missing.insert(0, f"{new.requests} of {least_requests} requests so far")
    return Judgement(findings=(each for each in findings if isinstance(each, Finding)), open=dict.fromkeys(missing))


def _failures(new: Figures, champion: Figures | None, limits: Limits, least_requests: int) -> Iterator[Finding | str]:
    bounds: dict[str, float] = {}
    if limits.failures_at_most is not None:
        bounds[f"failures at most {limits.failures_at_most:.2%}"] = limits.failures_at_most
    if limits.failures_above_champion is not None and champion is not None:
        if champion.requests < max(least_requests, 1):
            yield f"{champion.requests} of {max(least_requests, 1)} of the champion's requests so far"
        else:
            words = f"failures at most {limits.failures_above_champion:.2%} above the champion's {champion.rate:.2%}"
            bounds[words] = limits.failures_above_champion + champion.rate
    for words, bound in bounds.items():
        is_violated = new.failures > bound * max(new.requests, least_requests)
        if is_violated or new.requests >= least_requests:
            yield Finding(
                check=words,
                passed=not is_violated,
                reason=f"{new.failures} of {new.requests} requests failed, and {bound:.2%} may.",
                subject="failures",
                value=new.rate,
                against=bound,
            )


def _latencies(new: Figures, champion: Figures | None, limits: Limits, least_requests: int) -> Iterator[Finding | str]:
    least = min(least_requests, LATENCY_REQUESTS)
    asked = [
        (name, getattr(new, f"{name}_ms"), getattr(limits, f"{name}_ms_at_most")) for name in ("p50", "p95", "p99")
    ]
    bounds = [(f"{name} at most {most:g} ms", name, value, most) for name, value, most in asked if most is not None]
    if limits.p95_times_champion is not None and champion is not None:
        if champion.requests < least or champion.p95_ms is None:
            yield f"{champion.requests} of {least} answers of the champion with a latency so far"
        else:
            words = f"p95 at most {limits.p95_times_champion:g} times the champion's {champion.p95_ms:.0f} ms"
            bounds.append((words, "p95", new.p95_ms, limits.p95_times_champion * champion.p95_ms))
    for words, name, value, most in bounds:
        if new.requests < least or value is None:
            yield f"{new.requests} of {least} answers with a latency so far"
        else:
            yield Finding(
                check=words,
                passed=value <= most,
                reason=f"{name} is {value:.0f} ms, and may be {most:.0f} ms.",
                subject=name,
                value=value,
                against=most,
            )

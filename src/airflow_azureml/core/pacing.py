"""How often to look at a job, and how much to ask of the service."""

import math

from attrs import define, field, frozen
from attrs.validators import ge, gt

from airflow_azureml.core.jobs import Phase

#: Which part of a job's age its interval is; so an end is known within about that part of the job's duration.
SHARE_OF_AGE = 0.1
#: A job that is being cancelled ends within seconds; its interval is this part of another's.
STOPPING_SHARE = 0.5
#: Intervals are shortened by up to this part, so that jobs which were submitted together are not due together.
SPREAD = 0.2


def interval_s(phase: Phase, *, age_s: float, first_s: float, longest_s: float, jitter: float) -> float:
    """Say how long to wait until the next look at a job.

    Args:
        phase: What the last look showed.
        age_s: Seconds since submission.
        first_s: The shortest interval, that of a young job.
        longest_s: The longest.
        jitter: At random, at least 0 and less than 1.

    Returns:
        Seconds: at least 80 % of the lesser of ``first_s`` and ``longest_s``, and at most ``longest_s``.
    """
    wanted_s = max(first_s, age_s * SHARE_OF_AGE * (STOPPING_SHARE if phase is Phase.STOPPING else 1.0))
    return min(longest_s, wanted_s) * (1 - SPREAD * jitter)


@frozen(kw_only=True)
class Budget:
    """How much may be asked.

    The default leaves most of what Azure Resource Manager allows one identity in one subscription (25 reads a second,
    250 at once) to others. Source: "Understand how Azure Resource Manager throttles requests".

    Attributes:
        rate: Requests a second, in the long run.
        burst: Requests at once, after a rest.
        at_once: Requests under way at the same time.
        low: Reads that Azure says are left, below which the rate falls in proportion.
        slowest: The part of the rate that is kept, however few are left.
        longest_pause_s: Most seconds of rest after failures; a longer ``Retry-After`` is obeyed all the same.
        failures: Requests that fail in a row before all rest.
    """

    rate: float = field(default=10.0, validator=gt(0))
    burst: int = field(default=50, validator=ge(1))
    at_once: int = field(default=8, validator=ge(2))
    low: int = field(default=50, validator=ge(1))
    slowest: float = field(default=0.05, validator=gt(0))
    longest_pause_s: float = field(default=60.0, validator=gt(0))
    failures: int = field(default=3, validator=ge(1))


@define
class Throttle:
    """A token bucket that also does as the service says."""

    budget: Budget
    _tokens: float = field(init=False)
    _filled_at: float = field(init=False, default=0.0)
    _paused_until: float = field(init=False, default=-math.inf)
    _share: float = field(init=False, default=1.0)
    _failed: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._tokens = float(self.budget.burst)

    def free_at(self, now: float) -> float:
        """Return when the next request may be sent; ``now`` or earlier when it may be sent at once."""
        self._fill(now)
        short = 1.0 - self._tokens
        full_at = now + short / (self.budget.rate * self._share) if short > 0 else now
        return max(full_at, self._paused_until)

    def spend(self, now: float) -> None:
        """Take note that a request is sent."""
        self._fill(now)
        self._tokens -= 1.0

    def told(self, now: float, *, retry_after_s: float | None, reads_left: int | None) -> None:
        """Take note of what the headers of an answer say; None for what they do not."""
        self._fill(now)
        if reads_left is not None:
            self._share = min(1.0, max(self.budget.slowest, reads_left / self.budget.low))
            self._tokens = min(self._tokens, self._share * self.budget.burst)
        if retry_after_s is not None:
            self._paused_until = max(self._paused_until, now + retry_after_s)

    def succeeded(self) -> None:
        """Take note of an answer."""
        self._failed = 0

    def failed(self, now: float) -> bool:
        """Take note of a failure; return whether all rest now. Those that were sent before the rest count no more."""
        if self._paused_until > now:
            return True
        self._failed += 1
        if self._failed >= self.budget.failures:
            pause_s = min(self.budget.longest_pause_s, 2.0 ** min(self._failed - self.budget.failures, 16))
            self._paused_until = max(self._paused_until, now + pause_s)
        return self._paused_until > now

    def _fill(self, now: float) -> None:
        passed_s = max(0.0, now - self._filled_at)
        self._filled_at = max(now, self._filled_at)
        self._tokens = min(float(self.budget.burst), self._tokens + passed_s * self.budget.rate * self._share)

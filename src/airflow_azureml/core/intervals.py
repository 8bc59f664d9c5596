"""The interval around the difference of two models' losses, as whoever computed it tells it."""

import math

from attrs import frozen


@frozen(kw_only=True)
class Interval:
    """The interval around the mean of challenger's less champion's loss, of the same rows.

    Attributes:
        metric: The loss, as ``losses.column`` of the evaluations names it.
        estimate: The mean difference as it was measured; below 0 where the challenger is better.
        low: The interval's lower end.
        high: Its upper end.
        rows: How many rows both evaluations have.
        confidence: Of the interval, two-sided.
        resamples: How many there were.
        seed: Of the random numbers.
        method: How the ends were found: ``bca`` or ``percentile``.
    """

    metric: str
    estimate: float
    low: float
    high: float
    rows: int
    confidence: float
    resamples: int
    seed: int
    method: str = "bca"

    @property
    def is_sound(self) -> bool:
        """Whether it is one: finite, and not upside down. A skewed interval need not hold its estimate."""
        figures = (self.estimate, self.low, self.high)
        return all(map(math.isfinite, figures)) and self.low <= self.high

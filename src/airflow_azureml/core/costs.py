"""What a job has cost: node hours, times what the user says that an hour costs. Azure's own bill comes a day later."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.errors import ConfigError

#: Seconds in an hour.
_HOUR_S = 3600.0


@frozen(kw_only=True)
class Use:
    """What one step used.

    Attributes:
        step: The step's name.
        size: Azure's name of the machine, ``Standard_DS3_v2``; empty where nobody says.
        compute: The compute's name; empty where nobody says.
        nodes: How many machines at once.
        seconds: For how long; 0 for one that was not run, since an old result was taken.
    """

    step: str
    size: str
    nodes: int
    seconds: float
    compute: str = ""

    @property
    def hours(self) -> float:
        """Node hours."""
        return self.nodes * self.seconds / _HOUR_S


@frozen(kw_only=True)
class Prices:
    """What an hour of a machine costs, as the user says.

    Attributes:
        per_hour: By the name of the machine's size, or of the compute, which comes before it; upper and lower case are
            the same. Finite, and at least 0.
        currency: For people: ``EUR``.
    """

    per_hour: Mapping[str, float]
    currency: str = ""

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """Read prices: sizes or computes and numbers, and maybe ``currency``.

        Raises:
            ConfigError: One is no price.
        """
        told = {str(name): value for name, value in raw.items() if name != "currency"}
        wrong = [name for name, value in told.items() if not _is_price(value)]
        if wrong or not told:
            raise ConfigError(
                f"prices has no price of an hour for {', '.join(wrong) or 'any size'}: {dict(raw)!r:.200}."
            )
        per_hour = {name.lower(): float(value) for name, value in told.items()}
        return cls(per_hour=per_hour, currency=str(raw.get("currency") or ""))

    def of(self, use: Use) -> float | None:
        """Find the price of an hour; None where none is told."""
        found = (self.per_hour.get(name.lower()) for name in (use.compute, use.size) if name)
        return next((price for price in found if price is not None), None)


@frozen(kw_only=True)
class Cost:
    """What something costs.

    Attributes:
        amount: How much; what has no price is not in it.
        hours: Node hours, of all.
        currency: For people.
        unpriced: The machines that have no price.
    """

    amount: float
    hours: float
    currency: str = ""
    unpriced: Sequence[str] = field(default=(), converter=tuple[str, ...])

    @property
    def is_known(self) -> bool:
        """Whether all of it has a price."""
        return not self.unpriced

    @property
    def text(self) -> str:
        """Tell it: ``12.40 EUR (3.10 node hours)``."""
        told = f"{self.amount:.2f} {self.currency}".strip()
        missing = f", without {', '.join(self.unpriced)}, which has no price" if self.unpriced else ""
        return f"{told} ({self.hours:.2f} node hours{missing})"

    def scaled(self, factor: float) -> Self:
        """Estimate what the same costs with so many times the data, were it to grow with them.

        Args:
            factor: Such as the rows of all data by those of a subset; finite, and at least 0.

        Raises:
            ConfigError: It is none.
        """
        if not (math.isfinite(factor) and factor >= 0):
            raise ConfigError(f"A cost cannot be scaled by {factor}.")
        scaled = {"amount": self.amount * factor, "hours": self.hours * factor}
        return type(self)(**scaled, currency=self.currency, unpriced=self.unpriced)


def cost_of(uses: Sequence[Use], prices: Prices) -> Cost:
    """Add up what a job has used."""
    priced = [(use, prices.of(use)) for use in uses if use.seconds]
    missing = dict.fromkeys(use.size or use.compute or f"step {use.step}" for use, price in priced if price is None)
    return Cost(
        amount=math.fsum(use.hours * price for use, price in priced if price is not None),
        hours=math.fsum(use.hours for use, _ in priced),
        currency=prices.currency,
        unpriced=tuple(missing),
    )


def _is_price(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0

"""What a gate judges by: both evaluations and the intervals between them; and how it speaks of them."""

import math
from collections.abc import Mapping
from fractions import Fraction

from attrs import field, frozen

from airflow_azureml.core.evaluation import Evaluation, Measured, shown
from airflow_azureml.core.findings import Finding
from airflow_azureml.core.gate_rules import Answer, Better
from airflow_azureml.core.intervals import Interval

#: Digits that are told of a number, and at most, where fewer would show two numbers alike.
_DIGITS, _MOST_DIGITS = 6, 17
#: What to do where a figure is missing.
MEND = "let the evaluation write it, or mend the policy"


@frozen(kw_only=True)
class Evidence:
    """What there is to judge by.

    Attributes:
        challenger: The new model's evaluation.
        champion: The registered model's; None where there is no champion yet.
        no_champion: What the policy says to that.
        intervals: By the loss they are of.
    """

    challenger: Evaluation
    champion: Evaluation | None
    no_champion: Answer | str | None = None
    intervals: Mapping[str, Interval] = field(factory=dict)

    @property
    def apart(self) -> str:
        """Say why the two cannot be compared, as a sentence; empty when they can, or there is no champion."""
        one, other = self.challenger, self.champion
        if other is None:
            return ""
        if other.faults:
            return f"The champion's evaluation cannot be used. {' '.join(other.faults)}"
        for who, whose in (("challenger", one), ("champion", other)):
            if not whose.data_version:
                return f"The {who}'s evaluation does not say which version of the data it is of (data.version)."
        if one.data_version != other.data_version:
            said, before = shown(one.data_version), shown(other.data_version)
            return f"The challenger was tested on data {said}, and the champion on {before}."
        if None not in (one.rows, other.rows) and one.rows != other.rows:
            return (
                f"The challenger was tested on {one.rows} rows, the champion on {other.rows}, of data of one version."
            )
        return ""

    @property
    def before(self) -> Evaluation:
        """The champion's evaluation; one with a fault, where there is none."""
        return self.champion or Evaluation.missing("There is no champion.")

    def uncompared(self, check: str, subject: str, *, value: float | None = None) -> Finding | None:
        """Answer a rule that compares where there is nothing to compare with; None where there is."""
        if self.champion is None:
            accepts = self.no_champion is Answer.ACCEPT
            reason = (
                "There is no champion yet, and the policy leaves the first model to its other rules."
                if accepts
                else "There is no champion yet, and the policy rejects until there is one: register the first by hand, "
                "or let the policy say no_champion: accept."
            )
            return Finding(check=check, subject=subject, passed=accepts, reason=reason, value=value)
        if self.apart:
            reason = f"{subject} was not compared: the evaluations are not both of the same test data."
            return Finding(check=check, subject=subject, passed=False, reason=reason, value=value)
        return None


@frozen(kw_only=True)
class Margin:
    """How much worse than the champion's a value may be; of two figures both must hold.

    Attributes:
        by: In its own unit.
        by_share: As a share of the champion's value.
    """

    by: float | None
    by_share: float | None

    @property
    def is_asked(self) -> bool:
        """Whether it bounds anything."""
        return self.by is not None or self.by_share is not None

    @property
    def words(self) -> str:
        """Say it as the end of a check."""
        parts = [f"{self.by:.6g}"] if self.by is not None else []
        parts += [f"{percent(self.by_share)} of it"] if self.by_share is not None else []
        return f"worse than the champion's by at most {' and '.join(parts)}"

    def allowed(self, champion: float | Fraction) -> Fraction:
        """Say how much worse it may be; nothing, where nothing is asked."""
        by = [exact(self.by)] if self.by is not None else []
        by += [exact(self.by_share) * abs(exact(champion))] if self.by_share is not None else []
        return min(by, default=Fraction(0))


def exact(number: float | Fraction) -> Fraction:
    """Take a number as it is written: 0.45 is 0.3 and 0.15, as people count, and not a little more."""
    return number if isinstance(number, Fraction) else Fraction(repr(number))


def rounded(number: Fraction) -> float:
    """Give the nearest number that a finding can hold."""
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number)


def gain(better: Better, value: float, before: float) -> Fraction:
    """Say by how much a value is better than another; below 0 where it is worse."""
    return exact(value) - exact(before) if better is Better.HIGHER else exact(before) - exact(value)


def lookup(measured: Measured, metric: str, whose: str) -> float | str:
    """Look a figure up: a finite number, or a sentence that says why there is none."""
    found = measured.figure(metric)
    return found if isinstance(found, float) else f"The {whose}'s evaluation {found}: {MEND}."


def told(*given: float | Fraction) -> tuple[str, ...]:
    """Write numbers with six digits, or with as many as it takes to tell them apart."""
    # A sum with 0 has no sign of its own.
    numbers = [0.0 + (rounded(number) if isinstance(number, Fraction) else number) for number in given]
    for digits in range(_DIGITS, _MOST_DIGITS):
        texts = tuple(f"{number:.{digits}g}" for number in numbers)
        if len(set(texts)) == len(set(numbers)):
            return texts
    return tuple(f"{number:.{_MOST_DIGITS}g}" for number in numbers)


def percent(share: float) -> str:
    """Write a share as percent."""
    return f"{share * 100:.6g} %"

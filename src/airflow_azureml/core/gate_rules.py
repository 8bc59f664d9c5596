"""The rules of a gate, as values; what they found is decided in `airflow_azureml.core.gate`."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Self

from attrs import field as member
from attrs import frozen

from airflow_azureml.core.gate_members import (
    Fault,
    is_number,
    is_text,
    number,
    some_names,
    whole,
    worded,
    wrong_counts,
    wrong_numbers,
    wrong_texts,
    wrong_words,
)

#: Most resamples of a bootstrap: more change no decision, and cost hours.
MOST_RESAMPLES = 100_000
FEWEST_RESAMPLES = 100
#: Nobody has the resamples to say more.
MOST_CONFIDENCE = 0.999


class Better(StrEnum):
    """Which way a metric gets better."""

    HIGHER = "higher"
    LOWER = "lower"


class Answer(StrEnum):
    """What the gate says to something that is neither good nor bad by itself."""

    ACCEPT = "accept"
    REJECT = "reject"


class Small(StrEnum):
    """What becomes of a slice with too few rows."""

    REJECT = "reject"
    SKIP = "skip"


class Method(StrEnum):
    """How the ends of a bootstrap's interval are found."""

    BCA = "bca"
    PERCENTILE = "percentile"


class Wanted(StrEnum):
    """When an interval is asked for."""

    ALWAYS = "always"
    WHEN_WRITTEN = "when_written"


def to_better(said: Any) -> Any:
    """Read the word; what is none stays."""
    return worded(Better, said)


def to_answer(said: Any) -> Any:
    """Read the word; what is none stays."""
    return worded(Answer, said)


def to_small(said: Any) -> Any:
    """Read the word; what is none stays."""
    return worded(Small, said)


def to_method(said: Any) -> Any:
    """Read the word; what is none stays."""
    return worded(Method, said)


def to_wanted(said: Any) -> Any:
    """Read the word; what is none stays."""
    return worded(Wanted, said)


@frozen(kw_only=True)
class Slices:
    """Which slices of the test data a rule is about.

    Attributes:
        names: Patterns of their names as a shell has them, such as ``sex=*``; each must fit one slice at least. All
            slices unless told otherwise.
        rows_at_least: The fewest rows of a slice whose figures mean something.
        small: What becomes of a slice with fewer: ``reject`` is a no, ``skip`` leaves it out. If all are left out, it
            is a no.
        gone: What becomes of a slice that the champion's evaluation has and the challenger's has not.
    """

    names: tuple[str, ...] = member(default=("*",), converter=some_names)
    rows_at_least: int = member(default=1, converter=whole)
    small: Small = member(default=Small.REJECT, converter=to_small)
    gone: Answer = member(default=Answer.REJECT, converter=to_answer)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what has the form of the policy's JSON Schema."""
        return cls(**raw)

    def faults(self) -> list[Fault]:
        """Say what is wrong with it, by its members; an empty list when nothing is."""
        bad = [name for name in self.names if not is_text(name)]
        return [
            *([] if self.names else [Fault(("names",), "names is empty; a rule for no slice says nothing")]),
            *([Fault(("names",), f"names has {bad[0]!r:.40}, which is no pattern of a name")] if bad else []),
            *wrong_counts(self, rows_at_least=(1, None)),
            *wrong_words(self, Small, "small"),
            *wrong_words(self, Answer, "gone"),
        ]


def _faults_of_slices(over: Slices) -> list[Fault]:
    if not isinstance(over, Slices):
        return [Fault(("over",), f"over is {over!r:.40}; it must be Slices(names=...)")]
    return [fault.below("over") for fault in over.faults()]


@frozen(kw_only=True)
class Threshold:
    """A metric of the challenger, by itself; both bounds are included.

    Attributes:
        metric: Its name in the evaluation.
        at_least: The lowest value that passes.
        at_most: The highest value that passes.
    """

    metric: str
    at_least: float | None = member(default=None, converter=number)
    at_most: float | None = member(default=None, converter=number)

    def faults(self) -> list[Fault]:
        """Say what is wrong with it, by its members; an empty list when nothing is."""
        return [*wrong_texts(self, "metric"), *wrong_numbers(self, "at_least", "at_most"), *self._contradictions()]

    def _contradictions(self) -> Iterator[Fault]:
        low, high = self.at_least, self.at_most
        if low is None and high is None:
            yield Fault((), "a threshold needs at_least, at_most, or both")
        elif low is not None and high is not None and is_number(low) and is_number(high) and low > high:
            yield Fault(("at_least",), f"at_least {low:.6g} is above at_most {high:.6g}: nothing can pass")


@frozen(kw_only=True)
class Comparison:
    """A metric of the challenger against the champion's, measured on the same data.

    A comparison asks for an improvement, or, with ``worse_by`` or ``worse_by_share``, that the challenger is not much
    worse. Of two figures given for the same, both must hold.

    Attributes:
        metric: Its name in the evaluations.
        better: Which way it gets better.
        improve_by: The least improvement, in the metric's unit; included.
        improve_by_share: The least improvement as a share of the champion's value: 0.01 is one in a hundred.
        ties: What becomes of exactly the same value, where no least improvement is asked for.
        worse_by: By how much it may be worse, in the metric's unit; included.
        worse_by_share: By what share of the champion's value it may be worse.
    """

    metric: str
    better: Better = member(converter=to_better)
    improve_by: float = member(default=0.0, converter=number)
    improve_by_share: float = member(default=0.0, converter=number)
    ties: Answer = member(default=Answer.REJECT, converter=to_answer)
    worse_by: float | None = member(default=None, converter=number)
    worse_by_share: float | None = member(default=None, converter=number)

    @property
    def may_be_worse(self) -> bool:
        """Whether it asks for no improvement, but for no more than some loss."""
        return self.worse_by is not None or self.worse_by_share is not None

    def faults(self) -> list[Fault]:
        """Say what is wrong with it, by its members; an empty list when nothing is."""
        numbers = ("improve_by", "improve_by_share", "worse_by", "worse_by_share")
        missing = [name for name in numbers[:2] if getattr(self, name) is None]
        return [
            *wrong_texts(self, "metric"),
            *wrong_words(self, Better, "better"),
            *wrong_words(self, Answer, "ties"),
            *[Fault((name,), f"{name} is None; it must be a finite number") for name in missing],
            *wrong_numbers(self, *numbers, negative=False),
            *self._contradictions(),
        ]

    def _contradictions(self) -> Iterator[Fault]:
        improves = [name for name in ("improve_by", "improve_by_share") if getattr(self, name) not in (0, None)]
        if improves and self.may_be_worse:
            yield Fault((improves[0],), f"{improves[0]} asks for an improvement, and worse_by allows a loss: keep one")
        if self.ties is Answer.ACCEPT and improves:
            yield Fault(("ties",), f"ties are accepted, and {improves[0]} asks for an improvement: keep one")


@frozen(kw_only=True)
class IntervalRule:
    """An interval around the mean difference of the losses of single rows, challenger less champion.

    It is a bootstrap over the same rows of both (paired). A loss is lower where it is better, so the upper end of the
    interval decides: it must be below 0, below ``-improve_by``, or, with ``worse_by``, no higher than that.

    Attributes:
        loss: The loss, as ``losses.column`` of the evaluations names it.
        confidence: Of the interval, two-sided, above 0.5 and up to 0.999.
        resamples: How many times the rows are drawn anew, from 100 to 100,000.
        seed: Of the random numbers, so that the same losses give the same interval.
        method: ``bca`` (bias-corrected and accelerated) or ``percentile``.
        improve_by: The improvement that the whole interval must show, in the loss's unit.
        worse_by: By how much the mean loss may be higher.
        rows_at_least: The fewest rows from which such an interval is trusted.
        wanted: ``when_written`` asks for the interval only where the champion's evaluation wrote its losses.
    """

    loss: str
    confidence: float = member(default=0.95, converter=number)
    resamples: int = member(default=1000, converter=whole)
    seed: int = member(default=0, converter=whole)
    method: Method = member(default=Method.BCA, converter=to_method)
    improve_by: float = member(default=0.0, converter=number)
    worse_by: float | None = member(default=None, converter=number)
    rows_at_least: int = member(default=30, converter=whole)
    wanted: Wanted = member(default=Wanted.ALWAYS, converter=to_wanted)

    def faults(self) -> list[Fault]:
        """Say what is wrong with it, by its members; an empty list when nothing is."""
        return [
            *wrong_texts(self, "loss"),
            *wrong_numbers(self, "confidence", "improve_by", "worse_by", negative=False),
            *wrong_counts(
                self,
                resamples=(FEWEST_RESAMPLES, MOST_RESAMPLES),
                seed=(0, 2**63 - 1),
                rows_at_least=(2, None),
            ),
            *wrong_words(self, Method, "method"),
            *wrong_words(self, Wanted, "wanted"),
            *self._contradictions(),
        ]

    def _contradictions(self) -> Iterator[Fault]:
        if is_number(self.confidence) and not 0.5 < self.confidence <= MOST_CONFIDENCE:  # noqa: PLR2004  # a coin's
            said = f"confidence is {self.confidence:.6g}; it must be above 0.5 and at most {MOST_CONFIDENCE}"
            yield Fault(("confidence",), said)
        if self.improve_by is None:
            yield Fault(("improve_by",), "improve_by is None; it must be a finite number")
        elif self.improve_by and self.worse_by is not None:
            yield Fault(("improve_by",), "improve_by asks for an improvement, and worse_by allows a loss: keep one")


@frozen(kw_only=True)
class SliceRule:
    """A metric on slices of the test data: none may be too bad, none much worse than the champion's.

    Attributes:
        metric: Its name in the slices of the evaluation.
        better: Which way it gets better.
        at_least: The lowest value of the worst slice that passes, of a metric that is better higher.
        at_most: The highest value of the worst slice that passes, of a metric that is better lower.
        worse_by: By how much a slice may be worse than the champion's, in the metric's unit.
        worse_by_share: By what share of the champion's value a slice may be worse.
        over: Which slices.
    """

    metric: str
    better: Better = member(converter=to_better)
    at_least: float | None = member(default=None, converter=number)
    at_most: float | None = member(default=None, converter=number)
    worse_by: float | None = member(default=None, converter=number)
    worse_by_share: float | None = member(default=None, converter=number)
    over: Slices = member(factory=Slices)

    @property
    def bound(self) -> float | None:
        """What the worst slice must reach."""
        return self.at_least if self.better is Better.HIGHER else self.at_most

    def faults(self) -> list[Fault]:
        """Say what is wrong with it, by its members; an empty list when nothing is."""
        return [
            *wrong_texts(self, "metric"),
            *wrong_words(self, Better, "better"),
            *wrong_numbers(self, "at_least", "at_most"),
            *wrong_numbers(self, "worse_by", "worse_by_share", negative=False),
            *self._contradictions(),
            *_faults_of_slices(self.over),
        ]

    def _contradictions(self) -> Iterator[Fault]:
        if self.at_least is None and self.at_most is None and not compares(self):
            yield Fault(
                (), "a rule for slices needs at_least, at_most, worse_by or worse_by_share; it asks for nothing"
            )
        if self.better is Better.LOWER and self.at_least is not None:
            yield Fault(("at_least",), "at_least is for a metric that is better higher, and this is better lower")
        if self.better is Better.HIGHER and self.at_most is not None:
            yield Fault(("at_most",), "at_most is for a metric that is better lower, and this is better higher")


@frozen(kw_only=True)
class Guard:
    """A cost that may not grow while the model gets better: latency, size, or the gap between slices.

    Attributes:
        metric: Its name in the evaluation; lower is better.
        at_most: The highest value that passes; included.
        worse_by: By how much it may be above the champion's, in its unit.
        worse_by_share: By what share of the champion's it may be above it.
        over: Slices: the guard is then the gap, that is the highest value among them less the lowest.
    """

    metric: str
    at_most: float | None = member(default=None, converter=number)
    worse_by: float | None = member(default=None, converter=number)
    worse_by_share: float | None = member(default=None, converter=number)
    over: Slices | None = None

    def faults(self) -> list[Fault]:
        """Say what is wrong with it, by its members; an empty list when nothing is."""
        return [
            *wrong_texts(self, "metric"),
            *wrong_numbers(self, "at_most"),
            *wrong_numbers(self, "worse_by", "worse_by_share", negative=False),
            *self._contradictions(),
            *([] if self.over is None else _faults_of_slices(self.over)),
        ]

    def _contradictions(self) -> Iterator[Fault]:
        if self.at_most is None and not compares(self):
            yield Fault((), "a guard needs at_most, worse_by or worse_by_share; it asks for nothing")
        if self.over and self.at_most is not None and is_number(self.at_most) and self.at_most < 0:
            yield Fault(("at_most",), f"at_most is {self.at_most:g}, and a gap is never below 0: nothing can pass")


#: Whatever a policy asks.
Rule = Threshold | Comparison | IntervalRule | SliceRule | Guard


def compares(rule: Rule) -> bool:
    """Whether a rule looks at the champion."""
    match rule:
        case Threshold():
            return False
        case SliceRule() | Guard():
            return rule.worse_by is not None or rule.worse_by_share is not None
        case Comparison() | IntervalRule():
            return True


def stands_alone(rule: Rule) -> bool:
    """Whether a rule says something of a model that has no champion beside it."""
    match rule:
        case Threshold():
            return True
        case SliceRule():
            return rule.bound is not None
        case Guard():
            return rule.at_most is not None
        case Comparison() | IntervalRule():
            return False

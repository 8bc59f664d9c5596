"""What a retraining came to, for people and for what follows."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import frozen

#: Raised by one when a field changes its meaning.
SCHEMA = 1
#: How many reasons are told, and how much of each. Characters.
MOST_REASONS, LONGEST_REASON = 10, 200


class Outcome(StrEnum):
    """How a retraining may end well."""

    #: The new model is the champion.
    CHAMPION = "champion"
    #: It is registered, and is not the champion: another one was crowned meanwhile.
    CHALLENGER = "challenger"
    #: The gate said no; nothing is registered.
    REJECTED = "rejected"
    #: Data failed its tests; nothing was trained.
    UNFIT_DATA = "unfit data"
    #: There was nothing to do: no data in the window, or another run retrains the model.
    NOTHING = "nothing"


@frozen(kw_only=True)
class RetrainingOutcome:
    """What a retraining came to.

    Attributes:
        version: The version that was registered; empty for none.
        reasons: Why it came to that, of a no each reason.
        kept_at: Where data that failed is kept; empty where none failed, or it is not kept.
    """

    model: str
    outcome: Outcome
    version: str = ""
    reasons: tuple[str, ...] = ()
    kept_at: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        model: str,
        *,
        tested: Sequence[Mapping[str, Any]] = (),
        verdict: Mapping[str, Any] | None = None,
        registered: Mapping[str, Any] | None = None,
    ) -> "RetrainingOutcome":
        """Read it from what the tasks returned.

        Args:
            model: The model's name.
            tested: What each data test returned.
            verdict: What the gate returned; None where it was not asked.
            registered: What registering returned; None where nothing was registered.
        """
        if registered:
            return cls._registered(model, registered)
        if verdict is not None:
            failed = [each for each in verdict.get("findings") or () if each.get("passed") is not True]
            reasons = [str(each.get("reason") or "") for each in failed]
            return cls(model=model, outcome=Outcome.REJECTED, reasons=_short(reasons or ["Nothing was checked."]))
        unfit = [each for each in tested if each.get("accepted") is not True]
        if unfit:
            return cls(
                model=model,
                outcome=Outcome.UNFIT_DATA,
                reasons=_short([words for each in unfit for words in _reasons_of(each)]),
                kept_at=tuple(str(each["quarantine"]) for each in unfit if each.get("quarantine")),
            )
        return cls(model=model, outcome=Outcome.NOTHING)

    @classmethod
    def _registered(cls, model: str, told: Mapping[str, Any]) -> "RetrainingOutcome":
        is_champion = told.get("stage") == Outcome.CHAMPION.value
        return cls(
            model=model,
            outcome=Outcome.CHAMPION if is_champion else Outcome.CHALLENGER,
            version=str(told.get("version") or ""),
            reasons=_short([str(told["reason"])] if told.get("reason") else []),
        )

    @property
    def sentence(self) -> str:
        """Say it in a sentence, and after it the reasons."""
        kept = [f"Kept at {place}." for place in self.kept_at]
        return " ".join([self._said, *self.reasons, *kept])

    @property
    def _said(self) -> str:
        match self.outcome:
            case Outcome.CHAMPION:
                return f"Version {self.version} of model {self.model} is registered, and is the champion."
            case Outcome.CHALLENGER:
                return f"Version {self.version} of model {self.model} is registered, and is not the champion."
            case Outcome.REJECTED:
                return f"The new model is rejected; nothing is registered, and the champion of {self.model} stays."
            case Outcome.UNFIT_DATA:
                return f"Data failed its tests; model {self.model} was not trained."
            case Outcome.NOTHING:
                return f"There was nothing to do; model {self.model} was not trained."

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON of less than 4 kB: ``schema``, ``model``, ``outcome``, ``version``, ``reasons``,
        ``kept_at``.
        """  # noqa: D205  # the list of fields is the sentence
        return {
            "schema": SCHEMA,
            "model": self.model,
            "outcome": self.outcome.value,
            "version": self.version,
            "reasons": list(self.reasons),
            "kept_at": [place[: 2 * LONGEST_REASON] for place in self.kept_at[:2]],
        }


def _reasons_of(told: Mapping[str, Any]) -> list[str]:
    where = str(told.get("path") or "").rpartition("/paths/")[2]
    return [f"{where}: {each.get('reason')}" for each in told.get("failed") or ()] or [f"{where}: it did not pass."]


def _short(reasons: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        each if len(each) <= LONGEST_REASON else f"{each[: LONGEST_REASON - 1]}…" for each in reasons[:MOST_REASONS]
    )

"""What a promotion came to, for people and for what follows."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import frozen

from airflow_azureml.core.retraining_outcomes import LONGEST_REASON, MOST_REASONS

#: Raised by one when a field changes its meaning.
SCHEMA = 1


class Promoted(StrEnum):
    """How a promotion may end well."""

    #: It is in production now.
    PROMOTED = "promoted"
    #: It was in production before; nothing was trained or registered.
    WAS_THERE = "was there"
    #: A gate said no.
    REJECTED = "rejected"
    #: A person said no, or nobody answered in time.
    NOT_APPROVED = "not approved"
    #: What was to be done was skipped, for a reason that its task tells.
    NOTHING = "nothing"


@frozen(kw_only=True)
class PromotionOutcome:
    """What a promotion came to.

    Attributes:
        what: What was to be promoted.
        sha: The commit.
        environment: Where it ended: where a gate or a person said no, or else the last one.
        reasons: Why, of a no each reason.
        by: Who approved or did not; empty where nobody was asked.
        model: The version that is in production now, ``NAME:VERSION`` or its id in a registry; empty for none.
    """

    what: str
    sha: str
    outcome: Promoted
    environment: str = ""
    reasons: tuple[str, ...] = ()
    by: str = ""
    model: str = ""

    @classmethod
    def of(  # noqa: PLR0913  # what each task left, and all but the first two by name
        cls,
        what: str,
        sha: str,
        *,
        verdicts: Mapping[str, Mapping[str, Any]],
        approvals: Mapping[str, Mapping[str, Any]],
        entered: Mapping[str, Mapping[str, Any]],
        final: Any,
        model: str = "",
    ) -> "PromotionOutcome":
        """Read it from what the tasks left; those that were skipped left nothing.

        Args:
            what: What was to be promoted.
            sha: The commit.
            verdicts: What gates decided, by environment, in order.
            approvals: What persons decided, by environment.
            entered: What had passed before, by environment; the last one is production.
            final: What the last task of production returned; None where it did not run.
            model: What is in production then, where ``final`` does not say.
        """
        by = next((str(each.get("by") or "") for each in reversed(list(approvals.values()))), "")
        told: dict[str, Any] = {"what": what, "sha": sha, "by": by}
        if isinstance(final, Mapping):
            return cls(
                **told, outcome=Promoted.PROMOTED, model=_text(final, "model") or model, environment=_last(entered)
            )
        for name, verdict in verdicts.items():
            if verdict.get("accepted") is not True:
                failed = [each for each in verdict.get("findings") or () if each.get("passed") is not True]
                reasons = _short([str(each.get("reason") or "") for each in failed] or ["Nothing was checked."])
                return cls(**told, outcome=Promoted.REJECTED, environment=name, reasons=reasons)
        for name, approval in approvals.items():
            if approval.get("approved") is not True:
                note = _short([_text(approval, "note")] if approval.get("note") else [])
                return cls(**told, outcome=Promoted.NOT_APPROVED, environment=name, reasons=note)
        if entered and _of_last(entered).get("passed") is True:
            return cls(**told, outcome=Promoted.WAS_THERE, environment=_last(entered))
        return cls(**told, outcome=Promoted.NOTHING, environment=_last(entered))

    @property
    def sentence(self) -> str:
        """Say it in a sentence, and after it the reasons."""
        return " ".join([self._said, *self.reasons])

    @property
    def _said(self) -> str:
        subject = f"{self.what} of commit {self.sha}"
        match self.outcome:
            case Promoted.PROMOTED:
                made = f", as {self.model}" if self.model else ""
                return f"{subject} is in {self.environment}{made}."
            case Promoted.WAS_THERE:
                return f"{subject} was in {self.environment} already; nothing was trained or registered."
            case Promoted.REJECTED:
                return f"{subject} was rejected by the gate in {self.environment}; what users have stays."
            case Promoted.NOT_APPROVED:
                return f"{subject} has passed {self.environment}, and was not approved, by {self.by or 'nobody'}."
            case Promoted.NOTHING:
                return f"{subject} went no further than {self.environment or 'its first environment'}."

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON of less than 4 kB, with the fields that this class has, and ``schema``."""
        return {
            "schema": SCHEMA,
            "what": self.what,
            "sha": self.sha,
            "outcome": self.outcome.value,
            "environment": self.environment,
            "reasons": list(self.reasons),
            "by": self.by,
            "model": self.model,
        }


def _text(raw: Mapping[str, Any], name: str) -> str:
    return str(raw.get(name) or "")


def _last(entered: Mapping[str, Any]) -> str:
    return next(reversed(list(entered)), "")


def _of_last(entered: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return entered[_last(entered)]


def _short(reasons: Sequence[str]) -> tuple[str, ...]:
    return tuple(each[:LONGEST_REASON] for each in reasons[:MOST_REASONS])

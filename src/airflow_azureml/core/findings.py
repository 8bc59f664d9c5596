"""What was checked and what was found: a verdict, with its reasons as values."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.errors import ProtocolError

#: Raised by one when a field changes its meaning.
SCHEMA = 1


def _finite(number: Any) -> float | None:
    """Keep a finite number; JSON has no other."""
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    try:
        value = float(number)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


@frozen(kw_only=True)
class Finding:
    """One thing that was checked.

    Attributes:
        check: What was asked, in few words: ``rmse at most 60``.
        passed: Whether it holds.
        reason: What was found, one sentence.
        subject: The metric, column or slice it is about; empty for the whole.
        value: The figure that decided; None where there is none, or where it is no finite number.
        against: The figure it was compared with, such as the champion's; None likewise.
        low: Lower end of the interval around the difference or the value; None where none was computed.
        high: Its upper end.
    """

    check: str
    passed: bool
    reason: str
    subject: str = ""
    value: float | None = field(default=None, converter=_finite)
    against: float | None = field(default=None, converter=_finite)
    low: float | None = field(default=None, converter=_finite)
    high: float | None = field(default=None, converter=_finite)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no finding.
        """
        check, passed, reason = raw.get("check"), raw.get("passed"), raw.get("reason")
        if not (isinstance(check, str) and isinstance(passed, bool) and isinstance(reason, str)):
            raise ProtocolError(f"A finding needs check, passed and reason, and is {dict(raw)!r:.200}.")
        figures = {name: raw.get(name) for name in ("value", "against", "low", "high")}
        return cls(check=check, passed=passed, reason=reason, subject=str(raw.get("subject") or ""), **figures)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it; what is None or empty is left out."""
        told: dict[str, Any] = {"check": self.check, "passed": self.passed, "reason": self.reason}
        rest = {
            "subject": self.subject or None,
            "value": self.value,
            "against": self.against,
            "low": self.low,
            "high": self.high,
        }
        return told | {name: value for name, value in rest.items() if value is not None}


@frozen(kw_only=True)
class Verdict:
    """What was decided, and why. It is a yes only when something was checked and all of it holds.

    Attributes:
        subject: What was judged, for people.
        policy: The rules it was judged by: a name, a version and a digest, as the policy tells them.
        findings: What was checked.
        facts: What else a reader wants to know, such as the job, the champion and the versions of the data.
    """

    subject: str
    policy: str
    findings: tuple[Finding, ...] = field(converter=tuple[Finding, ...])
    facts: Mapping[str, str] = field(factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether it is a yes."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """What does not hold."""
        return tuple(finding for finding in self.findings if not finding.passed)

    @property
    def sentence(self) -> str:
        """Say what was decided, and of a no the reasons."""
        if self.accepted:
            return f"{self.subject}: accepted, {len(self.findings)} of {len(self.findings)} checks passed."
        if not self.findings:
            return f"{self.subject}: rejected, since nothing was checked."
        reasons = " ".join(finding.reason for finding in self.failed)
        return f"{self.subject}: rejected, {len(self.failed)} of {len(self.findings)} checks failed. {reasons}"

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no verdict, of another schema, or says of itself what its findings do not.
        """
        if raw.get("schema") != SCHEMA:
            raise ProtocolError(f"The verdict is of schema {raw.get('schema')!r}; this version reads {SCHEMA}.")
        entries = raw.get("findings")
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise ProtocolError("The verdict's findings are no list of objects.")
        verdict = cls(
            subject=str(raw.get("subject") or ""),
            policy=str(raw.get("policy") or ""),
            findings=[Finding.from_wire(entry) for entry in entries],
            facts=_texts(raw.get("facts") or {}),
        )
        if raw.get("accepted") is not verdict.accepted:
            raise ProtocolError(f"The verdict says accepted={raw.get('accepted')!r}, and its findings say otherwise.")
        return verdict

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {
            "schema": SCHEMA,
            "accepted": self.accepted,
            "subject": self.subject,
            "policy": self.policy,
            "findings": [finding.to_wire() for finding in self.findings],
            "facts": dict(self.facts),
        }


def _texts(raw: Any) -> dict[str, str]:
    pairs: Iterable[tuple[Any, Any]] = raw.items() if isinstance(raw, Mapping) else ()
    return {str(name): str(value) for name, value in pairs}

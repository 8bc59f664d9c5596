"""Whether drift asks for a retraining: so many of the last windows, and the latest, and not too soon."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from attrs import field, frozen

from airflow_azureml.core.findings import Finding

#: Columns of a window that a table and a result name, and how much of a name they show.
NAMED, LONGEST = 10, 60


@frozen(kw_only=True)
class DriftPolicy:
    """When drift asks for a retraining: where ``violated`` of the last ``of`` windows violate, the latest among them.

    Attributes:
        violated: How many of them, from 1 to ``of``.
        of: How many windows are looked at; those that are missing or thin do not violate.
        cool_down: How long after a retraining no other is asked for.
        min_rows: A window with fewer rows is thin: it is not judged.
    """

    violated: int = 2
    of: int = 3
    cool_down: timedelta = timedelta(days=7)
    min_rows: int = 100

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        counts = 1 <= self.violated <= self.of
        return [
            *([] if counts else [f"violated is {self.violated} of {self.of}; it must be from 1 to of"]),
            *([] if self.cool_down >= timedelta(0) else ["cool_down is negative"]),
            *([] if self.min_rows >= 1 else [f"min_rows is {self.min_rows}; it must be 1 or more"]),
        ]

    def __str__(self) -> str:
        return f"{self.violated} of {self.of} windows and the latest, cool-down {self.cool_down}"


class WindowState(Enum):
    """What a window shows."""

    HELD = "held"
    VIOLATED = "violated"
    THIN = "too few rows"
    MISSING = "no rows"
    UNJUDGED = "nothing was checked"


@frozen(kw_only=True)
class WindowVerdict:
    """What was found in one window.

    Attributes:
        window: What it is called.
        rows: How many rows it has.
        findings: What was checked against the reference; empty where nothing was. One that failed without a figure
            could not be checked, which is no drift.
    """

    window: str
    rows: int
    findings: tuple[Finding, ...] = field(default=(), converter=tuple[Finding, ...])

    def state(self, policy: DriftPolicy) -> WindowState:
        """Tell what it shows, by a policy's least number of rows."""
        if self.rows <= 0:
            return WindowState.MISSING
        if self.rows < policy.min_rows:
            return WindowState.THIN
        if all(each.value is None for each in self.findings):
            return WindowState.UNJUDGED
        return WindowState.VIOLATED if self.columns else WindowState.HELD

    @property
    def columns(self) -> tuple[str, ...]:
        """What violates, each once, in the order of the findings."""
        failed = (each.subject or each.check for each in self.findings if not each.passed and each.value is not None)
        return tuple(dict.fromkeys(failed))

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What could not be checked, likewise."""
        failed = (each.subject or each.check for each in self.findings if not each.passed and each.value is None)
        return tuple(dict.fromkeys(failed))


@frozen(kw_only=True)
class Retrain:
    """A retraining is asked for.

    Attributes:
        windows: What was looked at, oldest first.
        findings: The rules of the policy, all of which hold.
    """

    windows: tuple[WindowVerdict, ...]
    findings: tuple[Finding, ...]


@frozen(kw_only=True)
class Wait:
    """None is.

    Attributes:
        windows: What was looked at, oldest first.
        findings: The rules of the policy, one of which at least does not hold.
    """

    windows: tuple[WindowVerdict, ...]
    findings: tuple[Finding, ...]


Decision = Retrain | Wait


def decide(
    windows: Sequence[WindowVerdict],
    policy: DriftPolicy,
    *,
    now: datetime,
    retrained_at: datetime | None = None,
    retraining: str = "",
) -> Decision:
    """Decide whether the latest window asks for a retraining.

    Args:
        windows: Oldest first; the last one is the latest, and only as many as the policy says count.
        policy: The rules.
        now: With its zone.
        retrained_at: When a retraining last began or was asked for; None where that is not known to have been.
        retraining: What retrains the model at the moment; empty for nothing.
    """
    seen = tuple(windows[-policy.of :])
    findings = (
        _latest(seen, policy),
        _enough(seen, policy),
        _alone(retraining),
        _cooled(policy, now=now, retrained_at=retrained_at),
    )
    if all(each.passed for each in findings):
        return Retrain(windows=seen, findings=findings)
    return Wait(windows=seen, findings=findings)


def _latest(seen: Sequence[WindowVerdict], policy: DriftPolicy) -> Finding:
    check = "the latest window violates"
    if not seen:
        return Finding(check=check, passed=False, reason="There is no window.")
    state = seen[-1].state(policy)
    words = {
        WindowState.HELD: "is within its bounds",
        WindowState.VIOLATED: f"violates in {_few(seen[-1].columns)}",
        WindowState.THIN: f"has {seen[-1].rows} rows, and {policy.min_rows} are the least",
        WindowState.MISSING: "has no rows",
        WindowState.UNJUDGED: "was not checked in any column",
    }
    passed = state is WindowState.VIOLATED
    return Finding(check=check, passed=passed, reason=f"The latest window, {seen[-1].window}, {words[state]}.")


def _enough(seen: Sequence[WindowVerdict], policy: DriftPolicy) -> Finding:
    violated = [each.window for each in seen if each.state(policy) is WindowState.VIOLATED]
    silent = [each.window for each in seen if each.state(policy) not in {WindowState.VIOLATED, WindowState.HELD}]
    missing = f" {len(silent) + policy.of - len(seen)} could not be judged." if silent or len(seen) < policy.of else ""
    return Finding(
        check=f"at least {policy.violated} of {policy.of} windows violate",
        passed=len(violated) >= policy.violated,
        reason=f"{len(violated)} of the last {policy.of} windows violate; {policy.violated} are needed.{missing}",
        value=len(violated),
        against=policy.violated,
    )


def _alone(retraining: str) -> Finding:
    reason = f"A retraining is under way: {retraining}." if retraining else "No retraining is under way."
    return Finding(check="no retraining is under way", passed=not retraining, reason=reason)


def _cooled(policy: DriftPolicy, *, now: datetime, retrained_at: datetime | None) -> Finding:
    check = f"the last retraining is {policy.cool_down} ago"
    if retrained_at is None:
        return Finding(check=check, passed=True, reason="No retraining is known.")
    over = retrained_at + policy.cool_down
    words = f"The last retraining was at {_time(retrained_at)}"
    if now >= over:
        return Finding(check=check, passed=True, reason=f"{words}, and the cool-down ended at {_time(over)}.")
    return Finding(check=check, passed=False, reason=f"{words}; the cool-down ends at {_time(over)}.")


def table(decision: Decision, policy: DriftPolicy) -> str:
    """Write a decision as a table that a person reads: the windows, then the rules."""
    rows = [("window", "rows", "verdict", "violates in")]
    rows += [(each.window, str(each.rows), each.state(policy).value, _where(each)) for each in decision.windows]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    lines = [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]}".rstrip() for row in rows]
    rules = [f"{'yes' if each.passed else 'no ':<3}  {each.check}: {each.reason}" for each in decision.findings]
    return "\n".join([*lines, "", *rules, "", sentence(decision)])


def sentence(decision: Decision) -> str:
    """Say what was decided, and of a no why."""
    match decision:
        case Retrain():
            return "A retraining is asked for."
        case Wait():
            return "No retraining: " + " ".join(each.reason for each in decision.findings if not each.passed)


def told(decision: Decision, policy: DriftPolicy) -> dict[str, Any]:
    """Write a decision as a small result: less than 3 kB for ten windows."""
    return {
        "decision": "retrain" if isinstance(decision, Retrain) else "wait",
        "window": decision.windows[-1].window if decision.windows else "",
        "why": sentence(decision)[:1000],
        "windows": [
            {
                "window": each.window,
                "rows": each.rows,
                "verdict": each.state(policy).value,
                "columns": [name[:LONGEST] for name in each.columns[:3]],
            }
            for each in decision.windows[-NAMED:]
        ],
    }


def _where(verdict: WindowVerdict) -> str:
    unchecked = f"; not checked: {_few(verdict.unchecked)}" if verdict.unchecked else ""
    return (_few(verdict.columns) or "-") + unchecked


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(name[:LONGEST] for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")

"""The gate: whether a model may be registered, by a policy, and why.

The gate fails closed. What is missing, no finite number, of another data version or from a reused step is a no. Every
rule makes findings of its own and nothing but a finding that failed makes a no, so that one more rule never turns a no
into a yes, and no order of the rules matters.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.evaluation import Evaluation, Losses, Measured, shown
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.gate_checks import findings_of
from airflow_azureml.core.gate_evidence import Evidence
from airflow_azureml.core.gate_faults import contradictions
from airflow_azureml.core.gate_members import (
    Fault,
    is_number,
    number,
    sparse,
    whole,
    wrong_counts,
    wrong_numbers,
    wrong_texts,
    wrong_words,
)
from airflow_azureml.core.gate_rules import (
    Answer,
    Better,
    Comparison,
    Guard,
    IntervalRule,
    Method,
    Rule,
    SliceRule,
    Slices,
    Small,
    Threshold,
    Wanted,
    compares,
    stands_alone,
    to_answer,
)
from airflow_azureml.core.intervals import Interval
from airflow_azureml.errors import ConfigError

__all__ = [
    "Answer",
    "Better",
    "Comparison",
    "Evaluation",
    "Fault",
    "Finding",
    "Guard",
    "Interval",
    "IntervalRule",
    "Losses",
    "Measured",
    "Method",
    "Needs",
    "Policy",
    "SliceRule",
    "Slices",
    "Small",
    "Threshold",
    "Verdict",
    "Wanted",
    "judge",
]

#: Raised by one when a member changes its meaning.
SCHEMA = 1
#: How far the clock of whoever evaluates may be ahead of ours. Seconds.
CLOCKS_DIFFER_S = 300.0
#: Characters that are told of what an evaluation says of itself.
_LONGEST_FACT = 200
#: The members that hold rules, and of what kind.
KINDS: Mapping[str, type[Rule]] = {
    "thresholds": Threshold,
    "comparisons": Comparison,
    "intervals": IntervalRule,
    "slices": SliceRule,
    "guards": Guard,
}


@frozen(kw_only=True)
class Needs:
    """What a policy wants to see, beside the challenger's evaluation.

    Attributes:
        champion: Whether the champion's evaluation is compared with. It must be of the challenger's test data; where it
            is not, evaluate the champion anew.
        slices: Whether the evaluations must have slices.
        intervals: The intervals to compute from the losses of both, each for `IntervalRule.loss`.
        made_at: Whether the challenger's evaluation must say when it was made.
    """

    champion: bool = False
    slices: bool = False
    intervals: tuple[IntervalRule, ...] = ()
    made_at: bool = False


@frozen(kw_only=True)
class Policy:
    """What a model must hold to be registered.

    Attributes:
        name: What it is called.
        version: Of the policy, as its owners count it.
        no_champion: What is said while no model has been registered yet. ``accept`` leaves it to the rules that need
            no champion, ``reject`` waits for a person to register the first. To be given where a rule compares.
        rows_at_least: The fewest rows of test data.
        max_age_hours: How old the challenger's evaluation may be; None for any age.
        thresholds: Metrics by themselves.
        comparisons: Metrics against the champion's.
        intervals: Intervals around the difference of both models' losses.
        slices: Metrics on slices of the test data.
        guards: Costs that may not grow.
    """

    name: str
    version: str
    no_champion: Answer | None = field(default=None, converter=to_answer)
    rows_at_least: int = field(default=1, converter=whole)
    max_age_hours: float | None = field(default=None, converter=number)
    thresholds: Sequence[Threshold] = field(default=(), converter=tuple[Threshold, ...])
    comparisons: Sequence[Comparison] = field(default=(), converter=tuple[Comparison, ...])
    intervals: Sequence[IntervalRule] = field(default=(), converter=tuple[IntervalRule, ...])
    slices: Sequence[SliceRule] = field(default=(), converter=tuple[SliceRule, ...])
    guards: Sequence[Guard] = field(default=(), converter=tuple[Guard, ...])

    def faults(self) -> list[Fault]:
        """Say what is wrong with it, and where; an empty list when nothing is."""
        sections = self.sections
        strange = [
            Fault((section, number), f"this is {rule!r:.60}, not a {KINDS[section].__name__}")
            for section, rules in sections.items()
            for number, rule in enumerate(rules)
            if not isinstance(rule, KINDS[section])
        ]
        return strange or [
            *wrong_texts(self, "name", "version"),
            *wrong_counts(self, rows_at_least=(1, None)),
            *wrong_numbers(self, "max_age_hours"),
            *[
                fault.below(section, number)
                for section, rules in sections.items()
                for number, rule in enumerate(rules)
                for fault in rule.faults()
            ],
            *self._faults_of_the_whole(),
            *contradictions(sections),
        ]

    def _faults_of_the_whole(self) -> Iterator[Fault]:
        rules = [rule for each in self.sections.values() for rule in each]
        if self.max_age_hours is not None and is_number(self.max_age_hours) and self.max_age_hours <= 0:
            yield Fault(("max_age_hours",), f"max_age_hours is {self.max_age_hours:g}; it must be above 0")
        if not rules:
            yield Fault((), f"there is no rule; a policy needs one of {', '.join(KINDS)}")
        if self.no_champion is None:
            if any(map(compares, rules)):
                yield Fault(
                    (), "rules compare with the champion: say no_champion: accept or reject, for the first model"
                )
        elif not isinstance(self.no_champion, Answer):
            yield from wrong_words(self, Answer, "no_champion")
        elif self.no_champion is Answer.ACCEPT and rules and not any(map(stands_alone, rules)):
            told = "no_champion: accept leaves the first model to the rules without a champion, and there is none"
            yield Fault(("no_champion",), f"{told}; add a threshold, or reject")

    def checked(self) -> Self:
        """Give it back when nothing is wrong with it.

        Raises:
            ConfigError: It contradicts itself; the message says all that is wrong.
        """
        faults = self.faults()
        if faults:
            said = "; ".join(f"{place(fault.path)}{fault.message}" for fault in faults)
            raise ConfigError(f"Gate policy {self.name!r:.60}: {said}.")
        return self

    @property
    def sections(self) -> dict[str, tuple[Rule, ...]]:
        """Its rules, by the member that holds them."""
        return {name: tuple(getattr(self, name)) for name in KINDS}

    @property
    def needs(self) -> Needs:
        """What it wants to see, beside the challenger's evaluation."""
        rules = [rule for each in self.sections.values() for rule in each]
        comparing = any(map(compares, rules))
        return Needs(
            champion=comparing,
            slices=any(isinstance(rule, SliceRule) or (isinstance(rule, Guard) and rule.over) for rule in rules),
            intervals=tuple(self.intervals),
            made_at=self.max_age_hours is not None,
        )

    @property
    def digest(self) -> str:
        """What identifies its content: alike for the same rules in another order."""
        told = self.to_wire()
        ordered = told | {name: sorted(map(_canonical, told[name])) for name in KINDS if name in told}
        return f"sha256:{hashlib.sha256(_canonical(ordered).encode()).hexdigest()}"

    def __str__(self) -> str:
        """Name it, as a verdict does."""
        return f"{self.name} {self.version} ({self.digest})"

    def to_wire(self) -> dict[str, Any]:
        """Write it as its file has it; what is as the default has it is left out."""
        return {"schema": SCHEMA, **sparse(self)}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what has the form of the policy's JSON Schema; `airflow_azureml.core.gate_policy` reads the rest."""
        rules = {name: [rule_of(kind, one) for one in raw.get(name, ())] for name, kind in KINDS.items()}
        rest = {name: value for name, value in raw.items() if name != "schema"}
        return cls(**{**rest, "version": str(raw["version"]), **rules})


def judge(
    policy: Policy,
    challenger: Evaluation,
    champion: Evaluation | None,
    *,
    now: datetime,
    intervals: Mapping[str, Interval] | None = None,
    reused: Sequence[str] = (),
) -> Verdict:
    """Decide whether a model may be registered.

    Args:
        policy: What it must hold.
        challenger: Its evaluation; `Evaluation.missing` where there is none.
        champion: The evaluation of the registered model. None says that *there is no champion yet*; where there is one
            whose evaluation cannot be read, give `Evaluation.missing`.
        now: With its zone.
        intervals: Those that the policy needs, by `IntervalRule.loss`.
        reused: The steps that made the evaluation and were not run, since Azure ML had an old result.

    Raises:
        ConfigError: The policy contradicts itself.
    """
    policy.checked()
    evidence = Evidence(
        challenger=challenger, champion=champion, no_champion=policy.no_champion, intervals=intervals or {}
    )
    findings = [*_of_the_evaluation(policy, evidence, now, reused)]
    if not challenger.faults:
        rules = [rule for each in policy.sections.values() for rule in sorted(each, key=_order)]
        findings += [found for rule in rules for found in findings_of(rule, evidence)]
    return Verdict(subject="The challenger", policy=str(policy), findings=findings, facts=_facts(evidence, now))


def _of_the_evaluation(policy: Policy, evidence: Evidence, now: datetime, reused: Sequence[str]) -> Iterator[Finding]:
    """Check what is asked of every evaluation, whatever the rules."""
    one = evidence.challenger
    if reused:
        steps = ", ".join(map(shown, sorted(reused)))
        reason = f"Azure ML did not run {steps}, but took an older job's result: run it anew, with force_rerun."
        yield Finding(check="evaluated in this job", passed=False, reason=reason)
    if one.faults:
        reason = f"The challenger's evaluation cannot be used. {' '.join(one.faults)}"
        yield Finding(check="evaluation can be read", passed=False, reason=reason)
        return
    yield _rows(policy, one)
    if policy.max_age_hours is not None:
        yield _age(policy.max_age_hours, one, now)
    if policy.needs.champion and evidence.champion is not None:
        reason = f"Both were tested on data {shown(one.data_version)}."
        if evidence.apart:
            reason = f"{evidence.apart} Evaluate the champion on the challenger's test data, and judge again."
        yield Finding(check="same test data as the champion", passed=not evidence.apart, reason=reason)


def _rows(policy: Policy, one: Evaluation) -> Finding:
    check = f"at least {policy.rows_at_least} rows of test data"
    if one.rows is None:
        reason = "The challenger's evaluation does not say of how many rows it is (data.rows)."
    else:
        reason = f"The challenger was tested on {one.rows} rows."
    passed = one.rows is not None and one.rows >= policy.rows_at_least
    if one.rows is not None and not passed:
        reason = f"The challenger was tested on {one.rows} rows, fewer than {policy.rows_at_least}: test on more."
    return Finding(check=check, subject="rows", passed=passed, reason=reason, value=one.rows)


def _age(most_hours: float, one: Evaluation, now: datetime) -> Finding:
    check = f"evaluated in the last {most_hours:g} hours"
    if one.made_at is None:
        reason = "The challenger's evaluation does not say when it was made (made_at)."
        return Finding(check=check, subject="age", passed=False, reason=reason)
    hours = (now - one.made_at).total_seconds() / 3600
    passed, reason = hours <= most_hours, f"The challenger was evaluated {max(hours, 0):.1f} hours ago."
    if not passed:
        reason = f"The challenger was evaluated {hours:.1f} hours ago, which is too old: evaluate it anew."
    elif hours < -CLOCKS_DIFFER_S / 3600:
        passed, reason = False, f"The challenger's evaluation is of {one.made_at.isoformat()}, which is yet to come."
    return Finding(check=check, subject="age", passed=passed, reason=reason, value=hours)


def _facts(evidence: Evidence, now: datetime) -> dict[str, str]:
    """Tell what a reader wants to know of both."""
    facts = {"judged at": now.isoformat(timespec="seconds")}
    for who, one in (("challenger", evidence.challenger), ("champion", evidence.champion)):
        if one is None:
            facts[who] = "none yet"
            continue
        told = {
            "data": one.data_version,
            "rows": "" if one.rows is None else str(one.rows),
            "model": one.model_sha256,
            "commit": one.git_sha,
            "evaluated at": one.made_at.isoformat(timespec="seconds") if one.made_at else "",
        }
        facts |= {f"{who} {name}": value[:_LONGEST_FACT] for name, value in told.items() if value}
    return facts


def rule_of(kind: type[Rule], raw: Mapping[str, Any]) -> Rule:
    """Read a rule that has the form of the policy's JSON Schema."""
    over = {"over": Slices.from_wire(raw["over"])} if "over" in raw else {}
    return kind(**{**raw, **over})


def _order(rule: Rule) -> str:
    return _canonical(sparse(rule))


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def place(path: Sequence[str | int]) -> str:
    """Write where a fault is: ``thresholds[0].at_least: ``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text.removeprefix('.')}: " if text else ""

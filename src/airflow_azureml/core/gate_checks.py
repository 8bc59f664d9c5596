"""What each rule of a gate finds."""

from collections.abc import Iterator
from fractions import Fraction

from airflow_azureml.core.evaluation import shown
from airflow_azureml.core.findings import Finding
from airflow_azureml.core.gate_evidence import Evidence, Margin, exact, gain, lookup, percent, told
from airflow_azureml.core.gate_rules import (
    Answer,
    Better,
    Comparison,
    Guard,
    IntervalRule,
    Rule,
    SliceRule,
    Threshold,
    Wanted,
)
from airflow_azureml.core.gate_slices import gap, slices
from airflow_azureml.core.intervals import Interval


def findings_of(rule: Rule, evidence: Evidence) -> Iterator[Finding]:
    """Say what a rule finds: one finding for each thing that it asks."""
    match rule:
        case Threshold():
            yield _threshold(rule, evidence)
        case Comparison():
            yield _comparison(rule, evidence)
        case IntervalRule():
            yield _interval(rule, evidence)
        case SliceRule():
            yield from slices(rule, evidence)
        case Guard(over=None):
            yield from _guard(rule, evidence)
        case Guard():
            yield from gap(rule, evidence)


def _threshold(rule: Threshold, evidence: Evidence) -> Finding:
    low, high = rule.at_least, rule.at_most
    bounds = [f"at least {low:.6g}"] if low is not None else []
    bounds += [f"at most {high:.6g}"] if high is not None else []
    check = f"{rule.metric} {' and '.join(bounds)}"
    value = lookup(evidence.challenger, rule.metric, "challenger")
    if isinstance(value, str):
        return Finding(check=check, subject=rule.metric, passed=False, reason=value)
    reason, passed = f"The challenger's {rule.metric} is {value:.6g}.", True
    if low is not None and not value >= low:
        said, bound = told(value, low)
        reason, passed = f"The challenger's {rule.metric} is {said}, below the {bound} that it must reach.", False
    elif high is not None and not value <= high:
        said, bound = told(value, high)
        reason, passed = f"The challenger's {rule.metric} is {said}, above the {bound} that it may have.", False
    return Finding(check=check, subject=rule.metric, passed=passed, reason=reason, value=value)


def _comparison(rule: Comparison, evidence: Evidence) -> Finding:
    margin = Margin(by=rule.worse_by, by_share=rule.worse_by_share)
    if rule.may_be_worse:
        return _against(rule.metric, rule.better, margin, evidence)
    asked = [f"{rule.improve_by:.6g}"] if rule.improve_by else []
    asked += [f"{percent(rule.improve_by_share)} of it"] if rule.improve_by_share else []
    least = f" by at least {' and '.join(asked)}" if asked else ""
    ties = " or alike" if rule.ties is Answer.ACCEPT else ""
    check = f"{rule.metric} {rule.better} than the champion's{least}{ties}"
    pair = _pair(rule.metric, check, evidence)
    if isinstance(pair, Finding):
        return pair
    value, before = pair
    better_by = gain(rule.better, value, before)
    wanted = max(exact(rule.improve_by), exact(rule.improve_by_share) * abs(exact(before)))
    passed = (better_by > 0 and better_by >= wanted) or (better_by == 0 and rule.ties is Answer.ACCEPT)
    reason = _compared(rule.metric, value, before, better_by)
    if not passed and better_by == 0:
        reason += "; a tie leaves the champion where it is"
    elif not passed and better_by > 0:
        reason += f", and {told(wanted, better_by)[0]} is the least that is asked for"
    return Finding(check=check, subject=rule.metric, passed=passed, reason=f"{reason}.", value=value, against=before)


def _against(metric: str, better: Better, margin: Margin, evidence: Evidence) -> Finding:
    """Check that a figure of the whole is not much worse than the champion's."""
    check = f"{metric} {margin.words}"
    pair = _pair(metric, check, evidence)
    if isinstance(pair, Finding):
        return pair
    value, before = pair
    better_by, allowed = gain(better, value, before), margin.allowed(before)
    passed = better_by >= -allowed
    reason = _compared(metric, value, before, better_by)
    if not passed:
        reason += f", and {told(allowed, -better_by)[0]} is the most that is allowed"
    return Finding(check=check, subject=metric, passed=passed, reason=f"{reason}.", value=value, against=before)


def _pair(metric: str, check: str, evidence: Evidence) -> tuple[float, float] | Finding:
    """Look a figure up in both evaluations, or find why it cannot be compared."""
    value = lookup(evidence.challenger, metric, "challenger")
    if isinstance(value, str):
        return Finding(check=check, subject=metric, passed=False, reason=value)
    answer = evidence.uncompared(check, metric, value=value)
    if answer is not None:
        return answer
    before = lookup(evidence.before, metric, "champion")
    if isinstance(before, str):
        return Finding(check=check, subject=metric, passed=False, reason=before, value=value)
    return value, before


def _compared(metric: str, value: float, before: float, better_by: Fraction) -> str:
    said, was = told(value, before)
    if better_by == 0:
        return f"The challenger's {metric} is {said}, exactly the champion's"
    word = "better" if better_by > 0 else "worse"
    return f"The challenger's {metric} is {said}, {word} by {told(abs(better_by))[0]} than the champion's {was}"


def _guard(rule: Guard, evidence: Evidence) -> Iterator[Finding]:
    """Check a cost of the whole."""
    if rule.at_most is not None:
        yield _threshold(Threshold(metric=rule.metric, at_most=rule.at_most), evidence)
    margin = Margin(by=rule.worse_by, by_share=rule.worse_by_share)
    if margin.is_asked:
        yield _against(rule.metric, Better.LOWER, margin, evidence)


def _interval(rule: IntervalRule, evidence: Evidence) -> Finding:
    at = f"{percent(rule.confidence)} interval of {rule.loss}"
    if rule.worse_by is not None:
        check = f"{at} at most {rule.worse_by:.6g} above the champion's"
    else:
        check = f"{at} below the champion's" + (f" by {rule.improve_by:.6g}" if rule.improve_by else "")
    answer = evidence.uncompared(check, rule.loss)
    if answer is not None:
        return answer
    found = evidence.intervals.get(rule.loss)
    if found is None:
        passed, reason = _no_interval(rule, evidence)
        return Finding(check=check, subject=rule.loss, passed=passed, reason=reason)
    wrong = _unfit(rule, evidence, found)
    figures = {"value": found.estimate, "low": found.low, "high": found.high}
    if wrong:
        return Finding(check=check, subject=rule.loss, passed=False, reason=wrong, **figures)
    is_below = found.high < -rule.improve_by if rule.worse_by is None else found.high <= rule.worse_by
    bound = -rule.improve_by if rule.worse_by is None else rule.worse_by
    estimate, low, high, limit = told(found.estimate, found.low, found.high, bound)
    reason = f"Over {found.rows} rows the challenger's mean {rule.loss} differs from the champion's by {estimate}"
    reason += f" ({percent(rule.confidence)} interval {low} to {high})"
    if not is_below:
        word = "no higher than" if rule.worse_by is not None else "below"
        reason += f", and its upper end must be {word} {limit}: the rows do not show it"
    return Finding(check=check, subject=rule.loss, passed=is_below, reason=f"{reason}.", **figures)


def _no_interval(rule: IntervalRule, evidence: Evidence) -> tuple[bool, str]:
    """Say what becomes of an interval that there is not."""
    writes, wrote = (
        bool(one and one.losses and one.losses.column == rule.loss) for one in (evidence.challenger, evidence.champion)
    )
    if rule.wanted is Wanted.WHEN_WRITTEN and not wrote:
        return True, f"The champion's evaluation wrote no {rule.loss} of single rows; the interval was not asked for."
    without = [who for who, has in (("challenger", writes), ("champion", wrote)) if not has]
    if without:
        whose = " and the ".join(f"{who}'s" for who in without)
        told_why = f"the {whose} evaluation wrote no {rule.loss} of single rows (losses)"
        return False, f"There is no interval: {told_why}; let the pipeline write it for both."
    return False, f"There is no interval of {rule.loss}, though both evaluations wrote it: nobody has computed it."


def _unfit(rule: IntervalRule, evidence: Evidence, found: Interval) -> str:
    """Say why an interval is none that the policy asks for; empty when it is."""
    if found.metric != rule.loss:
        return f"The interval is of {shown(found.metric)}, not of {rule.loss}."
    if not found.is_sound:
        return f"The interval of {rule.loss} is {found.estimate} ({found.low} to {found.high}), which is none."
    for name in ("confidence", "resamples", "seed", "method"):
        has, asked = getattr(found, name), getattr(rule, name)
        if has != asked:
            return f"The interval was computed with {name} {has}, and the policy asks for {asked}: compute it anew."
    if found.rows < rule.rows_at_least:
        return f"The interval is of {found.rows} rows, and at least {rule.rows_at_least} are asked for: test on more."
    if found.rows != evidence.challenger.rows:
        return f"The interval is of {found.rows} rows, and the test data has {evidence.challenger.rows}."
    return ""

"""What rules about slices of the test data find."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from fractions import Fraction

from attrs import frozen

from airflow_azureml.core.evaluation import Measured, listed, shown
from airflow_azureml.core.findings import Finding
from airflow_azureml.core.gate_evidence import MEND, Evidence, Margin, exact, gain, rounded, told
from airflow_azureml.core.gate_rules import Answer, Better, Guard, SliceRule, Slices, Small, compares

#: How many slices a sentence names.
_NAMED = 3


@frozen
class _Chosen:
    """The slices that a rule is about.

    Attributes:
        found: By name, in order.
        finding: Whether all that must be there is.
    """

    found: Mapping[str, Measured]
    finding: Finding


def slices(rule: SliceRule, evidence: Evidence) -> Iterator[Finding]:
    """Check that no slice is too bad, and none much worse than the champion's."""
    chosen = _choose(rule.metric, rule.over, evidence, gone=compares(rule))
    yield chosen.finding
    if rule.bound is not None:
        yield _worst(rule, rule.bound, chosen)
    if compares(rule):
        yield _drop(rule, chosen, evidence)


def gap(rule: Guard, evidence: Evidence) -> Iterator[Finding]:
    """Check that the gap between slices is not too wide, nor much wider than the champion's."""
    over = rule.over or Slices()
    chosen = _choose(rule.metric, over, evidence, gone=compares(rule))
    yield chosen.finding
    subject = f"gap of {rule.metric}"
    width = _gap(rule.metric, chosen.found, "challenger")
    if rule.at_most is not None:
        check = f"{subject} over {_words(over)} at most {rule.at_most:.6g}"
        if isinstance(width, str):
            yield Finding(check=check, subject=subject, passed=False, reason=width)
        else:
            said, bound = told(width, rule.at_most)
            passed = width <= exact(rule.at_most)
            more = "" if passed else f", above the {bound} that it may have"
            reason = f"The challenger's {subject} is {said}{more}."
            yield Finding(check=check, subject=subject, passed=passed, reason=reason, value=rounded(width))
    if compares(rule):
        yield _wider(rule, chosen, width, evidence)


def _choose(metric: str, over: Slices, evidence: Evidence, *, gone: bool) -> _Chosen:
    """Pick the slices that patterns name, and find whether they are all there and large enough.

    Args:
        metric: What is asked of them, for people.
        over: Which.
        evidence: Where they are.
        gone: Whether those count that only the champion's evaluation has.
    """
    named = _named(over, evidence.challenger.slices)
    small = {name for name, one in named.items() if one.rows is None or one.rows < over.rows_at_least}
    unknown = {name for name in small if named[name].rows is None}
    skipped = small - unknown if over.small is Small.SKIP else set()
    left = {name: one for name, one in named.items() if name not in skipped}
    wrong = [
        *_unmatched(over, evidence.challenger.slices),
        *([f"{_some(unknown)} without a number of rows"] if unknown else []),
        *(_too_small(small - unknown, named, over) if over.small is Small.REJECT else []),
        *(["no slice is left to judge by"] if named and not left else []),
        *(_gone(over, evidence) if gone and over.gone is Answer.REJECT else []),
    ]
    reason = f"{len(left)} slices {_words(over)} are there"
    reason += f"; {_some(skipped)} left out, below {over.rows_at_least} rows" if skipped else ""
    if wrong:
        reason = f"The slices {_words(over)} are not what the policy asks for: {'; '.join(wrong)}; {MEND}"
    check = f"slices {_words(over)} of {metric}, each with rows at least {over.rows_at_least}"
    rows = [one.rows for one in left.values() if one.rows is not None]
    found = Finding(
        check=check, subject=metric, passed=not wrong, reason=f"{reason}.", value=min(rows) if rows else None
    )
    return _Chosen(left, found)


def _named(over: Slices, slices_: Mapping[str, Measured]) -> dict[str, Measured]:
    return {
        name: slices_[name] for name in sorted(slices_) if any(fnmatchcase(name, pattern) for pattern in over.names)
    }


def _unmatched(over: Slices, there: Mapping[str, Measured]) -> list[str]:
    """Name the patterns that fit nothing."""
    missing = [each for each in over.names if not any(fnmatchcase(name, each) for name in there)]
    told_there = listed(there) or "it has no slices"
    return [f"the challenger's evaluation has none {', '.join(map(shown, missing))} ({told_there})"] if missing else []


def _too_small(small: set[str], named: Mapping[str, Measured], over: Slices) -> list[str]:
    if not small:
        return []
    least = min(small, key=lambda name: (named[name].rows or 0, name))
    return [f"{_some(small)} below {over.rows_at_least} rows ({shown(least)} has {named[least].rows})"]


def _gone(over: Slices, evidence: Evidence) -> list[str]:
    """Name the slices that only the champion's evaluation has, on the same test data."""
    if evidence.champion is None or evidence.apart:
        return []
    lost = set(_named(over, evidence.champion.slices)) - set(evidence.challenger.slices)
    return [f"{_some(lost)} in the champion's evaluation only"] if lost else []


def _worst(rule: SliceRule, bound: float, chosen: _Chosen) -> Finding:
    """Check the worst slice."""
    word = "at least" if rule.better is Better.HIGHER else "at most"
    check = f"{rule.metric} {word} {bound:.6g} on the worst slice {_words(rule.over)}"
    figures = _figures(rule.metric, chosen.found, "challenger")
    if isinstance(figures, str):
        return Finding(check=check, subject=rule.metric, passed=False, reason=figures)
    worst = min(figures, key=lambda name: (gain(rule.better, figures[name], bound), name))
    value = figures[worst]
    bad = {name for name, one in figures.items() if gain(rule.better, one, bound) < 0}
    said, limit = told(value, bound)
    reason = f"The challenger's worst {rule.metric} is {said}, on slice {shown(worst)}"
    reason += f"; {len(bad)} of {len(figures)} slices miss the {limit} that is asked for" if bad else ""
    subject = f"{rule.metric} on {shown(worst)[1:-1]}"
    return Finding(check=check, subject=subject, passed=not bad, reason=f"{reason}.", value=value, against=None)


def _drop(rule: SliceRule, chosen: _Chosen, evidence: Evidence) -> Finding:
    """Check each slice against the champion's."""
    margin = Margin(by=rule.worse_by, by_share=rule.worse_by_share)
    check = f"{rule.metric} on each slice {_words(rule.over)} {margin.words}"
    figures = _figures(rule.metric, chosen.found, "challenger")
    if isinstance(figures, str):
        return Finding(check=check, subject=rule.metric, passed=False, reason=figures)
    answer = evidence.uncompared(check, rule.metric)
    if answer is not None:
        return answer
    theirs = _theirs(rule.metric, chosen.found, evidence)
    if isinstance(theirs, str):
        return Finding(check=check, subject=rule.metric, passed=False, reason=theirs)
    over = {name: -gain(rule.better, figures[name], theirs[name]) - margin.allowed(theirs[name]) for name in figures}
    worst = min(figures, key=lambda name: (-over[name], name))
    value, before = figures[worst], theirs[worst]
    bad = [name for name in figures if over[name] > 0]
    said, was = told(value, before)
    reason = f"The challenger's {rule.metric} on slice {shown(worst)} is {said}, the champion's {was}"
    if bad:
        reason += f"; {len(bad)} of {len(figures)} slices are worse by more than the policy allows"
    subject = f"{rule.metric} on {shown(worst)[1:-1]}"
    return Finding(check=check, subject=subject, passed=not bad, reason=f"{reason}.", value=value, against=before)


def _wider(rule: Guard, chosen: _Chosen, width: Fraction | str, evidence: Evidence) -> Finding:
    """Check the gap against the champion's."""
    margin = Margin(by=rule.worse_by, by_share=rule.worse_by_share)
    subject = f"gap of {rule.metric}"
    check = f"{subject} over {_words(rule.over or Slices())} {margin.words}"
    if isinstance(width, str):
        return Finding(check=check, subject=subject, passed=False, reason=width)
    answer = evidence.uncompared(check, subject, value=rounded(width))
    if answer is not None:
        return answer
    theirs = _theirs(rule.metric, chosen.found, evidence)
    if isinstance(theirs, str):
        return Finding(check=check, subject=subject, passed=False, reason=theirs, value=rounded(width))
    before = _between(theirs)
    wider, allowed = width - before, margin.allowed(before)
    said, was = told(width, before)
    reason = f"The challenger's {subject} is {said}, the champion's {was}"
    if wider > allowed:
        reason += (
            f"; it is wider by {told(wider, allowed)[0]}, and {told(allowed, wider)[0]} is the most that is allowed"
        )
    return Finding(
        check=check,
        subject=subject,
        passed=wider <= allowed,
        reason=f"{reason}.",
        value=rounded(width),
        against=rounded(before),
    )


def _gap(metric: str, among: Mapping[str, Measured], whose: str) -> Fraction | str:
    """Measure the gap, or say in a sentence why there is none."""
    figures = _figures(metric, among, whose)
    if isinstance(figures, str):
        return figures
    if len(figures) < 2:  # noqa: PLR2004  # a gap has two sides
        return f"There is only slice {shown(*figures)} to judge by, and a gap needs two: {MEND}."
    return _between(figures)


def _between(figures: Mapping[str, float]) -> Fraction:
    return exact(max(figures.values())) - exact(min(figures.values()))


def _figures(metric: str, among: Mapping[str, Measured], whose: str) -> dict[str, float] | str:
    """Look the metric up in each slice, or say in a sentence where it is missing."""
    if not among:
        return f"There is no slice of the {whose} to judge {metric} by: {MEND}."
    found = {name: one.figure(metric) for name, one in among.items()}
    wrong = {name: said for name, said in found.items() if isinstance(said, str)}
    if wrong:
        first = min(wrong)
        more = f", and {len(wrong) - 1} more slices likewise" if len(wrong) > 1 else ""
        return f"The {whose}'s slice {shown(first)} {wrong[first]}{more}: {MEND}."
    return {name: said for name, said in found.items() if isinstance(said, float)}


def _theirs(metric: str, chosen: Mapping[str, Measured], evidence: Evidence) -> dict[str, float] | str:
    """Look the metric up in the champion's slices, which must be of the same rows."""
    there = evidence.before.slices
    new = set(chosen) - set(there)
    if new:
        return f"{_some(new)} not in the champion's evaluation: evaluate the champion anew, with the same code."
    for name, one in chosen.items():
        if one.rows != there[name].rows:
            rows = f"{one.rows} rows of the challenger's and {there[name].rows} of the champion's"
            return f"Slice {shown(name)} has {rows}: evaluate the champion anew, with the same code."
    return _figures(metric, {name: there[name] for name in chosen}, "champion")


def _words(over: Slices) -> str:
    return "*" if over.names == ("*",) else ", ".join(sorted(over.names))


def _some(names: set[str]) -> str:
    """Name a few slices, as the beginning of a clause."""
    few = ", ".join(shown(name) for name in sorted(names)[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{few}{more} {'is' if len(names) == 1 else 'are'}"

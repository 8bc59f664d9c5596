"""What rules of a gate say against one another."""

from collections.abc import Iterator, Mapping, Sequence

from airflow_azureml.core.gate_members import Fault, is_number
from airflow_azureml.core.gate_rules import (
    Better,
    Comparison,
    Guard,
    IntervalRule,
    Rule,
    SliceRule,
    Threshold,
)

#: Rules, by the policy's member that holds them; None for one that could not be read.
Sections = Mapping[str, Sequence[Rule | None]]


def contradictions(sections: Sections) -> Iterator[Fault]:
    """Name what rules say against one another, each at the later of the two."""
    yield from _directions(sections)
    yield from _bounds(sections)
    yield from _losses(sections)


def _directions(sections: Sections) -> Iterator[Fault]:
    """Name metrics that are said to get better both ways; the gap between slices is a metric of its own."""
    first: dict[str, tuple[str, str]] = {}
    for section, number, rule in _numbered(sections):
        if isinstance(rule, Comparison | SliceRule):
            word = str(rule.better)
        elif isinstance(rule, Guard) and not rule.over:
            word = str(Better.LOWER)
        else:
            continue
        before, where = first.setdefault(rule.metric, (word, f"{section}[{number}]"))
        if before != word:
            told = f"{rule.metric} is better {word} here and better {before} in {where}; it can only be one of them"
            yield Fault((section, number, "metric"), told)


def _bounds(sections: Sections) -> Iterator[Fault]:
    """Name bounds of one metric, in different rules, that leave nothing between them."""
    floors: dict[str, tuple[float, str]] = {}
    ceilings: dict[str, tuple[float, str]] = {}
    for section, number, rule in _numbered(sections):
        if isinstance(rule, Threshold):
            metric, low, high = rule.metric, rule.at_least, rule.at_most
        elif isinstance(rule, Guard) and not rule.over:
            metric, low, high = rule.metric, None, rule.at_most
        else:
            continue
        here = f"{section}[{number}]"
        if low is not None and is_number(low):
            if metric in ceilings and low > ceilings[metric][0]:
                yield _apart((section, number, "at_least"), low, ceilings[metric], metric)
            floors[metric] = max(floors.get(metric, (low, here)), (low, here))
        if high is not None and is_number(high):
            if metric in floors and floors[metric][0] > high and floors[metric][1] != here:
                yield _apart((section, number, "at_most"), high, floors[metric], metric)
            ceilings[metric] = min(ceilings.get(metric, (high, here)), (high, here))


def _losses(sections: Sections) -> Iterator[Fault]:
    """Name losses of which two intervals are asked for: one is computed."""
    first: dict[str, str] = {}
    for section, number, rule in _numbered(sections):
        if isinstance(rule, IntervalRule) and first.setdefault(rule.loss, here := f"{section}[{number}]") != here:
            yield Fault((section, number, "loss"), f"{first[rule.loss]} asks for an interval of {rule.loss}, too")


def _apart(path: tuple[str | int, ...], bound: float, other: tuple[float, str], metric: str) -> Fault:
    word, of_other = ("above", "at_most") if path[-1] == "at_least" else ("below", "at_least")
    told = f"{path[-1]} {bound:.6g} is {word} {of_other} {other[0]:.6g} of {other[1]}: no {metric} can pass both"
    return Fault(path, told)


def _numbered(sections: Sections) -> Iterator[tuple[str, int, Rule]]:
    return ((section, number, rule) for section, rules in sections.items() for number, rule in enumerate(rules) if rule)

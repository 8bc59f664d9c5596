"""Evaluations and policies for tests of the gate: good ones, and strategies that draw of them what may matter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from hypothesis import strategies as st

from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.gate import (
    KINDS,
    Answer,
    Better,
    Comparison,
    Evaluation,
    Guard,
    Interval,
    IntervalRule,
    Measured,
    Method,
    Policy,
    SliceRule,
    Slices,
    Small,
    Threshold,
    Wanted,
    judge,
)
from airflow_azureml.core.gate_rules import Rule

NOW = datetime(2026, 11, 21, 20, tzinfo=UTC)
LOSS = "squared_error"
#: Which way each metric of the tests gets better.
WAY = {"rmse": Better.LOWER, "mae": Better.LOWER, "r2": Better.HIGHER, "latency_ms": Better.LOWER}
DOCUMENT: Mapping[str, Any] = {
    "schema": 1,
    "metrics": {"rmse": 54.1, "mae": 43.9, "r2": 0.48, "latency_ms": 0.3, "model_bytes": 4100},
    "data": {"version": "sha256:1f", "rows": 89, "path": "azureml://a/test.csv", "etag": "0x8D"},
    "slices": {
        "sex=male": {"rows": 41, "metrics": {"rmse": 55.2, "r2": 0.4}},
        "sex=female": {"rows": 48, "metrics": {"rmse": 53.1, "r2": 0.5}},
    },
    "losses": {"path": "losses.csv", "column": LOSS, "key": "row"},
    "model": {"sha256": "ab12"},
    "made_at": "2026-11-21T19:00:00Z",
    "git_sha": "c0ffee",
}


def document(**changed: Any) -> dict[str, Any]:
    """Give an evaluation document with some members changed; those that are None are taken away."""
    return {name: value for name, value in {**DOCUMENT, **changed}.items() if value is not None}


def evaluation(**metrics: Any) -> Evaluation:
    """Give a good evaluation with some metrics changed; those that are None are taken away."""
    told = {**DOCUMENT["metrics"], **metrics}
    return Evaluation.from_wire(document(metrics={name: each for name, each in told.items() if each is not None}))


def sliced(rows: int | None = 40, **rmse: Any) -> Evaluation:
    """Give a good evaluation with the RMSE of some slices, and no others."""
    slices = {name: Measured(metrics={"rmse": float(each)}, rows=rows) for name, each in rmse.items()}
    return attrs.evolve(evaluation(), slices=slices)


def policy(**members: Any) -> Policy:
    """Give a policy with these rules."""
    return Policy(**{"name": "diabetes", "version": "3", "no_champion": "reject", **members})


def found(
    rules: Policy,
    challenger: Evaluation,
    champion: Evaluation | None = None,
    *,
    intervals: Mapping[str, Interval] | None = None,
) -> Verdict:
    """Judge, at the hour of the tests."""
    return judge(rules, challenger, champion, now=NOW, intervals=intervals or {})


def interval(high: float = -1.0, **changed: Any) -> Interval:
    """Give an interval as the policies of the tests ask for it."""
    given = {"metric": LOSS, "estimate": high - 1, "low": high - 2, "high": high, "rows": 89, "confidence": 0.95}
    return Interval(**{**given, "resamples": 1000, "seed": 0, **changed})


#: Values and bounds of like size, so that each side of a bound, and the bound itself, are drawn often.
small = st.one_of(st.integers(0, 6).map(float), st.floats(0, 6))
metrics = st.sampled_from(sorted(WAY))
names = st.sampled_from(["a", "b", "c"])
overs = st.builds(
    Slices,
    names=st.sampled_from([("*",), ("*",), ("a",), ("a", "b"), ("[ab]",)]),
    rows_at_least=st.sampled_from([1, 3]),
    small=st.sampled_from(Small),
    gone=st.sampled_from(Answer),
)


@st.composite
def thresholds(draw: st.DrawFn) -> Threshold:
    metric = draw(metrics)
    bound = "at_least" if WAY[metric] is Better.HIGHER else "at_most"
    return Threshold(metric=metric, **{bound: draw(small)})


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    metric = draw(metrics)
    asked: dict[str, Any] = draw(
        st.sampled_from([{}, {"ties": "accept"}, {"improve_by": 1}, {"improve_by_share": 0.2}, {"worse_by": 1}])
    )
    return Comparison(metric=metric, better=WAY[metric], **asked)


interval_rules = st.builds(
    IntervalRule,
    loss=st.just(LOSS),
    improve_by=st.sampled_from([0, 1]),
    rows_at_least=st.sampled_from([2, 30]),
    method=st.just(Method.BCA),
    wanted=st.sampled_from(Wanted),
)


@st.composite
def slice_rules(draw: st.DrawFn) -> SliceRule:
    metric = draw(st.sampled_from(["rmse", "r2"]))
    bound = "at_least" if WAY[metric] is Better.HIGHER else "at_most"
    return SliceRule(metric=metric, better=WAY[metric], over=draw(overs), **draw(one_or_both(bound, "worse_by")))


def one_or_both(*members: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw one of two bounds, or now and then both: of two, the one hides what the other says."""
    one, other = (st.fixed_dictionaries({each: small}) for each in members)
    return st.one_of(one, other, one, other, st.fixed_dictionaries(dict.fromkeys(members, small)))


guards = st.one_of(
    one_or_both("at_most", "worse_by"),
    st.fixed_dictionaries({"worse_by": st.sampled_from([0, 1])}),
    st.fixed_dictionaries({"worse_by_share": st.sampled_from([0, 0.1, 0.5])}),
).map(lambda asked: Guard(metric="latency_ms", **asked))
gaps = st.builds(
    lambda metric, over, asked: Guard(metric=metric, over=over, **asked),
    st.sampled_from(["rmse", "r2"]),
    overs.filter(lambda over: over.names != ("a",)),
    one_or_both("at_most", "worse_by"),
)
#: Rules by the policy's member; each gets harder to hold as a metric gets worse, but for the gaps.
RULES: Mapping[str, st.SearchStrategy[Any]] = {
    "thresholds": thresholds(),
    "comparisons": comparisons(),
    "intervals": interval_rules,
    "slices": slice_rules(),
    "guards": guards,
}


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Draw what is usual, and now and then something else."""
    return st.sampled_from([usual] * (4 * len(others)) + list(others))


@st.composite
def policies(draw: st.DrawFn, *, with_gaps: bool = True) -> Policy:
    """Draw a policy of few rules, so that it is not always a no; it does not contradict itself."""
    kinds = {**RULES, "guards": st.one_of(guards, gaps) if with_gaps else guards}
    drawn = draw(st.lists(st.one_of(*(st.tuples(st.just(name), each) for name, each in kinds.items())), max_size=3))
    made = policy(
        no_champion=draw(st.sampled_from(Answer)),
        rows_at_least=draw(mostly(1, 60)),
        max_age_hours=draw(mostly(None, 0.5, 24)),
    )
    made = with_rules(made, [(name, rule) for name, rule in drawn if not rule.faults()])
    if made.faults():
        made = attrs.evolve(made, intervals=made.intervals[:1], thresholds=[Threshold(metric="rmse", at_most=3)])
    return made


whole_slices = st.builds(
    Measured, metrics=st.fixed_dictionaries({"rmse": small, "r2": small}), rows=mostly(40, 2, None)
)


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    """Draw an evaluation that can be read, mostly with all that a rule may ask for."""
    some = st.dictionaries(metrics, small)
    slices = st.dictionaries(names, st.builds(Measured, metrics=some, rows=mostly(40, 2, None)))
    return Evaluation(
        metrics=draw(draw(mostly(st.fixed_dictionaries(dict.fromkeys(WAY, small)), some))),
        rows=draw(mostly(89, 50, None)),
        data_version=draw(mostly("sha256:1f", "sha256:2e", "")),
        slices=draw(draw(mostly(st.fixed_dictionaries(dict.fromkeys(("a", "b"), whole_slices)), slices))),
        losses=draw(mostly(Evaluation.from_wire(DOCUMENT).losses, None)),
        made_at=draw(mostly(NOW - timedelta(hours=1), None, NOW, NOW + timedelta(hours=1))),
    )


champions = st.one_of(st.none(), evaluations(), evaluations(), evaluations())
bounds_of_intervals = st.builds(interval, high=st.floats(-3, 3), rows=mostly(89, 50), confidence=mostly(0.95, 0.9))
intervals_by_loss = st.dictionaries(st.just(LOSS), bounds_of_intervals)


def rules_of(made: Policy) -> list[tuple[str, Rule]]:
    """List the rules of a policy, each with its member."""
    return [(name, rule) for name, rules in made.sections.items() for rule in rules]


def with_rules(made: Policy, rules: list[tuple[str, Rule]]) -> Policy:
    """Give a policy other rules."""
    sections: dict[str, Any] = {name: [rule for of, rule in rules if of == name] for name in KINDS}
    return attrs.evolve(made, **sections)

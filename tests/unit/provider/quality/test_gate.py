"""What the gate says of each rule, and of what is missing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from airflow_azureml.core.findings import Finding
from airflow_azureml.core.gate import (
    Answer,
    Comparison,
    Evaluation,
    Guard,
    IntervalRule,
    Measured,
    Needs,
    Policy,
    SliceRule,
    Slices,
    Threshold,
    judge,
)
from airflow_azureml.errors import ConfigError
from tests.unit.provider.quality.gate_world import (
    DOCUMENT,
    LOSS,
    NOW,
    document,
    evaluation,
    found,
    interval,
    policy,
    sliced,
)

LOWER_RMSE = Comparison(metric="rmse", better="lower")


def only(rules: Policy, challenger: Evaluation, champion: Evaluation | None = None, **more: Any) -> Finding:
    """Judge by a policy of one rule, and give what it found last."""
    return found(rules, challenger, champion, **more).findings[-1]


@pytest.mark.parametrize(
    ("bounds", "passed", "reason"),
    [
        ({"at_most": 60}, True, "The challenger's rmse is 54.1."),
        ({"at_most": 54.1}, True, "The challenger's rmse is 54.1."),
        ({"at_least": 54.1}, True, "The challenger's rmse is 54.1."),
        ({"at_most": 54}, False, "The challenger's rmse is 54.1, above the 54 that it may have."),
        ({"at_least": 55}, False, "The challenger's rmse is 54.1, below the 55 that it must reach."),
        (
            {"at_most": 54.0999999},
            False,
            "The challenger's rmse is 54.1, above the 54.0999999 that it may have.",
        ),
    ],
)
def test_a_threshold_includes_its_bounds(bounds: dict[str, float], passed: bool, reason: str) -> None:
    finding = only(policy(thresholds=[Threshold(metric="rmse", **bounds)]), evaluation())

    assert (finding.passed, finding.reason, finding.value, finding.subject) == (passed, reason, 54.1, "rmse")


@pytest.mark.parametrize(
    ("rule", "value", "passed", "said"),
    [
        ({}, 54.0, True, "better by 0.1 than the champion's 54.1"),
        ({}, 54.2, False, "worse by 0.1 than the champion's 54.1"),
        ({}, 54.1, False, "exactly the champion's; a tie leaves the champion where it is"),
        ({"ties": "accept"}, 54.1, True, "exactly the champion's"),
        ({"ties": "accept"}, 54.2, False, "worse by 0.1"),
        ({"improve_by": 4.1}, 50.0, True, "better by 4.1"),
        (
            {"improve_by": 5},
            50.0,
            False,
            "better by 4.1 than the champion's 54.1, and 5 is the least that is asked for",
        ),
        ({"improve_by_share": 0.05}, 50.0, True, "better by 4.1"),
        ({"improve_by_share": 0.1}, 50.0, False, "and 5.41 is the least that is asked for"),
        ({"improve_by": 1, "improve_by_share": 0.1}, 50.0, False, "and 5.41 is the least that is asked for"),
        ({"worse_by": 1}, 55.0, True, "worse by 0.9"),
        ({"worse_by": 0.5}, 55.0, False, "worse by 0.9 than the champion's 54.1, and 0.5 is the most that is allowed"),
        ({"worse_by_share": 0.01}, 55.0, False, "and 0.541 is the most that is allowed"),
        ({"worse_by": 5, "worse_by_share": 0.01}, 55.0, False, "and 0.541 is the most that is allowed"),
        ({"worse_by": 0}, 54.1, True, "exactly the champion's"),
    ],
)
def test_a_challenger_is_compared_with_the_champion(
    rule: dict[str, Any], value: float, passed: bool, said: str
) -> None:
    rules = policy(comparisons=[Comparison(metric="rmse", better="lower", **rule)])

    finding = only(rules, evaluation(rmse=value), evaluation())

    assert finding.passed is passed
    assert said in finding.reason
    assert (finding.value, finding.against) == (value, 54.1)


def test_a_metric_that_is_better_higher_is_compared_the_other_way() -> None:
    rules = policy(comparisons=[Comparison(metric="r2", better="higher", improve_by=0.02)])

    assert only(rules, evaluation(r2=0.51), evaluation()).passed
    assert not only(rules, evaluation(r2=0.45), evaluation()).passed


def test_a_share_of_nothing_is_still_an_improvement_to_show() -> None:
    rules = policy(comparisons=[Comparison(metric="r2", better="higher", improve_by_share=0.01)])

    assert only(rules, evaluation(r2=0.001), evaluation(r2=0)).passed
    assert not only(rules, evaluation(r2=0), evaluation(r2=0)).passed


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "has no rmse (it has latency_ms, mae, model_bytes, r2)"),
        (float("nan"), "says of rmse nan, which is no finite number"),
        (float("-inf"), "says of rmse -inf, which is no finite number"),
        ("50", 'says of rmse "50", which is no number'),
        (True, "says of rmse true, which is no number"),
        ([50], "says of rmse a list, which is no number"),
    ],
)
def test_what_is_no_figure_is_a_no_that_says_whose(value: Any, said: str) -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)], comparisons=[LOWER_RMSE])
    broken = evaluation(rmse=value)

    of_the_challenger = found(rules, broken, evaluation(rmse=60))
    of_the_champion = found(rules, evaluation(), broken)

    assert [one.passed for one in of_the_challenger.findings[-2:]] == [False, False]
    assert of_the_challenger.findings[-1].reason.startswith(f"The challenger's evaluation {said}: ")
    assert [one.passed for one in of_the_champion.findings[-2:]] == [True, False]
    assert of_the_champion.findings[-1].reason.startswith(f"The champion's evaluation {said}: ")


def test_without_a_champion_the_policy_decides() -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)], comparisons=[LOWER_RMSE])

    rejected = found(rules, evaluation())
    accepted = found(attrs.evolve(rules, no_champion="accept"), evaluation())

    assert not rejected.accepted
    assert "There is no champion yet, and the policy rejects until there is one" in rejected.sentence
    assert accepted.accepted
    assert accepted.facts["champion"] == "none yet"
    assert not found(attrs.evolve(rules, no_champion="accept"), evaluation(rmse=61)).accepted
    assert not found(attrs.evolve(rules, no_champion="accept"), evaluation(rmse=None)).accepted


@pytest.mark.parametrize(
    ("champion", "said"),
    [
        (document(data={"version": "sha256:2e", "rows": 89}), 'on data "sha256:1f", and the champion on "sha256:2e"'),
        (document(data={"rows": 89}), "champion's evaluation does not say which version of the data"),
        (document(data={"version": "sha256:1f", "rows": 90}), "tested on 89 rows, the champion on 90"),
        (document(schema=2), "The champion's evaluation cannot be used. It is of schema 2"),
    ],
)
def test_only_evaluations_on_the_same_data_are_compared(champion: dict[str, Any], said: str) -> None:
    rules = policy(
        comparisons=[LOWER_RMSE],
        intervals=[IntervalRule(loss=LOSS)],
        slices=[SliceRule(metric="rmse", better="lower", worse_by=1)],
        guards=[Guard(metric="latency_ms", worse_by=1)],
    )

    verdict = found(rules, evaluation(rmse=1), Evaluation.from_wire(champion), intervals={LOSS: interval()})

    assert said in verdict.failed[0].reason
    assert "Evaluate the champion on the challenger's test data, and judge again." in verdict.failed[0].reason
    assert len(verdict.failed) == 5


def test_thresholds_alone_do_not_ask_what_data_the_champion_was_tested_on() -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)])

    assert found(rules, evaluation(), Evaluation.missing("It is gone.")).accepted


@pytest.mark.parametrize(
    ("rows", "passed", "reason"),
    [
        (89, True, "The challenger was tested on 89 rows."),
        (88, False, "The challenger was tested on 88 rows, fewer than 89: test on more."),
        (0, False, "The challenger was tested on 0 rows, fewer than 89: test on more."),
        (None, False, "The challenger's evaluation does not say of how many rows it is (data.rows)."),
    ],
)
def test_an_evaluation_of_few_rows_is_a_no(rows: int | None, passed: bool, reason: str) -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)], rows_at_least=89)

    first = found(rules, attrs.evolve(evaluation(), rows=rows)).findings[0]

    assert (first.passed, first.reason) == (passed, reason)


def test_an_evaluation_of_no_rows_is_a_no_whatever_the_policy_says() -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)])

    assert not found(rules, attrs.evolve(evaluation(), rows=0)).accepted


@pytest.mark.parametrize(
    ("made_at", "passed", "said"),
    [
        (NOW - timedelta(hours=24), True, "evaluated 24.0 hours ago."),
        (NOW - timedelta(hours=24, seconds=1), False, "too old: evaluate it anew."),
        (NOW + timedelta(minutes=5), True, "evaluated 0.0 hours ago."),
        (NOW + timedelta(minutes=6), False, "yet to come."),
        (None, False, "does not say when it was made (made_at)."),
    ],
)
def test_an_evaluation_must_be_of_its_time(made_at: Any, passed: bool, said: str) -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)], max_age_hours=24)

    verdict = found(rules, attrs.evolve(evaluation(), made_at=made_at))

    assert verdict.accepted is passed
    assert verdict.findings[1].reason.endswith(said)


def test_an_evaluation_out_of_an_older_job_is_a_no() -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)])

    verdict = judge(rules, evaluation(), None, now=NOW, reused=["train", "evaluate"])

    assert [one.reason for one in verdict.failed] == [
        'Azure ML did not run "evaluate", "train", but took an older job\'s result: run it anew, with force_rerun.'
    ]


def test_an_evaluation_that_cannot_be_read_is_one_no_and_not_many() -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)], comparisons=[LOWER_RMSE])

    verdict = found(rules, Evaluation.missing("There is no evaluation.json."), evaluation())

    assert verdict.sentence == (
        "The challenger: rejected, 1 of 1 checks failed. "
        "The challenger's evaluation cannot be used. There is no evaluation.json."
    )


INTERVAL = IntervalRule(loss=LOSS)


@pytest.mark.parametrize(
    ("rule", "high", "passed"),
    [
        ({}, -0.001, True),
        ({}, 0.0, False),
        ({"improve_by": 10}, -10.5, True),
        ({"improve_by": 10}, -10.0, False),
        ({"worse_by": 5}, 5.0, True),
        ({"worse_by": 5}, 5.1, False),
    ],
)
def test_the_upper_end_of_an_interval_decides(rule: dict[str, Any], high: float, passed: bool) -> None:
    rules = policy(intervals=[IntervalRule(loss=LOSS, **rule)])

    finding = only(rules, evaluation(), evaluation(), intervals={LOSS: interval(high)})

    assert (finding.passed, finding.low, finding.high) == (passed, high - 2, high)
    assert ("the rows do not show it" in finding.reason) is not passed
    assert "-0:" not in finding.reason


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"confidence": 0.9}, "computed with confidence 0.9, and the policy asks for 0.95"),
        ({"resamples": 999}, "computed with resamples 999, and the policy asks for 1000"),
        ({"seed": 1}, "computed with seed 1, and the policy asks for 0"),
        ({"method": "percentile"}, "computed with method percentile, and the policy asks for bca"),
        ({"metric": "absolute_error"}, 'is of "absolute_error", not of squared_error'),
        ({"rows": 29}, "is of 29 rows, and at least 30 are asked for"),
        ({"rows": 80}, "is of 80 rows, and the test data has 89"),
        ({"low": 5.0}, "which is none"),
    ],
)
def test_an_interval_that_is_not_the_one_asked_for_is_a_no(changed: dict[str, Any], said: str) -> None:
    finding = only(policy(intervals=[INTERVAL]), evaluation(), evaluation(), intervals={LOSS: interval(**changed)})

    assert not finding.passed
    assert said in finding.reason


@pytest.mark.parametrize(
    ("wanted", "challenger", "champion", "passed", "said"),
    [
        ("always", True, True, False, "nobody has computed it"),
        ("always", False, True, False, "the challenger's evaluation wrote no squared_error of single rows"),
        ("always", True, False, False, "the champion's evaluation wrote no squared_error of single rows"),
        ("always", False, False, False, "the challenger's and the champion's evaluation wrote no squared_error"),
        ("when_written", True, True, False, "nobody has computed it"),
        ("when_written", False, True, False, "the challenger's evaluation wrote no squared_error"),
        ("when_written", True, False, True, "the interval was not asked for"),
        ("when_written", False, False, True, "the interval was not asked for"),
    ],
)
def test_a_missing_interval_is_a_no_unless_the_champion_never_wrote_its_losses(
    wanted: str, challenger: bool, champion: bool, passed: bool, said: str
) -> None:
    rules = policy(intervals=[IntervalRule(loss=LOSS, wanted=wanted)])
    with_losses, without = (Evaluation.from_wire(each) for each in (DOCUMENT, document(losses=None)))

    finding = only(rules, with_losses if challenger else without, with_losses if champion else without)

    assert finding.passed is passed
    assert said in finding.reason


def of_slices(**members: Any) -> Policy:
    return policy(slices=[SliceRule(metric="rmse", better="lower", **members)])


def test_the_worst_slice_decides_and_is_named() -> None:
    good, bad = sliced(a=50, b=60), sliced(a=50, b=61, c=62)

    assert found(of_slices(at_most=60), good).accepted
    finding = only(of_slices(at_most=60), bad)
    assert finding.reason == (
        'The challenger\'s worst rmse is 62, on slice "c"; 2 of 3 slices miss the 60 that is asked for.'
    )
    assert (finding.value, finding.subject, finding.passed) == (62, "rmse on c", False)


def test_a_slice_may_not_drop_much_against_the_champion_even_if_the_whole_improves() -> None:
    finding = only(of_slices(worse_by=2), sliced(a=40, b=53), sliced(a=50, b=50))

    assert finding.reason == (
        "The challenger's rmse on slice \"b\" is 53, the champion's 50; "
        "1 of 2 slices are worse by more than the policy allows."
    )
    assert (finding.value, finding.against) == (53, 50)
    assert found(of_slices(worse_by=3), sliced(a=40, b=53), sliced(a=50, b=50)).accepted


def test_a_slice_that_is_gone_is_a_no_unless_the_policy_accepts_it() -> None:
    gone = found(of_slices(worse_by=1), sliced(a=50), sliced(a=50, b=50))
    allowed = of_slices(worse_by=1, over=Slices(gone=Answer.ACCEPT))

    assert not gone.accepted
    assert '"b" is in the champion\'s evaluation only' in gone.sentence
    assert found(allowed, sliced(a=50), sliced(a=50, b=50)).accepted


def test_a_slice_that_the_champion_was_not_measured_on_cannot_be_compared() -> None:
    verdict = found(of_slices(worse_by=1), sliced(a=50, b=50), sliced(a=50))

    assert '"b" is not in the champion\'s evaluation: evaluate the champion anew' in verdict.sentence


def test_a_slice_of_other_rows_cannot_be_compared() -> None:
    verdict = found(of_slices(worse_by=1), sliced(a=50), sliced(rows=39, a=50))

    assert "Slice \"a\" has 40 rows of the challenger's and 39 of the champion's" in verdict.sentence


def test_a_slice_with_few_rows_is_a_no_or_left_out_and_one_must_be_left() -> None:
    few = Measured(metrics={"rmse": 99.0}, rows=5)
    challenger = attrs.evolve(sliced(a=50), slices={**sliced(a=50).slices, "tiny": few})

    rejected = found(of_slices(at_most=60, over=Slices(rows_at_least=10)), challenger)
    skipped = found(of_slices(at_most=60, over=Slices(rows_at_least=10, small="skip")), challenger)
    none_left = found(of_slices(at_most=60, over=Slices(rows_at_least=100, small="skip")), challenger)

    assert '"tiny" is below 10 rows ("tiny" has 5)' in rejected.failed[0].reason
    assert skipped.accepted
    assert '"tiny" is left out, below 10 rows' in skipped.findings[1].reason
    assert "no slice is left to judge by" in none_left.sentence
    assert len(none_left.failed) == 2


@pytest.mark.parametrize("small", ["reject", "skip"])
def test_a_slice_that_does_not_tell_its_rows_is_a_no(small: str) -> None:
    verdict = found(of_slices(at_most=60, over=Slices(small=small)), sliced(rows=None, a=50))

    assert '"a" is without a number of rows' in verdict.sentence


def test_a_pattern_that_fits_no_slice_is_a_no() -> None:
    verdict = found(of_slices(at_most=60, over=Slices(names=["a", "sex=*"])), sliced(a=50))

    assert 'the challenger\'s evaluation has none "sex=*" (it has a)' in verdict.sentence
    assert not found(of_slices(at_most=60), sliced()).accepted


def test_a_guard_bounds_a_cost_by_itself_and_against_the_champion() -> None:
    rules = policy(guards=[Guard(metric="latency_ms", at_most=5, worse_by_share=0.5)])

    assert found(rules, evaluation(latency_ms=0.45), evaluation()).accepted
    assert len(found(rules, evaluation(latency_ms=0.46), evaluation()).failed) == 1
    assert len(found(rules, evaluation(latency_ms=6), evaluation()).failed) == 2
    assert found(rules, evaluation(latency_ms=0.01), evaluation()).accepted


def test_the_gap_between_slices_is_a_guard() -> None:
    rules = policy(guards=[Guard(metric="rmse", at_most=10, worse_by=2, over=Slices(names=["a", "b"]))])
    champion = sliced(a=50, b=57, c=9)

    assert found(rules, sliced(a=50, b=59, c=0), champion).accepted
    wide = found(rules, sliced(a=61.5, b=50, c=0), champion)
    assert [one.reason for one in wide.failed] == [
        "The challenger's gap of rmse is 11.5, above the 10 that it may have.",
        (
            "The challenger's gap of rmse is 11.5, the champion's 7; "
            "it is wider by 4.5, and 2 is the most that is allowed."
        ),
    ]
    assert (
        "There is only slice"
        in only(policy(guards=[Guard(metric="rmse", at_most=10, over=Slices(names=["a"]))]), sliced(a=1)).reason
    )


def test_a_verdict_names_the_policy_by_name_version_and_digest() -> None:
    rules = policy(thresholds=[Threshold(metric="rmse", at_most=60)])

    verdict = found(rules, evaluation(), evaluation())

    assert verdict.policy == f"diabetes 3 ({rules.digest})"
    assert verdict.facts["challenger data"] == "sha256:1f"
    assert verdict.facts["challenger commit"] == "c0ffee"
    assert verdict.facts["judged at"] == "2026-11-21T20:00:00+00:00"
    assert attrs.evolve(rules, rows_at_least=2).digest != rules.digest


def test_a_policy_says_what_it_needs() -> None:
    alone = policy(thresholds=[Threshold(metric="rmse", at_most=60)])
    gap = policy(guards=[Guard(metric="rmse", at_most=1, over=Slices())], max_age_hours=1)
    whole = policy(
        comparisons=[LOWER_RMSE], intervals=[INTERVAL], slices=[SliceRule(metric="rmse", better="lower", at_most=1)]
    )

    assert alone.needs == Needs()
    assert gap.needs == Needs(slices=True, made_at=True)
    assert whole.needs == Needs(champion=True, slices=True, intervals=(INTERVAL,))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "there is no rule"),
        ({"thresholds": [Threshold(metric="rmse")]}, "thresholds[0]: a threshold needs at_least, at_most, or both"),
        ({"thresholds": [Threshold(metric="", at_most=1)]}, "thresholds[0].metric: metric is ''"),
        (
            {"thresholds": [Threshold(metric="r2", at_least=1, at_most=0)]},
            "thresholds[0].at_least: at_least 1 is above at_most 0: nothing can pass",
        ),
        (
            {"thresholds": [Threshold(metric="r2", at_most=0), Threshold(metric="r2", at_least=1)]},
            "thresholds[1].at_least: at_least 1 is above at_most 0 of thresholds[0]: no r2 can pass both",
        ),
        (
            {"thresholds": [Threshold(metric="ms", at_least=9)], "guards": [Guard(metric="ms", at_most=5)]},
            "guards[0].at_most: at_most 5 is below at_least 9 of thresholds[0]: no ms can pass both",
        ),
        (
            {"thresholds": [Threshold(metric="r2", at_least=float("nan"))]},
            "at_least is nan; it must be a finite number",
        ),
        ({"thresholds": [Threshold(metric="r2", at_least="1")]}, "at_least is '1'; it must be a finite number"),
        ({"thresholds": [Threshold(metric="r2", at_least=10**400)]}, "at_least is inf; it must be a finite number"),
        ({"comparisons": [LOWER_RMSE], "no_champion": None}, "say no_champion: accept or reject"),
        ({"comparisons": [LOWER_RMSE], "no_champion": "accept"}, "no_champion: accept leaves the first model to"),
        ({"comparisons": [LOWER_RMSE], "no_champion": "maybe"}, "no_champion is 'maybe'; it must be accept or reject"),
        ({"comparisons": [Comparison(metric="a", better="up")]}, "better is 'up'; it must be higher or lower"),
        (
            {"comparisons": [Comparison(metric="a", better="lower", improve_by=-1)]},
            "comparisons[0].improve_by: improve_by is -1; it must not be negative",
        ),
        (
            {"comparisons": [Comparison(metric="a", better="lower", improve_by=1, worse_by=1)]},
            "improve_by asks for an improvement, and worse_by allows a loss: keep one",
        ),
        (
            {"comparisons": [Comparison(metric="a", better="lower", improve_by=1, ties="accept")]},
            "ties are accepted, and improve_by asks for an improvement: keep one",
        ),
        (
            {"comparisons": [LOWER_RMSE], "slices": [SliceRule(metric="rmse", better="higher", worse_by=1)]},
            "slices[0].metric: rmse is better higher here and better lower in comparisons[0]; it can only be one",
        ),
        (
            {"comparisons": [Comparison(metric="ms", better="higher")], "guards": [Guard(metric="ms", at_most=1)]},
            "guards[0].metric: ms is better lower here and better higher in comparisons[0]",
        ),
        ({"intervals": [INTERVAL, INTERVAL]}, "intervals[1].loss: intervals[0] asks for an interval of squared_error"),
        (
            {"intervals": [IntervalRule(loss="a", confidence=1)]},
            "confidence is 1; it must be above 0.5 and at most 0.999",
        ),
        ({"intervals": [IntervalRule(loss="a", resamples=99)]}, "resamples is 99; it must be a whole number from 100"),
        ({"slices": [SliceRule(metric="a", better="lower")]}, "slices[0]: a rule for slices needs at_least, at_most"),
        (
            {"slices": [SliceRule(metric="a", better="lower", at_least=1)]},
            "at_least is for a metric that is better higher, and this is better lower",
        ),
        (
            {"slices": [SliceRule(metric="a", better="lower", worse_by=1, over=Slices(names=[]))]},
            "slices[0].over.names: names is empty; a rule for no slice says nothing",
        ),
        ({"guards": [Guard(metric="a")]}, "guards[0]: a guard needs at_most, worse_by or worse_by_share"),
        (
            {"guards": [Guard(metric="a", at_most=-1, over=Slices())]},
            "guards[0].at_most: at_most is -1, and a gap is never below 0: nothing can pass",
        ),
        ({"guards": [Guard(metric="a", at_most=1, over="sex=*")]}, "over is 'sex=*'; it must be Slices(names=...)"),  # type: ignore[arg-type]  # what people write
        ({"guards": [Threshold(metric="a", at_most=1)]}, "guards[0]: this is Threshold("),
        ({"thresholds": [Threshold(metric="a", at_most=1)], "rows_at_least": 0}, "rows_at_least is 0; it must be"),
        (
            {"thresholds": [Threshold(metric="a", at_most=1)], "max_age_hours": 0},
            "max_age_hours is 0; it must be above 0",
        ),
        ({"thresholds": [Threshold(metric="a", at_most=1)], "version": ""}, "version is ''; it must be a text"),
    ],
)
def test_a_policy_that_contradicts_itself_judges_nothing(members: dict[str, Any], said: str) -> None:
    rules = policy(**members)

    with pytest.raises(ConfigError) as caught:
        found(rules, evaluation(), evaluation())

    assert said in str(caught.value)
    assert str(caught.value).startswith("Gate policy 'diabetes': ")


def test_a_bound_that_leaves_a_single_value_is_no_contradiction() -> None:
    rules = policy(
        thresholds=[Threshold(metric="rmse", at_least=54.1, at_most=54.1), Threshold(metric="rmse", at_most=54.1)]
    )

    assert found(rules, evaluation()).accepted

"""A verdict as a table for people."""

from __future__ import annotations

import unicodedata
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core.explain import LEAST_WIDTH, explain
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.gate import Comparison, IntervalRule, Threshold
from tests.unit.provider.quality.gate_world import LOSS, evaluation, found, interval, policy

RULES = policy(
    thresholds=[Threshold(metric="r2", at_least=0.3)],
    comparisons=[Comparison(metric="rmse", better="lower", improve_by=0.5)],
    intervals=[IntervalRule(loss=LOSS)],
)


def test_a_verdict_is_a_table_that_a_person_understands() -> None:
    failed = Finding(
        check="rmse lower", passed=False, reason="It is 54.1, and the champion's is 54.", value=54.1, against=54
    )
    passed = Finding(check="squared_error below the champion's", passed=True, reason="It is.", low=-3, high=-1)
    verdict = Verdict(subject="ridge", policy="p 3", findings=[passed, failed], facts={"commit": "c0ffee"})

    assert (
        explain(verdict, width=100)
        == """\
ridge: rejected, 1 of 2 checks passed
by policy p 3

check                               value  champion  interval  passed  reason
----------------------------------  -----  --------  --------  ------  ------
rmse lower                          54.1   54        -         NO      It is 54.1, and the
                                                                       champion's is 54.
squared_error below the champion's  -      -         -3 to -1  yes     It is.

commit: c0ffee"""
    )


def test_what_failed_stands_first() -> None:
    verdict = found(RULES, evaluation(rmse=60), evaluation(), intervals={LOSS: interval(1)})

    rows = [line for line in explain(verdict, width=1000).splitlines() if "  yes  " in line or "  NO  " in line]

    assert ["  NO  " in row for row in rows] == [True, True, False, False, False]


def test_a_verdict_without_findings_is_told_too() -> None:
    assert explain(Verdict(subject="m", policy="", findings=())) == "m: rejected, 0 of 0 checks passed"


def test_a_name_can_forge_no_line_and_command_no_terminal() -> None:
    evil = Finding(check="a\nb: accepted", passed=False, reason="\x1b[2J\u202egone\r\nnext\u2028line", subject="x")

    table = explain(Verdict(subject="m\x07", policy="p\nq", findings=[evil], facts={"a\nb": "c\nd"}))

    assert "\x1b" not in table
    assert "\u202e" not in table
    assert "a b: accepted" in table
    assert "by policy p q" in table
    assert table.endswith("a b: c d")
    assert len(table.splitlines()) == 8


def test_letters_that_take_two_columns_keep_the_table_aligned() -> None:
    wide = Finding(check="精度 at least 1", passed=True, reason="ok.", value=1)
    narrow = Finding(check="e\u0301t\u00e9 at least 1", passed=True, reason="ok.", value=1)

    lines = explain(Verdict(subject="m", policy="", findings=[wide, narrow])).splitlines()

    assert lines[-2:] == [
        "精度 at least 1  1      -         -         yes     ok.",
        "e\u0301t\u00e9 at least 1   1      -         -         yes     ok.",
    ]


def columns(line: str) -> int:
    return sum(
        0 if unicodedata.combining(each) or unicodedata.category(each) in {"Mn", "Me"}
        else 2 if unicodedata.east_asian_width(each) in {"W", "F"} else 1
        for each in line
    )  # fmt: skip


numbers = st.none() | st.floats() | st.integers()
texts = st.text() | st.builds(
    lambda word, times: word * times, st.sampled_from(["w", "度", "e\u0301"]), st.integers(0, 150)
)
findings = st.builds(
    Finding, check=texts, passed=st.booleans(), reason=texts, subject=texts, value=numbers,
    against=numbers, low=numbers, high=numbers,
)  # fmt: skip
verdicts = st.builds(
    Verdict, subject=texts, policy=texts, findings=st.lists(findings, max_size=4),
    facts=st.dictionaries(texts, texts, max_size=2),
)  # fmt: skip


@given(verdicts, st.integers(0, 200))
def test_whatever_the_verdict_no_line_is_wider_than_asked_and_none_commands_a_terminal(
    verdict: Verdict, width: int
) -> None:
    table = explain(verdict, width=width)

    assert max(map(columns, table.split("\n"))) <= max(width, LEAST_WIDTH)
    assert {unicodedata.category(each) for each in table.replace("\n", "")}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert sum(line.startswith("check ") for line in table.split("\n")) >= bool(verdict.findings)


@given(verdicts, st.integers(LEAST_WIDTH, 200))
@settings(max_examples=200)
def test_no_letter_of_a_reason_is_lost(verdict: Verdict, width: int) -> None:
    table = explain(verdict, width=width)

    told = Counter(each for finding in verdict.findings for each in finding.reason if each.isalnum())
    assert told <= Counter(table)

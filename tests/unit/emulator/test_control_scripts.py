import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.scripts import FINAL, WAITING, Cancel, Script, ScriptError, look, words

#: Times of like size, so that looks, changes and cancels really meet; halves, so that sums are exact.
moments = st.integers(0, 40).map(lambda halves: halves / 2)
live_words = st.sampled_from(["NotStarted", "Queued", "Preparing", "Running", "NotResponding", "SomethingNew"])
last_words = live_words | st.sampled_from(sorted(FINAL))


@st.composite
def written(draw: st.DrawFn) -> list[list[Any]]:
    body = draw(st.lists(st.tuples(live_words, moments), max_size=4))
    return [[word, lasts_s] for word, lasts_s in [*body, (draw(last_words), draw(moments))]]


scripts = written().map(Script.from_wire)
cancels = st.builds(Cancel, at_s=moments, takes_s=st.none() | moments)


@given(written(), moments)
def test_without_a_cancel_the_status_is_the_word_whose_time_it_is(statuses: list[list[Any]], age_s: float) -> None:
    ends = [sum(lasts_s for _, lasts_s in statuses[: number + 1]) for number in range(len(statuses) - 1)]
    passed = sum(end <= age_s for end in ends)

    assert look(Script.from_wire(statuses), age_s).status == statuses[passed][0]


@given(scripts, moments, moments, st.none() | cancels)
def test_what_has_ended_stays_as_it_is(script: Script, age_s: float, more_s: float, cancel: Cancel | None) -> None:
    before, after = (look(script, age, cancel) for age in (age_s, age_s + more_s))

    assert (before.ended_s is not None) == (before.status in FINAL)
    if before.status in FINAL:
        assert after == before
    if before.started_s is not None:
        assert after.started_s == before.started_s


@given(scripts, moments, cancels)
def test_a_look_does_not_know_what_comes_later(script: Script, age_s: float, cancel: Cancel) -> None:
    if age_s < cancel.at_s:
        assert look(script, age_s, cancel) == look(script, age_s)


@given(scripts, moments, cancels)
def test_a_cancel_ends_what_has_not_ended_and_after_its_time_only(
    script: Script, later_s: float, cancel: Cancel
) -> None:
    before, after = look(script, cancel.at_s), look(script, cancel.at_s + later_s, cancel)

    if before.status in FINAL:
        assert after == before
    elif cancel.takes_s is not None and later_s >= cancel.takes_s:
        assert (after.status, after.ended_s) == ("Canceled", cancel.at_s + cancel.takes_s)
    else:
        assert (after.status, after.ended_s) == ("CancelRequested", None)


@given(scripts, st.none() | cancels)
def test_statuses_follow_each_other_and_only_the_last_is_final(script: Script, cancel: Cancel | None) -> None:
    found = words(script, cancel)

    assert found[0][0] == 0
    assert all(since <= later for (since, _), (later, _) in pairwise(found))
    assert not any(word in FINAL for _, word in found[:-1])


@given(scripts, moments, st.none() | cancels)
def test_a_run_has_started_from_its_first_word_that_is_no_waiting(
    script: Script, age_s: float, cancel: Cancel | None
) -> None:
    seen = look(script, age_s, cancel)

    if seen.status not in WAITING:
        assert seen.started_s is not None
    if seen.started_s is not None:
        assert 0 <= seen.started_s <= age_s
        assert look(script, seen.started_s, cancel).started_s == seen.started_s


@given(
    written(),
    st.dictionaries(st.text(min_size=1), st.lists(st.floats(), min_size=1)),
    st.none() | moments,
    st.none() | st.builds(lambda code, message: {"code": code, "message": message}, st.text(), st.text()),
)
def test_a_script_is_read_as_it_was_written(
    statuses: list[list[Any]], metrics: dict[str, list[float]], cancel_s: float | None, error: Any
) -> None:
    body = {"statuses": statuses, "metrics": metrics, "cancel_s": cancel_s, "error": error, "log": "hello\n"}
    first = Script.from_wire({**body, "steps": {"a": statuses}})
    again = Script.parse(first.text)

    assert again.text == first.text
    assert again.digest == first.digest
    assert again.cancel_s == cancel_s
    assert {name: repr([*points]) for name, points in again.metrics.items()} == {
        name: repr(points) for name, points in metrics.items()
    }


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "A script needs statuses"),
        ([], "A script needs statuses"),
        ("slow", "A script is an object with statuses"),
        ([["Running"]], '["Running"] is no [status word, seconds].'),
        ([["Running", -1]], "The seconds of status Running are -1"),
        ([["Running", True]], "The seconds of status Running are true"),
        ([["Running", math.nan]], "The seconds of status Running are NaN"),
        ([["Running", math.inf]], "The seconds of status Running are Infinity"),
        ([["", 1]], '["", 1] is no [status word, seconds].'),
        ([["Completed", 1], ["Running", 1]], "After Completed a job's status does not change"),
        ({"statuses": [["Running", 1]], "metric": {}}, "A script has no metric; its members are: statuses,"),
        ({"statuses": [["Running", 1]], "metrics": {"auc": "good"}}, 'Metric auc is "good"'),
        ({"statuses": [["Running", 1]], "metrics": {"auc": []}}, "Metric auc has no points"),
        ({"statuses": [["Running", 1]], "metrics": {"auc": 10**400}}, "Metric auc is 1000"),
        ({"statuses": [["Running", 1]], "metrics": [1]}, "A script's metrics are an object with a name for each"),
        ({"statuses": [["Running", 1]], "outputs": {"scores": ""}}, 'Output scores is ""; give its URI.'),
        ({"statuses": [["Running", 1]], "error": {"code": "UserError"}}, "the texts code and message"),
        ({"statuses": [["Running", 1]], "error": {"code": "a", "message": "b", "why": "c"}}, "A script's error is"),
        ({"statuses": [["Running", 1]], "error": {"code": "a", "message": "b", "innerError": 1}}, "The innerError"),
        ({"statuses": [["Running", 1]], "log": 3}, "A script's log is a text, not 3."),
        ({"statuses": [["Running", 1]], "log": "x" * 1_000_001}, "at most 1000000 characters, not 1000001"),
        ({"statuses": [["Running", 1]], "cancel_s": "soon"}, 'The seconds of cancel_s are "soon"'),
        ({"statuses": [["Running", 1]], "steps": {"a": {"statuses": [["Running", 1]], "steps": {}}}}, "no steps of"),
    ],
)
def test_a_wrong_script_is_refused_in_a_sentence_that_names_what_is_wrong(said: Any, sentence: str) -> None:
    with pytest.raises(ScriptError) as refused:
        Script.from_wire(said)

    assert sentence in str(refused.value)


def test_text_that_is_no_json_is_no_script() -> None:
    with pytest.raises(ScriptError, match="The script is no JSON"):
        Script.parse('[["Running", 1]')
    with pytest.raises(ScriptError, match="The script is no JSON"):
        Script.parse("[" * 100_000)
    assert Script.parse(json.dumps([["Running", 1]])).statuses == (("Running", 1.0),)

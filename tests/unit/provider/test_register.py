"""The register of a model: whatever many do to it in whatever order, no version is lost and there is one champion."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.models import (
    Entry,
    Kind,
    Register,
    Registration,
    Stage,
    check_verdict,
    expected_champion,
)
from airflow_azureml.errors import ConfigError, ProtocolError


def registration(number: int, **more: Any) -> Registration:
    return Registration(**{"model": "m", "job": f"job-{number}", "output": "model", **more})


numbers, places = st.integers(0, 4), st.integers(0, 7)
#: What may be done; a version is named by its place, and half of those who crown know the champion that there is.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), numbers, st.integers(0, 6)),
        st.tuples(st.just("move"), numbers, st.integers(0, 6)),
        st.tuples(st.just("adopt"), st.integers(1, 12), st.none()),
        *(st.tuples(st.just(kind), places, st.booleans()) for kind in ("crown", "crown", "again", "vacant")),
        st.tuples(st.just("retire"), places, st.booleans()),
    ),
    max_size=30,
)


def at(register: Register, place: int) -> str:
    """Name the version at a place, or one that there is not."""
    return register.entries[place % len(register.entries)].version if register.entries else "99"


def stepped(register: Register, step: tuple[str, Any, Any]) -> Register:
    match step:
        case ("reserve", int(number), int(above)):
            return register.reserve(registration(number), above=above)
        case ("move", int(number), int(above)):
            return register.move(registration(number).key, above=above)
        case ("adopt", int(number), _):
            return register.adopt(str(number), job="")
        case ("retire", int(place), bool(right)):
            return register.retire(register.champion if right else at(register, place))
        case (kind, int(place), bool(right)):
            again, vacant = kind == "again", kind == "vacant"
            expected = register.champion if right else at(register, place + 1)
            return register.crown(at(register, place), expected=expected, again=again, vacant=vacant).register
        case _:
            raise AssertionError(step)


def after(done: Sequence[tuple[str, Any, Any]]) -> Register:
    register = Register(model="m")
    for step in done:
        register = stepped(register, step)
    return register


def known_to(register: Register, place: int, right: bool) -> tuple[str, str]:
    """Name a version, and the champion as somebody knows it who is right or wrong."""
    return at(register, place), register.champion if right else at(register, place + 1)


@given(steps)
def test_a_register_never_contradicts_itself_and_reads_as_it_was_written(done: list[tuple[str, Any, Any]]) -> None:
    register = after(done)

    assert list(register.contradictions()) == []
    assert Register.from_text(register.to_text()) == register


@given(steps)
def test_there_is_one_champion_or_none_and_whoever_was_it_is_retired(done: list[tuple[str, Any, Any]]) -> None:
    register = after(done)
    stages = {one.version: register.stage_of(one.version) for one in register.entries}

    champions = [version for version, stage in stages.items() if stage is Stage.CHAMPION]
    assert champions == [register.champion] * bool(register.champion)
    assert {version for version, stage in stages.items() if stage is Stage.RETIRED} == (
        set(register.reigns) - {register.champion}
    )


@given(steps, numbers, st.integers(0, 50))
def test_a_registration_keeps_its_version_and_a_new_one_gets_a_number_that_nobody_had(
    done: list[tuple[str, Any, Any]], number: int, above: int
) -> None:
    before = after(done)
    one = registration(number)
    reserved = before.reserve(one, above=above)
    entry = reserved.of_key(one.key)

    assert entry is not None
    assert reserved.reserve(one, above=above + 1) == reserved
    known = before.of_key(one.key)
    if known is not None:
        assert entry == known
    else:
        taken = [int(each.version) for each in before.entries]
        assert int(entry.version) > max([above, *taken])


@given(steps, st.tuples(st.just("reserve"), numbers, st.integers(0, 6)))
def test_no_step_loses_a_version_of_another(done: list[tuple[str, Any, Any]], step: tuple[str, Any, Any]) -> None:
    before = after(done)
    now = stepped(before, step)

    assert set(before.entries) <= set(now.entries)


@given(steps, numbers, st.integers(0, 6))
def test_a_registration_that_moves_leaves_all_others_and_goes_to_a_free_number_unless_it_was_crowned(
    done: list[tuple[str, Any, Any]], number: int, above: int
) -> None:
    before, key = after(done), registration(number).key
    moved = before.move(key, above=above)
    was, now = before.of_key(key), moved.of_key(key)

    assert {one for one in before.entries if one.key != key} == {one for one in moved.entries if one.key != key}
    if was is None or was.version in before.reigns:
        assert moved == before
    else:
        assert now is not None
        assert int(now.version) > max([above, *(int(one.version) for one in before.entries)])


@given(steps, places, st.booleans())
def test_only_who_was_compared_with_the_champion_that_there_is_replaces_it(
    done: list[tuple[str, Any, Any]], place: int, right: bool
) -> None:
    before = after(done)
    version, expected = known_to(before, place, right=right)
    coronation = before.crown(version, expected=expected)

    if coronation.crowned:
        assert coronation.register.champion == version
        assert before.champion in {expected, version}
        assert coronation.reason == ""
    else:
        assert coronation.register == before
        assert coronation.reason


@given(steps, places, st.booleans())
def test_crowning_twice_is_crowning_once(done: list[tuple[str, Any, Any]], place: int, right: bool) -> None:
    before = after(done)
    version, expected = known_to(before, place, right=right)
    once = before.crown(version, expected=expected)
    twice = once.register.crown(version, expected=expected)

    assert (twice.crowned, twice.register) == (once.crowned, once.register)


@given(steps)
def test_who_was_replaced_comes_back_only_when_a_person_says_so(done: list[tuple[str, Any, Any]]) -> None:
    before = after(done)

    for version in set(before.reigns) - {before.champion}:
        assert not before.crown(version, expected=before.champion).crowned
        back = before.crown(version, expected=before.champion, again=True)
        assert back.crowned
        assert list(back.register.contradictions()) == []


@given(steps)
def test_who_retires_the_champion_leaves_none_and_nobody_else_is_touched(done: list[tuple[str, Any, Any]]) -> None:
    before = after(done)
    now = before.retire(before.champion)

    assert now == evolve(before, champion="")
    assert all(before.retire(one.version) == before for one in before.entries if one.version != before.champion)


def test_of_two_that_were_compared_with_the_same_champion_the_second_is_told_to_look_again() -> None:
    register = Register(model="m").reserve(registration(0)).reserve(registration(1)).reserve(registration(2))
    register = register.crown("1", expected="").register

    first = register.crown("2", expected="1")
    second = first.register.crown("3", expected="1")

    assert first.crowned
    assert second.reason == (
        "It was compared with version 1, and the champion is version 2 now: the gate must look again."
    )


def test_a_champion_that_is_gone_gives_way_to_who_was_compared_with_none() -> None:
    register = Register(model="m").reserve(registration(0)).reserve(registration(1)).crown("1", expected="").register

    assert not register.crown("2", expected="").crowned
    assert register.crown("2", expected="", vacant=True).crowned
    assert not register.crown("2", expected="7", vacant=True).crowned


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "not json",
        '{"schema": 2, "model": "m", "champion": "", "reigns": [], "entries": []}',
        '{"schema": 1, "model": "m", "champion": 4, "reigns": [], "entries": []}',
        '{"schema": 1, "model": "m", "champion": "4", "reigns": [], "entries": []}',
        '{"schema": 1, "model": "m", "champion": "", "reigns": ["1"], "entries": []}',
        '{"schema": 1, "model": "m", "champion": "", "reigns": [], "entries": [{"version": "1"}]}',
        '{"schema": 1, "model": "m", "champion": "", "reigns": [], "entries": ["1"]}',
    ],
)
def test_what_is_no_register_is_refused_and_says_what_to_do(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"docs/how-to/models\.md"):
        Register.from_text(text)


def test_a_register_with_a_version_twice_is_refused() -> None:
    entry = Entry(version="1", key="a", job="j")
    register = Register(model="m", entries=(entry, evolve(entry, key="b")))

    with pytest.raises(ProtocolError, match="a version stands in it twice"):
        Register.from_text(register.to_text())


def test_a_registration_is_named_by_job_output_and_path_and_nothing_else() -> None:
    one = registration(1)

    assert one.key == registration(1, kind=Kind.MLFLOW, description="else", tags={"a": "b"}).key
    assert one.key == registration(1, path="/").key
    assert len({one.key, registration(2).key, registration(1, output="b").key, registration(1, path="a").key}) == 4


def test_the_files_are_named_as_azure_ml_wants_them() -> None:
    assert registration(1).uri == "azureml://jobs/job-1/outputs/model"
    assert registration(1, path="a/b/").uri == "azureml://jobs/job-1/outputs/model/paths/a/b"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"model": "a b"}, "model is 'a b'"),
        ({"model": "-a"}, "model is '-a'"),
        ({"model": "a" * 256}, "255 letters"),
        ({"job": " "}, "job is empty"),
        ({"job": "a/b"}, "job has a slash"),
        ({"output": ""}, "output is empty"),
        ({"path": "../other"}, "must lead into the output"),
        ({"tags": {"stage": "champion"}}, "kept by the register"),
        ({"tags": {"a": "b" * 1001}}, "has 1001 characters"),
        ({"tags": {"a" * 101: "b"}}, "a name of 101 characters"),
        ({"tags": {str(number): "b" for number in range(50)}}, "there are 51 tags"),
    ],
)
def test_what_is_wrong_with_a_registration_is_told(wrong: dict[str, Any], told: str) -> None:
    assert told in "; ".join(registration(1, **wrong).faults())


def test_nothing_is_wrong_with_a_plain_registration() -> None:
    assert list(registration(1, tags={"team": "ward 4"}, path="a/b").faults()) == []


PASSED = Finding(check="rmse at most 60", passed=True, reason="It is 54.")


def verdict(*, passed: bool = True, **facts: str) -> Verdict:
    return Verdict(subject="The challenger", policy="p", findings=(evolve(PASSED, passed=passed),), facts=facts)


@pytest.mark.parametrize(
    ("given_verdict", "told"),
    [
        (verdict(passed=False, job="j"), "The verdict is a no: The challenger: rejected"),
        (Verdict(subject="s", policy="p", findings=(), facts={"job": "j"}), "nothing was checked"),
        (verdict(job="other"), "about job other"),
        (verdict(), "its facts have no 'job'"),
        (verdict(job="j", model="other"), "the champion of model other, and this is model m"),
    ],
)
def test_a_verdict_that_is_a_no_or_about_something_else_is_refused(given_verdict: Verdict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_verdict(given_verdict, job="j", model="m")


@pytest.mark.parametrize(("told", "champion"), [("7", "7"), ("", ""), ("none", ""), ("none yet", ""), (" 7 ", "7")])
def test_the_champion_that_a_verdict_was_made_with_is_read_from_its_facts(told: str, champion: str) -> None:
    check_verdict(verdict(job="j", model="m"), job="j", model="m")
    assert expected_champion(verdict(champion=told)) == champion


def test_a_verdict_that_does_not_say_with_which_champion_it_compared_crowns_nobody() -> None:
    with pytest.raises(ConfigError, match="Give expected="):
        expected_champion(verdict(job="j"))


@given(st.text(string.printable, max_size=30))
def test_a_text_that_is_no_register_never_becomes_one(text: str) -> None:
    try:
        raw = json.loads(text)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        with pytest.raises(ProtocolError):
            Register.from_text(text)

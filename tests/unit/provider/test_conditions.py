"""What a sensor sees with one look, and when it looks again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.conditions import Settled, Sight, State, decide
from airflow_azureml.core.waiting import LookAgain, WaitPolicy
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError
from airflow_azureml.triggers.condition import ConditionTrigger
from airflow_azureml.wire import conditions
from airflow_azureml.wire.http import Response
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
POLICY = WaitPolicy(deadline_s=100, patience_s=30, first_s=2, longest_s=10)
ABSENT = answer(404, {"error": {"code": "NotFound", "message": "There is none."}})
NO_WORKSPACE = answer(404, {"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}})


def _look(condition: str, arguments: dict[str, Any], *answers: Response) -> Sight:
    return Talk().hold(conditions.look(WORKSPACE, condition, arguments), answers)


def _version(name: str, **properties: Any) -> dict[str, Any]:
    return {"name": name, "properties": {"modelUri": f"u{name}", **properties}}


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (answer(200, _version("3")), State.MET, "is there"),
        (answer(200, _version("3", provisioningState="Succeeded", jobName="j")), State.MET, "is there"),
        (answer(200, _version("3", provisioningState="Creating")), State.CHANGING, "is Creating"),
        (answer(200, _version("3", provisioningState="Failed")), State.FAILED, "is Failed"),
        (answer(200, _version("3", isArchived=True)), State.MISSING, "is archived"),
        (ABSENT, State.MISSING, "is not there"),
    ],
)
def test_a_version_is_met_when_it_is_there_and_ready(found: Response, state: State, told: str) -> None:
    sight = _look("model_version", {"model": "m", "version": "3"}, found)

    assert (sight.what, sight.state, sight.told) == ("Version 3 of model m", state, told)


@pytest.mark.parametrize(
    ("names", "best"), [(["9", "10", "2"], "10"), (["3"], "3"), (["2", "x"], ""), ([], ""), (["2024-01-01"], "")]
)
def test_the_highest_number_counts_and_not_the_newest_or_the_longest_text(names: list[str], best: str) -> None:
    page = answer(200, {"value": [_version(name) for name in names]})

    sight = _look("model_at_least", {"model": "m", "at_least": 3}, page)

    assert sight.result.get("version", "") == best
    assert (sight.state is State.MET) is bool(best)


def test_a_model_that_is_not_there_has_no_version() -> None:
    assert _look("model_at_least", {"model": "m", "at_least": 1}, ABSENT).state is State.MISSING


@pytest.mark.parametrize(
    ("words", "state", "what"),
    [
        (["Succeeded", "Succeeded"], State.MET, "Deployment d of batch endpoint e"),
        (["Creating"], State.CHANGING, "Batch endpoint e"),
        (["Failed"], State.FAILED, "Batch endpoint e"),
        (["Succeeded", "Updating"], State.CHANGING, "Deployment d of batch endpoint e"),
        (["Succeeded", "Failed"], State.FAILED, "Deployment d of batch endpoint e"),
        (["Succeeded", "Canceled"], State.FAILED, "Deployment d of batch endpoint e"),
        (["Succeeded", "a word of tomorrow"], State.CHANGING, "Deployment d of batch endpoint e"),
    ],
)
def test_an_endpoint_is_met_when_it_and_its_deployment_have_succeeded(
    words: list[str], state: State, what: str
) -> None:
    answers = [answer(200, {"properties": {"provisioningState": word}}) for word in words]

    sight = _look("endpoint", {"name": "e", "deployment": "d"}, *answers)

    assert (sight.state, sight.what) == (state, what)


@pytest.mark.parametrize(
    ("condition", "arguments"),
    [
        ("model_version", {"model": "m", "version": "1"}),
        ("model_at_least", {"model": "m", "at_least": 1}),
        ("endpoint", {"name": "e", "deployment": ""}),
    ],
)
def test_a_workspace_that_is_not_there_is_an_error_and_nothing_to_wait_for(
    condition: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(RefusedError, match="ResourceNotFound"):
        _look(condition, arguments, NO_WORKSPACE)


def test_a_condition_of_another_version_of_this_package_is_refused() -> None:
    with pytest.raises(ConfigError, match="no condition 'full_moon'"):
        _look("full_moon", {})


def _sight(state: State) -> Sight:
    return Sight(what="It", state=state, told="is strange")


def test_what_could_not_be_seen_for_too_long_is_given_up_and_says_what_was_heard() -> None:
    settled = decide(_sight(State.UNCERTAIN), looks=9, age_s=50, uncertain_s=30, policy=POLICY)

    assert isinstance(settled, Settled)
    assert settled.gave_up == "It could not be seen for 30 s; the last answer: is strange"
    assert not settled.timed_out


@given(
    state=st.sampled_from(State),
    looks=st.integers(1, 1000),
    age_s=st.floats(0, 200),
    uncertain_s=st.floats(0, 60),
)
def test_waiting_ends_at_its_limits_and_no_sooner(state: State, looks: int, age_s: float, uncertain_s: float) -> None:
    decision = decide(_sight(state), looks=looks, age_s=age_s, uncertain_s=uncertain_s, policy=POLICY)

    is_over = state in (State.MET, State.FAILED)
    too_late = age_s >= POLICY.deadline_s
    too_dark = state is State.UNCERTAIN and uncertain_s >= POLICY.patience_s
    match decision:
        case Settled(gave_up=why, timed_out=timed_out):
            assert is_over or too_late or too_dark
            assert bool(why) is not is_over
            assert timed_out is (too_late and not is_over)
        case LookAgain(after_s=after_s):
            assert True not in (is_over, too_late, too_dark)
            assert 0 < after_s <= min(POLICY.longest_s, POLICY.deadline_s - age_s)


@given(
    settled=st.builds(
        Settled,
        sight=st.builds(
            Sight,
            what=st.text(),
            state=st.sampled_from(State),
            told=st.text(),
            result=st.dictionaries(st.text(), st.text()),
        ),
        gave_up=st.text(),
        timed_out=st.booleans(),
    )
)
def test_an_end_is_read_as_it_was_written(settled: Settled) -> None:
    assert Settled.from_wire(settled.to_wire()) == settled


def test_the_trigger_is_written_with_all_its_fields() -> None:
    trigger = ConditionTrigger(
        conn_id="c", condition="endpoint", arguments={"name": "e"}, began_at=1.5, policy=POLICY.to_wire()
    )

    path, fields = trigger.serialize()

    assert path == "airflow_azureml.triggers.condition.ConditionTrigger"
    assert ConditionTrigger(**fields).serialize() == (path, fields)
    assert set(fields) == {"conn_id", "condition", "arguments", "began_at", "policy"}

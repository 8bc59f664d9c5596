"""What is written of a rollout: its steps, its traffic, and whose it is."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.documents import check_ids
from airflow_azureml.core.rolled_back import MOST_REMEMBERED, RolledBack, is_again
from airflow_azureml.core.rollout import Limits, Policy
from airflow_azureml.core.rollout_record import (
    FOREIGN_LEASE,
    LATE,
    Phase,
    Rollout,
    Standing,
    document_of,
)
from airflow_azureml.core.rollout_steps import Split, Step, parse_steps, steps_before
from airflow_azureml.errors import ConfigError, ProtocolError
from tests.unit.provider.rolling import NOW, POLICY, at, refusals, rollouts, splits


@given(rollouts())
def test_what_a_rollout_serves_is_whole_at_every_step(rollout: Rollout) -> None:
    assert rollout.split.total == 100
    assert {split.total for split in rollout.path} == {100}


@given(splits(), st.integers(1, 100))
def test_the_new_deployment_gets_its_share_and_the_others_keep_theirs_in_proportion(before: Split, share: int) -> None:
    now = evolve(before, mirror={"other": 5}).towards("new", Step(share))

    assert not now.mirror
    assert now.traffic["new"] == share
    assert now.total == 100
    assert all(abs(now.traffic.get(name, 0) - was * (100 - share) / 100) < 1 for name, was in before.traffic.items())


@given(splits(), st.integers(1, 50))
def test_mirroring_leaves_what_is_served_as_it_was(before: Split, share: int) -> None:
    now = before.towards("new", Step(share, mirrored=True))

    assert (now.traffic, now.mirror) == (before.traffic, {"new": share})


@given(rollouts())
def test_a_rollout_is_read_as_it_was_written(rollout: Rollout) -> None:
    assert Rollout.from_text(rollout.to_text()) == rollout


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "endpoint": "e", "king": "x"}'])
def test_what_is_no_rollout_moves_no_traffic(text: str) -> None:
    with pytest.raises(ProtocolError, match="of a rollout"):
        Rollout.from_text(text)


@given(rollouts())
def test_no_two_writings_are_alike(rollout: Rollout) -> None:
    later = [rollout.moved(rollout.phase, now=NOW), rollout.written(now=NOW), rollout.advanced(None, now=NOW)]

    assert rollout.to_text() not in [each.to_text() for each in later]


@given(st.text(max_size=300))
def test_every_endpoint_has_a_document_whatever_its_case(name: str) -> None:
    check_ids([document_of(name)])

    assert document_of("Shop") == document_of("shop")
    assert document_of("shop") != document_of("shop_")


@pytest.mark.parametrize(
    ("steps", "read"),
    [
        (("mirror:10", 1, "10", 100), "mirror:10, 1, 10, 100"),
        (["5%", 100], "5, 100"),
        ([100], "100"),
    ],
)
def test_steps_are_percentages_or_mirrored_ones(steps: Any, read: str) -> None:
    assert ", ".join(map(str, parse_steps(steps))) == read


@pytest.mark.parametrize(
    "steps", [(), (10,), (100, 10, 100), (10, 10, 100), (0, 100), (101,), ("mirror:51", 100), (10, "mirror:10", 100),
              (True, 100), ("1.5", 100), ("mirror:10",)],
)  # fmt: skip
def test_steps_that_do_not_grow_to_the_whole_are_refused(steps: Any) -> None:
    with pytest.raises(ConfigError, match="step"):
        Policy(steps=steps)


def test_a_policy_that_contradicts_itself_says_all_that_is_wrong() -> None:
    with pytest.raises(ConfigError) as refused:
        Policy(looks=0, look_every=timedelta(0), patience=timedelta(0), soak=timedelta(days=2),
               limits=Limits(failures_at_most=1.0, p95_ms_at_most=0, p95_times_champion=0.5))  # fmt: skip

    told = str(refused.value)
    for fault in (
        "looks is 0",
        "look_every",
        "patience",
        "soak",
        "failures_at_most is 1.0",
        "p95_ms",
        "times_champion",
    ):
        assert fault in told


def test_a_policy_is_read_as_it_was_written() -> None:
    policy = Policy(steps=("mirror:5", 20, 100), limits=Limits(p99_ms_at_most=300), keep_old=True)

    assert Policy.from_wire(policy.to_wire()) == policy


def test_an_approval_stops_a_rollout_before_all_that_gives_more() -> None:
    assert steps_before(POLICY.steps, 10) == 1
    assert steps_before(POLICY.steps, "mirror:10") == 0
    assert steps_before((Step(100),), 10) == 0
    assert steps_before(POLICY.steps, None) == 3


@pytest.mark.parametrize(
    ("owner", "instance", "age", "standing"),
    [
        ("d/r/g", "a", timedelta(0), Standing.MINE),
        ("other", "a", timedelta(0), Standing.ANOTHER),
        ("d/r/g", "b", FOREIGN_LEASE / 2, Standing.FOREIGN),
        ("d/r/g", "b", FOREIGN_LEASE, Standing.FORSAKEN),
    ],
)
def test_an_open_rollout_is_somebodys(owner: str, instance: str, age: timedelta, standing: Standing) -> None:
    assert at(0).standing(owner, instance, now=NOW + age) is standing
    assert at(0, phase=Phase.REVERTED).standing(owner, instance, now=NOW + age) is Standing.FREE


def test_what_a_late_task_of_the_last_rollout_may_set_is_remembered_for_ten_minutes() -> None:
    ended = at(1).moved(Phase.REVERTED, now=NOW)
    whose = {"owner": "d/2/g", "instance": "a"}

    soon = ended.begun("newer", ended.before, POLICY.steps, now=NOW + LATE / 2, **whose)
    later = ended.begun("newer", ended.before, POLICY.steps, now=NOW + LATE, **whose)

    assert Split(traffic={"old": 90, "new": 10}) in soon.path
    assert Split(traffic={"new": 100}) not in soon.path
    assert Split(traffic={"old": 90, "new": 10}) not in later.path


def test_a_step_is_in_force_since_the_first_time_that_this_was_written() -> None:
    first = at(1, age_s=None).in_force(now=NOW)
    again = first.in_force(now=NOW + timedelta(minutes=9))

    assert first.since_s == again.since_s == NOW.timestamp()
    assert first.advanced(None, now=NOW).since_s is None


def test_what_is_written_without_the_newer_members_is_read() -> None:
    raw = json.loads(at(1).to_text())
    for name in ("since", "unseen", "model", "rolled_back"):
        del raw[name]

    assert Rollout.from_text(json.dumps(raw)) == evolve(at(1), since="")


@given(st.lists(refusals(), max_size=5), st.sampled_from(["", "/m/1", "/m/2"]))
def test_what_was_rolled_back_is_remembered_once_and_until_it_is_rolled_out_again(
    known: list[RolledBack], model: str
) -> None:
    others = tuple(each for each in known if not each.is_of("new", model))
    told: dict[str, Any] = {"owner": "d/2/g", "instance": "a", "now": NOW, "model": model}
    begun = evolve(Rollout(endpoint="shop"), rolled_back=tuple(known)).begun("new", Split(), POLICY.steps, **told)
    back = begun.given_back("Too slow.", now=NOW, is_verdict=True)
    twice = evolve(back, phase=Phase.ROLLING).given_back("Too slow.", now=NOW, is_verdict=True)

    assert begun.rolled_back_before("new", model) is None
    assert back.rolled_back == twice.rolled_back
    assert back.rolled_back[:-1] == others
    assert (back.rolled_back[-1].deployment, back.rolled_back[-1].why) == ("new", "Too slow.")
    assert begun.given_back("The run is over.", now=NOW, is_verdict=False).rolled_back == others


def test_only_the_latest_that_were_rolled_back_are_remembered() -> None:
    rollout = Rollout(endpoint="shop")
    for number in range(MOST_REMEMBERED + 3):
        told: dict[str, Any] = {"owner": "d/2/g", "instance": "a", "now": NOW}
        rollout = rollout.begun(f"new-{number}", Split(), POLICY.steps, **told)
        rollout = rollout.given_back("Too slow.", now=NOW, is_verdict=True).moved(Phase.REVERTED, now=NOW)

    assert len(rollout.rolled_back) == MOST_REMEMBERED
    assert rollout.rolled_back_before("new-2", "") is None
    assert rollout.rolled_back_before("new-3", "") is not None


def test_again_is_read_as_a_template_writes_it() -> None:
    assert [is_again(each) for each in (True, "True", " yes ")] == [True] * 3
    assert [is_again(each) for each in (False, "False", "None", "")] == [False] * 4


def test_what_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(ConfigError, match="again is 'perhaps'"):
        is_again("perhaps")

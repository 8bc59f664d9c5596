"""What a rollout decides after each look."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_azureml.core.findings import Finding
from airflow_azureml.core.rollout import HELD_S, LOST_S, Act, Deed, Look, LookAgain, Progress, decide
from airflow_azureml.core.rollout_limits import Figures
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.errors import ProtocolError
from tests.unit.provider.rolling import BAD, GOOD, NOW_S, POLICY, ago, at, rollouts, seen, since, splits


def test_a_step_that_has_shown_all_it_had_to_is_followed_by_the_next() -> None:
    decision = decide(at(1), since(400), seen(at(1)), policy=POLICY, now=NOW_S)

    assert isinstance(decision, Act)
    assert decision.deed is Deed.ADVANCE
    assert decision.champion == GOOD


@pytest.mark.parametrize(
    ("age_s", "new", "looks", "after_s"),
    [(100, GOOD, 2, 20), (299, GOOD, 2, 1), (400, evolve(GOOD, requests=49), 2, 20), (400, GOOD, 10, 20)],
)
def test_a_step_lasts_until_it_has_its_time_its_requests_and_its_looks(
    age_s: float, new: Figures, looks: int, after_s: float
) -> None:
    rollout, policy = at(1, age_s=age_s), evolve(POLICY, looks=looks)

    decision = decide(rollout, since(age_s), seen(rollout, new=new), policy=policy, now=NOW_S)

    assert isinstance(decision, LookAgain)
    assert decision.after_s == after_s


@pytest.mark.parametrize("may_advance", [True, False])
@pytest.mark.parametrize("held", ["", "for lunch"])
def test_a_violation_gives_traffic_back_at_the_first_look_that_shows_it_held_or_not(
    held: str, *, may_advance: bool
) -> None:
    rollout = at(1, age_s=1, held=held)

    decision = decide(rollout, since(1), seen(rollout, new=BAD), policy=POLICY, now=NOW_S, may_advance=may_advance)

    assert isinstance(decision, Act)
    assert (decision.deed, decision.why) == (Deed.BACK, ("50 of 100 requests failed, and 1.00% may.",))


def test_a_step_that_gets_no_requests_is_a_no_in_the_end() -> None:
    quiet, early, late = Figures(requests=1), at(1, age_s=3600), at(1, age_s=6 * 3600)

    waiting = decide(early, since(60), seen(early, new=quiet), policy=POLICY, now=NOW_S)
    over = decide(late, since(60), seen(late, new=quiet), policy=POLICY, now=NOW_S)

    assert isinstance(waiting, LookAgain)
    assert isinstance(over, Act)
    assert over.deed is Deed.BACK
    assert "1 of 50 requests so far" in over.why[0]


def test_the_last_step_lasts_as_long_as_the_soak_and_is_compared_with_the_champion_of_the_step_before() -> None:
    slow = evolve(GOOD, p95_ms=50.0)
    early, rollout = at(2, champion=GOOD, age_s=3000), at(2, champion=GOOD, age_s=3600)

    soaking = decide(early, since(60), seen(early, champion=None), policy=POLICY, now=NOW_S)
    over = decide(rollout, since(60), seen(rollout, champion=None), policy=POLICY, now=NOW_S)
    late = decide(rollout, since(60), seen(rollout, champion=None, new=slow), policy=POLICY, now=NOW_S)

    assert isinstance(soaking, LookAgain)
    assert isinstance(over, Act)
    assert over.deed is Deed.ADVANCE
    assert isinstance(late, Act)
    assert late.deed is Deed.BACK


@pytest.mark.parametrize(
    ("look", "why"),
    [
        ({"deployments": {"old": "Succeeded", "new": "Failed"}}, "Deployment new is Failed."),
        ({"deployments": {"old": "Succeeded"}}, "Deployment new is not there any more."),
        ({"state": "Failed"}, "Endpoint shop is Failed."),
    ],
)
def test_a_deployment_or_an_endpoint_that_fails_in_the_middle_loses_its_traffic(look: Any, why: str) -> None:
    decision = decide(at(1), since(1), seen(at(1), **look), policy=POLICY, now=NOW_S)

    assert isinstance(decision, Act)
    assert (decision.deed, decision.why) == (Deed.BACK, (why,))


@pytest.mark.parametrize(
    ("phase", "deed"), [(Phase.ROLLING, Deed.BACK), (Phase.REVERTING, Deed.GIVE_UP), (Phase.RETIRING, Deed.GIVE_UP)]
)
def test_what_cannot_be_seen_is_waited_for_and_then_given_back(phase: Phase, deed: Deed) -> None:
    rollout, blind = at(2, phase=phase), Look(trouble="no answer")

    soon = decide(rollout, since(LOST_S - 1), blind, policy=POLICY, now=NOW_S)
    late = decide(rollout, since(1800), blind, policy=POLICY, now=NOW_S)

    assert isinstance(soon, LookAgain)
    assert isinstance(late, Act)
    assert late.deed is deed
    assert "no answer" in late.why[0]


def test_since_when_nothing_can_be_seen_outlives_the_watcher_and_is_forgotten_when_something_can() -> None:
    blind, fresh = Look(trouble="no answer"), Progress.new(NOW_S)
    lost, long_lost = at(1, unseen=ago(1799)), at(1, unseen=ago(1800))

    first = decide(at(1), since(LOST_S), blind, policy=POLICY, now=NOW_S)
    later = decide(lost, fresh, blind, policy=POLICY, now=NOW_S)
    over = decide(long_lost, fresh, blind, policy=POLICY, now=NOW_S)
    again = decide(at(1, age_s=60, unseen=ago(1800)), fresh, seen(lost), policy=POLICY, now=NOW_S)

    assert isinstance(first, Act)
    assert first.deed is Deed.LOST
    assert isinstance(later, LookAgain)
    assert isinstance(over, Act)
    assert (over.deed, over.why) == (
        Deed.BACK,
        ("The endpoint could not be seen for 1800 s; the last answer: no answer",),
    )
    assert isinstance(again, Act)
    assert again.deed is Deed.FOUND


def test_a_step_that_comes_into_force_is_written_down_before_anything_is_judged_by_it() -> None:
    rollout = at(1, age_s=None)

    decision = decide(rollout, since(60), seen(rollout, new=BAD), policy=POLICY, now=NOW_S)

    assert isinstance(decision, Act)
    assert decision.deed is Deed.IN_FORCE


def test_a_watcher_that_takes_over_gives_back_nothing_for_what_the_one_before_may_have_seen() -> None:
    long_ago, just_now = (since(4 * 3600).taken_up(NOW_S, handed_on_at=NOW_S - each) for each in (4 * 3600, 30))
    blind = Look(trouble="no answer")
    astray = seen(at(1), split=Split(traffic={"old": 100}))

    unseen = decide(at(1, age_s=4 * 3600), long_ago, blind, policy=POLICY, now=NOW_S)
    known = decide(at(1, age_s=4 * 3600), just_now, blind, policy=POLICY, now=NOW_S)
    moved = decide(at(1, age_s=4 * 3600), long_ago, astray, policy=POLICY, now=NOW_S)
    never = decide(at(1, age_s=None), long_ago, astray, policy=POLICY, now=NOW_S)

    assert isinstance(unseen, LookAgain)
    assert isinstance(known, Act)
    assert known.deed is Deed.BACK, "the worker that has just handed it on knows better"
    assert isinstance(moved, Act)
    assert moved.deed is Deed.SET
    assert isinstance(never, Act)
    assert never.deed is Deed.BACK, "Azure has not done in four hours what it was told"


def test_a_change_that_azure_is_at_is_waited_for() -> None:
    decision = decide(at(1), Progress.new(NOW_S), seen(at(1), state="Updating"), policy=POLICY, now=NOW_S + 60)

    assert isinstance(decision, LookAgain)


def test_a_change_that_azure_does_not_make_is_a_no() -> None:
    rollout = at(1, age_s=None)
    stuck = seen(rollout, split=Split(traffic={"old": 100}))

    first = decide(rollout, Progress.new(NOW_S), stuck, policy=POLICY, now=NOW_S + 60)
    last = decide(rollout, Progress.new(NOW_S), stuck, policy=POLICY, now=NOW_S + 1800)

    assert isinstance(first, Act)
    assert first.deed is Deed.SET
    assert isinstance(last, Act)
    assert last.deed is Deed.BACK


@given(rollouts(), splits())
def test_traffic_that_no_rollout_has_set_is_somebodys_and_stays(rollout: Rollout, other: Split) -> None:
    assume(rollout.is_open)
    assume(other not in rollout.path)
    assume(other != rollout.split)
    states = dict.fromkeys([*rollout.before.traffic, "new"], "Succeeded")

    decision = decide(rollout, Progress.new(NOW_S), Look(split=other, deployments=states), policy=POLICY, now=NOW_S)

    assert isinstance(decision, Act)
    assert decision.deed is Deed.LEAVE


def test_an_endpoint_that_serves_nothing_is_set_right() -> None:
    decision = decide(at(1), Progress.new(NOW_S), seen(at(1), split=Split()), policy=POLICY, now=NOW_S)

    assert isinstance(decision, Act)
    assert decision.deed is Deed.SET


def test_a_rollout_that_is_held_takes_no_step_and_asks_now_and_then_whether_it_still_is() -> None:
    rollout = at(1, held="for lunch")

    soon = decide(rollout, evolve(since(400), began_at=NOW_S - 1), seen(rollout), policy=POLICY, now=NOW_S)
    later = decide(rollout, evolve(since(400), began_at=NOW_S - HELD_S), seen(rollout), policy=POLICY, now=NOW_S)
    old = at(1, age_s=10**6)
    watched = decide(old, since(60), seen(old), policy=POLICY, now=NOW_S, may_advance=False)

    assert isinstance(soon, LookAgain)
    assert isinstance(later, Act)
    assert later.deed is Deed.ASK
    assert isinstance(watched, LookAgain)


@pytest.mark.parametrize(("waited_s", "deed"), [(1, None), (HELD_S, Deed.ASK)])
def test_a_rollout_that_is_held_before_its_first_step_asks_too(waited_s: float, deed: Deed | None) -> None:
    rollout, progress = at(-1, held="for lunch"), Progress.new(NOW_S - waited_s)

    decision = decide(rollout, progress, seen(rollout), policy=POLICY, now=NOW_S)

    assert getattr(decision, "deed", None) is deed


@pytest.mark.parametrize(
    "rollout", [at(1), at(1, phase=Phase.REVERTING), at(2, phase=Phase.RETIRING)], ids=["step", "traffic", "removal"]
)
def test_what_was_tried_rests_before_it_is_tried_again(rollout: Rollout) -> None:
    look = seen(rollout, split=at(1).split if rollout.phase is Phase.REVERTING else rollout.split)
    tried, rested = (evolve(since(400), rest_until=NOW_S + left) for left in (1, 0))

    first = decide(rollout, tried, look, policy=POLICY, now=NOW_S)
    then = decide(rollout, rested, look, policy=POLICY, now=NOW_S)

    assert isinstance(first, LookAgain)
    assert isinstance(then, Act)


def test_a_step_that_has_passed_before_an_approval_need_not_do_so_again() -> None:
    rollout = at(1, passed=1)

    decision = decide(rollout, Progress.new(NOW_S), seen(rollout, new=Figures()), policy=POLICY, now=NOW_S)

    assert isinstance(decision, Act)
    assert decision.deed is Deed.ADVANCE


def test_what_is_replaced_is_removed_one_by_one_once_the_new_one_is_proven() -> None:
    rollout = at(2, phase=Phase.RETIRING)

    there = decide(rollout, Progress.new(NOW_S), seen(rollout), policy=POLICY, now=NOW_S)
    going = {"old": "Deleting", "new": "Succeeded"}
    leaves = decide(rollout, Progress.new(NOW_S), seen(rollout, deployments=going), policy=POLICY, now=NOW_S)
    gone = decide(
        rollout, Progress.new(NOW_S), seen(rollout, deployments={"new": "Succeeded"}), policy=POLICY, now=NOW_S
    )

    assert isinstance(there, Act)
    assert (there.deed, there.target) == (Deed.REMOVE, "old")
    assert isinstance(leaves, LookAgain)
    assert isinstance(gone, Act)
    assert gone.deed is Deed.END


@given(
    rollouts(),
    st.sampled_from(Deed),
    st.builds(Figures, requests=st.integers(0, 9)),
    st.lists(st.text(max_size=5), max_size=2),
)
def test_what_is_to_be_done_is_read_as_it_was_written(
    rollout: Rollout, deed: Deed, new: Figures, why: list[str]
) -> None:
    finding = Finding(check="c", passed=True, reason="r")
    act = Act(
        deed=deed,
        progress=since(3),
        why=tuple(why),
        findings=(finding,),
        new=new,
        champion=rollout.champion,
        target="t",
    )

    assert Act.from_wire(act.to_wire()) == act


def test_what_is_nothing_to_do_is_said_so() -> None:
    with pytest.raises(ProtocolError, match="nothing to do for a rollout"):
        Act.from_wire({"deed": "dance"})

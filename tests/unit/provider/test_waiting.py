import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.jobs import PHASE_OF_STATUS, JobSnapshot, Phase, phase_of
from airflow_azureml.core.waiting import (
    ERROR_OF_LIMIT,
    STAGE_OF_STATUS,
    STAGES,
    Ended,
    GaveUp,
    History,
    Limit,
    LookAgain,
    OnLimit,
    WaitPolicy,
    decide,
)
from airflow_azureml.errors import JobLostError

seconds = st.floats(min_value=0.1, max_value=1e5)
words = st.one_of(st.sampled_from(sorted(PHASE_OF_STATUS)), st.text(min_size=1, max_size=20))
policies = st.builds(
    WaitPolicy,
    deadline_s=seconds,
    patience_s=seconds,
    first_s=seconds,
    longest_s=seconds,
    growth=st.floats(min_value=1, max_value=3),
)


def look(status: str) -> JobSnapshot:
    return JobSnapshot(name="j", status=status)


def test_only_completed_is_a_success() -> None:
    assert [word for word in PHASE_OF_STATUS if phase_of(word) is Phase.SUCCEEDED] == ["Completed"]


@given(st.text().filter(lambda word: word not in PHASE_OF_STATUS))
def test_a_word_that_azure_added_is_uncertain_and_never_an_end(word: str) -> None:
    assert phase_of(word) is Phase.UNCERTAIN
    assert not phase_of(word).is_final


@given(words, st.integers(min_value=1, max_value=10**6), seconds, seconds, policies)
def test_every_look_leads_somewhere_and_no_wait_passes_the_deadline(
    status: str, looks: int, age_s: float, uncertain_s: float, policy: WaitPolicy
) -> None:
    match decide(look(status), looks=looks, age_s=age_s, uncertain_s=uncertain_s, policy=policy):
        case Ended(job=job):
            assert job.phase.is_final
        case GaveUp(job=job, reason=reason):
            assert not job.phase.is_final
            assert reason
            assert age_s >= policy.deadline_s or (job.phase is Phase.UNCERTAIN and uncertain_s >= policy.patience_s)
        case LookAgain(after_s=after_s):
            assert 0 < after_s <= policy.longest_s
            assert age_s + after_s <= policy.deadline_s * (1 + 1e-9)
            assert math.isfinite(after_s)


@given(st.integers(min_value=1, max_value=200), policies)
def test_looks_grow_rarer_and_never_more_frequent(looks: int, policy: WaitPolicy) -> None:
    now = decide(look("Running"), looks=looks, age_s=0, uncertain_s=0, policy=policy)
    later = decide(look("Running"), looks=looks + 1, age_s=0, uncertain_s=0, policy=policy)

    assert isinstance(now, LookAgain)
    assert isinstance(later, LookAgain)
    assert later.after_s >= now.after_s


def test_a_job_that_ended_is_believed_even_after_the_deadline() -> None:
    policy = WaitPolicy(deadline_s=10)

    assert decide(look("Completed"), looks=9, age_s=99, uncertain_s=0, policy=policy) == Ended(look("Completed"))


def test_uncertain_looks_are_borne_until_patience_is_spent() -> None:
    policy = WaitPolicy(deadline_s=1000, patience_s=60)

    borne = decide(look("NotResponding"), looks=3, age_s=100, uncertain_s=59, policy=policy)
    spent = decide(look("NotResponding"), looks=3, age_s=100, uncertain_s=60, policy=policy)

    assert isinstance(borne, LookAgain)
    assert isinstance(spent, GaveUp)
    assert spent.reason == "no certain status for 60 s; the last was 'NotResponding'"


def test_a_running_job_is_given_up_at_its_deadline_and_not_before() -> None:
    policy = WaitPolicy(deadline_s=100, first_s=30)

    before = decide(look("Running"), looks=1, age_s=99, uncertain_s=0, policy=policy)
    after = decide(look("Running"), looks=1, age_s=100, uncertain_s=0, policy=policy)

    assert before == LookAgain(1)
    assert after == GaveUp(look("Running"), "still Running after 100 s; the limit is 100 s")


@given(policies)
def test_a_policy_survives_airflows_database(policy: WaitPolicy) -> None:
    assert WaitPolicy.from_wire(policy.to_wire()) == policy


STAGE_WORDS = {stage: [word for word, of in STAGE_OF_STATUS.items() if of is stage] for stage in STAGES}
stages = st.sampled_from(STAGES)
limits = st.one_of(st.none(), seconds)
strict_policies = st.builds(
    WaitPolicy,
    deadline_s=seconds,
    patience_s=seconds,
    first_s=seconds,
    longest_s=seconds,
    actions=st.dictionaries(st.sampled_from(Limit), st.sampled_from(OnLimit)),
    **{f"{stage}_s": limits for stage in STAGES},
)
lives = st.lists(st.tuples(words, st.floats(min_value=0.1, max_value=1e5)), min_size=1, max_size=12)


def looked(life: list[tuple[str, float]]) -> tuple[History, float]:
    """Look once at each status, so many seconds after the one before."""
    history, age_s = History(), 0.0
    for status, passed_s in life:
        age_s += passed_s
        history = history.after(look(status), age_s=age_s)
    return history, age_s


@given(lives, strict_policies, seconds)
def test_a_wait_is_given_up_exactly_when_a_limit_is_passed(
    life: list[tuple[str, float]], policy: WaitPolicy, uncertain_s: float
) -> None:
    history, age_s = looked(life)
    job = look(life[-1][0])
    stage = STAGE_OF_STATUS.get(job.status)
    passed = {Limit.WHOLE} if age_s >= policy.deadline_s else set()
    if job.phase is Phase.UNCERTAIN and uncertain_s >= policy.patience_s:
        passed.add(Limit.PATIENCE)
    began_s = max((began for at, began in history.stages if at is stage), default=age_s)
    limit_s = None if stage is None else getattr(policy, f"{stage}_s")
    if stage is not None and limit_s is not None and age_s - began_s >= limit_s:
        passed.add(stage)

    decision = decide(job, looks=3, age_s=age_s, uncertain_s=uncertain_s, policy=policy, history=history)

    match decision:
        case Ended():
            assert job.phase.is_final
        case GaveUp(limit=limit, action=action, reason=reason):
            assert limit in passed
            assert action is policy.action(limit)
            assert reason
        case LookAgain(after_s=after_s):
            assert not passed
            assert 0 < after_s <= policy.longest_s
            if stage is not None and limit_s is not None:
                assert age_s - began_s + after_s <= limit_s * (1 + 1e-6) + 1e-6


@given(strict_policies)
def test_limits_and_actions_survive_airflows_database(policy: WaitPolicy) -> None:
    stored = json.loads(json.dumps(policy.to_wire()))

    assert WaitPolicy.from_wire(stored) == policy


@given(lives)
def test_a_history_survives_airflows_database(life: list[tuple[str, float]]) -> None:
    history, _ = looked(life)

    assert History.from_wire(json.loads(json.dumps(history.to_wire()))) == history


@given(lives, words)
def test_a_history_stays_short_and_in_order(life: list[tuple[str, float]], last: str) -> None:
    history, age_s = looked([*life, *life, *life, (last, 1.0)])

    assert len(history.stages) <= History.LENGTH
    assert [began for _, began in history.stages] == sorted(began for _, began in history.stages)
    assert all(one is not other for (one, _), (other, _) in pairwise(history.stages))
    if (stage := STAGE_OF_STATUS.get(last)) is not None:
        assert history.stages[-1][0] is stage
        assert history.in_stage_s(stage, age_s=age_s) >= 0


@given(stages, st.text().filter(lambda word: word not in PHASE_OF_STATUS), seconds)
def test_an_uncertain_look_neither_ends_nor_begins_a_stage(stage: Limit, word: str, age_s: float) -> None:
    before = History().after(look(STAGE_WORDS[stage][0]), age_s=age_s)

    assert before.after(look(word), age_s=age_s + 1) == before


@given(stages)
def test_each_stage_has_a_limit_an_exception_and_a_reason_of_its_own(stage: Limit) -> None:
    policy = WaitPolicy.from_wire({f"{stage}_s": 60.0})
    word = STAGE_WORDS[stage][0]
    history = History().after(look(word), age_s=100)

    before = decide(look(word), looks=1, age_s=159, uncertain_s=0, policy=policy, history=history)
    after = decide(look(word), looks=1, age_s=160, uncertain_s=0, policy=policy, history=history)

    assert before == LookAgain(1)
    assert isinstance(after, GaveUp)
    assert (after.limit, after.action) == (stage, OnLimit.CANCEL)
    assert after.reason == f"{word} for 60 s; the limit of this phase ({stage}) is 60 s"
    assert ERROR_OF_LIMIT[stage].__name__ == f"{stage.capitalize()}TimeoutError"
    assert issubclass(ERROR_OF_LIMIT[stage], JobLostError)


def test_every_word_that_is_certain_and_no_end_belongs_to_a_stage() -> None:
    living = {word for word, phase in PHASE_OF_STATUS.items() if not phase.is_final and phase is not Phase.UNCERTAIN}

    assert set(STAGE_OF_STATUS) == living
    assert set(ERROR_OF_LIMIT) == set(Limit)


def test_a_job_that_is_preempted_begins_its_queueing_anew() -> None:
    policy = WaitPolicy(queue_s=60, longest_s=1000, first_s=1000)
    history, _ = looked([("Queued", 1), ("Running", 50), ("Queued", 500)])

    again = decide(look("Queued"), looks=9, age_s=600, uncertain_s=0, policy=policy, history=history)

    assert again == LookAgain(551 + 60 - 600)


def test_a_job_that_cannot_be_seen_is_left_and_any_other_is_cancelled_unless_told_otherwise() -> None:
    told = WaitPolicy(actions={Limit.PATIENCE: OnLimit.CANCEL, Limit.RUN: OnLimit.FAIL_ONLY})

    assert {limit: WaitPolicy().action(limit) for limit in Limit} == {
        limit: OnLimit.LEAVE if limit is Limit.PATIENCE else OnLimit.CANCEL for limit in Limit
    }
    assert told.action(Limit.PATIENCE) is OnLimit.CANCEL
    assert told.action(Limit.RUN) is OnLimit.FAIL_ONLY


def test_what_an_older_version_wrote_is_read() -> None:
    old = {"deadline_s": 10.0, "patience_s": 5.0, "first_s": 1.0, "longest_s": 2.0, "growth": 1.3}

    assert WaitPolicy.from_wire(old) == WaitPolicy(deadline_s=10, patience_s=5, first_s=1, longest_s=2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"queue_s": 0}, "'queue_s' must be > 0"),
        ({"run_s": -1}, "'run_s' must be > 0"),
        ({"actions": {"queue": "explode"}}, "'explode' is not a valid OnLimit"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        WaitPolicy(**wrong)

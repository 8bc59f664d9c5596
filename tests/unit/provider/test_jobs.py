"""Never two live jobs for one key, and never a lost one: the decisions, and a model of everything that can happen."""

import string

import pytest
from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_azureml.core.jobs import (
    ATTEMPT_PROPERTY,
    KEY_PROPERTY,
    OWNER_PROPERTY,
    Adopt,
    IfExists,
    JobKey,
    JobSnapshot,
    Memory,
    Phase,
    Plan,
    Refuse,
    Situation,
    Stage,
    StopFirst,
    Submit,
    may_be_preceded,
    plan,
)
from airflow_azureml.errors import ProtocolError

LASTING = JobKey.of_blobs("dag", "score", ["a|1"])
OWN = JobKey.of_task("dag", "run", "train", -1)
ENDS = ("Completed", "Failed", "Canceled")
LIVE = ("NotStarted", "Queued", "Running", "Finalizing", "NotResponding", "Paused", "SomethingNew")


def job(name: str, status: str, *, key: JobKey = LASTING, attempt: int = 1) -> JobSnapshot:
    properties = {KEY_PROPERTY: key.digest, ATTEMPT_PROPERTY: str(attempt)}
    return JobSnapshot(name=name, status=status, properties=properties)


def decide(
    *found: JobSnapshot,
    key: JobKey = LASTING,
    cleared: bool = False,
    cancels: bool = True,
    remembered: str = "",
    if_exists: IfExists = IfExists.REATTACH,
) -> Plan:
    situation = Situation(
        cleared=cleared,
        cancels_on_kill=cancels,
        remembered=remembered,
        if_exists=if_exists,
        instance="dag/run/task/-1/",
    )
    return plan(found, key, situation)


def test_nothing_there_means_the_first_attempt() -> None:
    assert decide() == Submit(1)


def test_jobs_of_other_keys_are_nobodys_here() -> None:
    assert decide(job("other", "Running", key=OWN)) == Submit(1)


@pytest.mark.parametrize("status", LIVE)
def test_a_live_job_is_adopted_whatever_its_word(status: str) -> None:
    assert decide(job("j", status)) == Adopt(job("j", status))


def test_a_job_that_is_being_cancelled_is_waited_for_and_never_adopted() -> None:
    stopping = job("j", "CancelRequested")

    assert decide(stopping) == StopFirst(stopping, cancel=False)


def test_a_cleared_task_ends_its_old_job_before_a_new_one_starts() -> None:
    mine, running = job("j", "Running", key=OWN), job("j", "Running")

    assert decide(mine, key=OWN, cleared=True) == StopFirst(mine, cancel=True)
    assert decide(running, cleared=True, remembered="j") == StopFirst(running, cancel=True)


def test_a_cleared_task_leaves_the_live_job_of_another_task_alone() -> None:
    anothers = job("j", "Running")

    assert decide(anothers, cleared=True, remembered="mine") == Adopt(anothers)


def test_a_cleared_task_that_leaves_its_jobs_adopts_the_live_one() -> None:
    running = job("j", "Running", key=OWN)

    assert decide(running, key=OWN, cleared=True, cancels=False) == Adopt(running)


def test_a_blob_version_that_was_scored_is_not_scored_again_even_when_the_task_is_cleared() -> None:
    done = job("j", "Completed")

    assert decide(done, cleared=True, remembered="j") == Adopt(done)


def test_clearing_a_task_that_succeeded_runs_its_own_job_anew_and_a_retry_does_not() -> None:
    done = job("j", "Completed", key=OWN)

    assert decide(done, key=OWN, cleared=True) == Submit(2)
    assert decide(done, key=OWN, cleared=False) == Adopt(done)


def test_a_task_that_may_not_share_refuses_the_jobs_of_others_and_adopts_its_own() -> None:
    anothers = job("j", "Completed")
    own = evolve(anothers, properties={**anothers.properties, OWNER_PROPERTY: "dag/run/task/-1/1"})

    assert decide(anothers, if_exists=IfExists.FAIL) == Refuse(anothers)
    assert decide(own, if_exists=IfExists.FAIL) == Adopt(own)
    assert decide(if_exists=IfExists.FAIL) == Submit(1)


def test_a_task_that_wants_a_new_attempt_ends_the_live_job_of_another_and_keeps_its_own() -> None:
    running, done = job("j", "Running"), job("j", "Completed")
    own = evolve(running, properties={**running.properties, OWNER_PROPERTY: "dag/run/task/-1/1"})

    assert decide(running, if_exists=IfExists.NEW_ATTEMPT) == StopFirst(running, cancel=True)
    assert decide(own, if_exists=IfExists.NEW_ATTEMPT) == Adopt(own)
    assert decide(done, if_exists=IfExists.NEW_ATTEMPT) == Submit(2)
    assert decide(done, if_exists=IfExists.NEW_ATTEMPT, remembered="j") == Adopt(done)


@pytest.mark.parametrize("status", ["Failed", "Canceled"])
def test_a_retry_after_a_bad_end_is_a_new_attempt(status: str) -> None:
    ended = job("j", status, attempt=3)

    assert decide(ended) == Submit(4)


def test_only_the_first_try_with_a_key_of_its_own_may_post_without_looking() -> None:
    memory = Memory(stage=Stage.HELD, job="", try_number=1, max_tries=0)

    assert not may_be_preceded(OWN, None, try_number=1)
    assert may_be_preceded(OWN, None, try_number=2)
    assert may_be_preceded(OWN, memory, try_number=1)
    assert may_be_preceded(LASTING, None, try_number=1)


def test_a_clear_is_told_from_a_retry_by_airflows_own_count() -> None:
    memory = Memory(stage=Stage.ENDED, job="j", try_number=1, max_tries=2)

    assert not memory.was_cleared(2)
    assert memory.was_cleared(3)


@given(st.lists(st.text(alphabet=string.printable), min_size=1, max_size=5), st.randoms())
def test_a_key_does_not_depend_on_the_order_of_the_blobs(blobs: list[str], random: object) -> None:
    shuffled = list(blobs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert JobKey.of_blobs("d", "t", blobs) == JobKey.of_blobs("d", "t", shuffled)


@given(st.lists(st.text(), min_size=4, max_size=4), st.lists(st.text(), min_size=4, max_size=4))
def test_two_keys_are_the_same_only_for_the_same_parts(one: list[str], other: list[str]) -> None:
    keys = [JobKey.of_blobs(parts[0], parts[1], parts[2:]).digest for parts in (one, other)]
    same = (one[:2], sorted(one[2:])) == (other[:2], sorted(other[2:]))

    if all("\x00" not in part for part in one + other):
        assert (keys[0] == keys[1]) == same


def test_every_attempt_has_a_repeatability_id_of_its_own_that_stays() -> None:
    again = JobKey.of_blobs("dag", "score", ["a|1"])

    assert LASTING.repeatability_id(1) == again.repeatability_id(1)
    assert LASTING.repeatability_id(1) != LASTING.repeatability_id(2)


@pytest.mark.parametrize(
    "raw", [None, "x", 3, {}, {"stage": "held"}, {"stage": "new", "job": "j", "try_number": 1, "max_tries": 0}]
)
def test_a_memory_that_cannot_be_read_is_no_memory(raw: object) -> None:
    assert Memory.from_wire(raw) is None


@given(st.sampled_from(Stage), st.text(), st.integers(min_value=1, max_value=99), st.integers(0, 99))
def test_a_memory_survives_airflows_database(stage: Stage, name: str, tried: int, most: int) -> None:
    memory = Memory(stage=stage, job=name, try_number=tried, max_tries=most)

    assert Memory.from_wire(memory.to_wire()) == memory


def test_a_job_without_a_status_is_an_error_that_names_it() -> None:
    with pytest.raises(ProtocolError, match="'j' without a name or a status"):
        JobSnapshot.from_wire({"name": "j", "properties": {}})


@define
class World:
    """What Azure ML holds: the status and the attempt of each job."""

    jobs: dict[str, tuple[str, int]] = field(factory=dict)

    def seen(self, key: JobKey) -> list[JobSnapshot]:
        return [job(name, status, key=key, attempt=attempt) for name, (status, attempt) in self.jobs.items()]


class OneTask(RuleBasedStateMachine):
    """One task instance and its jobs, while workers crash, people clear, and jobs end as they like."""

    @initialize(lasting=st.booleans(), cancels=st.booleans())
    def begin(self, lasting: bool, cancels: bool) -> None:
        self.key = LASTING if lasting else OWN
        self.cancels = cancels
        self.world = World()
        self.memory: Memory | None = None
        self.try_number = 1
        self.max_tries = 3
        self.state = "starting"
        self.mine = ""
        self.killed_by_us: set[str] = set()
        self.clears = 0

    def note(self, stage: Stage, name: str) -> None:
        self.memory = Memory(stage=stage, job=name, try_number=self.try_number, max_tries=self.max_tries)

    @precondition(lambda self: self.state == "starting")
    @rule(crash=st.sampled_from(["never", "before the post", "after the post", "after remembering"]))
    def start(self, crash: str) -> None:
        look = may_be_preceded(self.key, self.memory, try_number=self.try_number)
        found = self.world.seen(self.key) if look else []
        cleared = self.memory is not None and self.memory.was_cleared(self.max_tries)
        remembered = self.memory.job if self.memory else ""
        match decide(*found, key=self.key, cleared=cleared, cancels=self.cancels, remembered=remembered):
            case StopFirst(job=old, cancel=cancel):
                if cancel:
                    assert self.clears, "only a person's clear cancels a healthy job"
                    self.world.jobs[old.name] = ("CancelRequested", old.attempt)
                self.note(Stage.HELD, old.name)
                return
            case Refuse():
                raise AssertionError("nobody asked for it")
            case Adopt(job=old):
                assert old.status != "CancelRequested", "whoever adopts it would see it die"
                self.mine = old.name
            case Submit(attempt=attempt):
                self.note(Stage.HELD, "")
                if crash == "before the post":
                    self.try_number += 1
                    return
                self.mine = f"job{len(self.world.jobs)}"
                self.world.jobs[self.mine] = ("Preparing", attempt)
                if crash == "after the post":
                    self.try_number += 1
                    return
        self.note(Stage.HELD, self.mine)
        if crash == "after remembering":
            self.try_number += 1
            return
        if self.world.jobs[self.mine][0] in ENDS:
            self.state = "judging"
        else:
            self.note(Stage.DEFERRED, self.mine)
            self.state = "waiting"

    @precondition(lambda self: any(status == "CancelRequested" for status, _ in self.world.jobs.values()))
    @rule()
    def a_cancel_is_carried_out(self) -> None:
        for name, (status, attempt) in self.world.jobs.items():
            if status == "CancelRequested":
                self.world.jobs[name] = ("Canceled", attempt)

    @rule(data=st.data(), status=st.sampled_from(["Running", "NotResponding", "Completed", "Failed", "Canceled"]))
    def a_job_goes_on(self, data: st.DataObject, status: str) -> None:
        live = [n for n, (s, _) in self.world.jobs.items() if s not in (*ENDS, "CancelRequested")]
        if live:
            name = data.draw(st.sampled_from(live))
            self.world.jobs[name] = (status, self.world.jobs[name][1])

    @precondition(lambda self: self.state == "waiting")
    @rule()
    def the_trigger_sees_the_end(self) -> None:
        if self.world.jobs[self.mine][0] in ENDS:
            self.state = "judging"

    @precondition(lambda self: self.state == "waiting")
    @rule()
    def airflow_itself_fails_the_waiting_task_and_retries_it(self) -> None:
        self.try_number += 1
        self.state = "starting"

    @precondition(lambda self: self.state == "judging")
    @rule(retry=st.booleans(), airflow_loses_the_result=st.booleans())
    def judge(self, retry: bool, airflow_loses_the_result: bool) -> None:
        status = self.world.jobs[self.mine][0]
        self.note(Stage.ENDED, self.mine)
        if status == "Completed" and not airflow_loses_the_result:
            self.state = "success"
        elif retry or status == "Completed":
            self.try_number += 1
            self.state = "starting"
        else:
            self.state = "failed"

    @precondition(lambda self: self.state in ("waiting", "success", "failed"))
    @rule(the_trigger_kills=st.booleans())
    def a_person_clears_it(self, the_trigger_kills: bool) -> None:
        status, attempt = self.world.jobs[self.mine]
        if self.state == "waiting" and the_trigger_kills and self.cancels and status not in ENDS:
            self.world.jobs[self.mine] = ("CancelRequested", attempt)
        self.clears += 1
        self.max_tries = self.try_number + 3
        self.try_number += 1
        self.state = "starting"

    @invariant()
    def never_two_live_jobs(self) -> None:
        if hasattr(self, "world"):
            assert len([job for job in self.world.seen(self.key) if not job.phase.is_final]) <= 1

    @invariant()
    def attempts_are_never_used_twice(self) -> None:
        if hasattr(self, "world"):
            attempts = [attempt for _, attempt in self.world.jobs.values()]
            assert len(attempts) == len(set(attempts))

    @invariant()
    def nothing_completes_more_often_than_people_asked_for(self) -> None:
        if hasattr(self, "world"):
            completed = [status for status, _ in self.world.jobs.values()].count("Completed")
            assert completed <= (1 if self.key.lasting else 1 + self.clears)

    @invariant()
    def a_success_is_a_completed_job(self) -> None:
        if hasattr(self, "world") and self.state == "success":
            assert job(self.mine, self.world.jobs[self.mine][0]).phase is Phase.SUCCEEDED


TestOneTask = OneTask.TestCase
TestOneTask.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)

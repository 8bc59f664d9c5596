"""One task from its first try to its last word: submitting, waiting, giving up, and being killed, in any order.

Azure ML is a few lines here: jobs whose status says whatever it likes, and which end when they are told to, or some
time after that, or never. Whatever the task decides, `plan`, `decide` and `fate` decide.
"""

import pytest
from attrs import define, evolve, field
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_azureml.core.jobs import (
    ATTEMPT_PROPERTY,
    KEY_PROPERTY,
    PHASE_OF_STATUS,
    Adopt,
    JobKey,
    JobSnapshot,
    Memory,
    Phase,
    Refuse,
    Situation,
    Stage,
    StopFirst,
    Submit,
    may_be_preceded,
    phase_of,
    plan,
)
from airflow_azureml.core.waiting import (
    STAGE_OF_STATUS,
    STAGES,
    Ended,
    Fate,
    GaveUp,
    History,
    Limit,
    LookAgain,
    OnLimit,
    WaitPolicy,
    decide,
    fate,
)

ENDS = ("Completed", "Failed", "Canceled")
ROUNDING_S = 1e-6
OPEN = [word for word in PHASE_OF_STATUS if word not in ENDS]
words = st.sampled_from([*PHASE_OF_STATUS, *OPEN, "AWordOfTomorrow", "completed", "Succeeded"])
looked = st.sampled_from([True, True, True, False])
limits = st.floats(min_value=5, max_value=100)
policies = st.builds(
    WaitPolicy,
    deadline_s=st.floats(min_value=20, max_value=400),
    patience_s=limits,
    actions=st.dictionaries(st.sampled_from(Limit), st.sampled_from(OnLimit), max_size=3),
    **{f"{stage}_s": st.one_of(st.none(), limits) for stage in STAGES},
)
#: What becomes of a submission, beside that it is taken.
MISHAPS = (
    "the worker dies before it",
    "no answer, and not taken",
    "no answer, taken, and looking for it fails",
    "the worker dies after it",
    "the worker is shut down after it",
)


@pytest.mark.parametrize("cancels", [True, False])
def test_a_job_that_was_told_to_end_is_never_adopted_whatever_its_status_says_yet(cancels: bool) -> None:
    key = JobKey.of_task("dag", "run", "task", -1)
    job = Job("told", attempt=1, status="Running").seen(key)
    situation = Situation(remembered="told", stopping="told", cancels_on_kill=cancels)

    assert plan([job], key, situation) == StopFirst(job, cancel=cancels)
    assert plan([evolve(job, status="Canceled")], key, situation) == Submit(2)


@pytest.mark.parametrize(
    ("action", "last_try", "cancels", "expected"),
    [
        (OnLimit.CANCEL, False, True, Fate.CANCELED),
        (OnLimit.CANCEL, False, False, Fate.LEFT),
        (OnLimit.LEAVE, False, True, Fate.HANDED_ON),
        (OnLimit.LEAVE, False, False, Fate.HANDED_ON),
        (OnLimit.LEAVE, True, True, Fate.CANCELED),
        (OnLimit.LEAVE, True, False, Fate.LEFT),
        (OnLimit.FAIL_ONLY, False, True, Fate.LEFT),
        (OnLimit.FAIL_ONLY, True, True, Fate.LEFT),
    ],
)
def test_a_job_that_is_given_up_is_handed_on_ended_or_left_as_agreed(
    action: OnLimit, last_try: bool, cancels: bool, expected: Fate
) -> None:
    assert fate(action, cancels=cancels, last_try=last_try) is expected


@define
class Job:
    """A job as Azure ML has it.

    Attributes:
        told_by_us: Whether the task has told it to end; its status may show that late.
        excused: Whether it may live though nobody waits for it: that was told, or a worker died with the last try.
    """

    name: str
    attempt: int
    status: str = "NotStarted"
    told_by_us: bool = False
    excused: bool = False

    def seen(self, key: JobKey) -> JobSnapshot:
        properties = {KEY_PROPERTY: key.digest, ATTEMPT_PROPERTY: str(self.attempt)}
        return JobSnapshot(name=self.name, status=self.status, properties=properties)

    @property
    def lives(self) -> bool:
        return self.status not in ENDS


@define
class Wait:
    """A wait for a job, and what its looks showed, noted in the test's own way.

    Attributes:
        certain: When each certain look was, and what it showed.
    """

    began: float
    policy: WaitPolicy
    looks: int = 0
    certain_at: float = 0.0
    history: History = field(factory=History)
    certain: list[tuple[float, str]] = field(factory=list)
    last_began: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.certain_at = self.last_began = self.began

    def restart(self, now: float) -> None:
        """Wait on in another triggerer, which knows what was written down and nothing else."""
        self.looks, self.certain_at, self.history = 0, now, History.from_wire([])
        self.certain, self.last_began = [], now

    def has_passed(self, limit: Limit, now: float) -> bool:
        """Tell from the looks alone whether a limit was passed."""
        if limit is Limit.WHOLE:
            return now - self.began >= self.policy.deadline_s
        if limit is Limit.PATIENCE:
            last = self.certain[-1][0] if self.certain else self.last_began
            return now - last >= self.policy.patience_s
        since = None
        for at, status in reversed(self.certain):
            if STAGE_OF_STATUS[status] is not limit:
                break
            since = at
        limit_s: float | None = getattr(self.policy, f"{limit}_s")
        return since is not None and limit_s is not None and now - since >= limit_s


class LifeOfATask(RuleBasedStateMachine):
    """A task, its jobs, the people around it, and time."""

    @initialize(lasting=st.booleans(), cancels=st.booleans(), retries=st.integers(0, 3), policy=policies)
    def begin(self, lasting: bool, cancels: bool, retries: int, policy: WaitPolicy) -> None:
        self.key = JobKey.of_blobs("dag", "run", ["a|1"]) if lasting else JobKey.of_task("dag", "run", "task", -1)
        self.cancels, self.retries, self.policy = cancels, retries, policy
        self.now = 0.0
        self.jobs: dict[str, Job] = {}
        self.memory: Memory | None = None
        self.try_number, self.max_tries = 1, retries
        self.state, self.mine = "starting", ""
        self.wait = Wait(0.0, policy)

    # what the task does

    def note(self, stage: Stage, name: str) -> None:
        noted = Memory(stage=stage, job=name, try_number=self.try_number, max_tries=self.max_tries)
        self.memory = Memory.from_wire(noted.to_wire())

    @property
    def is_last_try(self) -> bool:
        return self.try_number > self.max_tries

    def fail(self) -> None:
        """End a try with an error that Airflow may try again after."""
        self.state = "failed" if self.is_last_try else "starting"
        self.try_number += not self.is_last_try

    def cancel(self, job: Job) -> None:
        assert self.cancels, "it may leave jobs only"
        job.told_by_us = True

    def plan(self) -> Adopt | StopFirst | Submit | Refuse:
        memory = self.memory
        look = may_be_preceded(self.key, memory, try_number=self.try_number)
        situation = Situation(
            cleared=memory is not None and memory.was_cleared(self.max_tries),
            cancels_on_kill=self.cancels,
            remembered=memory.job if memory else "",
            stopping=memory.job if memory and memory.stage is Stage.STOPPING else "",
            instance="dag/run/task/-1/",
        )
        return plan([job.seen(self.key) for job in self.jobs.values()] if look else [], self.key, situation)

    @precondition(lambda self: self.state == "starting")
    @rule(mishap=st.one_of(st.just(""), st.sampled_from(MISHAPS)))
    def a_try_starts(self, mishap: str) -> None:
        match self.plan():
            case Refuse():
                raise AssertionError("nobody asked for it")
            case StopFirst(job=old, cancel=must_cancel):
                event("a job has to end first")
                if must_cancel:
                    self.cancel(self.jobs[old.name])
                self.note(Stage.STOPPING, old.name)
                self.mine, self.state = old.name, "stopping"
                self.wait = Wait(self.now, WaitPolicy(deadline_s=self.policy.cancel_s or 900))
            case Adopt(job=old):
                job = self.jobs[old.name]
                assert not job.lives or (job.status != "CancelRequested" and not job.told_by_us), "it would see it die"
                event("a job is adopted")
                self.hold(job)
            case Submit(attempt=attempt):
                self.submit(attempt, mishap)

    def submit(self, attempt: int, mishap: str) -> None:
        self.note(Stage.HELD, "")
        if mishap in ("the worker dies before it", "no answer, and not taken"):
            self.fail()
            return
        job = Job(f"job-{len(self.jobs)}", attempt)
        self.jobs[job.name] = job
        if mishap in ("the worker dies after it", "no answer, taken, and looking for it fails"):
            job.excused = self.is_last_try
            self.fail()
        elif mishap and self.cancels:
            self.cancel(job)
            self.note(Stage.STOPPING, job.name)
            self.fail()
        else:
            self.hold(job)

    def hold(self, job: Job) -> None:
        self.mine, job.excused = job.name, False
        self.note(Stage.HELD, job.name)
        if not job.lives:
            self.judge(job)
            return
        self.note(Stage.DEFERRED, job.name)
        self.state, self.wait = "waiting", Wait(self.now, self.policy)

    def judge(self, job: Job) -> None:
        self.note(Stage.ENDED, job.name)
        if job.seen(self.key).phase is Phase.SUCCEEDED:
            self.state = "success"
        else:
            self.fail()

    @precondition(lambda self: self.state in ("waiting", "stopping"))
    @rule(course=st.lists(st.tuples(st.floats(0.1, 60), st.one_of(st.none(), words), looked), min_size=1, max_size=12))
    def it_is_waited_for(self, course: list[tuple[float, str | None, bool]]) -> None:
        for seconds, status, is_seen in course:
            if self.state in ("waiting", "stopping"):
                self.now += seconds
                self.a_job_says(status or self.jobs[self.mine].status)
                self.look(is_seen)

    def look(self, is_seen: bool) -> None:
        job, wait = self.jobs[self.mine], self.wait
        seen = job.seen(self.key) if is_seen else evolve(job.seen(self.key), status="Unknown")
        wait.looks += 1
        if phase_of(seen.status) is not Phase.UNCERTAIN:
            wait.certain_at = self.now
            wait.certain.append((self.now, seen.status))
        age_s = self.now - wait.began
        wait.history = wait.history.after(seen, age_s=age_s)
        passed_s = {"age_s": age_s, "uncertain_s": self.now - wait.certain_at}
        match decide(seen, looks=wait.looks, policy=wait.policy, history=wait.history, **passed_s):
            case LookAgain():
                mine = Limit.PATIENCE if seen.phase is Phase.UNCERTAIN else STAGE_OF_STATUS[seen.status]
                assert not any(wait.has_passed(limit, self.now - ROUNDING_S) for limit in (Limit.WHOLE, mine))
            case Ended() if self.state == "stopping":
                self.state = "starting"
            case Ended():
                self.judge(job)
            case GaveUp(limit=limit, action=action):
                event(f"a limit is passed: {limit}")
                assert wait.has_passed(limit, self.now + ROUNDING_S), f"{limit} was not passed by {seen.status}"
                if self.state == "stopping":
                    self.fail()
                else:
                    self.judge(job) if not job.lives else self.end_wait(job, action)

    def end_wait(self, job: Job, action: OnLimit) -> None:
        fated = fate(action, cancels=self.cancels, last_try=self.is_last_try)
        event(f"given up, and {fated.value}")
        match fated:
            case Fate.CANCELED:
                self.note(Stage.STOPPING, job.name)
                self.cancel(job)
            case Fate.LEFT:
                job.excused = action is OnLimit.FAIL_ONLY
            case Fate.HANDED_ON:
                assert not self.is_last_try, "nobody is there to adopt it"
                assert action is not OnLimit.FAIL_ONLY, "nobody will be"
                self.note(Stage.HELD, job.name)
        if action is OnLimit.FAIL_ONLY:
            self.state = "failed"
        else:
            self.fail()

    @precondition(lambda self: self.state in ("waiting", "stopping"))
    @rule()
    def the_trigger_breaks(self) -> None:
        assert self.memory
        is_stopping = self.memory.stage is Stage.STOPPING
        self.end_wait(self.jobs[self.memory.job], OnLimit.CANCEL if is_stopping else OnLimit.LEAVE)

    @precondition(lambda self: self.state in ("waiting", "stopping"))
    @rule()
    def the_triggerer_is_replaced(self) -> None:
        self.wait.restart(self.now)

    # what people do

    def kill(self, succeeds: bool) -> None:
        """End the wait as Airflow does: the trigger is told, if it runs, and may find that Azure does not answer."""
        job = self.jobs[self.mine]
        if self.cancels and succeeds and job.lives:
            self.cancel(job)
        job.excused = job.excused or not (self.cancels and succeeds)

    @precondition(lambda self: self.state in ("waiting", "stopping"))
    @rule(succeeds=st.booleans())
    def a_person_marks_it(self, succeeds: bool) -> None:
        self.kill(succeeds)
        self.state = "killed"

    @precondition(lambda self: self.state != "starting")
    @rule(succeeds=st.booleans())
    def a_person_clears_it(self, succeeds: bool) -> None:
        if self.state in ("waiting", "stopping"):
            self.kill(succeeds)
        self.max_tries = self.try_number + self.retries
        self.try_number += 1
        self.state = "starting"

    @rule()
    def somebody_cancels_a_job_in_the_studio(self) -> None:
        for job in self.jobs.values():
            if job.lives:
                job.status = "CancelRequested"

    # what Azure ML does

    @rule(seconds=st.floats(0.1, 200), status=words)
    def time_passes_and_a_job_goes_on(self, seconds: float, status: str) -> None:
        self.now += seconds
        self.a_job_says(status)

    def a_job_says(self, status: str) -> None:
        for job in self.jobs.values():
            if job.lives:
                job.status = status

    @rule()
    def what_was_told_to_end_ends(self) -> None:
        for job in self.jobs.values():
            if job.lives and (job.told_by_us or job.status == "CancelRequested"):
                job.status = "Canceled"

    # what must hold

    @invariant()
    def never_two_live_jobs(self) -> None:
        living = [job.name for job in self.all_jobs() if job.lives]
        assert len(living) <= 1, living

    @invariant()
    def only_completed_passes(self) -> None:
        if getattr(self, "state", "") == "success":
            assert self.jobs[self.mine].status == "Completed"

    @invariant()
    def nothing_lives_that_nobody_waits_for(self) -> None:
        if getattr(self, "state", "") in ("success", "failed", "killed") and self.cancels:
            left = [job for job in self.all_jobs() if job.lives and not (job.told_by_us or job.excused)]
            assert [job for job in left if job.status != "CancelRequested"] == []

    def all_jobs(self) -> list[Job]:
        return list(getattr(self, "jobs", {}).values())


TestLifeOfATask = LifeOfATask.TestCase
TestLifeOfATask.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)

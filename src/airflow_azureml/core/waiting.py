"""When to look at a job again, when to give up, and what becomes of the job then."""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, Self

from attrs import asdict, evolve, field, frozen
from attrs.validators import ge, gt, optional

from airflow_azureml.core.jobs import JobSnapshot, Phase
from airflow_azureml.errors import (
    CancelTimeoutError,
    FinalizeTimeoutError,
    JobLostError,
    PrepareTimeoutError,
    QueueTimeoutError,
    RunTimeoutError,
    SilenceError,
)


class Limit(StrEnum):
    """Which of the limits of a wait was passed; the first five are stages of a job's life, too."""

    QUEUE = "queue"
    PREPARE = "prepare"
    RUN = "run"
    FINALIZE = "finalize"
    CANCEL = "cancel"
    WHOLE = "whole"
    PATIENCE = "patience"


class OnLimit(StrEnum):
    """What becomes of a job that we stop waiting for; the task fails in any case."""

    #: Ask Azure ML to end it.
    CANCEL = "cancel"
    #: Leave it to the task's next try, which adopts it.
    LEAVE = "leave"
    #: Leave it as it is, and try no more.
    FAIL_ONLY = "fail_only"


class Fate(Enum):
    """What is done to a job that we stop waiting for."""

    #: It is asked to end.
    CANCELED = "canceled"
    #: It stays as it is, and nobody of ours waits for it.
    LEFT = "left"
    #: It stays as it is, and the task's next try adopts it.
    HANDED_ON = "handed on"


def fate(action: OnLimit, *, cancels: bool, last_try: bool) -> Fate:
    """Say what is done to a job that has not ended when its task stops waiting for it.

    Args:
        action: What was agreed for the limit that was passed.
        cancels: Whether the task may cancel jobs at all.
        last_try: Whether Airflow will not try again.
    """
    if action is OnLimit.FAIL_ONLY:
        return Fate.LEFT
    if action is OnLimit.LEAVE and not last_try:
        return Fate.HANDED_ON
    return Fate.CANCELED if cancels else Fate.LEFT


#: In which stage a job is. Words that are missing here end a job, or say nothing certain.
STAGE_OF_STATUS: Mapping[str, Limit] = {
    "NotStarted": Limit.QUEUE,
    "Queued": Limit.QUEUE,
    "Starting": Limit.PREPARE,
    "Provisioning": Limit.PREPARE,
    "Preparing": Limit.PREPARE,
    "Running": Limit.RUN,
    "Finalizing": Limit.FINALIZE,
    "CancelRequested": Limit.CANCEL,
}
STAGES = (Limit.QUEUE, Limit.PREPARE, Limit.RUN, Limit.FINALIZE, Limit.CANCEL)

#: What the task fails with.
ERROR_OF_LIMIT: Mapping[Limit, type[JobLostError]] = {
    Limit.QUEUE: QueueTimeoutError,
    Limit.PREPARE: PrepareTimeoutError,
    Limit.RUN: RunTimeoutError,
    Limit.FINALIZE: FinalizeTimeoutError,
    Limit.CANCEL: CancelTimeoutError,
    Limit.WHOLE: JobLostError,
    Limit.PATIENCE: SilenceError,
}


def _actions(raw: Mapping[str, str]) -> Mapping[Limit, OnLimit]:
    return {Limit(limit): OnLimit(action) for limit, action in raw.items()}


@frozen(kw_only=True)
class WaitPolicy:
    """How patiently to wait for a job.

    Attributes:
        deadline_s: Seconds from submission after which we stop waiting.
        patience_s: Seconds without a certain status (no answer, throttled, ``NotResponding``, a word we do not know)
            after which we give up.
        queue_s: Most seconds at a stretch that the job may wait for compute; None for no limit but ``deadline_s``. So
            for the four below.
        prepare_s: Most seconds of starting compute and building the environment.
        run_s: Most seconds of running.
        finalize_s: Most seconds of finalizing.
        cancel_s: Most seconds that a cancel may take.
        actions: What becomes of the job, by the limit that was passed; where a limit is not named, `OnLimit.CANCEL`,
            but `OnLimit.LEAVE` for `Limit.PATIENCE`: not to be seen is no fault of a job.
        first_s: Seconds between the first look and the second.
        longest_s: Most seconds between two looks.
        growth: Factor from one interval to the next, where a worker waits; at least 1.
    """

    deadline_s: float = field(default=7 * 24 * 3600.0, validator=gt(0))
    patience_s: float = field(default=30 * 60.0, validator=gt(0))
    queue_s: float | None = field(default=None, validator=optional(gt(0)))
    prepare_s: float | None = field(default=None, validator=optional(gt(0)))
    run_s: float | None = field(default=None, validator=optional(gt(0)))
    finalize_s: float | None = field(default=None, validator=optional(gt(0)))
    cancel_s: float | None = field(default=None, validator=optional(gt(0)))
    actions: Mapping[Limit, OnLimit] = field(factory=dict, converter=_actions)
    first_s: float = field(default=5.0, validator=gt(0))
    longest_s: float = field(default=60.0, validator=gt(0))
    growth: float = field(default=1.3, validator=ge(1))

    def stage_s(self, stage: Limit) -> float | None:
        """Return the limit of one of the `STAGES`; None when it has none of its own."""
        match stage:
            case Limit.QUEUE:
                return self.queue_s
            case Limit.PREPARE:
                return self.prepare_s
            case Limit.RUN:
                return self.run_s
            case Limit.FINALIZE:
                return self.finalize_s
            case Limit.CANCEL:
                return self.cancel_s
            case Limit.WHOLE | Limit.PATIENCE:
                return None

    def action(self, limit: Limit) -> OnLimit:
        """Say what becomes of the job when this limit is passed."""
        return self.actions.get(limit, OnLimit.LEAVE if limit is Limit.PATIENCE else OnLimit.CANCEL)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it, without the limits that it does not have."""
        actions = {str(limit): str(action) for limit, action in self.actions.items()}
        written = asdict(self, recurse=False) | {"actions": actions or None}
        return {name: value for name, value in written.items() if value is not None}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            TypeError: There is a field that this version does not know.
            ValueError: A limit or an action is none of ours, or a number is out of its bounds.
        """
        seconds: dict[str, Any] = {name: float(value) for name, value in raw.items() if name != "actions"}
        return cls(**seconds, actions=raw.get("actions") or {})


@frozen
class History:
    """Which stages a job went through, as the looks at it showed.

    Attributes:
        stages: Each stage with the job's age in seconds when it was first seen in it, oldest first. A stage that is
            entered again (a preempted job is queued again) stands here again, up to `LENGTH` of them.
    """

    #: As much as a job's normal life needs, and a few preemptions.
    LENGTH = 16
    stages: tuple[tuple[Limit, float], ...] = ()

    def after(self, job: JobSnapshot, *, age_s: float) -> Self:
        """Return the history after one more look; an uncertain look changes nothing."""
        stage = STAGE_OF_STATUS.get(job.status)
        if stage is None or (self.stages and self.stages[-1][0] is stage):
            return self
        return evolve(self, stages=(*self.stages, (stage, age_s))[-self.LENGTH :])

    def in_stage_s(self, stage: Limit, *, age_s: float) -> float:
        """Return for how many seconds a job has been in its present stage; 0 when it is not in that one."""
        if not self.stages or self.stages[-1][0] is not stage:
            return 0.0
        return max(0.0, age_s - self.stages[-1][1])

    def to_wire(self) -> list[list[Any]]:
        """Write it as JSON can hold it."""
        return [[str(stage), began_s] for stage, began_s in self.stages]

    @classmethod
    def from_wire(cls, raw: list[list[Any]]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ValueError: A stage is none of ours.
        """
        return cls(tuple((Limit(stage), float(began_s)) for stage, began_s in raw))


NO_HISTORY = History()


@frozen
class LookAgain:
    """Look again after so many seconds."""

    after_s: float


@frozen
class Ended:
    """The job has ended, well or badly."""

    job: JobSnapshot


@frozen
class GaveUp:
    """We stop waiting though the job has not ended, as far as we know.

    Attributes:
        reason: A sentence's middle: what was seen, and which limit that passed.
        limit: Which limit it was.
        action: What is to become of the job.
    """

    job: JobSnapshot
    reason: str
    limit: Limit = Limit.WHOLE
    action: OnLimit = OnLimit.CANCEL


Decision = LookAgain | Ended | GaveUp


def decide(  # all by name, and all of them facts
    job: JobSnapshot,
    *,
    looks: int,
    age_s: float,
    uncertain_s: float,
    policy: WaitPolicy,
    history: History = NO_HISTORY,
) -> Decision:
    """Say what to do after one look.

    Args:
        job: What the look showed.
        looks: How many looks there have been, this one included; at least 1.
        age_s: Seconds since submission.
        uncertain_s: Seconds since the last look that showed a certain status; 0 when this one did.
        policy: The limits.
        history: The stages up to now, this look included; without it no stage's limit holds.
    """
    if job.phase.is_final:
        return Ended(job)
    if age_s >= policy.deadline_s:
        reason = f"still {job.status} after {age_s:.0f} s; the limit is {policy.deadline_s:.0f} s"
        return GaveUp(job, reason, Limit.WHOLE, policy.action(Limit.WHOLE))
    stage = STAGE_OF_STATUS.get(job.status)
    stage_s = policy.stage_s(stage) if stage else None
    if stage is not None and stage_s is not None and history.in_stage_s(stage, age_s=age_s) >= stage_s:
        spent_s = history.in_stage_s(stage, age_s=age_s)
        reason = f"{job.status} for {spent_s:.0f} s; the limit of this phase ({stage}) is {stage_s:.0f} s"
        return GaveUp(job, reason, stage, policy.action(stage))
    if job.phase is Phase.UNCERTAIN and uncertain_s >= policy.patience_s:
        why = f" ({job.message})" if job.message else ""
        reason = f"no certain status for {uncertain_s:.0f} s; the last was {job.status!r}{why}"
        return GaveUp(job, reason, Limit.PATIENCE, policy.action(Limit.PATIENCE))
    interval_s = min(policy.longest_s, policy.first_s * policy.growth ** min(looks - 1, 64))
    left_s = time_left_s(job, age_s=age_s, uncertain_s=uncertain_s, policy=policy, history=history)
    return LookAgain(min(interval_s, left_s))


def time_left_s(
    job: JobSnapshot, *, age_s: float, uncertain_s: float, policy: WaitPolicy, history: History = NO_HISTORY
) -> float:
    """Return the seconds until the next limit is passed, if the job stays as this look showed it; see `decide`."""
    left_s = policy.deadline_s - age_s
    stage = STAGE_OF_STATUS.get(job.status)
    stage_s = policy.stage_s(stage) if stage else None
    if stage is not None and stage_s is not None:
        left_s = min(left_s, stage_s - history.in_stage_s(stage, age_s=age_s))
    if job.phase is Phase.UNCERTAIN:
        left_s = min(left_s, policy.patience_s - uncertain_s)
    return left_s

"""Rolling out: by what rules, and what to do after each look at the endpoint."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from attrs import asdict, evolve, field, frozen

from airflow_azureml.core.findings import Finding
from airflow_azureml.core.online import BROKEN, READY, WHOLE
from airflow_azureml.core.rollout_limits import Figures, Limits, judge
from airflow_azureml.core.rollout_policy import Policy, Predictions
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.errors import ProtocolError

__all__ = [
    "Act",
    "Decision",
    "Deed",
    "Limits",
    "Look",
    "LookAgain",
    "Policy",
    "Predictions",
    "Progress",
    "decide",
]

#: How soon to look again at what Azure is still at. Seconds.
SOON_S = 10.0
#: How often a rollout that is held is asked whether it still is. Seconds.
HELD_S = 300.0
#: After how long in which nothing could be seen that is written down, for watchers to come. Seconds.
LOST_S = 60.0
#: What is shorter than that is no time to wait. Seconds.
MOMENT_S = 0.2


@frozen(kw_only=True)
class Look:
    """What one look showed.

    Attributes:
        split: Where the endpoint's traffic goes.
        state: Azure's word for the endpoint's state.
        deployments: Azure's word for the state of each of its deployments.
        new: How the new deployment answered at this step.
        champion: How what it is compared with answered meanwhile; None where there is none. In the last step, where it
            takes nothing, what is written of the step before counts.
        trouble: Why nothing could be seen; empty where it could.
    """

    split: Split = field(factory=Split)
    state: str = READY
    deployments: Mapping[str, str] = field(factory=dict)
    new: Figures = field(factory=Figures)
    champion: Figures | None = None
    trouble: str = ""


@frozen(kw_only=True)
class Progress:
    """What a watcher knows of what is written, and no other needs to. Times are seconds since 1970, UTC.

    Attributes:
        began_at: Since when it is waited for.
        sure_at: When something was last seen.
        right_at: When the traffic was last seen to be as it should.
        rest_until: Before when nothing that was tried is tried again.
    """

    began_at: float
    sure_at: float
    right_at: float
    rest_until: float = 0.0

    @classmethod
    def new(cls, now: float) -> Self:
        """Begin to wait."""
        return cls(began_at=now, sure_at=now, right_at=now)

    def taken_up(self, now: float, *, handed_on_at: float) -> Self:
        """Go on with what a worker has handed on.

        Where that is long ago, there was another watcher meanwhile, and what that one saw last nobody knows.

        Args:
            now: By the watcher's clock.
            handed_on_at: By the worker's.
        """
        return self if now - handed_on_at < LOST_S else evolve(self, sure_at=now, right_at=now)

    def rested(self, now: float, policy: Policy) -> Self:
        """Go on with what was tried, and try it again a look's time later.

        Args:
            now: By the clock of whoever tried it; that of the watcher, which saw something last, may be ahead.
            policy: The rules.
        """
        return evolve(self, rest_until=max(now, self.sure_at) + policy.look_every.total_seconds())


class Deed(StrEnum):
    """What there is to do."""

    #: Take the next step, if there is one that may be taken.
    ADVANCE = "advance"
    #: Give the traffic back.
    BACK = "back"
    #: Set the traffic to what it should be.
    SET = "set"
    #: Leave all as somebody else has set it.
    LEAVE = "leave"
    #: Remove a deployment that was replaced.
    REMOVE = "remove"
    #: Write down that it has ended.
    END = "end"
    #: Write down that the step is in force.
    IN_FORCE = "in force"
    #: Write down that the endpoint cannot be seen.
    LOST = "lost"
    #: Write down that it can be seen again.
    FOUND = "found"
    #: Read what is written once more.
    ASK = "ask"
    #: Stop waiting: Azure does not do what it was told.
    GIVE_UP = "give up"


@frozen(kw_only=True)
class LookAgain:
    """Look again after so many seconds."""

    after_s: float
    progress: Progress
    told: str = ""


@frozen(kw_only=True)
class Act:
    """Do something.

    Attributes:
        deed: What.
        why: The reasons, a sentence each.
        target: The deployment that it is about, where it is about one.
        findings: What the limits said of this step.
        new: The figures that the new deployment had.
        champion: Those of what it is compared with.
    """

    deed: Deed
    progress: Progress
    why: tuple[str, ...] = ()
    target: str = ""
    findings: tuple[Finding, ...] = ()
    new: Figures = field(factory=Figures)
    champion: Figures | None = None

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        findings = [each.to_wire() for each in self.findings]
        return {**asdict(self), "deed": str(self.deed), "why": list(self.why), "findings": findings}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is something else.
        """
        try:
            return cls(
                deed=Deed(raw["deed"]),
                progress=Progress(**raw["progress"]),
                why=tuple(raw["why"]),
                target=raw["target"],
                findings=tuple(Finding.from_wire(each) for each in raw["findings"]),
                new=Figures(**raw["new"]),
                champion=None if raw["champion"] is None else Figures(**raw["champion"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ProtocolError(f"This is nothing to do for a rollout: {error!r:.200}") from error


Decision = LookAgain | Act


def decide(
    rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float, may_advance: bool = True
) -> Decision:
    """Say what to do after one look.

    Args:
        rollout: What is written.
        progress: How long that has been waited for.
        look: What was seen.
        policy: The rules.
        now: Seconds since 1970, UTC.
        may_advance: Whether a step that is complete is followed by the next; else it is watched on.
    """
    if rollout.phase.is_final:
        return Act(deed=Deed.ASK, progress=progress)
    if look.trouble:
        return _blind(rollout, progress, look, policy=policy, now=now)
    progress = evolve(progress, sure_at=now)
    obstacle = _obstacle(rollout, progress, look, policy=policy, now=now)
    decision = obstacle or _sighted(
        rollout, evolve(progress, right_at=now), look, policy=policy, now=now, may_advance=may_advance
    )
    if rollout.unseen and rollout.phase is Phase.ROLLING and isinstance(decision, LookAgain):
        return Act(deed=Deed.FOUND, progress=decision.progress)
    return decision


def _sighted(
    rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float, may_advance: bool
) -> Decision:
    """Say what to do where the traffic is as it should be."""
    match rollout.phase:
        case Phase.ROLLING:
            return _watched(rollout, progress, look, policy=policy, now=now, may_advance=may_advance)
        case Phase.RETIRING:
            return _retiring(rollout, progress, look, policy=policy, now=now)
        case _:
            return Act(deed=Deed.END, progress=progress)


def _blind(rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float) -> Decision:
    """Wait for the endpoint to be seen again, but not for ever, however often the watcher dies meanwhile."""
    lost_s = now - (progress.sure_at if rollout.unseen_s is None else rollout.unseen_s)
    if lost_s >= policy.patience.total_seconds():
        why = f"The endpoint could not be seen for {lost_s:.0f} s; the last answer: {look.trouble}"
        return _failed(rollout, progress, why)
    is_told = rollout.phase is not Phase.ROLLING or bool(rollout.unseen) or lost_s < LOST_S
    if is_told or now < progress.rest_until:
        return _soon(progress, told=look.trouble)
    return Act(deed=Deed.LOST, progress=progress, why=(f"The endpoint cannot be seen: {look.trouble}",))


def _obstacle(rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float) -> Decision | None:
    """Say what is to be done before anything else; None where the traffic is as it should be."""
    if look.state not in {READY, *BROKEN}:
        waited_s = 0.0 if _is_in_force(rollout) else now - progress.began_at
        return _waiting(f"is {look.state or 'in no state'}", rollout, progress, policy=policy, waited_s=waited_s)
    if rollout.phase is Phase.ROLLING and (why := _unsound(rollout, look)):
        return Act(deed=Deed.BACK, progress=progress, why=(why,))
    return None if look.split == rollout.split else _astray(rollout, progress, look, policy=policy, now=now)


def _is_in_force(rollout: Rollout) -> bool:
    """Tell whether the traffic was once seen to be as it should now be."""
    return rollout.phase is Phase.ROLLING and bool(rollout.since)


def _soon(progress: Progress, *, told: str = "") -> LookAgain:
    return LookAgain(after_s=SOON_S, progress=progress, told=told)


def _failed(rollout: Rollout, progress: Progress, why: str) -> Act:
    """Give traffic back where it is not being given back already; else there is nothing left to try."""
    return Act(deed=Deed.BACK if rollout.phase is Phase.ROLLING else Deed.GIVE_UP, progress=progress, why=(why,))


def _waiting(what: str, rollout: Rollout, progress: Progress, *, policy: Policy, waited_s: float) -> Decision:
    """Wait for what Azure is at, but not for ever."""
    if waited_s >= policy.patience.total_seconds():
        return _failed(rollout, progress, f"Endpoint {rollout.endpoint} {what}, {waited_s:.0f} s after it was told.")
    return _soon(progress, told=f"Endpoint {rollout.endpoint} {what}")


def _unsound(rollout: Rollout, look: Look) -> str:
    """Say why the new deployment, or the endpoint, is not fit for it any more; empty when it is."""
    state = look.deployments.get(rollout.deployment)
    if state is None:
        return f"Deployment {rollout.deployment} is not there any more."
    if state in BROKEN:
        return f"Deployment {rollout.deployment} is {state}."
    return f"Endpoint {rollout.endpoint} is {look.state}." if look.state in BROKEN else ""


def _astray(rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float) -> Decision:
    """Say what to do where traffic is not what it should be.

    What this rollout may have set itself is a change that is still to be made, or the late writing of a task that is no
    more; anything else that serves is somebody's will.
    """
    if look.split.total == WHOLE and look.split not in rollout.path:
        why = f"Somebody has changed the traffic: it is {look.split}, and should be {rollout.split}."
        return Act(deed=Deed.LEAVE, progress=progress, why=(why,))
    waited_s = now - (progress.right_at if _is_in_force(rollout) else progress.began_at)
    waiting = _waiting(f"has {look.split}, not {rollout.split}", rollout, progress, policy=policy, waited_s=waited_s)
    rests = isinstance(waiting, Act) or now < progress.rest_until
    return waiting if rests else Act(deed=Deed.SET, progress=progress)


def _retiring(rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float) -> Decision:
    left = [name for name in rollout.replaced if name in look.deployments]
    if not left:
        return Act(deed=Deed.END, progress=progress)
    going = [name for name in left if look.deployments[name] == "Deleting"]
    waited_s = now - progress.began_at
    waiting = _waiting(f"still has deployment {left[0]}", rollout, progress, policy=policy, waited_s=waited_s)
    if going or isinstance(waiting, Act) or now < progress.rest_until:
        return waiting
    return Act(deed=Deed.REMOVE, progress=progress, target=left[0])


def _watched(
    rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float, may_advance: bool
) -> Decision:
    """Judge a step that is in force; before the first there is nothing to judge."""
    is_held = bool(rollout.held) or not may_advance
    is_asked = bool(rollout.held) and now - progress.began_at >= HELD_S
    if rollout.step < 0:
        later = LookAgain(after_s=policy.look_every.total_seconds(), progress=progress)
        return later if is_held and not is_asked else _next(Act(deed=Deed.ASK, progress=progress), is_held=is_held)
    if rollout.since_s is None:
        return Act(deed=Deed.IN_FORCE, progress=progress)
    age_s = now - rollout.since_s
    champion = rollout.champion if rollout.is_last else look.champion
    found = judge(look.new, champion, policy.limits, least_requests=policy.least_requests)
    seen = Act(deed=Deed.BACK, progress=progress, findings=found.findings, new=look.new, champion=champion)
    if found.violated:
        return evolve(seen, why=tuple(each.reason for each in found.violated))
    least_s = policy.least_s(is_last=rollout.is_last)
    missing = [*([] if age_s >= least_s else [f"{age_s:.0f} of {least_s:.0f} s so far"]), *found.open]
    if rollout.has_passed:
        missing = []
    if missing and not is_held and age_s >= policy.most_s(is_last=rollout.is_last):
        why = f"After {age_s:.0f} s there is still too little to go by: {'; '.join(missing)}."
        return evolve(seen, why=(why,))
    if missing or (is_held and not is_asked) or now < progress.rest_until:
        told = f"{rollout.split}: {look.new}" + (f"; the champion: {champion}" if champion else "")
        return LookAgain(after_s=_rest_s(age_s, least_s, policy), progress=progress, told=told)
    return _next(seen, is_held=is_held)


def _rest_s(age_s: float, least_s: float, policy: Policy) -> float:
    """Say when to look again: looks are counted from the step's beginning, so they do not move when a watcher dies."""
    every_s = policy.look_every.total_seconds()
    due = (every_s - age_s % every_s, least_s - age_s)
    return min((each for each in due if each >= MOMENT_S), default=every_s)


def _next(seen: Act, *, is_held: bool) -> Act:
    return evolve(seen, deed=Deed.ASK if is_held else Deed.ADVANCE)

"""Rolling out: by what rules, and what to do after each look at the endpoint."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self

from attrs import asdict, evolve, field, frozen

from airflow_azureml.core.data_tests import Distribution
from airflow_azureml.core.findings import Finding
from airflow_azureml.core.online import BROKEN, READY, WHOLE
from airflow_azureml.core.rollout_limits import Figures, Judgement, Limits, judge
from airflow_azureml.core.rollout_record import FOREIGN_LEASE, Phase, Rollout, Split, Step, parse_steps
from airflow_azureml.errors import ConfigError, ProtocolError

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
_TIMES = ("look_every", "least_time", "most_time", "soak", "patience")


@frozen(kw_only=True)
class Predictions:
    """How near the new deployment's predictions must be to the champion's.

    Both are what Azure ML's data collector kept of the hours since the rollout began; so both deployments need one.

    Attributes:
        tests: How far columns may be from the champion's.
        collection: The collection, as the deployments name it.
        needed_from: From which live share on there must be enough rows; below, too few are no reason to wait.
        folder: Where the collector writes: below it are ENDPOINT/DEPLOYMENT/COLLECTION.
    """

    tests: Distribution
    collection: str = "model_outputs"
    needed_from: int = 10
    folder: str = "azureml://datastores/workspaceblobstore/paths/modelDataCollector/"

    def folder_of(self, endpoint: str, deployment: str) -> str:
        """Name the folder of a deployment's collection."""
        return f"{self.folder.rstrip('/')}/{endpoint}/{deployment}/{self.collection}/"


@frozen(kw_only=True)
class Policy:
    """How a new deployment gets its traffic.

    Attributes:
        steps: What it gets, one after the other: ``"mirror:10"`` is copies of 10 % of the requests, ``10`` is 10 % of
            the requests themselves. The last is 100.
        looks: At least so many looks at each step.
        look_every: How often to look. Azure Monitor counts by the minute, and needs up to three minutes for it.
        least_requests: At least so many requests to the new deployment at each step.
        least_time: Each step lasts at least so long.
        most_time: A step that has not got its requests by then is a no: traffic is given back.
        soak: How long the new deployment takes all traffic before it is proven, and the old one is removed.
        patience: For how long the endpoint may not be seen, or not do as it is told, before traffic is given back.
        keep_old: Whether the deployments that are replaced stay, without traffic.
        limits: What the live figures must be like.
        predictions: What the predictions must be like; None where they are not compared.

    Raises:
        ConfigError: It makes no sense; the message lists all that is wrong.
    """

    steps: tuple[Step, ...] = field(default=("mirror:10", 1, 10, 50, 100), converter=parse_steps)
    looks: int = 2
    look_every: timedelta = timedelta(minutes=1)
    least_requests: int = 100
    least_time: timedelta = timedelta(minutes=5)
    most_time: timedelta = timedelta(hours=6)
    soak: timedelta = timedelta(hours=1)
    patience: timedelta = timedelta(minutes=30)
    keep_old: bool = False
    limits: Limits = field(factory=Limits)
    predictions: Predictions | None = None

    def __attrs_post_init__(self) -> None:
        zero = timedelta(0)
        wrong = [
            *([] if self.looks >= 1 else [f"looks is {self.looks}; it must be 1 or more"]),
            *([] if self.least_requests >= 0 else [f"least_requests is {self.least_requests}; it must be 0 or more"]),
            *([] if self.look_every >= timedelta(seconds=1) else ["look_every is less than a second"]),
            *([] if min(self.least_time, self.soak) >= zero else ["least_time or soak is negative"]),
            *([] if self.patience > zero else ["patience must be above 0"]),
            *([] if self.most_time > self.least_time else ["most_time must be above least_time"]),
            *([] if max(self.most_time, self.soak) < FOREIGN_LEASE / 2 else ["most_time and soak must be below a day"]),
            *self.limits.faults(),
        ]
        if wrong:
            raise ConfigError(f"The policy of a rollout: {'; '.join(wrong)}.")

    def least_s(self, *, is_last: bool) -> float:
        """Say how long a step lasts at least. Seconds."""
        return max(self.least_time, self.soak if is_last else timedelta(0)).total_seconds()

    def most_s(self, *, is_last: bool) -> float:
        """Say how long a step lasts at most. Seconds."""
        return (self.most_time + (self.soak if is_last else timedelta(0))).total_seconds()

    def to_wire(self) -> dict[str, Any]:
        """Write what a look needs of it as JSON can hold it, without `predictions`."""
        return {
            "steps": [str(each) for each in self.steps],
            "limits": asdict(self.limits),
            **{name: getattr(self, name) for name in ("looks", "least_requests", "keep_old")},
            **{name: getattr(self, name).total_seconds() for name in _TIMES},
        }

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        times = {name: timedelta(seconds=raw[name]) for name in _TIMES}
        return cls(**{**raw, **times, "limits": Limits(**raw["limits"])})


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
    """How long what is written has been waited for. Times are seconds since 1970, UTC.

    Attributes:
        began_at: Since when.
        sure_at: When something was last seen.
        since: When the traffic was first seen to be as it should; None where it was not yet.
        looks: How many looks there have been since.
        rest_until: Before when nothing that was tried is tried again.
    """

    began_at: float
    sure_at: float
    since: float | None = None
    looks: int = 0
    rest_until: float = 0.0

    @classmethod
    def new(cls, now: float) -> Self:
        """Begin to wait."""
        return cls(began_at=now, sure_at=now)


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
        why = f"The endpoint could not be seen for {now - progress.sure_at:.0f} s; the last answer: {look.trouble}"
        is_over = now - progress.sure_at >= policy.patience.total_seconds()
        return _failed(rollout, progress, why) if is_over else _soon(progress, told=look.trouble)
    progress = evolve(progress, sure_at=now)
    obstacle = _obstacle(rollout, progress, look, policy=policy, now=now)
    if obstacle is not None:
        return obstacle
    match rollout.phase:
        case Phase.ROLLING:
            return _watched(rollout, progress, look, policy=policy, now=now, may_advance=may_advance)
        case Phase.RETIRING:
            return _retiring(rollout, progress, look, policy=policy, now=now)
        case _:
            return Act(deed=Deed.END, progress=progress)


def _obstacle(rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float) -> Decision | None:
    """Say what is to be done before anything else; None where the traffic is as it should be."""
    if look.state not in {READY, *BROKEN}:
        return _waiting(f"is {look.state or 'in no state'}", rollout, progress, policy=policy, now=now)
    if rollout.phase is Phase.ROLLING and (why := _unsound(rollout, look)):
        return Act(deed=Deed.BACK, progress=progress, why=(why,))
    return None if look.split == rollout.split else _astray(rollout, progress, look, policy=policy, now=now)


def _soon(progress: Progress, *, told: str = "") -> LookAgain:
    return LookAgain(after_s=SOON_S, progress=progress, told=told)


def _failed(rollout: Rollout, progress: Progress, why: str) -> Act:
    """Give traffic back where it is not being given back already; else there is nothing left to try."""
    return Act(deed=Deed.BACK if rollout.phase is Phase.ROLLING else Deed.GIVE_UP, progress=progress, why=(why,))


def _waiting(what: str, rollout: Rollout, progress: Progress, *, policy: Policy, now: float) -> Decision:
    """Wait for what Azure is at, but not for ever."""
    waited_s = now - progress.began_at if progress.since is None else 0.0
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
    waited = evolve(progress, since=None)
    waiting = _waiting(f"has {look.split}, not {rollout.split}", rollout, waited, policy=policy, now=now)
    rests = isinstance(waiting, Act) or now < progress.rest_until
    return waiting if rests else Act(deed=Deed.SET, progress=waited)


def _retiring(rollout: Rollout, progress: Progress, look: Look, *, policy: Policy, now: float) -> Decision:
    left = [name for name in rollout.replaced if name in look.deployments]
    if not left:
        return Act(deed=Deed.END, progress=progress)
    going = [name for name in left if look.deployments[name] == "Deleting"]
    waiting = _waiting(f"still has deployment {left[0]}", rollout, progress, policy=policy, now=now)
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
    since = now if progress.since is None else progress.since
    progress = evolve(progress, since=since, looks=progress.looks + 1)
    champion = rollout.champion if rollout.is_last else look.champion
    found = judge(look.new, champion, policy.limits, least_requests=policy.least_requests)
    seen = Act(deed=Deed.BACK, progress=progress, findings=found.findings, new=look.new, champion=champion)
    if found.violated:
        return evolve(seen, why=tuple(each.reason for each in found.violated))
    missing = [] if rollout.has_passed else _missing(rollout, found, progress, age_s=now - since, policy=policy)
    if missing and not is_held and now - since >= policy.most_s(is_last=rollout.is_last):
        why = f"After {now - since:.0f} s there is still too little to go by: {'; '.join(missing)}."
        return evolve(seen, why=(why,))
    if missing or (is_held and not is_asked) or now < progress.rest_until:
        told = f"{rollout.split}: {look.new}" + (f"; the champion: {champion}" if champion else "")
        return LookAgain(after_s=policy.look_every.total_seconds(), progress=progress, told=told)
    return _next(seen, is_held=is_held)


def _next(seen: Act, *, is_held: bool) -> Act:
    return evolve(seen, deed=Deed.ASK if is_held else Deed.ADVANCE)


def _missing(rollout: Rollout, found: Judgement, progress: Progress, *, age_s: float, policy: Policy) -> list[str]:
    """Say what a step still lacks."""
    least_s = policy.least_s(is_last=rollout.is_last)
    return [
        *([] if progress.looks >= policy.looks else [f"{progress.looks} of {policy.looks} looks so far"]),
        *([] if age_s >= least_s else [f"{age_s:.0f} of {least_s:.0f} s so far"]),
        *found.open,
    ]

"""What a sensor waits for: how it was seen, and when to look again."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.waiting import LookAgain, WaitPolicy


class State(Enum):
    """How near a condition is."""

    MISSING = "missing"
    CHANGING = "changing"
    MET = "met"
    FAILED = "failed"
    UNCERTAIN = "uncertain"


@frozen(kw_only=True)
class Sight:
    """What one look showed.

    Attributes:
        what: What was looked at, as a sentence may name it.
        told: What was seen, as the end of a sentence that begins with ``what``; of a failure also why.
        result: What a task may return of it; JSON.
    """

    what: str
    state: State
    told: str
    result: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Settled:
    """There is nothing more to wait for.

    Attributes:
        sight: The last look.
        gave_up: A sentence that says why we stopped waiting; empty when the condition is met or has failed.
        timed_out: Whether the deadline was what we gave up at, rather than our patience with uncertain looks.
    """

    sight: Sight
    gave_up: str = ""
    timed_out: bool = False

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        sight = self.sight
        return {
            "what": sight.what,
            "state": sight.state.value,
            "told": sight.told,
            "result": dict(sight.result),
            "gave_up": self.gave_up,
            "timed_out": self.timed_out,
        }

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        sight = Sight(what=raw["what"], state=State(raw["state"]), told=raw["told"], result=raw["result"])
        return cls(sight=sight, gave_up=raw["gave_up"], timed_out=raw["timed_out"])


def decide(sight: Sight, *, looks: int, age_s: float, uncertain_s: float, policy: WaitPolicy) -> LookAgain | Settled:
    """Say what to do after one look.

    Args:
        sight: What the look showed.
        looks: How many looks there have been, this one included; at least 1.
        age_s: Seconds since we began to wait.
        uncertain_s: Seconds since the last look that was certain; 0 when this one was.
        policy: The limits; those of a job's phases do not apply.
    """
    if sight.state in (State.MET, State.FAILED):
        return Settled(sight=sight)
    if age_s >= policy.deadline_s:
        why = f"{sight.what} still {sight.told} after {age_s:.0f} s; the limit is {policy.deadline_s:.0f} s."
        return Settled(sight=sight, gave_up=why, timed_out=True)
    left_s = policy.deadline_s - age_s
    if sight.state is State.UNCERTAIN:
        if uncertain_s >= policy.patience_s:
            why = f"{sight.what} could not be seen for {uncertain_s:.0f} s; the last answer: {sight.told}"
            return Settled(sight=sight, gave_up=why)
        left_s = min(left_s, policy.patience_s - uncertain_s)
    interval_s = min(policy.longest_s, policy.first_s * policy.growth ** min(looks - 1, 64))
    return LookAgain(min(interval_s, left_s))

"""What is written of a rollout: which share of an online endpoint's traffic goes where, now and before.

What is written comes first, and traffic follows it: so whoever continues, after whatever crash, knows what the traffic
was before and what it should be now.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Self

from attrs import asdict, evolve, field, frozen

from airflow_azureml.core.online import WHOLE
from airflow_azureml.core.rolled_back import MOST_REMEMBERED, RolledBack
from airflow_azureml.core.rollout_limits import Figures
from airflow_azureml.core.rollout_steps import Split, Step
from airflow_azureml.errors import ConfigError, ProtocolError

#: Raised by one when a member changes its meaning.
SCHEMA = 1
#: For how long a rollout of another Airflow, which cannot be asked whether its run still works, is left alone after it
#: was last written to. A step must not last longer; see `airflow_azureml.core.rollout_policy.Policy`.
FOREIGN_LEASE = timedelta(days=2)
#: For how long after a rollout has ended a task that is no more may still have written late.
LATE = timedelta(minutes=10)
#: Splits of earlier rollouts that are remembered meanwhile.
MOST_EARLIER = 30
#: Reasons that are kept, and how much of each. Characters.
MOST_REASONS, LONGEST_REASON = 10, 400
_ODD = re.compile(r"[^A-Za-z0-9_-]")


class Phase(StrEnum):
    """How far a rollout is."""

    #: The new deployment gets what the step says.
    ROLLING = "rolling"
    #: Traffic is given back to what served before.
    REVERTING = "reverting"
    #: The new deployment has proven itself, and those that it replaces are removed.
    RETIRING = "retiring"
    #: It has ended with the new deployment.
    RELEASED = "released"
    #: It has ended with what served before.
    REVERTED = "reverted"
    #: It has ended since somebody else changed the traffic, which stays as they left it.
    LEFT = "left"

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to do."""
        return self in {Phase.RELEASED, Phase.REVERTED, Phase.LEFT}


class Standing(Enum):
    """How a run stands to an endpoint."""

    #: No rollout is under way there.
    FREE = "free"
    #: One is, and is the run's own.
    MINE = "mine"
    #: It is of another run of this Airflow, which may be asked after.
    ANOTHER = "another"
    #: It is of a run of another Airflow, which cannot.
    FOREIGN = "foreign"
    #: It is of a run of another Airflow that has been silent for too long.
    FORSAKEN = "forsaken"


@frozen(kw_only=True)
class Rollout:
    """What is written of the last rollout of an endpoint.

    Attributes:
        endpoint: The endpoint.
        deployment: The new deployment.
        before: The traffic before.
        steps: The steps that it takes.
        step: Which of them is taken, counted from 0; -1 before the first.
        upto: The last that may be taken until somebody says otherwise.
        passed: The last that has shown all it had to.
        owner: The run, ``dag/run/group``; empty where there was never a rollout.
        instance: The Airflow whose run that is.
        held: Why it is not to go on for now; empty where it is not held.
        why: Why it came to where it is.
        earlier: What late tasks of the rollouts that ended just before may still set.
        champion: How what served before answered in the last step in which it took requests; None where it took none.
        count: How often this was written, so that no two states are written alike.
        began: When it began: ISO 8601, UTC.
        changed: When this was written, likewise.
        since: Since when the present step is in force, likewise, by the store's clock; empty where it is not yet. It is
            written once for each step, so that whoever watches next goes on where the last one was.
        unseen: Since when the endpoint cannot be seen, likewise; empty where it can.
        model: The id of the version that the new deployment serves; empty where its code brings the model.
        rolled_back: What was rolled back on this endpoint, the latest last, and nobody has rolled out again since.
    """

    endpoint: str
    deployment: str = ""
    before: Split = field(factory=Split)
    steps: tuple[Step, ...] = ()
    phase: Phase = Phase.ROLLING
    step: int = -1
    upto: int = -1
    passed: int = -1
    owner: str = ""
    instance: str = ""
    held: str = ""
    why: tuple[str, ...] = ()
    earlier: tuple[Split, ...] = ()
    champion: Figures | None = None
    count: int = 0
    began: str = ""
    changed: str = ""
    since: str = ""
    unseen: str = ""
    model: str = ""
    rolled_back: tuple[RolledBack, ...] = ()

    @property
    def since_s(self) -> float | None:
        """Since when the present step is in force: seconds since 1970; None where it is not yet."""
        return datetime.fromisoformat(self.since).timestamp() if self.since else None

    @property
    def unseen_s(self) -> float | None:
        """Since when the endpoint cannot be seen, likewise; None where it can."""
        return datetime.fromisoformat(self.unseen).timestamp() if self.unseen else None

    @property
    def is_open(self) -> bool:
        """Whether somebody has to end it."""
        return bool(self.owner) and not self.phase.is_final

    @property
    def is_last(self) -> bool:
        """Whether no step follows."""
        return self.step == len(self.steps) - 1

    @property
    def has_passed(self) -> bool:
        """Whether the present step has shown all that it had to, the beginning included, which has nothing to show."""
        return self.step <= self.passed

    @property
    def split(self) -> Split:
        """What the traffic should be now."""
        if self.phase in {Phase.RETIRING, Phase.RELEASED}:
            return Split(traffic={self.deployment: WHOLE})
        return self.before if self.phase is not Phase.ROLLING else self._split_at(self.step)

    @property
    def path(self) -> tuple[Split, ...]:
        """Every split that this rollout may have set, or a late task of one before."""
        return (*(self._split_at(number) for number in range(-1, len(self.steps))), *self.earlier)

    @property
    def between(self) -> tuple[Split, ...]:
        """Those of them that nobody but a rollout sets; with what was before, somebody may have gone back by hand."""
        ends = (self.before, Split(traffic={self.deployment: WHOLE}))
        return tuple(each for each in self.path if each not in ends)

    @property
    def replaced(self) -> tuple[str, ...]:
        """The deployments that the new one replaces."""
        return tuple(name for name in self.before.traffic if name != self.deployment)

    @property
    def main(self) -> str:
        """The deployment with which the new one is compared: that with most of the traffic before; empty for none."""
        return max(self.replaced, key=lambda name: (self.before.traffic[name], name), default="")

    def standing(self, owner: str, instance: str, *, now: datetime) -> Standing:
        """Tell how a run stands to the endpoint.

        Args:
            owner: The run, ``dag/run/group``.
            instance: Its Airflow.
            now: With its zone.
        """
        if not self.is_open:
            return Standing.FREE
        if self.instance == instance:
            return Standing.MINE if self.owner == owner else Standing.ANOTHER
        is_silent = now - datetime.fromisoformat(self.changed) >= FOREIGN_LEASE
        return Standing.FORSAKEN if is_silent else Standing.FOREIGN

    def rolled_back_before(self, deployment: str, model: str) -> RolledBack | None:
        """Find whether this was rolled back here, and not rolled out since."""
        return next((each for each in reversed(self.rolled_back) if each.is_of(deployment, model)), None)

    def begun(  # noqa: PLR0913  # all by name but what is rolled out
        self,
        deployment: str,
        before: Split,
        steps: Sequence[Step],
        *,
        owner: str,
        instance: str,
        now: datetime,
        model: str = "",
    ) -> Self:
        """Give what is written when a run begins a rollout; nothing served before, and one step is enough."""
        is_near = bool(self.changed) and now - datetime.fromisoformat(self.changed) < LATE
        made = type(self)(
            endpoint=self.endpoint,
            deployment=deployment,
            before=before,
            steps=tuple(steps) if before.traffic else (Step(WHOLE),),
            owner=owner,
            instance=instance,
            earlier=self.between[:MOST_EARLIER] if is_near else (),
            count=self.count,
            began=_text(now),
            model=model,
            rolled_back=tuple(each for each in self.rolled_back if not each.is_of(deployment, model)),
        )
        return made.written(now=now)

    def moved(self, phase: Phase, *why: str, now: datetime) -> Self:
        """Give what is written when it comes to another phase.

        Args:
            phase: The phase.
            why: The reasons, a sentence each; those of before stay where there are none.
            now: With its zone.
        """
        told = tuple(each[:LONGEST_REASON] for each in why[:MOST_REASONS])
        return evolve(self, phase=phase, why=told or self.why, held="").written(now=now)

    def given_back(self, *why: str, now: datetime, is_verdict: bool) -> Self:
        """Give what is written when traffic is to be given back.

        Args:
            why: The reasons, a sentence each.
            now: With its zone.
            is_verdict: Whether that is for what the new deployment is, and so remembered, rather than for its run.
        """
        moved = self.moved(Phase.REVERTING, *why, now=now)
        if not is_verdict:
            return moved
        told = " ".join(moved.why)[:LONGEST_REASON]
        made = RolledBack(deployment=self.deployment, model=self.model, at=_text(now), owner=self.owner, why=told)
        return evolve(moved, rolled_back=(*made.others(self.rolled_back), made)[-MOST_REMEMBERED:])

    def advanced(self, champion: Figures | None, *, now: datetime) -> Self:
        """Give what is written when it takes its next step, which is not in force yet."""
        known = champion or self.champion
        return evolve(self, step=self.step + 1, champion=known, since="", unseen="").written(now=now)

    def in_force(self, *, now: datetime) -> Self:
        """Give what is written when the present step is in force; one that is already stays so since then."""
        return evolve(self, since=self.since or _text(now), unseen="").written(now=now)

    def lost(self, *, now: datetime) -> Self:
        """Give what is written when the endpoint cannot be seen any more."""
        return evolve(self, unseen=self.unseen or _text(now)).written(now=now)

    def found(self, *, now: datetime) -> Self:
        """Give what is written when it can be seen again."""
        return evolve(self, unseen="").written(now=now)

    def holding(self, why: str, *, now: datetime) -> Self:
        """Give what is written when it is to take no further step, or to go on where there is no reason."""
        return evolve(self, held=why[:LONGEST_REASON]).written(now=now)

    def written(self, *, now: datetime) -> Self:
        """Count one more writing."""
        return evolve(self, count=self.count + 1, changed=_text(now))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote.

        Raises:
            ProtocolError: It is none; nobody may change traffic by it.
        """
        try:
            raw = json.loads(text)
            if raw.pop("schema") != SCHEMA:
                raise ProtocolError(f"What is written of a rollout is not of schema {SCHEMA}: {text:.200}")
            found = cls(**{**raw, **_read(raw)})
            _ = [datetime.fromisoformat(each) for each in (found.began, found.changed)]
            _ = [datetime.fromisoformat(each) for each in (found.since, found.unseen) if each]
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise ProtocolError(f"What is written of a rollout cannot be read: {text:.200}") from error
        return found

    def to_text(self) -> str:
        """Write it as JSON."""
        written: dict[str, Any] = {"schema": SCHEMA, **asdict(self), "steps": [str(each) for each in self.steps]}
        return json.dumps(written)

    def _split_at(self, step: int) -> Split:
        return self.before if step < 0 else self.before.towards(self.deployment, self.steps[step])


def _read(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Read the members that are no plain JSON."""
    champion = raw["champion"]
    return {
        "before": Split(**raw["before"]),
        "steps": tuple(Step.parse(each) for each in raw["steps"]),
        "phase": Phase(raw["phase"]),
        "why": tuple(raw["why"]),
        "earlier": tuple(Split(**each) for each in raw["earlier"]),
        "rolled_back": tuple(RolledBack(**each) for each in raw.get("rolled_back", ())),
        "champion": None if champion is None else Figures(**champion),
    }


def document_of(endpoint: str) -> str:
    """Name the document of an endpoint: its name, where that may stand in an id, and a digest of it in any case.

    Azure Resource Manager knows no upper and lower case.
    """
    digest = hashlib.sha256(endpoint.lower().encode()).hexdigest()[:12]
    return f"rollouts/{_ODD.sub('_', endpoint.lower())[:100]}-{digest}"


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")

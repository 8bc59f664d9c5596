"""The steps of a rollout: which share of an online endpoint's traffic goes where."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from attrs import evolve, field, frozen

from airflow_azureml.core.online import MOST_MIRRORED, WHOLE, OnlineEndpoint, without_zeros
from airflow_azureml.errors import ConfigError

_STEP = re.compile(r"(?P<mirror>mirror:)?(?P<share>[0-9]{1,3})%?")


@frozen
class Step:
    """How much the new deployment gets.

    Attributes:
        share: Percent, 1 to 100.
        mirrored: Whether it gets copies, whose answers nobody sees, rather than live requests.
    """

    share: int
    mirrored: bool = False

    @classmethod
    def parse(cls, told: object) -> Self:
        """Read ``10``, ``"10"`` or ``"mirror:10"``.

        Raises:
            ConfigError: It is none of them.
        """
        if isinstance(told, cls):
            return told
        found = None if isinstance(told, bool) else _STEP.fullmatch(str(told))
        if found is None or not 1 <= int(found["share"]) <= (MOST_MIRRORED if found["mirror"] else WHOLE):
            raise ConfigError(
                f"{told!r} is no step of a rollout; expected a percentage from 1 to {WHOLE}, or mirror:N with N from 1"
                f" to {MOST_MIRRORED}."
            )
        return cls(int(found["share"]), bool(found["mirror"]))

    def __str__(self) -> str:
        return f"mirror:{self.share}" if self.mirrored else str(self.share)


def parse_steps(told: Iterable[object]) -> tuple[Step, ...]:
    """Read the steps of a rollout.

    Raises:
        ConfigError: One is none, they do not grow, or do not end with 100.
    """
    steps = tuple(Step.parse(each) for each in told)
    order = [(not each.mirrored, each.share) for each in steps]
    if not steps or steps[-1] != Step(WHOLE) or any(one >= other for one, other in itertools.pairwise(order)):
        raise ConfigError(
            f"The steps are {', '.join(map(str, steps)) or 'none'}; mirrored ones come first, each has more than the"
            f" one before, and the last is {WHOLE}."
        )
    return steps


def steps_before(steps: Sequence[Step], stop: object) -> int:
    """Count the steps that give less than another one; all of them for None.

    Raises:
        ConfigError: The other one is none.
    """
    if stop is None:
        return len(steps)
    end = Step.parse(stop)
    return sum((not each.mirrored, each.share) < (not end.mirrored, end.share) for each in steps)


@frozen(kw_only=True)
class Split:
    """Where the traffic of an endpoint goes. Deployments without any are left out.

    Attributes:
        traffic: Percent by deployment.
        mirror: Percent that is copied, by deployment.
    """

    traffic: Mapping[str, int] = field(factory=dict, converter=without_zeros)
    mirror: Mapping[str, int] = field(factory=dict, converter=without_zeros)

    @classmethod
    def of(cls, endpoint: OnlineEndpoint) -> Self:
        """Read that of an endpoint."""
        return cls(traffic=endpoint.traffic, mirror=endpoint.mirror)

    @property
    def total(self) -> int:
        """Percent that is served."""
        return sum(self.traffic.values())

    def towards(self, deployment: str, step: Step) -> Self:
        """Give a deployment its share, and leave the rest to the others as they had it."""
        if step.mirrored:
            return evolve(self, mirror={deployment: step.share})
        others = {name: share for name, share in self.traffic.items() if name != deployment}
        left = WHOLE - step.share if others else 0
        return evolve(self, traffic={**_scaled(others, left), deployment: WHOLE - left}, mirror={})

    def __str__(self) -> str:
        shown = [f"{share} % to {name}" for name, share in sorted(self.traffic.items())]
        shown += [f"{share} % mirrored to {name}" for name, share in sorted(self.mirror.items())]
        return ", ".join(shown) or "no traffic"


def _scaled(shares: Mapping[str, int], total: int) -> dict[str, int]:
    """Make whole shares of a total that are as near as can be to those given; the largest remainders are rounded up."""
    whole = sum(shares.values()) or 1
    floors = {name: share * total // whole for name, share in shares.items()}
    missing = total - sum(floors.values())
    by_remainder = sorted(shares, key=lambda name: (-(shares[name] * total % whole), name))
    return {name: floor + (name in by_remainder[:missing]) for name, floor in floors.items()}

"""By what rules a new deployment gets its traffic."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from attrs import asdict, field, frozen

from airflow_azureml.core.data_tests import Distribution
from airflow_azureml.core.rollout_limits import Limits
from airflow_azureml.core.rollout_record import FOREIGN_LEASE, Rollout
from airflow_azureml.core.rollout_steps import Step, parse_steps
from airflow_azureml.errors import ConfigError

#: By how much the store's clock, which tells whole seconds, and a watcher's may differ. Seconds.
CLOCKS_S = 5.0
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
        looks: At least so many looks at each step, the one that finds it in force included: so a step lasts `looks` - 1
            times `look_every` at least. Each look judges the whole step so far, so one that a triggerer which died did
            not take is made up for by the next.
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
            *([] if self.most_time > (self.looks - 1) * self.look_every else ["most_time has no time for its looks"]),
            *([] if max(self.most_time, self.soak) < FOREIGN_LEASE / 2 else ["most_time and soak must be below a day"]),
            *self.limits.faults(),
        ]
        if wrong:
            raise ConfigError(f"The policy of a rollout: {'; '.join(wrong)}.")

    def least_s(self, *, is_last: bool) -> float:
        """Say how long a step lasts at least. Seconds."""
        looking = (self.looks - 1) * self.look_every
        return max(self.least_time, looking, self.soak if is_last else timedelta(0)).total_seconds()

    def is_due(self, rollout: Rollout, now: datetime) -> bool:
        """Tell whether the present step has lasted long enough by the store's clock, up to some seconds.

        Whoever watches goes by a clock of its own, which may be ahead.
        """
        if rollout.has_passed:
            return True
        since_s = now.timestamp() if rollout.since_s is None else rollout.since_s
        return now.timestamp() - since_s >= self.least_s(is_last=rollout.is_last) - CLOCKS_S

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

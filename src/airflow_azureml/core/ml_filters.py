"""Which events of a workspace count: one filter for each kind of event."""

import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Generic, TypeVar

from attrs import asdict, field, frozen

from airflow_azureml.core.jobs import PHASE_OF_STATUS
from airflow_azureml.core.ml_events import DeploymentEvent, DriftEvent, JobEvent, ModelEvent, WorkspaceEvent

E = TypeVar("E", ModelEvent, DeploymentEvent, JobEvent, DriftEvent)


def _texts(given: Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@frozen(kw_only=True)
class EventFilter(Generic[E]):
    """Which events of one kind are wanted: those that pass every part that is given.

    Patterns are the shell's, for the whole name, and heed the case: ``*``, ``?`` and ``[…]``; an empty one is for any.

    Attributes:
        tags: Tags that must be there, with these very values.
    """

    kind: ClassVar[type[WorkspaceEvent]]

    tags: Mapping[str, str] = field(factory=dict)

    def faults(self) -> list[str]:
        """Say what is wrong with the filter itself; an empty list when nothing is."""
        wrong = [name for name, value in self.tags.items() if not (_is_text(name) and _is_text(value))]
        return [f"tag {name!r} has no text as its name and value" for name in wrong]

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {"event": self.kind.event, **asdict(self, value_serializer=_listed)}

    def reason_to_skip(self, event: WorkspaceEvent) -> str:
        """Say why an event is not wanted; empty when it is."""
        if not isinstance(event, self.kind):
            return f"no {self.kind.event}"
        for name, value in self.tags.items():
            if event.tags.get(name) != value:
                return f"tag {name} is not {value}"
        return self._reason(event)  # type: ignore[arg-type]  # of the filter's own kind

    def _reason(self, event: E) -> str:
        raise NotImplementedError


@frozen(kw_only=True)
class ModelFilter(EventFilter[ModelEvent]):
    """Which models that are registered.

    Attributes:
        model: A pattern of the model's name.
    """

    kind: ClassVar[type[WorkspaceEvent]] = ModelEvent

    model: str = ""

    def _reason(self, event: ModelEvent) -> str:
        return _unlike("model", event.model, self.model)


@frozen(kw_only=True)
class DeploymentFilter(EventFilter[DeploymentEvent]):
    """Which deployments of models.

    Attributes:
        endpoint: A pattern of the endpoint's name.
        model: A pattern of the name of a model, one of which must be like it.
    """

    kind: ClassVar[type[WorkspaceEvent]] = DeploymentEvent

    endpoint: str = ""
    model: str = ""

    def _reason(self, event: DeploymentEvent) -> str:
        names = [each.strip().partition(":")[0] for each in event.models.split(",")]
        if self.model and not any(fnmatchcase(name, self.model) for name in names):
            return f"no model is like {self.model}"
        return _unlike("endpoint", event.endpoint, self.endpoint)


@frozen(kw_only=True)
class JobFilter(EventFilter[JobEvent]):
    """Which changes of which jobs.

    Attributes:
        job: A pattern of the job's name.
        experiment: A pattern of its experiment's name.
        statuses: Azure's words, such as ``Completed``; empty for any.
        steps: Whether steps of pipelines count as well.
    """

    kind: ClassVar[type[WorkspaceEvent]] = JobEvent

    job: str = ""
    experiment: str = ""
    statuses: tuple[str, ...] = field(default=(), converter=_texts)
    steps: bool = False

    def faults(self) -> list[str]:
        """Say what is wrong with the filter itself; an empty list when nothing is."""
        known = ", ".join(PHASE_OF_STATUS)
        unknown = [f"status {each!r} is none of {known}" for each in self.statuses if each not in PHASE_OF_STATUS]
        return [*EventFilter.faults(self), *unknown]

    def _reason(self, event: JobEvent) -> str:
        if event.is_step and not self.steps:
            return "a step of a pipeline"
        if self.statuses and event.status not in self.statuses:
            return f"status is {event.status}"
        return _unlike("job", event.job, self.job) or _unlike("experiment", event.experiment, self.experiment)


@frozen(kw_only=True)
class DriftFilter(EventFilter[DriftEvent]):
    """Which findings of drift; these events have no tags.

    Attributes:
        monitor: A pattern of the monitor's name.
        at_least: The smallest coefficient, from 0 to 1; a finding without one passes.
    """

    kind: ClassVar[type[WorkspaceEvent]] = DriftEvent

    monitor: str = ""
    at_least: float = 0.0

    def faults(self) -> list[str]:
        """Say what is wrong with the filter itself; an empty list when nothing is."""
        return [
            *(["a finding of drift has no tags"] if self.tags else []),
            *([] if _is_finite(self.at_least) else [f"at_least is {self.at_least!r}, not a number"]),
        ]

    def _reason(self, event: DriftEvent) -> str:
        if event.coefficient is not None and event.coefficient < self.at_least:
            return f"coefficient is below {self.at_least:g}"
        return _unlike("monitor", event.monitor, self.monitor)


AnyFilter = ModelFilter | DeploymentFilter | JobFilter | DriftFilter
_FILTERS: Mapping[str, type[AnyFilter]] = {
    each.kind.event: each for each in (ModelFilter, DeploymentFilter, JobFilter, DriftFilter)
}


def filter_from_wire(body: Mapping[str, Any]) -> AnyFilter:
    """Read what ``to_wire`` wrote."""
    return _FILTERS[body["event"]](**{name: value for name, value in body.items() if name != "event"})


def _unlike(what: str, name: str, pattern: str) -> str:
    return "" if not pattern or fnmatchcase(name, pattern) else f"{what} is not like {pattern}"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _listed(_: object, __: object, value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

"""What Azure ML tells of a workspace: a model registered or deployed, a job's status changed, data that drifted."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import asdict, field, fields, frozen

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError

#: How a workspace is named: what stands in its id, in lower case, since Azure Resource Manager knows no other.
_PLACE = re.compile(r"[^/\s]+/[^/\s]+/[^/\s]+")


def place_of(workspace: Workspace) -> str:
    """Name a workspace as events of it do: ``subscription/resource group/name``, in lower case."""
    return f"{workspace.subscription_id}/{workspace.resource_group}/{workspace.name}".lower()


def is_place(text: str) -> bool:
    """Tell whether a text names a workspace as ``subscription/resource group/name``."""
    return _PLACE.fullmatch(text) is not None


@frozen(kw_only=True)
class _Event:
    """What all of them have.

    Attributes:
        workspace: Which workspace told it; see `place_of`.
        time: When, UTC, as ISO 8601 with ``+00:00``.
        tags: The tags of what it is about. Filters see them; `to_wire` leaves them out, for they may hold anything.
    """

    #: What Airflow's asset events call it; Event Grid's name of the type.
    event: ClassVar[str]

    workspace: str
    time: str
    tags: Mapping[str, str] = field(factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """What it tells, whenever: the same for an event that comes twice."""
        return tuple(value for name, value in self.to_wire().items() if name != "time")

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON of some 250 bytes, without its tags."""
        kept = asdict(self)
        del kept["tags"]
        return {"event": self.event, **kept}


@frozen(kw_only=True)
class ModelEvent(_Event):
    """A version of a model was registered."""

    event: ClassVar[str] = "ModelRegistered"

    model: str
    version: str


@frozen(kw_only=True)
class DeploymentEvent(_Event):
    """Models were deployed to an endpoint.

    Attributes:
        endpoint: Azure's ``ServiceName``.
        compute_type: Azure's word for what serves them, such as ``ACI``; empty where it said none.
        models: Each as ``name:version``, separated by commas.
    """

    event: ClassVar[str] = "ModelDeployed"

    endpoint: str
    compute_type: str
    models: str


@frozen(kw_only=True)
class JobEvent(_Event):
    """A job's status changed; it may have changed again since.

    Azure ML tells of the end of a job that succeeded twice, if the subscription takes both: as ``RunStatusChanged`` and
    as ``RunCompleted``.

    Attributes:
        job: The job's name; a step of a pipeline has one of its own.
        experiment: Empty where Azure said none.
        status: Azure's word, as `airflow_azureml.core.jobs` spells it.
        kind: Azure's ``runType``, such as ``azureml.PipelineRun``; empty where it said none.
    """

    event: ClassVar[str] = "RunStatusChanged"

    job: str
    experiment: str
    status: str
    kind: str

    @property
    def is_step(self) -> bool:
        """Whether it is known to be a step of a pipeline."""
        return self.kind == STEP


#: The ``runType`` of a step of a pipeline.
STEP = "azureml.StepRun"


@frozen(kw_only=True)
class DriftEvent(_Event):
    """A monitor found that data has drifted.

    Attributes:
        job: The run that found it; empty where Azure said none.
        coefficient: How much, from 0 to 1; None where Azure said nothing.
    """

    event: ClassVar[str] = "DatasetDriftDetected"

    monitor: str
    job: str
    coefficient: float | None


WorkspaceEvent = ModelEvent | DeploymentEvent | JobEvent | DriftEvent
KINDS: Mapping[str, type[WorkspaceEvent]] = {
    kind.event: kind for kind in (ModelEvent, DeploymentEvent, JobEvent, DriftEvent)
}


def event_from_wire(body: Any) -> WorkspaceEvent:
    """Read what ``to_wire`` wrote: an entry of an asset event's payload.

    Raises:
        ProtocolError: It names no event of ours, or a field is missing, unknown or of another type.
    """
    kind = KINDS.get(str(body.get("event"))) if isinstance(body, Mapping) else None
    if kind is None:
        raise ProtocolError(f"Read an event of a workspace: expected one of {', '.join(KINDS)}, got {body!r}")
    given = {name: value for name, value in body.items() if name != "event"}
    known = {each.name for each in fields(kind)} - {"tags"}
    wrong = [name for name in known & set(given) if not _is_right(name, given[name])]
    if set(given) != known or wrong:
        raise ProtocolError(f"Read an event {kind.event}: expected the fields {', '.join(sorted(known))}, got {body!r}")
    return kind(**given)


def _is_right(name: str, value: object) -> bool:
    if name == "coefficient":
        return value is None or (isinstance(value, float | int) and not isinstance(value, bool))
    return isinstance(value, str)

"""What Event Grid says of an Azure ML workspace.

Source: https://learn.microsoft.com/azure/event-grid/event-schema-machine-learning. The pages of several years write the
names of a run's fields with a small or a capital first letter, and a model's version as a number or as text: both are
read. Of the subject, which has no more than the fields, nothing is believed.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from airflow_azureml.core.jobs import PHASE_OF_STATUS
from airflow_azureml.core.ml_events import DeploymentEvent, DriftEvent, JobEvent, ModelEvent, WorkspaceEvent
from airflow_azureml.wire.event_grid import Envelope, MalformedMessageError

PREFIX = "Microsoft.MachineLearningServices."
#: No name of Azure ML's is longer than 255 characters; a list of deployed models may be.
LONGEST_TEXT = 1024
_COMPLETED = "Completed"
#: Events write ``failed`` where the jobs of the REST API are ``Failed``.
_STATUS = {status.lower(): status for status in PHASE_OF_STATUS}
_WORKSPACE = re.compile(
    r"/?subscriptions/(?P<subscription>[^/\s]+)/resourcegroups/(?P<group>[^/\s]+)"
    r"/providers/microsoft\.machinelearningservices/workspaces/(?P<name>[^/\s]+)/?"
)


def is_one(event: Envelope) -> bool:
    """Tell whether an event is Azure ML's, of whatever type."""
    return event.kind.startswith(PREFIX)


def read(event: Envelope) -> WorkspaceEvent:
    """Read an event of Azure ML's.

    Raises:
        MalformedMessageError: It is of an unknown type, or a field is missing, too long or of another type.
    """
    kind = event.kind.removeprefix(PREFIX)
    details = _Details(event.kind, event.details)
    place, time = _place(event.source), event.time
    match kind:
        case "ModelRegistered":
            version = details.text("ModelVersion", is_number_fine=True)
            tags = details.texts("ModelTags")
            return ModelEvent(workspace=place, time=time, model=details.text("ModelName"), version=version, tags=tags)
        case "ModelDeployed":
            return DeploymentEvent(
                workspace=place,
                time=time,
                endpoint=details.text("ServiceName"),
                compute_type=details.text_or_empty("ServiceComputeType"),
                models=details.text_or_empty("ModelIds"),
                tags=details.texts("ServiceTags"),
            )
        case "RunCompleted" | "RunStatusChanged":
            status = _COMPLETED if kind == "RunCompleted" else details.text("RunStatus")
            return JobEvent(
                workspace=place,
                time=time,
                job=details.text("RunId"),
                experiment=details.text_or_empty("ExperimentName"),
                status=_STATUS.get(status.lower(), status),
                kind=details.text_or_empty("RunType"),
                tags=details.texts("RunTags"),
            )
        case "DatasetDriftDetected":
            return DriftEvent(
                workspace=place,
                time=time,
                monitor=details.text("DataDriftName"),
                job=details.text_or_empty("RunId"),
                coefficient=details.number_or_none("DriftCoefficient"),
            )
        case _:
            raise MalformedMessageError(f"Read a queue message: unknown event type {event.kind!r}")


def _place(source: str) -> str:
    """Take the workspace from the id of its resource."""
    found = _WORKSPACE.fullmatch(source.lower())
    if found is None or len(source) > LONGEST_TEXT or not source.isprintable():
        raise MalformedMessageError(f"Read a queue message: {source[:LONGEST_TEXT]!r} is no workspace's id")
    return "/".join(found.groups())


class _Details:
    """The fields of an event's data, whatever the case of their names' letters.

    Args:
        kind: The event's type, for messages.
        body: The data.
    """

    def __init__(self, kind: str, body: Mapping[str, Any]) -> None:
        self._kind = kind
        self._fields = {name.lower(): value for name, value in body.items()}

    def text(self, name: str, *, is_number_fine: bool = False) -> str:
        """Read a field that must be a text of one line, and not an empty one."""
        text = self.text_or_empty(name, is_number_fine=is_number_fine)
        if not text:
            raise MalformedMessageError(f"Read a queue message: the event {self._kind} has no {name}")
        return text

    def text_or_empty(self, name: str, *, is_number_fine: bool = False) -> str:
        """Read a field that may be null, or not there."""
        value = self._fields.get(name.lower())
        if is_number_fine and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
            return str(value)
        if value is None:
            return ""
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
            raise MalformedMessageError(
                f"Read a queue message: the {name} of an event {self._kind} is no text of one line and at most "
                f"{LONGEST_TEXT} characters"
            )
        return value

    def texts(self, name: str) -> dict[str, str]:
        """Read tags; those that are no text are left out, so that no filter takes them for something."""
        value = self._fields.get(name.lower())
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise MalformedMessageError(f"Read a queue message: the {name} of an event {self._kind} are no tags")
        return {key: tag for key, tag in value.items() if isinstance(tag, str)}

    def number_or_none(self, name: str) -> float | None:
        """Read a number that may be null, or not there."""
        value = self._fields.get(name.lower())
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise MalformedMessageError(f"Read a queue message: the {name} of an event {self._kind} is no number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise MalformedMessageError(f"Read a queue message: the {name} of an event {self._kind} is not finite")
        return number

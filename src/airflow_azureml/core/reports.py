"""What became of a job: its steps, its metrics, its outputs; and as much of it as fits into XCom."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from attrs import field, frozen

#: What a policy may say of steps that Azure ML did not run, because it had an old result.
ON_REUSE = ("warn", "refuse", "allow")


@frozen(kw_only=True)
class Step:
    """One step of a pipeline, as run history shows it.

    Attributes:
        name: The step's name in the pipeline.
        run: Its run's id.
        seconds: How long it ran; None when it did not.
        reused: Whether Azure ML did not run it, but took the result of an earlier run.
        metrics: The latest value of each metric it logged.
    """

    name: str
    run: str
    status: str
    seconds: float | None = None
    reused: bool = False
    metrics: Mapping[str, float] = field(factory=dict)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read an entry of a run's children."""
        properties = raw.get("properties") or {}
        return cls(
            name=str(raw.get("displayName") or raw.get("runId") or "?"),
            run=str(raw.get("runId") or ""),
            status=str(raw.get("status") or "Unknown"),
            seconds=_seconds(raw.get("startTimeUtc"), raw.get("endTimeUtc")),
            reused=str(properties.get("azureml.isreused", "")).lower() == "true",
        )

    def to_wire(self) -> dict[str, Any]:
        """Write the part that goes into XCom."""
        return {"name": self.name, "status": self.status, "seconds": self.seconds, "reused": self.reused}


@frozen(kw_only=True)
class Report:
    """What became of a job.

    Attributes:
        metrics: The latest value of each metric of the job itself, and those of its steps as ``step.metric``.
        outputs: The URI of each output, as Azure ML resolved it.
        unread: What could not be read, each as a sentence.
    """

    steps: Sequence[Step] = ()
    metrics: Mapping[str, float] = field(factory=dict)
    outputs: Mapping[str, str] = field(factory=dict)
    unread: Sequence[str] = ()

    @property
    def reused(self) -> list[str]:
        """The names of the steps that were not run."""
        return [step.name for step in self.steps if step.reused]


def metrics_of(run: Mapping[str, Any]) -> dict[str, float]:
    """Read the latest metrics of an MLflow run; what is no finite number is left out, since JSON has no word for it."""
    listed = ((run.get("run") or {}).get("data") or {}).get("metrics") or []
    found = {}
    for one in listed:
        try:
            value = float(one["value"])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            found[str(one.get("key"))] = value
    return found


def fit(result: Mapping[str, Any], most_bytes: int, *, kept_outputs: Collection[str] = ()) -> dict[str, Any]:
    """Make a result small enough: of steps, metrics and outputs, what is too much is left out, and counted.

    Args:
        result: Has ``steps`` (a list), ``metrics`` and ``outputs`` (mappings) beside fields that are never left out.
        most_bytes: The most that its JSON may have.
        kept_outputs: The outputs that are never left out.
    """
    steps, metrics = list(result["steps"]), dict(result["metrics"])
    outputs, droppable = dict(result["outputs"]), [name for name in result["outputs"] if name not in kept_outputs]
    left_out = 0
    while True:
        fitted = {**result, "steps": steps, "metrics": metrics, "outputs": outputs, "left_out": left_out}
        if len(json.dumps(fitted).encode()) <= most_bytes:
            return fitted
        if metrics and len(metrics) >= len(steps):
            metrics.popitem()
        elif steps:
            steps.pop()
        elif droppable:
            del outputs[droppable.pop()]
        else:
            return fitted
        left_out += 1


def _seconds(began: Any, ended: Any) -> float | None:
    if not began or not ended:
        return None
    try:
        return round((datetime.fromisoformat(str(ended)) - datetime.fromisoformat(str(began))).total_seconds(), 3)
    except (ValueError, TypeError):
        return None

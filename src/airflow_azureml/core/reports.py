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
        reused_run: The run that really ran; empty where it is not told.
        reused_job: The pipeline job of that run; empty where it is not told.
        repairs: The attempt of the same task that failed, and whose result it has; 0 where it has another's.
        is_pipeline: Whether it has steps of its own.
        metrics: The latest value of each metric it logged.
    """

    name: str
    run: str
    status: str
    seconds: float | None = None
    reused: bool = False
    reused_run: str = ""
    reused_job: str = ""
    repairs: int = 0
    is_pipeline: bool = False
    metrics: Mapping[str, float] = field(factory=dict)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read an entry of a run's children."""
        properties, kind = raw.get("properties") or {}, raw.get("runTypeV2") or {}
        return cls(
            name=str(raw.get("displayName") or raw.get("runId") or "?"),
            run=str(raw.get("runId") or ""),
            status=str(raw.get("status") or "Unknown"),
            seconds=_seconds(raw.get("startTimeUtc"), raw.get("endTimeUtc")),
            reused=str(properties.get("azureml.isreused", "")).lower() == "true",
            reused_run=str(properties.get("azureml.reusedrunid") or ""),
            reused_job=str(properties.get("azureml.reusedpipelinerunid") or ""),
            is_pipeline=raw.get("runType") == "azureml.PipelineRun" or kind.get("orchestrator") == "Pipeline",
        )

    @property
    def measured(self) -> str:
        """The run that has its metrics."""
        return self.reused_run or self.run

    @property
    def whence(self) -> str:
        """Whose result it has, as a clause; empty where it ran itself."""
        if not self.reused:
            return ""
        whose = f"attempt {self.repairs} of this task" if self.repairs else "an earlier run"
        return f", reused from {whose} ({self.reused_job or 'which one is not told'})"

    def to_wire(self) -> dict[str, Any]:
        """Write the part that goes into XCom."""
        told = {"name": self.name, "status": self.status, "seconds": self.seconds, "reused": self.reused}
        return told | ({"reused_job": self.reused_job} if self.reused_job else {})


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

    @property
    def stale(self) -> list[str]:
        """Those of them that have the result of anything but an attempt of the same task that failed."""
        return [step.name for step in self.steps if step.reused and not step.repairs]

    @property
    def makers(self) -> str:
        """Where the results of those come from, as words."""
        jobs = dict.fromkeys(step.reused_job for step in self.steps if step.reused and not step.repairs)
        return f"an earlier run ({', '.join(job or 'which one is not told' for job in jobs)})"

    @property
    def repaired(self) -> list[str]:
        """Of each step that was not run because an attempt of the same task had completed it, a sentence."""
        return [
            f"Step {step.name} was not run: attempt {step.repairs} of this task ({step.reused_job}) had completed it"
            for step in self.steps
            if step.repairs
        ]


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

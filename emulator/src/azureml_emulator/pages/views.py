"""What the pages show of a run, in words and numbers that need no further thought."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from azureml_emulator.names import WorkspaceName
from azureml_emulator.runner import Runner
from azureml_emulator.store import Metric, Run, Store

#: A page shows the end of a log, at most so many characters of it.
LOG_CHARACTERS = 100_000
#: The colour of each status; one that is not here is shown as waiting.
TONES: Mapping[str, str] = {
    "Completed": "good",
    "Failed": "bad",
    "Canceled": "off",
    "CancelRequested": "off",
    "Running": "busy",
    "Finalizing": "busy",
}
_SPARK_WIDTH, _SPARK_HEIGHT = 120, 24
_MINUTE_S, _HOUR_S = 60, 3600


@attrs.frozen(kw_only=True)
class Row:
    """One run in a list."""

    run: Run
    path: str
    workspace: str
    title: str
    tone: str
    is_live: bool
    created: str
    duration: str


@attrs.frozen(kw_only=True)
class Bar:
    """One step on the timeline; places are percent of its width."""

    row: Row
    left: float
    width: float
    log: str
    error: str
    opens: bool


@attrs.frozen(kw_only=True)
class Series:
    """The points of one metric: the last one in words, and all of them as the points of a line if there are more."""

    owner: str
    key: str
    last: str
    points: int
    line: str


@attrs.frozen(kw_only=True)
class Binding:
    """An input or output."""

    name: str
    kind: str
    value: str


@attrs.frozen(kw_only=True)
class Job:
    """Everything on a job's page."""

    row: Row
    parent_path: str
    bars: Sequence[Bar]
    metrics: Sequence[Series]
    params: Sequence[tuple[str, str, str]]
    inputs: Sequence[Binding]
    outputs: Sequence[Binding]
    command: str
    log: str
    error: str


def job(store: Store, runner: Runner, run: Run, *, path_of: Callable[[str], str]) -> Job:
    """Gather what there is to see of a run.

    Args:
        store: Where it is kept.
        runner: Who has its log.
        run: The run.
        path_of: Gives the page of a run of the same workspace.
    """
    steps = sorted(store.runs(run.workspace, parent=run.name), key=lambda step: (step.started or "~", step.created))
    family = [run, *steps]
    return Job(
        row=row(run, path=path_of(run.name)),
        parent_path=path_of(run.parent) if run.parent else "",
        bars=_bars(run, steps, log_of=lambda name: _end(runner.log(run.workspace, name)), path_of=path_of),
        metrics=[one for member in family for one in _series(member, store.metrics(run.workspace, member.name))],
        params=[
            (_title(member), key, value)
            for member in family
            for key, value in store.params(run.workspace, member.name).items()
        ],
        inputs=_bindings(run.inputs, "jobInputType"),
        outputs=_bindings(run.outputs, "jobOutputType"),
        command=str(run.spec.get("command") or ""),
        log=_end(runner.log(run.workspace, run.name)),
        error=_error(run),
    )


def row(run: Run, *, path: str) -> Row:
    """Sum a run up."""
    return Row(
        run=run,
        path=path,
        workspace=WorkspaceName.of_arm_id(run.workspace).name,
        title=_title(run),
        tone=TONES.get(run.status, "wait"),
        is_live=not run.is_final,
        created=f"{_moment(run.created):%Y-%m-%d %H:%M:%S}",
        duration=duration(seconds_of(run, datetime.now(UTC))),
    )


def counts(runs: Iterable[Run]) -> dict[str, int]:
    """Count runs by status, in the order they are met."""
    found: dict[str, int] = {}
    for run in runs:
        found[run.status] = found.get(run.status, 0) + 1
    return found


def seconds_of(run: Run, at: datetime) -> float | None:
    """Say how long a run took, or has taken until ``at``; None when it has not begun."""
    if run.started is None:
        return None
    return max(0.0, ((_moment(run.ended) if run.ended else at) - _moment(run.started)).total_seconds())


def duration(seconds: float | None) -> str:
    """Write a duration in seconds for people; a dash for none."""
    if seconds is None:
        return "-"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return f"{minutes} min {rest:02} s" if seconds < _HOUR_S else f"{minutes // 60} h {minutes % 60:02} min"


def _title(run: Run) -> str:
    return run.display_name or run.name


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _end(log: str) -> str:
    if len(log) <= LOG_CHARACTERS:
        return log
    return f"[the first {len(log) - LOG_CHARACTERS} characters are not shown]\n{log[-LOG_CHARACTERS:]}"


def _error(run: Run) -> str:
    return str((run.error or {}).get("message") or "")


def _bars(run: Run, steps: Sequence[Run], *, log_of: Callable[[str], str], path_of: Callable[[str], str]) -> list[Bar]:
    at = datetime.now(UTC)
    begin = _moment(run.started or run.created)
    end = _moment(run.ended) if run.ended else at
    whole_s = max((end - begin).total_seconds(), 0.001)
    bars = []
    for step in steps:
        length_s = seconds_of(step, at) or 0.0
        start_s = (_moment(step.started) - begin).total_seconds() if step.started else 0.0
        left = min(max(100 * start_s / whole_s, 0.0), 99.0)
        bars.append(
            Bar(
                row=row(step, path=path_of(step.name)),
                left=round(left, 2),
                width=round(min(max(100 * length_s / whole_s, 0.6), 100 - left), 2) if step.started else 0.0,
                log=log_of(step.name),
                error=_error(step),
                opens=step.status in ("Failed", "Running"),
            )
        )
    return bars


def _series(run: Run, points: Iterable[Metric]) -> list[Series]:
    by_key: dict[str, list[Metric]] = {}
    for point in points:
        by_key.setdefault(point.key, []).append(point)
    return [
        Series(
            owner=_title(run),
            key=key,
            last=f"{metrics[-1].value:.6g}",
            points=len(metrics),
            line=_line([metric.value for metric in metrics]),
        )
        for key, metrics in by_key.items()
    ]


def _line(values: Sequence[float]) -> str:
    """Draw the finite values as the points of an SVG polyline; nothing for fewer than two."""
    finite = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
    if len(finite) < 2:  # noqa: PLR2004  # a line has two ends
        return ""
    lowest, highest = (extreme(value for _, value in finite) for extreme in (min, max))
    across, up = _SPARK_WIDTH / (len(values) - 1), _SPARK_HEIGHT / ((highest - lowest) or 1)
    return " ".join(f"{place * across:.1f},{_SPARK_HEIGHT - (value - lowest) * up:.1f}" for place, value in finite)


def _bindings(named: Mapping[str, Mapping[str, Any]], kind: str) -> list[Binding]:
    return [
        Binding(name=name, kind=str(one.get(kind) or ""), value=str(one.get("value") or one.get("uri") or ""))
        for name, one in named.items()
    ]

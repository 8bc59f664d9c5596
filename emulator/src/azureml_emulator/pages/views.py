"""What the pages show of a run, in words and numbers that need no further thought."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from azureml_emulator.clock import utc_now
from azureml_emulator.names import WorkspaceName
from azureml_emulator.pages import charts, graph
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
    """What one run has logged of one metric, in words; the extremes are those of the finite values."""

    owner: str
    key: str
    last: str
    lowest: str
    highest: str
    points: int


@attrs.frozen(kw_only=True)
class Node:
    """One step in the graph.

    Attributes:
        row: Its run; None as long as there is none.
    """

    box: graph.Box
    row: Row | None


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
    graph: graph.Graph | None
    nodes: Sequence[Node]
    charts: Sequence[charts.Chart]
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
    logged = {(_title(one), one.name): _by_key(store.metrics(run.workspace, one.name)) for one in family}
    drawn = graph.draw(_jobs(store, run))
    rows = {str(step.node): row(step, path=path_of(step.name)) for step in steps}
    return Job(
        row=row(run, path=path_of(run.name)),
        parent_path=path_of(run.parent) if run.parent else "",
        bars=_bars(run, steps, log_of=lambda name: _end(runner.log(run.workspace, name)), path_of=path_of),
        graph=drawn,
        nodes=[Node(box=box, row=rows.get(box.node)) for box in drawn.boxes] if drawn else [],
        charts=_charts(logged),
        metrics=[_series(owner, key, points) for (owner, _), keys in logged.items() for key, points in keys.items()],
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
        created=moment(run.created),
        duration=duration(seconds_of(run, utc_now())),
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


def moment(text: str) -> str:
    """Write a moment of the store for people, in UTC."""
    return f"{_moment(text):%Y-%m-%d %H:%M:%S}"


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
    at = utc_now()
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


def _jobs(store: Store, run: Run) -> Mapping[str, Any]:
    """Find the nodes of a pipeline run: its own, or those of its component; none for what is no pipeline."""
    jobs = run.spec.get("jobs")
    if component := str(run.spec.get("componentId") or ""):
        found = store.get(component.removeprefix("azureml:")) or {}
        jobs = found.get("properties", {}).get("componentSpec", {}).get("jobs")
    return jobs if isinstance(jobs, Mapping) else {}


def _by_key(points: Iterable[Metric]) -> dict[str, list[Metric]]:
    found: dict[str, list[Metric]] = {}
    for point in points:
        found.setdefault(point.key, []).append(point)
    return found


def _series(owner: str, key: str, points: Sequence[Metric]) -> Series:
    finite = [point.value for point in points if math.isfinite(point.value)]
    return Series(
        owner=owner,
        key=key,
        last=f"{points[-1].value:.6g}",
        lowest=f"{min(finite):.6g}" if finite else "-",
        highest=f"{max(finite):.6g}" if finite else "-",
        points=len(points),
    )


def _charts(logged: Mapping[tuple[str, str], Mapping[str, Sequence[Metric]]]) -> list[charts.Chart]:
    """Draw each metric that has a course, with a line for each run that logged it."""
    keys = dict.fromkeys(key for metrics in logged.values() for key in metrics)
    titles = [title for title, _ in logged]
    drawn = []
    for key in keys:
        lines = {
            title if titles.count(title) == 1 else f"{title} ({name})": _course(metrics[key])
            for (title, name), metrics in logged.items()
            if key in metrics
        }
        if (one := charts.chart(key, lines)) is not None:
            drawn.append(one)
    return drawn


def _course(points: Sequence[Metric]) -> list[charts.Point]:
    """Read steps and values; where steps say no order, as without any, points are counted instead."""
    if len({point.step for point in points}) < len(points):
        return [(number, point.value) for number, point in enumerate(points)]
    return sorted(((point.step, point.value) for point in points), key=lambda point: point[0])


def _bindings(named: Mapping[str, Mapping[str, Any]], kind: str) -> list[Binding]:
    return [
        Binding(name=name, kind=str(one.get(kind) or ""), value=str(one.get("value") or one.get("uri") or ""))
        for name, one in named.items()
    ]

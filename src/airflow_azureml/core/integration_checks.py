"""Checks of a whole run: outputs are there, schemas hold, metrics are sane, time and cost are within bounds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.costs import Cost
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.errors import ConfigError


@frozen(kw_only=True)
class Bounds:
    """What a run must hold.

    Attributes:
        outputs: The outputs that must have a file with something in it.
        metrics: The least and the most of each metric, both included; None for no end. Every metric must be a finite
            number in any case, and one that is named here must be there.
        most_seconds: How long the job may take, from its start to its end; None for no bound.
        most_cost: How much it may cost; None for no bound. What has no price is no known cost, and fails.
    """

    outputs: Sequence[str] = ()
    metrics: Mapping[str, tuple[float | None, float | None]] = field(factory=dict)
    most_seconds: float | None = None
    most_cost: float | None = None

    @classmethod
    def parse(
        cls, *, outputs: Any, metrics: Any, most_seconds: float | None = None, most_cost: float | None = None
    ) -> Self:
        """Read them as a DAG gives them.

        Raises:
            ConfigError: Something of it is none.
        """
        names = [outputs] if isinstance(outputs, str) else list(outputs or ())
        if not isinstance(metrics or {}, Mapping):
            raise ConfigError(f"metrics is {metrics!r:.200}; give a mapping of names to the least and the most.")
        for name, most in (("most_time", most_seconds), ("most_cost", most_cost)):
            if most is not None and not most > 0:
                raise ConfigError(f"{name} is {most}; it must be more than 0.")
        return cls(
            outputs=tuple(str(name) for name in names),
            metrics={str(name): _ends(str(name), told) for name, told in (metrics or {}).items()},
            most_seconds=most_seconds,
            most_cost=most_cost,
        )


@frozen(kw_only=True)
class Seen:
    """What a run has left.

    Attributes:
        job: The job.
        outputs: How many files each output has, and how many bytes; None for an output that the job has not.
        metrics: Its metrics.
        tables: What the tests of its tables found, by the table's name.
        seconds: How long it took; None where nobody knows.
        cost: What it cost; None where there are no prices.
    """

    job: str
    outputs: Mapping[str, tuple[int, int] | None] = field(factory=dict)
    metrics: Mapping[str, float] = field(factory=dict)
    tables: Mapping[str, Verdict] = field(factory=dict)
    seconds: float | None = None
    cost: Cost | None = None


def judge(bounds: Bounds, seen: Seen) -> Verdict:
    """Judge a run; what is missing or not known is a no."""
    facts = {"job": seen.job}
    if seen.seconds is not None:
        facts["seconds"] = f"{seen.seconds:.0f}"
    if seen.cost is not None:
        facts["cost"] = seen.cost.text
    findings = [*_outputs(bounds, seen), *_tables(seen), *_metrics(bounds, seen), *_time(bounds, seen)]
    findings += _cost(bounds, seen)
    return Verdict(subject=f"Job {seen.job}", policy="integration checks", findings=findings, facts=facts)


def _outputs(bounds: Bounds, seen: Seen) -> Iterator[Finding]:
    for name in bounds.outputs:
        found = seen.outputs.get(name)
        files, size_bytes = found or (0, 0)
        if found is None:
            reason = f"The job has no output {name}; it has {', '.join(sorted(seen.outputs)) or 'none'}."
        elif not files:
            reason = f"Output {name} has no file."
        else:
            reason = f"Output {name} has {files} files with {size_bytes} bytes."
        told = f"output {name} is there"
        yield Finding(check=told, passed=size_bytes > 0, reason=reason, subject=name, value=size_bytes)


def _tables(seen: Seen) -> Iterator[Finding]:
    for name, verdict in seen.tables.items():
        yield Finding(
            check=f"the schema of {name} holds", passed=verdict.accepted, reason=verdict.sentence, subject=name
        )


def _metrics(bounds: Bounds, seen: Seen) -> Iterator[Finding]:
    for name, (least, most) in bounds.metrics.items():
        value = seen.metrics.get(name, math.nan)
        passed = math.isfinite(value) and (least is None or value >= least) and (most is None or value <= most)
        if name not in seen.metrics:
            reason = f"There is no metric {name}; there are {', '.join(sorted(seen.metrics)) or 'none'}."
        else:
            reason = f"{name} is {value:g}."
        yield Finding(check=_told(name, least, most), passed=passed, reason=reason, subject=name, value=value)
    others = {name: value for name, value in seen.metrics.items() if name not in bounds.metrics}
    for name, value in others.items():
        if not math.isfinite(value):
            yield Finding(check=f"{name} is a finite number", passed=False, reason=f"{name} is {value}.", subject=name)


def _time(bounds: Bounds, seen: Seen) -> Iterator[Finding]:
    if bounds.most_seconds is None:
        return
    known = seen.seconds is not None
    reason = f"It took {seen.seconds:.0f} s." if known else "Nobody knows how long it took."
    yield Finding(
        check=f"took at most {bounds.most_seconds:.0f} s",
        passed=seen.seconds is not None and seen.seconds <= bounds.most_seconds,
        reason=reason,
        value=seen.seconds,
        against=bounds.most_seconds,
    )


def _cost(bounds: Bounds, seen: Seen) -> Iterator[Finding]:
    if bounds.most_cost is None:
        return
    cost = seen.cost
    yield Finding(
        check=f"cost at most {bounds.most_cost:.2f}",
        passed=cost is not None and cost.is_known and cost.amount <= bounds.most_cost,
        reason="There are no prices to know its cost by." if cost is None else f"It cost {cost.text}.",
        value=None if cost is None else cost.amount,
        against=bounds.most_cost,
    )


def _told(name: str, least: float | None, most: float | None) -> str:
    ends = [f"at least {least:g}"] if least is not None else []
    ends += [f"at most {most:g}"] if most is not None else []
    return f"{name} {' and '.join(ends) or 'is a finite number'}"


def _ends(name: str, told: Any) -> tuple[float | None, float | None]:
    """Read the two ends of a bound.

    Raises:
        ConfigError: They are none, or the wrong way round.
    """
    match told:
        case [least, most] if all(_is_end(each) for each in (least, most)):
            if least is not None and most is not None and least > most:
                raise ConfigError(f"metrics of {name}: the least, {least}, is more than the most, {most}.")
            return least, most
        case _:
            raise ConfigError(f"metrics of {name} is {told!r:.100}; give the least and the most, None for no end.")


def _is_end(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and not math.isnan(value))

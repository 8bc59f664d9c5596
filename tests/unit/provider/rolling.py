"""Rollouts, at any step and in any phase, and what is seen of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from hypothesis import strategies as st

from airflow_azureml.core.rollout import Look, Policy, Progress
from airflow_azureml.core.rollout_limits import Figures
from airflow_azureml.core.rollout_record import (
    Phase,
    Rollout,
    Split,
    Step,
)

NOW = datetime(2026, 11, 21, 19, tzinfo=UTC)
NOW_S = NOW.timestamp()
POLICY = Policy(
    steps=("mirror:10", 10, 100), looks=2, least_requests=50, least_time=timedelta(minutes=5), soak=timedelta(hours=1)
)
GOOD, BAD = Figures(requests=100, p95_ms=20.0), Figures(requests=100, failures=50, p95_ms=20.0)

shares = st.lists(st.integers(1, 50), min_size=1, max_size=5).map(
    lambda parts: {f"d{number}": part * 100 // sum(parts) for number, part in enumerate(parts)}
)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    found = draw(shares)
    first = next(iter(found))
    return Split(traffic={**found, first: found[first] + 100 - sum(found.values())})


@st.composite
def many_steps(draw: st.DrawFn) -> tuple[Step, ...]:
    mirrored = sorted(draw(st.sets(st.integers(1, 50), max_size=2)))
    live = sorted(draw(st.sets(st.integers(1, 99), max_size=4)))
    return (*(Step(each, mirrored=True) for each in mirrored), *map(Step, live), Step(100))


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    steps = draw(many_steps())
    begun = Rollout(endpoint="shop").begun("new", draw(splits()), steps, owner="d/r/g", instance="a", now=NOW)
    return evolve(
        begun,
        step=draw(st.integers(-1, len(steps) - 1)),
        phase=draw(st.sampled_from(Phase)),
        why=tuple(draw(st.lists(st.text(max_size=10), max_size=2))),
        champion=draw(st.none() | st.just(GOOD)),
        earlier=tuple(draw(st.lists(splits(), max_size=2))),
    )


def at(step: int, *, phase: Phase = Phase.ROLLING, **more: Any) -> Rollout:
    begun = Rollout(endpoint="shop").begun(
        "new", Split(traffic={"old": 100}), POLICY.steps, owner="d/r/g", instance="a", now=NOW
    )
    return evolve(begun, step=step, phase=phase, **more)


def seen(rollout: Rollout, **more: Any) -> Look:
    states = {"old": "Succeeded", "new": "Succeeded"}
    return evolve(Look(split=rollout.split, deployments=states, new=GOOD, champion=GOOD), **more)


def since(seconds: float, looks: int = 5) -> Progress:
    return Progress(began_at=NOW_S - seconds, sure_at=NOW_S - seconds, since=NOW_S - seconds, looks=looks)

"""Rollouts, at any step and in any phase, and what is seen of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from hypothesis import strategies as st

from airflow_azureml.core.rolled_back import RolledBack
from airflow_azureml.core.rollout import Look, Policy, Progress
from airflow_azureml.core.rollout_limits import Figures
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split, Step

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
        since=draw(st.sampled_from(["", ago(60)])),
        unseen=draw(st.sampled_from(["", "", ago(30)])),
        rolled_back=tuple(draw(st.lists(refusals(), max_size=2))),
    )


def refusals() -> st.SearchStrategy[RolledBack]:
    texts = st.sampled_from(["a", "b", ""])
    return st.builds(RolledBack, deployment=st.sampled_from("ab"), model=texts, at=texts, owner=texts, why=texts)


def ago(seconds: float) -> str:
    """Write a time as the store does."""
    return (NOW - timedelta(seconds=seconds)).isoformat(timespec="seconds")


def at(step: int, *, phase: Phase = Phase.ROLLING, age_s: float | None = 400, **more: Any) -> Rollout:
    """Make a rollout at a step that is in force for so long; None where it is not yet."""
    begun = Rollout(endpoint="shop").begun(
        "new", Split(traffic={"old": 100}), POLICY.steps, owner="d/r/g", instance="a", now=NOW
    )
    since = "" if age_s is None or step < 0 else ago(age_s)
    return evolve(begun, **{"step": step, "phase": phase, "since": since, **more})


def seen(rollout: Rollout, **more: Any) -> Look:
    states = {"old": "Succeeded", "new": "Succeeded"}
    return evolve(Look(split=rollout.split, deployments=states, new=GOOD, champion=GOOD), **more)


def since(seconds: float) -> Progress:
    """Make what a watcher knows that has seen nothing for so long."""
    return Progress.new(NOW_S - seconds)

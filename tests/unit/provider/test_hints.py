"""Hints that something has happened to a job: they hasten looks, are never lost, and a storm of them costs little."""

from __future__ import annotations

import heapq
import itertools
import math

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core.pacing import Budget
from airflow_azureml.core.polling import HINT_GAP_S, PollPlan, ReadJob, ReadPage, Rest

JOB, OTHER = "job", "other"
LONG_S = 300.0


@define
class Service:
    """A service that answers after a while, and a watcher of each job who asks again at once.

    Attributes:
        looks: When each look at a job was begun and when it was answered, by job.
    """

    plan: PollPlan
    every_s: float
    latency_s: float
    now: float = 0.0
    looks: dict[str, list[tuple[float, float]]] = field(factory=dict)
    _answers: list[tuple[float, int, float, ReadJob | ReadPage]] = field(factory=list)
    _number: int = 0

    def watch(self, *names: str) -> None:
        for name in names:
            self.looks[name] = []
            self._ask(name, self.every_s)

    def _ask(self, name: str, after_s: float) -> None:
        self.plan.ask(name, now=self.now, due_at=self.now + after_s, interval_s=after_s, submitted_at=0.0)

    def run(self, until: float) -> None:
        while True:
            step = self.plan.next(self.now)
            if not isinstance(step, Rest):
                self._number += 1
                heapq.heappush(self._answers, (self.now + self.latency_s, self._number, self.now, step))
                continue
            wake_at = min(step.until, self._answers[0][0] if self._answers else math.inf)
            if wake_at > until:
                self.now = until
                return
            self.now = max(self.now, wake_at)
            while self._answers and self._answers[0][0] <= self.now:
                _, _, begun, answered = heapq.heappop(self._answers)
                self._answer(answered, begun)

    def _answer(self, step: ReadJob | ReadPage, begun: float) -> None:
        if isinstance(step, ReadJob):
            self.plan.job_read(step.name)
            seen = [step.name]
        else:
            seen = self.plan.page_read(self.now, list(self.looks), link="")
        for name in seen:
            self.looks[name].append((begun, self.now))
            self._ask(name, self.every_s)


def service(*names: str, every_s: float = LONG_S, latency_s: float = 0.2) -> Service:
    made = Service(PollPlan(Budget(rate=10.0, burst=20)), every_s=every_s, latency_s=latency_s)
    made.watch(*names)
    return made


def test_a_hint_brings_the_next_look_at_once() -> None:
    world = service(JOB)
    world.run(40.0)
    world.plan.hint(JOB, now=world.now)
    world.run(41.0)

    assert world.looks[JOB] == [(40.0, 40.2)]


def test_after_the_hinted_look_the_job_is_looked_at_as_often_as_before() -> None:
    world = service(JOB)
    world.run(40.0)
    world.plan.hint(JOB, now=world.now)
    world.run(40.0 + 2 * LONG_S)

    assert [begun for begun, _ in world.looks[JOB]] == [40.0, 40.2 + LONG_S]


def test_hints_for_jobs_that_one_page_shows_are_spent_with_it() -> None:
    names = [f"job-{number}" for number in range(5)]
    world = service(*names)
    world.run(40.0)
    for name in names:
        world.plan.hint(name, now=world.now)
    world.run(80.0)

    assert list(world.looks.values()) == [[(40.0, 40.2)]] * 5
    assert world._number == 1


def test_a_hint_for_a_job_that_nobody_waits_for_costs_nothing() -> None:
    world = service(JOB)
    due_at = world.plan.hint("unknown", now=0.0)
    world.run(LONG_S - 1)

    assert (due_at, len(world.plan), world.looks[JOB]) == (math.inf, 1, [])


moments = st.lists(st.floats(0, 60), min_size=1, max_size=80).map(sorted)


@settings(max_examples=200, deadline=None)
@given(moments, st.sampled_from([0.0, 0.3, 3.0, 8.0]), st.floats(5.0, 90.0))
def test_after_every_hint_the_job_is_looked_at_within_the_gap(
    at: list[float], latency_s: float, every_s: float
) -> None:
    world = service(JOB, OTHER, every_s=every_s, latency_s=latency_s)
    for moment in at:
        world.run(moment)
        world.plan.hint(JOB, now=moment)
    world.run(at[-1] + 60)

    begun = [first for first, _ in world.looks[JOB]]
    late = [min((each for each in begun if each >= moment), default=math.inf) - moment for moment in at]
    assert max(late) <= max(HINT_GAP_S, latency_s) + latency_s + 1.0


@settings(max_examples=200, deadline=None)
@given(moments, st.sampled_from([0.0, 0.3, 3.0]))
def test_a_storm_of_hints_costs_no_more_than_one_look_in_each_gap(at: list[float], latency_s: float) -> None:
    world = service(JOB, latency_s=latency_s)
    for moment in at:
        world.run(moment)
        world.plan.hint(JOB, now=moment)
    world.run(at[-1] + 60)

    begun = [first for first, _ in world.looks[JOB]]
    assert all(later - earlier >= HINT_GAP_S - 1e-6 for earlier, later in itertools.pairwise(begun))
    assert len(begun) <= len(at)


def test_ten_thousand_hints_for_as_many_jobs_stay_within_the_budget() -> None:
    names = [f"job-{number}" for number in range(10_000)]
    world = Service(PollPlan(Budget(rate=10.0, burst=20)), every_s=LONG_S, latency_s=0.0)
    world.watch(*names)
    for name in names:
        world.plan.hint(name, now=0.0)
    world.run(10.0)

    assert world._number <= 20 + 10 * 10 + 1

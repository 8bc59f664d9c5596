"""A rollout whose watchers die: what has to outlive them is written, so a step ends when it would have ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import asdict, define, evolve, field
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_azureml.core.rollout import Act, Deed, Policy, Progress, decide
from airflow_azureml.core.rollout_policy import CLOCKS_S
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.wire.rollout import look
from tests.unit.provider.rollout_world import ENDPOINT, EPOCH, World, finish

POLICY = Policy(
    steps=("mirror:10", 50, 100),
    looks=2,
    least_requests=100,
    least_time=timedelta(minutes=7),
    soak=timedelta(minutes=10),
)
LEAST_S = [420, 420, 600]
WHOLE_S = sum(LEAST_S) + 60


@define
class Watch:
    """Watchers of a rollout, one after the other, and the workers that do what they say.

    Attributes:
        downs: From when to when there is no watcher. Seconds since the beginning.
        clocks: By how much the clock of each watcher is ahead; after the last comes the first again. Seconds.
        steps: Since when each step was in force, and when it ended, by the store's clock. Seconds since the beginning.
        died: How many watchers have.
    """

    downs: list[tuple[float, float]]
    clocks: list[int] = field(factory=lambda: [0])
    world: World = field(factory=World)
    steps: list[tuple[float, float]] = field(factory=list)
    died: int = 0

    def roll(self) -> Phase:
        """Roll out."""
        self.world.azure.deployments["new"] = "Succeeded"
        finish(self.world, self.world.begin("d/r/g", "new", policy=POLICY))
        ended: Rollout = finish(self.world, self._roll())
        return ended.phase

    async def _roll(self) -> Rollout:
        helm = self.world.helm
        found, progress = await helm.written.read(ENDPOINT), Progress.new(self.world.now.timestamp())
        while not found.phase.is_final:
            act, deferred_at = None, self.world.now.timestamp()
            while act is None:
                act = await self._watch(found.to_text(), asdict(progress), deferred_at=deferred_at)
            latest = await helm.do(found, act, policy=POLICY)
            if found.since_s is not None and (latest.step, latest.phase) != (found.step, found.phase):
                self.steps += [(found.since_s - EPOCH.timestamp(), self.now)] if found.phase is Phase.ROLLING else []
            now = self.world.now.timestamp()
            progress = act.progress.rested(now, POLICY) if latest.count == found.count else Progress.new(now)
            found = latest
        return found

    async def _watch(self, written: str, handed_on: dict[str, Any], *, deferred_at: float) -> Act | None:
        """Look as the trigger does, with what a worker has handed on, until there is something to do or it dies."""
        helm, ahead_s = self.world.helm, self.clocks[self.died % len(self.clocks)]
        rollout = Rollout.from_text(written)
        progress = Progress(**handed_on).taken_up(self.world.now.timestamp() + ahead_s, handed_on_at=deferred_at)
        while True:
            now = self.world.now.timestamp() + ahead_s
            seen = await helm.client.run(look(helm.workspace, rollout, until=self.world.now.timestamp()))
            decision = decide(rollout, progress, seen, policy=POLICY, now=now)
            if isinstance(decision, Act):
                return decision
            progress, next_at = decision.progress, self.now + decision.after_s
            back_at = next((end for begin, end in self.downs if self.now < begin <= next_at), None)
            await helm.pause((next_at if back_at is None else back_at) - self.now)
            if back_at is not None:
                self.died += 1
                return None

    @property
    def now(self) -> float:
        return (self.world.now - EPOCH).total_seconds()


def downs_of(lives: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """Make of how long each watcher lives, and how long it takes until there is another, when there is none."""
    found, at = [], 0.0
    for lived, gap in lives:
        found.append((at + lived, at + lived + gap))
        at += lived + gap
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 90)), max_size=40))
@example([(60, 0)] * 30)
@example([(59, 1)] * 30)
@example([(419, 1), (1, 90)])
def test_a_step_ends_when_it_would_have_ended_whenever_its_watcher_dies(lives: list[tuple[int, int]]) -> None:
    downs = downs_of(lives)
    watch = Watch(downs)

    assert watch.roll() is Phase.RELEASED

    assert len(watch.steps) == len(LEAST_S)
    before = 0.0
    for (since, ended), least_s in zip(watch.steps, LEAST_S, strict=True):
        assert since >= before
        before, due = ended, since + least_s
        assert ended == next((end for begin, end in downs if begin <= due < end), due)


def test_a_rollout_takes_no_longer_though_a_watcher_dies_each_minute() -> None:
    undisturbed, disturbed = Watch([]), Watch(downs_of([(60, 0)] * 60))

    undisturbed.roll()
    disturbed.roll()

    assert disturbed.died >= WHOLE_S // 60 - 3
    assert disturbed.steps == undisturbed.steps


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 400), st.just(0)), max_size=20),
    st.lists(st.integers(-120, 120), min_size=1, max_size=5),
)
@example([], [120])
def test_no_step_ends_early_by_the_stores_clock_though_the_watchers_clocks_are_ahead(
    lives: list[tuple[int, int]], clocks: list[int]
) -> None:
    watch = Watch(downs_of(lives), clocks)

    assert watch.roll() is Phase.RELEASED

    assert all(
        ended - since >= least_s - CLOCKS_S for (since, ended), least_s in zip(watch.steps, LEAST_S, strict=True)
    )


def test_a_step_that_a_watcher_calls_complete_too_early_has_not_passed_for_those_who_approve_the_next() -> None:
    world = World()
    world.azure.deployments["new"] = "Succeeded"
    finish(world, world.begin("d/r/g", "new", policy=POLICY))
    first = Act(deed=Deed.ADVANCE, progress=Progress.new(0))
    finish(world, world.helm.do(world.written, first, policy=POLICY))
    if world.written.since_s is None:
        finish(world, world.helm.do(world.written, evolve(first, deed=Deed.IN_FORCE), policy=POLICY))

    world.now += timedelta(seconds=LEAST_S[0] - CLOCKS_S - 1)
    early = finish(world, world.helm.passed(world.written, policy=POLICY))
    world.now += timedelta(seconds=1)
    due = finish(world, world.helm.passed(world.written, policy=POLICY))

    assert (early.step, early.has_passed, due.has_passed) == (0, False, True)

"""A rollout whose tasks may be killed at any moment, or go on late: what serves is always whole, and ends well."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from airflow_azureml.core.rollout_record import Phase
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.errors import (
    ConfigError,
    RefusedError,
    RollbackFailedError,
    RolloutBusyError,
)
from tests.unit.provider.rollout_world import ENDPOINT, Task, World, begun, finish


class Rolling(RuleBasedStateMachine):
    """Runs that roll out one deployment after the other, with retries, teardowns, guards, and tasks that come late."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.runs = 0
        self.all: list[Task] = []

    @initialize(traffic=st.sampled_from([{"old": 100}, {"a": 34, "b": 33, "c": 33}]), rounds=st.integers(0, 150))
    def one_is_under_way(self, traffic: dict[str, int], rounds: int) -> None:
        self.world.azure.traffic = dict(traffic)
        self.world.azure.deployments = dict.fromkeys(traffic, "Succeeded")
        self.begin(is_bad=False, is_whole=True)
        self._go_on(self._task(self.world.roll(self._last)), rounds)

    @rule(is_bad=st.booleans(), is_whole=st.booleans())
    def begin(self, *, is_bad: bool, is_whole: bool) -> None:
        self.runs += 1
        name = f"{'bad' if is_bad else 'new'}-{self.runs}"
        self.world.lives.add(self._last)
        self.world.azure.deployments[name] = "Succeeded"
        if is_bad:
            self.world.azure.bad.add(name)
        self._go_on(self._task(self.world.begin(self._last, name)), 200 if is_whole else 1)

    @rule(rounds=st.integers(0, 150), is_retry=st.booleans())
    def roll(self, rounds: int, *, is_retry: bool) -> None:
        run = self.world.written.owner if is_retry else self._last
        self._go_on(self._task(self.world.roll(run)), rounds)

    @rule(rounds=st.integers(0, 12))
    def restore(self, rounds: int) -> None:
        self._go_on(self._task(self.world.restore(self.world.written.owner)), rounds)

    @rule(rounds=st.integers(0, 12))
    def guard(self, rounds: int) -> None:
        self._go_on(self._task(self.world.guard()), rounds)

    @rule(which=st.integers(0, 99), moments=st.integers(1, 12))
    def go(self, which: int, moments: int) -> None:
        for task in self._living(which):
            task.go(moments)

    @rule(which=st.integers(0, 99), rounds=st.integers(1, 40))
    def go_with_azure(self, which: int, rounds: int) -> None:
        for task in self._living(which):
            self._go_on(task, rounds)

    @rule(which=st.integers(0, 99))
    def kill(self, which: int) -> None:
        for task in self._living(which):
            task.kill()

    @rule()
    def the_run_is_over(self) -> None:
        self.world.lives.discard(self.world.written.owner)

    @rule()
    def azure_gets_done(self) -> None:
        self.world.azure.settle()

    @invariant()
    def what_serves_is_whole(self) -> None:
        azure = self.world.azure
        assert sum(azure.traffic.values()) == 100
        assert all(azure.deployments.get(name) == "Succeeded" for name in azure.traffic)

    @invariant()
    def a_bad_deployment_never_takes_a_live_request(self) -> None:
        assert not [name for split in self.world.azure.seen for name in split.traffic if name.startswith("bad")]

    def teardown(self) -> None:
        """Let those that are late go on, and the guard look: then it is all old, or all new, as is written."""
        try:
            self._come_to_an_end()
        finally:
            for task in self.all:
                task.kill()

    def _come_to_an_end(self) -> None:
        self.world.lives.clear()
        finish(self.world, self.world.guard())
        for late in [task for task in self.all if not task.is_over]:
            late.go(7)
            self.world.azure.settle()
        for late in self.all[::2]:
            late.kill()
        for late in self.all:
            self._go_on(late, 2000)
        finish(self.world, self.world.guard())
        self.world.azure.settle()

        last, now = self.world.written, Split(traffic=self.world.azure.traffic, mirror=self.world.azure.mirror)
        assert all(task.is_over for task in self.all)
        assert last.phase.is_final
        assert now == last.split or last.phase is Phase.LEFT
        assert len(now.traffic) == 1 or not any(name.startswith("new") for name in now.traffic)
        assert not now.mirror

    def _task(self, work: object) -> Task:
        made = Task(work)  # type: ignore[arg-type]  # a coroutine
        self.all.append(made)
        return made

    def _living(self, which: int) -> list[Task]:
        living = [task for task in self.all if not task.is_over]
        return [living[which % len(living)]] if living else []

    def _go_on(self, task: Task, rounds: int) -> None:
        for _ in range(rounds):
            task.go(4)
            self.world.azure.settle()

    @property
    def _last(self) -> str:
        return f"d/{self.runs}/g"


TestRolling = Rolling.TestCase
TestRolling.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)


def test_a_good_deployment_gets_its_traffic_step_by_step_and_replaces_the_old_one() -> None:
    world = World()

    ended = finish(world, world.roll(begun(world)))

    assert ended.phase is Phase.RELEASED
    assert world.azure.seen == [
        Split(traffic={"old": 100}, mirror={"new": 10}),
        Split(traffic={"old": 90, "new": 10}),
        Split(traffic={"old": 50, "new": 50}),
        Split(traffic={"new": 100}),
    ]
    assert world.azure.deployments == {"new": "Succeeded"}


def test_a_bad_deployment_loses_its_traffic_and_stays_to_be_looked_at() -> None:
    world = World()
    world.azure.bad.add("new")

    ended = finish(world, world.roll(begun(world)))

    assert ended.phase is Phase.REVERTED
    assert ended.why == ("60 of 120 requests failed, and 1.00% may.",)
    assert (world.azure.traffic, world.azure.mirror) == ({"old": 100}, {})
    assert set(world.azure.deployments) == {"old", "new"}


def test_traffic_that_somebody_has_changed_by_hand_stays_as_they_left_it() -> None:
    world = World()
    task = Task(world.roll(begun(world)))
    while "new" not in world.azure.traffic:
        world.azure.settle()
        task.go()
    world.azure.traffic = {"old": 70, "new": 30}
    while not task.go():
        world.azure.settle()

    assert task.result.phase is Phase.LEFT
    assert world.azure.traffic == {"old": 70, "new": 30}
    assert "70 % to old" in task.result.why[0]


def test_a_rollback_that_fails_says_what_serves_now_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    task = Task(world.roll(begun(world)))
    while "old" in world.azure.traffic:
        world.azure.settle()
        task.go()
    del world.azure.deployments["old"]
    world.azure.bad.add("new")
    while not task.go():
        world.azure.settle()
    world.lives.clear()

    assert isinstance(task.error, RollbackFailedError)
    told = str(task.error)
    assert "Traffic could not be given back to 100 % to old" in told
    assert "there is no deployment old" in told
    assert "Online endpoint shop is Succeeded, with 100 % to new now." in told
    assert "set the traffic of endpoint shop by hand, which ends the rollout" in told
    with pytest.raises(RollbackFailedError, match="could not be given back"):
        finish(world, world.guard())
    assert "Traffic could not be given back" in caplog.text


def test_whoever_may_not_read_metrics_changes_nothing() -> None:
    world = World()
    world.azure.shows_metrics = False

    with pytest.raises(RefusedError, match="Read the live metrics of online endpoint shop: 403 AuthorizationFailed"):
        begun(world)

    assert not world.store.texts


def test_two_rollouts_of_one_endpoint_never_run_at_once() -> None:
    world = World()
    begun(world)
    world.azure.deployments["other"] = "Succeeded"

    with pytest.raises(RolloutBusyError, match="new is being rolled out on endpoint shop by d/r/g"):
        finish(world, world.begin("d/other/g", "other"))


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60))
def test_of_two_runs_that_begin_at_once_exactly_one_goes_on(turns: list[int]) -> None:
    world = World(lives={"d/0/g", "d/1/g"})
    world.azure.deployments |= {"new-0": "Succeeded", "new-1": "Succeeded"}
    tasks = [Task(world.begin(f"d/{run}/g", f"new-{run}")) for run in (0, 1)]

    for turn in turns:
        tasks[turn].go()
    for task in tasks:
        task.go(1000)

    (loser,) = [number for number, task in enumerate(tasks) if task.error is not None]
    assert isinstance(tasks[loser].error, RolloutBusyError)
    assert f"by d/{1 - loser}/g" in str(tasks[loser].error)
    assert (world.written.owner, world.written.deployment) == (f"d/{1 - loser}/g", f"new-{1 - loser}")
    assert finish(world, world.roll(world.written.owner)).phase is Phase.RELEASED
    assert all(split.total == 100 for split in world.azure.seen)


def test_a_rollout_whose_run_has_died_is_ended_by_the_next() -> None:
    world = World()
    task = Task(world.roll(begun(world)))
    while "new" not in world.azure.traffic:
        world.azure.settle()
        task.go()
    task.kill()
    world.lives.clear()
    world.azure.deployments["other"] = "Succeeded"

    finish(world, world.begin("d/other/g", "other"))

    assert world.azure.traffic == {"old": 100}
    assert (world.written.owner, world.written.deployment, world.written.step) == ("d/other/g", "other", -1)


@pytest.fixture
def written_late() -> World:
    """A world in which a task has set traffic after its rollout had been given back, and died of it."""
    world = World()
    task = Task(world.roll(begun(world)))
    while world.written.step < 1:
        world.azure.settle()
        task.go()
    world.lives.clear()
    finish(world, world.guard())
    assert (world.written.phase, world.azure.traffic) == (Phase.REVERTED, {"old": 100})
    while world.azure.changing is None:
        task.go()
    world.azure.settle()
    task.kill()
    assert world.azure.traffic == {"old": 90, "new": 10}
    return world


def test_what_a_dead_task_has_set_late_is_set_right_by_the_guard(written_late: World) -> None:
    mended = finish(written_late, written_late.guard())

    assert [each.phase for each in mended] == [Phase.REVERTED]
    assert written_late.azure.traffic == {"old": 100}


def test_what_cannot_be_read_keeps_the_guard_from_no_other_endpoint(written_late: World) -> None:
    written_late.store.texts["rollouts/a"] = (1, "{}")

    with pytest.raises(RollbackFailedError, match="What is written of a rollout cannot be read"):
        finish(written_late, written_late.guard())

    assert written_late.azure.traffic == {"old": 100}


def test_what_serves_long_after_a_rollout_is_somebodys_will(written_late: World) -> None:
    written_late.now += timedelta(minutes=11)

    assert finish(written_late, written_late.guard()) == []
    assert written_late.azure.traffic == {"old": 90, "new": 10}


def test_what_a_dead_task_has_set_late_is_no_will_of_anybody_for_the_next_rollout(written_late: World) -> None:
    late = dict(written_late.azure.traffic)
    written_late.azure.traffic = {"old": 100}
    written_late.azure.deployments["other"] = "Succeeded"
    written_late.lives.add("d/2/g")
    finish(written_late, written_late.begin("d/2/g", "other"))
    written_late.azure.traffic = late

    ended = finish(written_late, written_late.roll("d/2/g"))

    assert ended.phase is Phase.RELEASED
    assert written_late.azure.traffic == {"other": 100}


def test_the_first_deployment_of_an_endpoint_takes_all_at_once() -> None:
    world = World()
    world.azure.traffic, world.azure.deployments = {}, {}

    ended = finish(world, world.roll(begun(world)))

    assert ended.phase is Phase.RELEASED
    assert world.azure.seen == [Split(traffic={"new": 100})]


@pytest.mark.parametrize(
    ("deployments", "traffic", "fault"),
    [
        ({"old": "Succeeded"}, {"old": 100}, "there is no deployment new"),
        ({"old": "Succeeded", "new": "Failed"}, {"old": 100}, "deployment new is Failed"),
        ({"old": "Succeeded", "new": "Succeeded"}, {"old": 90, "new": 10}, "takes 10 % already"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused_before_anything_changes(
    deployments: dict[str, str], traffic: dict[str, int], fault: str
) -> None:
    world = World()
    world.azure.deployments, world.azure.traffic = deployments, traffic

    with pytest.raises(ConfigError, match=f"{fault}.*Nothing was changed"):
        finish(world, world.begin("d/r/g", "new"))

    assert not world.store.texts
    assert world.azure.seen == []


def test_a_deployment_that_takes_all_traffic_already_is_released() -> None:
    world = World()
    world.azure.traffic = {"new": 100}

    begun(world)

    assert world.written.phase is Phase.RELEASED
    assert world.written.endpoint == ENDPOINT

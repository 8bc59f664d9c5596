"""What goes wrong in a release has a name, and the old model serves all the while; real processes answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from attrs import evolve

from airflow_azureml.client.rollout_guard import Guard
from airflow_azureml.client.rollout_start import begin
from airflow_azureml.client.rollouts import helm
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.core.rollout import Act, Deed, Progress
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.errors import (
    ConfigError,
    DeploymentTimeoutError,
    NoCapacityError,
    RollbackFailedError,
    RolledBackError,
    RolloutBusyError,
    UnavailableError,
)
from airflow_azureml.operators.rollout import AzureMLRolloutOperator
from airflow_azureml.operators.rollout_work import failure
from airflow_azureml.triggers.rollout import RolloutTrigger
from tests.contract.conftest import Emulator
from tests.contract.rolling_out import OWNER, POLICY, Story, serving, shop
from tests.contract.test_online_operators import World

#: The SDK uses what its own dependencies will not have much longer.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

OLD, HALF = Split(traffic={"old": 100}), Split(traffic={"old": 50, "new": 50})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, azurite: tuple[int, int]) -> Iterator[Emulator]:
    with serving(tmp_path_factory.mktemp("faults"), azurite) as made:
        yield made


@pytest.fixture
def world(served: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An endpoint whose deployment `old` takes all requests."""
    with shop(served, tmp_path, monkeypatch) as made:
        yield made


def serves_old(world: World) -> bool:
    """Ask some times."""
    answers = [world.ask(data=[1]) for _ in range(5)]
    return {(each.status_code, each.headers["azureml-model-deployment"]) for each in answers} == {(200, "old")}


async def test_an_endpoint_that_fails_in_the_middle_gets_its_traffic_back_and_no_caller_notices(world: World) -> None:
    world.deploy("new")
    with emulator_in_reach(world.settings):
        async with helm(world.settings) as opened:
            story = Story(world, opened)
            await begin(opened, story.plan())
            await story.roll(step=1)
            world.fail({"endpoint": world.endpoint, "fails": "InternalServerError", "count": 1})
            ended = await story.roll()

    error = failure(ended)
    assert isinstance(error, RolledBackError)
    assert f"Endpoint {world.endpoint} is Failed." in str(error)
    assert "serves as before: 100 % to old" in str(error)
    assert {split.total for split in story.splits} == {100}
    assert {status for status, _ in story.answers} == {200}
    assert serves_old(world)


async def test_nothing_is_rolled_out_on_an_endpoint_that_has_failed(world: World) -> None:
    world.deploy("new")
    world.fail({"endpoint": world.endpoint, "fails": "InternalServerError", "count": 1})
    with pytest.raises(AirflowFailException, match="InternalServerError"):
        world.ensure(tags={"a": "b"})

    with emulator_in_reach(world.settings):
        async with helm(world.settings) as opened:
            with pytest.raises(ConfigError, match=r"the endpoint is Failed, with 100 % to old; mend it first.*Nothing"):
                await begin(opened, Story(world, opened).plan())
            written = await opened.written.read(world.endpoint)

    assert written.owner == ""
    assert serves_old(world)


async def test_a_deployment_that_never_becomes_ready_is_not_rolled_out_and_the_old_one_serves_on(world: World) -> None:
    world.fail({"deployment": "new", "never_ready": True})

    with pytest.raises(DeploymentTimeoutError, match=r"the limit is 2 s\..* with 100 % to old now"):
        world.deploy("new", timeout=timedelta(seconds=2))
    with emulator_in_reach(world.settings):
        async with helm(world.settings) as opened:
            with pytest.raises(ConfigError, match=r"deployment new is (Creating|Updating)\. Nothing was changed"):
                await begin(opened, Story(world, opened).plan())

    assert serves_old(world)


async def test_a_quota_that_is_gone_when_the_new_deployment_grows_in_the_middle_gives_the_traffic_back(
    world: World,
) -> None:
    world.deploy("new")
    with emulator_in_reach(world.settings):
        async with helm(world.settings) as opened:
            story = Story(world, opened)
            await begin(opened, story.plan())
            await story.roll(step=1)
            world.fail({"deployment": "new", "fails": "OutOfQuota", "count": 1})
            with pytest.raises(NoCapacityError, match=r"Not enough quota.* with 50 % to new, 50 % to old now"):
                world.deploy("new", instances=2)
            ended = await story.roll()

    assert "Deployment new is Failed." in str(failure(ended))
    assert {split.total for split in story.splits} == {100}
    assert {status for status, _ in story.answers} == {200}
    assert serves_old(world)


async def test_a_rollback_that_fails_says_what_serves_now_and_the_guard_goes_on_when_it_is_mended(world: World) -> None:
    world.deploy("new")
    with emulator_in_reach(world.settings):
        async with helm(world.settings) as opened:
            story = Story(world, opened)
            await begin(opened, story.plan())
            half = await story.roll(step=1)
            world.fail({"endpoint": world.endpoint, "fails": "InternalServerError"})
            back = Act(deed=Deed.BACK, progress=Progress.new(story.now), why=("p95 is 900 ms, and may be 500 ms.",))
            reverting = await opened.do(half, back, policy=POLICY)
            with pytest.raises(RollbackFailedError) as refused:
                await opened.end(reverting, policy=POLICY, at_most_s=1)
            story.minute_passes()
            guard = Guard(helm=opened, instance="a", lives=lambda _: False, at_most_s=1)
            with pytest.raises(RollbackFailedError, match="could not be given back to 100 % to old"):
                await guard.look_after()
            world.http.delete("/control/online").raise_for_status()
            quick = evolve(opened, pause=lambda _: asyncio.sleep(0.1))
            (mended,) = await evolve(guard, helm=quick, at_most_s=60).look_after()

    told = str(refused.value)
    assert "Traffic could not be given back to 100 % to old" in told
    assert f"Online endpoint {world.endpoint} is Failed, with 50 % to new, 50 % to old now." in told
    assert "Mend what Azure complains of; this task's retry, or the guard, then goes on." in told
    assert {status for status, _ in story.answers} == {200}, "both serve, though neither may be told"
    assert (mended.phase, mended.why) == (Phase.REVERTED, ("p95 is 900 ms, and may be 500 ms.",))
    assert serves_old(world)


async def test_of_two_runs_that_roll_out_at_once_one_goes_on_and_the_other_is_told_who_does(world: World) -> None:
    world.deploy("new")
    world.deploy("newer")
    with emulator_in_reach(world.settings):
        async with helm(world.settings) as one, helm(world.settings) as other:
            stories = {OWNER: Story(world, one), "d/2/g": Story(world, other)}
            plans = {
                OWNER: stories[OWNER].plan(lives=lambda _: True),
                "d/2/g": stories["d/2/g"].plan("d/2/g", deployment="newer", lives=lambda _: True),
            }
            begun = await asyncio.gather(
                *(begin(stories[run].helm, plan) for run, plan in plans.items()), return_exceptions=True
            )
            (winner,) = [each.owner for each in begun if not isinstance(each, BaseException)]
            story = stories[winner]
            half = await story.roll(step=1)
            with pytest.raises(RolloutBusyError):
                await begin(other if winner == OWNER else one, plans["d/2/g" if winner == OWNER else OWNER])
            ended = await story.roll()

    (busy,) = [each for each in begun if isinstance(each, BaseException)]
    assert isinstance(busy, RolloutBusyError)
    assert f"is being rolled out on endpoint {world.endpoint} by {winner}" in str(busy)
    assert "Nothing was changed" in str(busy)
    assert half.split.total == 100
    assert ended.phase is Phase.RELEASED
    assert {split.total for split in story.splits} == {100}
    assert {status for status, _ in story.answers} == {200}


def test_where_nothing_can_be_seen_nor_written_the_rollout_is_waited_for_and_no_try_is_lost(world: World) -> None:
    seen_at = time.time() - 90
    rollout = Rollout(endpoint=world.endpoint).begun(
        "new", OLD, POLICY.steps, owner=OWNER, instance="a", now=datetime.now(UTC)
    )
    act = Act(deed=Deed.LOST, progress=Progress.new(seen_at), why=("The endpoint cannot be seen.",))
    event = {"count": rollout.count, "step": -1, "rollout": rollout.to_text(), "act": act.to_wire()}
    task = AzureMLRolloutOperator(task_id="roll", endpoint=world.endpoint, group="g", policy=POLICY)
    world.http.put("/control/faults", json=[{"path": ".*/datastores.*", "status": 503}]).raise_for_status()

    try:
        with pytest.raises(TaskDeferred) as deferred:
            task.look_again(cast("Context", {}), event)
        with pytest.raises(UnavailableError):
            task.look_again(cast("Context", {}), {**event, "act": evolve(act, deed=Deed.BACK).to_wire()})
    finally:
        world.http.delete("/control/faults").raise_for_status()

    trigger = deferred.value.trigger
    assert isinstance(trigger, RolloutTrigger)
    assert trigger.rollout == rollout.to_text()
    assert trigger.progress["sure_at"] == seen_at, "patience goes on"

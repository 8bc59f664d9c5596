"""What was rolled back is not rolled out again by itself, and what only its run ended is."""

from __future__ import annotations

import pytest

from airflow_azureml.core.rollout_record import Phase
from airflow_azureml.errors import RolledBackBeforeError
from tests.unit.provider.rollout_world import Task, World, begun, finish


def rolled_back(world: World) -> World:
    """Let a rollout go wrong."""
    world.azure.bad.add("new")
    world.azure.models["new"] = "/subscriptions/s/models/m/versions/7"
    finish(world, world.roll(begun(world)))
    return world


def test_what_was_rolled_back_is_not_rolled_out_again_by_itself() -> None:
    world = rolled_back(World())
    served = list(world.azure.seen)

    with pytest.raises(RolledBackBeforeError) as refused:
        finish(world, world.begin("d/2/g", "new"))

    told = str(refused.value)
    assert "It was rolled back on endpoint shop at 2026-11-21T12:" in told
    assert "by d/r/g: 60 of 120 requests failed, and 1.00% may." in told
    assert "To roll it out all the same, give rollout(..., again=True)" in told
    assert world.azure.seen == served
    assert world.written.owner == "d/r/g"


def test_what_was_rolled_back_is_remembered_while_others_are_rolled_out() -> None:
    world = rolled_back(World())
    world.azure.deployments["other"] = "Succeeded"
    finish(world, world.begin("d/2/g", "other"))
    finish(world, world.roll("d/2/g"))

    with pytest.raises(RolledBackBeforeError, match="It was rolled back on endpoint shop"):
        finish(world, world.begin("d/3/g", "new"))

    assert world.azure.traffic == {"other": 100}


def test_what_was_rolled_back_is_rolled_out_again_where_somebody_says_so_and_is_forgotten() -> None:
    world = rolled_back(World())
    world.azure.bad.clear()

    finish(world, world.begin("d/2/g", "new", again=True))
    ended = finish(world, world.roll("d/2/g"))

    assert ended.phase is Phase.RELEASED
    assert ended.rolled_back == ()


def test_another_version_under_the_same_name_is_not_what_was_rolled_back() -> None:
    world = rolled_back(World())
    world.azure.models["new"] = "/subscriptions/s/models/m/versions/8"

    finish(world, world.begin("d/2/g", "new"))

    assert (world.written.owner, world.written.step) == ("d/2/g", -1)


def test_a_deployment_whose_run_has_died_did_nothing_wrong() -> None:
    world = World()
    task = Task(world.roll(begun(world)))
    while "new" not in world.azure.traffic:
        world.azure.settle()
        task.go()
    task.kill()
    world.lives.clear()
    finish(world, world.guard())
    assert world.written.phase is Phase.REVERTED

    finish(world, world.begin("d/2/g", "new"))

    assert world.written.owner == "d/2/g"

"""Rolling out on the emulator: real processes answer, and a real store keeps what is written."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from airflow_azureml.cli.rollout import COMMAND
from airflow_azureml.client.rollout_guard import Guard
from airflow_azureml.client.rollout_predictions import compare_predictions
from airflow_azureml.client.rollout_start import begin
from airflow_azureml.client.rollouts import helm
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.core.data_tests import Distribution, Drift
from airflow_azureml.core.rollout import Predictions
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.errors import RolloutBusyError
from airflow_azureml.wire import online
from tests.contract.conftest import Emulator
from tests.contract.rolling_out import OWNER, POLICY, RAISES, Story, serving, shop
from tests.contract.test_online_operators import World

#: The SDK uses what its own dependencies will not have much longer.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, azurite: tuple[int, int]) -> Iterator[Emulator]:
    with serving(tmp_path_factory.mktemp("rollouts"), azurite) as made:
        yield made


@pytest.fixture
def world(served: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An endpoint whose deployment `old` takes all requests."""
    with shop(served, tmp_path, monkeypatch) as made:
        yield made


async def test_a_good_deployment_takes_over_and_no_caller_notices(world: World) -> None:
    world.deploy("new")
    with emulator_in_reach(world.settings):
        async with helm(world.settings) as opened:
            story = Story(world, opened)
            await begin(opened, story.plan())
            ended = await story.roll()
            left = await opened.client.run(online.list_deployments(opened.workspace, world.endpoint))

    assert ended.phase is Phase.RELEASED
    assert {split.total for split in story.splits} == {100}
    assert [split for number, split in enumerate(story.splits) if split not in story.splits[:number]] == [
        Split(traffic={"old": 100}),
        Split(traffic={"old": 100}, mirror={"new": 50}),
        Split(traffic={"old": 50, "new": 50}),
        Split(traffic={"new": 100}),
    ]
    assert [each.name for each in left] == ["new"]
    assert {status for status, _ in story.answers} == {200}
    assert story.answers[0] == (200, "old")
    assert story.answers[-1] == (200, "new")


async def test_a_deployment_that_raises_is_found_out_by_copies_and_no_caller_is_hurt(world: World) -> None:
    world.spec(RAISES)
    world.deploy("new")
    with emulator_in_reach(world.settings):
        async with helm(world.settings) as opened:
            story = Story(world, opened)
            await begin(opened, story.plan())
            ended = await story.roll()
            after = await opened.client.run(online.read_endpoint(opened.workspace, world.endpoint))

    assert ended.phase is Phase.REVERTED
    assert "requests failed, and 0.00% may." in ended.why[0]
    assert set(story.answers) == {(200, "old")}
    assert after is not None
    assert (after.traffic, after.mirror) == ({"old": 100}, {})


async def test_a_rollout_whose_run_has_died_in_the_middle_is_given_back_by_the_guard(world: World) -> None:
    world.deploy("new")
    with emulator_in_reach(world.settings):
        async with helm(world.settings) as opened:
            story = Story(world, opened)
            await begin(opened, story.plan())
            await story.roll(step=1)
            with pytest.raises(RolloutBusyError, match=f"by {OWNER}"):
                await begin(opened, story.plan("d/other/g"))
            living = await Guard(helm=opened, instance="a", lives=lambda _: True).look_after()
            dead = await Guard(helm=opened, instance="a", lives=lambda _: False).look_after()
            after = await opened.client.run(online.read_endpoint(opened.workspace, world.endpoint))

    assert story.splits[-1] == Split(traffic={"old": 50, "new": 50})
    assert living == []
    assert [(each.endpoint, each.phase) for each in dead] == [(world.endpoint, Phase.REVERTED)]
    assert after is not None
    assert after.traffic == {"old": 100}


def test_a_person_holds_a_rollout_lets_it_go_on_and_gives_its_traffic_back(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.deploy("new")

    def _run(verb: str, *words: str) -> str:
        command: Any = next(each for each in COMMAND.subcommands if each.name == verb)
        parser = argparse.ArgumentParser(prog=verb)
        for arg in command.args:
            arg.add_to_parser(parser)
        command.func(parser.parse_args([world.endpoint, *words]))
        return capsys.readouterr().out

    async def _to_the_half() -> None:
        async with helm(world.settings) as opened:
            story = Story(world, opened)
            await begin(opened, story.plan())
            await story.roll(step=1)

    capsys.readouterr()
    never = _run("show")
    with emulator_in_reach(world.settings):
        asyncio.run(_to_the_half())
    held = _run("hold", "--why", "lunch")
    again = _run("hold", "--why", "lunch")
    resumed = _run("resume")
    given = _run("back", "--why", "too slow for me")

    assert never == f"There was no rollout on endpoint {world.endpoint}.\n"
    assert "held        lunch" in held
    assert "step        step 50 of mirror:50, 50, 100" in held
    assert again == held
    assert "held" not in resumed
    assert "new, reverted" in given
    assert "too slow for me" in given
    assert "not again   new, since " in given
    with pytest.raises(SystemExit, match="No rollout is under way on endpoint"):
        _run("back")


async def test_predictions_that_are_not_distributed_as_the_champions_are_found_out(world: World) -> None:
    began = datetime.now(UTC)
    predictions = Predictions(
        tests=Distribution(columns={"score": Drift(psi=0.2)}, rows_at_least=50),
        folder=f"azureml://datastores/workspaceblobstore/paths/collected-{uuid.uuid4().hex[:8]}/",
    )
    rollout = Rollout(endpoint="shop").begun(
        "new", Split(traffic={"old": 100}), POLICY.steps, owner=OWNER, instance="a", now=began
    )
    at_half = evolve(rollout, step=1)
    with emulator_in_reach(world.settings):
        for name, shift in (("old", 0.0), ("new", 0.0), ("odd", 5.0)):
            _collect(world, predictions.folder_of("shop", name), began, [shift + each % 10 for each in range(100)])
        alike = compare_predictions(world.settings, predictions, at_half, now=began)
        odd = compare_predictions(world.settings, predictions, evolve(at_half, deployment="odd"), now=began)
        few = compare_predictions(world.settings, predictions, evolve(at_half, deployment="none"), now=began)
        copies = compare_predictions(world.settings, predictions, evolve(at_half, deployment="none", step=0), now=began)

    assert [(each.subject, each.passed) for each in alike.findings] == [("score", True)]
    assert [(each.subject, each.passed) for each in odd.findings] == [("score", False)]
    assert few.open == ("0 of 50 predictions of none so far",)
    assert not copies.open


def _collect(world: World, folder: str, at: datetime, scores: list[float]) -> None:
    """Write what the data collector does: a line for each request."""
    from airflow_azureml.client.scoring_logs import folder_of  # noqa: PLC0415  # the test's own tool

    lines = [
        json.dumps({"data": [{"score": score}], "correlationid": str(number)}) for number, score in enumerate(scores)
    ]
    file = world.folder / f"{time.monotonic_ns()}.jsonl"
    file.write_text("\n".join(lines) + os.linesep)
    with folder_of(world.settings, folder) as opened:
        opened.put(f"{opened.path}{at:%Y/%m/%d/%H}/log.jsonl", file)

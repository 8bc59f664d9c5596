"""Rolling out on the emulator: real processes answer, and a real store keeps what is written."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from azure.storage.blob import BlobServiceClient

from airflow_azureml.cli.rollout import COMMAND
from airflow_azureml.client.rollout_guard import Guard
from airflow_azureml.client.rollout_predictions import compare_predictions
from airflow_azureml.client.rollout_start import Plan, begin
from airflow_azureml.client.rollouts import Helm, helm
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.core.data_tests import Distribution, Drift
from airflow_azureml.core.rollout import Deed, LookAgain, Policy, Predictions, Progress, decide
from airflow_azureml.core.rollout_limits import Limits
from airflow_azureml.core.rollout_record import Phase, Rollout, Split
from airflow_azureml.errors import RolloutBusyError
from airflow_azureml.wire import online
from airflow_azureml.wire.rollout import look
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import ARM_ID, Emulator
from tests.contract.controlled import client_of, controlled_emulator
from tests.contract.test_online_operators import GROUP, NAME, SCORE, SUBSCRIPTION, World

#: The SDK uses what its own dependencies will not have much longer.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

POLICY = Policy(
    steps=("mirror:50", 50, 100),
    looks=1,
    least_requests=5,
    least_time=timedelta(0),
    soak=timedelta(0),
    limits=Limits(failures_at_most=0, p95_ms_at_most=2000, p95_times_champion=None),
)
RAISES = SCORE.replace("    asked = json", '    raise ValueError("always")\n    asked = json')
OWNER = "d/r/g"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, azurite: tuple[int, int]) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("rollouts"), azurite) as made:
        store = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
        with (
            client_of(made) as http,
            BlobServiceClient(f"{made.addresses.blob}/{DEV_ACCOUNT}", credential=store) as blobs,
        ):
            found = http.get(f"{ARM_ID}/datastores/workspaceblobstore?api-version=2024-10-01").raise_for_status().json()
            container = blobs.get_container_client(found["properties"]["containerName"])
            container.upload_blob("slope/slope.txt", "2.5", overwrite=True)
            uri = "azureml://datastores/workspaceblobstore/paths/slope/"
            body = {"properties": {"modelUri": uri, "modelType": "custom_model"}}
            http.put(f"{ARM_ID}/models/slope/versions/1?api-version=2024-10-01", json=body).raise_for_status()
        yield made


@pytest.fixture
def world(served: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An endpoint whose deployment `old` takes all requests."""
    extra = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    extra |= {"authentication": "emulator", "endpoint": served.addresses.http}
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", json.dumps({"conn_type": "azureml", "extra": extra}))
    with client_of(served) as http:
        made = World(served, http, tmp_path, f"shop-{uuid.uuid4().hex[:8]}")
        made.spec()
        made.ensure()
        made.deploy("old")
        made.move(old=100)
        yield made


@define
class Story:
    """A rollout as the tasks of a run go through it, with callers all the while.

    Attributes:
        answers: What callers got: the status, and which deployment answered.
        splits: Every split that was seen.
    """

    world: World
    helm: Helm
    answers: list[tuple[int, str]] = field(factory=list)
    splits: list[Split] = field(factory=list)

    def plan(self, owner: str = OWNER) -> Plan:
        return Plan(
            endpoint=self.world.endpoint,
            deployment="new",
            policy=POLICY,
            owner=owner,
            instance="a",
            lives=lambda run: run == OWNER,
        )

    async def roll(self, *, until: Phase | None = None, step: int = -1) -> Rollout:
        """Go on until it has ended, or is at a step and traffic follows."""
        found, progress = await self.helm.written.read(self.world.endpoint), Progress.new(self.now)
        while not found.phase.is_final and found.phase is not until:
            seen = await self.helm.client.run(look(self.helm.workspace, found, since=progress.since, until=self.now))
            self.splits.append(seen.split)
            if step >= 0 and found.step == step and seen.split == found.split:
                break
            decision = decide(found, progress, seen, policy=POLICY, now=self.now)
            progress = decision.progress
            if isinstance(decision, LookAgain):
                self._minute_passes()
                continue
            later = await self.helm.do(found, decision)
            if decision.deed is Deed.REMOVE:
                self._minute_passes()
            progress = progress if later.count == found.count else Progress.new(self.now)
            found = later
        return found

    @property
    def now(self) -> float:
        told = self.world.http.get("/control/clock").raise_for_status().json()["now"]
        return datetime.fromisoformat(told).timestamp()

    def _minute_passes(self) -> None:
        """Let callers ask within a minute of its own."""
        self._advance()
        for _ in range(20):
            answered = self.world.ask(data=[1])
            self.answers.append((answered.status_code, answered.headers.get("azureml-model-deployment", "")))
        self._advance()

    def _advance(self) -> None:
        self.world.http.post("/control/clock/advance", json={"seconds": 60}).raise_for_status()


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

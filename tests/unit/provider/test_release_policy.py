"""The policy of the DAG that users copy, `dags/release_on_registration.py`: it leads through all of its steps."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field

from airflow_azureml.core.data_tests import Distribution
from airflow_azureml.core.rollout import Act, Deed, LookAgain, Progress, decide
from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split, steps_before
from airflow_azureml.wire.http import Request
from airflow_azureml.wire.rollout import look
from tests.unit.provider.rollout_world import ENDPOINT, Azure, World, finish

FILE = Path(__file__).resolve().parents[3] / "dags/release_on_registration.py"
RUN = "release_on_registration/r/release.rollout"
MINUTES = 60.0


@pytest.fixture(scope="module")
def tasks() -> Mapping[str, Any]:
    """The tasks of the DAG's rollout, by their names."""
    dag = runpy.run_path(str(FILE))["champion"].dag
    below = "release.rollout."
    return {name.removeprefix(below): task for name, task in dag.task_dict.items() if name.startswith(below)}


@define
class Busy(Azure):
    """An endpoint that gets as many requests as an hour of a shop has in a minute."""

    def _metrics(self, request: Request) -> dict[str, Any]:
        told = super()._metrics(request)
        for metric in told["value"]:
            for series in metric["timeseries"] if metric["name"]["value"] == "RequestsPerMinute" else []:
                series["data"] = [{**each, "average": each["average"] * 10} for each in series["data"]]
        return told


@define
class Released(World):
    """A run of that DAG.

    Attributes:
        steps: When each step was taken, and what it made of the traffic.
    """

    azure: Azure = field(factory=Busy)
    steps: list[tuple[datetime, str]] = field(factory=list)

    async def roll_as(self, task: Any) -> Rollout:
        """Do what one of the tasks that roll does, from where the one before has stopped."""
        helm, policy = self.helm, task.policy

        def _allowed(found: Rollout, now: datetime) -> Rollout | None:
            upto = steps_before(found.steps, task.stop_before) - 1
            return evolve(found, upto=upto).written(now=now) if upto > found.upto else None

        found, progress = await helm.written.change(ENDPOINT, _allowed), Progress.new(self.now.timestamp())
        while not found.phase.is_final:
            now = self.now.timestamp()
            decision = decide(
                found, progress, await helm.client.run(look(helm.workspace, found, until=now)), policy=policy, now=now
            )
            progress = decision.progress
            if isinstance(decision, LookAgain):
                await self._pause(decision.after_s)
                continue
            if self._stops(found, decision):
                return await helm.passed(found, policy=policy)
            before, found = found, await helm.do(found, decision, policy=policy)
            if found.step != before.step:
                self.steps.append((self.now, str(found.steps[found.step])))
            if found.count != before.count:
                progress = Progress.new(self.now.timestamp())
        return found

    @staticmethod
    def _stops(found: Rollout, act: Act) -> bool:
        return act.deed is Deed.ADVANCE and found.step >= found.upto and not found.is_last

    def begun(self, policy: Policy) -> None:
        """Begin it, with a deployment that serves beside the champion."""
        self.azure.deployments["new"] = "Succeeded"
        self.lives.add(RUN)
        finish(self, self.begin(RUN, "new", policy=policy))


def test_the_policy_says_what_the_page_says(tasks: Mapping[str, Any]) -> None:
    policy: Policy = tasks["roll"].policy

    assert [str(each) for each in policy.steps] == ["mirror:10", "1", "10", "50", "100"]
    assert [tasks[name].policy for name in ("begin", "watch_2", "roll_2", "restore")] == [policy] * 4
    assert (str(tasks["roll"].stop_before), tasks["roll_2"].stop_before) == ("50", None)
    assert policy.predictions is not None
    assert isinstance(policy.predictions.tests, Distribution)
    again = Policy.from_wire(policy.to_wire())
    assert again == evolve(policy, predictions=None), "the triggerer is told all of it that a look needs"


def test_a_sound_model_goes_through_every_step_asks_before_half_of_the_requests_and_is_released(
    tasks: Mapping[str, Any],
) -> None:
    world, policy = Released(), tasks["roll"].policy
    world.begun(policy)

    asked = finish(world, world.roll_as(tasks["roll"]))
    at_asking, answered = dict(world.azure.traffic), world.now + timedelta(hours=2)
    world.now = answered
    ended = finish(world, world.roll_as(tasks["roll_2"]))

    assert (asked.phase, asked.has_passed, at_asking) == (Phase.ROLLING, True, {"old": 90, "new": 10})
    assert [step for _, step in world.steps] == ["mirror:10", "1", "10", "50", "100"]
    assert world.azure.seen == [
        Split(traffic={"old": 100}, mirror={"new": 10}),
        Split(traffic={"old": 99, "new": 1}),
        Split(traffic={"old": 90, "new": 10}),
        Split(traffic={"old": 50, "new": 50}),
        Split(traffic={"new": 100}),
    ]
    times = [time for time, _ in world.steps]
    lasted = [(after - before).total_seconds() for before, after in zip(times, [*times[1:], world.now], strict=True)]
    assert min(lasted) >= policy.least_time.total_seconds()
    assert lasted[-1] >= policy.soak.total_seconds() == 60 * MINUTES
    assert world.steps[3][0] >= answered
    assert (ended.phase, world.azure.deployments) == (Phase.RELEASED, {"new": "Succeeded"})


def test_a_bad_model_is_found_out_by_copies_and_serves_nobody(tasks: Mapping[str, Any]) -> None:
    world = Released()
    world.azure.bad.add("new")
    world.begun(tasks["roll"].policy)

    ended = finish(world, world.roll_as(tasks["roll"]))

    assert (ended.phase, world.azure.traffic) == (Phase.REVERTED, {"old": 100})
    assert [step for _, step in world.steps] == ["mirror:10"]
    assert world.now - world.steps[0][0] <= 2 * tasks["roll"].policy.look_every

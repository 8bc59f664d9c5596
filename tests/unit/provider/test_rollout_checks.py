"""Checks of one's own at the end of a step of a rollout."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from airflow_azureml.core.findings import Finding
from airflow_azureml.core.rollout import Act, Deed, Progress
from airflow_azureml.operators.rollout import AzureMLRolloutOperator, StepSeen
from tests.unit.provider.rolling import GOOD, NOW, POLICY, at, since

GOOD_ENOUGH = Finding(check="revenue", passed=True, reason="Revenue is as it was.")
WORSE = Finding(check="revenue", passed=False, reason="Revenue is down by 4 %.")


def rolling(*checks: Any) -> AzureMLRolloutOperator:
    return AzureMLRolloutOperator(task_id="roll", endpoint="shop", group="g", policy=POLICY, checks=checks)


def looked(progress: Progress) -> Act:
    return Act(deed=Deed.ADVANCE, progress=progress, new=GOOD, champion=GOOD)


def test_a_check_is_told_what_was_seen_of_the_step() -> None:
    told: list[StepSeen] = []

    def check(seen: StepSeen) -> Finding:
        told.append(seen)
        return GOOD_ENOUGH

    act = rolling(check).checked(at(1), looked(since(400)))

    assert act.deed is Deed.ADVANCE
    (seen,) = told
    assert (seen.endpoint, seen.deployment, seen.champion_deployment, str(seen.step)) == ("shop", "new", "old", "10")
    assert (seen.new, seen.champion) == (GOOD, GOOD)
    assert seen.since == NOW - timedelta(seconds=400)


@pytest.mark.parametrize("found", [WORSE, [GOOD_ENOUGH, WORSE]])
def test_a_check_that_does_not_pass_gives_the_traffic_back(found: Finding | Iterable[Finding]) -> None:
    act = rolling(lambda _: GOOD_ENOUGH, lambda _: found).checked(at(1), looked(since(400)))

    assert (act.deed, act.why) == (Deed.BACK, ("Revenue is down by 4 %.",))


@pytest.mark.parametrize(("step", "passed", "age_s"), [(-1, -1, 400), (1, 1, 400), (1, -1, None)])
def test_a_step_that_has_nothing_to_show_is_not_checked(step: int, passed: int, age_s: float | None) -> None:
    act = rolling(lambda _: WORSE).checked(at(step, passed=passed, age_s=age_s), looked(since(400)))

    assert act.deed is Deed.ADVANCE

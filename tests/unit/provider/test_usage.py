"""What a job has used, as run history tells it: answers in the shape that Azure ML's were recorded in."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError, RefusedError
from airflow_azureml.wire import tags, usage
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
PLANE = "https://eastus2.api.azureml.ms"
BEGAN = "2026-11-21T20:00:00.0000000+00:00"


def run(name: str, *, minutes: int | None = 30, pipeline: bool = False, **more: Any) -> dict[str, Any]:
    """Show a run, as far as it is read."""
    ended = None if minutes is None else f"2026-11-21T20:{minutes:02d}:00.0000000+00:00"
    kind = {"orchestrator": "Pipeline" if pipeline else "Execution"}
    shown = {"runId": name, "displayName": name, "status": "Completed", "runTypeV2": kind, "properties": {}}
    return {**shown, "startTimeUtc": BEGAN, "endTimeUtc": ended, **more}


def on(target: str, *, nodes: int = 1, size: str | None = None) -> dict[str, Any]:
    """Say what a run runs on."""
    told = {"target": target, "targetType": "amlcompute", "vmSize": size, "instanceType": None, "instanceCount": nodes}
    return {"target": target, "compute": told, "computeRequest": {"nodeCount": nodes, "gpuCount": 0}}


def cluster(size: str) -> Any:
    return answer(200, {"properties": {"computeType": "AmlCompute", "properties": {"vmSize": size}}})


def listed(*runs: dict[str, Any]) -> Any:
    return answer(200, {"value": list(runs)})


def read(*answers: Any) -> tuple[usage.Usage, Talk]:
    spoken = Talk()
    return spoken.hold(usage.read(WORKSPACE, "job", PLANE), answers), spoken


def test_each_step_is_told_with_its_nodes_and_the_size_of_its_compute() -> None:
    found, spoken = read(
        answer(200, run("job", pipeline=True, minutes=50)),
        listed(run("prep", **on("cpu-cluster")), run("train", minutes=40, **on("cpu-cluster", nodes=4))),
        cluster("Standard_DS3_v2"),
    )

    assert found.seconds == 50 * 60
    assert [(use.step, use.size, use.compute, use.nodes, use.seconds) for use in found.uses] == [
        ("prep", "Standard_DS3_v2", "cpu-cluster", 1, 1800),
        ("train", "Standard_DS3_v2", "cpu-cluster", 4, 2400),
    ]
    assert len(spoken.asked) == 3, "a compute is asked for once"


def test_the_steps_of_pipelines_in_it_are_told_and_those_pipelines_are_not() -> None:
    found, _ = read(
        answer(200, run("job", pipeline=True)),
        listed(run("inner", pipeline=True), run("last", **on("cpu", size="S1"))),
        listed(run("deep", **on("cpu", size="S2"))),
    )

    assert {(use.step, use.size) for use in found.uses} == {("last", "S1"), ("deep", "S2")}


def test_a_step_that_was_not_run_used_nothing() -> None:
    old: dict[str, Any] = {"properties": {"azureml.isreused": "true"}, "compute": None, "computeRequest": None}
    found, _ = read(answer(200, run("job", pipeline=True)), listed(run("prep", **old)))

    assert [use.seconds for use in found.uses] == [0]


def test_a_job_without_steps_is_its_own_use() -> None:
    found, _ = read(answer(200, run("job", **on("gpu", nodes=2, size="Standard_NC6"))), listed())

    assert [(use.size, use.nodes, use.seconds) for use in found.uses] == [("Standard_NC6", 2, 1800)]


def test_a_compute_that_is_not_there_any_more_has_no_size() -> None:
    gone = answer(404, {"error": {"code": "NotFound", "message": "gone"}})
    found, _ = read(answer(200, run("job", **on("old"))), listed(), gone)

    assert [(use.size, use.compute) for use in found.uses] == [("", "old")]


def test_a_job_that_has_not_ended_has_used_nobody_knows_what() -> None:
    with pytest.raises(ProtocolError, match="Job job has no start or no end: it is 'Completed'"):
        read(answer(200, run("job", minutes=None)))
    with pytest.raises(RefusedError, match="Read the times of job job: 404"):
        read(answer(404, {"error": {"code": "UserError", "message": "no such run"}}))


def test_a_pipeline_that_goes_in_circles_is_refused() -> None:
    circle = [listed(run("inner", pipeline=True))] * usage.PIPELINES_READ

    with pytest.raises(ProtocolError, match="more than 50 pipelines in it"):
        read(answer(200, run("job", pipeline=True)), *circle)


def test_one_tag_is_set_and_no_other_is_sent() -> None:
    spoken = Talk()
    spoken.hold(tags.put(WORKSPACE, "job", PLANE, name="a", value="b"), [answer(200, {})])

    (request,) = spoken.asked
    assert request.url.endswith("/api/2.0/mlflow/runs/set-tag")
    assert request.json == {"run_id": "job", "key": "a", "value": "b"}

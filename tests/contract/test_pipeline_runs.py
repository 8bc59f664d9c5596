"""How pipelines run: told by the official azure-ai-ml, and repaired by our own back ends."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from airflow_azureml.client.azureml import Client
from airflow_azureml.core.jobs import JobKey, JobSnapshot, Memory, Situation, Stage
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import PipelineComponent
from airflow_azureml.core.plain import AnyPipeline
from airflow_azureml.core.reports import Report
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError
from airflow_azureml.operators.backends import Order, backend_of
from airflow_azureml.operators.start import Try, find_or_start
from airflow_azureml.wire import components, jobs, reports, workspaces
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator, of, tell, wait_for
from tests.contract.controlled import client_of

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator of its own: other stories count jobs and computes."""
    made = Emulator(tmp_path_factory.mktemp("runs") / "state", *azurite)
    made.start()
    yield made
    made.end()


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(emulator, "pipeline_runs_story.py", tmp_path_factory.mktemp("pipeline_runs"), patience_s=360)


@of("reuse")
def test_a_step_that_ran_before_is_reused_and_the_sdk_downloads_what_the_earlier_one_made(chapter: Any) -> None:
    pipeline, step, _ = chapter["names"]
    assert chapter["statuses"] == ["Completed", "Completed"]
    assert chapter["step"] == {"first": "Completed", "second": "Completed"}
    assert chapter["same"] is True
    assert chapter["properties"]["azureml.isreused"] == "true"
    assert chapter["properties"]["azureml.reusedrunid"] == step
    assert chapter["properties"]["azureml.reusedpipelinerunid"] == pipeline


@of("reuse")
def test_a_reused_step_is_told_by_run_history_as_azure_tells_it(chapter: Any, emulator: Emulator) -> None:
    _, before, after = chapter["names"]

    told = _run(emulator, after)

    assert told["dataContainerId"] == f"dcid.{before}"
    assert (told["compute"], told["computeRequest"]) == (None, None)
    assert (told["runTypeV2"]["orchestrator"], told["runTypeV2"]["traits"]) == (None, ["azureml.StepRun"])
    assert told["startTimeUtc"] == told["endTimeUtc"]


def _run(emulator: Emulator, name: str) -> Any:
    with client_of(emulator) as http:
        return http.get(f"/history/v1.0{ARM_ID}/runs/{name}").raise_for_status().json()


@of("force_rerun")
def test_force_rerun_reuses_nothing(chapter: Any) -> None:
    assert chapter == {"enforced": "True", "reused": [None, None]}


@of("not_deterministic")
def test_a_component_that_is_not_deterministic_is_run_every_time(chapter: Any) -> None:
    assert chapter == {"reused": [None, None]}


@of("nested")
def test_a_pipeline_in_a_pipeline_is_a_child_run_with_children(chapter: Any, emulator: Emulator) -> None:
    outermost, innermost = chapter.pop("runs")
    assert _run(emulator, innermost)["rootRunId"] == outermost
    assert chapter == {
        "status": "Completed",
        "steps": {"inner": "Completed", "after": "Completed"},
        "inner": {"first": "Completed", "second": "Completed"},
        "output": ["moment.txt"],
    }


@of("nested_cancel")
def test_cancel_reaches_the_steps_of_a_pipeline_in_a_pipeline(chapter: Any) -> None:
    assert chapter == ["Canceled", {"long": "Canceled"}, {"wait": "Canceled"}]


@of("continue_on_step_failure")
def test_a_pipeline_stops_at_a_failure_unless_it_is_to_go_on(chapter: Any) -> None:
    assert chapter["properties"] == ["True", "False"]
    assert chapter["statuses"] == ["Failed", "Failed"]
    assert chapter["goes_on"] == {"bad": "Failed", "after": "Canceled", "slow": "Completed", "last": "Completed"}
    assert chapter["stops"] == {"bad": "Failed", "last": "Canceled"}


@of("queue")
def test_a_cluster_of_one_node_runs_one_step_at_a_time(chapter: Any) -> None:
    assert chapter == {"before": "Succeeded", "status": "Completed", "most": 1, "queued": True, "nodes": [1, 1]}


@of("no_such_compute")
def test_a_pipeline_for_a_compute_that_is_not_there_is_refused(chapter: Any) -> None:
    assert chapter["status"] == 400
    assert "The compute target nowhere was not found in workspace contract-ws." in chapter["text"]


@of("batch")
def test_the_settings_of_a_deployment_decide_about_reuse(chapter: Any) -> None:
    assert chapter == {"plain": ["true", "true"], "forced": [None, None]}


# repair

PREPARE = "echo run >> ${{inputs.folder}}/prepared && date +%N > ${{outputs.out}}/moment.txt"
TRAIN = "cat ${{inputs.data}}/moment.txt && test -e ${{inputs.folder}}/mended"


def _command(name: str, command: str, inputs: dict[str, str]) -> dict[str, Any]:
    declared = {one: {"type": kind} for one, kind in inputs.items()}
    return {
        "name": name,
        "version": "1",
        "type": "command",
        "command": command,
        "environment": {"image": "debian:bookworm"},
        "inputs": declared,
        "outputs": {"out": {"type": "uri_folder"}},
    }


STEPS = {
    "prepare": (_command("prep", PREPARE, {"folder": "string"}), {"folder": "${{parent.inputs.folder}}"}),
    "train": (
        _command("train", TRAIN, {"folder": "string", "data": "uri_folder"}),
        {"folder": "${{parent.inputs.folder}}", "data": "${{parent.jobs.prepare.outputs.out}}"},
    ),
}
#: The same pipeline, published nowhere.
PLAIN: dict[str, Any] = {
    "type": "pipeline",
    "settings": {"default_compute": "azureml:serverless"},
    "inputs": {"folder": {"type": "string"}},
    "jobs": {name: {"type": "command", "component": spec, "inputs": given} for name, (spec, given) in STEPS.items()},
}


@frozen(kw_only=True)
class Shop:
    """A workspace in which a pipeline of two steps is published, the second of which fails until it is mended."""

    client: Client
    settings: ConnectionSettings
    folder: Path
    pipeline: AnyPipeline

    def run(self, key: JobKey, number: int, *, cleared: bool = False) -> tuple[JobSnapshot, Report]:
        """Do what a task's try does, and read what became of its job."""
        passed = Passed.parse({"folder": str(self.folder)}, {})
        order = Order(passed=passed, outputs={}, settings={"force_rerun": True}, repair=True)
        memory = Memory(stage=Stage.ENDED, job="", try_number=number - 1, max_tries=0) if number > 1 else None
        situation = Situation(cleared=cleared)
        this = Try(key=key, memory=memory, number=number, situation=situation, owner=f"d/r/t/-1/{number}")
        workspace = self.settings.workspace
        found = find_or_start(
            self.client, workspace, this, backend_of(self.client, self.settings, self.pipeline, order)
        )
        assert isinstance(found, JobSnapshot)
        seen = [found]

        def _over() -> bool:
            seen.append(self.client.run(jobs.get(workspace, found.name)))
            return seen[-1].phase.is_final

        wait_for(_over, f"job {found.name} has ended")
        data_plane = self.client.run(workspaces.data_plane(workspace))
        return seen[-1], self.client.run(reports.read(workspace, seen[-1], data_plane))

    @property
    def prepared(self) -> int:
        """How often the first step was run."""
        return len((self.folder / "prepared").read_text().splitlines())


@pytest.fixture(scope="module")
def published(emulator: Emulator) -> PipelineComponent:
    nodes = {}
    with client_of(emulator) as http:

        def _put(spec: dict[str, Any]) -> str:
            path = f"{ARM_ID}/components/{spec['name']}/versions/1"
            return str(http.put(path, json={"properties": {"componentSpec": spec}}).raise_for_status().json()["id"])

        for name, (spec, given) in STEPS.items():
            inputs = {one: {"job_input_type": "literal", "value": value} for one, value in given.items()}
            nodes[name] = {"type": "command", "componentId": _put(spec), "inputs": inputs}
        _put({"name": "whole", "type": "pipeline", "inputs": {"folder": {"type": "string"}}, "jobs": nodes})
    return PipelineComponent("whole", "1")


#: azure-ai-ml, which reads and submits the plain one, warns of itself when it is imported.
_QUIETLY = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["component", pytest.param("plain", marks=_QUIETLY)])
def shop(
    emulator: Emulator, published: PipelineComponent, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Shop]:
    subscription, group, name = WORKSPACE.split("/")
    extra = {"subscription_id": subscription, "resource_group": group, "workspace": name, "authentication": "emulator"}
    settings = ConnectionSettings.parse(extra | {"endpoint": emulator.addresses.http}, conn_id="repair")
    pipeline: AnyPipeline = published if request.param == "component" else PLAIN
    with Client(settings) as client:
        yield Shop(client=client, settings=settings, folder=tmp_path, pipeline=pipeline)


def _key() -> JobKey:
    return JobKey.of_task("d", uuid.uuid4().hex, "t", -1)


def test_an_attempt_takes_over_what_the_failed_ones_before_it_completed_and_nothing_of_anothers(shop: Shop) -> None:
    key = _key()
    failed, before = shop.run(key, 1)
    again, _ = shop.run(key, 2)
    (shop.folder / "mended").touch()

    mended, report = shop.run(key, 3)
    another, others = shop.run(_key(), 1)

    assert [job.status for job in (failed, again, mended, another)] == ["Failed", "Failed", "Completed", "Completed"]
    assert before.reused == []
    assert {step.name: (step.reused, step.repairs) for step in report.steps} == {
        "prepare": (True, 1),
        "train": (False, 0),
    }
    assert (report.stale, others.reused) == ([], [])
    assert shop.prepared == 2


@pytest.mark.parametrize("shop", ["component"], indirect=True)
def test_whoever_clears_a_completed_task_has_everything_done_anew(shop: Shop) -> None:
    key = _key()
    (shop.folder / "mended").touch()
    shop.run(key, 1)

    job, report = shop.run(key, 2, cleared=True)

    assert (job.status, job.attempt, report.reused, shop.prepared) == ("Completed", 2, [], 2)


def test_a_component_is_found_by_its_version_or_as_the_one_that_was_registered_last(emulator: Emulator) -> None:
    subscription, group, name = WORKSPACE.split("/")
    extra = {"subscription_id": subscription, "resource_group": group, "workspace": name, "authentication": "emulator"}
    settings = ConnectionSettings.parse(extra | {"endpoint": emulator.addresses.http}, conn_id="labels")
    step = {"type": "command", "command": "true", "environment": "azureml:any:1"}
    with client_of(emulator) as http:
        idle = {"properties": {"componentSpec": {"name": "idle", **step}}}
        step_id = http.put(f"{ARM_ID}/components/idle/versions/1", json=idle).json()["id"]
        for version in ("7", "3"):
            spec = {"name": "labelled", "type": "pipeline", "jobs": {"a": {"type": "command", "componentId": step_id}}}
            path = f"{ARM_ID}/components/labelled/versions/{version}"
            http.put(path, json={"properties": {"componentSpec": spec}}).raise_for_status()

    with Client(settings) as client:

        def _named(**which: str) -> str:
            return client.run(components.describe(settings.workspace, PipelineComponent(**which))).name

        assert _named(name="labelled", label="latest") == "labelled:3"
        assert _named(name="labelled", version="7") == "labelled:7"
        assert _named(name="labelled", label="default") == _named(name="labelled")
        for wrong, told in (
            ({"label": "newest"}, "label newest: give a version, or the label default or latest"),
            ({"label": "latest", "version": "7"}, "and not both"),
        ):
            with pytest.raises(ConfigError, match=told):
                _named(name="labelled", **wrong)
        with pytest.raises(ConfigError, match=r"Check the name|has no version"):
            _named(name="never-was", label="latest")

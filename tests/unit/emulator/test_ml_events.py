"""What is told of a workspace: which changes, in which words, to which queues; scripted jobs by the clock."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from azureml_emulator.clock import CLOCK
from azureml_emulator.ml_events import MLEvents, of_run
from azureml_emulator.names import WorkspaceName
from azureml_emulator.routes.experiments import experiment_id
from azureml_emulator.scripts import Script
from azureml_emulator.settings import ML_EVENTS, MLEventQueue, SettingsError
from azureml_emulator.store import Run
from azureml_emulator.watched_store import WatchedStore
from tests.unit.emulator.world import eventually

pytestmark = pytest.mark.anyio

WORKSPACE = WorkspaceName("sub", "group", "ws").arm_id
ALL = MLEventQueue("all")


@attrs.define
class Ear:
    """Queues that only remember, and one that may be deaf."""

    heard: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    deaf: bool = False

    async def __call__(self, event: dict[str, Any], queues: Sequence[str]) -> bool:
        if self.deaf:
            await asyncio.Event().wait()
        self.heard += [(queue, json.loads(json.dumps(event))) for queue in queues]
        return True

    def said(self, name: str) -> list[str]:
        """List what was told of a run, the event's type and the status."""
        about = [event for _, event in self.heard if event["data"].get("runId") == name]
        return [event["data"].get("runStatus") or event["eventType"].rpartition(".")[2] for event in about]


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WatchedStore]:
    with contextlib.closing(WatchedStore(tmp_path)) as made:
        yield made


@contextlib.asynccontextmanager
async def telling(store: WatchedStore, ear: Ear, *queues: MLEventQueue, **more: float) -> AsyncIterator[None]:
    made = MLEvents(store, queues, ear, **more)
    made.start()
    try:
        yield
    finally:
        await made.close()


def run(**more: Any) -> Run:
    return Run(workspace=WORKSPACE, name=f"job-{uuid.uuid4().hex[:8]}", kind="Command", status="Starting", **more)


def model(store: WatchedStore, name: str = "diabetes", version: str = "3", **properties: Any) -> str:
    arm_id = f"{WORKSPACE}/models/{name}/versions/{version}"
    store.put(arm_id, {"id": arm_id, "properties": {"tags": {}, "properties": {}, **properties}})
    return arm_id


async def test_a_model_that_is_registered_is_told_with_its_tags(store: WatchedStore, ear: Ear) -> None:
    async with telling(store, ear, ALL):
        model(store, tags={"stage": "candidate"}, properties={"rmse": "55"})

    ((queue, event),) = ear.heard
    assert queue == "all"
    assert len(event.pop("id")) == 36
    assert event.pop("eventTime").endswith("Z")
    assert event == {
        "topic": "/subscriptions/sub/resourceGroups/group/providers/Microsoft.MachineLearningServices/workspaces/ws",
        "subject": "models/diabetes:3",
        "eventType": "Microsoft.MachineLearningServices.ModelRegistered",
        "data": {
            "ModelName": "diabetes",
            "ModelVersion": "3",
            "ModelTags": {"stage": "candidate"},
            "ModelProperties": {"rmse": "55"},
        },
        "dataVersion": "",
        "metadataVersion": "1",
    }


async def test_a_version_whose_tags_are_changed_is_not_registered_again(store: WatchedStore, ear: Ear) -> None:
    async with telling(store, ear, ALL):
        model(store)
        model(store, tags={"stage": "production"})

    assert [event["data"]["ModelTags"] for _, event in ear.heard] == [{}]


async def test_other_resources_are_not_told_of(store: WatchedStore, ear: Ear) -> None:
    async with telling(store, ear, ALL):
        for path in ("models/diabetes", "data/d/versions/1", "computes/cpu", "batchEndpoints/e"):
            store.put(f"{WORKSPACE}/{path}", {"id": f"{WORKSPACE}/{path}", "properties": {}})
        store.put("/registries/shared/models/diabetes/versions/1", {"properties": {}})

    assert ear.heard == []


async def test_a_model_that_is_deployed_is_told_with_its_endpoint(store: WatchedStore, ear: Ear) -> None:
    async with telling(store, ear, MLEventQueue("deployments", ("ModelDeployed",))):
        asset = {"assetId": f"azureml:{model(store)}", "referenceType": "Id"}
        arm_id = f"{WORKSPACE}/batchEndpoints/score/deployments/blue"
        store.put(arm_id, {"id": arm_id, "tags": {"a": "b"}, "properties": {"model": asset, "properties": {"c": "d"}}})

    ((_, event),) = ear.heard
    assert event["subject"] == "endpoints/score"
    assert event["data"] == {
        "ServiceName": "score",
        "ServiceComputeType": "AMLCOMPUTE",
        "ModelIds": "diabetes:3",
        "ServiceTags": {"a": "b"},
        "ServiceProperties": {"c": "d"},
    }


async def test_a_deployment_of_a_component_deploys_no_model(store: WatchedStore, ear: Ear) -> None:
    async with telling(store, ear, ALL):
        store.put(f"{WORKSPACE}/batchEndpoints/score/deployments/blue", {"properties": {"deploymentConfiguration": {}}})

    assert ear.heard == []


async def test_every_change_of_a_status_is_told_and_the_end_of_a_success_twice(store: WatchedStore, ear: Ear) -> None:
    job = run(experiment="training", tags={"owner": "us"}, properties={"k": "v"})
    async with telling(store, ear, ALL):
        store.add_run(job)
        for status in ("Queued", "Running", "Running", "Completed"):
            store.change_run(WORKSPACE, job.name, status=status)

    assert ear.said(job.name) == ["Queued", "Running", "Completed", "RunCompleted"]
    experiment = experiment_id(WorkspaceName.of_arm_id(WORKSPACE), "training")
    last = ear.heard[-1][1]
    assert last["subject"] == f"experiments/{experiment}/runs/{job.name}"
    assert last["data"] == {
        "experimentId": experiment,
        "experimentName": "training",
        "runId": job.name,
        "runType": "azureml.scriptrun",
        "runTags": {"owner": "us"},
        "runProperties": {"k": "v"},
    }


@pytest.mark.parametrize("status", ["Failed", "Canceled"])
async def test_an_end_that_is_no_success_is_a_change_only(store: WatchedStore, ear: Ear, status: str) -> None:
    job = run()
    async with telling(store, ear, ALL):
        store.add_run(job)
        store.change_run(WORKSPACE, job.name, status=status)

    assert ear.said(job.name) == [status]


async def test_a_queue_is_told_only_what_it_asked_for(store: WatchedStore, ear: Ear) -> None:
    job = run()
    async with telling(store, ear, ALL, MLEventQueue("ends", ("RunCompleted",))):
        store.add_run(job)
        model(store)
        store.change_run(WORKSPACE, job.name, status="Completed")

    assert [queue for queue, _ in ear.heard] == ["all", "all", "all", "ends"]


async def test_where_nobody_asked_nothing_is_done(store: WatchedStore, ear: Ear) -> None:
    async with telling(store, ear):
        model(store)

    assert ear.heard == []


async def test_changes_from_other_threads_are_told_in_their_order(store: WatchedStore, ear: Ear) -> None:
    names = [f"m{number}" for number in range(50)]
    async with telling(store, ear, ALL):
        await asyncio.to_thread(lambda: [model(store, name) for name in names])

    assert [event["data"]["ModelName"] for _, event in ear.heard] == names


async def test_the_end_waits_for_what_has_happened_but_not_for_a_deaf_queue(
    store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with telling(store, Ear(deaf=True), ALL, last_words_s=0.3):
        model(store)
        model(store, version="4")

    assert "EVENTS LOST: 2 events" in caplog.text


# scripted jobs


@pytest.fixture
def clock() -> Iterator[None]:
    """A clock that stands still unless it is moved."""
    before = CLOCK.shown()
    CLOCK.freeze()
    yield
    CLOCK.restore(before)


def scripted(store: WatchedStore, *statuses: tuple[str, float], cancel_s: float | None = 2.0) -> Run:
    script = Script(statuses=statuses, cancel_s=cancel_s)
    job = attrs.evolve(run(), script=script.digest)
    assert store.add_scripted([job], [script])
    return job


@pytest.mark.usefixtures("clock")
async def test_a_scripted_job_is_told_of_when_the_clock_has_come_to_it(store: WatchedStore, ear: Ear) -> None:
    async with telling(store, ear, ALL):
        job = scripted(store, ("Queued", 10), ("Running", 50), ("Completed", 0))
        await asyncio.sleep(0.3)
        before = ear.said(job.name)
        CLOCK.advance(10)
        await eventually(lambda: ear.said(job.name) == ["Running"], "it runs")
        CLOCK.advance(50)
        await eventually(lambda: len(ear.said(job.name)) == 3, "it has completed")

    assert before == []
    assert ear.said(job.name) == ["Running", "Completed", "RunCompleted"]


@pytest.mark.usefixtures("clock")
async def test_words_that_went_by_at_once_are_all_told_and_none_twice(store: WatchedStore, ear: Ear) -> None:
    async with telling(store, ear, ALL):
        jobs = [scripted(store, ("Queued", 1), ("Starting", 0), ("Running", 1), ("Failed", 0)) for _ in range(250)]
        CLOCK.advance(5)
        await eventually(lambda: len(ear.heard) >= 750, "all are told")
        await asyncio.sleep(0.3)

    assert {tuple(ear.said(job.name)) for job in jobs} == {("Starting", "Running", "Failed")}


@pytest.mark.usefixtures("clock")
async def test_the_cancel_of_a_scripted_job_is_told_and_what_it_would_have_become_is_not(
    store: WatchedStore, ear: Ear
) -> None:
    async with telling(store, ear, ALL):
        job = scripted(store, ("Queued", 5), ("Running", 100), ("Completed", 0))
        CLOCK.advance(10)
        await eventually(lambda: ear.said(job.name) == ["Running"], "it runs")
        store.cancel_scripted(job, takes_s=2)
        await eventually(lambda: "CancelRequested" in ear.said(job.name), "the cancel is told")
        CLOCK.advance(200)
        await eventually(lambda: "Canceled" in ear.said(job.name), "the end is told")
        await asyncio.sleep(0.3)

    assert ear.said(job.name) == ["Running", "CancelRequested", "Canceled"]


def test_the_course_of_a_job_without_a_script_is_not_known(store: WatchedStore) -> None:
    job = run()
    store.add_run(job)

    with pytest.raises(LookupError, match="No scripted run"):
        store.course(WORKSPACE, job.name)


# the option


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("models", MLEventQueue("models")),
        ("models:ModelRegistered", MLEventQueue("models", ("ModelRegistered",))),
        ("runs:RunCompleted,RunStatusChanged", MLEventQueue("runs", ("RunCompleted", "RunStatusChanged"))),
    ],
)
def test_the_option_names_a_queue_and_types(text: str, queue: MLEventQueue) -> None:
    assert MLEventQueue.parse(text) == queue


@pytest.mark.parametrize(
    ("text", "said"),
    [(":RunCompleted", "names no queue"), ("drift:DatasetDriftDetected", "is none of ModelRegistered")],
)
def test_a_wrong_option_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        MLEventQueue.parse(text)


def test_a_queue_without_types_wants_all_and_another_only_its_own() -> None:
    full = [f"Microsoft.MachineLearningServices.{each}" for each in ML_EVENTS]

    assert [each for each in full if MLEventQueue("q").wants(each)] == full
    assert [each for each in full if MLEventQueue("q", ("RunCompleted",)).wants(each)] == [full[-1]]


def test_the_events_of_a_run_name_its_workspace_as_their_topic() -> None:
    (event,) = of_run(run(), "Running", at_s=0.0)

    assert (event["topic"], event["eventTime"]) == (WORKSPACE, "1970-01-01T00:00:00.0000000Z")

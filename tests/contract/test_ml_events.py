"""The official SDK works in a workspace, the emulator tells of it, and the provider reads what it told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from airflow_azureml.core.ml_events import DeploymentEvent, JobEvent, ModelEvent, WorkspaceEvent
from airflow_azureml.wire.events import parse
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import OTHER, WORKSPACE, Emulator, of, tell, wait_for

pytestmark = pytest.mark.timeout(300)

ALL, MODELS = "contract-told", "contract-models"


class Told:
    """What a queue was told, in the order of its messages."""

    def __init__(self, emulator: Emulator, queue: str) -> None:
        self.account_url = f"http://127.0.0.1:{emulator.queue_port}/{DEV_ACCOUNT}"
        self.queue = queue
        self.events: list[WorkspaceEvent] = []

    def receive(self) -> Sequence[WorkspaceEvent]:
        """Take what has come since, and return all."""
        credential = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
        with QueueClient(self.account_url, self.queue, credential=credential) as client:
            for message in client.receive_messages():
                self.events += parse(message.content).workspace_events
                client.delete_message(message)
        return self.events

    def statuses(self, job: str) -> list[str]:
        return [event.status for event in self.receive() if isinstance(event, JobEvent) and event.job == job]


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One that tells a queue of everything, and another of models."""
    made = Emulator(tmp_path_factory.mktemp("events-emulator") / "state", *azurite)
    made.start("--ml-event-queue", ALL, "--ml-event-queue", f"{MODELS}:ModelRegistered,ModelDeployed")
    yield made
    made.end()


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(emulator, "events_story.py", tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
def told(emulator: Emulator, story: dict[str, Any]) -> Told:
    assert story
    return Told(emulator, ALL)


def workspace(name: str) -> str:
    return name.lower()


@of("model")
def test_a_registered_model_is_told_once_with_the_tags_it_had_then(chapter: dict[str, Any], told: Told) -> None:
    found = [event for event in told.receive() if isinstance(event, ModelEvent) and event.model == chapter["name"]]

    assert [(event.workspace, event.version, event.tags) for event in found] == [
        (workspace(WORKSPACE), chapter["version"], {"stage": "candidate"})
    ]


@of("elsewhere")
def test_an_event_names_the_workspace_in_which_it_happened(chapter: dict[str, Any], told: Told) -> None:
    found = [event for event in told.receive() if isinstance(event, ModelEvent) and event.model == chapter["name"]]

    assert [event.workspace for event in found] == [workspace(OTHER)]


@of("deployment")
def test_a_deployed_model_is_told_with_its_endpoint(chapter: dict[str, Any], told: Told) -> None:
    (event,) = (event for event in told.receive() if isinstance(event, DeploymentEvent))

    assert (event.endpoint, event.models) == (chapter["endpoint"], "told:1")


@of("job")
def test_a_jobs_way_to_its_end_is_told_and_its_success_twice(chapter: dict[str, Any], told: Told) -> None:
    wait_for(lambda: told.statuses(chapter["name"]).count("Completed") == 2, "the end is told twice")

    statuses = told.statuses(chapter["name"])
    assert statuses[-4:] == ["Running", "Finalizing", "Completed", "Completed"]
    (first, *_) = (event for event in told.events if isinstance(event, JobEvent) and event.job == chapter["name"])
    assert (first.experiment, first.tags["owner"], first.is_step) == ("told", "contract", False)


@of("failing")
def test_a_failure_is_told_once(chapter: dict[str, Any], told: Told) -> None:
    wait_for(lambda: "Failed" in told.statuses(chapter["name"]), "the end is told")

    assert [chapter["status"], told.statuses(chapter["name"])[-1]] == ["Failed", "Failed"]
    assert "Completed" not in told.statuses(chapter["name"])


@of("pipeline")
def test_a_step_of_a_pipeline_is_told_as_one(chapter: dict[str, Any], told: Told) -> None:
    wait_for(lambda: told.statuses(chapter["name"]).count("Completed") == 2, "the pipeline's end is told")

    kinds = {
        event.job: event.is_step
        for event in told.events
        if isinstance(event, JobEvent) and event.experiment == "told-pipeline"
    }
    assert kinds == {chapter["name"]: False, chapter["step"]: True}


def test_a_queue_that_asked_for_models_is_told_of_nothing_else(emulator: Emulator, told: Told) -> None:
    assert told.receive()
    found = Told(emulator, MODELS).receive()

    assert {type(event) for event in found} == {ModelEvent, DeploymentEvent}

"""Azure ML's own events on their way through Airflow's shared streams and a real queue, and what they do to waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from airflow.triggers.shared_stream import SharedStreamManager
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from airflow_azureml.core.ml_filters import AnyFilter, JobFilter, ModelFilter
from airflow_azureml.core.waiting import WaitPolicy
from airflow_azureml.triggers.job import JobTrigger, event_of
from airflow_azureml.triggers.ml_events import WorkspaceEventTrigger
from demo.azure import ACCOUNT, ACCOUNT_KEY, RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID, Azurite, Emulator
from demo.processes import wait_until
from tests.airflow.conftest import Small
from tests.airflow.housekeeping import Workspace
from tests.unit.provider.arrivals import listening
from tests.unit.provider.arrivals.listening import Listener, QuickTrigger, until

HERE = Path(__file__).resolve().parent
CONN = "conn_events"
PLACE = f"{SUBSCRIPTION}/{RESOURCE_GROUP}/{WORKSPACE}"
#: So long that no look but the first and those that events ask for comes within a test. Seconds.
RARELY = WaitPolicy(first_s=300, longest_s=300)


class QuickEvents(WorkspaceEventTrigger):
    """The trigger, less patient."""

    pace = QuickTrigger.pace


class Hearer(Listener):
    """A listener that keeps whatever it is told."""

    def __init__(self, manager: SharedStreamManager, trigger: WorkspaceEventTrigger, number: int = 1) -> None:
        self.told: list[dict[str, Any]] = []
        super().__init__(manager, trigger, number)

    async def _listen(self) -> None:
        stream = self.manager.subscribe(trigger_id=self.number, trigger=self.trigger, key=self.key)
        try:
            async for event in self.trigger.filter_shared_stream(stream):
                self.told += event.payload
                bound = self.manager.bind_pending_event(trigger_id=self.number, key=self.key)
                assert bound is not None
                self.manager.confirm_persisted([bound])
        finally:
            await self.manager.unsubscribe(self.number, self.key)


@attrs.frozen
class Service:
    """An emulator with its control interface, and a queue that only this test writes to and reads."""

    http: httpx.Client
    queue_url: str
    told_url: str
    prefix: str

    def start(self, *statuses: tuple[str, float]) -> str:
        """Create a job that goes through these statuses, each for so many seconds."""
        body = {"count": 1, "prefix": self.prefix, "script": [list(one) for one in statuses]}
        created = self.http.post("/control/jobs", json=body).raise_for_status()
        name: str = created.json()["first"]
        return name

    def looks(self) -> int:
        """Count the looks at jobs since the test began."""
        rows = self.http.get("/control/requests").json()["requests"]
        return sum(row["count"] for row in rows if row["route"].startswith("{workspace}/jobs"))

    def send(self, *messages: str) -> None:
        with client(self.queue_url) as queue:
            for message in messages:
                queue.send_message(message)

    @property
    def length(self) -> int:
        """How many messages there are, hidden ones included."""
        with client(self.queue_url) as queue:
            return int(queue.get_queue_properties().approximate_message_count or 0)

    def refused(self) -> list[str]:
        """List why messages were put aside."""
        with client(f"{self.queue_url}-poison") as queue, contextlib.suppress(ResourceNotFoundError):
            return [json.loads(message.content)["reason"] for message in queue.peek_messages(max_messages=32)]
        return []


def client(url: str) -> QueueClient:
    return QueueClient.from_queue_url(url, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Emulator]:
    """An emulator that tells the queue `wait-events` what becomes of its jobs."""
    folder = tmp_path_factory.mktemp("telling")
    arguments = ("--control", "--ml-event-queue", "wait-events:RunStatusChanged,RunCompleted")
    with Emulator(folder, azurite, event_queues=(), arguments=arguments) as server:
        yield server


@pytest.fixture
def service(telling: Emulator, azurite: Azurite, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service, and a connection `conn_events` to it."""
    extra = {
        "subscription_id": SUBSCRIPTION,
        "resource_group": RESOURCE_GROUP,
        "workspace": WORKSPACE,
        "authentication": "emulator",
        "endpoint": telling.http,
    }
    variable = f"AIRFLOW_CONN_{CONN.upper()}"
    os.environ[variable] = json.dumps({"conn_type": "azureml", "extra": extra})
    account = f"{azurite.queue_url}/{ACCOUNT}"
    queue_url = f"{account}/e{uuid.uuid4().hex[:12]}"
    with client(queue_url) as queue:
        queue.create_queue()
    with httpx.Client(base_url=telling.http, trust_env=False, timeout=30) as http:
        http.delete("/control/requests")
        prefix = f"t{abs(hash(request.node.nodeid)):x}"
        yield Service(http, queue_url, f"{account}/wait-events", prefix)
    del os.environ[variable]


@pytest.fixture
async def manager() -> AsyncIterator[SharedStreamManager]:
    streams = SharedStreamManager()
    yield streams
    await streams.stop_all()


def events(queue_url: str, wanted: AnyFilter, **more: Any) -> Any:
    return QuickEvents(queue_url=queue_url, conn_id=CONN, wanted=wanted.to_wire(), **more)


def message(kind: str, workspace: str = WORKSPACE_ID, **data: Any) -> str:
    return json.dumps(
        {
            "topic": workspace,
            "subject": "x",
            "eventType": f"Microsoft.MachineLearningServices.{kind}",
            "eventTime": "2026-01-31T18:41:00Z",
            "id": str(uuid.uuid4()),
            "data": data,
        }
    )


def registered(model: str, version: str = "1", workspace: str = WORKSPACE_ID) -> str:
    return message("ModelRegistered", workspace, ModelName=model, ModelVersion=version)


def completed(job: str) -> str:
    return message("RunCompleted", runId=job, experimentName="e")


def waiting(job: str) -> asyncio.Task[tuple[str, float]]:
    """Wait for a job as Airflow's triggerer does; gives its status and how long that took, in seconds."""

    async def _wait() -> tuple[str, float]:
        begun = time.monotonic()
        trigger = JobTrigger(conn_id=CONN, job=job, submitted_at=time.time(), policy=RARELY.to_wire())
        (event,) = [each async for each in trigger.run()]
        return event_of(event.payload)[0].status, time.monotonic() - begun

    return asyncio.create_task(_wait())


pytestmark = pytest.mark.anyio


async def test_what_is_registered_is_told_once_and_its_message_is_deleted(
    manager: SharedStreamManager, service: Service
) -> None:
    service.send(registered("diabetes"), registered("diabetes"), registered("other"), registered("diabetes", "2"))
    async with Hearer(manager, events(service.queue_url, ModelFilter(model="diab*"))) as hearer:
        await until(lambda: hearer.told and service.length == 0)

    assert {(told["model"], told["version"]) for told in hearer.told} == {("diabetes", "1"), ("diabetes", "2")}
    assert {(told["event"], told["workspace"]) for told in hearer.told} == {("ModelRegistered", PLACE)}
    assert len(hearer.told) == 2


async def test_blobs_and_events_of_a_workspace_come_through_one_queue_and_each_asset_gets_its_own(
    manager: SharedStreamManager, service: Service
) -> None:
    blobs = listening.trigger(service.queue_url, conn_id=CONN)
    models = events(service.queue_url, ModelFilter())
    async with Listener(manager, blobs, 1, at_once=True) as first, Hearer(manager, models, 2) as second:
        service.send(registered("diabetes"), listening.message("a.csv"), completed("job-1"))
        await until(lambda: first.arrivals and second.told and service.length == 0)

    assert (first.arrivals, [told["model"] for told in second.told]) == (["a.csv"], ["diabetes"])
    assert service.refused() == []


async def test_an_event_of_a_workspace_that_no_asset_names_is_put_aside_and_the_rest_goes_on(
    manager: SharedStreamManager, service: Service
) -> None:
    other = WORKSPACE_ID.replace(f"/workspaces/{WORKSPACE}", "/workspaces/elsewhere")
    async with Hearer(manager, events(service.queue_url, ModelFilter())) as hearer:
        service.send(registered("foreign", workspace=other), registered("ours"))
        await until(lambda: hearer.told and service.length == 0)

    assert [told["model"] for told in hearer.told] == ["ours"]
    (reason,) = service.refused()
    assert f"tells of workspace {SUBSCRIPTION}/{RESOURCE_GROUP}/elsewhere; allowed here: {PLACE}" in reason


async def test_an_asset_that_names_another_workspace_gets_its_events_beside_one_that_does_not(
    manager: SharedStreamManager, service: Service
) -> None:
    other = WORKSPACE_ID.replace(f"/workspaces/{WORKSPACE}", "/workspaces/elsewhere")
    named = events(service.queue_url, ModelFilter(), workspace=f"{SUBSCRIPTION}/{RESOURCE_GROUP}/Elsewhere")
    own = events(service.queue_url, ModelFilter())
    async with Hearer(manager, named, 1) as there, Hearer(manager, own, 2) as here:
        service.send(registered("foreign", workspace=other), registered("ours"))
        await until(lambda: there.told and here.told and service.length == 0)

    assert ([told["model"] for told in there.told], [told["model"] for told in here.told]) == (["foreign"], ["ours"])


async def test_a_connection_that_cannot_be_read_holds_events_back_instead_of_refusing_them(
    manager: SharedStreamManager, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    variable = f"AIRFLOW_CONN_{CONN.upper()}"
    kept = os.environ.pop(variable)
    service.send(registered("diabetes"))
    with caplog.at_level(logging.ERROR):
        async with Hearer(manager, events(service.queue_url, ModelFilter())) as hearer:
            await until(lambda: f"Events of connection {CONN} wait" in caplog.text)
            os.environ[variable] = kept
            await until(lambda: hearer.told and service.length == 0)

    assert [told["model"] for told in hearer.told] == ["diabetes"]


async def test_a_wait_ends_with_its_job_long_before_the_next_look_would_be_due(
    manager: SharedStreamManager, service: Service
) -> None:
    asset = events(service.told_url, JobFilter(statuses="Failed"))
    async with Hearer(manager, asset):
        status, took_s = await waiting(service.start(("Running", 3), ("Completed", 0)))

    assert status == "Completed"
    assert took_s < RARELY.first_s / 4
    assert service.looks() <= 3


async def test_a_forged_end_is_looked_at_and_not_believed(manager: SharedStreamManager, service: Service) -> None:
    job = service.start(("Running", 600), ("Completed", 0))
    wait = waiting(job)
    await until(lambda: service.looks() == 1)
    async with Hearer(manager, events(service.queue_url, JobFilter())) as hearer:
        service.send(completed(job))
        await until(lambda: hearer.told and service.looks() == 2)
    await asyncio.sleep(0.3)

    assert not wait.done()
    wait.cancel()
    await asyncio.wait([wait])


async def test_an_event_of_a_job_of_the_same_name_elsewhere_costs_no_look(
    manager: SharedStreamManager, service: Service
) -> None:
    other = WORKSPACE_ID.replace(f"/workspaces/{WORKSPACE}", "/workspaces/elsewhere")
    job = service.start(("Running", 600), ("Completed", 0))
    wait = waiting(job)
    await until(lambda: service.looks() == 1)
    named = events(service.queue_url, JobFilter(), workspace=f"{SUBSCRIPTION}/{RESOURCE_GROUP}/elsewhere")
    async with Hearer(manager, named) as hearer:
        service.send(message("RunCompleted", other, runId=job))
        await until(lambda: hearer.told and service.length == 0)
    await asyncio.sleep(0.3)

    assert service.looks() == 1
    wait.cancel()
    await asyncio.wait([wait])


async def test_a_storm_of_events_costs_a_few_looks_and_those_of_unknown_jobs_none(
    manager: SharedStreamManager, service: Service
) -> None:
    job = service.start(("Running", 600), ("Completed", 0))
    wait = waiting(job)
    await until(lambda: service.looks() == 1)
    begun = time.monotonic()
    async with Hearer(manager, events(service.queue_url, JobFilter())):
        service.send(*([completed(job)] * 60), *(completed(f"unknown-{number}") for number in range(60)))
        await until(lambda: service.length == 0)
        looks, took_s = service.looks(), time.monotonic() - begun
    wait.cancel()
    await asyncio.wait([wait])

    assert looks <= 2 + took_s / 5


# in a running Airflow


@pytest.fixture(scope="module")
def workspace(small: Small, dags_folder: Path) -> Workspace:
    shutil.copy(HERE / "event_dags.py", dags_folder / "event_dags.py")
    return Workspace(small)


def test_a_registered_model_wakes_a_dag_which_is_told_which(small: Small, workspace: Workspace) -> None:
    small.airflow.unpause("small_woken")
    name = f"waking-{uuid.uuid4().hex[:8]}"

    for model, stage in ((f"other-{name}", "candidate"), (name, "draft"), (name, "candidate")):
        uri = "azureml://datastores/workspaceblobstore/paths/models/x"
        version = "1" if stage == "candidate" else "0"
        body = {"properties": {"modelUri": uri, "modelType": "custom_model", "tags": {"stage": stage}}}
        workspace.call("PUT", f"models/{model}/versions/{version}", body)

    runs: list[str] = []

    def _woken() -> bool:
        found = small.airflow.get("/api/v2/dags/small_woken/dagRuns")["dag_runs"]
        runs[:] = [run["dag_run_id"] for run in found if run["state"] == "success"]
        return bool(runs)

    assert wait_until(_woken, deadline_s=90)
    (run,) = runs
    (told,) = small.xcom(("small_woken", run))
    assert (told["event"], told["model"], told["version"]) == ("ModelRegistered", name, "1")


def test_a_deferred_task_ends_with_its_job_long_before_the_next_look_would_be_due(
    small: Small, workspace: Workspace, tmp_path: Path
) -> None:
    job = workspace.job(f"while [ ! -e '{tmp_path / 'go'}' ]; do sleep 0.2; done")
    run = small.begin("patient", job=job)
    small.until_watched(run)

    (tmp_path / "go").touch()

    assert small.until(run)["state"] == "success"

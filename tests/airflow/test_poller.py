"""The shared poller and the triggers that use it, against an emulator whose jobs go as a script says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from airflow_azureml.core.waiting import Limit, OnLimit, WaitPolicy
from airflow_azureml.triggers.job import JobTrigger, event_of, limit_of
from airflow_azureml.triggers.poller import POLLERS, JobPoller, Pollers, Rereading, Watch
from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Azurite, Emulator

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

OTHER = "other"
LOOKS = ".*/jobs(/[^/]+)?"
QUICK = WaitPolicy(first_s=0.2, longest_s=0.2)


@attrs.frozen
class Service:
    """The emulator, as these tests speak of it; jobs and faults are new for each test."""

    http: httpx.Client
    url: str
    prefix: str

    def start(self, *statuses: tuple[str, float], count: int = 1, workspace: str = WORKSPACE) -> list[str]:
        """Create jobs that go through these statuses, each for so many seconds."""
        prefix = f"{self.prefix}-{workspace}"
        where = f"{SUBSCRIPTION}/{RESOURCE_GROUP}/{workspace}"
        body = {"count": count, "prefix": prefix, "script": [list(one) for one in statuses], "workspace": where}
        self.http.post("/control/jobs", json=body).raise_for_status()
        return [f"{prefix}-{number:05d}" for number in range(count)]

    def fault(self, **effect: Any) -> None:
        self.http.put("/control/faults", json=[{"method": "GET", "path": LOOKS, **effect}]).raise_for_status()

    def answers(self) -> Counter[str]:
        """Count the looks at jobs since the test began, by HTTP status."""
        rows = self.http.get("/control/requests").json()["requests"]
        looks = [row for row in rows if row["route"].startswith("{workspace}/jobs")]
        return sum((Counter(row["statuses"]) for row in looks), Counter())

    async def until_answered(self, status: str, times: int) -> None:
        await until(lambda: self.answers()[status] >= times, deadline_s=20)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Emulator]:
    """An emulator with two workspaces and the control interface."""
    arguments = ["--control"]
    for workspace in (WORKSPACE, OTHER):
        arguments += ["--workspace", f"{SUBSCRIPTION}/{RESOURCE_GROUP}/{workspace}"]
    folder = tmp_path_factory.mktemp("scripted")
    with Emulator(folder, azurite, event_queues=(), arguments=arguments) as server:
        yield server


@pytest.fixture
def service(scripted: Emulator, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service without faults, and two connections to it: `conn_local` and `conn_other`."""
    prefix = f"t{abs(hash(request.node.nodeid)):x}"
    with (
        httpx.Client(base_url=scripted.http, trust_env=False, timeout=30) as http,
        connected(WORKSPACE, scripted.http),
        connected(OTHER, scripted.http),
    ):
        http.delete("/control/faults")
        http.delete("/control/requests")
        yield Service(http, scripted.http, prefix)
        http.delete("/control/faults")


@contextlib.contextmanager
def connected(workspace: str, endpoint: str) -> Iterator[None]:
    """Let Airflow know a connection `conn_WORKSPACE` for a while, by the environment as operators of Airflow may."""
    name = f"AIRFLOW_CONN_CONN_{workspace.upper()}"
    extra = {
        "subscription_id": SUBSCRIPTION,
        "resource_group": RESOURCE_GROUP,
        "workspace": workspace,
        "authentication": "emulator",
        "endpoint": endpoint,
    }
    before = os.environ.get(name)
    os.environ[name] = json.dumps({"conn_type": "azureml", "extra": extra})
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def trigger(job: str, policy: WaitPolicy = QUICK, *, conn_id: str = "conn_local", **more: Any) -> JobTrigger:
    return JobTrigger(conn_id=conn_id, job=job, submitted_at=time.time(), policy=policy.to_wire(), **more)


async def event(waiting: JobTrigger) -> dict[str, Any]:
    """Run a trigger as Airflow does, and return what its one event carries."""
    (one,) = [found async for found in waiting.run()]
    payload: dict[str, Any] = one.payload
    return payload


async def status(waiting: JobTrigger) -> str:
    """Return the status with which a job ended."""
    job, gave_up = event_of(await event(waiting))
    assert not gave_up
    return job.status


def poller_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("poller of")]


async def come_and_go(job: str) -> None:
    """Run a trigger until it has asked for its first look, and end it as Airflow does."""
    waiting = asyncio.create_task(status(trigger(job)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])


async def until(holds: Callable[[], bool], *, deadline_s: float = 10) -> None:
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110  # what is waited for is the operating system's and tells nobody
            await asyncio.sleep(0.01)


async def until_quiet() -> None:
    """Wait until no poller runs any more."""
    await until(lambda: not poller_tasks(), deadline_s=5)


def open_sockets() -> int:
    return sum(one.is_socket() for one in Path("/proc/self/fd").iterdir())


async def test_a_trigger_tells_how_its_job_ended(service: Service) -> None:
    (job,) = service.start(("Queued", 0.5), ("Running", 0.5), ("Failed", 0))

    assert await status(trigger(job)) == "Failed"
    await until_quiet()


async def test_many_jobs_are_seen_by_a_few_pages(service: Service) -> None:
    jobs = service.start(("Completed", 0), count=400)

    ended = await asyncio.gather(*(status(trigger(job)) for job in jobs))

    assert ended == ["Completed"] * 400
    assert service.answers().total() <= 8


async def test_no_request_is_sent_before_the_time_that_retry_after_names(service: Service) -> None:
    jobs = service.start(("Completed", 0), count=3)
    service.fault(status=429, headers={"Retry-After": "2"}, count=1)
    began = time.monotonic()

    ended = await asyncio.gather(*(status(trigger(job)) for job in jobs))

    assert ended == ["Completed"] * 3
    assert time.monotonic() - began >= 2
    assert service.answers()["429"] == 1


@pytest.mark.parametrize(
    "effect",
    [
        {"status_word": "NotResponding"},
        {"status_word": "Paused"},
        {"status_word": "AWordOfTomorrow"},
        {"status": 503},
        {"status": 403},
        {"reset": True},
        {"expired_token": True},
        {"apply_then_drop": True},
    ],
    ids=lambda effect: "-".join(str(one) for pair in effect.items() for one in pair),
)
async def test_trouble_with_looking_never_fails_a_job(service: Service, effect: dict[str, Any]) -> None:
    (job,) = service.start(("Completed", 0))
    service.fault(**effect, count=4)

    assert await status(trigger(job)) == "Completed"


async def test_a_job_that_is_not_to_be_found_for_a_while_is_waited_for(service: Service) -> None:
    name = f"{service.prefix}-{WORKSPACE}-00000"
    waiting = asyncio.create_task(status(trigger(name)))
    await service.until_answered("404", 3)

    assert service.start(("Completed", 0)) == [name]

    assert await waiting == "Completed"


async def test_a_job_that_is_not_to_be_found_keeps_nobody_else_waiting(service: Service) -> None:
    (job,) = service.start(("Running", 1), ("Completed", 0))
    lost = asyncio.create_task(status(trigger("never-was")))

    assert await status(trigger(job)) == "Completed"
    assert not lost.done()
    lost.cancel()


async def test_patience_ends_and_the_job_is_left_to_the_next_try(service: Service) -> None:
    (job,) = service.start(("Running", 1000))
    service.fault(status=500)

    told = await event(trigger(job, WaitPolicy(first_s=0.2, longest_s=0.2, patience_s=1.5)))

    assert limit_of(told) == (Limit.PATIENCE, OnLimit.LEAVE)
    assert event_of(told)[1].startswith("no certain status for")
    assert "500" in event_of(told)[1]


async def test_each_phase_has_a_limit_of_its_own(service: Service) -> None:
    (job,) = service.start(("Running", 0.5), ("Queued", 1000))
    policy = WaitPolicy(first_s=0.2, longest_s=0.2, queue_s=1, actions={Limit.QUEUE: OnLimit.FAIL_ONLY})

    told = await event(trigger(job, policy))

    assert limit_of(told) == (Limit.QUEUE, OnLimit.FAIL_ONLY)
    assert event_of(told)[1].startswith("Queued for ")


async def test_two_workspaces_have_two_pollers_and_any_number_of_jobs_one(service: Service) -> None:
    here = service.start(("Running", 1.5), ("Completed", 0), count=20)
    there = service.start(("Running", 1.5), ("Failed", 0), count=20, workspace=OTHER)
    waiting = [asyncio.create_task(status(trigger(job))) for job in here]
    waiting += [asyncio.create_task(status(trigger(job, conn_id="conn_other"))) for job in there]
    await service.until_answered("200", 2)

    assert sorted(poller_tasks()) == ["poller of conn_local", "poller of conn_other"]
    assert len(POLLERS.running()) == 2
    assert await asyncio.gather(*waiting) == ["Completed"] * 20 + ["Failed"] * 20
    await until_quiet()


async def test_who_leaves_while_a_look_is_under_way_leaves_nothing_behind(service: Service) -> None:
    (job,) = service.start(("Running", 1000))
    service.fault(slow_s=30)
    sockets = open_sockets()
    waiting = asyncio.create_task(status(trigger(job)))
    await until(lambda: open_sockets() > sockets)

    waiting.cancel()

    await until_quiet()
    assert open_sockets() == sockets
    assert not POLLERS.running()


async def test_thousands_of_watches_that_come_and_go_leave_nothing_behind(service: Service) -> None:
    (steady, *others) = service.start(("Running", 1000), count=100)
    staying = asyncio.create_task(status(trigger(steady)))
    await service.until_answered("200", 1)
    sockets, tasks = open_sockets(), len(asyncio.all_tasks())

    for number in range(5000):
        await come_and_go(others[number % len(others)])

    gc.collect()
    assert sum(isinstance(one, Watch) for one in gc.get_objects()) == 1
    assert sum(isinstance(one, JobPoller) for one in gc.get_objects()) == 1
    assert len(POLLERS.running()[0]._plan) == 1
    await until(lambda: open_sockets() <= sockets + 8 and len(asyncio.all_tasks()) <= tasks + 8)
    staying.cancel()
    await until_quiet()


async def test_a_poller_that_ends_and_begins_again_leaves_nothing_behind(service: Service) -> None:
    (job,) = service.start(("Completed", 0))
    await status(trigger(job))
    await until_quiet()
    sockets = open_sockets()

    for _ in range(30):
        assert await status(trigger(job)) == "Completed"
        await until_quiet()

    assert open_sockets() == sockets
    assert not POLLERS._known


async def test_a_connection_that_is_changed_while_jobs_wait_is_used_as_it_is_then(service: Service) -> None:
    (job,) = service.start(("Completed", 0))
    pollers = Pollers(rereading=Rereading(every_s=60, soon_s=0.3))
    with connected(WORKSPACE, "http://127.0.0.1:9"), pollers.watch("conn_local", job, submitted_at=0) as watch:
        lost = await watch.look(after_s=0, within_s=10)
        with connected(WORKSPACE, service.url):
            async with asyncio.timeout(10):
                while (seen := await watch.look(after_s=0.1, within_s=10)).status == "Unknown":
                    pass

    assert lost.message.startswith(f"Look at job {job}: no answer")
    assert seen.status == "Completed"
    await until_quiet()


async def test_a_connection_that_cannot_be_read_is_trouble_with_looking_and_no_more(service: Service) -> None:
    (job,) = service.start(("Completed", 0))
    pollers = Pollers(rereading=Rereading(every_s=60, soon_s=0.3))
    with pollers.watch("conn_late", job, submitted_at=0) as watch:
        lost = await watch.look(after_s=0, within_s=10)
        os.environ["AIRFLOW_CONN_CONN_LATE"] = os.environ["AIRFLOW_CONN_CONN_LOCAL"]
        try:
            async with asyncio.timeout(10):
                while (seen := await watch.look(after_s=0.1, within_s=10)).status == "Unknown":
                    pass
        finally:
            del os.environ["AIRFLOW_CONN_CONN_LATE"]

    assert "conn_late" in lost.message
    assert seen.status == "Completed"


async def test_a_look_that_does_not_come_is_told_in_time(service: Service) -> None:
    (job,) = service.start(("Running", 1000))
    service.fault(slow_s=30)
    with POLLERS.watch("conn_local", job, submitted_at=0) as watch:
        seen = await watch.look(after_s=0, within_s=0.5)

    assert (seen.status, seen.message) == ("Unknown", "there was no look for 0 s")
    await until_quiet()


async def test_trouble_is_logged_when_it_begins_and_when_it_ends(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    (job,) = service.start(("Completed", 0))
    service.fault(status=503, count=5)

    with caplog.at_level(logging.INFO, "airflow_azureml.triggers.poller"):
        await status(trigger(job))
        await until_quiet()

    told = [record.getMessage() for record in caplog.records if record.name == "airflow_azureml.triggers.poller"]
    assert [line.partition(":")[0] for line in told] == [
        "Looking at the jobs of connection conn_local",
        "Jobs of connection conn_local cannot be seen",
        "Jobs of connection conn_local can be seen again",
        "Nobody waits for jobs of connection conn_local any more",
    ]


def test_another_event_loop_has_another_poller(service: Service) -> None:
    jobs: Sequence[str] = service.start(("Completed", 0), count=2)

    ended = [asyncio.run(status(trigger(job))) for job in jobs]

    assert ended == ["Completed", "Completed"]
    assert not POLLERS._known

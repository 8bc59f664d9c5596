"""Following jobs of a real emulator, whose logs are append blobs that grow in a real Azurite."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from airflow_azureml.client.azureml import AsyncClient, Client
from airflow_azureml.core.following import Follow, Following
from airflow_azureml.core.joblog import Bounds
from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import UnavailableError
from airflow_azureml.wire import jobs, logs, workspaces
from demo.processes import free_ports
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator, wait_for
from tests.contract.controlled import advance, client_of, controlled_emulator, frozen_client, new_name

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
GROWS = (
    r"""printf 'gr\303'; sleep 0.7; printf '\274n\n'; for i in 1 2 3; do echo line $i; sleep 0.5; done; printf end"""
)


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("logs"), azurite) as made:
        yield made


@pytest.fixture
def azure(emulator: Emulator) -> Iterator[httpx.Client]:
    with client_of(emulator) as made:
        yield made


@pytest.fixture(scope="module")
def settings(emulator: Emulator) -> ConnectionSettings:
    names = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    extra = {**names, "authentication": "emulator", "endpoint": emulator.addresses.http}
    return ConnectionSettings.parse(extra, conn_id="mine")


@pytest.fixture
def client(settings: ConnectionSettings) -> Iterator[Client]:
    with Client(settings) as made:
        yield made


def submit(azure: httpx.Client, name: str, **properties: Any) -> None:
    answer = azure.put(f"{ARM_ID}/jobs/{name}", json={"properties": properties})
    assert answer.status_code == 201, answer.text


def component(azure: httpx.Client, name: str, **spec: Any) -> str:
    body = {"properties": {"componentSpec": {"name": name, "type": "command", **spec}}}
    found: str = azure.put(f"{ARM_ID}/components/{name}/versions/1", json=body).json()["id"]
    return found


def look(client: Client, settings: ConnectionSettings, job: JobSnapshot, following: Following) -> list[str]:
    plane = client.run(workspaces.data_plane(settings.workspace))
    return client.run(logs.look(settings.workspace, job, following, data_plane=plane))


def follow(
    client: Client, settings: ConnectionSettings, name: str, following: Following, *, between: Callable[[], None]
) -> list[str]:
    """Look until the job has ended, and once more then."""
    told: list[str] = []
    deadline = time.monotonic() + 60
    while True:
        job = client.run(jobs.get(settings.workspace, name))
        if following.is_due(job, time.monotonic()) or job.phase.is_final:
            told += look(client, settings, job, following)
        if job.phase.is_final:
            return told
        assert time.monotonic() < deadline, job
        between()


def ended(client: Client, settings: ConnectionSettings, name: str) -> JobSnapshot:
    found: list[JobSnapshot] = []

    def _over() -> bool:
        found[:] = [client.run(jobs.get(settings.workspace, name))]
        return found[0].phase.is_final

    wait_for(_over, f"{name} has ended")
    return found[0]


def lines_of(told: list[str], of: str) -> list[str]:
    return [line for words in told if words.startswith(f"Log of {of}:\n") for line in words.split("\n")[1:]]


def test_a_log_that_grows_is_told_line_by_line_and_each_line_once(
    azure: httpx.Client, client: Client, settings: ConnectionSettings
) -> None:
    name, following = new_name(), Following(Follow.LOG, bounds=Bounds(every_s=0))
    submit(azure, name, jobType="Command", command=GROWS)

    told = follow(client, settings, name, following, between=lambda: time.sleep(0.1))

    assert lines_of(told, f"job {name}") == ["grün", "line 1", "line 2", "line 3", "end"]
    assert len(told) > 2, "it was told while the job ran"


def test_a_pipelines_steps_and_their_logs_are_told_under_their_names(
    azure: httpx.Client, client: Client, settings: ConnectionSettings
) -> None:
    name, following = new_name(), Following(Follow.LOG, bounds=Bounds(every_s=0))
    nodes = {
        step: {"type": "command", "componentId": component(azure, f"says-{step}", command=f"echo I am {step}; sleep 1")}
        for step in ("first", "second")
    }
    submit(azure, name, jobType="Pipeline", jobs=nodes)

    told = follow(client, settings, name, following, between=lambda: time.sleep(0.1))

    for step in nodes:
        assert lines_of(told, f"step {step}") == [f"I am {step}"]
        states = [words for words in told if words.startswith(f"Step {step} is ")]
        assert len(states) == len(set(states))
        assert states[-1].startswith(f"Step {step} is Completed after ")
    assert following.progress.has_told_all()


def test_the_async_client_reads_the_same(azure: httpx.Client, settings: ConnectionSettings, client: Client) -> None:
    name, following = new_name(), Following(Follow.LOG)
    submit(azure, name, jobType="Command", command="echo one")
    job = ended(client, settings, name)

    async def _look() -> tuple[list[str], logs.Piece]:
        async with AsyncClient(settings) as other:
            plane = await other.run(workspaces.data_plane(settings.workspace))
            url = await other.run(logs.log_url(settings.workspace, name, plane))
            told = await other.run(logs.look(settings.workspace, job, following, data_plane=plane))
            return told, await other.run(logs.piece(url, 4, 10, of=name))

    told, nothing = asyncio.run(_look())
    assert told == [f"Log of job {name}:\none"]
    assert (nothing.body, nothing.total) in ((b"", 4), (b"", None))


def test_a_long_log_is_told_within_its_bounds_with_what_is_left_out(
    azure: httpx.Client, client: Client, settings: ConnectionSettings
) -> None:
    name, bounds = new_name(), Bounds(look_bytes=1000, look_lines=20, log_bytes=5000)
    submit(azure, name, jobType="Command", command="seq -w 1 20000")
    job = ended(client, settings, name)

    told = look(client, settings, job, Following(Follow.LOG, bounds=bounds))

    shown = lines_of(told, f"job {name}")
    assert shown[-1] == "20000"
    assert len(shown) <= 60
    left_out = sum(int(words.split()[0]) for words in told if "bytes of the log" in words)
    assert left_out + sum(len(line) + 1 for line in shown) == 20000 * 6
    assert all(job.studio_url in words for words in told if "bytes of the log" in words)


def test_the_end_of_each_failed_step_is_told_with_its_page(
    azure: httpx.Client, client: Client, settings: ConnectionSettings
) -> None:
    name = new_name()
    nodes = {
        step: {"type": "command", "componentId": component(azure, f"fails-{step}", command=command)}
        for step, command in (("bad", "seq 1 50; exit 3"), ("worse", "echo too bad; exit 4"), ("good", "true"))
    }
    submit(azure, name, jobType="Pipeline", jobs=nodes, settings={"continue_on_step_failure": True})
    job = ended(client, settings, name)

    reason, told = client.run(logs.post_mortem(settings.workspace, job))

    found = {words.partition(":")[0]: words for words in told}
    assert set(found) == {"The last lines of step bad", "The last lines of step worse"}
    assert "\n21\n22\n" in found["The last lines of step bad"]
    assert "\n20\n" not in found["The last lines of step bad"]
    assert "too bad" in found["The last lines of step worse"]
    assert "Step bad: " in reason
    for words in told:
        page = words.rpartition(": ")[2]
        assert azure.get(page).status_code == 200
        assert job.name not in page


def test_the_end_of_a_step_in_a_pipeline_within_a_pipeline_is_told(
    azure: httpx.Client, client: Client, settings: ConnectionSettings
) -> None:
    name, fails = new_name(), component(azure, "fails-deep", command="echo deep words; exit 5")
    inner = {"deep": {"type": "command", "componentId": fails}}
    outer = component(azure, "outer", type="pipeline", jobs=inner)
    submit(azure, name, jobType="Pipeline", jobs={"around": {"type": "pipeline", "componentId": outer}})
    job = ended(client, settings, name)

    reason, told = client.run(logs.post_mortem(settings.workspace, job))

    assert "Step around/deep: " in reason
    assert len(told) == 1
    assert told[0].startswith("The last lines of step around/deep:\n")
    assert "deep words" in told[0]


def test_steps_are_told_as_they_change_and_a_silent_look_tells_nothing(
    emulator: Emulator, client: Client, settings: ConnectionSettings
) -> None:
    prefix, following = new_name(), Following(Follow.STEPS)
    steps = {"prepare": [["Running", 20], ["Completed", 0]], "train": [["NotStarted", 30], ["Running", 100]]}
    script = {"statuses": [["Running", 200], ["Completed", 0]], "steps": steps}

    with frozen_client(emulator) as azure:
        body = {"count": 1, "prefix": prefix, "script": script}
        name = azure.post("/control/jobs", json=body).raise_for_status().json()["first"]
        told = []
        for seconds in (5, 5, 15, 10):
            advance(azure, seconds)
            job = client.run(jobs.get(settings.workspace, name))
            told.append(look(client, settings, job, following))

    assert [sorted(words) for words in told] == [
        ["Step prepare is Running", "Step train is NotStarted"],
        [],
        ["Step prepare is Completed after 20.0 s"],
        ["Step train is Running"],
    ]


def test_no_signed_address_is_in_any_log_or_error(
    azure: httpx.Client,
    client: Client,
    settings: ConnectionSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, following = new_name(), Following(Follow.LOG)
    submit(azure, name, jobType="Command", command="echo one")
    job = ended(client, settings, name)
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}/account/azureml/std_log.txt?sv=1&sig=c2VjcmV0"

    with caplog.at_level(logging.DEBUG):
        told = look(client, settings, job, following)
        with pytest.raises(UnavailableError) as caught:
            client.run(jobs.metered(logs.piece(nobody, 0, 10, of="x"), jobs.Meter(), now=0.0))

    assert told == [f"Log of job {name}:\none"]
    assert "user_logs/std_log.txt?…" in caplog.text
    assert "Read the log of x: no answer" in str(caught.value)
    assert "sig=" not in caplog.text + str(caught.value) + repr(following)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_the_emulator_answers_ranges_of_a_log_as_azure_storage_does(
    azure: httpx.Client, client: Client, settings: ConnectionSettings
) -> None:
    name = new_name()
    submit(azure, name, jobType="Command", command="printf 0123456789")
    ended(client, settings, name)
    plane = client.run(workspaces.data_plane(settings.workspace))
    url = client.run(logs.log_url(settings.workspace, name, plane))

    parts = [client.run(logs.piece(url, *wanted, of=name)) for wanted in ((0, 3), (4, 65535), (10, 20))]

    assert [(each.first, each.body) for each in parts] == [(0, b"0123"), (4, b"456789"), (10, b"")]
    assert [each.total for each in parts[:2]] == [10, 10]
    assert httpx.get(url.partition("?")[0], trust_env=False).status_code in {401, 403, 404, 409}

"""An emulator that is killed in the middle of jobs and writes: what it acknowledged is there, and nothing is half."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from azureml_emulator.commands import runs_folder
from azureml_emulator.names import WorkspaceName
from azureml_emulator.processes import processes_below
from azureml_emulator.routes.calls import Services
from azureml_emulator.routes.workspaces import create
from azureml_emulator.scripts import FINAL
from azureml_emulator.storage import Storage
from azureml_emulator.tls import certificates
from azureml_emulator.tokens import issue
from demo.azure import ACCOUNT, WORKSPACE_ID, Azurite, Emulator
from demo.valve import Valve
from tests.unit.emulator.serving import KEY
from tests.unit.emulator.world import ADDRESSES, World

BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
PATIENCE_S = 60.0


def wait_for(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"still not so after {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.05)


@attrs.frozen(kw_only=True)
class Site:
    """An emulator of a test's own, with a queue that is told of a container of its own."""

    emulator: Emulator
    container: str
    queue: str

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.emulator.http, headers=BEARER, timeout=20, trust_env=False)

    def blobs(self) -> BlobServiceClient:
        return BlobServiceClient(f"{self.emulator.blob}/{ACCOUNT}", credential=KEY, retry_total=0)

    def told(self, azurite: Azurite) -> list[dict[str, Any]]:
        """Take what the queue holds."""
        with QueueClient(f"{azurite.queue_url}/{ACCOUNT}", self.queue, credential=KEY) as queue:
            messages = list(queue.receive_messages(messages_per_page=32, visibility_timeout=600))
        return [json.loads(base64.b64decode(message.content)) for message in messages]

    def submit(self, client: httpx.Client, name: str, command: str) -> None:
        spec = {"jobType": "Command", "command": command, "environmentId": "azureml:any:1"}
        spec_with = {**spec, "outputs": {"made": {"jobOutputType": "uri_folder"}}}
        client.put(f"{WORKSPACE_ID}/jobs/{name}", json={"properties": spec_with}).raise_for_status()

    def job(self, client: httpx.Client, name: str) -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/history/v1.0{WORKSPACE_ID}/runs/{name}").raise_for_status().json()
        return found


@pytest.fixture
def site(tmp_path: Path, azurite: Azurite) -> Iterator[Site]:
    container, queue = f"c{uuid.uuid4().hex}", f"q{uuid.uuid4().hex}"
    emulator = Emulator(tmp_path, azurite, event_queues=[f"{queue}:{container}"], arguments=["--control"])
    with emulator:
        made = Site(emulator=emulator, container=container, queue=queue)
        with made.blobs() as service:
            service.create_container(container)
        yield made


@attrs.define
class Busy:
    """Somebody who writes blobs and submits jobs without a pause, and notes what was acknowledged."""

    site: Site
    stopped: threading.Event = attrs.field(factory=threading.Event)
    blobs: dict[str, str] = attrs.field(factory=dict)
    jobs: set[str] = attrs.field(factory=set)
    unanswered: int = 0

    def write(self) -> None:
        with self.site.blobs() as service:
            for number in range(10**6):
                if self.stopped.is_set():
                    return
                name = f"{number}.csv"
                try:
                    answer = service.get_blob_client(self.site.container, name).upload_blob(name.encode())
                except (AzureError, OSError):
                    self.unanswered += 1
                    time.sleep(0.05)
                else:
                    self.blobs[name] = str(answer["etag"]).strip('"')

    def submit(self) -> None:
        with self.site.client() as client:
            for number in range(10**6):
                if self.stopped.wait(0.2):
                    return
                with contextlib.suppress(httpx.HTTPError):
                    self.site.submit(client, f"job-{number}", "sleep 0.3; echo made > ${{outputs.made}}/it")
                    self.jobs.add(f"job-{number}")


@contextlib.contextmanager
def busy(site: Site) -> Iterator[Busy]:
    made = Busy(site)
    threads = [threading.Thread(target=each) for each in (made.write, made.submit)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stopped.set()
        for thread in threads:
            thread.join()


def test_whatever_was_acknowledged_outlives_kills_at_any_moment_and_jobs_end_for_a_reason(
    site: Site, azurite: Azurite
) -> None:
    draw = random.Random(4)  # noqa: S311  # no secret
    with busy(site) as made:
        for _ in range(3):
            time.sleep(draw.uniform(0.5, 2.5))
            site.emulator.kill()
            # Once more while it starts.
            site.emulator.child.start()
            time.sleep(draw.uniform(0.1, 1.5))
            site.emulator.kill()
            site.emulator.start()
        time.sleep(2)

    with site.client() as client:
        wait_for(lambda: all(site.job(client, name)["status"] in FINAL for name in made.jobs), "all jobs have ended")
        jobs = {name: site.job(client, name) for name in made.jobs}
    failed = [job["error"]["error"]["message"] for job in jobs.values() if job["status"] == "Failed"]
    assert {job["status"] for job in jobs.values()} == {"Completed", "Failed"}
    assert [said for said in failed if "The emulator stopped while job" not in said] == []
    with BlobServiceClient(f"{azurite.blob_url}/{ACCOUNT}", credential=KEY) as service:
        there = {blob.name: blob.etag.strip('"') for blob in service.get_container_client(site.container).list_blobs()}
    told = {(each["subject"].rpartition("/")[2], each["data"]["eTag"]) for each in site.told(azurite)}
    assert made.unanswered > 0
    assert {name: there.get(name) for name in made.blobs} == made.blobs
    assert set(made.blobs.items()) <= told <= set(there.items())
    assert list(runs_folder(site.emulator.state_dir).glob("*")) == []
    assert list(processes_below(runs_folder(site.emulator.state_dir))) == []
    with sqlite3.connect(site.emulator.state_dir / "emulator.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_step_that_ran_when_the_emulator_was_killed_is_failed_with_its_pipeline_and_its_process_is_gone(
    site: Site, tmp_path: Path
) -> None:
    beat = tmp_path / "beat"
    step = {"type": "command", "command": f"while true; do date +%N > {beat}; sleep 0.1; done", "name": "beating"}
    with site.client() as client:
        put = client.put(f"{WORKSPACE_ID}/components/beating/versions/1", json={"properties": {"componentSpec": step}})
        node = {"type": "command", "componentId": put.raise_for_status().json()["id"]}
        spec = {"jobType": "Pipeline", "jobs": {"only": node}, "settings": {}}
        client.put(f"{WORKSPACE_ID}/jobs/whole", json={"properties": spec}).raise_for_status()
        wait_for(beat.exists, "the step runs")

    site.emulator.kill()
    site.emulator.start()

    with site.client() as client:
        whole = site.job(client, "whole")
        steps = client.get(f"/history/v1.0{WORKSPACE_ID}/runs/whole/children").json()["value"]
    assert [each["status"] for each in (whole, *steps)] == ["Failed", "Failed"]
    assert "The emulator stopped while job whole was Running" in whole["error"]["error"]["message"]
    assert list(processes_below(runs_folder(site.emulator.state_dir))) == []


def test_a_writer_that_was_answered_and_whose_event_was_held_back_has_lost_it_by_a_kill(
    site: Site, azurite: Azurite
) -> None:
    fault = [{"subject": ".*/held.csv", "delay_s": 2}]
    with site.client() as client:
        client.put("/control/events", json=fault).raise_for_status()
    with site.blobs() as service:
        for name in ("held.csv", "told.csv"):
            service.get_blob_client(site.container, name).upload_blob(b"x")

    site.emulator.kill()
    site.emulator.start()
    time.sleep(2.5)  # it would have come by now

    assert [each["subject"].rpartition("/")[2] for each in site.told(azurite)] == ["told.csv"]
    with site.client() as client:
        assert client.get("/control/events").json() == [
            {"subject": ".*/held.csv", "delay_s": [2.0, 2.0], "matched": 1, "struck": 1}
        ]


def test_a_kill_between_commit_and_event_leaves_a_blob_without_an_event_and_a_writer_without_an_answer(
    tmp_path: Path, azurite: Azurite
) -> None:
    container, queue = f"c{uuid.uuid4().hex}", f"q{uuid.uuid4().hex}"
    with Valve({"queue": azurite.queue_port}) as valve:
        behind = Azurite(tmp_path / "none")
        behind.blob_port, behind.queue_port = azurite.blob_port, valve.ports["queue"]
        emulator = Emulator(tmp_path, behind, event_queues=[f"{queue}:{container}"])
        with emulator, BlobServiceClient(f"{emulator.blob}/{ACCOUNT}", credential=KEY, retry_total=0) as service:
            service.create_container(container)
            valve.shut()
            outcome: list[object] = []

            def write() -> None:
                try:
                    outcome.append(service.get_blob_client(container, "a.csv").upload_blob(b"x"))
                except AzureError as error:
                    outcome.append(error)

            writing = threading.Thread(target=write)
            writing.start()
            there = BlobServiceClient(f"{azurite.blob_url}/{ACCOUNT}", credential=KEY).get_blob_client(
                container, "a.csv"
            )
            wait_for(there.exists, "the blob is committed")
            emulator.kill()
            writing.join()
            valve.open()
            emulator.start()

            with QueueClient(f"{azurite.queue_url}/{ACCOUNT}", queue, credential=KEY) as reader:
                assert list(reader.receive_messages()) == []
    assert isinstance(outcome[0], AzureError)
    assert there.exists()


@pytest.mark.anyio
async def test_a_workspace_whose_creation_was_cut_short_is_created_by_the_next_start(world: World) -> None:
    name = WorkspaceName.parse(f"{uuid.uuid4()}/group/cut-short")
    nowhere = attrs.evolve(world.settings, azurite_blob="http://127.0.0.1:9")
    broken, sound = (Storage(world.store, settings) for settings in (nowhere, world.settings))
    services = Services(
        store=world.store,
        settings=world.settings,
        addresses=ADDRESSES,
        runner=world.runner,
        storage=broken,
        control=None,
    )
    with pytest.raises(AzureError):
        await create(services, name)

    made = await create(attrs.evolve(services, storage=sound), name)
    again = await create(attrs.evolve(services, storage=sound), name)
    await broken.close()

    places = [
        sound.resolve(f"azureml://datastores/{each}/paths/x", name.arm_id)
        for each in ("workspaceblobstore", "workspaceartifactstore")
    ]
    there = [await world.container(place.container).exists() for place in places]
    await sound.close()
    assert (made, again, there) == (True, False, [True, True])


def test_files_that_were_half_written_are_written_anew(tmp_path: Path, azurite: Azurite) -> None:
    emulator = Emulator(tmp_path, azurite, event_queues=())
    (emulator.state_dir / "tls").mkdir(parents=True)
    places = [emulator.state_dir / name for name in ("identity-header", "tls/ca.pem", "tls/ca-key.pem")]
    left = [place.with_name(f"{place.name}.partial") for place in places]
    for each in left:
        each.write_bytes(b"-----BEGIN")

    with emulator:
        assert min(place.stat().st_size for place in places) > 20
        assert not any(each.exists() for each in left)


def test_the_key_of_another_authority_is_not_used_with_a_certificate(tmp_path: Path) -> None:
    names = ["management.azure.com"]
    kept, other = (certificates(tmp_path / each, names) for each in ("kept", "other"))
    before = kept.ca.read_bytes()
    again = certificates(tmp_path / "kept", names)
    unchanged = again.ca.read_bytes() == before
    (tmp_path / "kept/tls/ca-key.pem").write_bytes((tmp_path / "other/tls/ca-key.pem").read_bytes())

    certificates(tmp_path / "kept", names)

    assert unchanged
    assert kept.ca.read_bytes() not in {before, other.ca.read_bytes()}

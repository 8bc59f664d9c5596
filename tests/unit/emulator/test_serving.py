"""The processes of online deployments: real ones, of files that lie on the real Azurite."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import attrs
import pytest

from azureml_emulator import online_operations
from azureml_emulator.clock import CLOCK
from azureml_emulator.online_faults import OnlineFaults
from azureml_emulator.processes import processes_below
from azureml_emulator.serving import DEPLOYMENT_TYPE, Deployments
from azureml_emulator.serving_logs import INITIALIZER
from azureml_emulator.serving_process import serving_folder
from azureml_emulator.settings import BUILD
from azureml_emulator.storage import BlobPlace
from tests.unit.emulator.world import World, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Json = dict[str, Any]

ECHO = """
import json, os, time
def init():
    print("up", os.environ.get("WORD", ""))
def run(raw):
    asked = json.loads(raw)
    time.sleep(asked.get("sleep_s", 0))
    return [os.getpid(), os.environ.get("WORD", "")]
"""
RAW = """
from azureml.contrib.services.aml_response import AMLResponse
from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
def init():
    pass
@rawhttp
def run(request: AMLRequest):
    said = f"{request.method} {request.path} {request.args['a']} {request.get_json()}"
    return AMLResponse(said, 418, {"x-kind": "teapot"})
"""
BROKEN = "def init():\n    raise RuntimeError('no weights')\ndef run(raw):\n    return raw\n"


@attrs.define
class Site:
    """A workspace with one endpoint, and the processes of its deployments."""

    world: World
    faults: OnlineFaults
    serving: Deployments
    client: aiohttp.ClientSession

    def again(self) -> None:
        """Be what a new emulator would see: the same resources, nothing of what was in memory."""
        settings = self.world.settings
        self.serving = Deployments(
            self.world.store, self.world.storage, settings, http="http://127.0.0.1:9", faults=self.faults
        )
        self.serving.recover()

    async def code(self, script: str) -> str:
        container = f"c{uuid.uuid4().hex}"
        path = self.world.shared / f"{container}.py"
        path.write_text(script)
        await self.world.storage.upload(path, BlobPlace(container, "code/score.py"))
        arm_id = f"{self.world.workspace}/codes/{container}/versions/1"
        settings = self.world.settings
        uri = f"http://127.0.0.1/{settings.account}/{container}/code"
        self.world.store.put(arm_id, {"id": arm_id, "properties": {"codeUri": uri}})
        return arm_id

    def put(self, code: str, *, name: str = "blue", count: int = 1, conda: str = "", **variables: str) -> str:
        """Put a deployment, and have it brought about; its operation."""
        arm_id, environment = self.id(name), f"{self.world.workspace}/environments/own/versions/1"
        self.world.store.put(environment, {"properties": {"condaFile": conda}})
        properties = {
            "codeConfiguration": {"codeId": code, "scoringScript": "score.py"},
            "environmentId": environment,
            "environmentVariables": variables,
            "provisioningState": "Updating",
            "requestSettings": {"requestTimeout": "PT2S"},
        }
        operation = f"od:{uuid.uuid4()}"
        url = f"http://x/mfeOperationsStatus/{operation}?api-version=1"
        properties["properties"] = {"AzureAsyncOperationUri": url}
        body = {"id": arm_id, "name": name, "type": DEPLOYMENT_TYPE, "properties": properties, "tags": {}}
        self.world.store.put(arm_id, body | {"sku": {"capacity": count}})
        online_operations.begin(self.world.store, url)
        self.serving.deploy(arm_id, operation)
        return operation

    def id(self, name: str = "blue") -> str:
        return f"{self.world.workspace}/onlineEndpoints/line/deployments/{name}"

    def body(self, name: str = "blue") -> Json:
        found = self.world.store.get(self.id(name))
        assert found is not None
        return found

    async def ended(self, operation: str) -> Json:
        """Wait for the end of an operation."""

        def found() -> Json:
            return online_operations.find(self.world.store, operation) or {}

        await eventually(lambda: "endTime" in found(), f"{operation} has ended")
        return found()

    def urls(self, name: str = "blue") -> list[str]:
        return [one.url for one in self.serving.instances(self.id(name))]

    async def ask(self, url: str, **asked: Any) -> list[Any]:
        async with self.client.post(f"{url}/score", json=asked) as answer:
            assert answer.status == 200, await answer.text()
            found: list[Any] = await answer.json()
            return found

    def processes(self) -> set[int]:
        return set(processes_below(serving_folder(self.world.settings.state_dir)))


@pytest.fixture
async def site(world: World) -> AsyncIterator[Site]:
    faults = OnlineFaults()
    serving = Deployments(world.store, world.storage, world.settings, http="http://127.0.0.1:9", faults=faults)
    async with aiohttp.ClientSession() as client:
        made, clock = Site(world, faults, serving, client), CLOCK.shown()
        yield made
        CLOCK.restore(clock)
        await made.serving.close()


async def test_a_deployment_has_as_many_processes_as_instances_and_each_answers(site: Site) -> None:
    ended = await site.ended(site.put(await site.code(ECHO), count=3, WORD="hello"))

    answers = [await site.ask(url) for url in site.urls()]
    assert ended["status"] == "Succeeded"
    assert site.body()["properties"]["provisioningState"] == "Succeeded"
    assert len({pid for pid, _ in answers}) == 3
    assert {word for _, word in answers} == {"hello"}
    assert site.serving.log(site.id()).tail(lines=50).count("up hello") == 3


async def test_a_script_may_use_what_azures_images_have_for_it(site: Site) -> None:
    await site.ended(site.put(await site.code(RAW)))

    async with site.client.post(f"{site.urls()[0]}/score?a=1", data=b"[2]") as answer:
        assert (answer.status, await answer.text()) == (418, "POST /score 1 [2]")
        assert answer.headers["x-kind"] == "teapot"


async def test_an_id_is_found_in_whatever_case_and_one_that_is_not_there_has_no_process(site: Site) -> None:
    await site.ended(site.put(await site.code(ECHO)))

    assert len(site.serving.instances(site.id().upper())) == 1
    assert site.serving.instances(site.id("green")) == ()


async def test_a_process_that_is_killed_is_replaced_and_not_offered_meanwhile(site: Site) -> None:
    await site.ended(site.put(await site.code(ECHO)))
    (before,) = site.urls()
    pid, _ = await site.ask(before)

    os.kill(pid, signal.SIGKILL)

    await eventually(lambda: site.urls() != [before], "the dead process is not offered")
    await eventually(lambda: bool(site.urls()), "another one is")
    assert (await site.ask(site.urls()[0]))[0] != pid
    assert "exit code -9; another one is started" in site.serving.log(site.id()).tail(lines=50)


async def test_more_instances_start_only_what_is_missing_and_fewer_end_the_last(site: Site) -> None:
    code = await site.code(ECHO)
    await site.ended(site.put(code, count=2))
    two = site.urls()

    await site.ended(site.put(code, count=3))
    three = site.urls()
    await site.ended(site.put(code, count=1))

    assert three[:2] == two
    assert site.urls() == two[:1]


async def test_an_update_never_leaves_a_moment_without_a_process_and_what_is_asked_is_answered(site: Site) -> None:
    code = await site.code(ECHO)
    await site.ended(site.put(code, WORD="old"))
    (old,) = site.serving.instances(site.id())
    old.busy += 1
    asked = asyncio.create_task(site.ask(old.url, sleep_s=1.5))
    asked.add_done_callback(lambda _: setattr(old, "busy", 0))
    seen: list[int] = []

    async with _watching(lambda: seen.append(len(site.urls()))):
        await site.ended(site.put(code, WORD="new"))

    assert min(seen) == 1
    assert (await site.ask(site.urls()[0]))[1] == "new"
    assert (await asked)[1] == "old"
    await eventually(lambda: len(site.processes()) == 1, "the old process has ended")


@contextlib.asynccontextmanager
async def _watching(look: Callable[[], None]) -> AsyncIterator[None]:
    """Look all the time while the block runs."""

    async def watch() -> None:
        while True:
            look()
            await asyncio.sleep(0)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


async def test_an_update_that_fails_leaves_what_was_there(site: Site) -> None:
    await site.ended(site.put(await site.code(ECHO)))
    before = site.urls()

    ended = await site.ended(site.put(await site.code(BROKEN)))

    assert ended["status"] == "Failed"
    assert ended["error"]["code"] == "ResourceNotReady"
    assert "The last line of its log: RuntimeError: no weights" in ended["error"]["message"]
    assert site.body()["properties"]["provisioningState"] == "Failed"
    assert site.urls() == before


async def test_files_that_are_not_there_are_named(site: Site) -> None:
    code = f"{site.world.workspace}/codes/gone/versions/1"
    site.world.store.put(code, {"id": code, "properties": {"codeUri": "azureml://datastores/nowhere/paths/x"}})

    ended = await site.ended(site.put(code))

    assert ended["error"]["code"] == "ResourceNotFound"
    assert "There is no datastore nowhere" in ended["error"]["message"]
    assert "There is no datastore nowhere" in site.serving.log(site.id()).tail(INITIALIZER, lines=10)


async def test_an_environment_that_is_built_is_what_runs_and_one_that_cannot_be_fails_the_deployment(
    site: Site,
) -> None:
    site.serving = Deployments(
        site.world.store,
        site.world.storage,
        attrs.evolve(site.world.settings, environments=BUILD),
        http="http://127.0.0.1:9",
    )
    code = await site.code("import sys\ndef init():\n    pass\ndef run(raw):\n    return [sys.prefix]\n")

    refused = await site.ended(site.put(code, conda="dependencies: [cudatoolkit]"))
    await site.ended(site.put(code, conda="dependencies: [pip]"))

    assert refused["error"]["code"] == "ImageBuildFailure"
    assert "asks for cudatoolkit of conda" in refused["error"]["message"]
    (prefix,) = await site.ask(site.urls()[0])
    assert prefix.startswith(str(site.world.settings.state_dir / "environments"))
    assert "is built" in site.serving.log(site.id()).tail(INITIALIZER, lines=20)


# faults


async def test_a_deployment_that_never_becomes_ready_fails_when_its_probe_gives_up_by_the_clock(site: Site) -> None:
    code = await site.code(ECHO)
    await site.ended(site.put(code, WORD="old"))
    before = site.urls()
    site.faults.replace([{"deployment": "blue", "never_ready": True, "count": 1}])

    operation = site.put(code, WORD="new")
    own = site.serving.log(site.id())
    await eventually(lambda: own.tail(lines=50).count("Listening") == 2, "the process that is never found ready is")
    CLOCK.advance(309)
    await asyncio.sleep(0.2)
    still = online_operations.find(site.world.store, operation)
    CLOCK.advance(2)
    ended = await site.ended(operation)

    assert still is not None
    assert still["status"] == "Updating"
    assert ended["status"] == "Failed"
    assert "was not ready within 310 s: Readiness probe failed" in ended["error"]["message"]
    assert site.urls() == before
    await eventually(lambda: len(site.processes()) == 1, "it has been ended")


async def test_an_operation_fails_as_it_is_told_to_and_takes_as_long(site: Site) -> None:
    code = await site.code(ECHO)
    site.faults.replace(
        [
            {"deployment": "blue", "fails": "OutOfCapacity", "count": 1},
            {"deployment": "blue", "takes_s": 3000, "count": 1},
        ]
    )

    failed = await site.ended(site.put(code))
    slow = site.put(code)
    await asyncio.sleep(0.3)
    still = site.urls()
    CLOCK.advance(3000)
    ended = await site.ended(slow)

    assert failed["error"]["code"] == "OutOfCapacity"
    assert still == []
    assert ended["status"] == "Succeeded"


# ends


async def test_a_deployment_that_is_deleted_answers_what_holds_it_before_its_processes_end(site: Site) -> None:
    await site.ended(site.put(await site.code(ECHO)))
    body, (url,) = site.body(), site.urls()
    held = [1]
    site.serving.pending = lambda _: held[0]
    site.world.store.delete(site.id())
    operation = f"od:{uuid.uuid4()}"
    online_operations.begin(site.world.store, f"http://x/mfeOperationsStatus/{operation}?")

    site.serving.withdraw(body, operation)
    answer = await site.ask(url, sleep_s=0.5)
    meanwhile = online_operations.find(site.world.store, operation)
    held[0] = 0
    ended = await site.ended(operation)

    assert answer
    assert meanwhile is not None
    assert "endTime" not in meanwhile
    assert ended["status"] == "Succeeded"
    assert site.urls() == []
    assert site.processes() == set()


async def test_deleting_a_deployment_cancels_what_is_done_to_it(site: Site) -> None:
    site.faults.replace([{"deployment": "blue", "takes_s": 3000}])
    creating = site.put(await site.code(ECHO))
    body = site.body()
    site.world.store.delete(site.id())

    site.serving.withdraw(body)

    ended = await site.ended(creating)
    assert (ended["status"], ended["error"]["code"]) == ("Canceled", "OperationCanceled")
    assert site.world.store.get(site.id()) is None


async def test_what_served_serves_again_after_a_restart_and_what_was_begun_is_ended(site: Site) -> None:
    code = await site.code(ECHO)
    await site.ended(site.put(code, WORD="served"))
    site.faults.replace([{"deployment": "green", "takes_s": 3000}])
    begun = site.put(code, name="green", WORD="begun")
    await site.serving.close()
    left = site.processes()
    site.faults.replace([])

    site.again()

    ended = await site.ended(begun)
    await eventually(lambda: bool(site.urls()), "blue serves again")
    assert left == set()
    assert ended["status"] == "Succeeded"
    assert [(await site.ask(site.urls(name)[0]))[1] for name in ("blue", "green")] == ["served", "begun"]


async def test_a_restart_serves_what_served_and_not_an_update_that_failed(site: Site) -> None:
    code = await site.code(ECHO)
    await site.ended(site.put(code, WORD="served"))
    site.faults.replace([{"deployment": "blue", "fails": "OutOfQuota"}])
    await site.ended(site.put(code, WORD="refused", count=2))
    await site.serving.close()

    site.again()

    await eventually(lambda: len(site.urls()) == 1, "blue serves again")
    assert (await site.ask(site.urls()[0]))[1] == "served"
    assert site.body()["properties"]["provisioningState"] == "Failed"

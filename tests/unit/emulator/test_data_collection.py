"""What models are given and answer, as lines in blobs on the real Azurite, at the place and in the shape of Azure's."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import aiohttp
import attrs
import pytest

from azureml_emulator import data_collection
from azureml_emulator.authority import AUTHORITY
from azureml_emulator.clock import utc_now
from azureml_emulator.data_collection import DataCollection
from azureml_emulator.errors import WireError
from azureml_emulator.names import WorkspaceName
from azureml_emulator.online_processes import Asked, ModelAnswer
from azureml_emulator.storage import BlobPlace
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import World

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
SCRIPT = """
import pandas
from azureml.ai.monitoring import Collector

inputs, outputs = Collector(name="model_inputs"), Collector(name="model_outputs")
context = inputs.collect(pandas.DataFrame({"age": [40, 41], "bmi": [21.5, None]}))
outputs.collect(pandas.DataFrame({"prediction": [1, 0]}), context)
try:
    Collector(name="other").collect(pandas.DataFrame())
except ValueError as error:
    print(error)
"""


@attrs.frozen
class Collecting:
    """A deployment that collects, and the collector."""

    world: World
    collection: DataCollection
    url: str

    @property
    def workspace(self) -> WorkspaceName:
        return WorkspaceName.of_arm_id(self.world.workspace)

    def deploy(self, *collections: str, **more: Any) -> Json:
        one = {"dataCollectionMode": "enabled"} | more
        arm_id = f"{self.world.workspace}/onlineEndpoints/ep/deployments/blue"
        collector = {"collections": dict.fromkeys(collections, one)}
        body = {"id": arm_id, "name": "blue", "properties": {"dataCollector": collector}}
        self.world.store.put(arm_id, body)
        return body

    async def lines(self, collection: str) -> list[Json]:
        """Read what lies at Azure's place of this hour, or of the one before."""
        await self.collection.close()
        container, folder = self.place(collection)
        found = await self.world.storage.listed(BlobPlace(container, folder))
        for name, _ in found:
            assert name.startswith(f"{utc_now():%Y/%m/%d/}")
            assert name.endswith(".jsonl")
            assert name.count("/") == 4
        read = [await self._read(BlobPlace(container, f"{folder}/{name}")) for name, _ in found]
        return [json.loads(line) for text in read for line in text.splitlines()]

    def place(self, collection: str) -> tuple[str, str]:
        datastore = self.world.store.get(f"{self.world.workspace}/datastores/workspaceblobstore")
        assert datastore is not None
        return datastore["properties"]["containerName"], f"modelDataCollector/ep/blue/{collection}"

    async def _read(self, blob: BlobPlace) -> str:
        return b"".join([chunk async for chunk in await self.world.storage.read(blob)]).decode()


@pytest.fixture
async def collecting(world: World) -> AsyncIterator[Collecting]:
    collection = DataCollection(world.store, world.storage)
    async with serving(collection) as url:
        yield Collecting(world, collection, url)
    await collection.close()


def asked(body: str) -> Asked:
    return Asked(method="POST", query="", headers={"content-type": "application/json"}, body=body.encode())


def answered(body: str, kind: str = "application/json") -> ModelAnswer:
    return ModelAnswer(status=200, headers={"content-type": kind}, body=body.encode())


async def test_payloads_are_collected_where_a_deployment_asks_for_them(collecting: Collecting) -> None:
    deployment = collecting.deploy("request", "response")
    request_id = str(uuid.uuid4())

    collecting.collection.payloads(deployment, asked('{"data": [[1]]}'), answered("[0.5]"), request_id=request_id)

    [request], [response] = [await collecting.lines(name) for name in ("request", "response")]
    assert (request["type"], request["data"]) == ("azureml.inference.request", {"data": [[1]]})
    assert (response["type"], response["data"]) == ("azureml.inference.response", [0.5])
    assert (request["path"], request["method"], request["contentrange"]) == ("/score", "POST", "bytes 0-14/15")
    assert {line["correlationid"] for line in (request, response)} == {request_id}
    assert request["source"] == deployment["id"]


@pytest.mark.parametrize("more", [{"dataCollectionMode": "Disabled"}, {"samplingRate": 0.0}])
async def test_what_is_off_or_sampled_out_is_not_collected(collecting: Collecting, more: Json) -> None:
    deployment = collecting.deploy("request", **more)

    collecting.collection.payloads(deployment, asked("{}"), answered("{}"), request_id="r")

    assert await collecting.lines("request") == []


async def test_what_is_no_json_is_collected_as_text(collecting: Collecting) -> None:
    deployment = collecting.deploy("response")

    collecting.collection.payloads(deployment, asked("{}"), answered("half {", "text/plain"), request_id="r")
    collecting.collection.payloads(deployment, asked("{}"), answered("half {"), request_id="r")

    assert [line["data"] for line in await collecting.lines("response")] == ["half {", "half {"]


async def test_later_lines_follow_the_earlier_ones_in_the_same_blob(collecting: Collecting) -> None:
    deployment = collecting.deploy("request")
    for number in range(3):
        collecting.collection.payloads(deployment, asked(str(number)), answered("1"), request_id="r")
        await collecting.collection.close()

    assert [line["data"] for line in await collecting.lines("request")] == [0, 1, 2]


async def test_a_collection_lies_where_its_data_asset_says(collecting: Collecting) -> None:
    container, _ = collecting.place("request")
    asset = f"{collecting.world.workspace}/data/mine/versions/1"
    uri = "azureml://datastores/workspaceblobstore/paths/elsewhere/mine/"
    collecting.world.store.put(asset, {"id": asset, "properties": {"dataUri": uri}})
    deployment = collecting.deploy("request", dataId=asset)

    collecting.collection.payloads(deployment, asked("1"), answered("1"), request_id="r")
    await collecting.collection.close()

    found = await collecting.world.storage.listed(BlobPlace(container, "elsewhere/mine"))
    assert len(found) == 1


async def test_what_a_scoring_script_collects_comes_from_its_process(collecting: Collecting, tmp_path: Path) -> None:
    deployment = collecting.deploy("model_inputs", "model_outputs")
    told = data_collection.variables(deployment, http=collecting.url, folder=tmp_path)

    said = await _run(SCRIPT, told)

    [inputs], [outputs] = [await collecting.lines(f"model_{which}") for which in ("inputs", "outputs")]
    assert said == "collection other is not enabled, drop the data"
    assert inputs["data"] == [{"age": 40, "bmi": 21.5}, {"age": 41, "bmi": None}]
    assert outputs["data"] == [{"prediction": 1}, {"prediction": 0}]
    assert inputs["correlationid"] == outputs["correlationid"]
    assert (inputs["type"], inputs["collectdatatype"]) == ("azureml.inference.model_inputs", "pandas.DataFrame")


def test_a_deployment_that_collects_nothing_needs_no_settings(tmp_path: Path) -> None:
    assert data_collection.variables({"id": "/x", "properties": {}}, http="http://127.0.0.1:1", folder=tmp_path) == {}


def test_the_settings_name_the_deployment_and_its_collections(tmp_path: Path) -> None:
    collections = {"request": {"dataCollectionMode": "Enabled", "samplingRate": 0.5}, "off": {}}
    body = {"id": "/a/b", "properties": {"dataCollector": {"collections": collections}}}

    told = data_collection.variables(body, http="http://127.0.0.1:81", folder=tmp_path)

    assert unquote(told["AZUREML_MDC_HOST"]) == f"/a/b:{AUTHORITY.sign('/a/b')}@127.0.0.1"
    assert told["AZUREML_MDC_PORT"] == "81"
    settings = json.loads(Path(told["AZUREML_MDC_CONFIG_PATH"]).read_text())
    assert settings == {"collections": {"request": {"enabled": True, "sampleRatePercentage": 50}}}


@pytest.mark.parametrize(
    ("user", "collection", "status"),
    [("", "model_inputs", 401), ("forged", "model_inputs", 401), ("none", "model_inputs", 404), ("it", "else", 400)],
)
async def test_what_belongs_to_no_collection_is_refused(
    collecting: Collecting, user: str, collection: str, status: int
) -> None:
    deployment = collecting.deploy("model_inputs")
    name = deployment["id"] if user in {"it", "forged"} else "/subscriptions/none"
    said = f"{name}:{'-' if user == 'forged' else AUTHORITY.sign(name)}"
    who = {"authorization": f"Basic {base64.b64encode(said.encode()).decode()}"} if user else {}
    async with (
        aiohttp.ClientSession() as client,
        client.post(
            f"{collecting.url}{data_collection.PATH}",
            data="[]",
            headers={"ce-type": f"azureml.inference.{collection}"} | who,
        ) as answer,
    ):
        assert answer.status == status


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, ""),
        ({"collections": {"request": {"dataCollectionMode": "enabled", "samplingRate": 0.5, "dataId": "x"}}}, ""),
        ({"collections": {}}, "names no collections; give 1 to 5"),
        ({"collections": {str(number): {} for number in range(6)}}, "give 1 to 5"),
        ({"collections": {"../up": {}}}, "../up is no collection"),
        ({"collections": {"a": {"samplingRate": 50}}}, "samplingRate is 50; give a share of 0 to 1"),
        ({"collections": {"a": {"dataCollectionMode": "on"}}}, "'on' is no mode; give Enabled or Disabled"),
        ({"collections": {"a": {}}, "rollingRate": "Weekly"}, "rollingRate is 'Weekly'"),
    ],
)
def test_a_wrong_data_collector_is_refused_in_a_sentence(said: Json, sentence: str) -> None:
    if not sentence:
        assert data_collection.checked(said) == (said or None)
        return

    with pytest.raises(WireError) as refused:
        data_collection.checked(said)

    assert sentence in (refused.value.body or {})["error"]["message"]


async def _run(script: str, told: dict[str, str]) -> str:
    """Run a script as a scoring process does, with the stand-ins at the end of its path."""
    path = f"import sys; sys.path.append({str(data_collection.STAND_INS)!r})\n"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", path + script, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out.decode().strip()

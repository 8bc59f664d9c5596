"""A subset of what lies in Blob Storage: a real Azurite and a real emulator, and workers that die."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import polars as pl
import pytest
from airflow.sdk.exceptions import AirflowFailException
from attrs import define, field, frozen
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.core.lineage import DataVersion
from airflow_azureml.operators.subset import AzureMLSubsetOperator, Subset
from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID, Emulator
from demo.stack import airflow_environment

DATASTORE = "azureml://datastores/workspaceblobstore/paths"
TENTH = Subset(fraction=0.1, by="id", stratify="sex", seed=7)


@frozen
class TaskInstance:
    pushed: dict[str, Any] = field(factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@define
class World:
    """One folder of the workspace's datastore, with three partitions."""

    container: ContainerClient
    name: str = field(factory=lambda: f"s{uuid.uuid4().hex[:12]}")

    def put(self, path: str, content: str) -> None:
        self.container.upload_blob(f"{self.name}/{path}", content.encode(), overwrite=True)

    def partition(self, path: str, ids: range) -> None:
        lines = [f"{each},{'fm'[each % 2]},{each % 97}" for each in ids]
        self.put(f"whole/{path}", "\n".join(["id,sex,age", *lines, ""]))

    def run(self, **more: Any) -> dict[str, Any]:
        told: dict[str, Any] = {
            "task_id": "subset",
            "source": f"{DATASTORE}/{self.name}/whole/",
            "to": f"{DATASTORE}/{self.name}/subsets/",
            "subset": TENTH,
        }
        context: Any = {"ti": TaskInstance()}
        return AzureMLSubsetOperator(**{**told, **more}).execute(context)

    def names(self, uri: str = f"{DATASTORE}/") -> list[str]:
        """Name what lies in a folder."""
        path = uri.removeprefix(f"{DATASTORE}/")
        return [name.removeprefix(path) for name in self.container.list_blob_names(name_starts_with=path)]

    def read(self, uri: str) -> bytes:
        return bytes(self.container.download_blob(uri.removeprefix(f"{DATASTORE}/")).readall())

    def rows(self, uri: str) -> list[tuple[str, ...]]:
        parts = [self.read(f"{uri}{name}") for name in self.names(uri)]
        return [row for part in parts for row in pl.read_csv(io.BytesIO(part), infer_schema=False).rows()]


@pytest.fixture
def world(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in airflow_environment(emulator).items():
        monkeypatch.setenv(name, value)
    url = f"{emulator.http}{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01"
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    found = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
    with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
        made = World(container=service.get_container_client(found["properties"]["containerName"]))
        for number in range(3):
            made.partition(f"2026-01-0{number + 1}/part.csv", range(number * 1000, (number + 1) * 1000))
        yield made


def test_a_folder_of_partitions_becomes_a_smaller_one_with_what_was_found(world: World) -> None:
    told = world.run()

    rows = world.rows(told["uri"])
    assert world.names(told["uri"]) == [f"2026-01-0{number}/part.csv" for number in (1, 2, 3)]
    assert (len(rows), told["rows"], told["of"], told["accepted"]) == (300, 300, 3000, True)
    assert sum(row[1] == "f" for row in rows) == 150
    assert json.loads(world.read(told["verdict_uri"]))["accepted"] is True
    assert b"<svg" in world.read(told["report_uri"])
    assert len(json.loads(world.read(told["manifest_uri"]))["files"]) == 3
    assert len(json.dumps(told)) < 4000
    assert DataVersion.parse(told["data"]).rows == 300


def test_it_is_made_once_and_anew_for_new_data_alone(world: World) -> None:
    told = world.run()
    written = {each.name: each.last_modified for each in world.container.list_blobs(name_starts_with=world.name)}

    assert world.run() == told
    assert written == {
        each.name: each.last_modified for each in world.container.list_blobs(name_starts_with=world.name)
    }
    world.partition("2026-01-04/part.csv", range(3000, 4000))
    more = world.run()
    assert more["key"] != told["key"]
    assert (told["rows"], more["rows"]) == (300, 400)


def test_a_worker_that_died_before_the_manifest_is_followed_by_one_that_writes_the_same(world: World) -> None:
    told = world.run()
    before = {name: world.read(f"{told['uri']}{name}") for name in world.names(told["uri"])}
    for name in ("manifest_uri", "verdict_uri"):
        world.container.delete_blob(told[name].removeprefix(f"{DATASTORE}/"))
    world.container.delete_blob(f"{told['uri']}2026-01-03/part.csv".removeprefix(f"{DATASTORE}/"))

    assert world.run() == told
    assert {name: world.read(f"{told['uri']}{name}") for name in world.names(told["uri"])} == before


def test_only_partitions_of_the_window_count(world: World) -> None:
    told = world.run(since="2026-01-02", until="2026-01-03", on_fail="warn")

    assert world.names(told["uri"]) == ["2026-01-02/part.csv"]
    assert {int(row[0]) // 1000 for row in world.rows(told["uri"])} == {1}


def test_a_single_file_becomes_a_single_file(world: World) -> None:
    told = world.run(source=f"{DATASTORE}/{world.name}/whole/2026-01-01/part.csv", subset=Subset(rows=250, seed=1))

    assert told["uri"].endswith("/data/part.csv")
    assert world.read(told["uri"]).count(b"\n") == 251


def test_a_subset_too_small_to_be_judged_fails_and_its_report_is_there(world: World) -> None:
    with pytest.raises(AirflowFailException, match=r"only 30 values of it, and 200 are needed.*Take more rows"):
        world.run(subset=Subset(rows=30))

    told = world.run(subset=Subset(rows=30), on_fail="warn")
    assert told["accepted"] is False
    assert b"failed" in world.read(told["report_uri"])


def test_what_is_wrong_is_said_at_once(world: World) -> None:
    with pytest.raises(AirflowFailException) as error:
        world.run(subset=Subset(), to="s3://bucket/", on_fail="maybe")

    assert str(error.value) == (
        "subset: give one of fraction and rows; to is 's3://bucket/', no folder of a datastore; on_fail is 'maybe';"
        " it is none of fail, warn."
    )


def test_no_data_is_no_subset(world: World) -> None:
    with pytest.raises(AirflowFailException, match=r"There is no data in azureml://.*/nothing/"):
        world.run(source=f"{DATASTORE}/{world.name}/nothing/")

"""Making training data of what lies in Blob Storage: a real Azurite and a real emulator, and operators that die."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import polars as pl
import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from attrs import define, field, frozen
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.client.compaction import Compactor
from airflow_azureml.core.staging import FileReport, Publication
from airflow_azureml.operators.compaction import AzureMLCompactionOperator, Dated, Published, Windows, collected
from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID, Emulator
from demo.stack import airflow_environment
from tests.unit.provider.arrivals.ledger_world import arrival

DATASTORE = "azureml://datastores/workspaceblobstore/paths"
LATER = timedelta(hours=1)


class KilledError(Exception):
    """The worker is gone."""


@define
class Late(Compactor):
    """Comes an hour later than everything that was written."""

    @classmethod
    def of(cls, **parts: Any) -> Late:
        return cls(now=lambda: datetime.now(UTC) + LATER, **parts)


class Patient(AzureMLCompactionOperator):
    """Comes so late that all windows are over."""

    def compactor(self, **parts: Any) -> Compactor:
        return Late.of(**parts)


class Mortal(Patient):
    """Does so many steps, and dies; or has something done before one."""

    def __init__(
        self, *, steps: int = 999, before: str = "", do: Callable[[], None] | None = None, **more: Any
    ) -> None:
        super().__init__(**more)
        self.steps, self.before, self.do = steps, before, do

    def compactor(self, **parts: Any) -> Compactor:
        operator = self

        @define
        class Dying(Late):
            def work(self) -> Iterator[str]:
                for number, step in enumerate(super().work()):
                    if number == operator.steps:
                        raise KilledError(step)
                    if operator.do is not None and step.startswith(operator.before):
                        operator.do()
                        operator.do = None
                    yield step

        return Dying.of(**parts)


@frozen
class TaskInstance:
    try_number: int = 1
    pushed: dict[str, Any] = field(factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@define
class Told:
    extra: dict[str, Any] = field(factory=dict)


@define
class World:
    """One folder of the workspace's datastore."""

    container: ContainerClient
    name: str = field(factory=lambda: f"c{uuid.uuid4().hex[:12]}")
    asset: Asset | None = None
    told: Told = field(factory=Told)

    def put(self, path: str, content: str) -> None:
        self.container.upload_blob(f"{self.name}/{path}", content.encode(), overwrite=True)

    def publish(self, batch: str, **files: str) -> None:
        """Publish a batch, as the task that scores does: what the pipeline wrote first, the marker last."""
        for name, content in files.items():
            self.put(f"scored/batches/{batch}/{self.key(name)}/predictions.csv", content)
        publication = Publication(
            batch_id=batch,
            job="j",
            output=f"{DATASTORE}/{self.name}/scored/batches/{batch}/",
            scored=[(arrival(f"{name}.csv"), FileReport(scored=1)) for name in files],
        )
        self.put(f"scored/_published/{batch}.json", publication.marker())

    @staticmethod
    def key(name: str) -> str:
        return f"{arrival(f'{name}.csv').key}.csv"

    def operator(self, kind: type[AzureMLCompactionOperator] = Patient, **more: Any) -> AzureMLCompactionOperator:
        told: dict[str, Any] = {
            "task_id": "compact",
            "predictions": Published(folder=f"{DATASTORE}/{self.name}/scored"),
            "labels": Dated(folder=f"{DATASTORE}/{self.name}/labels/"),
            "training_data": f"{DATASTORE}/{self.name}/training-data/",
            "keys": "patient",
            "windows": Windows(every=timedelta(minutes=1)),
            "asset": self.asset,
        }
        return kind(**{**told, **more})

    def run(
        self, kind: type[AzureMLCompactionOperator] = Patient, *, try_number: int = 1, **more: Any
    ) -> dict[str, Any]:
        context: Any = {"ti": TaskInstance(try_number), "outlet_events": {self.asset: self.told}}
        return self.operator(kind, **more).execute(context)

    def rows(self) -> list[dict[str, Any]]:
        """All rows of all partitions."""
        prefix = f"{self.name}/training-data/2"
        parts = [
            self.container.download_blob(name).readall()
            for name in self.container.list_blob_names(name_starts_with=prefix)
        ]
        return [row for part in parts for row in pl.read_csv(io.BytesIO(part), infer_schema=False).to_dicts()]


@pytest.fixture
def world(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in airflow_environment(emulator).items():
        monkeypatch.setenv(name, value)
    url = f"{emulator.http}{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01"
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    found = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
    with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
        yield World(container=service.get_container_client(found["properties"]["containerName"]))


@pytest.fixture
def scored(world: World) -> World:
    """Two batches of predictions, and labels for all but one."""
    world.publish("b1", one="patient,bmi,prediction\n1,20,100\n2,21,110\n", two="patient,bmi,prediction\n3,22,120\n")
    world.publish("b2", three="patient,bmi,prediction\n4,23,130\n")
    world.put("labels/monday.csv", "patient,target\n3,121\n1,101\n9,900\n")
    world.put("labels/tuesday.csv", "patient,target\n4,131\n1,999\n")
    return world


EXPECTED = {("1", "20", "100", "101"), ("3", "22", "120", "121"), ("4", "23", "130", "131")}


def found(world: World) -> set[tuple[str, ...]]:
    rows = [tuple(each.values()) for each in world.rows()]
    assert len(rows) == len(set(rows))
    return set(rows)


def test_published_predictions_and_their_labels_become_training_data_once(scored: World) -> None:
    told = scored.run()

    assert found(scored) == EXPECTED
    assert {name: told[name] for name in ("predictions", "labels", "joined", "ignored_labels")} == {
        "predictions": 4,
        "labels": 5,
        "joined": 3,
        "ignored_labels": 1,
    }
    assert (told["waiting_predictions"], told["waiting_labels"]) == (1, 1)
    assert sum(each["rows"] for each in told["partitions"]) == 3
    assert told["partitions"][0]["uri"].startswith(f"{DATASTORE}/{scored.name}/training-data/20")
    assert len(json.dumps(told)) < 4000
    assert scored.run()["partitions"] == []
    assert found(scored) == EXPECTED


def test_a_worker_that_dies_at_any_step_is_followed_by_one_that_makes_what_is_left(scored: World) -> None:
    for steps in range(99):
        try:
            scored.run(Mortal, steps=steps)
        except KilledError:
            assert found(scored) <= EXPECTED
        else:
            break
    else:
        pytest.fail("it never came to its end")

    assert steps > 5
    assert found(scored) == EXPECTED


def test_whoever_is_overtaken_makes_nothing_twice_and_says_so(scored: World) -> None:
    told = scored.run(Mortal, before="move the watermark", do=lambda: scored.run() and None)

    assert found(scored) == EXPECTED
    assert told["partitions"] == []


def test_what_azure_mls_data_collector_writes_is_matched_by_its_request_and_row(world: World) -> None:
    event = {
        "specversion": "1.0",
        "id": "4a6d7b6c",
        "source": "/subscriptions/s/endpoints/e/deployments/d",
        "type": "azureml.inference.outputs",
        "datacontenttype": "application/json",
        "time": "2026-01-01T05:30:00Z",
        "data": [{"prediction": 1.5}, {"prediction": 2.5}],
        "correlationid": "r1",
    }
    world.put("mdc/2026/01/01/05/instance.jsonl", json.dumps(event) + "\n")
    world.put("labels/a.csv", "correlationid,row,target\nr1,1,3\n")

    world.run(predictions=collected(f"{DATASTORE}/{world.name}/mdc/"), keys=("correlationid", "row"))

    assert world.rows() == [{"correlationid": "r1", "row": "1", "prediction": "2.5", "target": "3"}]


def test_an_asset_is_told_of_new_partitions_and_of_nothing_else(scored: World) -> None:
    scored.asset = Asset("training data")

    told = scored.run()
    assert scored.told.extra == {"until": told["until"], "partitions": len(told["partitions"])}
    with pytest.raises(AirflowSkipException, match="There is no new partition"):
        scored.run()


def test_a_retry_tells_the_asset_again_since_the_try_before_may_not_have_lived_to(scored: World) -> None:
    scored.asset = Asset("training data")
    scored.run()

    assert scored.run(try_number=2)["partitions"] == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"format": "json"}, "output is 'json'; it is none of csv, parquet"),
        ({"keys": ()}, "keys is empty"),
        ({"labels": Dated(folder="labels")}, "labels: folder is 'labels/'; expected azureml://"),
        ({"labels": Dated(folder="https://a/b/", layout="%d")}, "labels: layout is '%d'; expected %Y"),
        ({"since": "yesterday"}, "since is 'yesterday'"),
        ({"keys": "nobody"}, "lacks 'nobody' of the key; it has patient"),
        ({"label_columns": ("outcome",)}, "lacks 'outcome'; it has patient, target"),
        ({"predictions": Published(folder=f"{DATASTORE}/nowhere", file="x", format="cvs")}, "format is 'cvs'"),
    ],
)
def test_what_cannot_be_used_fails_for_good_and_makes_nothing(scored: World, more: dict[str, Any], words: str) -> None:
    with pytest.raises(AirflowFailException, match=words.replace("(", r"\(")):
        scored.run(**more)
    assert scored.rows() == []


def test_a_file_that_the_marker_promises_and_that_is_not_there_is_told(scored: World) -> None:
    predictions = Published(folder=f"{DATASTORE}/{scored.name}/scored", file="scores.csv")

    with pytest.raises(AirflowFailException, match=r"scores\.csv is not there, though its batch is published"):
        scored.run(predictions=predictions)


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("labels/made/", "lie within each other"),
        ("", "lie within each other"),
        ("my data/", "may have letters, digits"),
    ],
)
def test_training_data_needs_a_folder_of_its_own(scored: World, folder: str, words: str) -> None:
    with pytest.raises(AirflowFailException, match=words):
        scored.run(training_data=f"{DATASTORE}/{scored.name}/{folder}")


def test_labels_that_are_no_table_are_named_with_their_row(scored: World) -> None:
    scored.put("labels/bad.csv", "patient,target\n1,2,3\n")

    with pytest.raises(AirflowFailException, match="Row 1 has 3 fields, and the header has 2"):
        scored.run()

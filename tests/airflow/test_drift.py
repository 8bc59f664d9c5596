"""What only a running Airflow can show of drift and of training data: events that wake, and assets that are updated."""

from __future__ import annotations

import io
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from attrs import frozen
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient

from azureml_emulator.tokens import issue
from demo.airflow import Airflow
from demo.azure import ACCOUNT, ACCOUNT_KEY, WORKSPACE_ID, Emulator
from demo.processes import wait_until
from tests.unit.provider.arrivals.ml_samples import DRIFT

HERE = Path(__file__).resolve().parent
OVER = ("success", "failed")
MODEL = "drifting-ridge"

pytestmark = pytest.mark.timeout(600)


@frozen
class Drifting:
    """The running whole."""

    airflow: Airflow
    queue: QueueClient
    container: ContainerClient

    def tell(self, monitor: str) -> None:
        """Send what Event Grid sends when a monitor has found drift."""
        event = {
            "topic": WORKSPACE_ID,
            "eventType": "Microsoft.MachineLearningServices.DatasetDriftDetected",
            "subject": f"datadrift/01d29aa4/run/{uuid.uuid4()}",
            "eventTime": "2026-03-03T04:00:00.0000000Z",
            "id": str(uuid.uuid4()),
            "data": {**DRIFT, "DataDriftName": monitor},
            "dataVersion": "2",
            "metadataVersion": "1",
        }
        self.queue.send_message(json.dumps(event))

    def begin(self, dag: str) -> str:
        self.airflow.unpause(dag)
        return str(self.airflow.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.airflow.get(f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
        return found

    def until_over(self, dag: str, count: int) -> list[dict[str, Any]]:
        """Wait until so many runs are over."""

        def _over() -> bool:
            try:
                return sum(run["state"] in OVER for run in self.runs(dag)) >= count
            except httpx.TransportError:  # Airflow's own database is busy
                return False

        assert wait_until(_over, deadline_s=240), (self.runs(dag), self.states(dag, self.runs(dag)[-1]["dag_run_id"]))
        return self.runs(dag)

    def states(self, dag: str, run: str) -> dict[str, str]:
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"
        return {each["task_id"]: each["state"] for each in self.airflow.get(path)["task_instances"]}

    def result(self, dag: str, run: str, task: str) -> Any:
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        return self.airflow.get(path)["value"]

    def updates(self, name: str) -> list[dict[str, Any]]:
        """What the events of an asset carried."""
        events = self.airflow.get("/api/v2/assets/events?limit=100")["asset_events"]
        return [each["extra"] for each in events if each["name"] == name]


@pytest.fixture(scope="module")
def drifting(airflow: Airflow, emulator: Emulator, dags_folder: Path) -> Iterator[Drifting]:
    url = f"{emulator.http}{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01"
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    store = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
    proof = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    with (
        BlobServiceClient.from_connection_string(emulator.connection_string) as service,
        QueueClient.from_queue_url(f"{emulator.queue}/{ACCOUNT}/drift-events", credential=proof) as queue,
    ):
        queue.create_queue()
        shutil.copy(HERE / "drift_dags.py", dags_folder)
        yield Drifting(airflow, queue, service.get_container_client(store["properties"]["containerName"]))


def table(*, seed: int, shift: float = 0.0) -> bytes:
    bmi = np.random.default_rng(seed).normal(26 + shift, 4, 1000)
    return pl.DataFrame({"bmi": bmi, "prediction": 80 + 3 * bmi}).write_csv().encode()


def test_what_a_monitor_tells_starts_the_watch_which_asks_for_one_retraining_of_two_drifted_days(
    drifting: Drifting,
) -> None:
    drifting.container.upload_blob(f"{MODEL}/reference.csv", table(seed=1))
    for day in (1, 2):
        drifting.container.upload_blob(f"{MODEL}/scored/2026/03/0{day}/a.csv", table(seed=10 + day, shift=4.0))
    for dag in ("small_drift_watch", "small_drift_retraining"):
        drifting.airflow.unpause(dag)

    drifting.tell("another")
    drifting.tell(f"{MODEL}-monitor")
    (woken,) = drifting.until_over("small_drift_watch", 1)
    (retrained,) = drifting.until_over("small_drift_retraining", 1)
    second = drifting.begin("small_drift_watch")
    drifting.until_over("small_drift_watch", 2)

    first = woken["dag_run_id"]
    assert woken["run_type"] == "asset_triggered"
    assert set(drifting.states("small_drift_watch", first).values()) == {"success"}
    decided = drifting.result("small_drift_watch", first, "drift.decide")
    assert [each["columns"] for each in decided["windows"]] == [["bmi", "prediction"]] * 2
    assert drifting.states("small_drift_watch", second) == {
        "drift.look": "success",
        "drift.decide": "success",
        "drift.retrain": "skipped",
    }
    told = {
        "model": MODEL,
        "window": "2026-03-02",
        "columns": ["bmi", "prediction"],
        "decided_by": f"small_drift_watch/{first}/drift",
    }
    assert drifting.updates(f"drift of {MODEL}") == [told]
    assert drifting.result("small_drift_retraining", retrained["dag_run_id"], "run") == [told]
    assert len(drifting.runs("small_drift_retraining")) == 1


def test_labels_become_training_data_and_an_asset_says_so_once(drifting: Drifting) -> None:
    drifting.container.upload_blob("small_compaction/scored/a.csv", b"patient,prediction\n1,100\n2,110\n")
    drifting.container.upload_blob("small_compaction/labels/a.csv", b"patient,target\n2,111\n1,99\n")

    first = drifting.begin("small_compaction")
    drifting.until_over("small_compaction", 1)
    second = drifting.begin("small_compaction")
    drifting.until_over("small_compaction", 2)

    (partition,) = drifting.result("small_compaction", first, "compact")["partitions"]
    path = partition["uri"].partition("/paths/")[2]
    rows = pl.read_csv(io.BytesIO(drifting.container.download_blob(path).readall())).sort("patient").rows()
    assert rows == [(1, 100, 99), (2, 110, 111)]
    assert drifting.states("small_compaction", second) == {"compact": "skipped"}
    assert [each["partitions"] for each in drifting.updates("small training data")] == [1]

"""What only a running Airflow can show of batches: mapping, waking itself, and taking over from a run that is over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen
from azure.storage.blob import BlobServiceClient

from azureml_emulator.tokens import issue
from demo.airflow import Airflow
from demo.azure import WORKSPACE_ID, Emulator
from demo.processes import wait_until
from tests.unit.provider.arrivals.scoring import COUNT_LINES, publish

HERE = Path(__file__).resolve().parent
OVER = ("success", "failed")

pytestmark = pytest.mark.timeout(600)


@frozen
class Batches:
    """The running whole."""

    airflow: Airflow
    emulator: Emulator
    service: BlobServiceClient

    def put(self, container: str, *names: str) -> None:
        found = self.service.get_container_client(container)
        if not found.exists():
            found.create_container()
        for name in names:
            found.upload_blob(name, b"a,b\n1,2\n")

    def begin(self, dag: str) -> str:
        self.airflow.unpause(dag)
        return str(self.airflow.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.airflow.get(f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
        return found

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.airflow.get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")[
            "task_instances"
        ]
        return found

    def published(self, dag: str) -> list[str]:
        url = f"{self.emulator.http}{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01"
        bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        store = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
        container = self.service.get_container_client(store["properties"]["containerName"])
        markers = [
            json.loads(container.download_blob(name).readall())
            for name in container.list_blob_names(name_starts_with=f"{dag}/_published/")
        ]
        return sorted(each["path"] for marker in markers for each in marker["files"])

    def jobs(self, dag: str) -> list[str]:
        url = f"{self.emulator.http}{WORKSPACE_ID}/jobs?api-version=2024-01-01-preview"
        found: list[Any] = []
        while url:
            page = httpx.get(url, trust_env=False, timeout=30).raise_for_status().json()
            found += page["value"]
            url = page.get("nextLink", "")
        return [one["name"] for one in found if f"/paths/{dag}/" in json.dumps(one["properties"].get("outputs") or {})]


@pytest.fixture(scope="module")
def batches(airflow: Airflow, emulator: Emulator, dags_folder: Path) -> Iterator[Batches]:
    publish(emulator, "airflow-count", COUNT_LINES)
    publish(emulator, "airflow-slow-count", f"sleep 15\n{COUNT_LINES}")
    shutil.copy(HERE / "batch_dags.py", dags_folder)
    with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
        yield Batches(airflow, emulator, service)


def test_a_claim_that_is_full_wakes_the_dag_until_nothing_is_open(batches: Batches) -> None:
    names = [f"{number}.csv" for number in range(7)]
    batches.put("batchesfew", *names)

    first = batches.begin("batches_few")

    def _all_over() -> bool:
        try:
            runs = batches.runs("batches_few")
        except httpx.TransportError:  # Airflow's own database is busy
            return False
        return len(runs) > 1 and all(run["state"] in OVER for run in runs) and batches.published("batches_few") == names

    assert wait_until(_all_over, deadline_s=400), (batches.runs("batches_few"), batches.published("batches_few"))
    assert [run["state"] for run in batches.runs("batches_few")] == ["success"] * 2
    assert len(batches.jobs("batches_few")) == 4
    states = {(one["task_id"], one["map_index"]): one["state"] for one in batches.tasks("batches_few", first)}
    assert states == {
        ("few.claim", -1): "success",
        ("few.score", 0): "success",
        ("few.score", 1): "success",
        ("few.report", -1): "success",
        ("few.more", -1): "success",
    }


def test_a_run_that_was_ended_leaves_its_job_to_the_next_which_publishes_it(batches: Batches) -> None:
    batches.put("batchesleft", "a.csv")
    dag, run = "batches_left", batches.begin("batches_left")

    def _waits() -> bool:
        return any(one["state"] == "deferred" for one in batches.tasks(dag, run) if one["task_id"] == "left.score")

    assert wait_until(_waits, deadline_s=200), batches.tasks(dag, run)
    batches.airflow.call("PATCH", f"/api/v2/dags/{dag}/dagRuns/{run}", {"state": "failed"})
    early = batches.begin(dag)
    assert wait_until(lambda: batches.runs(dag)[-1]["state"] in OVER, deadline_s=200), batches.runs(dag)
    assert early != run

    def _published() -> bool:
        if batches.published(dag):
            return True
        if all(each["state"] in OVER for each in batches.runs(dag)):
            batches.begin(dag)
        return False

    assert wait_until(_published, deadline_s=200), batches.runs(dag)
    assert (batches.published(dag), len(batches.jobs(dag))) == (["a.csv"], 1)


def test_a_backfill_of_partitions_scores_what_is_in_their_windows_once_and_what_came_late_with_the_next(
    batches: Batches,
) -> None:
    dag, today = "batches_days", datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [f"{today - timedelta(days=ago):%Y-%m-%dT%H:%M:%S}" for ago in (2, 1, 0)]

    def _fill(count: int) -> None:
        more = ("--reprocess-behavior", "completed")
        batches.airflow.cli("backfill", "create", "--dag-id", dag, "--from-date", days[0], "--to-date", days[2], *more)

        def _over() -> bool:
            runs = batches.runs(dag)
            fills = batches.airflow.call("GET", "/api/v2/backfills", dag_id=dag)["backfills"]
            ended = all(run["state"] in OVER for run in runs) and all(fill["completed_at"] for fill in fills)
            return len(runs) == count and ended

        assert wait_until(_over, deadline_s=300), batches.runs(dag)

    batches.put("batchesdays", "a.csv", "b.csv")
    batches.airflow.unpause(dag)
    _fill(3)
    first = batches.published(dag), len(batches.jobs(dag))
    batches.put("batchesdays", "late.csv")
    _fill(6)

    assert sorted((run["partition_key"], run["state"]) for run in batches.runs(dag)) == [
        (day, "success") for day in days for _ in range(2)
    ]
    before = [run["dag_run_id"] for run in batches.runs(dag) if run["partition_key"] == days[0]]
    scored = [each["state"] for run in before for each in batches.tasks(dag, run) if each["task_id"] == "days.score"]
    assert scored == ["skipped"] * 2  # its two days were over before anything was written
    assert first == (["a.csv", "b.csv"], 1)
    assert (batches.published(dag), len(batches.jobs(dag))) == (["a.csv", "b.csv", "late.csv"], 2)

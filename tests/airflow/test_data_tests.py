"""What only a running Airflow can show of data tests: what runs after them, and a wait without a worker slot."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from azure.storage.blob import BlobServiceClient, ContainerClient

from demo.airflow import Airflow
from demo.azure import ACCOUNT, Emulator
from demo.processes import wait_until

HERE = Path(__file__).resolve().parent
GOOD, BAD, WORSE = b"id,age\n1,50\n", b"id,age\n1,-7\n", b"id,year\n1,1970\n"


@frozen
class Whole:
    """The running whole, and blobs that are tested in it."""

    airflow: Airflow
    emulator: Emulator
    service: BlobServiceClient
    incoming: ContainerClient

    @property
    def kept(self) -> ContainerClient:
        return self.service.get_container_client(f"kept{self.incoming.container_name}")

    def begin(self, dag: str) -> tuple[str, str]:
        """Start a run that tests the blobs."""
        self.airflow.unpause(dag)
        conf = {
            **{name: f"{self.incoming.url}/{name}.csv" for name in ("good", "bad", "worse")},
            "quarantine": f"{self.emulator.blob}/{ACCOUNT}/{self.kept.container_name}",
        }
        begun = self.airflow.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})
        return dag, begun["dag_run_id"]

    def state(self, run: tuple[str, str]) -> str:
        return str(self.airflow.get(f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}")["state"])

    def tasks(self, run: tuple[str, str]) -> dict[str, dict[str, Any]]:
        listed = self.airflow.get(f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances")["task_instances"]
        return {one["task_id"]: one for one in listed}

    def told(self, run: tuple[str, str], task: str) -> dict[str, Any]:
        path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/{task}/xcomEntries/return_value"
        found: dict[str, Any] = self.airflow.get(path)["value"]
        return found

    def log(self, run: tuple[str, str], task: str) -> str:
        path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/{task}/logs/1"
        return json.dumps(self.airflow.get(path, full_content=True)["content"])


@pytest.fixture
def tested(airflow: Airflow, emulator: Emulator, dags_folder: Path) -> Iterator[Whole]:
    """The blobs and the DAGs."""
    shutil.copy(HERE / "data_test_dags.py", dags_folder / "data_test_dags.py")
    with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
        incoming = service.create_container(f"in{uuid.uuid4().hex[:12]}")
        for name, content in {"good": GOOD, "bad": BAD, "worse": WORSE}.items():
            incoming.upload_blob(f"{name}.csv", content)
        yield Whole(airflow, emulator, service, incoming)


def test_only_what_passed_goes_on_and_what_is_kept_in_quarantine_leaves_the_run_green(tested: Whole) -> None:
    run, refused = tested.begin("data_tested"), tested.begin("data_refused")
    over = ("success", "failed")

    assert wait_until(lambda: {tested.state(run), tested.state(refused)} <= set(over), deadline_s=240)
    assert (tested.state(run), tested.state(refused)) == ("success", "failed")
    states = {name: task["state"] for name, task in tested.tasks(run).items()}
    assert states == {
        **dict.fromkeys(("passes", "after_passes"), "success"),
        **dict.fromkeys(("skips", "quarantines", "in_a_job"), "skipped"),
        **dict.fromkeys(("after_skips", "after_quarantines", "after_in_a_job"), "skipped"),
    }, {name: tested.log(run, name)[-2000:] for name in ("passes", "skips", "quarantines", "in_a_job")}
    failed = tested.tasks(refused)
    assert (failed["fails"]["state"], failed["fails"]["try_number"]) == ("failed", 1)
    assert failed["after_fails"]["state"] == "upstream_failed"
    assert tested.told(run, "passes")["accepted"] is True
    assert [each["column"] for each in tested.told(run, "in_a_job")["failed"]] == ["age"]
    assert "at least 0 does not hold in 1 of 1 rows" in tested.log(refused, "fails")
    kept = {name: tested.kept.download_blob(name).readall() for name in tested.kept.list_blob_names()}
    assert sorted(name.rpartition("/")[2] for name in kept) == [
        *("bad.csv", "report.html", "report.html", "verdict.json", "verdict.json", "worse.csv")
    ]
    assert {BAD, WORSE} <= set(kept.values())

"""A scan in a running Airflow: it wakes a DAG, and outlives its triggerer."""

from __future__ import annotations

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen
from azure.storage.blob import ContainerClient

from airflow_azureml.core.scan_state import ScanState
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from demo.processes import wait_until
from demo.stack import Airflow

HERE = Path(__file__).resolve().parent


@frozen
class Scanned:
    """The DAG that is scanned for, and its container."""

    airflow: Airflow
    container: ContainerClient

    def upload(self, *numbers: int) -> None:
        for number in numbers:
            self.container.upload_blob(f"in/{number:04}.csv", b"x")

    def asset(self) -> int:
        (asset,) = self.airflow.get("/api/v2/assets", dag_ids=["scanned"])["assets"]
        return int(asset["id"])

    def told(self) -> Counter[str]:
        """Count what Airflow has stored, by path; it says 500 as long as a run that was created has not begun."""
        events: list[Any] = []

        def _says() -> bool:
            try:
                page = self.airflow.get("/api/v2/assets/events", asset_id=self.asset(), limit=1000)
            except httpx.HTTPStatusError as error:
                if error.response.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
                    return False
                raise
            events.extend(page["asset_events"])
            return True

        assert wait_until(_says, deadline_s=60), "Airflow does not say which events it has stored"
        return Counter(each["path"] for event in events for each in event["extra"]["payload"])

    def watermark(self) -> ScanState:
        """Read what the scan remembers, as Airflow keeps it."""
        stored = self.airflow.get(f"/api/v2/assets/{self.asset()}/state-store")["asset_state_store"]
        states = [each["value"] for each in stored if each["key"].startswith("scan ")]
        return ScanState.from_wire(states[0] if states else None)

    def claimed(self) -> int:
        """Count what whole runs of the DAG have claimed."""
        runs = self.airflow.get("/api/v2/dags/scanned/dagRuns", limit=100)["dag_runs"]
        path = "/api/v2/dags/scanned/dagRuns/{}/taskInstances/count/xcomEntries/return_value"
        done = [run["dag_run_id"] for run in runs if run["state"] == "success"]
        return sum(int(self.airflow.get(path.format(run))["value"]) for run in done)


@pytest.fixture
def scanned(airflow: Airflow, azurite: Azurite, dags_folder: Path) -> Iterator[Scanned]:
    name = f"scanned-{uuid.uuid4().hex[:8]}"
    account_url = f"{azurite.blob_url}/{ACCOUNT}"
    key: dict[str, Any] = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    with ContainerClient.from_container_url(f"{account_url}/{name}", credential=key) as client:
        client.create_container()
        (dags_folder / "scan_dags.json").write_text(json.dumps({"account_url": account_url, "container": name}))
        shutil.copy(HERE / "scan_dags.py", dags_folder)
        airflow.unpause("scanned")
        yield Scanned(airflow, client)
        airflow.call("PATCH", "/api/v2/dags/scanned", {"is_paused": True})


@pytest.mark.timeout(600)
def test_a_scan_wakes_its_dag_and_loses_nothing_though_the_triggerer_is_killed(scanned: Scanned) -> None:
    scanned.upload(*range(20))
    assert wait_until(lambda: scanned.watermark().since is not None, deadline_s=120), "the scan has not come to its end"
    before, told_before = scanned.watermark(), scanned.told()

    scanned.upload(*range(20, 40))
    scanned.airflow.kill("triggerer")
    left = scanned.watermark()
    scanned.upload(*range(40, 60))
    scanned.airflow.start("triggerer")

    assert wait_until(lambda: len(scanned.told()) == 60, deadline_s=120), scanned.told()
    assert wait_until(lambda: scanned.watermark().last == "in/0059.csv", deadline_s=60), scanned.watermark()
    assert told_before == Counter({f"in/{number:04}.csv": 1 for number in range(20)})
    assert left.since is not None
    assert before.since is not None
    assert left.since >= before.since
    # What was told and stored before, and remembered, is not told again: only what was on its way may be.
    repeated = {path for path, times in scanned.told().items() if times > 1}
    assert repeated <= {f"in/{number:04}.csv" for number in range(20, 40)}
    assert max(scanned.told().values()) <= 2
    assert wait_until(lambda: scanned.claimed() > 0, deadline_s=60), "no run has claimed anything"

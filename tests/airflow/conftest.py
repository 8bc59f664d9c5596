"""A running Airflow whose DAGs run a small published pipeline on the emulator."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import field, frozen

from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID
from demo.processes import wait_until
from demo.stack import Airflow, Emulator

HERE = Path(__file__).resolve().parent
OVER = ("success", "failed", "skipped", "upstream_failed")


@frozen
class Small:
    """The running whole, as the tests of this folder speak of it."""

    airflow: Airflow
    emulator: Emulator
    watched: list[tuple[str, str]] = field(factory=list)

    def begin(self, kind: str, **conf: Any) -> tuple[str, str]:
        """Start a run of one of the small DAGs and return where it is."""
        dag = f"small_{kind}"
        self.airflow.unpause(dag)
        body = {"logical_date": None, "conf": conf}
        return dag, self.airflow.call("POST", f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"]

    def task(self, run: tuple[str, str]) -> dict[str, Any]:
        """Look at the run's task."""
        found: dict[str, Any] = self.airflow.get(f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run")
        return found

    def until(self, run: tuple[str, str], *states: str, tries: int = 0, deadline_s: float = 90) -> dict[str, Any]:
        """Wait until the task is in one of these states, at that try or a later one."""
        seen: dict[str, Any] = {}

        def _there() -> bool:
            seen.update(self.task(run))
            return seen["state"] in (states or OVER) and seen["try_number"] >= tries

        assert wait_until(_there, deadline_s=deadline_s), f"{run} is {seen['state']}: {self.log(run)[-3000:]}"
        return seen

    def log(self, run: tuple[str, str], tried: int = 0) -> str:
        """Read the log of a try; of the last one by default."""
        number = tried or self.task(run)["try_number"]
        path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run/logs/{number}"
        lines = self.airflow.get(path, full_content=True)["content"]
        return "\n".join(f"{line.get('event', '')} {line.get('error_detail', '')}" for line in lines)

    def until_watched(self, run: tuple[str, str]) -> None:
        """Wait until the triggerer watches the running job; Airflow tells only a trigger that runs of a kill."""
        self.until(run, "deferred")
        told = ("(ID ", " starting", "is Running")
        assert wait_until(lambda: all(words in self.log(run) for words in told), deadline_s=60), self.log(run)
        self.watched.append(run)

    def until_let_go(self) -> None:
        """Wait until the triggerer has let go of the jobs that it watched.

        SQLite gives the id of a deleted trigger to the next one, and a triggerer that has not yet heard of the deletion
        goes on with the old one in its place.
        """
        while self.watched:
            dag, name = self.watched.pop()
            folder = self.airflow.folder / "logs" / f"dag_id={dag}" / f"run_id={name}"

            def _told(folder: Path = folder) -> bool:
                return any("trigger completed" in each.read_text() for each in folder.rglob("attempt=1.log.trigger.*"))

            assert wait_until(_told, deadline_s=60), f"The triggerer has not let go of {dag} {name}"

    def xcom(self, run: tuple[str, str], key: str = "return_value") -> Any:
        """Read what the task left in XCom."""
        path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run/xcomEntries/{key}"
        return self.airflow.get(path)["value"]

    def jobs(self, run: tuple[str, str]) -> list[dict[str, Any]]:
        """List the jobs of a run, oldest attempt first, as the workspace itself shows them."""
        found, url = [], f"{self.emulator.http}{WORKSPACE_ID}/jobs?api-version=2024-01-01-preview"
        while url:
            page = httpx.get(url, trust_env=False, timeout=30).raise_for_status().json()
            found += page["value"]
            url = page.get("nextLink", "")
        owner = f"{run[0]}/{run[1]}/run/"
        mine = [
            {"name": one["name"], "status": one["properties"]["status"], **one["properties"]["properties"]}
            for one in found
            if one["properties"]["properties"].get("airflow.owner", "").startswith(owner)
        ]
        return sorted(mine, key=lambda job: int(job["airflow.attempt"]))

    def until_jobs(self, run: tuple[str, str], *statuses: str) -> list[dict[str, Any]]:
        """Wait until the run's jobs have these statuses, in the order of their attempts."""
        seen: list[dict[str, Any]] = []

        def _there() -> bool:
            seen[:] = self.jobs(run)
            return tuple(job["status"] for job in seen) == statuses

        assert wait_until(_there, deadline_s=60), f"{run} has {seen}, not {statuses}"
        return seen


@pytest.fixture(scope="session")
def small(airflow: Airflow, emulator: Emulator, dags_folder: Path) -> Small:
    """The small pipeline, published, and the DAGs that run it."""
    subprocess.run(
        [sys.executable, str(HERE / "publish_small.py"), SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE],
        env=emulator.client_environment,
        check=True,
        capture_output=True,
    )
    shutil.copytree(HERE / "small_job", dags_folder / "small_job")
    shutil.copy(HERE / "small_dags.py", dags_folder / "small_dags.py")
    airflow.unpause("small_plain")
    return Small(airflow, emulator)


@pytest.fixture(autouse=True)
def _let_go(request: pytest.FixtureRequest) -> Iterator[None]:
    """End each test with no trigger of a task that was killed."""
    yield
    if "small" in request.fixturenames:
        request.getfixturevalue("small").until_let_go()

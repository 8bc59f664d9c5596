"""How long after a blob was put its job is submitted; and after how long a bare asset event has its first task run.

Blobs are put one at a time, in turn for each side, at moments that have nothing to do with anybody's polling, and each
waits for the end of the one before; all in the same Airflow, each side with a container and a queue of its own. The
clock begins before the blob is put. Ours ends when the workspace says that it has created the job: a message was
received, stored and only then deleted, a task claimed what is open (asking the events, the listing and the ledger),
another looked at the blob, staged it, entered it into the ledger and submitted. The peer is what Airflow alone needs: a
trigger that receives from such a queue, as often, and deletes at once; a DAG that its asset wakes; its first task, a
plain ``@task``, which does nothing but say when it runs. So ours has one task, and the work of two, more than the peer.
"""

import importlib.metadata
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import httpx
from azure.storage.blob import BlobServiceClient

from benchmarks import scripted
from benchmarks.report import Report
from demo.azure import ACCOUNT, ROOT
from demo.evidence import OWNER_PROPERTY
from demo.processes import wait_until
from demo.scenario import blobs
from demo.stack import Stack

DAGS = ROOT / "benchmarks" / "dags" / "latency"
SIDES = ("batches", "bare")
#: Blobs for each side; the first of each is not counted, as it pays for what is done once.
BLOBS = 16
#: The most seconds between two blobs.
PAUSE_S = 2.0
DEADLINE_S = 240.0
MOST = 3.0
CONTENT = b"age,bmi\n" + b"0.1,0.2\n" * 40


def measure() -> Report:
    """Put the blobs by turns."""
    with tempfile.TemporaryDirectory() as name:
        queues = [f"{side}:{side}" for side in SIDES]
        stack = Stack(Path(name) / "stack", dags=DAGS, event_queues=queues, emulator_arguments=["--control"])
        with stack.owned():
            stack.airflow.migrate(stack.template)
            stack.start_azure()
            told = {"BENCH_QUEUES_URL": f"{stack.emulator.queue}/{ACCOUNT}", "PYTHONPATH": str(ROOT)}
            stack.airflow.tell({**told, "BENCH_BLOB_URL": f"{stack.emulator.blob}/{ACCOUNT}"})
            with blobs(stack.emulator) as service, scripted.workspace(stack.emulator) as workspace:
                for side in SIDES:
                    service.create_container(side)
                scripted.publish(workspace, "batches", data="uri_folder", lasts_s=0)
                stack.start_airflow()
                for side in SIDES:
                    _until(lambda side=side: stack.airflow.listens(side), f"Airflow to listen for {side}")  # type: ignore[misc]  # mypy and defaults of lambdas
                taken = _by_turns(stack, service, workspace)
    ours, peer = taken["batches"], taken["bare"]
    return Report(
        benchmark="latency",
        ours=_p(ours, 50),
        peer=_p(peer, 50),
        ratio=_p(ours, 50) / _p(peer, 50),
        unit="s from the blob's put to the job's creation, p50; peer: to the first task of a bare asset event",
        goal=f"ours / bare <= {MOST}, p50 and p95",
        ok=_p(ours, 50) <= MOST * _p(peer, 50) and _p(ours, 95) <= MOST * _p(peer, 95),
        beside={
            "p95": round(_p(ours, 95), 2),
            "p95_peer": round(_p(peer, 95), 2),
            "blobs": BLOBS - 1,
            "airflow": importlib.metadata.version("apache-airflow-core"),
        },
    )


def _by_turns(stack: Stack, service: BlobServiceClient, workspace: httpx.Client) -> dict[str, list[float]]:
    """Put a blob for each side, again and again; returns the seconds that each took, but for the first."""
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(BLOBS):
        for side in SIDES:
            blob = service.get_blob_client(side, f"ward-{number:03d}.csv")
            began = time.time()
            blob.upload_blob(CONTENT)
            ended = _first_task(stack, number) if side == "bare" else _job(workspace, side, number)
            taken[side].append(ended - began)
            _until(lambda side=side: _is_quiet(stack, side), f"the end of {side}")  # type: ignore[misc]  # as above
            time.sleep(random.random() * PAUSE_S)  # noqa: S311  # no secret
    return {side: seconds[1:] for side, seconds in taken.items()}


def _job(workspace: httpx.Client, dag: str, number: int) -> float:
    """Wait for the job of a DAG after so many, and return when it was created: seconds since 1970, UTC."""
    found: list[str] = []

    def _is_there() -> bool:
        found[:] = sorted(
            job["systemData"]["createdAt"]
            for job in scripted.jobs(workspace)
            if job["properties"]["properties"].get(OWNER_PROPERTY, "").startswith(f"{dag}/")
        )
        return len(found) > number

    _until(_is_there, f"job {number + 1} of {dag}")
    return datetime.fromisoformat(found[-1]).timestamp()


def _first_task(stack: Stack, number: int) -> float:
    """Wait for the bare DAG's run after so many, and return when its task ran."""
    runs: list[str] = []

    def _is_over() -> bool:
        page = stack.airflow.get("/api/v2/dags/bare/dagRuns", limit=1, order_by="-run_after", state="success")
        runs[:] = [each["dag_run_id"] for each in page["dag_runs"]]
        return int(page["total_entries"]) > number

    _until(_is_over, f"run {number + 1} of the bare DAG")
    path = f"/api/v2/dags/bare/dagRuns/{runs[0]}/taskInstances/first/xcomEntries/return_value"
    return float(stack.airflow.get(path)["value"])


def _is_quiet(stack: Stack, dag: str) -> bool:
    page = stack.airflow.get(f"/api/v2/dags/{dag}/dagRuns", limit=1, state=["queued", "running"])
    return int(page["total_entries"]) == 0


def _until(condition: Callable[[], bool], what: str) -> None:
    if not wait_until(condition, deadline_s=DEADLINE_S):
        raise RuntimeError(f"waited {DEADLINE_S:.0f} s for {what}")


def _p(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]

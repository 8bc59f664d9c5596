"""Ten thousand blobs at once: how many DAG runs and jobs they take, how long, and whether the time grows with them.

The blobs are put as fast as Azurite takes them, while the DAG is on, and each raises an event in a real queue. The
clock runs from the first put to the marker of the last batch; that every version is in exactly one published batch is
read from the markers. First a thousand, then ten thousand, in the same Airflow and the same ledger, so the second finds
what the first has left. Jobs are scripted and last a second, so that what is measured is the way to them and back.

Azurite looks through all its blobs for each request, so that it takes longer the more there are. What that comes to is
measured in the same run: the same requests that a blob costs at least (a look at its first bytes, a copy, a delete of
the copy), made by the bare SDK after each burst. The time for a blob may grow as that does, and little more.

The peer is a DAG run and a job for each blob, with our own operator, which is lighter than azure-ai-ml, and without a
ledger, so with nothing that would notice a blob that was forgotten or told twice. Ten thousand of these take hours:
`SINGLES` are measured in the same run, after ours, and their time for a blob is taken times the blobs.
"""

import asyncio
import importlib.metadata
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import httpx
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient

from benchmarks import scripted
from benchmarks.report import Report
from demo.azure import ACCOUNT, ROOT, WORKSPACE_ID, Emulator
from demo.evidence import API_VERSION, OWNER_PROPERTY
from demo.processes import wait_until
from demo.scenario import blobs
from demo.stack import Stack

DAGS = ROOT / "benchmarks" / "dags" / "burst"
CONTAINER = DAG = "burst"
FEW, MANY, SINGLES, BARE = 1_000, 10_000, 40, 200
PUTS_AT_ONCE, RUNS_AT_ONCE = 16, 2
LASTS_S, DEADLINE_S = 1.0, 900.0
MOST = 1.3
CONTENT = b"age,bmi\n" + b"0.1,0.2\n" * 40


@attrs.frozen(kw_only=True)
class Burst:
    """What one burst came to.

    Attributes:
        put_s: Until the last blob was put.
        seconds: Until all were published.
        bare_s: What the bare SDK then takes for a blob of it.
    """

    blobs: int
    put_s: float
    seconds: float
    bare_s: float
    runs: int
    jobs: int

    @property
    def a_blob_s(self) -> float:
        """Seconds for a blob."""
        return self.seconds / self.blobs


def measure() -> Report:
    """Let the bursts come, one after the other, then the peer's blobs."""
    with tempfile.TemporaryDirectory() as name:
        queues = [f"{CONTAINER}:{CONTAINER}"]
        stack = Stack(Path(name) / "stack", dags=DAGS, event_queues=queues, emulator_arguments=["--control"])
        with stack.owned():
            stack.airflow.migrate(stack.template)
            stack.start_azure()
            emulator = stack.emulator
            queue = {"BENCH_QUEUE_URL": f"{emulator.queue}/{ACCOUNT}/{CONTAINER}", "PYTHONPATH": str(ROOT)}
            stack.airflow.tell({**queue, "BENCH_BLOB_URL": f"{emulator.blob}/{ACCOUNT}"})
            with blobs(emulator) as service, scripted.workspace(emulator) as workspace:
                service.create_container(CONTAINER)
                scripted.publish(workspace, "batches", data="uri_folder", lasts_s=LASTS_S)
                scripted.publish(workspace, "singles", data="uri_file", lasts_s=LASTS_S)
                stack.start_airflow()
                stack.airflow.unpause(DAG)
                stack.airflow.unpause("one_by_one")
                _until(lambda: stack.airflow.listens(DAG), "Airflow to listen", 60.0)
                witness = _Witness(stack, service, workspace)
                few, many = witness.burst("few", FEW), witness.burst("many", MANY)
                stack.airflow.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": True})
                single_s = witness.one_by_one(SINGLES)
    return _report(few, many, single_s)


def _report(few: Burst, many: Burst, single_s: float) -> Report:
    grown, bare_grown = many.a_blob_s / few.a_blob_s, many.bare_s / few.bare_s
    return Report(
        benchmark="burst",
        ours=many.seconds,
        peer=single_s * MANY,
        ratio=grown / bare_grown,
        unit=f"s from the first put of {MANY} blobs to the last published batch; peer: a run and a job for each",
        goal=f"growth of the seconds for a blob from {FEW} to {MANY} / growth of the bare SDK's <= {MOST}",
        ok=grown <= MOST * bare_grown,
        beside={
            "runs": many.runs,
            "jobs": many.jobs,
            "put_s": round(many.put_s, 1),
            "grown": round(grown, 2),
            "bare_grown": round(bare_grown, 2),
            "few": {**attrs.asdict(few), "put_s": round(few.put_s, 1), "seconds": round(few.seconds, 1)},
            "bare_s": [round(few.bare_s, 4), round(many.bare_s, 4)],
            "peer_measured": SINGLES,
            "peer_s_a_blob": round(single_s, 3),
            "peer_over_ours": round(single_s / many.a_blob_s, 1),
            "airflow": importlib.metadata.version("apache-airflow-core"),
        },
    )


class _Witness:
    """Lets bursts come, and looks from the outside at what becomes of them."""

    def __init__(self, stack: Stack, service: BlobServiceClient, workspace: httpx.Client) -> None:
        self._stack, self._service, self._workspace = stack, service, workspace
        self._read: dict[str, int] = {}
        path = f"{WORKSPACE_ID}/datastores/workspaceblobstore"
        found = workspace.get(path, params={"api-version": API_VERSION}).raise_for_status().json()
        self._store = found["properties"]["containerName"]
        self._published: Counter[tuple[str, str]] = Counter()

    def burst(self, name: str, count: int) -> Burst:
        """Put so many blobs, and wait until all are published.

        Raises:
            RuntimeError: A version was published twice, or the time is over.
        """
        runs, jobs = self._runs(), self._jobs()
        began = time.monotonic()
        versions = asyncio.run(_put(self._stack.emulator, name, count))
        put_s = time.monotonic() - began
        _until(lambda: self._all_published(versions), f"{count} blobs to be published", DEADLINE_S)
        seconds = time.monotonic() - began
        _until(self._is_quiet, "the runs to end", 60.0)
        twice = [version for version, times in self._published.items() if times > 1]
        if twice:
            raise RuntimeError(f"{len(twice)} versions were published twice, among them {twice[0]}")
        return Burst(
            blobs=count,
            put_s=put_s,
            seconds=seconds,
            bare_s=asyncio.run(_bare(self._stack.emulator, name)),
            runs=self._runs() - runs,
            jobs=self._jobs() - jobs,
        )

    def one_by_one(self, count: int) -> float:
        """Have so many blobs of the first burst scored, each with a run and a job; returns the seconds for each."""
        place = f"{self._stack.emulator.blob}/{ACCOUNT}/{CONTAINER}"
        bodies = [
            {"logical_date": None, "conf": {"data": f"{place}/few/ward-{number:05d}.csv"}} for number in range(count)
        ]
        began = time.monotonic()
        with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
            list(
                pool.map(lambda body: self._stack.airflow.call("POST", "/api/v2/dags/one_by_one/dagRuns", body), bodies)
            )
        _until(lambda: self._ended("one_by_one") >= count, f"{count} runs", DEADLINE_S)
        return (time.monotonic() - began) / count

    def _all_published(self, versions: set[tuple[str, str]]) -> bool:
        container = self._service.get_container_client(self._store)
        for blob in container.list_blobs(name_starts_with=f"{CONTAINER}/_published/"):
            if blob.name not in self._read:
                marker: dict[str, Any] = json.loads(container.download_blob(blob.name).readall())
                self._read[blob.name] = len(marker["files"])
                self._published.update((each["path"], each["etag"]) for each in marker["files"])
        return versions <= self._published.keys()

    def _runs(self) -> int:
        return self._count(DAG)

    def _count(self, dag: str, **where: Any) -> int:
        return int(self._stack.airflow.get(f"/api/v2/dags/{dag}/dagRuns", limit=1, **where)["total_entries"])

    def _ended(self, dag: str) -> int:
        """Count the runs that ended well.

        Raises:
            RuntimeError: One ended badly.
        """
        if failed := self._count(dag, state="failed"):
            raise RuntimeError(f"{failed} runs of {dag} failed; see {self._stack.airflow.folder}")
        return self._count(dag, state="success")

    def _jobs(self) -> int:
        owners = (job["properties"]["properties"].get(OWNER_PROPERTY, "") for job in scripted.jobs(self._workspace))
        return sum(owner.startswith(f"{DAG}/") for owner in owners)

    def _is_quiet(self) -> bool:
        return self._count(DAG, state=["queued", "running"]) == 0


async def _put(emulator: Emulator, folder: str, count: int) -> set[tuple[str, str]]:
    """Put so many small files, several at a time; returns their paths and eTags."""
    versions: set[tuple[str, str]] = set()
    async with AsyncBlobServiceClient.from_connection_string(emulator.connection_string) as service:
        container = service.get_container_client(CONTAINER)
        numbers: Iterator[int] = iter(range(count))

        async def _share() -> None:
            for number in numbers:
                path = f"{folder}/ward-{number:05d}.csv"
                answer = await container.get_blob_client(path).upload_blob(CONTENT)
                versions.add((path, str(answer["etag"]).strip('"')))

        await asyncio.gather(*(_share() for _ in range(PUTS_AT_ONCE)))
    return versions


async def _bare(emulator: Emulator, folder: str) -> float:
    """Do with the bare SDK what each blob costs at least, a batch's worth of times; returns the seconds for each."""
    async with AsyncBlobServiceClient.from_connection_string(emulator.connection_string) as service:
        source, numbers = service.get_container_client(CONTAINER), iter(range(BARE))
        target = await service.create_container(f"bare-{folder}")

        async def _share() -> None:
            for number in numbers:
                blob = source.get_blob_client(f"{folder}/ward-{number:05d}.csv")
                copy = target.get_blob_client(f"ward-{number:05d}.csv")
                await (await blob.download_blob(offset=0, length=len(CONTENT))).readall()
                await copy.start_copy_from_url(blob.url)
                await copy.delete_blob()

        began = time.monotonic()
        await asyncio.gather(*(_share() for _ in range(PUTS_AT_ONCE)))
        return (time.monotonic() - began) / BARE


def _until(condition: Callable[[], bool], what: str, deadline_s: float) -> None:
    if not wait_until(condition, deadline_s=deadline_s, step_s=1.0):
        raise RuntimeError(f"waited {deadline_s:.0f} s for {what}")

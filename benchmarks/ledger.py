"""What the ledger costs: claims a second of eight processes that all want the same blobs, and what each blob takes.

Each store gets the same blobs and the same eight claimers, one after the other in the same run: all sort all blobs and
claim them in packs, from different ends, until nothing is open. The peer is the least that a claim beside the data can
cost: one conditional write for each blob with the same client, and nothing read, batched or settled.

Requests and bytes are counted by one claimer alone: blobs that are claimed, submitted and scored in batches of 100.
Then the ledger is compacted, and what is left is counted.
"""

import asyncio
import contextlib
import importlib.util
import multiprocessing
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from airflow_azureml.client.blob_documents import BlobDocuments
from airflow_azureml.client.ledger import Ledger
from airflow_azureml.client.ledger_upkeep import Upkeep
from airflow_azureml.client.sql_documents import SqlDocuments
from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.documents import Document, Documents
from airflow_azureml.core.workspace import ConnectionSettings
from benchmarks.report import Report
from demo.azure import ACCOUNT, Azurite
from demo.postgres import MissingError, Postgres

CLAIMERS, BLOBS, PACK = 8, 400, 100
#: Blobs of the one claimer whose requests are counted.
COUNTED = 1000
LEAST_RATIO, MOST_REQUESTS, MOST_LEFT = 0.33, 2.2, 40.0
PATIENCE_S = 600
SETTINGS = ConnectionSettings.parse(
    {
        "subscription_id": "00000000-0000-0000-0000-000000000001",
        "resource_group": "local",
        "workspace": "local",
        "authentication": "emulator",
        "endpoint": "http://127.0.0.1:1",
    },
    conn_id="bench",
)


@frozen
class Store:
    """Where a ledger is, as another process can be told of it."""

    kind: str
    url: str

    def open(self) -> contextlib.AbstractAsyncContextManager[Documents]:
        """Open it."""
        return BlobDocuments(SETTINGS, self.url) if self.kind == "blobs" else SqlDocuments(self.url)


def measure() -> Report:
    """Let them claim, one store after the other."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        azurite = running.enter_context(Azurite(Path(folder)))
        blobs = Store("blobs", f"{azurite.blob_url}/{ACCOUNT}/l{uuid.uuid4().hex[:12]}")
        stores = {"blobs": blobs, "sqlite": Store("sqlite", f"sqlite:///{folder}/ledger.db")}
        stores |= running.enter_context(_postgres(Path(folder)))
        bare_s = _race("bare", blobs)
        seconds = {name: _race("ledger", store) for name, store in stores.items()}
        cost = asyncio.run(_cost(Store("blobs", f"{azurite.blob_url}/{ACCOUNT}/c{uuid.uuid4().hex[:12]}")))
    rates = {name: BLOBS / spent for name, spent in seconds.items()}
    ratio = rates["blobs"] * bare_s / BLOBS
    is_met = ratio >= LEAST_RATIO and cost["requests"] <= MOST_REQUESTS and cost["bytes_left"] <= MOST_LEFT
    return Report(
        benchmark="ledger",
        ours=rates["blobs"],
        peer=BLOBS / bare_s,
        ratio=ratio,
        unit=f"blobs/s claimed and settled by {CLAIMERS} claimers, in Azurite",
        goal=f"ours / bare conditional writes >= {LEAST_RATIO}; a blob takes <= {MOST_REQUESTS} requests, and "
        f"<= {MOST_LEFT:.0f} bytes once it is folded",
        ok=is_met,
        beside={
            **{f"{name}_per_s": round(rate, 1) for name, rate in rates.items() if name != "blobs"},
            **{f"{name}_per_blob": round(value, 2) for name, value in cost.items()},
        },
    )


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[dict[str, Store]]:
    """Give a PostgreSQL where there is one."""
    try:
        server = Postgres(folder) if importlib.util.find_spec("psycopg2") else None
    except MissingError:
        server = None
    if server is None:
        yield {}
        return
    with server:
        yield {"postgresql": Store("postgresql", server.url)}


def _race(what: str, store: Store) -> float:
    """Let all claimers run; return the seconds from their start to the end of the last, and check what they did."""
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(CLAIMERS + 1), context.Queue()
    names = (what, store, barrier, told)
    processes = [context.Process(target=_claimer, args=(number, *names)) for number in range(CLAIMERS)]
    for each in processes:
        each.start()
    barrier.wait(PATIENCE_S)
    began = time.monotonic()
    won: list[list[str]] = [told.get(timeout=PATIENCE_S) for _ in processes]
    spent = time.monotonic() - began
    for each in processes:
        each.join(PATIENCE_S)
    counts = Counter(key for keys in won for key in keys)
    if len(counts) != BLOBS or set(counts.values()) != {1}:
        raise RuntimeError(f"{what} in {store.kind}: {len(counts)} of {BLOBS} blobs, {counts.most_common(1)}")
    return spent


def _claimer(number: int, what: str, store: Store, barrier: Any, told: Any) -> None:
    keys: list[str] = []
    try:
        keys = asyncio.run(_claim(number, what, store, barrier))
    finally:
        told.put(keys)  # one that failed is missed by whoever counts


async def _claim(number: int, what: str, store: Store, barrier: Any) -> list[str]:
    arrivals = _arrivals(BLOBS)
    at = number * BLOBS // CLAIMERS
    arrivals = arrivals[at:] + arrivals[:at]
    async with store.open() as documents:
        await documents.create({"ready": "1"})  # the container or the table, and a connection
        barrier.wait(PATIENCE_S)
        if what == "bare":
            made = await documents.create({f"bare/{each.key}": f"{number}" for each in arrivals})
            return [name.rpartition("/")[2] for name in made]
        return [each.key for part in _parts(arrivals) async for each in _score(documents, part, f"c{number}")]


async def _score(documents: Documents, part: Sequence[Arrival], owner: str) -> AsyncIterator[Arrival]:
    """Take blobs all the way."""
    ledger = Ledger(documents=documents, name="bench")
    found = await ledger.sort(part)
    for batch in await ledger.claim([found.open], owner=owner):
        await ledger.submit(batch.id, owner=owner, job=f"job-{batch.id}")
        await ledger.scored(batch.id, job=f"job-{batch.id}", output="azureml://datastores/results/paths/scored/")
        for each in batch.arrivals:
            yield each


def _parts(arrivals: Sequence[Arrival]) -> Iterator[Sequence[Arrival]]:
    for at in range(0, len(arrivals), PACK):
        yield arrivals[at : at + PACK]


async def _cost(store: Store) -> dict[str, float]:
    """Count what a blob takes on its way, and what is left of it."""
    async with store.open() as inner:
        documents = Counted(inner)
        for part in _parts(_arrivals(COUNTED)):
            async for _ in _score(documents, part, "c"):
                pass
        asked, sent = documents.requests, documents.bytes
        kept = await _size(inner)
        await Upkeep(documents=inner, name="bench").compact(older_than=timedelta(0))
        left = await _size(inner)
    counts = {f"{name}s": count / COUNTED for name, count in asked.items()}
    return {
        "requests": sum(asked.values()) / COUNTED,
        **counts,
        "bytes_written": sent / COUNTED,
        "bytes_kept": kept / COUNTED,
        "bytes_left": left / COUNTED,
    }


async def _size(documents: Documents) -> int:
    return sum([len(each.text.encode()) + len(each.id) async for page in documents.scan("bench/") for each in page])


def _arrivals(count: int) -> list[Arrival]:
    return [
        Arrival(
            account="myaccount",
            container="incoming",
            path=f"patients/2026/01/31/clinic-{number % 7}/measurements-{number:06}.csv",
            etag=f"0x8DC{number:012X}",
            size_bytes=48_000 + number,
            sequencer=f"{number:032X}",
            time="2026-01-31T12:00:00.123456+00:00",
            api="PutBlockList",
            url=f"https://myaccount.blob.core.windows.net/incoming/patients/2026/01/31/measurements-{number:06}.csv",
        )
        for number in range(count)
    ]


@define
class Counted:
    """A store of documents that counts what it is asked, as a storage account does: one request for each document."""

    inner: Documents
    requests: Counter[str] = field(factory=Counter)
    bytes: int = 0

    async def read(self, ids: Collection[str]) -> dict[str, Document]:
        """Read, and count."""
        self.requests["read"] += len(ids)
        return await self.inner.read(ids)

    async def create(self, texts: Mapping[str, str]) -> dict[str, Document]:
        """Write, and count."""
        self.requests["write"] += len(texts)
        self.bytes += sum(len(each.encode()) for each in texts.values())
        return await self.inner.create(texts)

    async def replace(self, changes: Mapping[str, tuple[str, str]]) -> dict[str, Document]:
        """Write, and count."""
        self.requests["write"] += len(changes)
        self.bytes += sum(len(text.encode()) for _, text in changes.values())
        return await self.inner.replace(changes)

    async def remove(self, versions: Mapping[str, str]) -> set[str]:
        """Remove, and count."""
        self.requests["remove"] += len(versions)
        return await self.inner.remove(versions)

    def scan(self, prefix: str) -> AsyncIterator[list[Document]]:
        """Scan; nobody does here."""
        return self.inner.scan(prefix)

    def ids(self, prefix: str) -> AsyncIterator[list[str]]:
        """List; nobody does here."""
        return self.inner.ids(prefix)

    async def now(self) -> datetime:
        """Tell the time."""
        return await self.inner.now()

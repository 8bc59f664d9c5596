"""Blobs in memory, with a clock: workers that make training data of them can be stopped between any two steps."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from attrs import define, field

from airflow_azureml.client.compaction import Compactor, Logs
from airflow_azureml.core.compaction import Compaction, Matching
from airflow_azureml.core.documents import Document
from airflow_azureml.core.scoring_logs import Dated, Segment
from airflow_azureml.core.windows import Windows
from tests.unit.provider.arrivals.ledger_world import Memory

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@define
class Blobs:
    """A container; its clock stands until it is told."""

    now: datetime = START
    written: dict[str, tuple[bytes, datetime, str]] = field(factory=dict)
    puts: list[str] = field(factory=list)
    documents: Memory = field(factory=Memory)
    numbers: Iterator[int] = field(factory=itertools.count)

    def write(self, path: str, content: bytes) -> None:
        self.written[path] = (content, self.now, f"e{next(self.numbers)}")

    def rows(self, prefix: str) -> list[dict[str, Any]]:
        """All rows of the partitions below a path."""
        parts = [io.BytesIO(self.written[name][0]) for name in sorted(self.written) if name.startswith(prefix)]
        return [row for part in parts for row in pl.read_csv(part, infer_schema=False).to_dicts()]

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[MemoryDocuments]:
        yield MemoryDocuments(self)


@define
class MemoryDocuments:
    """What `Documents` is to who reads and replaces one."""

    blobs: Blobs

    async def read(self, ids: Collection[str]) -> dict[str, Document]:
        found = {name: self.blobs.documents.read(name) for name in ids}
        return {name: each for name, each in found.items() if each is not None}

    async def create(self, texts: Mapping[str, str]) -> dict[str, Document]:
        made = {name: self.blobs.documents.create(name, text) for name, text in texts.items()}
        return {name: each for name, each in made.items() if each is not None}

    async def replace(self, changes: Mapping[str, tuple[str, str]]) -> dict[str, Document]:
        made = {name: self.blobs.documents.replace(name, *change) for name, change in changes.items()}
        return {name: each for name, each in made.items() if each is not None}

    async def now(self) -> datetime:
        return self.blobs.now


@define
class MemoryFolder:
    """What `BlobFolder` is to who works with files."""

    blobs: Blobs
    path: str
    container_url: str = "memory://container"

    def files(self, below: str = "") -> Iterator[Segment]:
        for name, (content, time, etag) in sorted(self.blobs.written.items()):
            if name.startswith(f"{self.path}{below}"):
                yield Segment.written(name, at=time, etag=etag, size_bytes=len(content))

    def fetch(self, path: str, to: Path, *, etag: str = "") -> bool:
        content, _, is_now = self.blobs.written.get(path, (b"", None, ""))
        if not is_now or etag not in {"", is_now}:
            return False
        to.write_bytes(content)
        return True

    def read(self, path: str) -> bytes | None:
        return self.blobs.written[path][0] if path in self.blobs.written else None

    def put(self, path: str, source: Path) -> bool:
        if path in self.blobs.written:
            return False
        self.blobs.write(path, source.read_bytes())
        self.blobs.puts.append(path)
        return True

    def delete(self, path: str) -> None:
        self.blobs.written.pop(path, None)


def compactor(
    blobs: Blobs, *, matching: Matching | None = None, since: datetime | None = None, columns: Sequence[str] = ()
) -> Compactor:
    """A worker that makes hourly partitions."""
    return Compactor(
        compaction=Compaction(
            matching=matching or Matching(keys="id"),
            windows=Windows(every=HOUR, late=timedelta(minutes=1)),
            since=since,
        ),
        predictions=Logs(Dated(folder="https://memory/p/"), MemoryFolder(blobs, "p/")),
        labels=Logs(Dated(folder="https://memory/l/"), MemoryFolder(blobs, "l/"), columns),
        output=MemoryFolder(blobs, "t/"),
        documents=blobs.opened,  # type: ignore[arg-type]  # as much of it as is asked
    )


def done(worker: Compactor) -> Compactor:
    """Let a worker do all there is."""
    for _ in worker.work():
        pass
    return worker


def table(**columns: Sequence[object]) -> bytes:
    return pl.DataFrame(columns).write_csv().encode()

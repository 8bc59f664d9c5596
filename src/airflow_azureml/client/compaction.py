"""Making partitions of training data, from a worker: exactly once, whoever dies and whoever races.

What a window comes to is staged under a name that nobody else uses. The watermark then moves, by compare-and-set, to
name what was staged: that is the one moment from which it counts. Last, the partition is put where readers look, which
whoever comes next does where it was not done.
"""

import asyncio
import hashlib
import logging
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from airflow_azureml.client.scoring_logs import Folder, segments
from airflow_azureml.core.compaction import Compaction, Partition, Watermark
from airflow_azureml.core.documents import Document, Documents
from airflow_azureml.core.scoring_logs import Dated, ScoringLogs, Segment
from airflow_azureml.core.windows import Span
from airflow_azureml.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from polars import DataFrame

    from airflow_azureml.quality.joining import Source

log = logging.getLogger(__name__)

#: Below the folder of training data: what readers do not look at.
OWN = "_compaction/"
WATERMARK = f"{OWN}watermark.json"
#: How old a staged file must be that nobody needs any more.
LEFT = timedelta(days=1)
#: About how much larger the rows of a compressed file are than the file.
WEIGHT = {"parquet": 4}
#: Windows of one run.
MOST_WINDOWS = 1000


@frozen
class Logs:
    """Files, and where they are.

    Attributes:
        what: Which files.
        folder: Their folder, opened.
        columns: Those that are taken; empty for all.
    """

    what: ScoringLogs
    folder: Folder
    columns: Sequence[str] = ()

    def size(self, taken: Sequence[Segment]) -> int:
        """Say how many bytes files would be as CSV, about."""
        return WEIGHT.get(self.what.format, 1) * sum(each.size_bytes for each in taken)


@frozen
class Made:
    """A partition that counts.

    Attributes:
        window: Its window.
        path: In the container of the training data; empty where the window has no rows.
        rows: Its rows.
    """

    window: str
    path: str
    rows: int


@define(kw_only=True)
class Compactor:
    """Makes what is due.

    Attributes:
        compaction: Which training data.
        predictions: What was scored.
        labels: What came of it later.
        output: The folder of the training data, opened.
        documents: Opens the documents of its container.
        now: Tells the time; None for the store's own, by which files are written, too.
        made: What this one has made so far.
        watermark: As it was last read or written.
    """

    compaction: Compaction
    predictions: Logs
    labels: Logs
    output: Folder
    documents: Callable[[], AbstractAsyncContextManager[Documents]]
    now: Callable[[], datetime] | None = None
    made: list[Made] = field(factory=list)
    watermark: Watermark | None = None
    _document: Document | None = None

    def work(self) -> Iterator[str]:
        """Make all that is due, a step at a time; whoever stops between two leaves nothing that another cannot mend.

        Yields:
            What comes next.

        Raises:
            ConfigError: The files or the folder cannot be used so; the message says why.
            RefusedError: The identity may not read or write there.
            UnavailableError: Storage does not answer; trying again is safe.
        """
        yield "read the watermark"
        now = self._read()
        yield "list"
        predictions, labels = self._list()
        for _ in range(MOST_WINDOWS):
            yield "publish what counts"
            self._publish()
            self.watermark = self.compaction.begun(self.watermark, [*predictions, *labels])
            due = self._due([*predictions, *labels], now)
            if due is None:
                break
            yield f"join window {due.key}"
            with tempfile.TemporaryDirectory(prefix="airflow-azureml-compaction-") as scratch:
                wanted = [sorted(each for each in some if each.time in due) for some in (predictions, labels)]
                moved = self._make(due, *wanted, scratch=Path(scratch))
            yield f"move the watermark behind window {due.key}"
            if moved is not None and self._commit(moved):
                self._note(due)
            else:
                log.info("Somebody else has moved the watermark meanwhile; it is read again")
            yield "read the watermark"
            self._read()
        yield "clean up"
        self._publish()
        self._clean(now)

    def _read(self) -> datetime:
        """Read the watermark, and tell the time."""
        name = f"{self.output.path}{WATERMARK}"

        async def _ask() -> tuple[Document | None, datetime]:
            async with self.documents() as documents:
                found = (await documents.read([name])).get(name)
                return found, await documents.now() if self.now is None else self.now()

        self._document, now = asyncio.run(_ask())
        self.watermark = None if self._document is None else Watermark.parse(self._document.text)
        return now

    def _list(self) -> tuple[list[Segment], list[Segment]]:
        """List what was not taken; what comes later counts as of a later time than any window that is over now."""
        since = self.compaction.since if self.watermark is None else self.watermark.until
        predictions, labels = (
            list(segments(logs.folder, logs.what, since=since)) for logs in (self.predictions, self.labels)
        )
        return predictions, labels

    def _due(self, found: Sequence[Segment], now: datetime) -> Span | None:
        return None if self.watermark is None else self.compaction.due(self.watermark, found, now=now)

    def _make(
        self, span: Span, predictions: Sequence[Segment], labels: Sequence[Segment], *, scratch: Path
    ) -> Watermark | None:
        """Join a window, and stage what it comes to; None where what waited is gone, since somebody has moved on."""
        from airflow_azureml.quality.joining import join, piles_for  # noqa: PLC0415  # not when a DAG is parsed

        before = self.watermark
        if before is None:
            raise AssertionError("read first")
        state = scratch / "state.parquet"
        if before.state and not self.output.fetch(before.state, state):
            self._check_moved(before.state)
            return None
        size = self.predictions.size(predictions) + self.labels.size(labels)
        size += WEIGHT["parquet"] * (state.stat().st_size if before.state else 0)
        folder = scratch / "joined"
        folder.mkdir()
        joined = join(
            matching=self.compaction.matching,
            span=span,
            predictions=self._sources(self.predictions, predictions, scratch),
            labels=self._sources(self.labels, labels, scratch),
            state=state if before.state else None,
            folder=folder,
            output=self.compaction.output,
            piles=piles_for(size),
        )
        log.info("Window %s: %s", span.key, joined.counts)
        return before.moved(
            span,
            state=self._stage(folder / "waiting.parquet"),
            partition=self._partition(span, folder / f"part.{self.compaction.output}", joined.counts.joined),
            counts=joined.counts,
            waiting=joined.waiting,
        )

    def _check_moved(self, file: str) -> None:
        """See that a staged file that is gone is not needed any more, since somebody has moved on.

        Raises:
            ProtocolError: It is: somebody has deleted it.
        """
        self._read()
        if self.watermark is None or file in self.watermark.files:
            raise ProtocolError(
                f"Read {self.output.container_url}/{file}: it is gone, and the watermark still names it. Restore it, or"
                " begin another set of training data."
            )

    def _sources(self, logs: Logs, taken: Sequence[Segment], scratch: Path) -> Iterator["Source"]:
        """Fetch files, one at a time; a version that was replaced meanwhile comes later, as it is then."""
        from airflow_azureml.quality.collected import batches  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.quality.joining import Source  # noqa: PLC0415  # as above

        here = scratch / "file"
        for each in taken:
            if not logs.folder.fetch(each.path, here, etag=each.etag):
                if isinstance(logs.what, Dated):
                    log.warning("%s was replaced or deleted since it was listed; it is left out", each.path)
                    continue
                raise ConfigError(
                    f"{logs.folder.container_url}/{each.path} is not there, though its batch is published. Is 'file'"
                    " the name of what the pipeline writes?"
                )
            found = batches(here, logs.what.format)
            yield Source(name=each.path, time=each.time, batches=self._taken(found, logs, each.path))

    def _taken(self, found: "Iterator[DataFrame]", logs: Logs, path: str) -> "Iterator[DataFrame]":
        """Leave out columns that are not taken.

        Raises:
            ConfigError: One that is to be taken is not there.
        """
        for frame in found:
            missing = [name for name in logs.columns if name not in frame.columns]
            if missing:
                raise ConfigError(f"{path} lacks {', '.join(map(repr, missing))}; it has {', '.join(frame.columns)}.")
            kept = (*self.compaction.matching.keys, *logs.columns)
            yield frame.select([name for name in frame.columns if not logs.columns or name in kept])

    def _stage(self, file: Path) -> str:
        """Put a file where only the watermark can find it; give its name, and none where there is no file."""
        if not file.exists():
            return ""
        name = f"{self.output.path}{OWN}{uuid.uuid4().hex}/{file.name}"
        self.output.put(name, file)
        return name

    def _partition(self, span: Span, file: Path, rows: int) -> Partition | None:
        if not rows:
            return None
        return Partition(
            window=span.key, file=self._stage(file), rows=rows, size_bytes=file.stat().st_size, sha256=_digest(file)
        )

    def _commit(self, moved: Watermark) -> bool:
        """Move the watermark, unless somebody else has."""
        name = f"{self.output.path}{WATERMARK}"

        async def _write() -> bool:
            async with self.documents() as documents:
                if self._document is None:
                    return bool(await documents.create({name: moved.text}))
                return bool(await documents.replace({name: (self._document.version, moved.text)}))

        if asyncio.run(_write()):
            self.watermark = moved
            return True
        return False

    def _note(self, span: Span) -> None:
        last = None if self.watermark is None else self.watermark.partition
        if last is not None and last.window == span.key:
            self.made.append(Made(span.key, self._final(last), last.rows))
        else:
            self.made.append(Made(span.key, "", 0))

    def _publish(self) -> None:
        """Put the last partition where readers look, unless it is there.

        Raises:
            ConfigError: Something else is there.
        """
        last = None if self.watermark is None else self.watermark.partition
        if last is None:
            return
        sizes = {each.path: each.size_bytes for each in self.output.files(f"{last.window}/")}
        if sizes.get(self._final(last)) == last.size_bytes:
            return
        with tempfile.TemporaryDirectory(prefix="airflow-azureml-compaction-") as scratch:
            staged, there = Path(scratch, "staged"), Path(scratch, "there")
            if not self.output.fetch(last.file, staged):
                self._check_moved(last.file)
            elif self.output.put(self._final(last), staged):
                log.info("Partition %s is published: %d rows", self._final(last), last.rows)
            elif self.output.fetch(self._final(last), there) and _digest(there) != last.sha256:
                raise ConfigError(
                    f"{self.output.container_url}/{self._final(last)} is there already, and is not what the watermark"
                    " names. The folder must be of this training data alone."
                )

    def _final(self, partition: Partition) -> str:
        return f"{self.output.path}{partition.window}/part.{self.compaction.output}"

    def _clean(self, now: datetime) -> None:
        """Delete what was staged and is not needed any more."""
        needed = frozenset[str]() if self.watermark is None else self.watermark.files
        for each in list(self.output.files(OWN)):
            if each.path not in needed and not each.path.endswith(WATERMARK) and each.time < now - LEFT:
                self.output.delete(each.path)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

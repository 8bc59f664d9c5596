"""Predictions with their labels, as partitions of training data: what is due, what waits, and what was taken.

Files of predictions and of labels are taken in the order of their times, window by window. A prediction and a label of
the same key go together in the window in which the later of both came, so what a partition holds depends on the files
alone, never on when or how often somebody looked. The watermark, one document that is changed by compare-and-set, says
up to where files were taken, which file holds what waits, and which partition is the last.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from attrs import asdict, evolve, field, frozen

from airflow_azureml.core.scoring_logs import Segment
from airflow_azureml.core.windows import Span, Windows
from airflow_azureml.errors import ConfigError, ProtocolError

SCHEMA = 1
OUTPUTS = ("csv", "parquet")


def _texts(names: Sequence[str] | str) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


@frozen(kw_only=True)
class Matching:
    """Which prediction and which label go together.

    A key names one prediction and one label: the first of each that came counts, and repeats are ignored, for as long
    as the key is remembered, which is the longer of both bounds from when it was first seen. Later, it is a new one.

    Attributes:
        keys: The columns that both have, and by which they are matched, as text.
        labels_within: How long a prediction waits for its label; then it expires, and a label that comes is ignored.
        predictions_within: How long a label waits for its prediction; likewise.
    """

    keys: tuple[str, ...] = field(converter=_texts)
    labels_within: timedelta = timedelta(days=30)
    predictions_within: timedelta = timedelta(days=7)

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        hidden = [name for name in self.keys if not name or name.startswith("__")]
        return [
            *([] if self.keys else ["keys is empty"]),
            *([f"keys has {', '.join(map(repr, hidden))}, which cannot be a key's column"] if hidden else []),
            *([] if len(set(self.keys)) == len(self.keys) else ["keys names a column twice"]),
            *([] if self.labels_within >= timedelta(0) else ["labels_within is negative"]),
            *([] if self.predictions_within >= timedelta(0) else ["predictions_within is negative"]),
        ]

    @property
    def remembered(self) -> timedelta:
        """How long a key is remembered from when it was first seen."""
        return max(self.labels_within, self.predictions_within)


@frozen(kw_only=True)
class Counts:
    """What became of predictions and labels; the sums of the windows.

    Each prediction is joined, expired, ignored or waiting, and so is each label.

    Attributes:
        predictions: Predictions that were read and have a key.
        labels: Labels likewise.
        joined: Rows of training data.
        expired_predictions: Those whose label did not come in time.
        expired_labels: Those whose prediction did not come in time.
        ignored_predictions: Those of a key that had one already, or whose label had expired.
        ignored_labels: Those of a key that had one already, or that came too late.
        without_key: Rows of either that have no key.
    """

    predictions: int = 0
    labels: int = 0
    joined: int = 0
    expired_predictions: int = 0
    expired_labels: int = 0
    ignored_predictions: int = 0
    ignored_labels: int = 0
    without_key: int = 0

    def __add__(self, other: Self) -> Self:
        more = asdict(other)
        return type(self)(**{name: count + more[name] for name, count in asdict(self).items()})

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what ``attrs.asdict`` wrote."""
        return cls(**{name: int(count) for name, count in raw.items()})


@frozen(kw_only=True)
class Partition:
    """One partition of training data, complete from its first moment.

    Attributes:
        window: What its window is called.
        file: Where it is staged.
        rows: Its rows; never none.
        size_bytes: Its size.
        sha256: The digest of its content, in hexadecimal.
    """

    window: str
    file: str
    rows: int
    size_bytes: int
    sha256: str


@frozen(kw_only=True)
class Watermark:
    """Up to where files were taken.

    Attributes:
        until: Files of an earlier time were taken, and none of that time or later.
        state: The file with what waits and what is remembered; empty where nothing is.
        rules: The digest of what decides which rows go where; it never changes.
        partition: The last partition, which may still have to be put where readers look; None before the first.
        counts: The sums so far.
        waiting: How many predictions and how many labels wait.
    """

    until: datetime
    rules: str
    state: str = ""
    partition: Partition | None = None
    counts: Counts = Counts()
    waiting: tuple[int, int] = (0, 0)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` wrote.

        Raises:
            ProtocolError: It is something else.
        """
        try:
            raw = json.loads(text)
            if raw["schema"] != SCHEMA:
                raise ProtocolError(f"The watermark is of schema {raw['schema']!r}; this version reads {SCHEMA}.")
            predictions, labels = raw["waiting"]
            return cls(
                until=datetime.fromisoformat(raw["until"]).astimezone(UTC),
                rules=str(raw["rules"]),
                state=str(raw["state"]),
                partition=Partition(**raw["partition"]) if raw["partition"] else None,
                counts=Counts.from_wire(raw["counts"]),
                waiting=(int(predictions), int(labels)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"The document of the watermark is none: {error!r}") from error

    @property
    def text(self) -> str:
        """Write it."""
        told = {
            "until": self.until.isoformat(),
            "rules": self.rules,
            "state": self.state,
            "partition": None if self.partition is None else asdict(self.partition),
            "counts": asdict(self.counts),
            "waiting": list(self.waiting),
        }
        return json.dumps({"schema": SCHEMA, **told}, indent=1)

    @property
    def files(self) -> frozenset[str]:
        """The staged files that are still needed."""
        last = () if self.partition is None else (self.partition.file,)
        return frozenset(each for each in (self.state, *last) if each)

    def moved(
        self, span: Span, *, state: str, partition: Partition | None, counts: Counts, waiting: tuple[int, int]
    ) -> Self:
        """Move it behind a window."""
        return evolve(
            self,
            until=span.until,
            state=state,
            partition=partition or self.partition,
            counts=self.counts + counts,
            waiting=waiting,
        )


@frozen(kw_only=True)
class Compaction:
    """Which training data is made, and how.

    Attributes:
        matching: Which prediction and which label go together.
        windows: How partitions are cut.
        output: What a partition is written as, ``csv`` or ``parquet``.
        since: Files of an earlier time do not count; None for all there are.
    """

    matching: Matching
    windows: Windows = field(factory=Windows)
    output: str = "csv"
    since: datetime | None = None

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        return [
            *self.matching.faults(),
            *self.windows.faults(),
            *([] if self.output in OUTPUTS else [f"output is {self.output!r}; it is none of {', '.join(OUTPUTS)}"]),
        ]

    @property
    def digest(self) -> str:
        """Tell rules apart under which the same files would make other partitions."""
        matching = self.matching
        parts = [matching.keys, str(matching.labels_within), str(matching.predictions_within)]
        text = json.dumps([*parts, str(self.windows.every), self.output])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def begun(self, watermark: Watermark | None, segments: Iterable[Segment]) -> Watermark | None:
        """Give the watermark to go on from; None where there is nothing to begin with.

        Raises:
            ConfigError: What was begun was begun by other rules.
        """
        if watermark is not None:
            if watermark.rules != self.digest:
                raise ConfigError(
                    "The keys, the bounds, the length of windows or the format have changed since the first partition"
                    " was made: a prediction could land in two. Make another set of training data, by another name."
                )
            return watermark
        since = self.since or min((each.time for each in segments), default=None)
        if since is None:
            return None
        return Watermark(until=self.windows.of(since).since, rules=self.digest)

    def due(self, watermark: Watermark, segments: Iterable[Segment], *, now: datetime) -> Span | None:
        """Give the next window that is over and has files; None where there is none."""
        since = watermark.until if self.since is None else max(watermark.until, self.since)
        first = min((each.time for each in segments if each.time >= since), default=None)
        span = None if first is None else self.windows.of(first)
        return span if span is not None and self.windows.is_over(span, now=now) else None

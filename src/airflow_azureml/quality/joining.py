"""Joining predictions with labels that come late, by key, in bounded memory.

All rows are first dealt out into as many piles as it takes, by a hash of their key, on the disk; then each pile is
joined for itself. What waits and what is remembered is a file of the same kind of rows, which the next join reads.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from attrs import define, evolve, field, frozen

from airflow_azureml.core.compaction import Counts, Matching
from airflow_azureml.core.windows import Span
from airflow_azureml.errors import ConfigError

__all__ = ["Joined", "Source", "join", "piles_for"]

#: The columns that are ours: the key as one text, the time in microseconds since 1970, the order within a time, and
#: what a row is. Their names cannot be those of a key.
KEY, TIME, ORDER, KIND = "__key", "__time", "__order", "__kind"
OWN = (KEY, TIME, ORDER, KIND)
#: What tells a pair: the order of its prediction and of its label, and when the later of both came.
PAIR = ("prediction", "label", "at")
PREDICTION, LABEL, CLOSED = 0, 1, 2
#: What separates the parts of a key, and what stands before each, so that no two keys are the same text.
_SEPARATOR = "\x1f"
#: About so many bytes of files make a pile; it takes some ten times as much memory.
PILE_BYTES = 32 << 20
_MOST_PILES = 512


@frozen(kw_only=True)
class Source:
    """One file to be joined.

    Attributes:
        name: What to call it in an error.
        time: What its rows count as of.
        batches: Its rows.
    """

    name: str
    time: datetime
    batches: Iterable[pl.DataFrame]


@frozen(kw_only=True)
class Joined:
    """What a join came to.

    Attributes:
        counts: What became of what was read, and of what had waited.
        waiting: How many predictions and how many labels wait now.
        remembered: How many rows the file of what waits has; where there is none, there is no file.
    """

    counts: Counts
    waiting: tuple[int, int]
    remembered: int


def piles_for(size_bytes: int) -> int:
    """Say how many piles files of so many bytes take."""
    return max(1, min(_MOST_PILES, -(-size_bytes // PILE_BYTES)))


def join(  # noqa: PLR0913  # all by name
    *,
    matching: Matching,
    span: Span,
    predictions: Iterable[Source],
    labels: Iterable[Source],
    state: Path | None,
    folder: Path,
    output: str,
    piles: int = 1,
) -> Joined:
    """Join what came in one window, and what waited for it.

    Args:
        matching: Which prediction and which label go together.
        span: The window.
        predictions: In the order of their times, and those of one time in that of their names.
        labels: Likewise.
        state: What the join before has left in ``waiting.parquet``; None for nothing.
        folder: Where ``part.csv`` or ``part.parquet`` and ``waiting.parquet`` are written: an empty folder.
        output: ``csv`` or ``parquet``.
        piles: See `piles_for`.

    Raises:
        ConfigError: A file lacks a column of the key, or predictions and labels both have a column that is none of it.
    """
    table = _Table(matching=matching, folder=folder, piles=piles)
    if state is not None:
        table.recall(state)
    table.deal(predictions, PREDICTION)
    table.deal(labels, LABEL)
    table.check()
    joined = Joined(counts=table.counts, waiting=(0, 0), remembered=0)
    for pile in range(piles):
        joined = table.settle(pile, span, joined)
    table.write("part", output)
    table.write("waiting", "parquet")
    return joined


@define
class _Table:
    """The piles, and what is written of them."""

    matching: Matching
    folder: Path
    piles: int
    counts: Counts = field(factory=Counts)
    schemas: dict[int, dict[str, pl.DataType]] = field(factory=lambda: {PREDICTION: {}, LABEL: {}, CLOSED: {}})
    files: int = 0

    def deal(self, sources: Iterable[Source], kind: int) -> None:
        """Deal out the rows of files."""
        for order, source in enumerate(sources):
            first = order << 40  # files in their order, and rows in theirs, of which a file has fewer
            for frame in source.batches:
                rows = self._keyed(frame, source).with_columns(
                    pl.lit(_micros(source.time)).alias(TIME),
                    (pl.int_range(pl.len(), dtype=pl.Int64) + first).alias(ORDER),
                    pl.lit(kind, dtype=pl.Int8).alias(KIND),
                )
                self._count_read(frame.height, frame.height - rows.height, kind)
                first += frame.height
                self._put(rows, kind)

    def _count_read(self, rows: int, without_key: int, kind: int) -> None:
        read = {"predictions": rows - without_key} if kind == PREDICTION else {"labels": rows - without_key}
        self.counts += Counts(**read, without_key=without_key)

    def _keyed(self, frame: pl.DataFrame, source: Source) -> pl.DataFrame:
        """Write the key of each row as one text; rows without one are left out."""
        missing = [name for name in self.matching.keys if name not in frame.columns]
        if missing:
            raise ConfigError(
                f"{source.name} lacks {', '.join(map(repr, missing))} of the key; it has {', '.join(frame.columns)}."
            )
        own = [name for name in frame.columns if name.startswith("__")]
        if own:
            raise ConfigError(f"{source.name} has {', '.join(map(repr, own))}; no column's name may begin with '__'.")
        texts = [pl.col(name).cast(pl.String) for name in self.matching.keys]
        lengths = [each.str.len_bytes().cast(pl.String) + ":" + each for each in texts]
        key = pl.concat_str(lengths, separator=_SEPARATOR, ignore_nulls=False).alias(KEY)
        is_key = [each.is_not_null() & (each != "") for each in texts]
        return frame.filter(pl.all_horizontal(is_key)).with_columns(key)

    def recall(self, state: Path) -> None:
        """Deal out what has waited, row group by row group."""
        waiting = pl.scan_parquet(state, low_memory=True)
        for batch in waiting.collect_batches(chunk_size=50_000, maintain_order=True):
            for kind in (PREDICTION, LABEL, CLOSED):
                rows = batch.filter(pl.col(KIND) == kind)
                mine = [name for name in rows.columns if name.startswith(f"{kind}:")]
                renamed = rows.select(*OWN, *(pl.col(name).alias(name[2:]) for name in mine))
                self._put(renamed, kind)

    def _put(self, rows: pl.DataFrame, kind: int) -> None:
        known = self.schemas[kind]
        known.update({name: dtype for name, dtype in rows.schema.items() if name not in known and name not in OWN})
        dealt = rows.with_columns((pl.col(KEY).hash(seed=0) % self.piles).alias("__pile"))
        for (pile,), some in dealt.partition_by("__pile", as_dict=True, include_key=False).items():
            self.files += 1
            path = self._pile(int(pile), kind) / f"{self.files:08}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            some.write_parquet(path, compression="lz4")

    def check(self) -> None:
        """See that predictions and labels share no column but the key's.

        Raises:
            ConfigError: They do.
        """
        both = (set(self.schemas[PREDICTION]) & set(self.schemas[LABEL])) - set(self.matching.keys)
        if both:
            raise ConfigError(
                f"Predictions and labels both have {', '.join(map(repr, sorted(both)))}, which is none of the key's;"
                " say which columns of the labels are taken."
            )

    def settle(self, pile: int, span: Span, so_far: Joined) -> Joined:
        """Join one pile; write what is joined and what waits, and add up."""
        rows = {kind: self._read(pile, kind) for kind in (PREDICTION, LABEL, CLOSED)}
        lives = _lives(pl.concat([each.select(*OWN) for each in rows.values()]), self.matching, span)
        found = lives.frame
        labels = rows[LABEL].drop(KIND, TIME, *(name for name in self.matching.keys if name in rows[LABEL].columns))
        pairs = found.filter("joined").select(KEY, *(pl.col(name).alias(f"__{name}") for name in PAIR))
        part = (
            pairs.join(rows[PREDICTION], left_on=[KEY, "__prediction"], right_on=[KEY, ORDER], how="inner")
            .join(labels, left_on=[KEY, "__label"], right_on=[KEY, ORDER], how="inner")
            .sort("__at", KEY)
        )
        self._keep("part", pile, part.select(*self.schemas[PREDICTION], *self._label_columns))
        self._keep("waiting", pile, self._waiting(found, rows))
        waits = found["waits"]
        waiting = (int((waits == PREDICTION).sum()), int((waits == LABEL).sum()))
        return Joined(
            counts=so_far.counts + evolve(lives.counts, joined=part.height),
            waiting=(so_far.waiting[0] + waiting[0], so_far.waiting[1] + waiting[1]),
            remembered=so_far.remembered + int(waits.is_not_null().sum()),
        )

    def _waiting(self, found: pl.DataFrame, rows: dict[int, pl.DataFrame]) -> pl.DataFrame:
        """Gather the rows that the next join needs: those that wait whole, of the others the key."""
        frames = []
        for kind in (PREDICTION, LABEL):
            columns = [pl.col(name).alias(f"{kind}:{name}") for name in self.schemas[kind]]
            mine = found.filter(pl.col("waits") == kind).select(
                KEY, pl.col("begins").alias(TIME), pl.col("first").alias("__first")
            )
            whole = mine.join(rows[kind].drop(TIME), left_on=[KEY, "__first"], right_on=[KEY, ORDER], how="inner")
            frames.append(whole.select(*self._own(kind), *columns))
        closed = found.filter(pl.col("waits") == CLOSED).select(KEY, pl.col("begins").alias(TIME))
        frames.append(closed.select(*self._own(CLOSED)))
        return pl.concat(frames, how="diagonal")

    @staticmethod
    def _own(kind: int) -> tuple[pl.Expr, ...]:
        """Let what waited come before whatever comes in the next window."""
        order = pl.lit(-1, dtype=pl.Int64).alias(ORDER)
        return (pl.col(KEY), pl.col(TIME), order, pl.lit(kind, dtype=pl.Int8).alias(KIND))

    @property
    def _label_columns(self) -> list[str]:
        return [name for name in self.schemas[LABEL] if name not in self.matching.keys]

    def _read(self, pile: int, kind: int) -> pl.DataFrame:
        own = {KEY: pl.String(), TIME: pl.Int64(), ORDER: pl.Int64(), KIND: pl.Int8()}
        empty = pl.DataFrame(schema={**self.schemas[kind], **own})
        files = sorted(self._pile(pile, kind).glob("*.parquet"))
        frames = [empty, *(pl.read_parquet(each) for each in files)]
        try:
            return pl.concat(frames, how="diagonal_relaxed")
        except pl.exceptions.PolarsError as error:
            what = "predictions" if kind == PREDICTION else "labels"
            raise ConfigError(f"The files of {what} have columns of the same name and other types: {error}") from error

    def _pile(self, pile: int, kind: int) -> Path:
        return self.folder / "piles" / f"{pile}-{kind}"

    def _keep(self, what: str, pile: int, rows: pl.DataFrame) -> None:
        if rows.height:
            path = self.folder / "piles" / f"{what}-{pile:04}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.write_parquet(path, compression="lz4")

    def write(self, what: str, output: str) -> None:
        """Write one file of all piles; none where there are no rows."""
        files = sorted((self.folder / "piles").glob(f"{what}-*.parquet"))
        if files:
            frames = [pl.scan_parquet(each, low_memory=True) for each in files]
            whole = pl.concat(frames, how="diagonal_relaxed")
            path = self.folder / f"{what}.{output}"
            if output == "csv":
                whole.sink_csv(path, maintain_order=True)
            else:
                whole.sink_parquet(path, compression="zstd", maintain_order=True)


@frozen
class _Lives:
    """The lives of keys that go on: the last of each, with what becomes of it, and what the others came to."""

    frame: pl.DataFrame
    counts: Counts


def _lives(rows: pl.DataFrame, matching: Matching, span: Span) -> _Lives:
    """Cut what came of each key into lives, one after the other, and settle each.

    A life begins with the first row of a key and lasts as long as the key is remembered.
    """
    remembered, until = _length(matching.remembered), _micros(span.until)
    settled: list[pl.DataFrame] = []
    while rows.height or not settled:
        begun = rows.with_columns(pl.col(TIME).min().over(KEY).alias("begins"))
        in_life = pl.col(TIME) <= pl.col("begins") + remembered
        rest = begun.filter(~in_life).select(*OWN)
        life = _life(begun.filter(in_life), matching)
        # A life that another one followed is over before the window is.
        settled.append(life.with_columns((pl.col("begins") + remembered >= until).alias("kept")))
        rows = rest
    whole = pl.concat(settled)
    return _judged(whole, matching, until)


def _life(rows: pl.DataFrame, matching: Matching) -> pl.DataFrame:
    """Say of each life which prediction and which label are the first, and whether they go together."""
    of = {kind: pl.col(KIND) == kind for kind in (PREDICTION, LABEL, CLOSED)}
    lives = (
        rows.sort(TIME, ORDER)
        .group_by(KEY, maintain_order=True)
        .agg(
            pl.col("begins").first(),
            of[CLOSED].any().alias("closed"),
            *(
                expression
                for kind, name in ((PREDICTION, "prediction"), (LABEL, "label"))
                for expression in (
                    pl.col(ORDER).filter(of[kind]).first().alias(name),
                    pl.col(TIME).filter(of[kind]).first().alias(f"{name}_at"),
                    of[kind].sum().cast(pl.Int64).alias(f"{name}s"),
                )
            ),
        )
    )
    late = pl.col("label_at") - pl.col("prediction_at")
    in_time = (late <= _length(matching.labels_within)) & (-late <= _length(matching.predictions_within))
    return lives.with_columns(
        (~pl.col("closed") & in_time.fill_null(value=False)).alias("joined"),
        pl.max_horizontal("label_at", "prediction_at").alias("at"),
    )


def _judged(lives: pl.DataFrame, matching: Matching, until: int) -> _Lives:
    """Say what waits, what is remembered, and count the rest."""
    has_prediction = ~pl.col("closed") & pl.col("prediction_at").is_not_null()
    has_label = ~pl.col("closed") & pl.col("label_at").is_not_null()
    alone_prediction = has_prediction & ~has_label
    alone_label = has_label & ~has_prediction
    waits_prediction = alone_prediction & (pl.col("prediction_at") + _length(matching.labels_within) >= until)
    waits_label = alone_label & (pl.col("label_at") + _length(matching.predictions_within) >= until)
    waits = (
        pl.when(~pl.col("kept"))
        .then(None)
        .when(waits_prediction)
        .then(PREDICTION)
        .when(waits_label)
        .then(LABEL)
        .otherwise(CLOSED)
        .cast(pl.Int8)
        .alias("waits")
    )
    first = pl.when(pl.col("waits") == PREDICTION).then("prediction").otherwise("label").alias("first")
    found = lives.with_columns(
        has_prediction.alias("has_prediction"), has_label.alias("has_label"), waits
    ).with_columns(first)
    return _Lives(found, _counted(found))


def _counted(lives: pl.DataFrame) -> Counts:
    """Count what neither is joined nor waits: the first of a life expires, whatever else is ignored."""
    unjoined = lives.filter(~pl.col("joined"))
    prediction_first = pl.col("prediction_at") <= pl.col("label_at")
    both = unjoined.filter(pl.col("has_prediction") & pl.col("has_label"))
    expired_both = int(both.select(prediction_first.sum()).item())
    alone = unjoined.filter(pl.col("has_prediction") ^ pl.col("has_label"))
    given_up = alone.filter(pl.col("waits").is_null() | (pl.col("waits") == CLOSED))
    expired = (
        given_up.filter("has_prediction").height + expired_both,
        given_up.filter("has_label").height + both.height - expired_both,
    )
    kept = int(lives["joined"].sum())
    waiting = tuple(int((lives["waits"] == kind).sum()) for kind in (PREDICTION, LABEL))
    read = (int(lives["predictions"].sum()), int(lives["labels"].sum()))
    return Counts(
        expired_predictions=expired[0],
        expired_labels=expired[1],
        ignored_predictions=read[0] - kept - waiting[0] - expired[0],
        ignored_labels=read[1] - kept - waiting[1] - expired[1],
    )


def _micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _length(time: timedelta) -> int:
    return time // timedelta(microseconds=1)

"""Choosing a subset of a table by the hashes of its rows, in one stream, and seeing that it resembles the whole."""

import contextlib
import hashlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from attrs import define, field, frozen

from airflow_azureml.core.data_tests import EVERY, Distribution, Format
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.subsets import MOST_STRATA, Subset, quotas
from airflow_azureml.errors import ConfigError
from airflow_azureml.quality.distribution import ALIKE, resembles
from airflow_azureml.quality.pictured import pictured
from airflow_azureml.quality.profile import Kind, Profile
from airflow_azureml.quality.reading import Part, Reading, parts
from airflow_azureml.quality.report import page
from airflow_azureml.quality.values import DataType, inferred, is_wider, read_as

__all__ = ["Cut", "Ranks", "Selection", "Subsetting", "hashes"]

#: Beyond so many units, neighbours by hash are counted together: what is chosen is exact up to a 65,536th of them.
UNITS = 1 << 17
_BITS = 64
_ALL = 1 << _BITS
#: Between the texts of a key, and in the place of one that is missing.
_BETWEEN, _MISSING = "\x1f", "\x00"
#: How many standard deviations of its size a fair sample may be off: one in millions is further.
_DEVIATIONS = 5.0
#: Columns that an error names.
_NAMED = 20


def hashes(frame: pl.DataFrame, subset: Subset) -> np.ndarray:
    """Give each row a number of 64 bits that only its own values and the seed decide; evenly spread.

    Args:
        frame: The rows, as they are stored; those of CSV as texts.
        subset: Which columns count, and the seed.

    Raises:
        ConfigError: A column is not there.
    """
    texts = _texts(frame, subset.by or tuple(sorted(frame.columns)))
    seed = subset.seed.to_bytes(8, "big", signed=True)
    made = (hashlib.blake2b(text.encode(), digest_size=8, key=seed).digest() for text in texts)
    return np.frombuffer(b"".join(made), dtype=">u8").astype(np.uint64)


def _texts(frame: pl.DataFrame, columns: tuple[str, ...]) -> list[str]:
    """Write the values of columns into one text for each row."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ConfigError(
            f"There is no column {', '.join(map(repr, missing))} to choose rows by; there are"
            f" {', '.join(map(repr, frame.columns[:_NAMED]))}."
        )
    told = [_told(frame[name]).fill_null(_MISSING).alias(str(number)) for number, name in enumerate(columns)]
    return pl.DataFrame(told).select(pl.concat_str(pl.all(), separator=_BETWEEN)).to_series().to_list()


def _told(values: pl.Series) -> pl.Series:
    """Write values as texts."""
    if values.dtype.is_nested():
        return values.to_frame().select(pl.struct(pl.all()).struct.json_encode()).to_series()
    return values.bin.encode("hex") if values.dtype == pl.Binary else values.cast(pl.String)


@define
class Ranks:
    """How many rows are below each hash; exact for as many as `UNITS` different ones, in whatever order they come."""

    shift: int = 0
    keys: np.ndarray = field(factory=lambda: np.zeros(0, np.uint64))
    counts: np.ndarray = field(factory=lambda: np.zeros(0, np.int64))

    def add(self, found: np.ndarray) -> None:
        """Count rows by their hashes."""
        keys, counts = np.unique(found >> np.uint64(self.shift), return_counts=True)
        self._put(np.concatenate([self.keys, keys]), np.concatenate([self.counts, counts]))
        while len(self.keys) > UNITS:
            self.shift += 1
            self._put(self.keys >> np.uint64(1), self.counts)

    def _put(self, keys: np.ndarray, counts: np.ndarray) -> None:
        self.keys, at = np.unique(keys, return_inverse=True)
        self.counts = np.zeros(len(self.keys), np.int64)
        np.add.at(self.counts, at, counts)

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def squares(self) -> int:
        """The sum of the squares of the units' rows, or a little more."""
        return int(np.square(self.counts).sum())

    @property
    def largest(self) -> int:
        """The rows of the largest unit."""
        return int(self.counts.max(initial=0))

    def bound(self, rows: int) -> int:
        """Give a number below which at most so many rows' hashes are, and as many as units allow."""
        at = int(np.searchsorted(np.cumsum(self.counts), rows, side="right"))
        return _ALL if at == len(self.keys) else int(self.keys[at]) << self.shift


@define
class Selection:
    """Chooses rows: where `Subset.counts_first` says so, of a table all of which was counted before.

    Attributes:
        strata: The ranks of each stratum's rows.
    """

    subset: Subset
    strata: dict[str, Ranks] = field(factory=dict)
    _bounds: dict[str, int] | None = None

    def count(self, frame: pl.DataFrame) -> None:
        """Count a batch.

        Raises:
            ConfigError: A column is not there, or there are more strata than `MOST_STRATA`.
        """
        found = hashes(frame, self.subset)
        for name, rows in self._apart(frame):
            self.strata.setdefault(name, Ranks()).add(found[rows])
        if len(self.strata) > MOST_STRATA:
            raise ConfigError(
                f"{', '.join(self.subset.stratify)} has more than {MOST_STRATA} values; stratify by columns with few."
            )

    def choose(self, frame: pl.DataFrame) -> pl.Series:
        """Say of each row of a batch whether it is chosen.

        Raises:
            ConfigError: A column is not there.
        """
        if not self.subset.counts_first:
            self.count(frame)
        elif self._bounds is None:
            wanted = quotas(self.subset, {name: ranks.rows for name, ranks in self.strata.items()})
            self._bounds = {name: self.strata[name].bound(rows) for name, rows in wanted.items()}
        found, chosen = hashes(frame, self.subset), np.zeros(frame.height, bool)
        for name, rows in self._apart(frame):
            bound = self._share if self._bounds is None else self._bounds[name]
            chosen[rows] = found[rows] <= np.uint64(bound - 1) if bound else False
        return pl.Series(chosen)

    def size(self, rows: int) -> Finding:
        """Say whether so many rows are as many as were wanted, up to whole units and to chance."""
        ranks = list(self.strata.values())
        if self.subset.counts_first:
            most = sum(quotas(self.subset, {name: each.rows for name, each in self.strata.items()}).values())
            wanted, least = float(most), most - sum(each.largest for each in ranks)
        else:
            share = self.subset.fraction or 0.0
            wanted = share * sum(each.rows for each in ranks)
            off = _DEVIATIONS * math.sqrt(share * (1 - share) * sum(each.squares for each in ranks)) + 1
            least, most = math.ceil(wanted - off), math.floor(wanted + off)
        return Finding(
            check=f"{self.subset.policy}",
            passed=max(least, 1) <= rows <= most,
            reason=f"{rows} rows were chosen; {max(least, 1)} to {most} are as wanted.",
            value=rows,
            against=wanted,
        )

    @property
    def _share(self) -> int:
        return min(_ALL, round((self.subset.fraction or 0.0) * _ALL))

    def _apart(self, frame: pl.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
        """Give the numbers of each stratum's rows."""
        if not self.subset.stratify:
            yield "", np.arange(frame.height)
            return
        names = np.array(_texts(frame, self.subset.stratify), dtype=object)
        for name in sorted(set(names)):
            yield name, np.flatnonzero(names == name)


@frozen(kw_only=True)
class Cut:
    """What became of one file.

    Attributes:
        rows: How many of its rows were chosen.
        of: How many it has.
    """

    rows: int
    of: int


@define
class Subsetting:
    """Makes the subset of a table that is in several files, one after the other.

    Attributes:
        whole: What all rows are like.
        sample: What the chosen ones are like.
        types: What columns of texts are read as, to compare them.
    """

    subset: Subset
    selection: Selection = field(init=False)
    whole: Profile = field(factory=Profile)
    sample: Profile = field(factory=Profile)
    types: dict[str, DataType] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.selection = Selection(self.subset)

    def count(self, path: Path, format: Format | str) -> None:  # noqa: A002  # what it is called everywhere
        """Count the rows of a file; wanted of all files before any is cut, where `Subset.counts_first` says so.

        Raises:
            UnreadableError: It is no such table.
            ConfigError: A column is not there.
        """
        for part in _stored(path, format):
            self.selection.count(part.frame)

    def cut(self, path: Path, format: Format | str, to: Path) -> Cut:  # noqa: A002  # as above
        """Write the chosen rows of a file as they are, in their order.

        Args:
            path: The file.
            format: What it is, and what is written.
            to: Where to; with a header and no row where none is chosen.

        Raises:
            UnreadableError: It is no such table.
            ConfigError: A column is not there.
        """
        chosen, rows = 0, 0
        with _writer(format, to) as writer:
            for part in _stored(path, format):
                mask = self.selection.choose(part.frame)
                typed = self._typed(part.frame) if format == Format.CSV else part.frame
                self.whole = self.whole.merged(Profile.of([typed]))
                self.sample = self.sample.merged(Profile.of([typed.filter(mask)]))
                chosen, rows = chosen + int(mask.sum()), rows + part.frame.height
                writer.write(part.frame.filter(mask))
        return Cut(rows=chosen, of=rows)

    def verdict(self, *, alpha: float = 0.01, rows_at_least: int = 200) -> Verdict:
        """Say whether the subset is like the whole: as many rows as wanted, the same columns, and their distributions.

        Args:
            alpha: The chance that a fair subset is called unlike its whole.
            rows_at_least: How many values each column of both needs.
        """
        alike = resembles(self.sample, self.whole, alpha=alpha, rows_at_least=rows_at_least)
        findings = (self.selection.size(self.sample.rows), self._columns(), *alike.findings)
        facts = {**alike.facts, "strata": str(len(self.selection.strata)) if self.subset.stratify else ""}
        return Verdict(
            subject="the subset",
            policy=self.subset.policy,
            findings=findings,
            facts={name: value for name, value in facts.items() if value},
        )

    def report(self, verdict: Verdict, *, title: str) -> str:
        """Draw what `verdict` said, with a picture of each column."""
        drawn = pictured(self.sample, self.whole, verdict.findings, Distribution(columns={EVERY: ALIKE}))
        return page(verdict, drawn, title=title)

    def _columns(self) -> Finding:
        whole, sample = ({name: each.kind for name, each in one.columns.items()} for one in (self.whole, self.sample))
        # A column without any value in the subset is for the tests of its distribution.
        apart = [name for name, kind in sample.items() if kind not in {whole.get(name), Kind.NONE}]
        gone = [name for name in whole if name not in sample]
        told = f"other are {', '.join([*apart, *gone])}" if apart or gone else f"all {len(whole)} are the same"
        return Finding(
            check="the same columns", passed=not (apart or gone), reason=f"Columns: {told}.", value=len(sample)
        )

    def _typed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Read texts as what they are; once a column is of numbers, what is none of them is missing."""
        made = []
        for column in frame.iter_columns():
            if column.name not in self.types and not (column.drop_nulls() != "").any():
                made.append(pl.Series(column.name, [None] * frame.height, dtype=pl.Null))
                continue
            kind = self.types.setdefault(column.name, inferred(column))
            if kind == pl.Int64 and is_wider(column):
                kind = self.types[column.name] = pl.Float64()
            made.append(read_as(column, kind).alias(column.name))
        return pl.DataFrame(made)


def _stored(path: Path, format: Format | str) -> Iterator[Part]:  # noqa: A002  # as above
    """Read a table as it is stored: texts of CSV as they were written.

    Raises:
        ConfigError: It is of a format that cannot be cut.
        UnreadableError: It is no such table.
    """
    if format not in (Format.CSV, Format.PARQUET):
        raise ConfigError(f"A subset is made of CSV and Parquet, and {path.name} is {format}; convert it first.")
    types: dict[str, DataType] = {}
    if format == Format.CSV:
        first = next(iter(parts(path, format, Reading())), None)
        types = dict.fromkeys(first.frame.columns if first else (), pl.String())
    yield from parts(path, format, Reading(types=types))


class _Csv:
    """Writes batches one below the other."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._is_first = True

    def write(self, frame: pl.DataFrame) -> None:
        frame.write_csv(self._file, include_header=self._is_first)
        self._is_first = False


class _Parquet:
    """Writes each batch into a file of its own; together they are put at the end, in bounded memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def write(self, frame: pl.DataFrame) -> None:
        if frame.height or not self._count:
            frame.write_parquet(self._folder / f"{self._count:08}.parquet")
            self._count += 1

    def join(self, to: Path) -> None:
        pl.scan_parquet(sorted(self._folder.iterdir()), glob=False).sink_parquet(to)


@contextlib.contextmanager
def _writer(format: Format | str, to: Path) -> Iterator[_Csv | _Parquet]:  # noqa: A002  # as above
    if format == Format.CSV:
        with to.open("wb") as file:
            yield _Csv(file)
        return
    with tempfile.TemporaryDirectory(prefix="airflow-azureml-subset-", dir=to.parent) as scratch:
        parts_of_it = _Parquet(Path(scratch))
        yield parts_of_it
        parts_of_it.join(to)

"""What a table is like, in a few kilobytes for each column: built in one stream, and merged in any order."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Self

import numpy as np
import polars as pl
from attrs import evolve, field, frozen

from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.quality.sketches import BUCKETS, VALUES, Sketch, Tally

#: Raised by one when a member changes its meaning.
SCHEMA = 1
_MICROSECONDS = 1e6


class Kind(StrEnum):
    """What a column holds, as far as its distribution goes."""

    NUMBER = "number"
    #: Points in time and dates, as seconds since 1970 in UTC.
    TIME = "time"
    TEXT = "text"
    BOOLEAN = "boolean"
    #: Lists, objects and bytes: only what is missing is counted.
    NESTED = "nested"
    #: There is no value.
    NONE = "none"


#: The kinds whose values are numbers.
NUMERIC = {Kind.NUMBER, Kind.TIME}
#: The kinds whose values are counted one by one.
CATEGORICAL = {Kind.TEXT, Kind.BOOLEAN}


@frozen(kw_only=True)
class ColumnProfile:
    """What one column is like.

    Attributes:
        kind: What it holds.
        rows: How many rows there are.
        nulls: In how many of them nothing is.
        nans: In how many of them no number is (NaN); they count as missing, too.
        below: In how many of them minus infinity is.
        above: In how many of them infinity is.
        low: The least finite number; None without any.
        high: The greatest.
        numbers: The finite numbers.
        texts: The texts; ``true`` and ``false`` where it holds those.
    """

    kind: Kind = Kind.NONE
    rows: int = 0
    nulls: int = 0
    nans: int = 0
    below: int = 0
    above: int = 0
    low: float | None = None
    high: float | None = None
    numbers: Sketch = field(factory=Sketch)
    texts: Tally = field(factory=Tally)

    @classmethod
    def of(cls, values: pl.Series, *, buckets: int = BUCKETS) -> Self:
        """Look at values; 0 buckets are as many as it takes, which keeps all exact."""
        kind = _kind_of(values.dtype)
        made = cls(kind=kind, rows=len(values), nulls=values.null_count())
        if made.rows == made.nulls:
            return evolve(made, kind=Kind.NONE)
        if kind in NUMERIC:
            return evolve(made, **_counted(_floats(values.drop_nulls(), kind), buckets))
        if kind in CATEGORICAL:
            counted = values.drop_nulls().cast(pl.String).value_counts(name="count")
            pairs = zip(counted.to_series(0).to_list(), counted.to_series(1).to_list(), strict=True)
            return evolve(made, texts=Tally.of(pairs, most=VALUES if buckets else 0))
        return made

    def merged(self, other: "ColumnProfile") -> Self:
        """Put both together.

        Raises:
            ConfigError: One holds numbers and the other texts, or the like.
        """
        kinds = {self.kind, other.kind} - {Kind.NONE}
        if len(kinds) > 1:
            raise ConfigError(f"Columns of {' and '.join(sorted(kinds))} cannot be put together.")
        lows = [low for low in (self.low, other.low) if low is not None]
        highs = [high for high in (self.high, other.high) if high is not None]
        return type(self)(
            kind=kinds.pop() if kinds else Kind.NONE,
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            nans=self.nans + other.nans,
            below=self.below + other.below,
            above=self.above + other.above,
            low=min(lows, default=None),
            high=max(highs, default=None),
            numbers=self.numbers.merged(other.numbers),
            texts=self.texts.merged(other.texts),
        )

    @property
    def missing(self) -> int:
        """In how many rows there is no value."""
        return self.nulls + self.nans

    @property
    def present(self) -> int:
        """In how many rows there is a value, be it infinite."""
        return self.rows - self.missing

    @property
    def mean(self) -> float | None:
        """The mean of the finite numbers, as near as the buckets tell; None without any."""
        total = self.numbers.total
        return float(np.dot(self.numbers.middles, self.numbers.counts / total)) if total else None

    def quantile(self, share: float) -> float | None:
        """Give the number at or below which this share of the finite ones is, as near as the buckets tell."""
        return self.numbers.quantile(share)

    def top(self, most: int) -> list[tuple[str, int]]:
        """List the most frequent texts and how often each comes, as far as they are kept."""
        return self.texts.top(most)

    def edges(self, bins: int) -> list[float]:
        """Give the edges of bins of equal width, for a picture; the outermost thousandths do not widen them."""
        low, high = self.quantile(0.001), self.quantile(0.999)
        if low is None or high is None:
            return []
        if low == high:
            return [low, high]
        return [float(edge) for edge in np.linspace(low, high, bins + 1)]

    def histogram(self, edges: list[float]) -> list[int]:
        """Count the finite numbers between edges; those outside count in the first bin and the last."""
        if len(edges) < 2:  # noqa: PLR2004  # two edges make a bin
            return []
        at = np.clip(np.searchsorted(edges, self.numbers.middles, side="right") - 1, 0, len(edges) - 2)
        counts = np.zeros(len(edges) - 1, np.int64)
        np.add.at(counts, at, self.numbers.counts)
        return [int(count) for count in counts]

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no profile of a column.
        """
        try:
            counts = {name: int(raw.get(name, 0)) for name in ("rows", "nulls", "nans", "below", "above")}
            ends: dict[str, Any] = {
                name: None if raw.get(name) is None else float(raw[name]) for name in ("low", "high")
            }
            kind = Kind(raw["kind"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"This is no profile of a column: {error!r:.200}.") from error
        numbers = Sketch.from_wire(raw["numbers"]) if "numbers" in raw else Sketch()
        texts = Tally.from_wire(raw["texts"]) if "texts" in raw else Tally()
        made = cls(kind=kind, numbers=numbers, texts=texts, **counts, **ends)
        counted = numbers.total + texts.total + made.below + made.above
        if min(counts.values()) < 0 or (kind is not Kind.NESTED and counted != made.present):
            raise ProtocolError("The profile of a column contradicts itself.")
        return made

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it; what is 0, None or empty is left out."""
        figures = {name: getattr(self, name) for name in ("nulls", "nans", "below", "above")}
        told: dict[str, Any] = {"kind": str(self.kind), "rows": self.rows}
        told |= {name: figure for name, figure in figures.items() if figure}
        told |= {} if self.low is None else {"low": self.low, "high": self.high}
        told |= {"numbers": self.numbers.to_wire()} if self.numbers.total else {}
        return told | ({"texts": self.texts.to_wire()} if self.texts.total else {})


@frozen(kw_only=True)
class Profile:
    """What a table is like.

    Attributes:
        rows: How many rows there are.
        columns: What each column is like.
    """

    rows: int = 0
    columns: Mapping[str, ColumnProfile] = field(factory=dict)

    @classmethod
    def of(cls, batches: Iterable[pl.DataFrame], *, buckets: int = BUCKETS) -> Self:
        """Look at a table, batch by batch.

        Args:
            batches: The batches, all with the same columns.
            buckets: How many buckets numbers are counted in at most; 0 for as many as it takes, which keeps all exact,
                and takes memory as the data does.

        Raises:
            ConfigError: A column changes from numbers to texts, or the like.
        """
        made = cls()
        for batch in batches:
            columns = {column.name: ColumnProfile.of(column, buckets=buckets) for column in batch.iter_columns()}
            made = made.merged(cls(rows=batch.height, columns=columns))
        return made

    def merged(self, other: "Profile") -> Self:
        """Put two tables one below the other; a column that only one has is missing in the other's rows.

        Raises:
            ConfigError: A column holds numbers in one and texts in the other, or the like.
        """
        columns = {}
        for name in dict.fromkeys([*self.columns, *other.columns]):
            mine, theirs = (_of_column(each, name) for each in (self, other))
            try:
                columns[name] = mine.merged(theirs)
            except ConfigError as error:
                raise ConfigError(f"Column {name!r}: {error}") from error
        return type(self)(rows=self.rows + other.rows, columns=columns)

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is no profile, or of another schema.
        """
        if not isinstance(raw, Mapping) or raw.get("schema") != SCHEMA:
            raise ProtocolError(f"This is no profile of a table of schema {SCHEMA}.")
        rows, columns = raw.get("rows"), raw.get("columns")
        if not isinstance(rows, int) or not isinstance(columns, Mapping):
            raise ProtocolError("The profile has no rows or no columns.")
        made = {str(name): ColumnProfile.from_wire(column) for name, column in columns.items()}
        wrong = [name for name, column in made.items() if column.rows != rows]
        if wrong:
            raise ProtocolError(f"The profile has {rows} rows, and its column {wrong[0]!r} has not.")
        return cls(rows=rows, columns=made)

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        columns = {name: column.to_wire() for name, column in self.columns.items()}
        return {"schema": SCHEMA, "rows": self.rows, "columns": columns}


def _of_column(table: Profile, name: str) -> ColumnProfile:
    return table.columns.get(name) or ColumnProfile(rows=table.rows, nulls=table.rows)


def _kind_of(dtype: pl.DataType) -> Kind:
    if dtype.is_numeric():
        return Kind.NUMBER
    kinds = {
        pl.Boolean: Kind.BOOLEAN,
        pl.Null: Kind.NONE,
        **dict.fromkeys((pl.Date, pl.Datetime, pl.Duration, pl.Time), Kind.TIME),
        **dict.fromkeys((pl.String, pl.Categorical, pl.Enum), Kind.TEXT),
    }
    return kinds.get(dtype.base_type(), Kind.NESTED)


def _floats(values: pl.Series, kind: Kind) -> np.ndarray:
    if kind is Kind.TIME:
        wide = values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values
        unit = {"ms": 1e3, "us": _MICROSECONDS, "ns": 1e9}.get(getattr(wide.dtype, "time_unit", None) or "ns", 1e9)
        return wide.to_physical().cast(pl.Float64).to_numpy() / unit
    return values.cast(pl.Float64).to_numpy()


def _counted(floats: np.ndarray, buckets: int) -> dict[str, Any]:
    finite = floats[np.isfinite(floats)]
    return {
        "nans": int(np.isnan(floats).sum()),
        "below": int(np.isneginf(floats).sum()),
        "above": int(np.isposinf(floats).sum()),
        "low": float(finite.min() + 0.0) if len(finite) else None,
        "high": float(finite.max() + 0.0) if len(finite) else None,
        "numbers": Sketch.of(finite, most=buckets),
    }

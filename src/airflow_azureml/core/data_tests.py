"""What data must be like before money is spent on it: rules for its table, its columns and their distributions."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from attrs import asdict, field, frozen

from airflow_azureml.core.members import ContradictionError, is_number
from airflow_azureml.errors import ConfigError

#: Raised by one when a member changes its meaning.
SCHEMA = 1
#: Stands for every column of the reference.
EVERY = "*"
#: A table without rows is never what was wanted.
FEWEST_ROWS = 1

Scalar = str | float | bool
Bound = float | date | datetime


class Type(StrEnum):
    """What the values of a column are."""

    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"
    #: A point in time; one without an offset is in UTC.
    TIME = "time"


class Correction(StrEnum):
    """What keeps the tests of many columns from finding drift by chance."""

    #: The chance of any false alarm in a table is at most alpha.
    HOLM = "holm"
    #: The share of false alarms among all alarms is at most alpha, on average.
    BENJAMINI_HOCHBERG = "benjamini-hochberg"
    #: The chance of a false alarm is alpha in each column.
    NONE = "none"


class Format(StrEnum):
    """What a file is."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON_LINES = "jsonl"


@frozen(kw_only=True)
class ColumnRules:
    """What a column must be like; each rule that is given is one more check.

    Attributes:
        type: What its values are. Where it is not given, the other rules tell it, or else the data.
        required: Whether the column must be there.
        nullable: Whether values may be missing; NaN is a missing number.
        nulls_at_most: The greatest share of rows without a value, 0 to 1; only where it is nullable.
        at_least: The least value, included. An infinite number is never within bounds.
        at_most: The greatest value, included.
        allowed: All values there may be.
        pattern: A regular expression that each whole text matches, as Rust's crate ``regex`` has them.
        unique: Whether no value may stand in two rows; missing values may.
    """

    type: Type | None = None
    required: bool = True
    nullable: bool = False
    nulls_at_most: float | None = None
    at_least: Bound | None = None
    at_most: Bound | None = None
    allowed: tuple[Scalar, ...] = field(default=(), converter=tuple[Scalar, ...])
    pattern: str | None = None
    unique: bool = False

    def __attrs_post_init__(self) -> None:
        if self.nulls_at_most is not None and not self.nullable:
            raise ContradictionError("nulls_at_most", "This needs nullable: true; without it no value may be missing.")
        self._check_bounds()
        self._check_allowed()
        self._check_pattern()

    @property
    def reads_as(self) -> Type | None:
        """The type that is given, or that the other rules tell; None where none does."""
        if self.type is not None:
            return self.type
        for bound in filter(lambda one: one is not None, (self.at_least, self.at_most)):
            return Type.NUMBER if is_number(bound) else Type.TIME if isinstance(bound, datetime) else Type.DATE
        if self.allowed:
            return _type_of(self.allowed[0])
        return Type.TEXT if self.pattern is not None else None

    def _check_bounds(self) -> None:
        for name in ("at_least", "at_most"):
            bound = getattr(self, name)
            if bound is not None and not _fits(bound, self.reads_as):
                raise ContradictionError(name, f"{bound} bounds no column of type {self.reads_as}.")
        if self.at_least is not None and self.at_most is not None and _order(self.at_least) > _order(self.at_most):
            raise ContradictionError("at_most", f"{self.at_most} is less than at_least, {self.at_least}.")

    def _check_allowed(self) -> None:
        for value in self.allowed:
            types = {_type_of(value)} | ({Type.NUMBER, Type.INTEGER} if is_number(value) else set())
            if self.reads_as not in types or (self.reads_as is Type.INTEGER and value != int(value)):
                raise ContradictionError("allowed", f"{value!r} is no value of a column of type {self.reads_as}.")

    def _check_pattern(self) -> None:
        if self.pattern is None:
            return
        if self.reads_as is not Type.TEXT:
            raise ContradictionError("pattern", f"A column of type {self.reads_as} has no pattern; texts have.")
        try:
            re.compile(self.pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ContradictionError("pattern", f"This is no regular expression: {error}.") from error


@frozen(kw_only=True)
class RowCount:
    """How many rows a table must have, both ends included; None is no upper end."""

    at_least: int = FEWEST_ROWS
    at_most: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.at_most is not None and self.at_most < self.at_least:
            raise ContradictionError("at_most", f"{self.at_most} is less than at_least, {self.at_least}.")


@frozen(kw_only=True)
class Freshness:
    """How old data may be.

    Attributes:
        within: The greatest age of the newest time; times after now do not count.
        column: The column whose times count; empty for the time of the file.
    """

    within: timedelta
    column: str = ""


@frozen(kw_only=True)
class Drift:
    """How far a column may be from the reference; what is None is not tested.

    Attributes:
        psi: The greatest population stability index.
        ks: Kolmogorov and Smirnov's test, for numbers and times: the greatest distance of the two cumulative
            distributions, 0 to 1, that is no drift however many rows there are. With 0 its p-value alone decides.
        chi_square: The chi-square test: the greatest effect (Cramér's V, 0 to 1) that is no drift, likewise.
    """

    psi: float | None = None
    ks: float | None = None
    chi_square: float | None = None


@frozen(kw_only=True)
class Distribution:
    """How far columns may be from those of a reference.

    Attributes:
        columns: The rules by column. Those of `EVERY` hold for every column of the reference besides, as far as they
            suit its type.
        ignore: Columns that `EVERY` leaves out.
        alpha: The chance of a false alarm; `Correction` says of which.
        correction: What keeps many tests from finding drift by chance.
        rows_at_least: How many rows with a value both sides need; a column with fewer is a no.
    """

    columns: Mapping[str, Drift]
    ignore: tuple[str, ...] = field(default=(), converter=tuple[str, ...])
    alpha: float = 0.01
    correction: Correction = Correction.HOLM
    rows_at_least: int = 200


@frozen(kw_only=True)
class DataTests:
    """All that a table must be like.

    Attributes:
        name: What this is called in verdicts.
        columns: The rules by column; none where ``pandera`` has them.
        others: Whether there may be columns that no rule names.
        pandera: A schema of pandera's for polars, as ``module:attribute`` or ``path/of/file.py:attribute``; empty for
            none.
        rows: How many rows there must be.
        freshness: How old the data may be; None for no limit.
        distribution: How far it may be from a reference; None for no test.
        separator: What is between the fields of a CSV file; one character.
        null_values: Texts that mean a missing value in a CSV file, besides nothing at all.
    """

    name: str
    columns: Mapping[str, ColumnRules] = field(factory=dict)
    others: bool = True
    pandera: str = ""
    rows: RowCount = RowCount()
    freshness: Freshness | None = None
    distribution: Distribution | None = None
    separator: str = ","
    null_values: tuple[str, ...] = field(default=(), converter=tuple[str, ...])

    @classmethod
    def parse(cls, text: str, *, name: str) -> Self:
        """Read the YAML of data tests.

        Args:
            text: The YAML.
            name: What to call it in errors, such as its file's name.

        Raises:
            ConfigError: Something is wrong; the message has all faults, each with line and column.
        """
        from airflow_azureml.core.data_tests_file import read  # noqa: PLC0415  # it makes these values

        return cls(**read(text, name=name))

    def __attrs_post_init__(self) -> None:
        if self.pandera and self.columns:
            raise ContradictionError("columns", "Rules for columns stand here or in a pandera schema, not in both.")
        if not self.others and not self.columns:
            raise ContradictionError("other_columns", "Without columns there is nothing that others are other than.")
        if self.rows == RowCount() and not (self.columns or self.pandera or self.freshness or self.distribution):
            raise ContradictionError(
                "name", "Nothing is tested: give columns, pandera, rows, freshness or distribution."
            )

    @property
    def digest(self) -> str:
        """Name what is tested by a SHA-256, whatever the order of its members."""
        told = json.dumps(asdict(self), sort_keys=True, default=_told)
        return f"sha256:{hashlib.sha256(told.encode('utf-8', 'backslashreplace')).hexdigest()}"

    @property
    def policy(self) -> str:
        """Name it as a verdict does."""
        return f"{self.name} (data tests, schema {SCHEMA}, {self.digest[:19]})"


def read_time(text: str) -> datetime | None:
    """Read a time in ISO 8601; one without an offset is in UTC. None where it is none."""
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _told(value: Any) -> str:
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)


def _type_of(value: object) -> Type:
    if isinstance(value, bool):
        return Type.BOOLEAN
    return Type.TEXT if isinstance(value, str) else Type.NUMBER


def _fits(bound: Bound, kind: Type | None) -> bool:
    if isinstance(bound, datetime):
        return kind is Type.TIME
    if isinstance(bound, date):
        return kind is Type.DATE
    return is_number(bound) and kind in {Type.INTEGER, Type.NUMBER}


def _order(bound: Bound) -> float:
    """Give what two bounds of a kind are compared by."""
    if isinstance(bound, datetime):
        return bound.timestamp()
    return bound.toordinal() if isinstance(bound, date) else bound


def duration_told(span: timedelta) -> str:
    """Write a time span as the YAML has it, in the greatest unit that is whole."""
    seconds = round(span.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def format_of(path: str) -> Format:
    """Tell what a file is from its name.

    Raises:
        ConfigError: The name does not tell; say the format.
    """
    endings = {
        ".csv": Format.CSV,
        ".parquet": Format.PARQUET,
        ".jsonl": Format.JSON_LINES,
        ".ndjson": Format.JSON_LINES,
    }
    for ending, found in endings.items():
        if path.lower().endswith(ending):
            return found
    raise ConfigError(f"The name of {path} does not tell its format; say which: {', '.join(Format)}.")

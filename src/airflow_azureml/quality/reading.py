"""Reading tables in a stream: CSV, Parquet and JSON lines as batches of bounded size."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
from attrs import field, frozen
from polars.exceptions import PanicException, PolarsError

from airflow_azureml.core.data_tests import Format
from airflow_azureml.errors import ConfigError
from airflow_azureml.quality.records import Block, UnreadableError, blocks
from airflow_azureml.quality.values import DataType, inferred, is_wider, named, read_as, taken_as

__all__ = ["Part", "Reading", "UnreadableError", "batches", "parts"]

#: About what a batch of a Parquet file takes in memory.
BATCH_BYTES = 32 * 2**20
_FIRST_ROWS, _MOST_ROWS = 10_000, 250_000
#: How many values of a wrong type are told.
EXAMPLES = 3
#: Beginnings of what is no text in UTF-8.
_SIGNATURES = {
    b"\x1f\x8b": "It is compressed by gzip; decompress it first.",
    b"PK\x03\x04": "It is a ZIP archive, or a workbook of Excel.",
    b"PAR1": "It is a Parquet file; say that format.",
    b"\xff\xfe": "It is text in UTF-16; write it in UTF-8.",
    b"\xfe\xff": "It is text in UTF-16; write it in UTF-8.",
}
_BOM = b"\xef\xbb\xbf"


@frozen(kw_only=True)
class Reading:
    """How a file is read.

    Attributes:
        types: What columns are; of others the first batch tells, or the file where it knows.
        separator: What is between the fields of a CSV file.
        null_values: Texts that mean a missing value in a CSV file, besides nothing at all.
    """

    types: Mapping[str, DataType] = field(factory=dict)
    separator: str = ","
    null_values: Sequence[str] = ()


@frozen(kw_only=True)
class Part:
    """One batch, and what in it is not of its column's type.

    Attributes:
        frame: The rows. A value of the wrong type is null.
        first_row: The number of its first row, counted from 1 in the whole file.
        misfits: By column, which rows have a value of the wrong type.
        examples: By column, the first such values, as text.
        wanted: By column, what they should be.
    """

    frame: pl.DataFrame
    first_row: int
    misfits: Mapping[str, pl.Series] = field(factory=dict)
    examples: Mapping[str, tuple[str, ...]] = field(factory=dict)
    wanted: Mapping[str, str] = field(factory=dict)


def batches(
    path: str | Path,
    format: Format | str,  # noqa: A002  # what it is called everywhere
    *,
    types: Mapping[str, DataType] | None = None,
    separator: str = ",",
    null_values: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """Read a table in batches of bounded size, all with the same columns.

    Numbers that look whole at first may be floating-point numbers, or of 128 bits, in a later batch.

    Args:
        path: The file.
        format: What it is.
        types: What columns are; of others the first batch tells, or the file where it knows.
        separator: What is between the fields of a CSV file.
        null_values: Texts that mean a missing value in a CSV file, besides nothing at all.

    Raises:
        UnreadableError: The file is no such table, or a value is not of its column's type; the message names the row.
        ConfigError: There is no such file, or no such format.
    """
    reading = Reading(types=types or {}, separator=separator, null_values=null_values)
    for part in parts(path, format, reading):
        for column, examples in part.examples.items():
            row = part.first_row + int(part.misfits[column].arg_true()[0])
            raise UnreadableError(
                f"{path}: row {row}, column {column!r}: {examples[0]} is not {part.wanted[column]}, as the others are."
            )
        yield part.frame


def parts(path: str | Path, format: Format | str, reading: Reading) -> Iterator[Part]:  # noqa: A002  # as above
    """Read a table in batches, with what in them is not of its column's type.

    Raises:
        UnreadableError: The file is no such table.
        ConfigError: There is no such file, or no such format.
    """
    kinds = {Format.CSV: _csv, Format.PARQUET: _parquet, Format.JSON_LINES: _json_lines}
    if format not in kinds:
        raise ConfigError(f"No format is called {format!r}; there are {', '.join(Format)}.")
    path = Path(path)
    types = dict(reading.types)
    row = 1
    try:
        for frame in kinds[Format(format)](path, reading):
            if row == 1 and format != Format.PARQUET:
                types = {name: types.get(name) or inferred(frame[name]) for name in frame.columns}
            yield _typed(frame, row, types, stored=format == Format.PARQUET, declared=reading.types)
            row += frame.height
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (PolarsError, PanicException) as error:
        # Some broken Parquet files end in a panic of polars, which is no Exception.
        raise UnreadableError(f"{path}: It is no {Format(format)}: {_first_line(error)}") from error


def _typed(
    frame: pl.DataFrame, row: int, types: Mapping[str, DataType], *, stored: bool, declared: Mapping[str, DataType]
) -> Part:
    """Give columns their types."""
    made, misfits, examples, wanted = [], {}, {}, {}
    for column in frame.iter_columns():
        kind = types.get(column.name)
        if kind is None:
            made.append(column)
            continue
        typed = taken_as(column, kind) if stored else read_as(column, kind)
        missing = column.is_null() if stored or kind == pl.String else column.is_null() | (column == "")
        wrong = ~missing & typed.is_null()
        if wrong.any() and column.name not in declared and kind == pl.Int64 and is_wider(column):
            typed, wrong = read_as(column, pl.Float64()), wrong & False  # a mask
        if wrong.any():
            misfits[column.name], wanted[column.name] = wrong, named(kind)
            examples[column.name] = tuple(f"{each!r:.60}" for each in column.filter(wrong).head(EXAMPLES).to_list())
        made.append(typed.alias(column.name))
    return Part(frame=pl.DataFrame(made), first_row=row, misfits=misfits, examples=examples, wanted=wanted)


def _csv(path: Path, reading: Reading) -> Iterator[pl.DataFrame]:
    columns: list[str] = []
    row = 1
    with path.open("rb") as file:
        _refuse_signature(file.peek(4)[:4])
        for block in blocks(file, quoted=True):
            data = block.data
            if not columns:
                columns, data = _header(block, reading.separator)
                if not data:
                    continue
            frame = _records(Block(data=data, quoted=True), columns, reading, row=row)
            row += frame.height
            yield frame
    if not columns:
        raise UnreadableError("It is empty; not even a header is there.")
    if row == 1:
        yield pl.DataFrame(schema=dict.fromkeys(columns, pl.String()))


def _header(block: Block, separator: str) -> tuple[list[str], bytes]:
    """Read the names of the columns; what follows them is handed back."""
    end = int(block.ends()[0]) + 1
    text = _text(block.data[:end].removeprefix(_BOM), before=0)
    try:
        columns, *others = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except (csv.Error, ValueError) as error:
        raise UnreadableError(f"The header is none: {error}.") from error
    if others or not columns:
        raise UnreadableError("The header is empty, or lines end with a carriage return alone.")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UnreadableError(f"The header names {', '.join(map(repr, twice))} more than once.")
    for other in ";\t|":
        if len(columns) == 1 and other in text:
            raise UnreadableError(f"The header has one column, {columns[0]!r:.80}: is {other!r} the separator?")
    return columns, block.data[end:]


def _records(block: Block, columns: list[str], reading: Reading, *, row: int) -> pl.DataFrame:
    """Read the records of one block as texts."""
    fields = block.fields(reading.separator)
    ragged = (fields != len(columns)).nonzero()[0]
    if len(ragged):
        first = int(ragged[0])
        raise UnreadableError(f"Row {row + first} has {fields[first]} fields, and the header has {len(columns)}.")
    try:
        frame = pl.read_csv(
            io.BytesIO(block.data),
            has_header=False,
            separator=reading.separator,
            schema=dict.fromkeys(columns, pl.String()),
            null_values=list(reading.null_values) or None,
        )
    except PolarsError as error:
        _text(block.data, before=row, block=block)
        raise UnreadableError(
            f"From row {row} on it is no CSV, a quote may be in the wrong place: {_first_line(error)}"
        ) from error
    if frame.height != len(fields):
        raise UnreadableError(f"From row {row} on it is no CSV: a quote is in the wrong place.")
    return frame


def _json_lines(path: Path, _: Reading) -> Iterator[pl.DataFrame]:
    """Read twice: a key may come in any row."""
    columns: dict[str, None] = {}
    row = 1
    with path.open("rb") as file:
        _refuse_signature(file.peek(4)[:4])
        for block in blocks(file, quoted=False):
            row = _collect_keys(_without_bom(block.data), columns, row=row)
    if not columns:
        raise UnreadableError("It is empty; there is no row.")
    with path.open("rb") as file:
        for block in blocks(file, quoted=False):
            yield pl.read_ndjson(io.BytesIO(_without_bom(block.data)), schema=dict.fromkeys(columns, pl.String()))


def _collect_keys(data: bytes, columns: dict[str, None], *, row: int) -> int:
    """Add the keys of all objects, in the order in which they come first; the number of the next row is returned."""
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"Row {row} is no JSON: {error}.") from error
        if not isinstance(record, dict):
            raise UnreadableError(f"Row {row} is no JSON object.")
        columns.update(dict.fromkeys(record))
        row += 1
    return row


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not among its numbers; write null")


def _without_bom(data: bytes) -> bytes:
    return data.removeprefix(_BOM)


def _parquet(path: Path, _: Reading) -> Iterator[pl.DataFrame]:
    """Read slices: only they are decoded, however large the file's row groups are."""
    with path.open("rb") as file:
        if not file.peek(4)[:4]:
            raise UnreadableError("It is empty.")
    table = pl.scan_parquet(path, low_memory=True, glob=False)
    rows = int(table.select(pl.len()).collect().item())
    begin, size = 0, _FIRST_ROWS
    while begin < rows or begin == 0:
        frame = table.slice(begin, size).collect()
        yield frame
        begin += max(frame.height, 1)
        each = max(1, int(frame.estimated_size()) // max(frame.height, 1))
        size = max(1, min(_MOST_ROWS, BATCH_BYTES // each))


def _refuse_signature(begin: bytes) -> None:
    for signature, fault in _SIGNATURES.items():
        if begin.startswith(signature):
            raise UnreadableError(fault)


def _text(data: bytes, *, before: int, block: Block | None = None) -> str:
    """Decode UTF-8, or say in which row it is none."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        where = f"Row {before + block.record_of(error.start)}" if block else "The header"
        raise UnreadableError(f"{where} is no text in UTF-8: byte {data[error.start]:#04x}.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]

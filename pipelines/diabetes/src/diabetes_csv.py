"""The diabetes data as CSV: its columns, and what makes a line of it a row.

One line is one row: a field cannot hold a line break. So an unclosed quote costs one row, not the rest of the file.
"""

import csv
import hashlib
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Source: scikit-learn, ``sklearn.datasets.load_diabetes().feature_names``.
FEATURES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
TARGET = "target"

#: ``float`` alone would also take "1_000", "nan" and digits of other alphabets.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SHOWN = 40


class InputError(Exception):
    """What a step was given cannot be used; the message is one sentence for the person who gave it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line that can be used: its cells as they came, and the numbers asked of it."""

    line: int
    cells: tuple[str, ...]
    numbers: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that cannot be used, and why."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file, in their order."""

    columns: tuple[str, ...]

    def read(self, line: int, text: str, wanted: tuple[str, ...]) -> Row | Rejected:
        """Read one line under this header.

        Args:
            line: Its number in the file.
            text: The line, without its line end.
            wanted: The columns that must hold finite numbers; each is one of this header's.
        """
        if not text.isascii() and any("\udc80" <= letter <= "\udcff" for letter in text):
            return Rejected(line, text, "it is not UTF-8")
        try:
            cells = tuple(_cells(text))
        except csv.Error as error:
            return Rejected(line, text, f"it cannot be read as CSV ({error})")
        if len(cells) != len(self.columns):
            return Rejected(line, text, f"{len(cells)} instead of {len(self.columns)} cells")
        by_name = dict(zip(self.columns, cells, strict=True))
        numbers = []
        for name in wanted:
            found = number(by_name[name])
            if isinstance(found, str):
                return Rejected(line, text, f"{name} {found}")
            numbers.append(found)
        return Row(line, cells, tuple(numbers))


def number(cell: str) -> float | str:
    """Read a finite number, or say what the cell is instead."""
    stripped = cell.strip()
    if not stripped:
        return "is empty"
    if not _NUMBER.fullmatch(stripped):
        return f"is not a number: {_shown(stripped)}"
    value = float(stripped)
    return value if math.isfinite(value) else f"is too large: {_shown(stripped)}"


def start(path: Path, wanted: tuple[str, ...]) -> tuple[Header, Iterator[tuple[int, str]]]:
    """Begin to read a file: its header, and its rows with their line numbers, blank lines left out.

    Args:
        path: The file; bytes that are not UTF-8 become lone surrogates.
        wanted: The columns that the header must have.

    Raises:
        InputError: The file cannot be read, is not CSV, lacks a wanted column, names one twice, or has no rows.
    """
    found = _lines(path)
    line, text = next(found, (0, ""))
    if not line:
        raise InputError(f"{path.name} is empty; it needs a header with the columns {', '.join(wanted)}.")
    head = Header(_columns(path, line, text, wanted))
    first = next(found, None)
    if first is None:
        raise InputError(f"{path.name} has a header but no rows.")
    return head, itertools.chain([first], found)


def table(path: Path) -> list[tuple[float, ...]]:
    """Read features and target of a whole file; other columns are left out.

    Raises:
        InputError: The file cannot be used, or one of its lines; all lines count here.
    """
    wanted = (*FEATURES, TARGET)
    head, found = start(path, wanted)
    rows = [head.read(line, text, wanted) for line, text in found]
    wrong = [row for row in rows if isinstance(row, Rejected)]
    if wrong:
        first = f"line {wrong[0].line}: {wrong[0].reason}"
        raise InputError(f"{path.name} has {len(wrong)} unusable of {len(rows)} rows; the first is {first}.")
    return [row.numbers for row in rows if isinstance(row, Row)]


def write_table(path: Path, rows: list[tuple[float, ...]]) -> None:
    """Write features and target; numbers are written so that they are read back exactly."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*FEATURES, TARGET))
        writer.writerows(tuple(map(repr, row)) for row in rows)


def digest(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    yield line, text.rstrip("\n")
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}.") from error


def _columns(path: Path, line: int, text: str, wanted: tuple[str, ...]) -> tuple[str, ...]:
    if not text.replace("\t", " ").isprintable():
        raise InputError(f"{path.name} is not a CSV file: its line {line} is not text.")
    try:
        columns = tuple(name.strip() for name in _cells(text))
    except csv.Error as error:
        raise InputError(f"{path.name} is not a CSV file: its line {line} cannot be read ({error}).") from error
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise InputError(
            f"{path.name} lacks the columns {', '.join(missing)}: its header, line {line}, is {_shown(text)}"
            " (columns are separated by commas)."
        )
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise InputError(f"{path.name} has the columns {', '.join(twice)} more than once.")
    return columns


def _cells(text: str) -> list[str]:
    return next(csv.reader([text], strict=True))


def _shown(text: str) -> str:
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return ascii(short) if not short.isprintable() else repr(short)

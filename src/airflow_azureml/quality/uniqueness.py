"""Whether values are unique in a whole stream, in bounded memory: hashes of 128 bits, sorted in parts on disk."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import polars as pl

#: 24 bytes each.
ROWS_IN_MEMORY = 500_000
#: Into how many files rows are put by the first bits of their hash, and by the next where a file is too large.
_FILES, _FILE_BITS = 256, 8
_ROW = np.dtype([("first", "<u8"), ("second", "<u8"), ("row", "<i8")])
_DEEPEST = 64 // _FILE_BITS
_SEEDS = (0x243F6A88, 0x85A308D3)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Distinct:
    """Values of one column, or of some together; a row in which one of them is missing does not count.

    Two values are taken for one where both of their hashes, of 64 bits each, agree: among a thousand million rows that
    happens by chance once in 10^20.

    Args:
        columns: The columns.
        most: How many rows are kept in memory before they are put on disk, and are sorted at a time, at most.
    """

    def __init__(self, *columns: str, most: int = ROWS_IN_MEMORY) -> None:
        self.columns = columns
        self._most = most
        self._kept: list[np.ndarray] = []
        self._count = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, frame: pl.DataFrame, *, first_row: int) -> None:
        """Add the rows of a batch; the number of its first is given."""
        missing = pl.any_horizontal(pl.col(self.columns).is_null())
        present = frame.select(*self.columns, missing.alias("\0missing")).with_row_index("\0row")
        present = present.filter(~pl.col("\0missing"))
        rows = np.empty(present.height, _ROW)
        rows["row"] = present["\0row"].to_numpy().astype(np.int64) + first_row
        for name, seed in zip(("first", "second"), _SEEDS, strict=True):
            mixed = np.zeros(present.height, np.uint64)
            for column in self.columns:
                # As texts, whole numbers of any width are alike.
                hashed = present[column].cast(pl.String).hash(seed, seed + 1, seed + 2, seed + 3).to_numpy()
                mixed = mixed * _MULTIPLIER + hashed
            rows[name] = mixed
        self._kept.append(rows)
        self._count += len(rows)
        if self._count > self._most:
            self._spill()

    def repeated(self, most: int) -> tuple[int, list[tuple[int, int]]]:
        """Count the rows whose value came before.

        Args:
            most: How many of them to name.

        Returns:
            How many there are, and of the first its number and that of the row that it repeats.
        """
        count, named = 0, []
        for rows in self._parts():
            rows.sort(order=("first", "second", "row"))
            begins = np.ones(len(rows), dtype=bool)
            begins[1:] = (rows["first"][1:] != rows["first"][:-1]) | (rows["second"][1:] != rows["second"][:-1])
            repeats = np.flatnonzero(~begins)
            count += len(repeats)
            group = np.flatnonzero(begins)[np.cumsum(begins) - 1]
            first = repeats[np.argsort(rows["row"][repeats], kind="stable")[:most]]
            named += [(int(rows["row"][at]), int(rows["row"][group[at]])) for at in first]
            named = sorted(named)[:most]
        return count, named

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="distinct-")
        _put(np.concatenate(self._kept), Path(self._folder.name), depth=0)
        self._kept, self._count = [], 0

    def _parts(self) -> Iterator[np.ndarray]:
        """Give rows in parts that fit into memory, all of one value in one part."""
        if self._folder is None:
            yield np.concatenate(self._kept) if self._kept else np.empty(0, _ROW)
            return
        if self._kept:
            self._spill()
        yield from _taken(Path(self._folder.name), self._most, depth=0)


def _put(rows: np.ndarray, folder: Path, *, depth: int) -> None:
    """Append rows to the files of a folder, by the bits of their hash at a depth."""
    files = rows["first"] >> np.uint64(64 - _FILE_BITS * (depth + 1)) & np.uint64(_FILES - 1)
    order = np.argsort(files, kind="stable")
    for name, part in _split(rows[order], files[order]):
        with (folder / name).open("ab") as file:
            part.tofile(file)


def _split(rows: np.ndarray, files: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    names, begins = np.unique(files, return_index=True)
    for name, part in zip(names, np.split(rows, begins[1:]), strict=True):
        yield f"{name:02x}", part


def _taken(folder: Path, most: int, *, depth: int) -> Iterator[np.ndarray]:
    """Take the rows out of a folder's files; one that is too large is put into files of its own first."""
    for path in sorted(folder.iterdir()):
        size = path.stat().st_size // _ROW.itemsize
        if size <= most or depth + 1 == _DEEPEST:
            yield np.fromfile(path, _ROW)
        else:
            deeper = path.with_suffix(".parts")
            deeper.mkdir()
            for begin in range(0, size, most):
                offset = begin * _ROW.itemsize
                _put(np.fromfile(path, _ROW, count=most, offset=offset), deeper, depth=depth + 1)
            yield from _taken(deeper, most, depth=depth + 1)
        if path.is_file():
            path.unlink()

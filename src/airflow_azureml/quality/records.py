"""Cutting a file of records into blocks of whole ones, in bounded memory."""

import functools
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from attrs import frozen

from airflow_azureml.errors import ConfigError

#: How much is read at a time.
BLOCK_BYTES = 8 * 2**20
#: A record that is longer is taken for a quote that nobody closed, or for no table at all.
LONGEST_BYTES = 64 * 2**20
_QUOTE, _NEWLINE = ord('"'), ord("\n")


class UnreadableError(ConfigError):
    """The file is no table of the format it should be; mend the file, or say its format."""


@frozen(kw_only=True, slots=False, eq=False)
class Block:
    """Whole records.

    Attributes:
        data: The bytes.
        quoted: Whether quotes may hide the ends of records and fields.
        known: Of each byte, whether it is outside of quotes; None where nobody has looked.
    """

    data: bytes
    quoted: bool
    known: np.ndarray | None = None

    def ends(self) -> np.ndarray:
        """Say where each record's newline is."""
        return np.flatnonzero((self._bytes() == _NEWLINE) & self.outside)

    def fields(self, separator: str) -> np.ndarray:
        """Count the fields of each record."""
        separators = np.flatnonzero((self._bytes() == ord(separator)) & self.outside)
        before = np.searchsorted(separators, self.ends())
        return np.diff(before, prepend=0) + 1

    def record_of(self, offset: int) -> int:
        """Say in which record a byte is, counted from 0."""
        return int(np.searchsorted(self.ends(), offset))

    def _bytes(self) -> np.ndarray:
        return np.frombuffer(self.data, dtype=np.uint8)

    def head(self, end: int) -> "Block":
        """Give the first bytes."""
        return Block(data=self.data[:end], quoted=self.quoted, known=self.outside[:end])

    @functools.cached_property
    def outside(self) -> np.ndarray:
        """Of each byte, whether it is outside of quotes; a quote within quotes is doubled, so that it cancels."""
        if self.known is not None:
            return self.known
        if not self.quoted or b'"' not in self.data:
            return np.ones(len(self.data), dtype=np.bool_)
        # It is the parity that counts, which one byte keeps.
        outside: np.ndarray = np.cumsum(self._bytes() == _QUOTE, dtype=np.uint8) & 1 == 0
        return outside


def blocks(file: BinaryIO, *, quoted: bool) -> Iterator[Block]:
    """Read blocks of whole records, each with its newline; blank lines at the end are left out.

    Raises:
        UnreadableError: A record is too long, or a quote is not closed.
    """
    rest = b""
    while True:
        read = file.read(BLOCK_BYTES)
        buffer = rest + read
        if not read:
            yield from _last(buffer, quoted=quoted)
            return
        whole = Block(data=buffer, quoted=quoted)
        end = _end(whole)
        if not end and len(buffer) > LONGEST_BYTES:
            raise UnreadableError(
                f"After {LONGEST_BYTES // 2**20} MB a record has no end"
                + (": a quote may not be closed." if quoted and b'"' in buffer else ".")
            )
        if end:
            yield whole.head(end)
        rest = buffer[end:]


def _last(buffer: bytes, *, quoted: bool) -> Iterator[Block]:
    data = buffer.rstrip(b"\r\n")
    if not data:
        return
    block = Block(data=data + b"\n", quoted=quoted)
    ends = block.ends()
    if not len(ends) or ends[-1] != len(data):
        raise UnreadableError("A quote is open at the end of the file.")
    yield block


def _end(block: Block) -> int:
    """Say where the last whole record that is not blank ends; 0 where none does."""
    ends = block.ends()
    end = int(ends[-1]) + 1 if len(ends) else 0
    filled = len(block.data[:end].rstrip(b"\r\n"))
    return block.data.find(b"\n", filled) + 1 if filled else 0

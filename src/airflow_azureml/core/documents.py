"""Small documents with compare-and-set: what the ledger asks of a store, and nothing more."""

import re
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from typing import Protocol

from attrs import frozen

from airflow_azureml.errors import ProtocolError

#: What an id is made of, so that it needs no quoting in any store; no part of it is empty, ``.`` or ``..``.
_ID = re.compile(r"(?=.{1,512}\Z)(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*")


@frozen
class Document:
    """One document as the store has it.

    Attributes:
        id: A path of ASCII letters, digits, ``.``, ``_`` and ``-``; at most 512 characters.
        version: The store's own word for this text; another with each write, and never used again.
        text: Its content.
        time: When it was written, by the store's clock, UTC.
    """

    id: str
    version: str
    text: str
    time: datetime


class Documents(Protocol):
    """A store of documents, on an event loop; use it with ``async with``.

    Each document changes at once or not at all; a call about many of them is many changes, and may end with some done.
    A change whose answer was lost counts as done if the document has the very text that was to be written: whoever
    must not be taken for another puts a word of its own into the text.

    Every method raises `RefusedError` or `UnavailableError`, `ConfigError` where the store cannot be used at all, and
    `ProtocolError` for an id that is none.
    """

    async def read(self, ids: Collection[str]) -> dict[str, Document]:
        """Read documents; those that are not there are left out."""

    async def create(self, texts: Mapping[str, str]) -> dict[str, Document]:
        """Write documents that are not there, by id; return those that are ours now."""

    async def replace(self, changes: Mapping[str, tuple[str, str]]) -> dict[str, Document]:
        """Write documents over the version expected: ``{id: (version, text)}``; return those that are ours now."""

    async def remove(self, versions: Mapping[str, str]) -> set[str]:
        """Remove documents that still have the version expected; return those that are gone, whoever removed them."""

    def scan(self, prefix: str) -> AsyncIterator[list[Document]]:
        """Read all whose id begins so, in the order of their ids, page by page."""

    def ids(self, prefix: str) -> AsyncIterator[list[str]]:
        """List the ids that begin so, in their order, page by page."""

    async def now(self) -> datetime:
        """Tell the store's time, UTC."""


def check_ids(ids: Collection[str]) -> None:
    """Refuse what is no id.

    Raises:
        ProtocolError: One is none.
    """
    for each in ids:
        if not _ID.fullmatch(each):
            raise ProtocolError(f"{each[:100]!r} is no document's id: a path of letters, digits, '.', '_' and '-'")

"""A store that stops before each of its writes, and does there whatever a test wants: the world at its worst."""

from __future__ import annotations

import collections
import itertools
import json
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Generator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Protocol, TypeVar

import attrs

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.documents import Document, Documents, check_ids
from airflow_azureml.errors import UnavailableError

T = TypeVar("T")


def arrival(path: str, *, etag: str = "0x1", container: str = "incoming", size_bytes: int = 10) -> Arrival:
    return Arrival(
        account="acme",
        container=container,
        path=path,
        etag=etag,
        size_bytes=size_bytes,
        sequencer="",
        time="2026-01-31T12:00:00+00:00",
        api="PutBlob",
        url=f"https://acme.blob.core.windows.net/{container}/{path}",
    )


def now_or_never(work: Coroutine[Any, Any, T]) -> T:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the coroutine returned
    raise AssertionError("it waits")


class Shelf(Protocol):
    """A store, one document at a time."""

    def read(self, name: str) -> Document | None: ...
    def create(self, name: str, text: str) -> Document | None: ...
    def replace(self, name: str, version: str, text: str) -> Document | None: ...
    def remove(self, name: str, version: str) -> bool: ...
    def ids(self, prefix: str) -> list[str]: ...


@attrs.define
class Memory:
    """A store in memory, as exact as the contract of `Documents`."""

    documents: dict[str, Document] = attrs.field(factory=dict)
    versions: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))

    def read(self, name: str) -> Document | None:
        return self.documents.get(name)

    def create(self, name: str, text: str) -> Document | None:
        if name not in self.documents:
            return self._write(name, text)
        return self._ours(name, text)

    def replace(self, name: str, version: str, text: str) -> Document | None:
        if name in self.documents and self.documents[name].version == version:
            return self._write(name, text)
        return self._ours(name, text)

    def remove(self, name: str, version: str) -> bool:
        if name in self.documents and version in {"", self.documents[name].version}:
            del self.documents[name]
        return name not in self.documents

    def ids(self, prefix: str) -> list[str]:
        return sorted(name for name in self.documents if name.startswith(prefix))

    def _write(self, name: str, text: str) -> Document:
        number = next(self.versions)
        time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        self.documents[name] = Document(name, f"v{number}", text, time)
        return self.documents[name]

    def _ours(self, name: str, text: str) -> Document | None:
        found = self.documents.get(name)
        return found if found is not None and found.text == text else None


@attrs.define
class Real:
    """A real store, one document at a time, on an event loop of its own."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    documents: Documents

    def read(self, name: str) -> Document | None:
        found: dict[str, Document] = self.run(self.documents.read([name]))
        return found.get(name)

    def create(self, name: str, text: str) -> Document | None:
        found: dict[str, Document] = self.run(self.documents.create({name: text}))
        return found.get(name)

    def replace(self, name: str, version: str, text: str) -> Document | None:
        found: dict[str, Document] = self.run(self.documents.replace({name: (version, text)}))
        return found.get(name)

    def remove(self, name: str, version: str) -> bool:
        return name in self.run(self.documents.remove({name: version}))

    def ids(self, prefix: str) -> list[str]:
        async def _all() -> list[str]:
            return [each async for page in self.documents.ids(prefix) for each in page]

        return list(self.run(_all()))


class Fate(Enum):
    """What becomes of one request."""

    DONE = "done"
    #: It is carried out, its answer is lost, and it is sent again.
    ANSWER_LOST = "answer lost"
    #: It never reaches the store.
    LOST = "lost"
    #: It is carried out, and nobody ever learns of it.
    SILENT = "silent"
    #: It is carried out later, when its sender has long given up.
    LATE = "late"


@attrs.frozen
class Write:
    """A write that waits for its fate."""

    name: str
    carry_out: Callable[[], Any]


class _Pause:
    def __init__(self, write: Write) -> None:
        self.write = write

    def __await__(self) -> Generator[Write, Fate, Fate]:
        return (yield self.write)


#: What a batch's state may become.
_ONWARD: Mapping[str, frozenset[str]] = {
    "": frozenset({"claiming"}),
    "claiming": frozenset({"claimed", "void"}),
    "claimed": frozenset({"submitted", "failed", "void"}),
    "submitted": frozenset({"submitted", "scored", "failed", "void"}),
    "scored": frozenset(),
    "failed": frozenset(),
    "void": frozenset(),
}


@attrs.define
class Witness:
    """A shelf that sees every write, and remembers what has been settled, apart from how the ledger does it.

    Attributes:
        settled: How often each blob version was settled, by key.
        pardons: How often a person has asked for a blob to be opened again, by key.
        writes: How many writes there were.
    """

    shelf: Shelf
    states: dict[str, str] = attrs.field(factory=dict)
    rejected: dict[str, set[str]] = attrs.field(factory=dict)
    turns: dict[str, int] = attrs.field(factory=dict)
    settled: collections.Counter[str] = attrs.field(factory=collections.Counter)
    pardons: collections.Counter[str] = attrs.field(factory=collections.Counter)
    seen: set[str] = attrs.field(factory=set)
    writes: int = 0

    def read(self, name: str) -> Document | None:
        return self.shelf.read(name)

    def create(self, name: str, text: str) -> Document | None:
        return self._look(name, self.shelf.create(name, text))

    def replace(self, name: str, version: str, text: str) -> Document | None:
        return self._look(name, self.shelf.replace(name, version, text))

    def remove(self, name: str, version: str) -> bool:
        return self.shelf.remove(name, version)

    def ids(self, prefix: str) -> list[str]:
        return self.shelf.ids(prefix)

    def _look(self, name: str, written: Document | None) -> Document | None:
        if written is not None and written.version not in self.seen:
            self.seen.add(written.version)
            self.writes += 1
            if "/batches/" in name:
                self._look_at_batch(name, json.loads(written.text))
            elif "/blobs/" in name:
                self._look_at_entry(name, json.loads(written.text))
        return written

    def _look_at_batch(self, name: str, body: dict[str, Any]) -> None:
        before, after = self.states.get(name, ""), body["state"]
        assert after in _ONWARD[before], f"{name} went from {before!r} to {after!r}"
        self.states[name] = after
        items = {_key(each): each for each in body["items"]}
        if after == "claimed":
            assert all(len(items) <= each.get("at_most", len(items)) for each in items.values()), body
        rejected = set(body.get("rejected", ()))
        assert rejected >= self.rejected.get(name, set()), "a rejection was taken back"
        new = rejected - self.rejected.get(name, set())
        self.rejected[name] = rejected
        for key in (*new, *(items.keys() - rejected if after == "scored" else ())):
            self.settled[key] += 1
            assert self.settled[key] <= 1 + self.pardons[key], f"{key} was settled {self.settled[key]} times"

    def _look_at_entry(self, name: str, body: dict[str, Any]) -> None:
        turn = body.get("turn", 1)
        if not self.pardons[_key(body)]:
            assert turn >= self.turns.get(name, 1), f"the turn of {name} went back"
        self.turns[name] = turn


def _key(body: Mapping[str, Any]) -> str:
    return Arrival.from_wire({name: body[name] for name in body if name in _FIELDS}).key


_FIELDS = {each.name for each in attrs.fields(Arrival)}


@attrs.define
class Stage:
    """`Documents` over a shelf, each write of which stops for its fate; reads of many stop between, if asked to.

    Attributes:
        stops: Whether it stops at all.
        order: In which order the documents of one call are written.
        late: Writes that are still on their way.
        written: How many writes have changed something.
    """

    shelf: Witness
    stops: bool = True
    order: Callable[[list[str]], list[str]] = list
    late: list[Write] = attrs.field(factory=list)
    written: int = 0
    clock: datetime = datetime(2030, 1, 1, tzinfo=UTC)

    async def read(self, ids: Collection[str]) -> dict[str, Document]:
        check_ids(ids)
        found: dict[str, Document] = {}
        for name in self.order(sorted(set(ids))):
            if self.stops:
                await self._at_its_fate(Write(f"read {name}", lambda: None), reading=True)
            if (document := self.shelf.read(name)) is not None:
                found[name] = document
        return found

    async def create(self, texts: Mapping[str, str]) -> dict[str, Document]:
        return await self._each(texts, lambda name: self.shelf.create(name, texts[name]))

    async def replace(self, changes: Mapping[str, tuple[str, str]]) -> dict[str, Document]:
        return await self._each(changes, lambda name: self.shelf.replace(name, *changes[name]))

    async def remove(self, versions: Mapping[str, str]) -> set[str]:
        gone: set[str] = set()
        for name in self.order(sorted(versions)):
            write = Write(f"remove {name}", lambda name=name: self.shelf.remove(name, versions[name]))  # type: ignore[misc]
            if await self._at_its_fate(write):
                gone.add(name)
        return gone

    async def scan(self, prefix: str) -> AsyncIterator[list[Document]]:
        async for names in self.ids(prefix):
            found = await self.read(names)
            yield [found[name] for name in names if name in found]

    async def ids(self, prefix: str) -> AsyncIterator[list[str]]:
        yield self.shelf.ids(prefix)

    async def now(self) -> datetime:
        return self.clock

    async def _each(self, names: Collection[str], do: Callable[[str], Document | None]) -> dict[str, Document]:
        check_ids(names)
        made: dict[str, Document] = {}
        for name in self.order(sorted(names)):
            written = await self._at_its_fate(Write(name, lambda name=name: do(name)))  # type: ignore[misc]
            if written is not None:
                made[name] = written
        return made

    async def _at_its_fate(self, write: Write, *, reading: bool = False) -> Any:
        fate: Fate = await _Pause(write) if self.stops else Fate.DONE
        before, answer = self.shelf.writes, None
        if fate in {Fate.DONE, Fate.ANSWER_LOST, Fate.SILENT}:
            answer = write.carry_out()
            self.written += self.shelf.writes - before
        if fate is Fate.LATE and not reading:
            self.late.append(write)
        if fate is Fate.ANSWER_LOST:
            return write.carry_out()
        if fate is Fate.DONE:
            return answer
        raise UnavailableError(f"Write {write.name}", message="The test says so.")

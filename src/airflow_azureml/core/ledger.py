"""What has been claimed, submitted, scored and rejected, by blob version; each decision about it stands here, once.

A *batch* is a document with a state, and the state only moves forward, by compare-and-set: whoever comes too late finds
another version and is fenced off. An *entry* is a document for each blob version; it names the batch that has it and
at which *turn*. It is written once for each turn, so that what state a blob is in is read from its batch::

    claiming ──> claimed ──> submitted ──> scored
        │           │            ├──────> failed    its blobs are open again, in smaller batches
        └───────────┴────────────┴──────> void      its blobs are open again, as if nothing had been

A blob that makes its batch fail takes others with it: so the blobs of a failed batch go into batches of at most half
its size, until one is alone and has failed `MOST_FAILURES` times; it is rejected then.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.documents import Document
from airflow_azureml.errors import ProtocolError

#: How often a blob's job may fail while the blob is alone in its batch.
MOST_FAILURES = 3
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class BatchState(StrEnum):
    """Where a batch is."""

    CLAIMING = "claiming"
    CLAIMED = "claimed"
    SUBMITTED = "submitted"
    SCORED = "scored"
    FAILED = "failed"
    VOID = "void"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in {BatchState.SCORED, BatchState.FAILED, BatchState.VOID}


class BlobState(StrEnum):
    """Where a blob version is; scored and rejected are its two ends."""

    OPEN = "open"
    CLAIMED = "claimed"
    SUBMITTED = "submitted"
    SCORED = "scored"
    REJECTED = "rejected"

    @property
    def is_done(self) -> bool:
        """Whether nobody has to do anything more about it."""
        return self in {BlobState.SCORED, BlobState.REJECTED}


@frozen(kw_only=True)
class Open:
    """A blob version that may be claimed, or was.

    Attributes:
        turn: Which claim of it this is, from 1.
        at_most: Blobs in a batch that may take it, for batches that had it have failed; None for any number.
        alone: How often its job has failed while it was alone in its batch.
        version: The store's word for its entry as it was read; empty where there was none, or nobody has looked.
        folds: The store's word for how far old entries were folded away then; empty where none ever were.
    """

    arrival: Arrival
    turn: int = 1
    at_most: int | None = None
    alone: int = 0
    version: str = field(default="", eq=False, repr=False)
    folds: str = field(default="", eq=False, repr=False)

    @cached_property
    def key(self) -> str:
        """What identifies the blob version."""
        return self.arrival.key

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON."""
        more = {"turn": self.turn, "at_most": self.at_most, "alone": self.alone}
        return {**self.arrival.to_wire(), **{name: value for name, value in more.items() if value}}

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote.

        Raises:
            ProtocolError: It is something else.
        """
        more = {name: body[name] for name in ("turn", "at_most", "alone") if name in body}
        if any(not isinstance(value, int) or value < 1 for value in more.values()):
            raise ProtocolError(f"Read an entry of the ledger: {more!r} are no numbers from 1 on")
        return cls(arrival=Arrival.from_wire({name: body[name] for name in body if name not in more}), **more)


@frozen(kw_only=True)
class Batch:
    """Blob versions that one job scores together.

    Attributes:
        owner: Who claimed it: ``dag/run/task``.
        items: The blobs, each with its turn; while it is claimed, some may turn out to be another's.
        job: The job's name; empty before it is known.
        output: Where the result was published; empty before that.
        reason: Why it failed, or is void.
        rejected: Why single blobs of it were rejected, by key.
        times: When it came into each state it has been in, by the store's clock, UTC, as ISO 8601; the last one is
            missing in what was never stored.
        version: The store's word for what was read; empty in what was never stored.
    """

    id: str
    owner: str
    items: tuple[Open, ...]
    state: BatchState = BatchState.CLAIMING
    job: str = ""
    output: str = ""
    reason: str = ""
    rejected: Mapping[str, str] = field(factory=dict)
    times: Mapping[str, str] = field(factory=dict, eq=False)
    version: str = field(default="", eq=False, repr=False)

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """The blobs."""
        return tuple(each.arrival for each in self.items)

    @cached_property
    def turns(self) -> Mapping[str, int]:
        """At which turn it has each blob, by key."""
        return {each.key: each.turn for each in self.items}

    @property
    def accepted(self) -> tuple[Arrival, ...]:
        """The blobs that were not rejected."""
        return tuple(each.arrival for each in self.items if each.key not in self.rejected)

    @classmethod
    def of(cls, document: Document) -> Self:
        """Read a stored batch.

        Raises:
            ProtocolError: It is none.
        """
        body = _body(document)
        try:
            state = BatchState(body["state"])
            texts = {name: str(body[name]) for name in ("owner", "job", "output", "reason") if name in body}
            return cls(
                id=document.id.rpartition("/")[2],
                state=state,
                items=tuple(map(Open.from_wire, body["items"])),
                rejected={str(key): str(why) for key, why in body.get("rejected", {}).items()},
                times={**body.get("times", {}), state.value: document.time.isoformat()},
                version=document.version,
                **texts,
            )
        except (ProtocolError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"Read {document.id} of the ledger: it is no batch: {error!r}") from error

    def to_text(self) -> str:
        """Write it as it is stored; when it came into its state is the store's to say."""
        texts = {name: getattr(self, name) for name in ("job", "output", "reason") if getattr(self, name)}
        times = {name: time for name, time in self.times.items() if name != self.state.value}
        more: dict[str, Any] = {"rejected": dict(self.rejected), "times": times}
        return _text(
            {
                "state": self.state.value,
                "owner": self.owner,
                "items": [each.to_wire() for each in self.items],
                **texts,
                **{name: value for name, value in more.items() if value},
            }
        )


@frozen(kw_only=True)
class Entry:
    """What the ledger has stored of one blob version.

    Attributes:
        item: The blob, with the turn at which the batch has it.
        batch: The batch's id; empty where the blob is open for its next turn, whatever was before.
        version: The store's word for what was read; empty in what was never stored.
    """

    item: Open
    batch: str = ""
    version: str = field(default="", eq=False, repr=False)

    @classmethod
    def of(cls, document: Document) -> Self:
        """Read a stored entry.

        Raises:
            ProtocolError: It is none.
        """
        body = _body(document)
        try:
            batch = str(body.pop("batch"))
            return cls(item=Open.from_wire(body), batch=batch, version=document.version)
        except (ProtocolError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"Read {document.id} of the ledger: it is no entry: {error!r}") from error

    def to_text(self) -> str:
        """Write it as it is stored."""
        return _text({"batch": self.batch, **self.item.to_wire()})


@frozen(kw_only=True)
class Known:
    """A blob version that is not open.

    Attributes:
        state: Where it is.
        batch: Which batch has it; empty where that was folded away.
        owner: Whose batch that is; empty likewise.
    """

    arrival: Arrival
    state: BlobState
    batch: str = ""
    owner: str = ""


@frozen(kw_only=True)
class Shown:
    """One blob version as a person sees it.

    Attributes:
        key: What identifies it.
        turn: At which claim it is, from 1; 0 before the first.
        reason: Why it was rejected, or is open again; empty otherwise.
        arrival: The blob; None where only the key is left of it.
        batch: The batch that its entry names; None where there is none any more.
    """

    key: str
    state: BlobState
    turn: int
    reason: str = ""
    arrival: Arrival | None = None
    batch: Batch | None = None

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON, in the words of the ledger's documentation."""
        arrival, batch = self.arrival, self.batch
        return {
            "key": self.key,
            "state": self.state.value,
            "turn": self.turn,
            "container": f"{arrival.account}/{arrival.container}" if arrival else "",
            "path": arrival.path if arrival else "",
            "etag": arrival.etag if arrival else "",
            "size_bytes": arrival.size_bytes if arrival else None,
            "batch": batch.id if batch else "",
            "owner": batch.owner if batch else "",
            "job": batch.job if batch else "",
            "output": batch.output if batch else "",
            "times": dict(batch.times) if batch else {},
            "reason": self.reason,
        }


@frozen(kw_only=True)
class Compacted:
    """What a compaction has done.

    Attributes:
        folded: Blob versions of which 20 bytes are left.
        reopened: Entries of batches that failed or are void, which say now themselves that their blob is open.
        batches: Batches removed.
        dropped: Blob versions forgotten, for they are not there any more.
    """

    folded: int = 0
    reopened: int = 0
    batches: int = 0
    dropped: int = 0


@frozen(kw_only=True)
class Sorted:
    """What some arrivals are, each once.

    Attributes:
        open: Those that may be claimed.
        held: Those that a batch has which has not ended.
        done: Those that are scored or rejected.
    """

    open: tuple[Open, ...] = ()
    held: tuple[Known, ...] = ()
    done: tuple[Known, ...] = ()


def faults_of_name(name: object) -> list[str]:
    """Say what is wrong with a ledger's name; an empty list when nothing is."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return []
    return [
        f"{name!r} is no ledger's name: at most 100 ASCII letters, digits, '.', '_' and '-', not beginning with '.'"
    ]


def _text(body: Mapping[str, Any]) -> str:
    """Write it always alike, for whoever compares texts; of halves of characters, which JSON has, a question mark."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def _body(document: Document) -> dict[str, Any]:
    try:
        body = json.loads(document.text)
    except ValueError as error:
        raise ProtocolError(f"Read {document.id} of the ledger: it is no JSON") from error
    if not isinstance(body, dict):
        raise ProtocolError(f"Read {document.id} of the ledger: it is no JSON object")
    return body

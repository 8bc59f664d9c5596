"""What chaos does to arrivals, drawn from a seed: which blobs come when, what becomes of events, what is killed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from demo.azure import INCOMING
from demo.chaos_plan import Kill, draw_kills

DAG = "chaos_arrivals"
BLOBS = 1000
KILLS = 50
#: Seconds in which all blobs come and all kills fall.
SPAN_S = 420.0
#: Below which all blobs lie, in the container for incoming files.
PREFIX = "inbox/"
#: What is killed: a kind of process, and its parts by name.
KINDS: Mapping[str, tuple[str, ...]] = {
    "worker": ("worker",),
    "triggerer": ("triggerer", "triggerer-2"),
    "scheduler": ("scheduler",),
    "azurite": ("azurite",),
    "emulator": ("emulator",),
}
#: Of a hundred paths: written again, and deleted in the end.
OVERWRITTEN, DELETED = 10, 5
#: Of those that are deleted, the share that is written again after that.
REVIVED = 0.2
#: Of all events, the shares that are lost and doubled; of the rest, the shares that are overtaken and late.
LOST, DOUBLED, OVERTAKEN, LATE = 0.05, 0.10, 0.2, 0.2
#: Names of blobs that somebody on the way may misread.
ODD_NAMES = ("año 1", "100% +sure", "a&b=c;d", "日本語", "it's #1?", "dots..and~tilde", "%2Fencoded%252F")
LONGEST_FILLER = 2000


@attrs.frozen(kw_only=True)
class Write:
    """One write of a blob, or its deletion.

    Attributes:
        at_s: When, at the earliest; seconds after the beginning.
        path: In the container for incoming files.
        content: The whole content; None for a deletion.
    """

    at_s: float
    path: str
    content: bytes | None

    @property
    def digest(self) -> str:
        """The SHA-256 of the content, in hexadecimal digits."""
        return hashlib.sha256(self.content or b"").hexdigest()


@attrs.frozen(kw_only=True)
class Plan:
    """Everything that is drawn.

    Attributes:
        writes: In the order in which they are done.
        kills: By time.
        faults: What the emulator is told to do to events.
    """

    writes: Sequence[Write]
    kills: Sequence[Kill]
    faults: Sequence[Mapping[str, Any]]

    @property
    def last(self) -> Mapping[str, Write]:
        """The last write of each path that is there in the end."""
        found = {write.path: write for write in self.writes}
        return {path: write for path, write in found.items() if write.content is not None}

    @property
    def contents(self) -> Mapping[str, frozenset[str]]:
        """By path, the digests of everything that is ever written to it."""
        found: dict[str, set[str]] = {}
        for write in self.writes:
            if write.content is not None:
                found.setdefault(write.path, set()).add(write.digest)
        return {path: frozenset(digests) for path, digests in found.items()}

    @property
    def counts(self) -> Mapping[str, int]:
        """Count the paths, and those of them that are written again and that are deleted in the end."""
        paths = self.contents
        written = [write.path for write in self.writes if write.content is not None]
        return {
            "blobs": len(paths),
            "overwritten": sum(written.count(path) > 1 for path in paths),
            "deleted": len(paths) - len(self.last),
        }


def draw(seed: int, *, blobs: int = BLOBS, kills: int = KILLS, span_s: float = SPAN_S) -> Plan:
    """Draw a plan; the same numbers give the same one.

    Args:
        seed: The seed.
        blobs: Paths; of a hundred, `OVERWRITTEN` are written again and `DELETED` deleted.
        kills: SIGKILLs; of each kind at least half of what would be its equal share.
        span_s: Seconds in which everything is begun.
    """
    source = random.Random(seed)  # noqa: S311  # no secret: it must be the same again
    writes = [write for each in _paths(source, blobs) for write in _life(source, each, span_s)]
    return Plan(
        writes=sorted(writes, key=lambda write: write.at_s),
        kills=draw_kills(source, KINDS, count=kills, least=kills // (2 * len(KINDS)), span_s=span_s),
        faults=_faults(seed),
    )


def _paths(source: random.Random, count: int) -> list[str]:
    """Name blobs; one in twenty has a name that is hard on somebody."""
    found = []
    for number in range(count):
        odd = source.choice(ODD_NAMES) if number % 20 == 0 else "readings"
        found.append(f"{PREFIX}{number % 24:02d}/{odd}-{number:05d}.csv")
    return found


def _life(source: random.Random, path: str, span_s: float) -> list[Write]:
    """Draw when a path is written, written again, and deleted; some writes follow each other at once."""
    at_s = source.uniform(0, span_s * 0.8)
    lot, is_revived = source.randrange(100), source.random() < REVIVED
    times = [at_s]
    if lot < OVERWRITTEN:
        times += [at_s + source.choice([0.0, source.uniform(0, 5), source.uniform(5, span_s * 0.2)])]
    found = [
        Write(at_s=round(time_s, 2), path=path, content=_content(source, path, turn))
        for turn, time_s in enumerate(times)
    ]
    if OVERWRITTEN <= lot < OVERWRITTEN + DELETED:
        gone_s = at_s + source.choice([0.0, source.uniform(0, 5), source.uniform(5, span_s * 0.1)])
        found.append(Write(at_s=round(gone_s, 2), path=path, content=None))
        if is_revived:
            again_s = round(gone_s + source.uniform(0, span_s * 0.1), 2)
            found.append(Write(at_s=again_s, path=path, content=_content(source, path, 1)))
    return found


def _content(source: random.Random, path: str, turn: int) -> bytes:
    return f"path,turn,filler\n{path},{turn},{'x' * source.randrange(LONGEST_FILLER)}\n".encode()


def _faults(seed: int) -> list[dict[str, Any]]:
    """Say what becomes of events; a fault sees what those before it have left, so that shares are of all."""
    left, found = 1.0, []
    effects: list[tuple[float, dict[str, Any]]] = [
        (LOST, {"lost": True}),
        (DOUBLED, {"doubled": True}),
        (OVERTAKEN, {"behind": 5}),
        (LATE, {"delay_s": [0.5, 20]}),
    ]
    for share, effect in effects:
        subject = f"/blobServices/default/containers/{INCOMING}/blobs/{PREFIX}.*"
        found.append({"subject": subject, "share": round(share / left, 4), "seed": seed, **effect})
        left -= share
    return found

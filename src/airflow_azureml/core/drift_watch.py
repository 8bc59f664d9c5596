"""What a watch for drift has decided so far: one decision for each window, whoever looks, and however often.

The document is changed by compare-and-set alone. A request for a retraining has an owner, the run whose task emits the
event; where that run is over without having emitted it, another takes the request over.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Self

from attrs import evolve, field, frozen

from airflow_azureml.errors import ProtocolError

SCHEMA = 1
#: Decisions that a watch remembers.
MOST = 200


class Life(Enum):
    """What is known of the task that was to emit a request."""

    EMITTED = "emitted"
    MAY_EMIT = "may emit"
    OVER = "over"


@frozen(kw_only=True)
class Entry:
    """What was decided for a window.

    Attributes:
        window: The window.
        at: When, UTC.
        owner: The run that decided; of a request, the run that emits it.
        told: The decision as `airflow_azureml.core.drift.told` writes it.
    """

    window: str
    at: datetime
    owner: str
    told: Mapping[str, Any]

    @property
    def asks(self) -> bool:
        """Whether it asks for a retraining."""
        return self.told.get("decision") == "retrain"

    def to_wire(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return {"window": self.window, "at": self.at.isoformat(), "owner": self.owner, "told": dict(self.told)}

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_wire` wrote."""
        at = datetime.fromisoformat(raw["at"])
        return cls(window=str(raw["window"]), at=at, owner=str(raw["owner"]), told=dict(raw["told"]))


@frozen(kw_only=True)
class Watch:
    """What one watch has decided.

    Attributes:
        decided: By window.
        asked: The last request for a retraining, which `decided` may have forgotten; None where there was none.
    """

    decided: Mapping[str, Entry] = field(factory=dict)
    asked: Entry | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` wrote.

        Raises:
            ProtocolError: It is something else.
        """
        try:
            raw = json.loads(text)
            if raw["schema"] != SCHEMA:
                raise ProtocolError(f"The watch is of schema {raw['schema']!r}; this version reads {SCHEMA}.")
            entries = [Entry.from_wire(each) for each in raw["decided"]]
            asked = Entry.from_wire(raw["asked"]) if raw.get("asked") else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProtocolError(f"The document of the watch for drift is none: {error!r}") from error
        return cls(decided={each.window: each for each in entries}, asked=asked)

    @property
    def text(self) -> str:
        """Write it, with the newest decisions."""
        newest = sorted(self.decided.values(), key=lambda each: (each.at, each.window))[-MOST:]
        asked = None if self.asked is None else self.asked.to_wire()
        return json.dumps({"schema": SCHEMA, "decided": [each.to_wire() for each in newest], "asked": asked})

    @property
    def asked_at(self) -> datetime | None:
        """When a retraining was last asked for."""
        return None if self.asked is None else self.asked.at

    def entered(self, entry: Entry) -> Self:
        """Enter a decision; that of a window which has one stays as it is."""
        if entry.window in self.decided:
            return self
        decided = {**self.decided, entry.window: entry}
        return evolve(self, decided=decided, asked=entry if entry.asks else self.asked)

    def taken_over(self, owner: str) -> Self:
        """Let another run emit the last request."""
        if self.asked is None:
            return self
        asked = evolve(self.asked, owner=owner)
        return evolve(self, asked=asked, decided={**self.decided, asked.window: asked})

    def emits(self, owner: str) -> bool:
        """Tell whether a run is to emit the last request."""
        return self.asked is not None and self.asked.owner == owner


@frozen(kw_only=True)
class Outcome:
    """What one run comes to.

    Attributes:
        watch: What the document has to hold; the same as before where nothing is to be written.
        entry: The decision for the latest window, whoever made it.
        is_new: Whether this run made it.
        took_over: Whether a request of a run that is over is this run's now.
    """

    watch: Watch
    entry: Entry
    is_new: bool = False
    took_over: bool = False


def settle(
    watch: Watch,
    *,
    window: str,
    owner: str,
    at: datetime,
    life: Callable[[str], Life],
    decide: Callable[[datetime | None, str], Mapping[str, Any]],
) -> Outcome:
    """Say what a run does with what it found in the document, and what the document holds then.

    Args:
        watch: What the document holds.
        window: The latest window.
        owner: This run.
        at: Now.
        life: Tells what became of the task that an owner's run emits with.
        decide: Decides as `airflow_azureml.core.drift.told` writes it, where the window has no decision yet; told when
            a retraining was last asked for, and which request is still to be emitted, empty for none.
    """
    asked, took_over, pending = watch.asked, False, ""
    if asked is not None:
        of_owner = life(asked.owner)
        took_over = of_owner is Life.OVER and asked.owner != owner
        if of_owner is not Life.EMITTED:
            pending = f"the one that window {asked.window} asked for is about to begin"
    if took_over:
        watch = watch.taken_over(owner)
    if window in watch.decided:
        return Outcome(watch=watch, entry=watch.decided[window], took_over=took_over)
    entry = Entry(window=window, at=at, owner=owner, told=decide(watch.asked_at, pending))
    return Outcome(watch=watch.entered(entry), entry=entry, is_new=True, took_over=took_over)

"""The emulator's clock: the wall clock, until somebody freezes it or moves it on.

What it drives: the timestamps that the emulator writes, the lifetime of tokens, scripted jobs, schedules,
throttling and how long an online deployment may take to become ready.
What it does not: processes that really run, deadlines of sockets, certificates, and signatures that Azurite checks
by its own clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

#: Beyond this, dates could not be written any more.
LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class ClockError(ValueError):
    """The clock cannot be set so; the message is one sentence."""


class Clock:
    """A clock that goes on by itself or stands still, and never goes back.

    Args:
        wall: Says the real Unix time in seconds.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._ahead_s = 0.0
        self._frozen_at: float | None = None

    def now_s(self) -> float:
        """Say the present Unix time in seconds."""
        return self._wall() + self._ahead_s if self._frozen_at is None else self._frozen_at

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still."""
        return self._frozen_at is not None

    def freeze(self) -> None:
        """Stand still from now on; `advance` still moves it."""
        self._frozen_at = self.now_s()

    def thaw(self) -> None:
        """Go on from where it stands."""
        self._ahead_s, self._frozen_at = self.now_s() - self._wall(), None

    def advance(self, seconds: float) -> None:
        """Move on at once.

        Args:
            seconds: How far; not negative.

        Raises:
            ClockError: It would go back, or further than dates can be written.
        """
        if not seconds >= 0:
            raise ClockError(f"The clock cannot go back by {-seconds:g} s; give seconds of 0 or more.")
        if self.now_s() + seconds > LATEST.timestamp():
            raise ClockError(f"The clock cannot go beyond {LATEST:%Y-%m-%d}; give fewer seconds than {seconds:g}.")
        if self._frozen_at is None:
            self._ahead_s += seconds
        else:
            self._frozen_at += seconds

    def reset(self) -> None:
        """Be the wall clock again; the only way back, for who knows that nobody looks at it."""
        self._ahead_s, self._frozen_at = 0.0, None

    def shown(self) -> dict[str, Any]:
        """Show it: the moment, whether it is frozen, and how far it is ahead of the wall clock."""
        at = self.now_s()
        return {"now": moment(at), "now_s": at, "frozen": self.is_frozen, "ahead_s": at - self._wall()}

    def restore(self, shown: dict[str, Any]) -> None:
        """Go on as `shown` said; one that was not frozen has gone on in the meantime."""
        self._ahead_s = float(shown["ahead_s"])
        self._frozen_at = float(shown["now_s"]) if shown["frozen"] else None


#: The process has one clock, as it has one wall clock; only the control interface sets it.
CLOCK = Clock()


def moment(epoch_s: float) -> str:
    """Write a Unix time as Azure ML does: UTC, 7 fraction digits, ``+00:00``."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0+00:00")


def utc_now() -> datetime:
    """Say the present moment of the emulator's clock."""
    return datetime.fromtimestamp(CLOCK.now_s(), UTC)

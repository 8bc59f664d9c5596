"""What is still to happen, and when: for a program that lets many things happen by one clock."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

#: Something that happens; it says after how many seconds it wants to be tried again, or None when it is done.
Action = Callable[[], float | None]


class Agenda:
    """Things that happen at their times, counted in seconds from when this was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._order = itertools.count()
        self._ahead: list[tuple[float, int, Action]] = []

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def is_empty(self) -> bool:
        """Whether nothing is still to happen."""
        return not self._ahead

    def add(self, at_s: float, action: Action) -> None:
        """Let something happen at a time, or at once where that has passed."""
        heapq.heappush(self._ahead, (at_s, next(self._order), action))

    def happen(self) -> None:
        """Do everything whose time has come."""
        while self._ahead and self._ahead[0][0] <= self.now:
            _, _, action = heapq.heappop(self._ahead)
            again_s = action()
            if again_s is not None:
                self.add(self.now + again_s, action)

"""Kills at their times, and the starts after them."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Self

from demo.agenda import Agenda
from demo.chaos_plan import Kill
from demo.hammer import AZURITE, Hammer
from demo.show import Show


class Killing:
    """Lets kills happen by an agenda, starts again what was killed, and what has ended by itself; use it with ``with``.

    Args:
        hammer: Kills.
        agenda: Says when.
        show: Is told of each.
        is_over: Whether no task will run any more that a kill could wait for.
    """

    def __init__(self, hammer: Hammer, agenda: Agenda, show: Show, *, is_over: Callable[[], bool]) -> None:
        self.hammer = hammer
        self._agenda = agenda
        self._show = show
        self._is_over = is_over
        self._down: set[str] = set()
        self._exits = contextlib.ExitStack()
        self._pool = self._exits.enter_context(ThreadPoolExecutor(1))
        self._falling: Future[None] | None = None
        #: How often each part has ended without being killed.
        self.revived: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def expect(self, kills: Iterable[Kill]) -> None:
        """Let these kills happen."""
        for kill in kills:
            self._agenda.add(kill.at_s, partial(self._kill, kill))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is down."""
        return not self._down

    def _kill(self, kill: Kill) -> float | None:
        if kill.part == "worker":
            told = self.hammer.strike_task(whole=kill.whole, pick=kill.pick)
            if not told:
                return None if self._is_over() else 0.2
        elif kill.part in self._down or not self.hammer.is_up(kill.part):
            return 0.5
        else:
            self._down.add(kill.part)
            if kill.part == AZURITE:
                self._falling = self._pool.submit(self._let_fall, kill)
                return None
            told = self.hammer.strike(kill.part, whole=kill.whole)
            self._agenda.add(self._agenda.now + kill.down_s, partial(self._launch, kill.part))
        self._show.say(f"Killed: {told}")
        return None

    def _let_fall(self, kill: Kill) -> None:
        """Kill what takes a while to be killed and to come back, beside everything else."""
        told = self.hammer.strike(kill.part, whole=kill.whole)
        self._show.say(f"Killed: {told}")
        time.sleep(kill.down_s)
        self._launch(kill.part)

    def _launch(self, part: str) -> None:
        self.hammer.launch(part)
        self._down.discard(part)

    def revive(self) -> None:
        """Start again what has ended by itself, as whatever runs it does.

        Raises:
            StartError: What takes a while could not be killed, or did not come back.
        """
        if self._falling is not None and self._falling.done():
            self._falling.result()
        for part in self.hammer.parts:
            if part not in self._down and not self.hammer.is_up(part):
                self._show.say(f"The {part} has ended by itself; it is started again")
                self.revived[part] += 1
                self.hammer.launch(part)

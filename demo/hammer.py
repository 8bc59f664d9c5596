"""SIGKILL for one part of Airflow, for a task that runs just now, for the emulator and for Azurite."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Self

from demo.airflow import Airflow
from demo.azure import Emulator
from demo.processes import Child, signal_group, wait_until
from demo.valve import ValvedAzurite

#: How a busy worker of the LocalExecutor calls itself; Airflow's ``local_executor.py``.
_WORKER = "airflow worker -- LocalExecutor"
_IDLE = "<idle>"
AZURITE, EMULATOR = "azurite", "emulator"


class Hammer:
    """Kills, and at the end of the block also ends what its kills have left behind.

    Args:
        airflow: Whose parts.
        emulator: The part ``emulator``, where that is killed too.
        azurite: The part ``azurite``, likewise.
    """

    def __init__(
        self, airflow: Airflow, *, emulator: Emulator | None = None, azurite: ValvedAzurite | None = None
    ) -> None:
        self._airflow = airflow
        self._emulator = emulator
        self._azurite = azurite
        self._left: dict[str, int] = {}
        #: Tasks that were killed, of which the system may not know yet that they are dead.
        self._struck: set[int] = set()
        #: How often each kind was hit.
        self.killed: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for part in list(self._left):
            self.clear(part)

    @property
    def parts(self) -> tuple[str, ...]:
        """Everything that may be killed and started again."""
        mine = {EMULATOR: self._emulator, AZURITE: self._azurite}
        return (*self._airflow.parts, *(part for part, each in mine.items() if each is not None))

    def _child(self, part: str) -> Child:
        if part == EMULATOR and self._emulator is not None:
            return self._emulator.child
        if part == AZURITE and self._azurite is not None:
            return self._azurite.child
        return self._airflow.children[part]

    def is_up(self, part: str) -> bool:
        """Whether a part runs."""
        return self._child(part).is_alive

    def launch(self, part: str) -> None:
        """Start a part again; only Azurite is waited for, since its valve is opened then."""
        self.clear(part)
        if part == EMULATOR and self._emulator is not None:
            self._emulator.launch()
        elif part == AZURITE and self._azurite is not None:
            self._azurite.rise()
        else:
            self._airflow.launch(part)

    def strike(self, part: str, *, whole: bool) -> str:
        """Kill a part: all it has started, or the one process; returns what was done, in words.

        Azurite is killed when it has saved what it has acknowledged, which takes some seconds. What the emulator has
        started, which are the jobs, lives on until it is started again.
        """
        child = self._child(part)
        self.killed[part.removesuffix("-2")] += 1
        if part == AZURITE and self._azurite is not None:
            self._azurite.fall()
            return "Azurite, after all of its connections"
        if part == EMULATOR:
            child.kill()
            return "the emulator"
        if whole or child.pid is None:
            child.kill()
            return f"the {part} with all it has started"
        group = child.pid
        os.kill(group, signal.SIGKILL)
        wait_until(lambda: not child.is_alive, deadline_s=10, step_s=0.05)
        self._left[part] = group
        return f"the {part} alone"

    def clear(self, part: str) -> None:
        """Kill what a part has left that was killed alone, as systemd and containers do before they start it again.

        A scheduler's orphaned workers hold its connection to PostgreSQL open, and with it every row that it had locked.
        """
        group = self._left.pop(part, None)
        if group is not None:
            signal_group(group, signal.SIGKILL)

    def strike_task(self, *, whole: bool, pick: float) -> str:
        """Kill a task that runs: its process, or that of its worker too.

        Args:
            whole: Whether the worker dies with it.
            pick: Which of those that run, as a share of them.

        Returns:
            What was done, in words; empty when none runs.
        """
        running = [each for each in self._running() if each[1] not in self._struck]
        if not running:
            return ""
        worker, task, title = running[int(pick * len(running))]
        with contextlib.suppress(ProcessLookupError):
            if whole:
                os.kill(worker, signal.SIGKILL)
            os.kill(task, signal.SIGKILL)
            self._struck.add(task)
            self.killed["worker"] += 1
            return f"task instance {title.partition(': ')[2]}{' with its worker' if whole else ' alone'}"
        return ""

    def _running(self) -> list[tuple[int, int, str]]:
        """List the tasks that the scheduler's executor runs: worker, task process, and the worker's title."""
        scheduler = self._airflow.children["scheduler"].pid
        parents = _parents()
        found = []
        for worker in sorted(child for child, parent in parents.items() if parent == scheduler):
            title = _title(worker)
            tasks = [child for child, parent in parents.items() if parent == worker]
            if title.startswith(_WORKER) and _IDLE not in title and tasks:
                found.append((worker, min(tasks), title))
        return found


def _parents() -> dict[int, int]:
    """Every process of this machine and its parent; see proc_pid_stat(5)."""
    found = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            with contextlib.suppress(OSError):
                found[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""

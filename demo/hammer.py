"""SIGKILL for one part of Airflow, or for a task that runs just now."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Self

from demo.airflow import Airflow
from demo.processes import signal_group, wait_until

#: How a busy worker of the LocalExecutor calls itself; Airflow's ``local_executor.py``.
_WORKER = "airflow worker -- LocalExecutor"
_IDLE = "<idle>"


class Hammer:
    """Kills, and at the end of the block also ends what its kills have left behind.

    Args:
        airflow: Whose parts.
    """

    def __init__(self, airflow: Airflow) -> None:
        self._airflow = airflow
        self._left: dict[str, int] = {}
        #: How often each kind was hit.
        self.killed: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for part in list(self._left):
            self.clear(part)

    def is_up(self, part: str) -> bool:
        """Whether a part runs."""
        return self._airflow.children[part].is_alive

    def strike(self, part: str, *, whole: bool) -> str:
        """Kill a part: all it has started, or the one process; returns what was done, in words."""
        child = self._airflow.children[part]
        self.killed[part.removesuffix("-2")] += 1
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
        running = self._running()
        if not running:
            return ""
        worker, task, title = running[int(pick * len(running))]
        with contextlib.suppress(ProcessLookupError):
            if whole:
                os.kill(worker, signal.SIGKILL)
            os.kill(task, signal.SIGKILL)
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

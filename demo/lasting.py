"""A stack that stays when the command that started it has ended: `make up`, `make down`."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.azure import ROOT
from demo.processes import signal_group, wait_until
from demo.stack import Stack

FOLDER = ROOT / ".run" / "up"
RECORD = FOLDER / "stack.json"
#: Seconds after which what has not ended is killed.
GRACE_S = 10.0


def is_up() -> bool:
    """Whether something of the lasting stack runs."""
    return any(_runs(each) for each in _recorded())


def clear() -> None:
    """Remove what the last one left: its data and its logs."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)


def leave_running(stack: Stack, addresses: dict[str, str]) -> None:
    """Write down what runs, so that `down` finds it, and where it is."""
    children = [stack.azurite.child, stack.emulator.child, *stack.airflow.children.values()]
    processes = [
        {"name": child.name, "pid": child.pid, "began": _began(child.pid)}
        for child in children
        if child.pid is not None
    ]
    partial = RECORD.with_suffix(".partial")
    partial.write_text(json.dumps({"addresses": addresses, "processes": processes}, indent=2))
    partial.replace(RECORD)


def addresses() -> dict[str, str]:
    """Where the lasting stack is; empty when none was left running."""
    try:
        found: dict[str, str] = json.loads(RECORD.read_text())["addresses"]
    except FileNotFoundError:
        return {}
    return found


def down() -> list[str]:
    """End what runs; returns the names of what was ended, in the order in which it was started."""
    running = [each for each in _recorded() if _runs(each)]
    for each in reversed(running):
        signal_group(each["pid"], signal.SIGTERM)
    wait_until(lambda: not any(_group_runs(each["pid"]) for each in running), deadline_s=GRACE_S)
    for each in running:
        signal_group(each["pid"], signal.SIGKILL)
    with contextlib.suppress(FileNotFoundError):
        RECORD.unlink()
    return [each["name"] for each in running]


def _recorded() -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(RECORD.read_text())["processes"]
    except FileNotFoundError:
        return []
    return found


def _runs(each: dict[str, Any]) -> bool:
    """Whether it is still that process: a number is given to another one some day, but not with the same beginning."""
    return bool(each["began"]) and _began(each["pid"]) == each["began"]


def _began(pid: int) -> str:
    """When a process began, in the kernel's own words; empty when there is none."""
    return next((began for _, began in _living(f"{pid}")), "")


def _group_runs(group: int) -> bool:
    return any(each == group for each, _ in _living("[0-9]*"))


def _living(pattern: str) -> Iterator[tuple[int, str]]:
    """Find processes: the group of each, and when it began. Remains that nobody has buried do not count.

    Source: proc_pid_stat(5), fields 3, 5 and 22; the second field, in brackets, may hold anything.
    """
    for path in Path("/proc").glob(f"{pattern}/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                yield int(fields[2]), fields[19]

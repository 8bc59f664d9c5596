"""One server process in a session of its own, so that all it started can be ended with it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

#: Seconds a process may take to end by itself before it is killed.
GRACE_S = 10.0
#: Seconds between two looks while waiting.
LOOK_EVERY_S = 0.1


class StartError(RuntimeError):
    """A part of the stack did not become ready; the message ends with the tail of its log."""


#: Below the ports that Linux gives to whoever connects to something, so that none of those is in the way.
PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Find TCP ports of 127.0.0.1 that nobody listens on; drawn at random, for others may look at the same moment."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise StartError(f"Of the ports {PORTS.start} to {PORTS.stop} there are not {count} free ones.")


def own_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without settings of another Airflow or emulator, and with `extra`."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AZUREML", "AZURITE"))
    }
    return {**inherited, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", **extra}


@attrs.define(kw_only=True)
class Child:
    """A process with its log; start and end it as often as you like.

    Attributes:
        name: How errors call it.
        command: The program and its arguments.
        environment: Its whole environment.
        log: Where stdout and stderr are appended to.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, which is its group's too; None when it was not started or was ended."""
        return self._process.pid if self._process else None

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; it is not ready yet."""
        if self.is_alive:
            raise StartError(f"{self.name} runs already as process {self.pid}; end it first.")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command),
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Signal the whole process group and wait until its leader has ended.

        A leader that is still there after `GRACE_S` seconds is killed, and what is left of its group with it.
        """
        if self._process is None:
            return
        process, self._process = self._process, None
        signal_group(process.pid, sig)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            signal_group(process.pid, signal.SIGKILL)
            process.wait()
        signal_group(process.pid, signal.SIGKILL)

    def ask_to_end(self) -> None:
        """Send SIGTERM and do not wait; `kill` afterwards waits and cleans up."""
        if self._process is not None:
            signal_group(self._process.pid, signal.SIGTERM)

    def wait_until(self, is_ready: Callable[[], bool], *, deadline_s: float, step_s: float = LOOK_EVERY_S) -> None:
        """Look until it is ready.

        Raises:
            StartError: It ended first, or `deadline_s` seconds passed.
        """
        end = time.monotonic() + deadline_s
        while not is_ready():
            if not self.is_alive:
                raise StartError(f"{self.name} ended while it was starting.\n{self.tail()}")
            if time.monotonic() > end:
                raise StartError(f"{self.name} is not ready after {deadline_s:.0f} s.\n{self.tail()}")
            time.sleep(step_s)

    def tail(self, characters: int = 2000) -> str:
        """The end of the log, headed by its place."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- the end of {self.log}\n{text[-characters:]}"


def signal_group(group: int, sig: signal.Signals) -> None:
    """Signal a process group; one that is gone already is fine."""
    try:
        os.killpg(group, sig)
    except (ProcessLookupError, PermissionError):
        return


def wait_until(condition: Callable[[], bool], *, deadline_s: float, step_s: float = 0.2) -> bool:
    """Look until the condition holds; False when it still does not after `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(step_s)
    return True

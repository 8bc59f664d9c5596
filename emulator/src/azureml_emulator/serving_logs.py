"""The logs of an online deployment: one for what its processes print, one for how its files came."""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from pathlib import Path

import attrs

from azureml_emulator.store import now

#: The containers of a deployment that have logs, by Azure's names.
SERVER, INITIALIZER = "InferenceServer", "StorageInitializer"
#: How the emulator's own lines begin.
_OWN = "[emulator]"
_LAST_LINES, _LONGEST_LINE = 200, 500


@attrs.frozen
class ServingLog:
    """The logs of one deployment."""

    state_dir: Path
    deployment_id: str

    def path(self, container: str = SERVER) -> Path:
        """Say where a container's log is; its folder is there."""
        name = hashlib.sha256(f"{self.deployment_id.lower()}\n{container}".encode()).hexdigest()[:32]
        folder = self.state_dir / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"online-{name}.txt"

    def clear(self) -> None:
        """Forget what a deployment of the same name said before."""
        for container in (SERVER, INITIALIZER):
            self.path(container).unlink(missing_ok=True)

    def say(self, words: str, container: str = SERVER) -> None:
        """Add a line of the emulator's own."""
        with self.path(container).open("a") as file:
            file.write(f"{_OWN} {now()} {words}\n")

    def tail(self, container: str = SERVER, *, lines: int) -> str:
        """Read the last lines; empty when there is no log."""
        with contextlib.suppress(FileNotFoundError), self.path(container).open(errors="replace") as file:
            return "".join(deque(file, maxlen=lines))
        return ""

    def last_words(self) -> str:
        """Find the last line that a process printed; empty for none."""
        lines = self.tail(lines=_LAST_LINES).splitlines()
        said = [line for line in lines if line.strip() and not line.startswith(_OWN)]
        return said[-1][:_LONGEST_LINE] if said else ""

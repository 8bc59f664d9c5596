"""The log of a job: a file here, for the pages, and an append blob where Azure ML has it, for the clients."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from azure.core.exceptions import AzureError

from azureml_emulator.storage import BlobPlace, Storage
from azureml_emulator.store import Run

log = logging.getLogger(__name__)

#: One look ships at most this much, so that a job that floods its log cannot fill the memory.
SHIPMENT_BYTES = 8 * 1024 * 1024
#: How much of a log an error shows.
TAIL_LINES = 20
TAIL_CHARACTERS = 4000


def log_path(state_dir: Path, workspace: str, run: str) -> Path:
    """Say where the local copy of a run's log is; workspace names are compared lower-cased."""
    name = hashlib.sha256(f"{workspace.lower()}\n{run}".encode()).hexdigest()[:32]
    return state_dir / "logs" / f"{name}.txt"


def log_name(run: Run) -> str:
    """Say what a run's log is called among its artifacts."""
    if run.kind == "Sweep":  # source: azure-ai-ml 1.35, which streams this one
        return "azureml-logs/hyperdrive.txt"
    is_pipeline = run.kind == "Pipeline" or run.spec.get("type") == "pipeline"
    return "logs/azureml/executionlogs.txt" if is_pipeline else "user_logs/std_log.txt"


def tail(text: str) -> str:
    """Cut out the last lines of a log, bounded."""
    return "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])[-TAIL_CHARACTERS:]


class JobLog:
    """A log that grows: whoever writes appends to `path`, and `ship` brings what is new to the blob."""

    def __init__(self, path: Path, storage: Storage, place: BlobPlace) -> None:
        self.path = path
        self._storage = storage
        self._place = place
        self._shipped = 0
        self._is_started = False

    async def ship(self) -> None:
        """Append to the blob what was written since the last time."""
        if not self._is_started:
            await self._storage.start_log(self._place)
            self._is_started = True
        while data := self._next():
            await self._storage.append(self._place, data)
            self._shipped += len(data)

    async def try_ship(self) -> None:
        """Ship; storage that does not answer now is no reason to end a job, and the next time brings it all."""
        try:
            await self.ship()
        except AzureError as error:
            log.warning("The log %s cannot be brought to %s now: %s", self.path.name, self._place, error)

    def open(self) -> None:
        """Start with an empty file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")

    def write(self, line: str) -> None:
        """Add a line; `ship` brings it to the blob."""
        with self.path.open("a") as file:
            file.write(f"{line}\n")

    def tail(self) -> str:
        """Cut out the last lines."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - 4 * TAIL_CHARACTERS))
            return tail(file.read().decode(errors="replace"))

    def _next(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self._shipped)
            return file.read(SHIPMENT_BYTES)

"""Azurite and the emulator: Azure's half of the stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx

from demo.processes import Child, StartError, free_ports, own_environment

ROOT = Path(__file__).resolve().parent.parent
AZURITE_PROGRAM = ROOT / "tools/azurite/node_modules/azurite/dist/src/azurite.js"

#: Azurite's public account; good for nothing else.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
RESOURCE_GROUP = "local"
WORKSPACE = "local"
WORKSPACE_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
    f"/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
)
ARRIVALS_QUEUE = "arrivals"
INCOMING = "incoming"


class Azurite:
    """Azure Storage on this machine; a restart keeps its ports and its blobs.

    Args:
        folder: Where its data and its log go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blob_port, self.queue_port, self.table_port = free_ports(3)
        command = ["node", str(AZURITE_PROGRAM), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        command += ["-l", str(folder / "data"), "--blobPort", str(self.blob_port)]
        command += ["--queuePort", str(self.queue_port), "--tablePort", str(self.table_port)]
        self.child = Child(name="Azurite", command=command, environment=own_environment({}), log=folder / "azurite.log")

    @property
    def blob_url(self) -> str:
        """The blob service, past the emulator: what is written here causes no event."""
        return f"http://127.0.0.1:{self.blob_port}"

    @property
    def queue_url(self) -> str:
        """The queue service."""
        return f"http://127.0.0.1:{self.queue_port}"

    def start(self) -> Self:
        """Start it and wait until both services answer.

        Raises:
            StartError: It is not installed, or does not become ready.
        """
        if not AZURITE_PROGRAM.exists():
            raise StartError(f"Azurite is not installed at {AZURITE_PROGRAM.parent}; run `make azurite`.")
        self.child.start()
        self.child.wait_until(lambda: _answers(self.blob_url) and _answers(self.queue_url), deadline_s=60)
        return self

    def stop(self) -> None:
        """End it."""
        self.child.kill(signal.SIGTERM)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


class Emulator:
    """The workspace on this machine; a restart keeps its ports and its state.

    Args:
        folder: Where its state and its log go.
        azurite: Where its blobs are; it has to be started first.
        event_queues: What hears of which blobs, each ``QUEUE[:container[/prefix]]``.
        arguments: More options of ``azureml-emulator serve``.
    """

    PORTS = ("http", "tls", "proxy", "blob", "queue")

    def __init__(
        self,
        folder: Path,
        azurite: Azurite,
        *,
        event_queues: Sequence[str] = (f"{ARRIVALS_QUEUE}:{INCOMING}",),
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        command = [sys.executable, "-m", "azureml_emulator", "serve", "--state-dir", str(self.state_dir)]
        for name, port in zip(self.PORTS, free_ports(len(self.PORTS)), strict=True):
            command += [f"--{name}-port", str(port)]
        command += ["--azurite-blob", azurite.blob_url, "--azurite-queue", azurite.queue_url]
        for queue in event_queues:
            command += ["--event-queue", queue]
        self.child = Child(
            name="The emulator",
            command=[*command, *arguments],
            environment=own_environment({}),
            log=folder / "emulator.log",
        )

    @property
    def addresses(self) -> dict[str, str]:
        """The URLs it serves: http, tls, proxy, blob, queue, without a trailing slash."""
        found: dict[str, Any] = json.loads((self.state_dir / "addresses.json").read_text())
        return {name: str(found[name]) for name in self.PORTS}

    @property
    def http(self) -> str:
        """The control plane over plain http."""
        return self.addresses["http"]

    @property
    def blob(self) -> str:
        """The blob service whose writes cause events."""
        return self.addresses["blob"]

    @property
    def queue(self) -> str:
        """The queue service."""
        return self.addresses["queue"]

    @property
    def connection_string(self) -> str:
        """For azure-storage-blob and azure-storage-queue, through the emulator."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint={self.blob}/{ACCOUNT};QueueEndpoint={self.queue}/{ACCOUNT};"
        )

    @property
    def client_environment(self) -> dict[str, str]:
        """What `azureml-emulator env` prints, over the caller's environment.

        With it an unmodified client that names Azure's hosts reaches this emulator, and nothing reaches Azure.
        """
        command = [
            sys.executable,
            "-m",
            "azureml_emulator",
            "env",
            "--state-dir",
            str(self.state_dir),
            "--format",
            "json",
        ]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        settings: dict[str, str] = json.loads(printed)
        return {**os.environ, **settings}

    def start(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            StartError: It does not become ready.
        """
        self.launch()
        self.child.wait_until(self._is_ready, deadline_s=60)
        return self

    def launch(self) -> None:
        """Start it and do not wait."""
        (self.state_dir / "addresses.json").unlink(missing_ok=True)
        self.child.start()

    def _is_ready(self) -> bool:
        return (self.state_dir / "addresses.json").exists() and _answers(self.http)

    def stop(self) -> None:
        """End it; jobs that run are failed with that reason."""
        self.child.kill(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self.child.kill(signal.SIGKILL)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return True

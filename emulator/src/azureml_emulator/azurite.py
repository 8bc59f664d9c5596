"""Azurite, started beside the emulator where nobody else has started one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from azureml_emulator.settings import DEV_ACCOUNT, SettingsError

#: How long it may take until it answers, and to end by itself, in seconds.
PATIENCE_S, GRACE_S = 60.0, 10.0
_LOOK_S = 0.05


@attrs.frozen
class Addresses:
    """Where an Azurite answers, without a trailing slash."""

    blob: str
    queue: str


def program(named: str = "") -> Sequence[str]:
    """Say how Azurite is started.

    Args:
        named: The command, or the path of its ``azurite.js``; by default ``azurite`` of the PATH.

    Raises:
        SettingsError: It is not there, or is JavaScript and there is no Node.js.
    """
    if named.endswith(".js"):
        node = shutil.which("node")
        if node is None:
            raise SettingsError(f"{named} needs Node.js, and there is no node on the PATH.")
        if not Path(named).is_file():
            raise SettingsError(f"There is no {named}.")
        return [node, named]
    found = shutil.which(named or "azurite")
    if found is None:
        raise SettingsError(
            f"There is no {named or 'azurite'} on the PATH: install it with `npm install -g azurite`, or give the"
            " address of one that runs, with --azurite-blob and --azurite-queue."
        )
    return [found]


@contextlib.contextmanager
def running(folder: Path, *, named: str = "") -> Iterator[Addresses]:
    """Run an Azurite while the block lasts; its blobs and its log stay in a folder.

    Args:
        folder: Where they are kept.
        named: As in `program`.

    Raises:
        SettingsError: It is not installed, or does not answer; the message ends with what it said.
    """
    command = [*program(named), "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", str(folder)]
    blob, queue, table = _free_ports(3)
    command += ["--blobPort", str(blob), "--queuePort", str(queue), "--tablePort", str(table)]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / "azurite.log"
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603  # the program that the person named
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        found = Addresses(blob=f"http://127.0.0.1:{blob}", queue=f"http://127.0.0.1:{queue}")
        _wait(process, found, log)
        yield found
    finally:
        _end(process)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def _wait(process: subprocess.Popen[bytes], addresses: Addresses, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not all(_answers(url) for url in (addresses.blob, addresses.queue)):
        if process.poll() is not None or time.monotonic() > deadline:
            said = " ".join(log.read_text(errors="replace")[-1000:].split())
            became = "does not answer" if process.poll() is None else f"ended with {process.returncode}"
            raise SettingsError(f"Azurite {became}. It said: {said}")
        time.sleep(_LOOK_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/{DEV_ACCOUNT}", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it; its last writes are on the disk when it has ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

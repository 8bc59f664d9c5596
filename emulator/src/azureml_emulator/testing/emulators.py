"""Emulators for tests: in a thread of this process, or as a process of their own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import attrs

from azureml_emulator import azurite, cli
from azureml_emulator.authority import AUTHORITY
from azureml_emulator.clock import CLOCK
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY, Addresses, Settings, addresses_path
from azureml_emulator.testing.control import Control
from azureml_emulator.testing.workspaces import SUBSCRIPTION, Workspace, make_workspace

#: How long it may take until it is ready, and to end, in seconds.
PATIENCE_S = 60.0
_LOOK_S = 0.01
_THREAD = "azureml-emulator"


@attrs.frozen
class Emulator:
    """A running emulator.

    Attributes:
        state_dir: Its state.
        addresses: Where it answers.
    """

    state_dir: Path
    addresses: Addresses

    @property
    def control(self) -> Control:
        """A hand on its clock, its jobs and its faults."""
        return Control(self.addresses.http)

    @property
    def storage(self) -> str:
        """The connection string of its storage account; what is written through it is told of as a new blob."""
        account, addresses = DEV_ACCOUNT, self.addresses
        return (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={DEV_ACCOUNT_KEY};"
            f"BlobEndpoint={addresses.blob}/{account};QueueEndpoint={addresses.queue}/{account};"
        )

    def workspace(self, name: str = "", *, group: str = "tests", subscription: str = SUBSCRIPTION) -> Workspace:
        """Make a workspace, or find the one of that name; without a name, one that nobody has."""
        found = name or f"test-{uuid.uuid4().hex[:12]}"
        return make_workspace(self.state_dir, self.addresses, f"{subscription}/{group}/{found}")


@contextlib.contextmanager
def emulator(
    *,
    folder: Path | None = None,
    azurite_blob: str = "",
    azurite_queue: str = "",
    azurite_program: str = "",
    own_process: bool = False,
    options: Sequence[str] = (),
) -> Iterator[Emulator]:
    """Run an emulator with its control interface while the block lasts, and an Azurite unless one is named.

    In a thread, which is the default, it starts in a fraction of a second. It has its clock and its tenant in common
    with every other one of the same process then; the last of them to end leaves neither behind.

    Args:
        folder: Where its state and its blobs are kept; by default a folder that is removed at the end.
        azurite_blob: The address of an Azurite's blob service that runs already, with ``azurite_queue``.
        azurite_queue: The address of its queue service.
        azurite_program: As `azureml_emulator.azurite.program` takes it.
        own_process: Run it as a process of its own, as users do.
        options: More options of ``azureml-emulator serve``.

    Raises:
        SettingsError: Something is wrong with the options, or Azurite cannot be started.
    """
    with contextlib.ExitStack() as stack:
        at = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        if not azurite_blob:
            storage = stack.enter_context(azurite.running(at / "azurite", named=azurite_program))
            azurite_blob, azurite_queue = storage.blob, storage.queue
        state = at / "state"
        given = ["--state-dir", str(state), "--azurite-blob", azurite_blob, "--azurite-queue", azurite_queue]
        given += ["--control", *options]
        serving = _process(given, state) if own_process else _thread(given)
        yield Emulator(state.absolute(), stack.enter_context(serving))


@contextlib.contextmanager
def _thread(given: Sequence[str]) -> Iterator[Addresses]:
    from azureml_emulator.server import run  # noqa: PLC0415  # half a second that `own_process` need not wait for

    settings = cli.settings(["serve", *given])
    begun: Future[tuple[Addresses, Callable[[], object]]] = Future()

    def _serve(settings: Settings) -> None:
        try:
            run(settings, ready=lambda addresses, end: begun.set_result((addresses, end)))
        except BaseException as error:
            if begun.done():
                raise
            begun.set_exception(error)

    thread = threading.Thread(target=_serve, args=(settings,), name=_THREAD, daemon=True)
    thread.start()
    addresses, end = begun.result(PATIENCE_S)
    try:
        yield addresses
    finally:
        end()
        thread.join(PATIENCE_S)
        if all(other.name != _THREAD for other in threading.enumerate()):
            CLOCK.reset()
            AUTHORITY.release()


@contextlib.contextmanager
def _process(given: Sequence[str], state: Path) -> Iterator[Addresses]:
    state.mkdir(parents=True, exist_ok=True)
    log = state / "log.txt"
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603  # ourselves
            [sys.executable, "-m", "azureml_emulator", *given],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not addresses_path(state).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The emulator is not ready. It said: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(_LOOK_S)
        yield Addresses.read(state)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)

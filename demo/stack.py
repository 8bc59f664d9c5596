"""The whole on one machine: Azurite, the emulator and Airflow's four parts, each as real processes.

    with Stack(Path(".run/mine")) as stack:
        stack.airflow.get("/api/v2/dags")

Every part has a folder of its own (state and logs), free ports of 127.0.0.1 and a process group of its own, and
is ended when the block is left, however it is left.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Self

import attrs

from demo.airflow import Airflow, default_template
from demo.azure import (
    ACCOUNT,
    ARRIVALS_QUEUE,
    INCOMING,
    RESOURCE_GROUP,
    ROOT,
    SUBSCRIPTION,
    WORKSPACE,
    Azurite,
    Emulator,
)
from demo.processes import StartError
from demo.valve import ValvedAzurite

__all__ = ["Airflow", "Azurite", "Emulator", "Stack", "StartError", "airflow_environment"]


@attrs.define
class Stack:
    """Azurite, the emulator and Airflow together; as a context manager it ends them all.

    While the block lasts, SIGTERM ends the program as Ctrl-C does, so that nothing is left running.

    Attributes:
        folder: Where everything of this stack goes.
        dags: The folder with the DAG files.
        db: SQLAlchemy's address of Airflow's database; empty for SQLite.
        event_queues: See `Emulator`.
        emulator_arguments: Likewise.
        triggerers: See `Airflow`.
        environment: More settings of Airflow's.
        template: See `Airflow.migrate`.
        valve: Whether a valve stands before Azurite, so that it can be killed without forgetting; see `demo.valve`.
    """

    folder: Path
    dags: Path = ROOT / "dags"
    db: str = ""
    event_queues: Sequence[str] = (f"{ARRIVALS_QUEUE}:{INCOMING}",)
    emulator_arguments: Sequence[str] = ()
    triggerers: int = 1
    environment: Mapping[str, str] = attrs.field(factory=dict)
    template: Path | None = attrs.field(factory=default_template)
    valve: bool = False
    azurite: Azurite = attrs.field(init=False)
    emulator: Emulator = attrs.field(init=False)
    airflow: Airflow = attrs.field(init=False)
    _owned: bool = attrs.field(init=False, default=True)
    _exits: contextlib.ExitStack = attrs.field(init=False, factory=contextlib.ExitStack)

    def __attrs_post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.azurite = (ValvedAzurite if self.valve else Azurite)(self.folder / "azurite")
        self.emulator = Emulator(
            self.folder / "emulator",
            self.azurite,
            event_queues=self.event_queues,
            arguments=self.emulator_arguments,
        )
        self.airflow = Airflow(
            self.folder / "airflow",
            dags=self.dags,
            environment=self.environment,
            db=self.db,
            triggerers=self.triggerers,
        )

    @property
    def valved(self) -> ValvedAzurite:
        """Azurite with its valve.

        Raises:
            StartError: This stack has none.
        """
        if not isinstance(self.azurite, ValvedAzurite):
            raise StartError("This stack has no valve before Azurite; make it with `valve=True`.")
        return self.azurite

    def start(self) -> Self:
        """Start all three; Airflow's database is made while the others start.

        Raises:
            StartError: A part did not become ready; what was started before it is still to be ended with `stop`.
        """
        with ThreadPoolExecutor(1) as pool:
            migrated = pool.submit(self.airflow.migrate, self.template)
            self.start_azure()
            migrated.result()
        return self.start_airflow()

    def start_azure(self) -> Self:
        """Start Azurite and the emulator alone.

        Raises:
            StartError: One of them did not become ready.
        """
        self.azurite.start()
        self.emulator.start()
        return self

    def start_airflow(self) -> Self:
        """Start Airflow, told of the emulator, which has to be started.

        Raises:
            StartError: A part did not become ready.
        """
        self.airflow.tell(airflow_environment(self.emulator))
        self.airflow.start()
        return self

    def stop(self) -> None:
        """End all three, Airflow first."""
        self.airflow.stop()
        self.emulator.stop()
        self.azurite.stop()

    def check(self) -> None:
        """See that everything still runs.

        Raises:
            StartError: Something that was started has ended by itself; the message ends with its log.
        """
        for child in (self.azurite.child, self.emulator.child, *self.airflow.children.values()):
            if child.pid is not None and not child.is_alive:
                raise StartError(f"{child.name} has ended by itself.\n{child.tail()}")

    def disown(self) -> None:
        """Let everything run on when the block that owns it is left."""
        self._owned = False

    @contextlib.contextmanager
    def owned(self) -> Iterator[Self]:
        """Answer for whatever of it is started in this block: all is ended when the block is left, by signals too."""
        mine = threading.current_thread() is threading.main_thread()
        before = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, signal.SIGTERM)} if mine else {}
        if mine:
            signal.signal(signal.SIGTERM, _end_by_signal)
        try:
            yield self
        finally:
            for sig in before:
                # Whoever is impatient must not leave half of it running.
                signal.signal(sig, signal.SIG_IGN)
            if self._owned:
                self.stop()
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            exits.enter_context(self.owned())
            self.start()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()


def airflow_environment(emulator: Emulator) -> dict[str, str]:
    """What Airflow's parts need to find the emulator, its queue and its blobs."""
    connection = {
        "conn_type": "azureml",
        "extra": {
            "subscription_id": SUBSCRIPTION,
            "resource_group": RESOURCE_GROUP,
            "workspace": WORKSPACE,
            "authentication": "emulator",
            "endpoint": emulator.http,
        },
    }
    return {
        "AIRFLOW_CONN_AZUREML_DEFAULT": json.dumps(connection),
        "AZUREML_ARRIVALS_QUEUE_URL": f"{emulator.queue}/{ACCOUNT}/{ARRIVALS_QUEUE}",
        "AZUREML_ARRIVALS_ACCOUNT_URL": f"{emulator.blob}/{ACCOUNT}",
        "AZUREML_BLOB_URL": f"{emulator.blob}/{ACCOUNT}",
    }


def _end_by_signal(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)

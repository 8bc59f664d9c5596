"""The real servers, one of each for a whole test run; tests that kill things start their own with `demo.stack`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from demo.airflow import default_template
from demo.stack import Airflow, Azurite, Emulator, airflow_environment

#: Folders whose tests share a running Airflow, which is heavy.
OF_AIRFLOW = frozenset({"acceptance", "airflow"})


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist says no types
    """Keeps the tests of a file in one process, and those of a running Airflow in one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.split("/")[1]
        return folder if folder in OF_AIRFLOW else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """Distribute tests where they run in several processes."""
    return _ByFile(config, log)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Airflow's triggerer, aiohttp and the emulator know one event loop only."""
    return "asyncio"


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A running Azurite."""
    with Azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Emulator]:
    """A running emulator, with the queue `arrivals` told of blobs in the container `incoming`.

    The queue `workspace-events` is told of models that are registered and of jobs that are completed.
    """
    told = ("--ml-event-queue", "workspace-events:ModelRegistered,RunCompleted")
    with Emulator(tmp_path_factory.mktemp("emulator"), azurite, arguments=told) as server:
        yield server


@pytest.fixture(scope="session")
def dags_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tests put the DAG files of the running Airflow."""
    return tmp_path_factory.mktemp("dags")


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, dags_folder: Path) -> Iterator[Airflow]:
    """A running Airflow that knows the emulator as `azureml_default`; its DAG folder is `dags_folder`."""
    # Parsing many files again and again would cost a third of a core; one that has changed is parsed at once.
    environment = {**airflow_environment(emulator), "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15"}
    server = Airflow(tmp_path_factory.mktemp("airflow"), dags=dags_folder, environment=environment)
    server.migrate(default_template())
    with server:
        yield server

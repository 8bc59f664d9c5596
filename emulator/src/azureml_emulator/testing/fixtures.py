"""Fixtures for pytest: put ``pytest_plugins = ["azureml_emulator.testing.fixtures"]`` into your ``conftest.py``.

One emulator serves a whole test run, in a thread; each test that asks has a workspace of its own. Azurite is started
too, unless ``AZURITE_BLOB`` and ``AZURITE_QUEUE`` are the addresses of one that runs; ``AZURITE`` names its program
where ``azurite`` is not on the PATH.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from azureml_emulator.testing.emulators import Emulator, emulator

if TYPE_CHECKING:
    from azureml_emulator.testing.control import Control
    from azureml_emulator.testing.workspaces import Workspace


@pytest.fixture(scope="session")
def azureml_emulator() -> Iterator[Emulator]:
    """The emulator of this test run."""
    told = {name: os.environ.get(name.upper(), "") for name in ("azurite_blob", "azurite_queue")}
    with emulator(azurite_program=os.environ.get("AZURITE", ""), **told) as running:  # type: ignore[arg-type]  # texts
        yield running


@pytest.fixture
def azureml_workspace(azureml_emulator: Emulator) -> Iterator[Workspace]:
    """A workspace of this test alone, in reach of the clients of this process."""
    made = azureml_emulator.workspace()
    with made.in_reach():
        yield made


@pytest.fixture
def azureml_control(azureml_emulator: Emulator) -> Iterator[Control]:
    """A hand on the clock, the jobs and the faults; no fault is left behind, and the clock goes on."""
    control = azureml_emulator.control
    yield control
    control.put("faults", [])
    control.clock.go_on()

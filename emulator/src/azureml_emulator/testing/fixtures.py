"""Fixtures for pytest: put ``pytest_plugins = ["azureml_emulator.testing.fixtures"]`` into your ``conftest.py``.

One emulator serves a whole test run, in a thread; each test that asks has a workspace of its own. Azurite is started
too, unless ``AZURITE_BLOB`` and ``AZURITE_QUEUE`` are the addresses of one that runs; ``AZURITE`` names its program
where ``azurite`` is not on the PATH.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from azureml_emulator.testing.emulators import Emulator, emulator

if TYPE_CHECKING:
    from azureml_emulator.testing.control import Control
    from azureml_emulator.testing.workspaces import Workspace


#: What a test may set by the control interface: faults of each kind, and what holds instead of what is.
_FAULTS = ("faults", "events", "online")
_SETTINGS = ("tokens", "quotas", "permissions", "rights", "computes")


@pytest.fixture(scope="session")
def azureml_emulator_options() -> Sequence[str]:
    """More options of ``azureml-emulator serve``; to be overridden."""
    return ()


@pytest.fixture(scope="session")
def azureml_emulator(azureml_emulator_options: Sequence[str]) -> Iterator[Emulator]:
    """The emulator of this test run."""
    told = {name: os.environ.get(name.upper(), "") for name in ("azurite_blob", "azurite_queue")}
    program, options = os.environ.get("AZURITE", ""), tuple(azureml_emulator_options)
    with emulator(azurite_program=program, options=options, **told) as running:  # type: ignore[arg-type]  # texts
        yield running


@pytest.fixture
def azureml_workspace(azureml_emulator: Emulator) -> Iterator[Workspace]:
    """A workspace of this test alone, in reach of the clients of this process."""
    made = azureml_emulator.workspace()
    with made.in_reach():
        yield made


@pytest.fixture
def azureml_control(azureml_emulator: Emulator) -> Iterator[Control]:
    """A hand on the clock, the jobs and the faults; no fault and no setting is left behind, and the clock goes on."""
    control = azureml_emulator.control
    before = {what: control.get(what) for what in _SETTINGS}
    yield control
    for what in _FAULTS:
        control.put(what, [])
    for what, said in before.items():
        control.put(what, said)
    control.clock.go_on()

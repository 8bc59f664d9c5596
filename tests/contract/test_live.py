"""``--live``: the emulator on TCP stands in for a real workspace, which is known by the environment alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.contract.conftest import REPOSITORY, Emulator
from tests.contract.live import VARIABLES, Live

#: How many tests of a file are asked of it.
FILES = {"test_mgmt.py": 29, "test_connections.py": 2}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--live", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.mark.timeout(300)
def test_what_a_real_workspace_can_be_asked_is_asked_of_the_one_that_is_named(emulator: Emulator) -> None:
    environment = {**emulator.env, **dict(zip(VARIABLES, emulator.workspace.split("/"), strict=True))}

    done = run(environment, *(f"tests/contract/{name}" for name in FILES))

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert f"{sum(FILES.values())} passed" in done.stdout
    assert "needs the emulator, and --live asks a workspace that is there already" in done.stdout


def test_without_a_name_nothing_is_asked() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}

    done = run(environment, "tests/contract/test_mgmt.py", "-k", "pages_that_miss")

    assert done.returncode != 0
    assert f"--live asks the workspace that {', '.join(VARIABLES)} name; set AZURE_SUBSCRIPTION_ID." in done.stdout


def test_each_telling_makes_names_of_its_own() -> None:
    named = dict.fromkeys(VARIABLES, "x")

    assert Live.of_environment(named).mark != Live.of_environment(named).mark
    assert Live.of_environment(named).workspace == "x/x/x"

"""The steps as Azure ML runs them: a process in the code's folder, with arguments and folders."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "pipelines/diabetes/src"
sys.path.insert(0, str(SOURCE))

Step = Callable[..., subprocess.CompletedProcess[str]]


def run_step(name: str, **arguments: object) -> subprocess.CompletedProcess[str]:
    given = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "AZUREML_"))}
    return subprocess.run(
        [sys.executable, f"{name}.py", *given],
        cwd=SOURCE,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="session")
def step() -> Step:
    """Run a step to its end; its exit code is for the test to look at."""
    return run_step


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared/, model/ and evaluation/, made by the steps from all of scikit-learn's data."""
    folder = tmp_path_factory.mktemp("trained")
    steps = [
        run_step("prepare", prepared=folder / "prepared"),
        run_step("train", prepared=folder / "prepared", model=folder / "model"),
        run_step("evaluate", prepared=folder / "prepared", model=folder / "model", evaluation=folder / "evaluation"),
    ]
    assert [done.returncode for done in steps] == [0, 0, 0], [done.stderr for done in steps]
    return folder

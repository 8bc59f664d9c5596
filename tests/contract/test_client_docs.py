"""The page on clients of the emulator: each block is a program that runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import REPOSITORY, Emulator
from tests.contract.live import VARIABLES, Live

PAGE = REPOSITORY / "docs/how-to/emulator-clients.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
PROGRAMS = {
    section.partition("\n")[0]: block
    for section in SECTIONS
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
}
#: How the last line that each program prints looks.
SAYS = {
    "azure-ai-ml": "True",
    "azure-identity": "2",
    "azure-mgmt-machinelearningservices": "workspaceartifactstore",
    "MLflow": "{'rmse': 54.1}",
    "azure-storage-blob, azure-storage-queue": "['a.csv']",
    "REST": "",  # the workspace's name
}
#: Those that need nothing which only the emulator has.
ANYWHERE = {"MLflow", "REST", "azure-mgmt-machinelearningservices"}


def test_every_program_of_the_page_is_run_here() -> None:
    assert set(PROGRAMS) == set(SAYS)


@pytest.mark.parametrize(
    "client", [pytest.param(name, marks=pytest.mark.live if name in ANYWHERE else ()) for name in sorted(SAYS)]
)
def test_a_client_reaches_the_emulator_as_the_page_says(service: Emulator | Live, client: str, tmp_path: Path) -> None:
    names = service.workspace.split("/")
    environment = {**service.env, **dict(zip(VARIABLES, names, strict=True))}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS[client]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    said = [line for line in done.stdout.splitlines() if not line.startswith(("🏃", "🧪"))]
    assert said[-1] == (SAYS[client] or names[2])

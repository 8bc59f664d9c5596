"""The page on clients of the emulator: each block is a program that runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import REPOSITORY, WORKSPACE, Emulator

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
    "MLflow": "{'rmse': 54.1}",
    "azure-storage-blob, azure-storage-queue": "['a.csv']",
    "REST": WORKSPACE.split("/")[2],
}


def test_every_program_of_the_page_is_run_here() -> None:
    assert set(PROGRAMS) == set(SAYS)


@pytest.mark.parametrize("client", sorted(SAYS))
def test_a_client_reaches_the_emulator_as_the_page_says(emulator: Emulator, client: str, tmp_path: Path) -> None:
    named = dict(zip(("SUBSCRIPTION_ID", "RESOURCE_GROUP", "ML_WORKSPACE"), WORKSPACE.split("/"), strict=True))
    environment = {**emulator.env, **{f"AZURE_{name}": value for name, value in named.items()}}

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
    assert said[-1] == SAYS[client]

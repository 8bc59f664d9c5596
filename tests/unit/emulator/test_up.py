"""`azureml-emulator up`: one command from nothing to a workspace."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from azureml_emulator.cli import main
from demo.azure import AZURITE_PROGRAM, ROOT
from demo.processes import wait_until


@contextlib.contextmanager
def _up(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start it, and read what it prints until it is ready."""
    command = [sys.executable, "-m", "azureml_emulator", "up", "--state-dir", str(folder)]
    with (folder.parent / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, "--azurite", str(AZURITE_PROGRAM)], stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, (folder.parent / "log.txt").read_text()
            said += line
        yield process, said
    finally:
        process.kill()
        process.communicate()


def _processes(mark: str) -> set[int]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "cmdline").read_bytes().decode(errors="replace"):
                found.add(int(process.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_starts_azurite_too_prints_the_settings_and_ends_both(tmp_path: Path, number: signal.Signals) -> None:
    with _up(tmp_path / "state") as (process, said):
        page = re.search(r"http://127\.0\.0\.1:\d+/ui", said)
        assert page is not None
        assert httpx.get(page.group(), timeout=20, trust_env=False).status_code == 200
        exports = dict(shlex.split(line)[1].split("=", 1) for line in said.splitlines() if line.startswith("  export "))
        assert exports["HTTPS_PROXY"].startswith("http://127.0.0.1:")
        assert Path(exports["REQUESTS_CA_BUNDLE"]).exists()
        assert len(_processes(str(tmp_path / "state" / "azurite"))) == 1

        os.kill(process.pid, number)

        process.wait(30)
        assert wait_until(lambda: not _processes(str(tmp_path / "state" / "azurite")), deadline_s=20)


def test_what_up_prints_is_all_that_the_program_of_the_readme_needs(tmp_path: Path) -> None:
    readme = (ROOT / "emulator/README.md").read_text()
    program = re.search(r"python - <<'PYTHON'\n(.*?)\nPYTHON\n", readme, re.DOTALL)
    assert program is not None
    with _up(tmp_path / "state") as (_, said):
        exports = [line.strip() for line in said.splitlines() if line.startswith("  export ")]
        copied = "\n".join([*exports, f"exec {sys.executable} -c {shlex.quote(program.group(1))}"])
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(["/bin/bash", "-c", copied], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"^hello$", done.stdout, re.MULTILINE)
    assert "Web View: https://ml.azure.com/runs/" in done.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--azurite", "no-such-azurite"], r"There is no no-such-azurite on the PATH: install it with `npm install"),
        (["--azurite", "/nowhere/azurite.js"], r"There is no /nowhere/azurite\.js\."),
        (["--azurite-blob", "http://127.0.0.1:1"], r"Give both --azurite-blob and --azurite-queue, or neither\."),
    ],
)
def test_up_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert main(["up", "--state-dir", str(tmp_path), *options]) == 2
    assert re.search(complaint, capsys.readouterr().err)


def test_an_address_that_other_machines_reach_needs_a_second_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--state-dir", str(tmp_path), "--host", "0.0.0.0"]) == 2  # noqa: S104  # it is refused
    assert "add --allow-remote" in capsys.readouterr().err

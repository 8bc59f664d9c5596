"""Environments that are built: a conda file's pip packages, once for each content, in the job's own Python."""

from __future__ import annotations

import json
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.environments import EnvironmentBuildError, Recipe
from azureml_emulator.testing import Workspace, emulator
from azureml_emulator.tokens import issue
from demo.azure import Azurite

FINAL = {"Completed", "Failed", "Canceled"}
names = st.from_regex(r"[a-z][a-z0-9]{0,8}(==[0-9]\.[0-9])?", fullmatch=True)


def _conda(*requirements: str, others: tuple[Any, ...] = ()) -> str:
    return json.dumps({"name": "x", "dependencies": ["pip", *others, {"pip": list(requirements)}]})


def _wheel(folder: Path, version: str) -> str:
    """Build the smallest package there is; gives the requirement that names it."""
    path = folder / f"tiny_words-{version}-py3-none-any.whl"
    info = f"tiny_words-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_words.py", f"WORDS = 'version {version}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-words\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return f"tiny-words @ {path.as_uri()}"


@attrs.frozen
class Jobs:
    """A workspace whose jobs are run in environments of their own."""

    http: httpx.Client
    workspace: Workspace
    folder: Path

    def _put(self, path: str, properties: Any) -> None:
        url = f"{self.workspace.arm_id}/{path}"
        answer = self.http.put(url, params={"api-version": "2024-04-01"}, json={"properties": properties})
        assert answer.is_success, answer.text

    def run(self, conda: str, command: str) -> tuple[str, str, str]:
        """Run a command in an environment; its status, its log and its error."""
        name = f"job-{uuid.uuid4().hex[:8]}"
        self._put(f"environments/{name}/versions/1", {"image": "python", "condaFile": conda})
        environment = f"{self.workspace.arm_id}/environments/{name}/versions/1"
        self._put(f"jobs/{name}", {"jobType": "Command", "command": command, "environmentId": environment})
        deadline = time.monotonic() + 120
        while (status := self._get(f"{self.workspace.arm_id}/jobs/{name}")["properties"]["status"]) not in FINAL:
            assert time.monotonic() < deadline, status
            time.sleep(0.1)
        run = self._get(f"/history/v1.0{self.workspace.arm_id}/runs/{name}")
        logs = list((self.folder / "state" / "logs").glob("*.txt"))
        log = max(logs, key=lambda path: path.stat().st_mtime_ns).read_text()
        return status, log, str(((run.get("error") or {}).get("error") or {}).get("message") or "")

    def _get(self, path: str) -> Any:
        return self.http.get(path, params={"api-version": "2024-04-01"}).raise_for_status().json()


@pytest.fixture(scope="module")
def jobs(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    folder = tmp_path_factory.mktemp("environments")
    told = {"azurite_blob": azurite.blob_url, "azurite_queue": azurite.queue_url}
    headers = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    with (
        emulator(folder=folder, options=["--environments", "build"], **told) as running,  # type: ignore[arg-type]  # texts
        httpx.Client(base_url=running.addresses.http, headers=headers, timeout=30, trust_env=False) as http,
    ):
        yield Jobs(http, running.workspace(), folder)


def test_a_job_runs_with_the_packages_of_its_environment_and_no_others(jobs: Jobs, tmp_path: Path) -> None:
    conda = _conda(_wheel(tmp_path, "1.0"))

    status, log, _ = jobs.run(conda, "python -c 'import tiny_words; print(tiny_words.WORDS)'")
    without, said, _ = jobs.run(conda, "python -c 'import starlette'")

    assert (status, "version 1.0" in log) == ("Completed", True)
    assert (without, "No module named 'starlette'" in said) == ("Failed", True)


def test_an_environment_is_built_once_for_each_content(jobs: Jobs, tmp_path: Path) -> None:
    first, second = _conda(_wheel(tmp_path, "2.0")), _conda(_wheel(tmp_path, "3.0"))

    told = [
        jobs.run(conda, "python -c 'import tiny_words; print(tiny_words.WORDS)'") for conda in (first, second, first)
    ]

    assert [log.count("Building the environment") for _, log, _ in told] == [1, 1, 0]
    assert ["version 2.0" in log for _, log, _ in told] == [True, False, True]


@pytest.mark.parametrize(
    ("conda", "words"),
    [
        (_conda("tiny-words @ file:///nowhere/tiny_words-1.0-py3-none-any.whl"), "`uv pip` ended with"),
        (_conda("numpy", others=("cudatoolkit=11",)), "asks for cudatoolkit=11 of conda, and conda is not run here"),
        ("dependencies: {", "The conda file is no YAML"),
        ("name: x", "The conda file has no list of dependencies."),
        (_conda("-r more.txt"), "gives pip '-r more.txt'; only requirements are taken here."),
    ],
)
def test_what_cannot_be_built_fails_the_job_and_says_why(jobs: Jobs, conda: str, words: str) -> None:
    status, _, error = jobs.run(conda, "true")

    assert status == "Failed"
    assert "Image build failed: " in error
    assert words in error


@given(st.lists(names, unique=True), st.sampled_from(["", "python=3.11", "python==3.12.1", "conda-forge::python=3.13"]))
def test_the_order_of_requirements_makes_no_other_environment(requirements: list[str], python: str) -> None:
    others = (python,) if python else ()

    one = Recipe.parse(_conda(*requirements, others=others))
    other = Recipe.parse(_conda(*reversed(requirements), others=others))

    assert one.digest == other.digest
    assert one.python == python.rpartition("=")[2]
    assert (Recipe.parse(_conda(*requirements, "one-more", others=others)).digest == one.digest) is False


def test_a_file_that_is_not_even_an_object_is_refused() -> None:
    with pytest.raises(EnvironmentBuildError, match="no list of dependencies"):
        Recipe.parse("[]")

"""Environments that are built: the pip packages of a conda file in a virtual environment, once for each content."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import yaml

from azureml_emulator.settings import BUILD, Settings
from azureml_emulator.store import Store

Json = dict[str, Any]

_CONDA = re.compile(r"(?:[A-Za-z0-9_.-]+::)?(?P<name>[A-Za-z0-9_.-]+)\s*(?P<version>[<>=!~].*)?")
#: What conda needs for itself and pip packages do not.
_BASE = frozenset({"pip", "setuptools", "wheel"})
_COMPLETE = ".complete"


class EnvironmentBuildError(Exception):
    """An environment cannot be built; the message says why."""


@attrs.frozen
class Recipe:
    """What a virtual environment is made of.

    Attributes:
        requirements: What pip is to install, as it is written.
        python: The Python that is wanted, such as ``3.11``; empty for any.
    """

    requirements: tuple[str, ...]
    python: str = ""

    @classmethod
    def parse(cls, conda: str) -> Recipe:
        """Read a conda file: YAML, or the JSON that Azure makes of it.

        Raises:
            EnvironmentBuildError: It is none, or asks for packages that only conda has.
        """
        try:
            said = yaml.safe_load(conda)
        except yaml.YAMLError as error:
            raise EnvironmentBuildError(f"The conda file is no YAML: {error}") from error
        listed = said.get("dependencies") if isinstance(said, dict) else None
        if not isinstance(listed, list):
            raise EnvironmentBuildError("The conda file has no list of dependencies.")
        python, found, others = "", [], []
        for one in listed:
            if isinstance(one, dict) and isinstance(one.get("pip"), list):
                found += [str(each) for each in one["pip"]]
            elif (match := _CONDA.fullmatch(str(one))) is None:
                raise EnvironmentBuildError(f"The conda file asks for {one!r:.100}, which is no package.")
            elif match["name"] == "python":
                python = (match["version"] or "").lstrip("=").rstrip(".*")
            elif match["name"] not in _BASE:
                others.append(str(one))
        if others:
            raise EnvironmentBuildError(
                f"The conda file asks for {', '.join(others)} of conda, and conda is not run here: list what pip has"
                " below pip."
            )
        if files := [each for each in found if each.startswith("-")]:
            raise EnvironmentBuildError(f"The conda file gives pip {files[0]!r}; only requirements are taken here.")
        return cls(tuple(found), python)

    @property
    def digest(self) -> str:
        """A name for the content."""
        return hashlib.sha256("\n".join([self.python, *sorted(self.requirements)]).encode()).hexdigest()[:16]


class Environments:
    """Makes the Python that a job runs with.

    Args:
        store: Holds the environments' versions.
        settings: Whether they are built, and with which Python.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._building: dict[str, asyncio.Lock] = {}

    async def python(self, named: Any, log: Path) -> Path:
        """Find or make the Python of an environment.

        Args:
            named: The environment's ARM id, with or without ``azureml:``; one that is not known, or has no conda
                file, such as a curated one, is the Python that was named at the start.
            log: Where the build tells what it does.

        Raises:
            EnvironmentBuildError: It cannot be built; the log says more.
        """
        conda = self._conda(named)
        if self._settings.environments != BUILD or not conda:
            return self._settings.job_python
        recipe = Recipe.parse(conda)
        folder = self._settings.state_dir / "environments" / recipe.digest
        # Two jobs that need it wait for one build.
        async with self._building.setdefault(recipe.digest, asyncio.Lock()):
            if not (folder / _COMPLETE).exists():
                await self._build(recipe, folder, log)
        return folder / "bin" / "python"

    def _conda(self, named: Any) -> str:
        found = self._store.get(str(named).removeprefix("azureml:")) if named else None
        return str((found or {}).get("properties", {}).get("condaFile") or "")

    async def _build(self, recipe: Recipe, folder: Path, log: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # left by an emulator that ended while it built
        python = recipe.python or str(self._settings.job_python)
        requirements = folder.with_suffix(".txt")
        folder.parent.mkdir(parents=True, exist_ok=True)
        requirements.write_text("\n".join(recipe.requirements) + "\n")
        uv = _uv()
        _say(log, f"Building the environment {recipe.digest}: {', '.join(recipe.requirements) or 'no packages'}")
        await _run([*uv, "venv", "--quiet", "--python", python, str(folder)], log)
        if recipe.requirements:
            into = ["--python", str(folder / "bin" / "python"), "--requirement", str(requirements)]
            await _run([*uv, "pip", "install", *into], log)
        (folder / _COMPLETE).touch()
        _say(log, f"The environment {recipe.digest} is built")


def _uv() -> Sequence[str]:
    """Find uv.

    Raises:
        EnvironmentBuildError: It is not installed.
    """
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise EnvironmentBuildError("Environments are built by uv, which is not installed: `pip install uv`.")
    return [found]


async def _run(command: Sequence[str], log: Path) -> None:
    """Run a part of the build, with the emulator's own environment: that says where packages are.

    Raises:
        EnvironmentBuildError: It failed; the message ends with its last words.
    """
    began = len(_read(log))
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, "NO_COLOR": "1"}
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
    if code:
        said = _read(log)[began:].decode(errors="replace").strip()[-1500:]
        raise EnvironmentBuildError(f"`{Path(command[0]).name} {command[1]}` ended with {code}. It said: {said}")


def _read(log: Path) -> bytes:
    return log.read_bytes()


def _say(log: Path, words: str) -> None:
    with log.open("a", encoding="utf-8") as out:
        out.write(f"{words}\n")

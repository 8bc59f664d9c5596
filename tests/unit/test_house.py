"""The house itself: what is pinned, what is shipped, and that nothing of the machine it was made on is in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PYTHON_LOCKS = ("constraints.txt", "tools/docker/postgres.txt")
NPM_LOCK = ROOT / "tools/azurite/package-lock.json"
OURS = {"airflow-provider-azureml", "azureml-emulator"}
#: Folders that are there on one machine only: this clone's, its user's, and the interpreter's.
HERE = {
    folder for folder in (str(ROOT), str(Path.home()), sys.base_prefix) if folder.count("/") > 1 or "root" in folder
}


def _project(path: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / path).read_text())["project"]
    return found


def _shipped() -> Iterator[Path]:
    """Every text of ours that git has or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607  # the git that made the clone
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", ""} and path.is_file():
            yield path


def _pins(path: str) -> dict[str, Version]:
    lines = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / path).read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in lines}


def _requirements(path: str) -> list[Requirement]:
    project = _project(path)
    texts = [
        *project["dependencies"],
        *(one for extra in project.get("optional-dependencies", {}).values() for one in extra),
    ]
    return [each for each in map(Requirement, texts) if canonicalize_name(each.name) not in OURS]


@pytest.mark.parametrize("lock", PYTHON_LOCKS)
def test_a_list_of_pins_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert "://" not in text
    assert not re.search(r"^--?(i|index-url|extra-index-url|f|find-links)\b", text, re.MULTILINE)


def test_the_npm_lock_names_no_registry() -> None:
    packages: dict[str, Any] = json.loads(NPM_LOCK.read_text())["packages"]

    assert [each["resolved"] for each in packages.values() if "://" in each.get("resolved", "")] == []


@pytest.mark.parametrize("lock", PYTHON_LOCKS)
def test_every_pin_has_its_hashes(lock: str) -> None:
    entries = re.findall(r"^[A-Za-z0-9._-]+==.*(?:\n    .*)*", (ROOT / lock).read_text(), re.MULTILINE)

    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_npm_package_has_its_integrity() -> None:
    packages: dict[str, Any] = json.loads(NPM_LOCK.read_text())["packages"]
    from_elsewhere = {name: each for name, each in packages.items() if "node_modules/" in name and not each.get("link")}

    assert len(from_elsewhere) > 100
    assert [name for name, each in from_elsewhere.items() if not each.get("integrity")] == []


@pytest.mark.parametrize("project", ["pyproject.toml", "emulator/pyproject.toml"])
def test_the_pins_satisfy_what_the_project_asks_for(project: str) -> None:
    pins = _pins("constraints.txt")
    asked = _requirements(project)

    assert asked
    missing = [each.name for each in asked if canonicalize_name(each.name) not in pins]
    assert missing == []
    wrong = [
        str(each) for each in asked if not each.specifier.contains(pins[canonicalize_name(each.name)], prereleases=True)
    ]
    assert wrong == []


def test_both_distributions_carry_one_version() -> None:
    provider, emulator = _project("pyproject.toml"), _project("emulator/pyproject.toml")

    assert provider["version"] == emulator["version"]
    assert f"azureml-emulator=={emulator['version']}" in provider["optional-dependencies"]["demo"]
    assert provider["requires-python"] == emulator["requires-python"]


def test_the_emulator_asks_for_no_airflow_and_no_sdk() -> None:
    names = {canonicalize_name(each.name) for each in _requirements("emulator/pyproject.toml")}

    assert not names & {"apache-airflow", "azure-ai-ml", "airflow-provider-azureml", "mlflow", "mlflow-skinny"}


def test_nothing_shipped_names_the_machine_it_was_made_on() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in _shipped()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if any(folder in line for folder in HERE)
    ]

    assert found == []


def _compose() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return composed


def test_the_compose_file_is_one() -> None:
    # Anchors and merges are resolved first: the parser knows the schema, not YAML 1.1's merge key.
    resolved = yaml.safe_dump({name: each for name, each in _compose().items() if not name.startswith("x-")})

    services = PyCompose.from_yaml(resolved).services

    assert services is not None
    assert {
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
        "migrate",
        "postgres",
        "azurite",
        "emulator",
    } <= set(services)


def test_services_wait_only_for_services_that_can_become_what_is_waited_for() -> None:
    services: dict[str, Any] = _compose()["services"]
    wrong = []
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            if other not in services:
                wrong.append(f"{name} waits for {other}, which there is not")
            elif how["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                wrong.append(f"{name} waits for the health of {other}, which nobody checks")
            elif how["condition"] == "service_completed_successfully" and services[other].get("restart") != "no":
                wrong.append(f"{name} waits for the end of {other}, which is restarted")
        mode = service.get("network_mode", "")
        if mode.startswith("service:") and mode.removeprefix("service:") not in services:
            wrong.append(f"{name} shares the network of {mode}, which there is not")

    assert wrong == []


def test_services_mount_only_volumes_that_are_declared() -> None:
    composed = _compose()
    mounted = {
        volume.split(":")[0] for service in composed["services"].values() for volume in service.get("volumes", [])
    }

    assert {name for name in mounted if not name.startswith(".")} == set(composed["volumes"])


def test_make_alone_lists_the_targets() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S607

    for target in ("demo", "up", "down", "test", "lint", "bench", "chaos", "clean"):
        assert f"make {target} " in listed

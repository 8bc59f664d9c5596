"""The distribution: what it brings with it, and what it leaves to others."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import azureml_emulator

ROOT = Path(__file__).resolve().parents[3] / "emulator"
MOST_BYTES = 60_000_000
#: Imports all modules while some packages are not to be found; prints how many modules there are.
IMPORTING = """\
import importlib, json, pkgutil, sys
foreign, others = set(json.loads(sys.argv[1])), tuple(json.loads(sys.argv[2]))
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in foreign else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
import azureml_emulator
found = [one.name for one in pkgutil.walk_packages(azureml_emulator.__path__, "azureml_emulator.")]
found = [name for name in found if not name.startswith(others) and not name.endswith("__main__")]
for name in found:
    importlib.import_module(name)
print(len(found))
"""


def _needed(requirements: list[str]) -> Iterator[str]:
    """Name what requirements bring, and what that brings."""
    seen: set[str] = set()
    left = [(Requirement(each), "") for each in requirements]
    while left:
        wanted, extra = left.pop()
        name = canonicalize_name(wanted.name)
        if name in seen or (wanted.marker is not None and not wanted.marker.evaluate({"extra": extra})):
            continue
        seen.add(name)
        yield name
        more = [Requirement(each) for each in distribution(name).requires or ()]
        left += [(each, chosen) for each in more for chosen in ("", *wanted.extras)]


def _weight(name: str) -> int:
    paths = (Path(str(file.locate())) for file in distribution(name).files or () if file.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths if path.is_file())


def _dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(_needed(project["dependencies"]))


def test_every_module_is_imported_with_what_the_distribution_brings_and_nothing_else() -> None:
    brought = {"azureml-emulator", *_dependencies()}
    makers = importlib.metadata.packages_distributions()
    foreign = [module for module, of in makers.items() if brought.isdisjoint(map(canonicalize_name, of))]
    # The fixtures are for who has pytest; the stand-ins and the workers are run by the Python of jobs.
    others = ("azureml_emulator.testing.fixtures", "azureml_emulator.stand_ins", "azureml_emulator.batch_worker")

    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, json.dumps(foreign), json.dumps(others)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert {"airflow", "mlflow", "pytest"} <= set(foreign)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 100, "modules"


def test_all_that_the_emulator_needs_weighs_less_than_60_megabytes() -> None:
    weights = {name: _weight(name) for name in _dependencies()}

    assert min(weights.values()) > 0, "each is installed, and its files are found"
    assert sum(weights.values()) < MOST_BYTES, sorted(weights.items(), key=lambda one: -one[1])[:5]


def test_the_emulator_brings_neither_airflow_nor_a_client_nor_what_tests_need() -> None:
    assert _dependencies().isdisjoint(
        {
            "apache-airflow",
            "apache-airflow-core",
            "azure-ai-ml",
            "azureml-mlflow",
            "hypothesis",
            "mlflow",
            "mlflow-skinny",
            "pandas",
            "playwright",
            "pytest",
        }
    )


def test_what_is_no_module_lies_inside_of_the_package_and_so_in_its_wheel() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    package = Path(azureml_emulator.__file__).parent
    shipped = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}

    assert packages == {"packages": ["src/azureml_emulator"]}, "all of the folder, and nothing left out"
    assert {
        "pages/static/renew.js",
        "pages/templates/base.html",
        "pages/templates/events.html",
        "pages/templates/uncovered.html",
        "py.typed",
        "stand_ins/azureml/ai/monitoring/__init__.py",
        "stand_ins/azureml_inference_server_http/__init__.py",
    } <= shipped

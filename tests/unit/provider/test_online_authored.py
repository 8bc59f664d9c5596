"""Deployments as YAML says them: what they are made of, and what of it changes their digest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from airflow_azureml.client.online import Authored
from airflow_azureml.errors import ConfigError

YAML = """
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: theirs
endpoint_name: theirs
model: azureml:m:1
code_configuration:
  code: code
  scoring_script: score.py
environment: file:environment.yml
environment_variables:
  LEVEL: info
liveness_probe:
  path: /
instance_type: Standard_DS3_v2
instance_count: 2
"""


@define
class Folder:
    """A deployment's folder."""

    path: Path

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def digest(self, **changes: Any) -> str:
        return Authored.read(self.path / "deployment.yml").digest(changes)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write("deployment.yml", YAML)
    made.write("code/score.py", "def init(): ...")
    made.write("environment.yml", "name: e\nimage: i\nconda_file: conda/env.yml\n")
    made.write("conda/env.yml", "name: e\n")
    return made


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("code/score.py", "def init(): pass"),
        ("code/more/model.py", ""),
        ("environment.yml", "name: e\nimage: j\nconda_file: conda/env.yml\n"),
        ("conda/env.yml", "name: f\n"),
        ("deployment.yml", YAML.replace("info", "debug")),
        ("deployment.yml", YAML.replace("m:1", "m:2")),
        ("deployment.yml", YAML.replace("DS3", "DS4")),
    ],
)
def test_whatever_a_deployment_is_made_of_is_in_its_digest(folder: Folder, file: str, text: str) -> None:
    before = folder.digest()
    folder.write(file, text)

    assert folder.digest() != before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("deployment.yml", YAML.replace("theirs", "ours")),
        ("deployment.yml", YAML.replace("instance_count: 2", "instance_count: 3")),
        ("deployment.yml", f"{YAML}tags:\n  run: today\n"),
        ("code/__pycache__/score.pyc", "compiled"),
        ("beside.txt", "nothing of it"),
    ],
)
def test_names_tags_the_number_of_instances_and_files_beside_are_not(folder: Folder, file: str, text: str) -> None:
    before = folder.digest()
    folder.write(file, text)

    assert folder.digest() == before


def test_a_file_under_another_name_is_another(folder: Folder) -> None:
    before = folder.digest()
    (folder.path / "code/score.py").rename(folder.path / "code/main.py")

    assert folder.digest() != before


def test_what_is_changed_is_as_if_it_stood_there(folder: Folder) -> None:
    changed = folder.digest(model="azureml:m:2")
    folder.write("deployment.yml", YAML.replace("m:1", "m:2"))

    assert folder.digest() == changed


def test_the_same_in_another_place_is_the_same(folder: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "elsewhere")
    for name in ("deployment.yml", "code/score.py", "environment.yml", "conda/env.yml"):
        other.write(name, (folder.path / name).read_text())

    assert other.digest() == folder.digest()


@pytest.mark.parametrize(("text", "told"), [("- a list", "holds a list"), ("a: [", "cannot be read")])
def test_what_is_no_deployment_is_refused(folder: Folder, text: str, told: str) -> None:
    folder.write("deployment.yml", text)

    with pytest.raises(ConfigError, match=told):
        folder.digest()
    with pytest.raises(ConfigError, match="cannot be read"):
        Authored.read(folder.path / "none.yml")


def test_what_a_dag_file_imports_loads_nothing_of_azure() -> None:
    names = ("operators.online", "operators.batch_switch", "task_groups.batch_switch")
    imports = "import " + ", ".join(f"airflow_azureml.{name}" for name in names)
    heavy = "{m.split('.')[0] for m in sys.modules} & {'azure', 'aiohttp', 'polars', 'numpy', 'yaml'}"
    script = f"import airflow.sdk, sys; before = {heavy}; {imports}; print({heavy} - before)"

    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "set()"

"""azure-ai-ml reads every file of pipelines/ as it is, and pipelines/publish.py publishes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE, Azurite, Emulator
from pipelines import publish

PUBLISH = Path(publish.__file__)

#: Runs in a process of its own: azure-ai-ml takes seconds to import and changes the environment of its process.
READ_ALL = """
import json, logging, sys
from pathlib import Path
from azure.ai.ml import load_batch_endpoint, load_component, load_compute, load_environment, load_job
from azure.ai.ml import load_online_deployment, load_online_endpoint
from azure.ai.ml.entities._load_functions import load_pipeline_component_batch_deployment  # the CLI's; not exported

logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
folder, found = Path(sys.argv[1]), {}
for path in sorted(folder.rglob("*.yml")):
    text = path.read_text()
    kind = next((kind for kind in KINDS if f"/{kind}.schema.json" in text), None)
    if not kind:
        continue
    entity = globals()[KINDS[kind]](path)
    about = {"name": entity.name}
    if kind.endswith(("Component", "Job")):
        about["errors"] = entity._validate().error_messages
        about["display_name"] = entity.display_name
        about["command"] = getattr(entity, "command", None)
        about["steps"] = {name: node.component.display_name for name, node in getattr(entity, "jobs", {}).items()}
        about["outputs"] = sorted(entity.outputs)
    if kind.endswith("Component"):
        about["inputs"] = {
            name: bool(not port.optional and port.default is None) for name, port in entity.inputs.items()
        }
    if kind.endswith("Deployment"):
        about |= {"endpoint": entity.endpoint_name, "settings": getattr(entity, "settings", None)}
    found[str(path.relative_to(folder))] = about
print(json.dumps(found))
"""
KINDS = {
    "commandComponent": "load_component",
    "pipelineComponent": "load_component",
    "pipelineJob": "load_job",
    "environment": "load_environment",
    "amlCompute": "load_compute",
    "batchEndpoint": "load_batch_endpoint",
    "kubernetesOnlineDeployment": "load_online_deployment",
    "managedOnlineDeployment": "load_online_deployment",
    "managedOnlineEndpoint": "load_online_endpoint",
    "pipelineComponentBatchDeployment": "load_pipeline_component_batch_deployment",
}

Files = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def files() -> Files:
    """What azure-ai-ml reads in each file that names a schema."""
    command = [sys.executable, "-c", f"KINDS = {KINDS!r}\n{READ_ALL}", str(publish.FOLDER)]
    read = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert read.returncode == 0, read.stderr
    found: Files = json.loads(read.stdout)
    return found


def test_azure_ai_ml_reads_every_file_and_finds_no_fault(files: Files) -> None:
    every = {str(path.relative_to(publish.FOLDER)) for path in publish.FOLDER.rglob("*.yml")}

    assert set(files) == every - {"conda.yml", "online/conda.yml"}
    assert {name: file["errors"] for name, file in files.items() if file.get("errors")} == {}


def test_the_names_in_the_files_are_those_that_are_published(files: Files) -> None:
    assert files["environment.yml"]["name"] == publish.ENVIRONMENT
    assert files["compute.yml"]["name"] == publish.COMPUTE
    assert {name: files[f"components/{name}.yml"]["name"] for name in publish.STEPS} == {
        name: f"diabetes_{name}" for name in publish.STEPS
    }
    for pipeline in publish.PIPELINES:
        deployment = files[f"endpoints/{pipeline.kind}-{publish.DEPLOYMENT}.yml"]
        assert files[pipeline.file]["name"] == pipeline.component
        assert files[f"endpoints/{pipeline.kind}.yml"]["name"] == pipeline.endpoint
        assert (deployment["name"], deployment["endpoint"]) == (publish.DEPLOYMENT, pipeline.endpoint)
        assert deployment["settings"]["default_compute"] == publish.COMPUTE


def test_the_steps_of_the_pipelines_are_the_published_components(files: Files) -> None:
    shown = {name: files[f"components/{name}.yml"]["display_name"] for name in publish.STEPS}

    for pipeline in publish.PIPELINES:
        assert files[pipeline.file]["steps"] == {name: shown[name] for name in pipeline.steps}
    assert files["train_job.yml"]["steps"] == files["train_pipeline.yml"]["steps"]


def test_callers_must_give_the_data_and_the_model_to_score_and_nothing_to_train(files: Files) -> None:
    wanted = ("data", "partitions", "since", "until", "fraction", "seed", "alpha")
    assert files["train_pipeline.yml"]["inputs"] == dict.fromkeys(wanted, False)
    assert files["train_pipeline.yml"]["outputs"] == ["evaluation", "model", "prepared"]
    assert files["evaluate_pipeline.yml"]["inputs"] == {"prepared": True, "model": True}
    assert files["evaluate_pipeline.yml"]["outputs"] == ["evaluation"]
    assert files["score_pipeline.yml"]["inputs"] == {"data": True, "model": True}
    assert files["score_pipeline.yml"]["outputs"] == ["predictions"]
    assert files["batch_scoring_pipeline.yml"]["inputs"] == {"data": True, "model": True}
    assert files["batch_scoring_pipeline.yml"]["outputs"] == ["predictions"]


@pytest.mark.parametrize("name", publish.STEPS)
def test_a_step_takes_the_arguments_that_its_component_gives_it(files: Files, name: str) -> None:
    component = files[f"components/{name}.yml"]
    script = publish.FOLDER / f"src/{name}.py"
    usage = subprocess.run([sys.executable, str(script), "--help"], check=True, capture_output=True, text=True).stdout
    given = re.findall(r"--(\w+) \$\{\{(?:inputs|outputs)\.(\w+)\}\}", component["command"])

    assert component["command"].startswith(f"python {name}.py ")
    assert sorted(option for option, _ in given) == sorted([*component["inputs"], *component["outputs"]])
    assert all(option == port for option, port in given)
    assert set(re.findall(r"^ +--(\w+)", usage, re.MULTILINE)) == {option for option, _ in given}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A workspace in which nothing is published yet."""
    folder = tmp_path_factory.mktemp("local")
    with Azurite(folder / "azurite") as azurite, Emulator(folder / "emulator", azurite) as server:
        yield server


def run_publish(local: Emulator, *arguments: str, workspace: str = WORKSPACE) -> subprocess.CompletedProcess[str]:
    where = ["--subscription", SUBSCRIPTION, "--resource-group", RESOURCE_GROUP, "--workspace", workspace]
    return subprocess.run(
        [sys.executable, str(PUBLISH), *where, *arguments],
        env={**os.environ, **local.client_environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_publishing_trains_and_registers_a_model_and_publishing_again_changes_nothing(local: Emulator) -> None:
    first = run_publish(local, "--train")
    again = run_publish(local, "--train")

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    published = json.loads(first.stdout.splitlines()[-1])
    assert published["versions"] == publish.versions()
    assert published["model"]["uri"] == "azureml://datastores/workspaceblobstore/paths/models/diabetes-ridge/1/"
    assert published["model"]["metrics"]["r2"] == pytest.approx(0.4548, abs=1e-4)
    assert json.loads(again.stdout.splitlines()[-1]) == published
    assert "is published" in first.stderr
    assert "is published" not in again.stderr
    assert "is started" not in again.stderr


def test_publishing_to_a_workspace_that_is_not_there_says_so_in_one_sentence(local: Emulator) -> None:
    refused = run_publish(local, workspace="elsewhere")

    assert refused.returncode == 1
    assert refused.stdout == ""
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(
        f"publish: Looking for workspace elsewhere in resource group {RESOURCE_GROUP} of subscription {SUBSCRIPTION}"
        " failed: 404 "
    )

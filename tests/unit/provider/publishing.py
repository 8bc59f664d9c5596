"""Folders to publish, as texts, for tests; and git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from airflow_azureml.core.bundles import Bundle

SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
ENVIRONMENT = f"""
$schema: {SCHEMAS}/environment.schema.json
name: base
image: debian:bookworm
"""
STEP = f"""
$schema: {SCHEMAS}/commandComponent.schema.json
type: command
name: say
command: echo ${{{{inputs.word}}}} > ${{{{outputs.result}}}}/word.txt
environment:
  image: debian:bookworm
inputs:
  word: {{type: string}}
outputs:
  result: {{type: uri_folder}}
"""
COMPUTE = f"""
$schema: {SCHEMAS}/amlCompute.schema.json
type: amlcompute
name: cpu
size: Standard_DS3_v2
"""


def pipeline(name: str, *, inputs: str = "word: {type: string}") -> str:
    """A pipeline of the one step."""
    return f"""
$schema: {SCHEMAS}/pipelineComponent.schema.json
type: pipeline
name: {name}
inputs:
  {inputs}
outputs:
  result: {{type: uri_folder}}
jobs:
  say:
    type: command
    component: say.yml
    inputs:
      word: ${{{{parent.inputs.word}}}}
    outputs:
      result: ${{{{parent.outputs.result}}}}
"""


def endpoint(name: str) -> str:
    """An endpoint."""
    return f"$schema: {SCHEMAS}/batchEndpoint.schema.json\nname: {name}\n"


def deployment(endpoint_name: str, component: str) -> str:
    """Its deployment."""
    return f"""
$schema: {SCHEMAS}/pipelineComponentBatchDeployment.schema.json
type: pipeline
name: one
endpoint_name: {endpoint_name}
component: {component}
settings:
  default_compute: cpu
"""


def folder(
    names: Sequence[str] = ("alpha",), *, smoke: Mapping[str, str] | None = None, keep: int = 5
) -> dict[str, str]:
    """A folder with a pipeline for each name, published as an endpoint of that name.

    Args:
        names: The names.
        smoke: How each is smoke-run, as YAML; with the word "hello" where nothing is said.
        keep: How many deployments stay.
    """
    texts = {"base.yml": ENVIRONMENT, "say.yml": STEP, "compute.yml": COMPUTE}
    runs = []
    for name in names:
        texts[f"{name}.yml"] = pipeline(f"{name}_pipeline")
        texts[f"endpoints/{name}.yml"] = endpoint(name)
        texts[f"endpoints/{name}-one.yml"] = deployment(name, f"../{name}.yml")
        runs.append(f"  {name}: {(smoke or {}).get(name, '{inputs: {word: hello}}')}")
    texts["publish.yaml"] = "\n".join([f"schema: 1\nkeep: {keep}\nsmoke:", *runs, ""])
    return texts


def read(texts: Mapping[str, str], *more: str) -> Bundle:
    """Read such a folder; `more` are paths of files that are no YAML."""
    return Bundle.read(texts, paths=[*texts, *more], name="words")


def git(where: Path, *words: str) -> str:
    """Run git as somebody, whatever repository the environment names."""
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(  # git, with words of the tests
        ["git", "-C", str(where), *identity, *words],  # noqa: S607  # the one that runs here
        check=True,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    )
    return done.stdout.strip()

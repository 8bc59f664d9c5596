"""A repository whose one pipeline trains within a second, and is as good as its commit says."""

from __future__ import annotations

from pathlib import Path

import attrs

from tests.unit.provider.publishing import COMPUTE, ENVIRONMENT, SCHEMAS, deployment, endpoint, git

#: In their order; production is the last.
NAMES = ("dev", "test", "staging", "production")
_PORTS = """
inputs:
  slope: {type: string}
outputs:
  model: {type: uri_folder}
  evaluation: {type: uri_folder}
  prepared: {type: uri_folder}
"""
_MODEL = '{"slope": ${{inputs.slope}}, "offset": 0.0, "wait_s": 0.0, "breaks_over": []}'
_EVALUATION = '{"schema": 1, "metrics": {"rmse": RMSE}, "data": {"version": "sha256:1", "rows": 60}}'
_STEP = f"""
$schema: {SCHEMAS}/commandComponent.schema.json
type: command
name: numbers_train
environment:
  image: debian:bookworm
command: >-
  printf '%s' '{_MODEL}' > ${{{{outputs.model}}}}/model.json &&
  printf '%s' '{_EVALUATION}' > ${{{{outputs.evaluation}}}}/evaluation.json &&
  mkdir -p ${{{{outputs.prepared}}}} && touch ${{{{outputs.prepared}}}}/rows
{_PORTS}
"""
_PIPELINE = f"""
$schema: {SCHEMAS}/pipelineComponent.schema.json
type: pipeline
name: numbers_training
{_PORTS}
jobs:
  train:
    type: command
    component: train.yml
    inputs:
      slope: ${{{{parent.inputs.slope}}}}
    outputs:
      model: ${{{{parent.outputs.model}}}}
      evaluation: ${{{{parent.outputs.evaluation}}}}
      prepared: ${{{{parent.outputs.prepared}}}}
"""


@attrs.frozen
class Numbers:
    """The repository."""

    root: Path

    @classmethod
    def made(cls, root: Path) -> Numbers:
        """Make it, without a commit."""
        made = cls(root)
        made.folder.mkdir(parents=True)
        git(root, "init", "-q", "-b", "main")
        files = {
            "base.yml": ENVIRONMENT,
            "compute.yml": COMPUTE,
            "pipeline.yml": _PIPELINE,
            "endpoint.yml": endpoint("numbers"),
            "deployment.yml": deployment("numbers", "pipeline.yml"),
            "publish.yaml": "schema: 1\nname: numbers\nsmoke:\n  numbers: {inputs: {slope: '2'}}\n",
        }
        for name, text in files.items():
            (made.folder / name).write_text(text)
        return made

    @property
    def folder(self) -> Path:
        """What is published."""
        return self.root / "pipelines/numbers"

    def commit(self, *, rmse: float) -> str:
        """Commit a training whose model is so good; returns the commit."""
        (self.folder / "train.yml").write_text(_STEP.replace("RMSE", str(float(rmse))))
        git(self.root, "add", ".")
        git(self.root, "commit", "-q", "-m", f"rmse {rmse}")
        return git(self.root, "rev-parse", "HEAD")

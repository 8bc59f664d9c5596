"""Which steps need not be run, because the same step has completed before in the workspace.

Azure ML goes by what a step refers to, not by what lies there: two runs over one path are the same although its blobs
have changed. Source: "How to debug pipeline reuse issues in Azure Machine Learning", and the maintainers' words in
https://github.com/Azure/MachineLearningNotebooks/issues/298.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from azureml_emulator.layout import Step
from azureml_emulator.steps import LITERAL_TYPES
from azureml_emulator.storage import long_uri
from azureml_emulator.store import Run, Store

Json = dict[str, Any]

#: The member of a run's input or output that says which run made it, and as which output.
MADE_BY = "madeBy"
#: How many steps of a workspace are remembered.
MOST_REMEMBERED = 5000
#: What of a component's specification does not change what it does.
_WORDS_ONLY = frozenset({"name", "version", "display_name", "description", "tags", "$schema", "_source", "id"})
#: The properties of a step that was not run. Source: recorded run history of Azure ML, 2023-01.
IS_REUSED, REUSED_RUN = "azureml.isreused", "azureml.reusedrunid"


def may_be_reused(component: Mapping[str, Any]) -> bool:
    """Tell whether a component says that it gives the same outputs for the same inputs; it does unless it denies it."""
    return str(component.get("is_deterministic", True)).lower() != "false"


def digest_of(step: Step, inputs: Mapping[str, Json], *, workspace: str, compute: str) -> str:
    """Name everything that a step's outputs depend on: component, code, environment, inputs, output and run settings.

    Args:
        step: The step.
        inputs: Its inputs, with those that other steps made.
        workspace: The workspace's ARM id.
        compute: The name of the compute; empty for serverless.
    """
    told = {
        "component": {key: value for key, value in step.component.items() if key not in _WORDS_ONLY},
        "inputs": {name: _identity(one, workspace) for name, one in inputs.items()},
        "outputs": {name: _settings(one, step.run) for name, one in step.outputs.items()},
        "compute": compute,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _identity(given: Json, workspace: str) -> list[str]:
    """Name what an input refers to: text, what a run made, or a URI."""
    if str(given.get("jobInputType", "literal")) in LITERAL_TYPES:
        return ["literal", str(given.get("value"))]
    if given.get(MADE_BY):
        return ["made by", str(given[MADE_BY])]
    return ["uri", long_uri(str(given.get("uri")), workspace), str(given.get("mode"))]


def _settings(output: Json, run: str) -> Json:
    """Show an output without what only says which run it is of."""
    kept = {key: value for key, value in output.items() if key not in ("uri", MADE_BY)}
    return {**kept, "uri": str(output.get("uri")).replace(run, "${{name}}")}


def reused_properties(original: Run) -> dict[str, str]:
    """Say of a step whose results it has."""
    pipeline = str(original.spec.get("root") or original.parent)
    return {
        IS_REUSED: "true",
        REUSED_RUN: original.name,
        "azureml.reusednodeid": str(original.properties.get("azureml.nodeid", "")),
        "azureml.reusedpipeline": pipeline,
        "azureml.reusedpipelinerunid": pipeline,
    }


class ReuseCache:
    """The steps that have completed, by what they depend on; it outlives a restart, and forgets the oldest."""

    def __init__(self, store: Store, most: int = MOST_REMEMBERED) -> None:
        self._store = store
        self._most = most
        self._known: dict[str, list[str]] = {}

    def find(self, workspace: str, digest: str) -> Run | None:
        """Find the run that did the same; None when there is none any more."""
        kept = self._store.get(_place(workspace, digest))
        found = self._store.run(workspace, str(kept["run"])) if kept else None
        return found if found is not None and found.status == "Completed" else None

    def keep(self, workspace: str, digest: str, run: str) -> None:
        """Remember a run, in the place of an earlier one that did the same."""
        known = self._known_of(workspace)
        self._store.put(_place(workspace, digest), {"digest": digest, "run": run})
        if digest not in known:
            known.append(digest)
        while len(known) > self._most:
            self._store.delete(_place(workspace, known.pop(0)))

    def _known_of(self, workspace: str) -> list[str]:
        key = workspace.lower()
        if key not in self._known:
            self._known[key] = [str(kept["digest"]) for kept in self._store.children(_root(workspace))]
        return self._known[key]


def _root(workspace: str) -> str:
    return f"{workspace}/reusable-steps"


def _place(workspace: str, digest: str) -> str:
    return f"{_root(workspace)}/{digest}"

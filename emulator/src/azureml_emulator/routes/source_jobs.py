"""Pipeline components that are made of a pipeline job which ran, as a batch deployment from a job is.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-use-batch-pipeline-from-job; what the service makes of
a job was not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azureml_emulator.errors import Json, bad_request
from azureml_emulator.names import WorkspaceName
from azureml_emulator.steps import LITERAL_TYPES
from azureml_emulator.store import Store


def spec_of(store: Store, workspace: WorkspaceName, spec: Mapping[str, Any]) -> Json:
    """Write a component's specification with the nodes, inputs and outputs of the job that its ``sourceJobId`` names.

    Values become the defaults of inputs; data has to be given again.

    Raises:
        WireError: 400 for a job that is not there, or is no pipeline.
    """
    named = str(spec["sourceJobId"]).removeprefix("azureml:").rpartition("/")[2]
    run = store.run(workspace.arm_id, named)
    if run is None or run.kind != "Pipeline":
        raise bad_request(f"The source job {named} is {'no pipeline' if run else 'not there'}.")
    component = store.get(str(run.spec.get("componentId") or "").removeprefix("azureml:"))
    if component is not None:
        made = component["properties"]["componentSpec"]
        return {**spec, **{member: made[member] for member in ("inputs", "outputs", "jobs") if member in made}}
    inputs = {name: _declared(one) for name, one in run.inputs.items()}
    outputs = {name: {"type": one.get("jobOutputType") or "uri_folder"} for name, one in run.outputs.items()}
    return {**spec, "type": "pipeline", "inputs": inputs, "outputs": outputs, "jobs": run.spec.get("jobs") or {}}


def _declared(given: Json) -> Json:
    kind = str(given.get("jobInputType", "literal"))
    if kind not in LITERAL_TYPES:
        return {"type": kind}
    value = str(given.get("value"))
    return {"type": _type_of(value), "default": value}


def _type_of(value: str) -> str:
    """Guess what a value was before it became a text: jobs do not say."""
    if value.lower() in ("true", "false"):
        return "boolean"
    for kind, read in (("integer", int), ("number", float)):
        try:
            read(value)
        except ValueError:
            continue
        return kind
    return "string"

"""Pipeline components: reading one, and making a pipeline job of it."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from airflow_azureml.core.pipelines import Interface, Invocation, PipelineComponent
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError
from airflow_azureml.wire.http import NOT_FOUND, Flow, Request

#: The version that azure-ai-ml 1.35 uses for components.
API_VERSION = "2024-01-01-preview"
#: Under this version Azure answers with a component's default. Source: azure-ai-ml 1.35.
DEFAULT = "azureml_default"
#: The label of the version that was registered last.
LATEST = "latest"
#: Types as a pipeline job writes them, for those an invocation writes. Source: azure-ai-ml 1.35.
JOB_TYPES: Mapping[str, str] = {
    "Literal": "literal",
    "UriFile": "uri_file",
    "UriFolder": "uri_folder",
    "MLTable": "mltable",
    "CustomModel": "custom_model",
    "MLFlowModel": "mlflow_model",
    "TritonModel": "triton_model",
}


@frozen(kw_only=True)
class Found:
    """A pipeline component as it is registered.

    Attributes:
        name: Its name and version.
        steps: Its jobs, as the component specification holds them.
    """

    name: str
    interface: Interface
    steps: Mapping[str, Any]


def describe(workspace: Workspace, component: PipelineComponent) -> Flow[Found]:
    """Read a pipeline component.

    Raises:
        ConfigError: There is no such component or version, or it is no pipeline.
        RefusedError: We may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    doing, versions = f"Read {component} in workspace {workspace.name}", _versions(workspace, component)
    version = component.version or DEFAULT
    if component.label == LATEST:
        version = yield from _latest(doing, versions)
    look = Request(doing=doing, method="GET", url=f"{versions}/{version}", params={"api-version": API_VERSION})
    answer = yield look
    try:
        found = answer.expect(look, 200)
    except RefusedError as error:
        if answer.status == NOT_FOUND:
            raise ConfigError(f"{error}. Check the name, and that it is registered in this workspace.") from error
        raise
    spec = (found.get("properties") or {}).get("componentSpec") or {}
    if spec.get("type") != "pipeline" or not spec.get("jobs"):
        raise ConfigError(f"The {component} is a {spec.get('type') or 'component of no type'}, not a pipeline.")
    return Found(
        name=f"{component.name}:{found.get('name') or component.version}",
        interface=Interface.from_wire(found),
        steps=spec["jobs"],
    )


def _versions(workspace: Workspace, component: PipelineComponent) -> str:
    if component.label not in {"", "default", LATEST} or (component.label and component.version):
        raise ConfigError(f"The {component}: give a version, or the label default or {LATEST}, and not both.")
    return f"{workspace.url}/components/{component.name}/versions"


def _latest(doing: str, versions: str) -> Flow[str]:
    """Find the version that was registered last, as azure-ai-ml 1.35 does."""
    params = {"api-version": API_VERSION, "$orderBy": "createdtime desc", "$top": "1"}
    look = Request(doing=doing, method="GET", url=versions, params=params)
    listed = (yield look).expect(look, 200).get("value")
    name = listed[0].get("name") if isinstance(listed, list) and listed and isinstance(listed[0], Mapping) else None
    if not isinstance(name, str):
        raise ConfigError(f"{doing}: it has no version. Check the name, and that it is registered in this workspace.")
    return name


def job_of(found: Found, invocation: Invocation, *, experiment: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write the pipeline job that runs a component once.

    Args:
        found: The component.
        invocation: What is passed to it; a declared output that is not asked for goes where Azure ML puts it.
        experiment: The experiment to list the job under; empty for one named after the component.
        settings: The pipeline's settings, such as ``force_rerun`` or ``default_compute``.
    """
    outputs: dict[str, dict[str, Any]] = {
        name: {"jobOutputType": declared.type} for name, declared in found.interface.outputs.items()
    }
    for name, bound in invocation.outputs.items():
        outputs[name] = {"jobOutputType": JOB_TYPES[bound["jobOutputType"]], "uri": bound["uri"]}
    inputs: dict[str, dict[str, Any]] = {
        name: {"jobInputType": "literal", "value": declared.default}
        for name, declared in found.interface.inputs.items()
        if declared.default is not None
    }
    for name, bound in invocation.inputs.items():
        inputs[name] = {**bound, "jobInputType": JOB_TYPES[bound["jobInputType"]]}
    return {
        "jobType": "Pipeline",
        "displayName": found.name,
        "experimentName": experiment or found.name.partition(":")[0],
        "inputs": inputs,
        "outputs": outputs,
        "jobs": dict(found.steps),
        "settings": {"_source": "YAML.JOB", **settings},
    }

"""Published pipelines: what one takes and gives, and whether what a DAG passes fits it."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from attrs import define, field, frozen

from airflow_azureml.core.published import PipelineEndpoint, PublishedPipeline
from airflow_azureml.errors import ConfigError, ProtocolError

#: Azure ML's data types, as components write them and as a batch endpoint wants them.
#: Source: azure-ai-ml 1.35, ``AssetTypes`` and the invocation it sends.
URI_TYPES: Mapping[str, str] = {
    "uri_file": "UriFile",
    "uri_folder": "UriFolder",
    "mltable": "MLTable",
    "custom_model": "CustomModel",
    "mlflow_model": "MLFlowModel",
    "triton_model": "TritonModel",
}
MODEL_TYPES = frozenset({"custom_model", "mlflow_model", "triton_model"})
LITERAL_TYPES = frozenset({"string", "number", "integer", "boolean", "enum"})
URI_STARTS = ("azureml://", "azureml:", "https://", "http://", "abfss://", "wasbs://", "adl://", "/subscriptions/")


@define(kw_only=False)
class BatchEndpoint:
    """A pipeline published as a pipeline-component deployment of a batch endpoint, or a model deployed to one.

    Both fields may be templates, which Airflow renders in place.

    Attributes:
        name: The endpoint.
        deployment: One of its deployments; empty for its default.
    """

    name: str
    deployment: str = ""

    template_fields: ClassVar[tuple[str, ...]] = ("name", "deployment")

    def __str__(self) -> str:
        return f"batch endpoint {self.name}" + (f", deployment {self.deployment}" if self.deployment else "")


@define(kw_only=False)
class PipelineComponent:
    """A registered pipeline component, run as a pipeline job. All fields may be templates.

    Attributes:
        name: The component.
        version: One of its versions; empty for its default.
        label: Instead of a version: ``default``, or ``latest`` for the one that was registered last.
    """

    name: str
    version: str = ""
    label: str = ""

    template_fields: ClassVar[tuple[str, ...]] = ("name", "version", "label")

    def __str__(self) -> str:
        which = f", version {self.version}" if self.version else f", label {self.label}" if self.label else ""
        return f"pipeline component {self.name}{which}"


#: What a pipeline may be published as.
Pipeline = BatchEndpoint | PipelineComponent | PublishedPipeline | PipelineEndpoint


@frozen(kw_only=True)
class Declared:
    """One declared input or output.

    Attributes:
        type: Azure ML's word: ``uri_file``, ``number`` ...
        required: Whether a caller must give it.
        default: What it is when a caller does not give it; None when it has no default.
    """

    type: str
    required: bool = False
    default: str | None = None


@frozen(kw_only=True)
class Interface:
    """What a pipeline declares to take and to give."""

    inputs: Mapping[str, Declared] = field(factory=dict)
    outputs: Mapping[str, Declared] = field(factory=dict)

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read a component version's resource; Azure answers scalars as strings (``"True"``).

        Raises:
            ProtocolError: It holds no component specification.
        """
        spec = (raw.get("properties") or {}).get("componentSpec")
        if not isinstance(spec, Mapping):
            raise ProtocolError(f"Component {raw.get('id')!r} came without its componentSpec")
        inputs = {
            name: Declared(
                type=str(one.get("type", "string")).lower(),
                required=not _is_true(one.get("optional")) and one.get("default") is None,
                default=None if one.get("default") is None else str(one["default"]),
            )
            for name, one in (spec.get("inputs") or {}).items()
        }
        outputs = {
            name: Declared(type=str(one.get("type", "uri_folder")).lower())
            for name, one in (spec.get("outputs") or {}).items()
        }
        return cls(inputs=inputs, outputs=outputs)


@frozen(kw_only=True)
class Target:
    """A deployment, ready to be invoked.

    Attributes:
        endpoint: The endpoint's name.
        deployment: The deployment that answers; the endpoint's default where the caller named none.
        deployment_is_named: Whether the caller named it; otherwise the endpoint is left to choose its default.
        scoring_uri: Where it is invoked.
        data_plane: The workspace's data plane, where the endpoint's jobs are listed.
        interface: What its pipeline takes and gives.
        serves_model: Whether it is a deployment of a model, not of a pipeline component.
    """

    endpoint: str
    deployment: str
    deployment_is_named: bool = True
    scoring_uri: str
    data_plane: str
    interface: Interface
    serves_model: bool = False


@frozen(kw_only=True)
class Invocation:
    """What is passed to a pipeline, checked against its interface and written as Azure ML wants it."""

    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]

    @classmethod
    def bind(
        cls,
        interface: Interface,
        *,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        assets: str,
        pipeline: str,
    ) -> Self:
        """Check what is passed, and complain once of all that is wrong, before anything is submitted.

        Args:
            interface: What the pipeline declares.
            inputs: Literals, URIs, or mappings with a ``uri`` (an arrival is one).
            outputs: URIs, or mappings with a ``uri``.
            assets: The workspace's id, in which short names such as ``azureml:model:3`` are looked up.
            pipeline: What to call the pipeline in the message.

        Raises:
            ConfigError: An input or output is unknown, missing, or of another kind than declared.
        """
        faults = [
            f"{kind} {name!r} is not declared (declared: {', '.join(sorted(declared)) or 'none'})"
            for kind, passed, declared in (("input", inputs, interface.inputs), ("output", outputs, interface.outputs))
            for name in sorted(set(passed) - set(declared))
        ]
        faults += [
            f"required input {name!r} ({one.type}) is missing"
            for name, one in sorted(interface.inputs.items())
            if one.required and inputs.get(name) is None
        ]
        bound_inputs, bound_outputs = {}, {}
        for name in sorted(set(inputs) & set(interface.inputs)):
            if inputs[name] is not None:
                bound_inputs[name] = _bind(name, inputs[name], interface.inputs[name], assets=assets, faults=faults)
        for name in sorted(set(outputs) & set(interface.outputs)):
            declared = interface.outputs[name]
            uri = _uri_of(f"output {name!r}", outputs[name], declared.type, faults)
            bound_outputs[name] = {"jobOutputType": URI_TYPES.get(declared.type, "UriFolder"), "uri": uri}
        if faults:
            raise ConfigError(f"What is passed does not fit the pipeline of {pipeline}: {'; '.join(faults)}.")
        return cls(inputs=bound_inputs, outputs=bound_outputs)


def _is_true(written: object) -> bool:
    return str(written).lower() == "true"


def _bind(name: str, value: Any, declared: Declared, *, assets: str, faults: list[str]) -> dict[str, Any]:
    if declared.type in URI_TYPES:
        uri = _uri_of(f"input {name!r}", value, declared.type, faults)
        return {"jobInputType": URI_TYPES[declared.type], "uri": _asset_id(uri, declared.type, assets)}
    if isinstance(value, (Mapping, list, tuple, set)):
        faults.append(f"input {name!r} is a {declared.type}, not {type(value).__name__}")
    elif not _fits(value, declared.type):
        faults.append(f"input {name!r} is a {declared.type}, and {value!r} is none")
    return {"jobInputType": "Literal", "value": _written(value)}


def _fits(value: Any, kind: str) -> bool:
    text = str(value)
    try:
        if kind == "integer":
            return not isinstance(value, bool) and int(text) == float(text)
        if kind == "number":
            return not isinstance(value, bool) and not math.isnan(float(text))
    except ValueError:
        return False
    return kind != "boolean" or text.lower() in ("true", "false")


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _uri_of(what: str, value: Any, kind: str, faults: list[str]) -> str:
    uri = value.get("uri") if isinstance(value, Mapping) else value
    if not isinstance(uri, str) or not uri.startswith(URI_STARTS):
        shown = repr(uri)[:200]
        faults.append(f"{what} is a {kind}, and {shown} is no URI (one begins with {', '.join(URI_STARTS)})")
        return ""
    return uri


def _asset_id(uri: str, kind: str, assets: str) -> str:
    """Write a short name ``azureml:NAME:VERSION`` as the id of the asset it names."""
    if not uri.startswith("azureml:") or uri.startswith(("azureml://", "azureml:/")):
        return uri.removeprefix("azureml:") if uri.startswith("azureml:/subscriptions/") else uri
    name, _, version = uri.removeprefix("azureml:").partition(":")
    if not name or not version:
        return uri
    return f"{assets}/{'models' if kind in MODEL_TYPES else 'data'}/{name}/versions/{version}"

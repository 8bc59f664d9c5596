"""Pipeline jobs that are published nowhere: a YAML file, its content, an object of azure-ai-ml, or what makes one."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self

from attrs import define, field, frozen

from airflow_azureml.core.pipelines import LITERAL_TYPES, URI_TYPES, Declared, Interface, Invocation, Pipeline
from airflow_azureml.errors import ConfigError

#: The words of `URI_TYPES` back again.
TYPE_OF_URI: Mapping[str, str] = {theirs: ours for ours, theirs in URI_TYPES.items()}
#: What Azure ML puts in at run time. It looks like Airflow's templates and is none of them.
#: Source: azure-ai-ml 1.35, data binding expressions and the macros of job outputs.
AZURE_EXPRESSION = re.compile(
    r"\$\{\{\s*(?:(?:parent|inputs|outputs|search_space)\.[\w.-]+|name|output_name|default_datastore)\s*\}\}"
)
_PARENT_INPUT = re.compile(r"\$\{\{\s*parent\.inputs\.([\w-]+)\s*\}\}")
#: A compute that is no resource of the workspace.
SERVERLESS = "serverless"

#: Reads the component that a node names by a path, as its YAML's content; None where the name is no local file's.
ReadComponent = Callable[[str], Mapping[str, Any] | None]


def _text_of(path: str | os.PathLike[str]) -> str:
    return os.fspath(path)


@define(kw_only=False)
class PipelineFile:
    """The YAML file of a pipeline job, on the worker.

    Attributes:
        path: The file's path, which may be a template. Relative paths in the file are relative to the file.
    """

    path: str = field(converter=_text_of)

    template_fields: ClassVar[tuple[str, ...]] = ("path",)

    def __str__(self) -> str:
        return f"pipeline file {self.path}"


class PipelineJobObject(Protocol):
    """A pipeline job of azure-ai-ml, as far as it can be told without importing that: ``entities.PipelineJob``."""

    name: Any
    experiment_name: Any
    properties: Any

    @property
    def inputs(self) -> Any: ...  # noqa: D102  # azure-ai-ml's
    @property
    def outputs(self) -> Any: ...  # noqa: D102  # azure-ai-ml's
    @property
    def settings(self) -> Any: ...  # noqa: D102  # azure-ai-ml's


@frozen(eq=False, repr=False)
class Held:
    """Something that Airflow hands on as it is: it would call a callable template field, and copy an object.

    Attributes:
        value: An object of azure-ai-ml, or a callable.
    """

    value: Any

    def __str__(self) -> str:
        """Describe it, alike at every parse: Airflow compares what it stores of a DAG."""
        if callable(self.value) and hasattr(self.value, "__qualname__"):
            return f"{self.value.__module__}.{self.value.__qualname__}()"
        return f"an object {type(self.value).__module__}.{type(self.value).__qualname__}"

    def __deepcopy__(self, memo: object) -> Self:
        return self


#: A pipeline job that is published nowhere.
PlainPipeline = PipelineFile | Mapping[str, Any] | Held | PipelineJobObject | Callable[[], Any]
#: All that can be run.
AnyPipeline = Pipeline | PlainPipeline


def held(value: Any) -> Any:
    """Keep what Airflow cannot render out of its reach; what it can (text, mappings, ours, XComs) passes as it is."""
    kind = type(value)
    # A command of azure-ai-ml is a mapping, and callable.
    renders = isinstance(value, str | os.PathLike | Held) or (isinstance(value, Mapping) and not callable(value))
    renders = renders or hasattr(kind, "template_fields") or hasattr(kind, "resolve")
    return value if value is None or renders else Held(value)


def released(value: Any) -> Any:
    """Take what `held` kept."""
    return value.value if isinstance(value, Held) else value


def named(pipeline: object) -> str:
    """Name what was run, for people, in a few words."""
    value = released(pipeline)
    if isinstance(value, Mapping):
        title = str(value.get("display_name") or value.get("name") or value.get("experiment_name") or "")
        return f"pipeline job {title[:100]}".rstrip()
    if callable(value) and hasattr(value, "__qualname__"):
        return f"pipeline job of {value.__qualname__}"
    if isinstance(pipeline, Held):
        return f"pipeline job {str(getattr(value, 'display_name', '') or '')[:100]}".rstrip()
    return str(value)


def keeping_azure_expressions(template: str) -> str:
    """Write a template so that ``${{inputs.x}}`` and its like, which are Azure ML's, outlast Airflow's rendering."""
    if "${{" not in template or "{% raw" in template or "{%- raw" in template:
        return template
    return AZURE_EXPRESSION.sub(lambda found: "{{ '" + found[0] + "' }}", template)


def interface_of(job: Mapping[str, Any], read: ReadComponent = lambda _: None) -> Interface:
    """Read what a pipeline job takes and gives.

    A job's file gives its literals without a type; theirs is that of the step's input they go to, where that step's
    component can be read, or else that of the value.

    Args:
        job: The content of a pipeline job's YAML.
        read: Reads components that stand in files.

    Raises:
        ConfigError: It is no pipeline job.
    """
    kind = str(job.get("type") or "command").lower()
    if kind != "pipeline":
        raise ConfigError(f"This is a {kind} job, not a pipeline job (type: pipeline); AzureMLJobOperator runs it.")
    for member in ("inputs", "outputs", "jobs", "settings"):
        if not isinstance(job.get(member) or {}, Mapping):
            raise ConfigError(f"{member} of the pipeline job is a {type(job[member]).__name__}, not a mapping.")
    whole = job.get("component")
    whole = read(whole) if isinstance(whole, str) else whole
    declared = (
        Interface.from_wire({"properties": {"componentSpec": whole}}) if isinstance(whole, Mapping) else Interface()
    )
    types = _types_of_steps(job.get("jobs") or {}, read)
    types |= {name: one.type for name, one in declared.inputs.items()}
    own_inputs = {name: _input(one, types.get(str(name), "")) for name, one in (job.get("inputs") or {}).items()}
    own_outputs = {name: Declared(type=_type(one) or "uri_folder") for name, one in (job.get("outputs") or {}).items()}
    return Interface(
        inputs={**declared.inputs, **{str(name): one for name, one in own_inputs.items()}},
        outputs={**{str(name): one for name, one in own_outputs.items()}, **declared.outputs},
    )


def filled(
    job: Mapping[str, Any], invocation: Invocation, *, settings: Mapping[str, Any], experiment: str
) -> dict[str, Any]:
    """Put what is passed into a pipeline job; how its data is mounted stays as it says.

    Args:
        job: The content of a pipeline job's YAML.
        invocation: What is passed.
        settings: Settings that go over the job's own.
        experiment: The experiment to list the job under; empty for the job's own.
    """
    inputs, outputs = dict(job.get("inputs") or {}), dict(job.get("outputs") or {})
    for name, bound in invocation.inputs.items():
        before = inputs.get(name)
        said = dict(before) if isinstance(before, Mapping) and "value" not in before else {}
        inputs[name] = bound["value"] if is_literal(bound) else {**said, **located(bound, "jobInputType")}
    for name, bound in invocation.outputs.items():
        outputs[name] = {**(outputs.get(name) or {}), **located(bound, "jobOutputType")}
    made = {**job, "inputs": inputs, "outputs": outputs}
    made["settings"] = {**(job.get("settings") or {}), **settings_of(settings)}
    return made | ({"experiment_name": experiment} if experiment else {})


def is_literal(bound: Mapping[str, Any]) -> bool:
    """Tell whether a bound input is a literal, not data or a model."""
    return "value" in bound


def located(bound: Mapping[str, Any], member: str) -> dict[str, str]:
    """Say where data lies as a job's YAML does: ``type`` and ``path``.

    Args:
        bound: An input or output of an `Invocation` that is no literal.
        member: Where its type stands: ``jobInputType`` or ``jobOutputType``.
    """
    uri = str(bound["uri"])
    return {"type": TYPE_OF_URI[bound[member]], "path": f"azureml:{uri}" if uri.startswith("/subscriptions/") else uri}


def settings_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write settings as a job's YAML has them, where a compute's plain name needs ``azureml:``."""
    said = dict(settings)
    compute = said.get("default_compute")
    if isinstance(compute, str) and compute and compute != SERVERLESS and not compute.startswith("azureml:"):
        said["default_compute"] = f"azureml:{compute}"
    return said


def _input(said: Any, type_of_step: str) -> Declared:
    """Read one input of a pipeline job: a literal, a literal as ``value``, or data."""
    value = said["value"] if isinstance(said, Mapping) and "value" in said else said
    if isinstance(value, Mapping):
        kind = _type(value) or type_of_step or "uri_folder"
        default = value.get("default") if kind in LITERAL_TYPES else value.get("path")
        optional = value.get("optional") is True
    else:
        kind = type_of_step or _type_of_literal(value)
        default, optional = value, False
    return Declared(
        type=kind,
        required=default is None and not optional,
        default=None if default is None else str(default),
    )


def _type(said: Any) -> str:
    return str(said.get("type") or "").lower() if isinstance(said, Mapping) else ""


def _type_of_literal(value: Any) -> str:
    """Name the type of a literal; a whole number may well go to an input that takes any."""
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "string"


def _types_of_steps(jobs: Mapping[str, Any], read: ReadComponent) -> dict[str, str]:
    """Name the types of the steps' inputs to which the pipeline's inputs go; where steps differ, any will do."""
    found: dict[str, set[str]] = {}
    for name, kind in _goes_to(jobs, read):
        found.setdefault(name, set()).add(kind)
    return {name: next(iter(kinds)) for name, kinds in found.items() if len(kinds) == 1}


def _goes_to(jobs: Mapping[str, Any], read: ReadComponent) -> Iterator[tuple[str, str]]:
    """Name each pipeline input that goes to a step, and the type of what it goes to."""
    for node in jobs.values():
        if not isinstance(node, Mapping):
            continue
        component = node.get("component") or node.get("trial")
        component = read(component) if isinstance(component, str) else component
        declared = (component.get("inputs") if isinstance(component, Mapping) else None) or {}
        for name, said in (node.get("inputs") or {}).items():
            given = said.get("path") or said.get("value") if isinstance(said, Mapping) else said
            bound = _PARENT_INPUT.fullmatch(given.strip()) if isinstance(given, str) else None
            if bound and _type(declared.get(name)):
                yield bound[1], _type(declared[name])

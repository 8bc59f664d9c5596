"""From a pipeline that SDK v1 published to what takes its place in v2: a component, an endpoint and a deployment.

Source: https://learn.microsoft.com/azure/machine-learning/migrate-to-v2-deploy-pipelines: a pipeline endpoint becomes
a batch endpoint, a published pipeline the deployment of a pipeline component, a pipeline's parameter an input.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Self

from attrs import frozen

from airflow_azureml.core.published import TRUTHS, Kind, Parameter, Published
from airflow_azureml.errors import ConfigError

SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
DEPLOYMENT = "migrated"
#: Length and letters of the names of endpoints and deployments.
#: Source: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas#endpoints
ENDPOINT_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{1,30})[A-Za-z0-9]")
#: v2's types, by the kinds of v1. What is not told is a text, as all of v1's assignments are.
TYPE_OF_KIND: Mapping[Kind, str] = {
    Kind.INTEGER: "integer",
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "boolean",
    Kind.STRING: "string",
    Kind.ANY: "string",
    Kind.DATA_PATH: "uri_folder",
    Kind.DATASET: "mltable",
}
PLACEHOLDER = "steps"
#: Words that are no texts in YAML 1.1, which azure-ai-ml reads. Source: https://yaml.org/type/bool.html, …/null.html.
NO_NAMES = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@frozen(kw_only=True)
class Migration:
    """The files that a published pipeline becomes.

    Attributes:
        component: The pipeline component's YAML.
        endpoint: The batch endpoint's.
        deployment: The pipeline-component deployment's.
    """

    component: str
    endpoint: str
    deployment: str

    @classmethod
    def of(cls, published: Published, *, endpoint: str = "", compute: str = "", outputs: Collection[str] = ()) -> Self:
        """Write what can be carried over, and say in comments what cannot.

        Args:
            published: The published pipeline.
            endpoint: The batch endpoint's name; empty for one made of the pipeline's.
            compute: The compute cluster of the steps; v1 keeps that in the graph, step by step.
            outputs: The parameters that say where to write: v1 does not tell them from others.

        Raises:
            ConfigError: An output is no parameter of the pipeline, or the endpoint's name is none.
        """
        name = endpoint or _endpoint_name(published.name)
        unknown = sorted(set(outputs) - set(published.parameters))
        if unknown:
            known = ", ".join(sorted(published.parameters)) or "none"
            raise ConfigError(f"{', '.join(unknown)} is no parameter of the published pipeline (it has {known}).")
        if not ENDPOINT_NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is no name of a batch endpoint: 3 to 32 letters, digits and hyphens, a letter first."
            )
        component = _Component.of(published, outputs)
        return cls(
            component="\n".join(component.lines()) + "\n",
            endpoint="\n".join(_endpoint(published, name)) + "\n",
            deployment="\n".join(_deployment(published, component, name, compute)) + "\n",
        )

    @property
    def files(self) -> Mapping[str, str]:
        """Name the files, in the order in which they are created."""
        return {"component.yml": self.component, "endpoint.yml": self.endpoint, "deployment.yml": self.deployment}


@frozen(kw_only=True)
class _Port:
    """One parameter, as an input or an output of a component.

    Attributes:
        name: Its name in v2.
        was: Its name in v1.
    """

    name: str
    was: str
    type: str
    default: str | None
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, was: str, name: str, parameter: Parameter, *, is_output: bool) -> Self:
        kind = "uri_folder" if is_output else _type(parameter)
        remarks = [f"In v1 its name is {quoted(was)}."] if was != name else []
        if parameter.kind is Kind.ANY and not is_output:
            remarks.append("v1 does not tell its type: make it number, integer or boolean where it is one.")
        if parameter.kind in {Kind.DATA_PATH, Kind.DATASET} or is_output:
            remarks += _remarks_on_data(parameter, is_output=is_output)
        literal = kind in {"integer", "number", "boolean", "string"}
        default = parameter.default if literal and not parameter.required else None
        return cls(name=name, was=was, type=kind, default=default, remarks=tuple(remarks))

    def lines(self) -> Iterator[str]:
        yield from (f"  # {remark}" for remark in self.remarks)
        yield f"  {_plain(self.name)}:"
        yield f"    type: {self.type}"
        if self.default is not None:
            yield f"    default: {quoted(self.default) if self.type == 'string' else self.default.lower()}"


def _type(parameter: Parameter) -> str:
    """Choose v2's type; a default that is none of its kind shows that the parameter is another."""
    default = parameter.default.lower()
    if parameter.kind is Kind.INTEGER and default in TRUTHS:
        return "boolean"  # SDK v1 declares a bool as Int
    if parameter.kind in {Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN} and not parameter.required:
        wanted = {
            Kind.INTEGER: r"[+-]?\d+",
            Kind.NUMBER: r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?",
            Kind.BOOLEAN: "true|false",
        }
        if not re.fullmatch(wanted[parameter.kind], default, re.ASCII):
            return "string"
    return TYPE_OF_KIND[parameter.kind]


def _remarks_on_data(parameter: Parameter, *, is_output: bool) -> Iterator[str]:
    if is_output:
        if parameter.default:
            yield f"v1 wrote to {quoted(parameter.default)} by default; v2 chooses a new folder for each job."
        return
    what = "a dataset" if parameter.kind is Kind.DATASET else "a DataPath"
    yield f"In v1, {what}, of a file or a folder: make it uri_file, uri_folder or mltable, as its step reads it."
    if parameter.kind is Kind.DATA_PATH:
        yield "Where a step writes to it, it is an output: migrate again with --output for it."
    if parameter.default:
        yield f"NOT CARRIED OVER: its default, {quoted(parameter.default)}. Data has none in v2: pass it each time."


@frozen(kw_only=True)
class _Component:
    published: Published
    name: str
    version: str
    inputs: tuple[_Port, ...]
    outputs: tuple[_Port, ...]

    @classmethod
    def of(cls, published: Published, outputs: Collection[str]) -> Self:
        names = _names(published.parameters)
        ports = {
            was: _Port.of(was, names[was], parameter, is_output=was in outputs)
            for was, parameter in published.parameters.items()
        }
        version = published.version
        return cls(
            published=published,
            name=_component_name(published.name),
            version=version if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}", version) else "1",
            inputs=tuple(port for was, port in ports.items() if was not in outputs),
            outputs=tuple(port for was, port in ports.items() if was in outputs),
        )

    def lines(self) -> Iterator[str]:
        """Write the component: its face is the published pipeline's, its one step is to be replaced."""
        published = self.published
        yield f"# The published pipeline {quoted(published.name)} ({published.id}) of SDK v1 as a pipeline component."
        yield "# Create it: az ml component create --file component.yml"
        yield "#"
        yield f"# NOT CARRIED OVER: the steps ({published.steps or 'unknown how many'}). v1 keeps them as a graph of"
        yield "# modules, with code, environments and compute targets that v2 cannot take over. Write each as a command"
        yield f"# component, in place of the step {PLACEHOLDER!r} below, which fails on purpose. The studio shows the"
        yield "# graph with any run."
        yield "# NOT CARRIED OVER: schedules, notifications, and whether a step's results are reused."
        yield f"$schema: {SCHEMAS}/pipelineComponent.schema.json"
        yield "type: pipeline"
        yield f"name: {_plain(self.name)}"
        yield f"version: {quoted(self.version)}"
        yield f"display_name: {quoted(published.name or self.name)}"
        if published.description:
            yield f"description: {quoted(published.description)}"
        for what, ports in (("inputs", self.inputs), ("outputs", self.outputs)):
            if ports:
                yield f"{what}:"
                for port in ports:
                    yield from port.lines()
        yield from self._jobs()

    def _jobs(self) -> Iterator[str]:
        yield "jobs:"
        yield f"  {PLACEHOLDER}:"
        yield "    type: command"
        yield "    component:"
        yield "      type: command"
        yield "      command: echo 'Put the steps of the published pipeline here.' >&2; exit 1"
        yield "      environment:"
        yield "        image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
        for what, ports in (("inputs", self.inputs), ("outputs", self.outputs)):
            if ports:
                yield f"      {what}:"
                yield from (f"        {_plain(port.name)}: {{type: {port.type}}}" for port in ports)
        for what, ports in (("inputs", self.inputs), ("outputs", self.outputs)):
            if ports:
                yield f"    {what}:"
                yield from (f"      {_plain(port.name)}: ${{{{parent.{what}.{port.name}}}}}" for port in ports)


def _endpoint(published: Published, name: str) -> Iterator[str]:
    yield f"# The batch endpoint in place of what SDK v1 calls a pipeline endpoint, for {quoted(published.name)}."
    yield "# Create it: az ml batch-endpoint create --file endpoint.yml"
    yield f"$schema: {SCHEMAS}/batchEndpoint.schema.json"
    yield f"name: {_plain(name)}"
    yield "auth_mode: aad_token"
    if published.description:
        yield f"description: {quoted(published.description)}"


def _deployment(published: Published, component: _Component, endpoint: str, compute: str) -> Iterator[str]:
    yield f"# The deployment in place of the published pipeline {quoted(published.name)} ({published.id})."
    yield "# Create it: az ml batch-deployment create --file deployment.yml --set-default"
    yield "# Then, in the DAG:"
    yield f'#     pipeline=BatchEndpoint("{endpoint}", deployment="{DEPLOYMENT}")'
    yield f"$schema: {SCHEMAS}/pipelineComponentBatchDeployment.schema.json"
    yield "type: pipeline"
    yield f"name: {DEPLOYMENT}"
    yield f"endpoint_name: {_plain(endpoint)}"
    yield f"component: azureml:{component.name}:{component.version}"
    yield "# The service takes words only, hence the quotes."
    yield "settings:"
    yield f'  continue_on_step_failure: "{published.continues_on_step_failure}"'
    yield "  # A score out of another run's cache is a success that was not; v1 decided this step by step."
    yield '  force_rerun: "True"'
    if compute:
        yield f"  default_compute: {quoted(compute)}"
    else:
        yield "  # NOT CARRIED OVER: the compute, which v1 keeps in the graph, step by step."
        yield "  # default_compute: CLUSTER"


def _names(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Give each parameter a name that v2 takes: an identifier, and no two the same without case."""
    names: dict[str, str] = {}
    for was in parameters:
        wish = re.sub(r"[^A-Za-z0-9_]", "_", was)
        wish = wish if re.match(r"[A-Za-z]", wish) else f"p_{wish}"
        taken = {name.lower() for name in names.values()}
        name, number = wish, 2
        while name.lower() in taken:
            name, number = f"{wish}_{number}", number + 1
        names[was] = name
    return names


def _component_name(name: str) -> str:
    """Make a component's name: lower-case letters, digits and underscores, a letter first."""
    made = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return made[:200] if re.match(r"[a-z]", made) else f"pipeline_{made}"[:200].rstrip("_")


def _endpoint_name(name: str) -> str:
    made = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    made = made if re.match(r"[a-z]..", made) else f"pipeline-{made}"
    return made[:32].rstrip("-")


def _plain(name: str) -> str:
    """Write a name that begins with a letter, in quotes where YAML would take it for something else."""
    return quoted(name) if name.lower() in NO_NAMES else name


def quoted(text: str) -> str:
    """Write a text as YAML's double-quoted scalar on one line, which any text can be."""
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if " " <= letter <= "~":
        return letter
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004  # where YAML's longer escape begins

"""What a job needs to be there, and how that is named."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

#: The compute that is nobody's to look at.
SERVERLESS = "serverless"


@frozen(kw_only=True)
class Part:
    """A job or one of its steps, as far as it needs something to run on.

    Attributes:
        name: What to call it: ``step train``.
        compute: The compute as it is written; empty for none.
        environment: The environment as it is written; empty for none, or one that is made with the job.
        nodes: How many nodes it takes at once; at least 1.
        component: The id of the component that says the rest; empty where nothing is left to be read.
    """

    name: str
    compute: str = ""
    environment: str = ""
    nodes: int = 1
    component: str = ""


@frozen(kw_only=True)
class Passed:
    """An input or output that is a URI.

    Attributes:
        uri: As it is written.
        type: Azure ML's data type; empty where it is not known.
    """

    uri: str
    type: str = ""

    @property
    def asset_kind(self) -> str:
        """What it is where it names an asset: ``models`` or ``data``, as they are called in a workspace's address."""
        return "models" if "model" in self.type.lower() else "data"


@frozen(kw_only=True)
class Needs:
    """Everything that a job needs to be there.

    Attributes:
        datastores: Names of datastores beside those of the inputs and outputs, as they are written.
    """

    parts: Sequence[Part] = ()
    inputs: Mapping[str, Passed] = field(factory=dict)
    outputs: Mapping[str, Passed] = field(factory=dict)
    datastores: Sequence[str] = ()


def parts_of(nodes: Mapping[str, Any], *, default_compute: str, within: str = "") -> Iterator[Part]:
    """Read the steps of a pipeline, as a component specification or a job holds them.

    Args:
        nodes: The ``jobs``.
        default_compute: The compute of a step that names none.
        within: The name of the step that this pipeline is; empty for the pipeline itself.
    """
    for name, node in nodes.items():
        if not isinstance(node, Mapping):
            continue
        component = node.get("componentId") or node.get("component") or ""
        inline = component if isinstance(component, Mapping) else {}
        yield part_of(
            f"step {within}{name}",
            {**inline, **node},
            default_compute=default_compute,
            component="" if inline else str(component),
        )


def part_of(name: str, spec: Mapping[str, Any], *, default_compute: str = "", component: str = "") -> Part:
    """Read a step or a command job; what its component says is known only when that is read, see `completed`."""
    resources = spec.get("resources") or {}
    count = resources.get("instance_count", resources.get("instanceCount")) if isinstance(resources, Mapping) else None
    environment = spec.get("environmentId") or spec.get("environment") or ""
    return Part(
        name=name,
        compute=str(spec.get("computeId") or spec.get("compute") or default_compute),
        environment=environment if isinstance(environment, str) else "",
        nodes=max(1, int(str(count))) if str(count).isdecimal() else 1,
        component=component,
    )


def completed(part: Part, spec: Mapping[str, Any]) -> Part:
    """Say of a step what its component says; what the step says itself goes first."""
    own = part_of(part.name, spec)
    return Part(
        name=part.name,
        compute=part.compute or own.compute,
        environment=part.environment or own.environment,
        nodes=max(part.nodes, own.nodes),
    )


@frozen(kw_only=True)
class Named:
    """A thing of the workspace, by its name.

    Attributes:
        version: Empty where a label, or nothing, is said.
        label: Empty where a version, or nothing, is said.
    """

    name: str
    version: str = ""
    label: str = ""

    def __str__(self) -> str:
        return self.name + (f":{self.version}" if self.version else f"@{self.label}" if self.label else "")


_ID_TAIL = re.compile(r"(?P<name>[^/]+)(?:/(?P<by>versions|labels)/(?P<which>[^/]+))?")
_SHORT = re.compile(r"(?P<name>[^/:@${}]+)(?:(?P<by>[:@])(?P<which>[^/:@]+))?")


def named(written: str, kind: str, *, workspace_id: str) -> Named | None:
    """Read how a thing of a workspace is named; None for one that is of elsewhere, or not named yet.

    Args:
        written: ``azureml:NAME``, ``NAME:VERSION``, ``NAME@LABEL`` or an id.
        kind: ``computes``, ``environments``, ``data``, ``models`` or ``datastores``.
        workspace_id: The workspace's own id.
    """
    text = written if written.startswith("azureml://") else written.removeprefix("azureml:")
    if text.startswith("/"):
        start = f"{workspace_id}/{kind}/"
        if not text.lower().startswith(start.lower()):
            return None
        found = _ID_TAIL.fullmatch(text[len(start) :])
        is_label = found is not None and found["by"] == "labels"
    else:
        found = _SHORT.fullmatch(text)
        is_label = found is not None and found["by"] == "@"
    if found is None:
        return None
    which = found["which"] or ""
    return Named(name=found["name"], version="" if is_label else which, label=which if is_label else "")

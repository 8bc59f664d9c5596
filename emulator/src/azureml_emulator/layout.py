"""The nodes of a pipeline with everything bound: what each is given, and where its outputs go."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from azureml_emulator.steps import (
    SpecificationError,
    bind_inputs,
    dependencies,
    effective_inputs,
    in_order,
    one_value,
    output_uri,
    sources,
)
from azureml_emulator.sweep_steps import SWEEP

Json = dict[str, Any]

#: The type of a node, or of a component, that has nodes of its own.
PIPELINE = "pipeline"

#: What a node says of an output, and how a job says it; a node of azure-ai-ml writes ``name`` and ``version``.
_OUTPUT_MEMBERS = {
    "name": "assetName",
    "version": "assetVersion",
    **{member: member for member in ("uri", "mode", "assetName", "assetVersion")},
}

_PARENT_OUTPUT = re.compile(r"\$\{\{\s*parent\.outputs\.(?P<name>[A-Za-z0-9_.-]+)\s*\}\}")


@attrs.frozen(kw_only=True)
class Step:
    """One node of a pipeline, with everything bound.

    Attributes:
        node: Its name in the pipeline.
        run: The name of its run.
        component: The component's specification, with the node's own settings over it.
        component_id: The component's ARM id; empty where it is written inline.
        inputs: As a run's inputs; those that are other nodes' outputs have the URI that these would go to.
        outputs: As a run's outputs; each has its URI.
        asked: What the pipeline's author said of each output, with its URI as it was written.
        feeds: Which output of the pipeline each bound output is.
        sources: Which inputs are other nodes' outputs: the node and its output.
        may_lack: The nodes without whose outputs it may run, since only its optional inputs take them.
        after: The nodes that must have completed before.
        compute: The compute that the node itself names; empty for none.
    """

    node: str
    run: str
    component: Json
    component_id: str
    inputs: dict[str, Json]
    outputs: dict[str, Json]
    asked: dict[str, Json]
    feeds: dict[str, str]
    sources: dict[str, tuple[str, str]]
    may_lack: frozenset[str]
    after: frozenset[str]
    compute: str = ""

    @property
    def is_pipeline(self) -> bool:
        """Whether it has nodes of its own."""
        return str(self.component.get("type", "command")) == PIPELINE

    @property
    def is_sweep(self) -> bool:
        """Whether it is run as trials."""
        return str(self.component.get("type")) == SWEEP


def lay_out(
    jobs: Mapping[str, Json],
    components: Mapping[str, Json],
    *,
    inputs: Mapping[str, Json],
    outputs: Mapping[str, Json],
    names: Mapping[str, str],
    datastore: str = "workspaceblobstore",
) -> list[Step]:
    """Bind all nodes of a pipeline, in an order in which they may run.

    Args:
        jobs: The pipeline's nodes.
        components: The specification of each node's component.
        inputs: The pipeline's inputs.
        outputs: The pipeline's outputs; a URI in it is where the node that is bound to it writes.
        names: The name of each node's run.
        datastore: Where outputs go that nobody gave a URI.

    Raises:
        SpecificationError: The nodes do not fit together.
    """
    after = dependencies(jobs)
    order = in_order(after)
    bound = {
        node: _bind_outputs(node, jobs[node], components[node], wanted=outputs, run=names[node], datastore=datastore)
        for node in order
    }
    return [
        _step(node, jobs[node], components[node], inputs=inputs, bound=bound, run=names[node], after=after[node])
        for node in order
    ]


@attrs.frozen
class _Outputs:
    """A node's outputs; the attributes are those of `Step`."""

    outputs: dict[str, Json]
    asked: dict[str, Json]
    feeds: dict[str, str]


def _step(  # noqa: PLR0913  # the parts of one node
    node: str,
    spec: Json,
    component: Json,
    *,
    inputs: Mapping[str, Json],
    bound: Mapping[str, _Outputs],
    run: str,
    after: frozenset[str],
) -> Step:
    """Bind a node's inputs; the outputs of all nodes are bound already."""
    given = bind_inputs(
        spec.get("inputs") or {}, inputs=inputs, outputs={other: one.outputs for other, one in bound.items()}
    )
    declared = component.get("inputs") or {}
    taken = sources(spec.get("inputs") or {})
    needed = {source for name, (source, _) in taken.items() if not _is_optional(declared.get(name))}
    return Step(
        node=node,
        run=run,
        component=component,
        component_id=str(spec.get("componentId") or "").removeprefix("azureml:"),
        inputs=_moded(effective_inputs(declared, given, whose=f"The component of node {node}"), spec, declared),
        outputs=bound[node].outputs,
        asked=bound[node].asked,
        feeds=bound[node].feeds,
        sources=taken,
        may_lack=frozenset(source for source, _ in taken.values()) - needed,
        after=after,
        compute=compute_name(spec.get("computeId") or spec.get("compute")),
    )


def _moded(inputs: dict[str, Json], spec: Json, declared: Mapping[str, Json]) -> dict[str, Json]:
    """Give inputs of data the mode that the node says, or else its component."""
    moded = {}
    for name, one in inputs.items():
        said = (spec.get("inputs") or {}).get(name)
        mode = said.get("mode") if isinstance(said, Mapping) else None
        mode = mode or (declared.get(name) or {}).get("mode")
        moded[name] = {**one, "mode": mode} if mode and one.get("uri") else one
    return moded


def _is_optional(declared: Json | None) -> bool:
    return str((declared or {}).get("optional", False)).lower() == "true"


def compute_name(said: Any) -> str:
    """Read the name of a compute out of whatever names one; empty for none and for serverless."""
    name = str(said or "").removeprefix("azureml:").rpartition("/")[2]
    return "" if name.lower() == "serverless" else name


def _bind_outputs(
    node: str, spec: Json, component: Json, *, wanted: Mapping[str, Json], run: str, datastore: str
) -> _Outputs:
    """Give each output of a node its type and its place, and say which output of the pipeline it is."""
    given, declared = spec.get("outputs") or {}, component.get("outputs") or {}
    if unknown := sorted(given.keys() - declared.keys()):
        raise SpecificationError(f"The component of node {node} has no output {', '.join(unknown)}.")
    asked, feeds = _asked_outputs(node, given, wanted)
    outputs = {}
    for name, declaration in declared.items():
        kind = str((declaration or {}).get("type", "uri_folder")).lower()
        wish = asked.get(name, {})
        uri = output_uri(run, name, kind=kind, given=wish.get("uri"), datastore=datastore)
        outputs[name] = {"mode": "ReadWriteMount", **wish, "jobOutputType": kind, "uri": uri}
    return _Outputs(outputs, asked, feeds)


def _asked_outputs(
    node: str, given: Mapping[str, Any], outputs: Mapping[str, Json]
) -> tuple[dict[str, Json], dict[str, str]]:
    """Read what a node says of its outputs: settings by output, and which output of the pipeline each one is."""
    asked: dict[str, Json] = {}
    feeds: dict[str, str] = {}
    for name, one in given.items():
        if found := _PARENT_OUTPUT.fullmatch(str(one_value(one))):
            if found["name"] not in outputs:
                raise SpecificationError(f"Node {node} writes {found[0]}, but the pipeline has no such output.")
            feeds[name] = found["name"]
            asked[name] = {key: value for key, value in outputs[found["name"]].items() if value is not None}
        elif isinstance(one, Mapping):
            asked[name] = {key: one[said] for said, key in _OUTPUT_MEMBERS.items() if one.get(said)}
        elif one is not None:
            raise SpecificationError(
                f"Output {name} of node {node} is {one!r}; it can only be ${{{{parent.outputs.NAME}}}}."
            )
    return asked, feeds


def failed_nodes_message(failed: Sequence[str]) -> str:
    """Say which nodes a pipeline failed of, in the service's words.

    Args:
        failed: Their paths, without the first slash.
    """
    paths = ", ".join(f"/{node}" for node in failed)
    return (
        f"Pipeline has failed child jobs. Failed nodes: {paths}. For more details and logs, please go to the job detail"
        " page and check the child jobs."
    )

"""In which order a pipeline's steps run, what they are given and what their commands say; all of it pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

#: Input types that are passed as text; all others are blobs or folders.
LITERAL_TYPES = frozenset({"literal", "string", "number", "integer", "boolean", "float", "enum"})
#: Types whose path is one file.
FILE_TYPES = frozenset({"uri_file"})

_NAME = r"[A-Za-z0-9_.-]+"
_PLACEHOLDER = re.compile(r"\$\{\{\s*(?P<what>[^}]*?)\s*\}\}")
_OPTIONAL = re.compile(r"\$\[\[(?P<block>.*?)\]\]", re.DOTALL)
_PARENT_INPUT = re.compile(rf"\$\{{\{{\s*parent\.inputs\.(?P<name>{_NAME})\s*\}}\}}")
_JOB_OUTPUT = re.compile(rf"\$\{{\{{\s*parent\.jobs\.(?P<node>[A-Za-z0-9_-]+)\.outputs\.(?P<name>{_NAME})\s*\}}\}}")


class SpecificationError(Exception):
    """The job's specification cannot be run; the message says what is wrong with it."""


# commands


def substitute(command: str, values: Mapping[str, str]) -> str:
    """Fill a command's placeholders.

    Args:
        command: With ``${{inputs.x}}`` and ``${{outputs.y}}``; a block in ``$[[ ]]`` stays only if all placeholders in
            it have a value.
        values: By ``inputs.x`` and ``outputs.y``. They go in as they are: what looks like a placeholder in a value is
            text, and nothing is quoted for the shell, as in Azure ML.

    Raises:
        SpecificationError: A placeholder outside of an optional block has no value.
    """
    pieces = []
    at = 0
    for optional in _OPTIONAL.finditer(command):
        pieces.append(_fill(command[at : optional.start()], values))
        block = optional["block"]
        if all(found["what"] in values for found in _PLACEHOLDER.finditer(block)):
            pieces.append(_fill(block, values))
        at = optional.end()
    return "".join([*pieces, _fill(command[at:], values)])


def _fill(text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found["what"] not in values:
            known = ", ".join(sorted(values)) or "nothing"
            raise SpecificationError(f"The command asks for {found[0]}, which has no value; there is {known}.")
        return values[found["what"]]

    return _PLACEHOLDER.sub(value, text)


# the order of steps


def dependencies(jobs: Mapping[str, Json]) -> dict[str, frozenset[str]]:
    """Read from each node's inputs whose outputs it takes.

    Raises:
        SpecificationError: It takes an output of a node that the pipeline does not have.
    """
    after = {}
    for node, spec in jobs.items():
        texts = (str(one_value(given)) for given in (spec.get("inputs") or {}).values())
        taken = frozenset(found["node"] for text in texts for found in _JOB_OUTPUT.finditer(text))
        if unknown := sorted(taken - jobs.keys()):
            raise SpecificationError(f"Node {node} takes an output of {', '.join(unknown)}, which is no node here.")
        after[node] = taken
    return after


def in_order(after: Mapping[str, frozenset[str]]) -> list[str]:
    """Order nodes so that each comes after those it depends on, and otherwise as they stand.

    Args:
        after: The nodes each node must wait for; all of them are keys too.

    Raises:
        SpecificationError: They wait for each other in a circle.
    """
    order: list[str] = []
    left = dict(after)
    while left:
        free = [node for node, waits_for in left.items() if waits_for.isdisjoint(left)]
        if not free:
            raise SpecificationError(f"Nodes {', '.join(left)} wait for each other in a circle.")
        order += free
        for node in free:
            del left[node]
    return order


def sources(given: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Read which of a node's inputs are outputs of other nodes: by input, the node and its output."""
    found = {name: _JOB_OUTPUT.fullmatch(str(one_value(one))) for name, one in given.items()}
    return {name: (match["node"], match["name"]) for name, match in found.items() if match}


def ready(
    after: Mapping[str, frozenset[str]],
    *,
    started: frozenset[str],
    completed: frozenset[str],
    may_lack: Mapping[str, frozenset[str]] | None = None,
    failed: frozenset[str] = frozenset(),
) -> list[str]:
    """Name the nodes that may start now, in the order they stand.

    Args:
        after: The nodes each node must wait for.
        started: Those that have been started.
        completed: Those that have completed.
        may_lack: Of the nodes each one waits for, those without whose outputs it may run.
        failed: Those that will never complete.
    """
    lacks = may_lack or {}
    return [
        node
        for node, waits_for in after.items()
        if node not in started and waits_for <= completed | (failed & lacks.get(node, frozenset()))
    ]


# binding


def effective_inputs(declared: Mapping[str, Json], given: Mapping[str, Json], *, whose: str) -> dict[str, Json]:
    """Combine what a component declares with what it is given.

    Args:
        declared: The component's inputs: type, default, optional.
        given: A run's inputs.
        whose: Names the component in errors.

    Returns:
        A run's inputs; an optional one without value and default is left out.

    Raises:
        SpecificationError: One is missing, is not declared, or is text instead of a path or the other way round.
    """
    if unknown := sorted(given.keys() - declared.keys()):
        known = ", ".join(sorted(declared)) or "none"
        raise SpecificationError(f"{whose} has no input {', '.join(unknown)}; its inputs are: {known}.")
    found = {}
    for name, declaration in declared.items():
        kind = str(declaration.get("type", "string")).lower()
        if name in given:
            found[name] = _typed(given[name], kind, f"Input {name} of {whose}")
        elif declaration.get("default") is not None:
            found[name] = _typed(_default(declaration["default"], kind), kind, f"Input {name} of {whose}")
        elif str(declaration.get("optional", False)).lower() != "true":
            raise SpecificationError(f"{whose} needs input {name} ({kind}), which was not given and has no default.")
    return found


def _default(value: Any, kind: str) -> Json:
    return literal(value) if kind in LITERAL_TYPES else {"jobInputType": kind, "uri": str(value)}


def _typed(given: Json, kind: str, which: str) -> Json:
    """Give an input the type that the component declares."""
    if kind in LITERAL_TYPES:
        if given.get("value") is None:
            raise SpecificationError(f"{which} is a {kind}, but was given {given.get('uri')!r}.")
        return _checked(given, kind, which)
    if not given.get("uri"):
        raise SpecificationError(f"{which} is a {kind}, but was given the text {given.get('value')!r}; give it a uri.")
    return {**given, "jobInputType": kind}


def _checked(given: Json, kind: str, which: str) -> Json:
    text = str(given["value"])
    try:
        match kind:
            case "integer":
                int(text)
            case "number" | "float":
                float(text)
            case "boolean" if text.lower() not in ("true", "false"):
                raise ValueError(text)  # noqa: TRY301  # the same sentence as for numbers
    except ValueError:
        raise SpecificationError(f"{which} is of type {kind}, but was given {text!r}.") from None
    return given


def literal(value: Any) -> Json:
    """Write a plain value as a run's input."""
    return {"jobInputType": "literal", "value": str(value)}


def bind_inputs(
    given: Mapping[str, Any], *, inputs: Mapping[str, Json], outputs: Mapping[str, Mapping[str, Json]]
) -> dict[str, Json]:
    """Replace what a node's inputs say of their parent by what it means.

    Args:
        given: The node's ``inputs``.
        inputs: The pipeline's own inputs; an optional one without value is not in it, and then neither in the result.
        outputs: The outputs of the nodes before, by node.

    Raises:
        SpecificationError: It names an output that is not there.
    """
    bound = {}
    for name, one in given.items():
        text = one_value(one)
        if found := _PARENT_INPUT.fullmatch(str(text)):
            if found["name"] in inputs:
                bound[name] = dict(inputs[found["name"]])
        elif found := _JOB_OUTPUT.fullmatch(str(text)):
            bound[name] = _output_as_input(outputs, found["node"], found["name"])
        elif text is not None:
            bound[name] = literal(_PARENT_INPUT.sub(lambda match: _literal_of(inputs, match["name"]), str(text)))
        elif isinstance(one, Mapping) and one.get("uri"):
            kind = one.get("job_input_type") or one.get("jobInputType") or "uri_folder"
            bound[name] = {"jobInputType": kind, "uri": one["uri"]} | ({"mode": one["mode"]} if one.get("mode") else {})
    return bound


def one_value(given: Any) -> Any:
    """Read what a node says of an input or output, however it is written."""
    return given.get("value") if isinstance(given, Mapping) else given


def _literal_of(inputs: Mapping[str, Json], name: str) -> str:
    value = inputs.get(name, {}).get("value")
    if value is None:
        raise SpecificationError(
            f"The text of a node's input names the pipeline's input {name}, which is no text here."
        )
    return str(value)


def _output_as_input(outputs: Mapping[str, Mapping[str, Json]], node: str, name: str) -> Json:
    if name not in outputs.get(node, {}):
        raise SpecificationError(
            f"Node {node} has no output {name}; it has {', '.join(outputs.get(node, {})) or 'none'}."
        )
    output = outputs[node][name]
    return {"jobInputType": output["jobOutputType"], "uri": output["uri"]}


def output_uri(run: str, name: str, *, kind: str, given: str | None, datastore: str = "workspaceblobstore") -> str:
    """Say where an output goes.

    Args:
        run: The run's name.
        name: The output's name.
        kind: Its type, e.g. ``uri_folder``.
        given: The URI that the client asked for, with ``${{name}}`` and ``${{output_name}}`` in it if it likes.
        datastore: Where it goes otherwise.
    """
    is_file = kind in FILE_TYPES
    if given:
        uri = given.replace("${{name}}", run).replace("${{output_name}}", name)
        return f"{uri}{name}" if is_file and uri.endswith("/") else uri
    return f"azureml://datastores/{datastore}/paths/azureml/{run}/{name}" + ("" if is_file else "/")

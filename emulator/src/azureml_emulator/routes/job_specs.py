"""What a client may ask of a job: reading a specification, and telling a changed one from the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from azureml_emulator import unrun
from azureml_emulator.errors import Json, bad_request, no_component_of_node, not_emulated
from azureml_emulator.names import is_plain
from azureml_emulator.plans import find_component
from azureml_emulator.routes import job_kinds
from azureml_emulator.store import Store

#: What a PUT over an existing job may not change.
IMMUTABLE = (
    "jobType",
    "command",
    "codeId",
    "environmentId",
    "computeId",
    "componentId",
    "experimentName",
    "environmentVariables",
    "inputs",
    "outputs",
    "jobs",
    "settings",
    "distribution",
    "limits",
    "resources",
    *job_kinds.IMMUTABLE,
)
#: What a pipeline's node may be.
NODES = frozenset({"command", "pipeline", "parallel", "sweep"})
_WHOLE = frozenset({"inputs", "outputs", "jobs", "environmentVariables"})
WORDS = {
    "Literal": "literal",
    "UriFile": "uri_file",
    "UriFolder": "uri_folder",
    "MLTable": "mltable",
    "CustomModel": "custom_model",
    "MLFlowModel": "mlflow_model",
    "TritonModel": "triton_model",
}


def snake(word: str) -> str:
    """Spell an input's or output's type as jobs do; endpoints write ``UriFolder``."""
    return WORDS.get(word, word)


def text(value: Any) -> str:
    """Write a literal as the service does: ``True``, ``0.3``."""
    return value if isinstance(value, str) else str(value)


def normal_inputs(given: Mapping[str, Any] | None) -> dict[str, Json]:
    """Read inputs; one that is null is not given.

    Raises:
        WireError: 400 when one has neither a value nor a URI, or a name that could lead out of a job's folder.
    """
    found: dict[str, Json] = {}
    _check_names("input", given)
    for name, one in (given or {}).items():
        if one is None:
            continue
        kind = snake(one.get("jobInputType") or ("literal" if "value" in one else "uri_folder"))
        if kind == "literal":
            if one.get("value") is None:
                raise bad_request(f"Input {name} is a literal without a value.")
            found[name] = {"jobInputType": "literal", "value": text(one["value"])}
        else:
            if not one.get("uri"):
                raise bad_request(f"Input {name} of type {kind} has no uri.")
            found[name] = {"jobInputType": kind, "uri": one["uri"], "mode": one.get("mode") or "ReadOnlyMount"}
    return found


def normal_outputs(given: Mapping[str, Any] | None) -> dict[str, Json]:
    """Read outputs; the artifact folder, which clients send back as ``default``, is none of them.

    Raises:
        WireError: 400 when one has a name that could lead out of a job's folder.
    """
    _check_names("output", given)
    return {
        name: {
            **{key: value for key, value in (one or {}).items() if value is not None},
            "jobOutputType": snake((one or {}).get("jobOutputType") or "uri_folder"),
            "uri": (one or {}).get("uri"),
            "mode": (one or {}).get("mode") or "ReadWriteMount",
        }
        for name, one in (given or {}).items()
        if name != "default"
    }


def _check_names(what: str, given: Mapping[str, Any] | None) -> None:
    for name in given or {}:
        if not is_plain(name):
            raise bad_request(f"{name!r} is no name for an {what}: it is a folder's, with neither / nor \\ in it.")


def check(store: Store, spec: Json, path: str) -> None:
    """Refuse what cannot be run, as early as the service would.

    Raises:
        WireError: 404 for a component that is not there, 400 for a specification that lacks something, 501 for a
            kind of job that is not emulated.
    """
    kind = spec.get("jobType")
    if kind == "Command":
        if not spec.get("command"):
            raise bad_request("A command job needs a command.")
        if spec.get("distribution"):
            raise not_emulated("PUT", path, "a distributed job")
    elif kind == "Pipeline":
        check_component(store, spec.get("componentId"))
        if not spec.get("jobs") and not spec.get("componentId"):
            raise bad_request("A pipeline job needs jobs or a component.")
        for name, node in (spec.get("jobs") or {}).items():
            _check_node(store, name, node, path)
    elif kind in job_kinds.KINDS:
        job_kinds.check(spec, path)
    else:
        raise not_emulated("PUT", path, f"a job of type {kind}")


def _check_node(store: Store, name: str, node: Json | None, path: str) -> None:
    if node is None:
        raise bad_request(f"Node {name} is null.")
    kind = node.get("type", "command")
    if kind in unrun.NODES:
        return
    if kind not in NODES:
        raise not_emulated("PUT", path, f"node {name} of type {kind}")
    named = _trial(name, node) if kind == "sweep" else node.get("componentId")
    if not named:
        raise bad_request(f"Node {name} has no componentId.")
    check_component(store, named)


def _trial(name: str, node: Json) -> Any:
    """Find the component of a sweep's trials, which is in the node or in its ``trial``."""
    trial = node.get("trial")
    if isinstance(trial, dict):
        return trial.get("componentId")
    if trial is not None and not isinstance(trial, str):
        raise bad_request(f"The trial of node {name} is no component.")
    return trial


def check_component(store: Store, component: str | None) -> None:
    """Refuse a component that is not there; None is fine.

    Raises:
        WireError: 404 in the words of a job's PUT.
    """
    if component and not isinstance(component, str):
        raise bad_request("componentId is an object, and must be an id.")
    if component and find_component(store, component) is None:
        raise no_component_of_node(component.removeprefix("azureml:"))


def changed(before: Json, shown: Json, sent: Json) -> str | None:
    """Name a member that a PUT would change although it may not; None when it changes nothing of these.

    Args:
        before: The ``properties`` of the first PUT.
        shown: The ``properties`` that a GET shows now, which clients send back.
        sent: The ``properties`` of this PUT.
    """
    for member in IMMUTABLE:
        new = sent.get(member)
        if new is None and before.get(member) is None:
            continue
        if new is None and member not in _WHOLE:
            continue
        whole = member in _WHOLE
        if not any(
            _same(new or {} if whole else new, old, whole=whole) for old in (before.get(member), shown.get(member))
        ):
            return member
    return None


def _same(new: Any, old: Any, *, whole: bool) -> bool:
    """Compare, leaving out members that are null or that the service fills in by itself."""
    if isinstance(new, dict):
        if not isinstance(old, dict):
            return not _said(new)
        if whole and _said(new) - {"default"} != _said(old) - {"default"}:
            return False
        return all(_same(value, old.get(key), whole=False) for key, value in new.items() if value is not None)
    if isinstance(new, list):
        return json.dumps(new, sort_keys=True) == json.dumps(old, sort_keys=True)
    return old is not None and text(new) == text(old)


def _said(members: Mapping[str, Any]) -> set[str]:
    return {key for key, value in members.items() if value is not None}

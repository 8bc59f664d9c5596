"""The smoke run of a published pipeline: what it is run with before it becomes the default."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attrs import field, frozen

from airflow_azureml.core.marked import Path
from airflow_azureml.core.members import Members
from airflow_azureml.core.pipelines import URI_TYPES
from airflow_azureml.errors import ConfigError

MEMBERS = ("inputs", "skip", "timeout")
TIMEOUT = timedelta(hours=1)
#: What an input may stand for, in the words of Azure ML's own expressions.
_OUTPUT = re.compile(r"\$\{\{\s*smoke\.(?P<endpoint>[\w-]+)\.outputs\.(?P<output>\w+)\s*\}\}")
_DATA = re.compile(r"\$\{\{\s*environment\.data\s*\}\}")
_ANY = re.compile(r"\$\{\{.*\}\}", re.DOTALL)


@frozen(kw_only=True)
class SmokeRun:
    """One smoke run.

    Attributes:
        inputs: What is passed: literals, URIs, paths in the folder (``./``), ``${{environment.data}}``, or an output of
            another smoke run: ``${{smoke.ENDPOINT.outputs.NAME}}``.
        skip: Why there is none; empty where there is one.
        timeout_s: How long it may take. Seconds.
        outputs: The types of what it makes, by name.
    """

    inputs: Mapping[str, Any] = field(factory=dict)
    skip: str = ""
    timeout_s: float = TIMEOUT.total_seconds()
    outputs: Mapping[str, str] = field(factory=dict)

    @property
    def after(self) -> set[str]:
        """The endpoints whose smoke runs must have passed before."""
        found = (_OUTPUT.fullmatch(str(value)) for value in self.inputs.values())
        return {each["endpoint"] for each in found if each}

    @property
    def paths(self) -> list[str]:
        """The paths in the folder of what it is run on."""
        return [path for path in map(path_of, self.inputs.values()) if path]

    def filled(
        self, *, data: str, uploaded: Mapping[str, str], made: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Any]:
        """Give its inputs as they are passed.

        Args:
            data: The URI of the environment's data; empty where it has none.
            uploaded: The URIs of paths in the folder.
            made: The URIs of the outputs of other smoke runs, by endpoint and by name.

        Raises:
            ConfigError: The environment has no data.
        """
        return {
            name: _filled(name, value, data=data, uploaded=uploaded, made=made) for name, value in self.inputs.items()
        }


def _filled(
    name: str, value: Any, *, data: str, uploaded: Mapping[str, str], made: Mapping[str, Mapping[str, str]]
) -> Any:
    text = str(value)
    if output := _OUTPUT.fullmatch(text):
        return made[output["endpoint"]][output["output"]]
    if _DATA.fullmatch(text):
        if not data:
            raise ConfigError(f"The smoke run passes the environment's data as {name}, and the environment has none.")
        return data
    path = path_of(value)
    return uploaded[path] if path else value


def path_of(value: Any) -> str:
    """Give the path in the folder for which an input stands; empty where it does not."""
    return value.removeprefix("./").rstrip("/") if isinstance(value, str) and value.startswith("./") else ""


def smoke_runs_of(said: Members, path: Path, interfaces: Mapping[str, Mapping[str, Any]]) -> dict[str, SmokeRun]:
    """Read how the endpoints of a folder are smoke-run. What is wrong is kept as a fault.

    Args:
        said: The manifest.
        path: Where in it they stand.
        interfaces: The specification of the pipeline component behind each endpoint.
    """
    raw = said.mapping(path)
    for name in raw:
        if name not in interfaces:
            said.fault((*path, name), f"{name!r} is no endpoint with a deployment in this folder.", key=True)
    found = {}
    for name, spec in interfaces.items():
        if name in raw:
            found[name] = _smoke_run(said, (*path, name), spec)
        else:
            told = f"Say how endpoint {name} is smoke-run before it is the default: smoke: {{{name}: {{inputs: …}}}}"
            said.fault(path, f"{told}; or why it is not: {{skip: …}}.")
    for name in found:
        _check_order(said, path, name, all_of=found)
    return found


def _smoke_run(said: Members, path: Path, spec: Mapping[str, Any]) -> SmokeRun:
    raw = said.mapping(path, MEMBERS)
    skip = said.text((*path, "skip")) or ""
    inputs = said.mapping((*path, "inputs"))
    if skip and len(raw) > 1:
        said.fault(path, "With skip there is nothing else.")
    if not skip:
        _check_inputs(said, (*path, "inputs"), inputs, spec)
    timeout = said.duration((*path, "timeout")) or TIMEOUT
    outputs = {
        str(name): str(one.get("type") or "uri_folder") if isinstance(one, Mapping) else "uri_folder"
        for name, one in (spec.get("outputs") or {}).items()
    }
    return SmokeRun(inputs=inputs, skip=skip, timeout_s=timeout.total_seconds(), outputs=outputs)


def _check_inputs(said: Members, path: Path, inputs: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
    declared = {str(name): one for name, one in (spec.get("inputs") or {}).items()}
    for name, value in inputs.items():
        if name not in declared:
            told = ", ".join(sorted(declared)) or "none"
            said.fault((*path, name), f"{name!r} is no input of {spec.get('name')} (its inputs: {told}).", key=True)
            continue
        is_expression = _OUTPUT.fullmatch(str(value)) or _DATA.fullmatch(str(value))
        if _ANY.search(str(value)) and not is_expression:
            known = "${{environment.data}} and ${{smoke.ENDPOINT.outputs.NAME}}"
            said.fault((*path, name), f"{name} is {value!r}; the expressions are {known}.")
        if path_of(value) and isinstance(declared[name], Mapping) and declared[name].get("type") not in URI_TYPES:
            said.fault((*path, name), f"{name} is a {declared[name].get('type')}, and {value!r} is a path.")
    for name, one in declared.items():
        is_open = not isinstance(one, Mapping) or not (one.get("optional") or one.get("default") is not None)
        if is_open and name not in inputs:
            said.fault(path, f"Input {name} of {spec.get('name')} must be passed.")


def _check_order(said: Members, path: Path, name: str, *, all_of: Mapping[str, SmokeRun]) -> None:
    """See that what a smoke run takes from others is made by them, and never by itself."""
    for label, value in all_of[name].inputs.items():
        output = _OUTPUT.fullmatch(str(value))
        if output is None:
            continue
        other = all_of.get(output["endpoint"])
        at = (*path, name, "inputs", label)
        if other is None or other.skip:
            said.fault(at, f"{output['endpoint']} has no smoke run in this folder.")
        elif output["output"] not in other.outputs:
            told = ", ".join(other.outputs) or "none"
            said.fault(at, f"{output['output']} is no output of {output['endpoint']} (its outputs: {told}).")
        elif name in _before(output["endpoint"], all_of):
            said.fault(at, f"The smoke runs of {name} and {output['endpoint']} wait for one another.")


def _before(name: str, all_of: Mapping[str, SmokeRun]) -> set[str]:
    """Name a smoke run, and all that come before it."""
    found, waiting = set[str](), [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += all_of[each].after if each in all_of else ()
    return found

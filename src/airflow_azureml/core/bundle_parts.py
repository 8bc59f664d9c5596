"""The files of a folder that Azure ML knows, and what they refer to: found in the folder, or to be there already."""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from attrs import evolve, field, frozen

from airflow_azureml.core.marked import Marked
from airflow_azureml.errors import ConfigError

#: What says, in a folder, how it is published.
MANIFEST = "publish.yaml"
#: Source: https://azuremlschemas.azureedge.net/latest/, the file names of the schemas.
_SCHEMA = re.compile(r"https?://[^/]*azuremlschemas[^/]*/.*/(?P<kind>\w+)\.schema\.json")
_SHORT = re.compile(r"azureml:(?P<name>[\w.-]+)(?:(?P<sign>[:@])(?P<which>[\w.-]+))?")
_ELSEWHERE = re.compile(r"azureml:|[A-Za-z][A-Za-z0-9+.-]*://|git\+|/subscriptions/")


class Kind(StrEnum):
    """What is published."""

    ENVIRONMENT = "environment"
    COMPONENT = "component"
    COMPUTE = "compute"
    ENDPOINT = "endpoint"
    DEPLOYMENT = "deployment"


KINDS: Mapping[str, Kind] = {
    "environment": Kind.ENVIRONMENT,
    "commandComponent": Kind.COMPONENT,
    "parallelComponent": Kind.COMPONENT,
    "pipelineComponent": Kind.COMPONENT,
    "sparkComponent": Kind.COMPONENT,
    "amlCompute": Kind.COMPUTE,
    "batchEndpoint": Kind.ENDPOINT,
    "pipelineComponentBatchDeployment": Kind.DEPLOYMENT,
}
#: Segments of the ids of what a file may refer to in the workspace.
SEGMENTS: Mapping[Kind, str] = {Kind.ENVIRONMENT: "environments", Kind.COMPONENT: "components"}


@frozen(kw_only=True)
class Reference:
    """What a file refers to in the workspace, not in the folder.

    Attributes:
        kind: What it is.
        name: Its name.
        version: Its version, or empty.
        label: Its label, where there is no version.
        told: Who refers to it, for the message.
    """

    kind: Kind
    name: str
    version: str
    label: str
    told: str


@frozen(kw_only=True)
class Part:
    """One file of what is published.

    Attributes:
        kind: What it is.
        name: The name in the file.
        file: Its path in the folder.
        spec: Its content.
        uses: Other parts: where in the file they stand (``jobs.train.component``), and their keys.
        needs: What has to be in the workspace already.
    """

    kind: Kind
    name: str
    file: str
    spec: Mapping[str, Any] = field(repr=False)
    uses: Mapping[str, str] = field(factory=dict)
    needs: Sequence[Reference] = ()

    @property
    def key(self) -> str:
        """Tell it from all others of the folder."""
        return f"{self.kind} {self.name}"

    @property
    def endpoint(self) -> str:
        """The endpoint of a deployment."""
        return str(self.spec.get("endpoint_name") or "")

    def override(self, version: str) -> list[dict[str, str]]:
        """Give what replaces values of the file, as azure-ai-ml's ``params_override`` takes it.

        Args:
            version: The version under which it and all that it uses are published.
        """
        own = [{"version": version}]
        return [*own, *({where: f"azureml:{key.partition(' ')[2]}:{version}"} for where, key in self.uses.items())]


def parts_of(texts: Mapping[str, str]) -> tuple[list[Part], dict[str, str], list[str]]:
    """Read each file that names a schema of Azure ML's.

    Args:
        texts: The YAML files by their paths in the folder.

    Returns:
        The parts; the files that are not published, with Azure ML's word for what they are; and what is wrong.
    """
    parts, left, faults = [], {}, []
    for file, text in sorted(texts.items()):
        if file == MANIFEST or "azuremlschemas" not in text:
            continue
        try:
            spec = Marked.parse(text, name=file).value
        except ConfigError as error:
            faults.append(str(error))
            continue
        named = _SCHEMA.fullmatch(str(spec.get("$schema") or "")) if isinstance(spec, dict) else None
        if named is None:
            continue
        kind = KINDS.get(named["kind"])
        if kind is None:
            left[file] = named["kind"]
        elif not isinstance(spec.get("name"), str) or not spec["name"]:
            faults.append(f"{file}: {kind} without a name.")
        else:
            parts.append(Part(kind=kind, name=_name(kind, spec), file=file, spec=spec))
    return parts, left, faults


def _name(kind: Kind, spec: Mapping[str, Any]) -> str:
    """Call a part by its name; a deployment by its endpoint's and its own."""
    return f"{spec.get('endpoint_name')}/{spec['name']}" if kind is Kind.DEPLOYMENT else str(spec["name"])


@frozen
class Folder:
    """Finds what files refer to.

    Attributes:
        paths: The paths of all files.
        parts: The parts, by key.
        faults: What is not found, as sentences.
    """

    paths: frozenset[str]
    parts: Mapping[str, Part]
    faults: list[str] = field(factory=list)

    def resolved(self, part: Part) -> Part:
        """Find what a part refers to."""
        uses: dict[str, str] = {}
        needs: list[Reference] = []
        for where, kind, written in _references(part):
            found = self._find(part, where, kind, written)
            if isinstance(found, str):
                uses[where] = found
            elif found is not None:
                needs.append(found)
        for where, path in _files(part):
            self._path(part, where, path)
        return evolve(part, uses=uses, needs=needs)

    def _find(self, part: Part, where: str, kind: Kind, written: Any) -> str | Reference | None:
        """Find a part of the folder, by key, or what the workspace must have; None where it is written out there."""
        if isinstance(written, Mapping):
            return self._same_environment(part, written) if kind is Kind.ENVIRONMENT else None
        short = _SHORT.fullmatch(str(written))
        if short is None:
            return None if _ELSEWHERE.match(str(written)) else self._by_path(part, where, kind, str(written))
        key, which = f"{kind} {short['name']}", short["which"] or ""
        is_label = short["sign"] == "@"
        if key in self.parts and (not which or (is_label and which == "latest")):
            return key
        if not which:
            self.faults.append(f"{part.file}: {where} is {written}, and there is no {kind} {short['name']} here.")
            return None
        version, label = ("", which) if is_label else (which, "")
        told = f"{part.file}: {where}"
        return Reference(kind=kind, name=short["name"], version=version, label=label, told=told)

    def _by_path(self, part: Part, where: str, kind: Kind, written: str) -> str | None:
        path = self._path(part, where, written)
        found = next((key for key, each in self.parts.items() if each.file == path and each.kind is kind), None)
        if path and found is None:
            self.faults.append(f"{part.file}: {where} is {written}, and that file is no {kind}.")
        return found

    def _path(self, part: Part, where: str, written: str) -> str:
        """Find a file or a folder; empty where it is not there."""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(part.file), written))
        if path.startswith(("../", "/")) or path == "..":
            self.faults.append(f"{part.file}: {where} is {written}, which lies outside of the folder.")
            return ""
        if path not in self.paths and not any(each.startswith(f"{path}/") for each in self.paths) and path != ".":
            self.faults.append(f"{part.file}: {where} is {written}, and it is not there.")
            return ""
        return path

    def _same_environment(self, part: Part, written: Mapping[str, Any]) -> str | None:
        """Find the environment of the folder that is the one that a component writes out."""
        wanted = _content(part.file, written)
        same = (key for key, each in self.parts.items() if each.kind is Kind.ENVIRONMENT)
        return next((key for key in same if _content(self.parts[key].file, self.parts[key].spec) == wanted), None)


def _content(file: str, spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """Say what an environment is made of, whatever it is called."""
    conda, build = spec.get("conda_file"), spec.get("build") or {}
    beside = posixpath.dirname(file)
    at = posixpath.normpath(posixpath.join(beside, conda)) if isinstance(conda, str) else repr(conda)
    context = posixpath.normpath(posixpath.join(beside, str(build["path"]))) if build.get("path") else ""
    return spec.get("image"), at, context, build.get("dockerfile_path")


def _references(part: Part) -> Iterator[tuple[str, Kind, Any]]:
    """Say where a part refers to others."""
    spec = part.spec
    if part.kind in (Kind.COMPONENT, Kind.DEPLOYMENT):
        if spec.get("environment"):
            yield "environment", Kind.ENVIRONMENT, spec["environment"]
        if spec.get("component"):
            yield "component", Kind.COMPONENT, spec["component"]
    task, jobs = spec.get("task"), spec.get("jobs")
    if isinstance(task, Mapping) and task.get("environment"):
        yield "task.environment", Kind.ENVIRONMENT, task["environment"]
    for name, job in jobs.items() if isinstance(jobs, Mapping) else ():
        for member in ("component", "trial"):
            if isinstance(job, Mapping) and job.get(member):
                yield f"jobs.{name}.{member}", Kind.COMPONENT, job[member]


def _files(part: Part) -> Iterator[tuple[str, str]]:
    """Say which files and folders a part is made of."""
    spec, task = part.spec, part.spec.get("task")
    build = spec.get("build")
    written = {
        "code": spec.get("code"),
        "task.code": task.get("code") if isinstance(task, Mapping) else None,
        "conda_file": spec.get("conda_file") if part.kind is Kind.ENVIRONMENT else None,
        "build.path": build.get("path") if isinstance(build, Mapping) else None,
    }
    environment = spec.get("environment")
    if isinstance(environment, Mapping):
        written["environment.conda_file"] = environment.get("conda_file")
    for where, path in written.items():
        if isinstance(path, str) and path and not _ELSEWHERE.match(path):
            yield where, path


def twice(parts: Iterable[Part]) -> Iterator[str]:
    """Tell of files that are the same thing."""
    at: dict[str, list[str]] = {}
    for part in parts:
        at.setdefault(part.key, []).append(part.file)
    for key, files in at.items():
        if len(files) > 1:
            yield f"{' and '.join(files)} are both {key}."

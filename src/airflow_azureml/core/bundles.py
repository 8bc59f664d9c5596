"""A folder of Azure ML's YAML files as one thing to publish: environments, components, batch endpoints, deployments.

What a file is, its ``$schema`` says. Files refer to one another by path, or by ``azureml:NAME``; whatever they refer to
is looked for before anything is published, in the folder or in the workspace.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

from attrs import evolve, field, frozen

from airflow_azureml.core.bundle_parts import MANIFEST, Folder, Kind, Part, parts_of, twice
from airflow_azureml.core.marked import Marked
from airflow_azureml.core.members import Members
from airflow_azureml.core.smoke_runs import SmokeRun, smoke_runs_of
from airflow_azureml.errors import ConfigError

SCHEMA = 1
MANIFEST_MEMBERS = ("schema", "name", "keep", "smoke", "environments")
#: Deployments of ours that stay at an endpoint: the default, and those to go back to. Azure has 20 at most.
KEEP = 5
MOST_KEPT = 15


@frozen(kw_only=True)
class Bundle:
    """What a folder holds to be published.

    Attributes:
        name: What to call it; deployments carry it, so that one folder does not tidy up another's.
        parts: In an order in which each comes after those that it uses.
        smoke: The smoke run of each endpoint, by its name.
        keep: How many of its deployments stay at each endpoint.
        left: Files that are not published, and Azure ML's word for what they are.
        environments: The environments as the manifest writes them; None where it does not.
    """

    name: str
    parts: Sequence[Part]
    smoke: Mapping[str, SmokeRun] = field(factory=dict)
    keep: int = KEEP
    left: Mapping[str, str] = field(factory=dict)
    environments: Any = None

    @classmethod
    def read(cls, texts: Mapping[str, str], *, paths: Collection[str], name: str) -> Self:
        """Read a folder, and complain once of all that is wrong with it.

        Args:
            texts: The YAML files by their paths in the folder.
            paths: The paths of all its files.
            name: What to call it where its manifest does not say.

        Raises:
            ConfigError: It cannot be published as it is; nothing was.
        """
        found, left, faults = parts_of(texts)
        folder = Folder(paths=frozenset(paths), parts={part.key: part for part in found})
        parts = [folder.resolved(part) for part in found]
        faults += [*folder.faults, *twice(found), *_deployment_faults(parts)]
        if not found and not faults:
            faults = ["no file in it has the $schema of an environment, a component or a batch endpoint of Azure ML's."]
        if faults:
            raise ConfigError("The folder cannot be published:\n" + "\n".join(f"  {each}" for each in faults))
        manifest = Members(Marked.parse(texts.get(MANIFEST, f"schema: {SCHEMA}"), name=MANIFEST))
        return cls(name=name, parts=_sorted(parts), left=left).with_manifest(manifest)

    def of(self, kind: Kind) -> list[Part]:
        """Give the parts of a kind, each after those that it uses."""
        return [part for part in self.parts if part.kind is kind]

    def part(self, key: str) -> Part:
        """Give the part of a key."""
        return next(part for part in self.parts if part.key == key)

    def only(self, wanted: Collection[str]) -> Self:
        """Keep what some pipelines need, and nothing else.

        Args:
            wanted: Names of pipeline components or of endpoints; empty for all.

        Raises:
            ConfigError: There is no such pipeline, or the smoke run of one needs that of another that is left out.
        """
        if not wanted:
            return self
        chosen = [part for part in self.of(Kind.DEPLOYMENT) if {part.endpoint, self._pipeline(part)} & set(wanted)]
        known = {name for part in self.of(Kind.DEPLOYMENT) for name in (part.endpoint, self._pipeline(part))}
        unknown = sorted(set(wanted) - known)
        if unknown:
            raise ConfigError(f"There is no pipeline {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
        keys: set[str] = set()
        waiting = [key for part in chosen for key in (part.key, f"{Kind.ENDPOINT} {part.endpoint}")]
        waiting += [part.key for part in self.of(Kind.COMPUTE)]
        while waiting:
            key = waiting.pop()
            keys.add(key)
            waiting += [each for each in self.part(key).uses.values() if each not in keys]
        endpoints = {part.endpoint for part in chosen}
        for name in sorted(endpoints):
            lacking = sorted(self.smoke[name].after - endpoints)
            if lacking:
                raise ConfigError(f"The smoke run of {name} needs what that of {lacking[0]} made: publish both.")
        return evolve(
            self,
            parts=[part for part in self.parts if part.key in keys],
            smoke={name: one for name, one in self.smoke.items() if name in endpoints},
        )

    def _pipeline(self, deployment: Part) -> str:
        return deployment.uses.get("component", "").partition(" ")[2]

    def with_manifest(self, said: Members) -> Self:
        """Read the manifest.

        Raises:
            ConfigError: It is wrong; the message has all faults, each with line and column.
        """
        top = said.mapping((), MANIFEST_MEMBERS)
        if said.integer(("schema",), at_least=1) != SCHEMA:
            said.fault(("schema",), f"schema must be {SCHEMA}; this version reads no other.")
        keep = said.integer(("keep",), at_least=1) if "keep" in top else KEEP
        if keep is not None and keep > MOST_KEPT:
            said.fault(("keep",), f"keep must be {MOST_KEPT} at most: an endpoint has 20 deployments at most.")
        interfaces = {}
        for deployment in self.of(Kind.DEPLOYMENT):
            component = self.part(deployment.uses["component"])
            interfaces[deployment.endpoint] = component.spec
        smoke = smoke_runs_of(said, ("smoke",), interfaces)
        said.raise_faults()
        return evolve(
            self,
            name=said.text(("name",)) or self.name,
            keep=keep or KEEP,
            smoke=smoke,
            environments=top.get("environments"),
        )


def _deployment_faults(parts: Sequence[Part]) -> Iterator[str]:
    endpoints = {part.name for part in parts if part.kind is Kind.ENDPOINT}
    served: dict[str, str] = {}
    for part in parts:
        if part.kind is not Kind.DEPLOYMENT:
            continue
        if part.endpoint not in endpoints:
            yield f"{part.file}: endpoint_name is {part.endpoint!r}, and there is no such endpoint here."
        if not part.spec.get("component"):
            yield f"{part.file}: it names no component."
        elif "component" not in part.uses:
            yield f"{part.file}: component must be a pipeline component of this folder: its path, or azureml:NAME."
        if part.endpoint in served:
            yield f"{part.file}: {served[part.endpoint]} is a deployment of endpoint {part.endpoint} already."
        served[part.endpoint] = part.file
    for name in sorted(endpoints - set(served)):
        yield f"endpoint {name} has no deployment here."


def _sorted(parts: Sequence[Part]) -> list[Part]:
    """Put each part after those that it uses, and otherwise in the order of their kinds and names.

    Raises:
        ConfigError: Some use one another.
    """
    order = list(Kind)
    waiting = sorted(parts, key=lambda part: (order.index(part.kind), part.name))
    done: list[Part] = []
    while waiting:
        have = {part.key for part in done}
        ready = next((part for part in waiting if set(part.uses.values()) <= have), None)
        if ready is None:
            raise ConfigError(f"These use one another: {', '.join(part.file for part in waiting)}.")
        waiting.remove(ready)
        done.append(ready)
    return done

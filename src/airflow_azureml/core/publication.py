"""From what is in a workspace to what should be: the steps of a publication, decided before the first is done.

Whatever is published is never changed: versions carry the commit, and so do the names of deployments. So the steps are
those that are still to do, whoever did the others and wherever that ended; and the deployment that answers callers is
another one only when the new one has passed its smoke run.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.bundle_parts import Kind, Part
from airflow_azureml.core.bundles import Bundle
from airflow_azureml.core.environments import Environment
from airflow_azureml.core.smoke_runs import SmokeRun
from airflow_azureml.errors import ConfigError

#: The tags of what is published.
SHA_TAG = "git_sha"
DIRTY_TAG = "git_dirty"
BUNDLE_TAG = "publication"
CONTENT_TAG = "content"
#: The tag of an endpoint with the deployment that was its default before the present one.
PREVIOUS_TAG = "previous_deployment"
#: The tag of an endpoint with the job of the smoke run that its default deployment has passed.
SMOKE_TAG = "smoke_job"
#: Azure's words for a deployment or an endpoint that is there, and for one that has to be put again.
READY = "Succeeded"
BROKEN = frozenset({"Failed", "Canceled"})
#: Hexadecimal digits of the commit in versions and in the names of deployments, which have 32 characters at most.
VERSION_DIGITS, NAME_DIGITS, CONTENT_DIGITS = 12, 7, 4
_MOST_NAME = 32
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@frozen(kw_only=True)
class Source:
    """The commit that a folder is published from.

    Attributes:
        sha: The commit, 40 (or 64) hexadecimal digits in lower case.
        dirt: A digest of what differs from the commit; empty where nothing does.
    """

    sha: str
    dirt: str = ""

    def __attrs_post_init__(self) -> None:
        if not _SHA.fullmatch(self.sha):
            raise ConfigError(f"{self.sha!r} is no commit: 40 hexadecimal digits.")

    @property
    def version(self) -> str:
        """The version of all that is published from it."""
        return self.sha[:VERSION_DIGITS] + (f"-dirty-{self.dirt[:8]}" if self.dirt else "")

    def tags(self, bundle: str) -> dict[str, str]:
        """The tags of all that is published from it."""
        return {SHA_TAG: self.sha, BUNDLE_TAG: bundle, **({DIRTY_TAG: self.dirt[:8]} if self.dirt else {})}


@frozen(kw_only=True)
class WantedDeployment:
    """A pipeline component to be served by an endpoint.

    Attributes:
        endpoint: The endpoint, as its file calls it.
        address: Its name in the environment.
        name: The deployment's, of what it is made.
        component: The name of the pipeline component.
        description: For people.
        settings: Of its jobs.
        tags: Its tags, with a digest of all this.
        smoke: Its smoke run.
    """

    endpoint: str
    address: str
    name: str
    component: str
    description: str
    settings: Mapping[str, str]
    tags: Mapping[str, str]
    smoke: SmokeRun

    @classmethod
    def of(cls, part: Part, bundle: Bundle, source: Source, environment: Environment) -> Self:
        """Say what a file's deployment is in an environment."""
        written = {str(name): _word(value) for name, value in (part.spec.get("settings") or {}).items()}
        settings = {**written, **({"default_compute": environment.compute} if environment.compute else {})}
        component = part.uses["component"].partition(" ")[2]
        description = str(part.spec.get("description") or "")
        made_of = json.dumps([source.version, component, description, sorted(settings.items())])
        content = hashlib.sha256(made_of.encode()).hexdigest()
        tail = f"-{source.sha[:NAME_DIGITS]}-{content[:CONTENT_DIGITS]}"
        return cls(
            endpoint=part.endpoint,
            address=environment.endpoint(part.endpoint),
            name=f"{str(part.spec['name'])[: _MOST_NAME - len(tail)]}{tail}",
            component=component,
            description=description,
            settings=settings,
            tags={**source.tags(bundle.name), CONTENT_TAG: content[:16]},
            smoke=bundle.smoke[part.endpoint],
        )


@frozen(kw_only=True)
class Wanted:
    """What should be in a workspace.

    Attributes:
        bundle: The folder.
        source: The commit.
        environment: Where to.
        deployments: By the names of their endpoints.
    """

    bundle: Bundle
    source: Source
    environment: Environment
    deployments: Mapping[str, WantedDeployment]

    @classmethod
    def of(cls, bundle: Bundle, source: Source, environment: Environment) -> Self:
        """Say what a folder at a commit is in an environment."""
        made = [
            WantedDeployment.of(part, bundle, source, environment)
            for part in bundle.parts
            if part.kind is Kind.DEPLOYMENT
        ]
        return cls(
            bundle=bundle, source=source, environment=environment, deployments={each.endpoint: each for each in made}
        )

    @property
    def assets(self) -> list[Part]:
        """The environments and components, each after those that it uses."""
        return [part for part in self.bundle.parts if part.kind in (Kind.ENVIRONMENT, Kind.COMPONENT)]

    @property
    def computes(self) -> list[Part]:
        """The compute clusters to be there; not those in whose place the environment has its own."""
        own = self.environment.compute
        return [part for part in self.bundle.of(Kind.COMPUTE) if not own or part.name == own]

    @property
    def used_computes(self) -> set[str]:
        """The names of the compute clusters on which jobs of the deployments run."""
        named = (each.settings.get("default_compute", "") for each in self.deployments.values())
        return {name.removeprefix("azureml:") for name in named} - {"", "serverless"}


@frozen(kw_only=True)
class DeploymentNow:
    """A deployment as a look showed it.

    Attributes:
        state: Azure's word.
        tags: Its tags.
        created: When it was made: ISO 8601, UTC; empty where Azure does not say.
    """

    state: str
    tags: Mapping[str, str] = field(factory=dict)
    created: str = ""


@frozen(kw_only=True)
class EndpointNow:
    """A batch endpoint as a look showed it.

    Attributes:
        state: Azure's word.
        default: The default deployment; empty for none.
        tags: Its tags.
        deployments: By name.
    """

    state: str
    default: str = ""
    tags: Mapping[str, str] = field(factory=dict)
    deployments: Mapping[str, DeploymentNow] = field(factory=dict)


@frozen(kw_only=True)
class Now:
    """What is in a workspace, as far as a publication is concerned.

    Attributes:
        assets: The tags of the environments and components that have the wanted version, by key.
        absent: What files refer to and the workspace does not have, as sentences.
        computes: Names of the compute clusters that are there.
        endpoints: Those that are there, by the names that files call them.
        smoked: Such names of endpoints whose wanted deployment has passed its smoke run.
    """

    assets: Mapping[str, Mapping[str, str]] = field(factory=dict)
    absent: Sequence[str] = ()
    computes: frozenset[str] = frozenset()
    endpoints: Mapping[str, EndpointNow] = field(factory=dict)
    smoked: frozenset[str] = frozenset()


class Verb(StrEnum):
    """What a step does."""

    CREATE = "create"
    DEPLOY = "deploy"
    SMOKE = "smoke-run"
    SWITCH = "switch"
    REMOVE = "remove"


@frozen(kw_only=True)
class Step:
    """One thing to do.

    Attributes:
        verb: What.
        kind: To what kind of thing.
        name: Its name, as files call it; a deployment's is that of its endpoint, but where one is removed.
        told: The step as a sentence for people.
    """

    verb: Verb
    kind: Kind
    name: str
    told: str


def plan(now: Now, wanted: Wanted) -> tuple[Step, ...]:
    """Say what is to be done, in order; nothing where all is as it should be.

    Args:
        now: What there is.
        wanted: What there should be.

    Raises:
        ConfigError: Something is missing that others must make first; or what is there under a name or a version is
            something else, and is not overwritten.
    """
    _check_absent(now, wanted)
    _check_collisions(now, wanted)
    making = [*_creations(now, wanted), *_deployments(now, wanted)]
    switching = list(_switches(now, wanted))
    return (*making, *_smoke_runs(now, wanted), *switching, *_removals(now, wanted))


def _check_absent(now: Now, wanted: Wanted) -> None:
    made = {part.name for part in wanted.computes}
    where = wanted.environment.name
    absent = [
        *now.absent,
        *(f"there is no compute {name}" for name in sorted(wanted.used_computes - made - now.computes)),
    ]
    if absent:
        raise ConfigError(f"Not all that is needed is in {where}; nothing was changed: {'; '.join(absent)}.")


def _check_collisions(now: Now, wanted: Wanted) -> None:
    where, version, ours = wanted.environment.name, wanted.source.version, wanted.source.tags(wanted.bundle.name)
    for key, tags in now.assets.items():
        if not ours.items() <= tags.items():
            of = f"commit {tags.get(SHA_TAG, 'none')} of {tags.get(BUNDLE_TAG, 'nobody we know')}"
            raise ConfigError(
                f"{key} has a version {version} in {where} already, and it is not of commit {wanted.source.sha} of"
                f" {wanted.bundle.name} but of {of}. It is not overwritten: give yours another name, or archive it."
            )
    for name, each in wanted.deployments.items():
        endpoint = now.endpoints.get(name, EndpointNow(state=""))
        whose = endpoint.tags.get(BUNDLE_TAG, wanted.bundle.name)
        if whose != wanted.bundle.name:
            raise ConfigError(
                f"Endpoint {each.address} is published from {whose}, and not from {wanted.bundle.name}: give yours"
                f" another name, or take the tag {BUNDLE_TAG} from it."
            )
        found = endpoint.deployments.get(each.name)
        if found is not None and not each.tags.items() <= found.tags.items():
            raise ConfigError(
                f"Endpoint {each.address} has a deployment {each.name} already, and it was not made of this commit as"
                " it would be now. It is not overwritten: delete it, or give yours another name."
            )


def _creations(now: Now, wanted: Wanted) -> Iterator[Step]:
    for part in wanted.assets:
        if part.key not in now.assets:
            told = f"create {part.key}:{wanted.source.version} ({part.file})"
            yield Step(verb=Verb.CREATE, kind=part.kind, name=part.name, told=told)
    for part in wanted.computes:
        if part.name not in now.computes:
            told = f"create compute {part.name} ({part.file})"
            yield Step(verb=Verb.CREATE, kind=Kind.COMPUTE, name=part.name, told=told)
    for part in wanted.bundle.of(Kind.ENDPOINT):
        found = now.endpoints.get(part.name)
        if found is None or found.state in BROKEN:
            again = "" if found is None else f"; it is {found.state}"
            told = f"create endpoint {wanted.environment.endpoint(part.name)} ({part.file}{again})"
            yield Step(verb=Verb.CREATE, kind=Kind.ENDPOINT, name=part.name, told=told)


def _deployments(now: Now, wanted: Wanted) -> Iterator[Step]:
    for name, each in wanted.deployments.items():
        found = (now.endpoints[name].deployments if name in now.endpoints else {}).get(each.name)
        if found is None or found.state != READY:
            component = f"{each.component}:{wanted.source.version}"
            told = f"deploy {each.name} of component {component} to endpoint {each.address}, beside its default"
            yield Step(verb=Verb.DEPLOY, kind=Kind.DEPLOYMENT, name=name, told=told)


def _is_default(now: Now, each: WantedDeployment) -> bool:
    found = now.endpoints.get(each.endpoint)
    return found is not None and found.default == each.name


def _smoke_runs(now: Now, wanted: Wanted) -> Iterator[Step]:
    """Say what has to be run; also what is the default already, where the run of another one takes what it makes."""
    open_ones = {name for name, each in wanted.deployments.items() if not each.smoke.skip and name not in now.smoked}
    waiting = [name for name in open_ones if not _is_default(now, wanted.deployments[name])]
    needed: set[str] = set()
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting += (wanted.deployments[name].smoke.after & open_ones) - needed
    for name in _in_order(wanted.deployments):
        if name in needed:
            each = wanted.deployments[name]
            told = f"smoke-run deployment {each.name} of endpoint {each.address}"
            yield Step(verb=Verb.SMOKE, kind=Kind.DEPLOYMENT, name=name, told=told)


def _in_order(deployments: Mapping[str, WantedDeployment]) -> Sequence[str]:
    """Put each endpoint after those whose smoke runs make what its own takes."""
    done: list[str] = []
    while len(done) < len(deployments):
        done += [name for name, each in deployments.items() if name not in done and each.smoke.after <= {*done}]
    return done


def _switches(now: Now, wanted: Wanted) -> Iterator[Step]:
    for name, each in wanted.deployments.items():
        if not _is_default(now, each):
            before = now.endpoints[name].default if name in now.endpoints else ""
            untested = f" WITHOUT a smoke run ({each.smoke.skip})" if each.smoke.skip else ""
            told = (
                f"make {each.name} the default of endpoint {each.address}, in the place of {before or 'none'}{untested}"
            )
            yield Step(verb=Verb.SWITCH, kind=Kind.ENDPOINT, name=name, told=told)


def _removals(now: Now, wanted: Wanted) -> Iterator[Step]:
    """Say which deployments of ours are too many: the oldest, never the default, nor the one before it."""
    for name, each in wanted.deployments.items():
        found = now.endpoints.get(name)
        if found is None:
            continue
        kept = {each.name, found.default}
        if found.default == each.name:
            kept.add(found.tags.get(PREVIOUS_TAG, ""))
        ours = {
            other: one
            for other, one in found.deployments.items()
            if one.tags.get(BUNDLE_TAG) == wanted.bundle.name and SHA_TAG in one.tags
        }
        newest = sorted(ours, key=lambda other: (ours[other].created, other), reverse=True)
        room = max(0, wanted.bundle.keep - len(kept & {*ours, each.name}))
        for other in [other for other in newest if other not in kept][room:]:
            told = f"remove deployment {other} of endpoint {each.address}; {wanted.bundle.keep} stay"
            yield Step(verb=Verb.REMOVE, kind=Kind.DEPLOYMENT, name=f"{name}/{other}", told=told)


def _word(value: Any) -> str:
    """Write a setting as Azure takes it: words only."""
    return str(value)

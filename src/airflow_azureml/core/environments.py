"""Environments: development, test, staging, production; each with a workspace, an identity and data of its own."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Self

from attrs import evolve, field, fields, frozen

from airflow_azureml.core.workspace import Authentication, ConnectionSettings
from airflow_azureml.errors import ConfigError

#: How an identity that is no person's proves who it is. An emulator's is one where it has a name (its login).
SERVICE_IDENTITIES = frozenset(
    {
        Authentication.SERVICE_PRINCIPAL,
        Authentication.SERVICE_PRINCIPAL_CERTIFICATE,
        Authentication.MANAGED_IDENTITY,
        Authentication.WORKLOAD_IDENTITY,
    }
)
#: A batch endpoint's name, which no other of its region may have, in whatever workspace.
#: Source: https://learn.microsoft.com/azure/machine-learning/concept-endpoints-batch, "Batch endpoint names".
_ENDPOINT = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")


@frozen
class RequiredEvidence:
    """What must be proved of a commit before it is published to an environment.

    Attributes:
        environment: The name of the environment where it must have passed.
        conn_id: The Airflow connection of the workspace where it ran; in a file, that of the environment of this name,
            if it is left out.
        approved: Whether a person must have agreed.
        most_age: How old the evidence may be; None for any age. In a file ``most_hours``, a number.
        folder: Where the evidence is kept; empty for where it is kept unless told otherwise.
        evidence_conn_id: The Airflow connection with the keys that are trusted; empty for ``azureml_evidence``.
    """

    environment: str
    conn_id: str = field(default="", kw_only=True)
    approved: bool = field(default=False, kw_only=True)
    most_age: timedelta | None = field(default=None, kw_only=True)
    folder: str = field(default="", kw_only=True)
    evidence_conn_id: str = field(default="", kw_only=True)

    @classmethod
    def from_mapping(cls, raw: object, *, of: str) -> Self:
        """Read it as a file writes it.

        Args:
            raw: What the file holds.
            of: The environment that requires it, for the message.

        Raises:
            ConfigError: A field is unknown, missing or of the wrong type.
        """
        told = dict(raw) if isinstance(raw, Mapping) else {}
        hours = told.pop("most_hours", None)
        is_span = hours is None or (isinstance(hours, int | float) and not isinstance(hours, bool) and hours > 0)
        kinds: dict[str, type] = {one.name: one.type or object for one in fields(cls) if one.name != "most_age"}
        bad = [name for name, each in told.items() if not isinstance(each, kinds.get(name, object))]
        wrong = [
            *([] if isinstance(told.get("environment"), str) else ["environment is missing"]),
            *(f"unknown {name}" for name in sorted(map(str, told)) if name not in kinds),
            *(f"{name} is {told[name]!r:.80}" for name in bad),
            *([] if is_span else [f"most_hours is {hours!r:.80}"]),
        ]
        if wrong:
            known = ", ".join([*kinds, "most_hours"])
            raise ConfigError(f"Environment {of!r}: requires: {'; '.join(wrong)}; known are {known}.")
        return cls(**told, most_age=None if hours is None else timedelta(hours=hours))


@frozen
class Environment:
    """One stage on the way of code to its users.

    Attributes:
        name: What people call it: letters, digits, ``-`` and ``_``, 64 at most.
        conn_id: The Airflow connection of type ``azureml`` that names its workspace and its identity.
        data: The URI of its data; empty where whoever uses it says so.
        compute: The compute cluster of its jobs, in the place of the one that deployments name; empty for that one.
        protected: Whether only a service identity may write to it: a service principal, a managed or a workload
            identity. What a person is signed in as (``authentication: default``) is refused.
        suffix: What the names of its endpoints have at the end, such as ``-staging``: a name is one endpoint's in the
            whole region, and not in its workspace alone. Empty for the names as they are.
        principal: The client id of the only identity that may write to it; empty for any. It implies ``protected``.
        requires: The evidence without which no commit is published to it; None where none is needed.

    Raises:
        ConfigError: The name or the connection is none.
    """

    name: str
    conn_id: str = field(kw_only=True)
    data: str = field(default="", kw_only=True)
    compute: str = field(default="", kw_only=True)
    suffix: str = field(default="", kw_only=True)
    protected: bool = field(default=False, kw_only=True)
    principal: str = field(default="", kw_only=True)
    requires: RequiredEvidence | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(str(self.name)):
            raise ConfigError(
                f"{self.name!r} is no name of an environment: take letters, digits, - and _, 64 at most, such as"
                " 'staging'."
            )
        wrong = [one.name for one in fields(type(self)) if not isinstance(getattr(self, one.name), one.type or object)]
        if wrong:
            raise ConfigError(f"Environment {self.name!r}: {', '.join(wrong)} is of the wrong type.")
        if not self.conn_id:
            raise ConfigError(f"Environment {self.name!r} needs a conn_id: the connection that names its workspace.")

    @classmethod
    def from_mapping(cls, name: str, raw: object) -> Self:
        """Read an environment as a file writes it.

        Raises:
            ConfigError: A field is unknown, missing or of the wrong type.
        """
        if not isinstance(raw, Mapping):
            raise ConfigError(f"Environment {name!r} is no mapping with a conn_id.")
        known = [one.name for one in fields(cls) if one.name != "name"]
        unknown = sorted(str(each) for each in raw if each not in known)
        if unknown:
            raise ConfigError(f"Environment {name!r}: unknown {', '.join(unknown)}; known are {', '.join(known)}.")
        told = {"conn_id": "", **raw}
        if told.get("requires") is not None:
            told["requires"] = RequiredEvidence.from_mapping(told["requires"], of=name)
        return cls(name, **told)

    def endpoint(self, name: str) -> str:
        """Give the name that an endpoint has here.

        Args:
            name: What its file calls it.

        Raises:
            ConfigError: With the suffix, it is no name that Azure would take.
        """
        full = f"{name}{self.suffix}"
        if not _ENDPOINT.fullmatch(full):
            raise ConfigError(
                f"{full!r} is no name of an endpoint (environment {self.name!r} has the suffix {self.suffix!r}): take 3"
                " to 32 letters, digits and -, with a letter first and no - last."
            )
        return full

    @property
    def is_guarded(self) -> bool:
        """Whether only a service identity may write to it."""
        return self.protected or bool(self.principal)

    def check_writer(self, settings: ConnectionSettings) -> None:
        """See that an identity may write here, before anything is written.

        Args:
            settings: The connection of the environment, parsed.

        Raises:
            ConfigError: It may not; the message says who may.
        """
        if not self.is_guarded:
            return
        who = settings.client_id
        kind = settings.authentication
        named_locally = kind is Authentication.EMULATOR and bool(who)
        if kind not in SERVICE_IDENTITIES and not named_locally:
            raise ConfigError(
                f"Environment {self.name!r} is protected, and connection {self.conn_id!r} does not write as a service"
                f" identity (authentication {kind.value!r}): {self._who_may}."
            )
        if self.principal and who.lower() != self.principal.lower():
            raise ConfigError(
                f"Environment {self.name!r} is written to by {self.principal} alone, and connection {self.conn_id!r}"
                f" is {who or 'an identity without a client id'}: {self._who_may}."
            )

    @property
    def _who_may(self) -> str:
        whose = f"of the client id {self.principal} " if self.principal else ""
        return f"use the service principal, managed or workload identity {whose}of the pipeline"


def chain(environments: Sequence[Environment]) -> tuple[Environment, ...]:
    """Give the environments in their order, the first for trying and the last for users.

    Raises:
        ConfigError: There is none, or two have one name or one connection.
    """
    if not environments:
        raise ConfigError("There is no environment; give at least one, in the order in which code passes them.")
    for what in ("name", "conn_id"):
        given = [getattr(each, what) for each in environments]
        twice = sorted({each for each in given if given.count(each) > 1})
        if twice:
            raise ConfigError(f"Two environments have the {what} {', '.join(twice)}; each needs its own.")
    return tuple(environments)


def chain_of(raw: object, *, whence: str) -> tuple[Environment, ...]:
    """Read environments as a file writes them: a mapping of their names, in order.

    Args:
        raw: What the file holds.
        whence: The file, for the message.

    Raises:
        ConfigError: It does not hold them.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{whence} holds no mapping of names to environments.")
    try:
        found = chain([Environment.from_mapping(name, one) for name, one in raw.items()])
        return tuple(_complete(each, found) for each in found)
    except ConfigError as error:
        raise ConfigError(f"{whence}: {error}") from error


def _complete(here: Environment, environments: Sequence[Environment]) -> Environment:
    """Say where the evidence is that an environment requires, where the file does not.

    Raises:
        ConfigError: It requires evidence of an environment that is not before it.
    """
    if here.requires is None or here.requires.conn_id:
        return here
    before = environments[: list(environments).index(here)]
    whence = next((each for each in before if each.name == here.requires.environment), None)
    if whence is None:
        raise ConfigError(
            f"Environment {here.name!r} requires evidence of {here.requires.environment!r}, and before it are"
            f" {', '.join(each.name for each in before) or 'none'}."
        )
    return evolve(here, requires=evolve(here.requires, conn_id=whence.conn_id))


def named(environments: Sequence[Environment], name: str) -> Environment:
    """Give the environment of a name.

    Raises:
        ConfigError: There is none.
    """
    for each in chain(environments):
        if each.name == name:
            return each
    raise ConfigError(f"There is no environment {name!r}; they are {', '.join(each.name for each in environments)}.")


def previous(environments: Sequence[Environment], name: str) -> Environment | None:
    """Give the environment that code passes before it comes to this one; None for the first.

    Raises:
        ConfigError: There is no environment of that name.
    """
    at = chain(environments).index(named(environments, name))
    return environments[at - 1] if at else None

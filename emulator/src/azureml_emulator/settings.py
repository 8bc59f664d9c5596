"""What the emulator was told, and where it ended up listening."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Self

import attrs

#: The account and key that Azurite and every storage emulator before it use; public, and good for nothing else.
DEV_ACCOUNT = "devstoreaccount1"
DEV_ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#: The ways in which environments are made; the first is the default.
ENVIRONMENTS = RECORDED, BUILD = ("recorded", "build")
#: How long a node of a cluster may take to start at most, in seconds.
LONGEST_NODE_START_S = 600.0
DEFAULT_WORKSPACE = "00000000-0000-0000-0000-000000000001/local/local"


class SettingsError(ValueError):
    """An option is wrong; the message is one sentence for whoever typed it."""


#: Source: https://learn.microsoft.com/rest/api/storageservices/naming-queues-and-metadata
_QUEUE = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
#: What Azure ML takes for the parts of a workspace's name.
_PART = re.compile(r"[A-Za-z0-9_(][A-Za-z0-9_.()-]{0,254}", re.ASCII)


def _check_queue(option: str, queue: str) -> None:
    if not _QUEUE.fullmatch(queue):
        raise SettingsError(
            f"{option} {queue!r}: a queue's name is 3 to 63 of a-z, 0-9 and single hyphens within, as Azure has it."
        )


@attrs.frozen
class EventQueue:
    """A storage queue that is told of new blobs, and of which.

    Attributes:
        queue: The queue's name.
        container: Only blobs of this container; empty for all.
        prefix: Only blobs whose path in the container starts so.
        suffix: Only blobs whose path in the container ends so.
    """

    queue: str
    container: str = ""
    prefix: str = ""
    suffix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``QUEUE[:container[/prefix]]``."""
        queue, _, where = text.partition(":")
        container, _, prefix = where.partition("/")
        if not queue:
            raise SettingsError(f"--event-queue {text!r} names no queue; write QUEUE[:container[/prefix]].")
        _check_queue("--event-queue", queue)
        if container and not container.startswith("$") and not _QUEUE.fullmatch(container):
            raise SettingsError(f"--event-queue {text!r}: there can be no container {container!r}.")
        return cls(queue=queue, container=container, prefix=prefix)


#: What Event Grid tells of a workspace here, by the last word of the event's type.
ML_EVENTS = ("ModelRegistered", "ModelDeployed", "RunStatusChanged", "RunCompleted")


@attrs.frozen
class MLEventQueue:
    """A storage queue that is told what happens in the workspaces.

    Attributes:
        queue: The queue's name.
        types: Only events of these types, each one of `ML_EVENTS`; empty for all.
    """

    queue: str
    types: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``QUEUE[:TYPE[,TYPE…]]``."""
        queue, _, said = text.partition(":")
        types = tuple(each for each in said.split(",") if each)
        if not queue:
            raise SettingsError(f"--ml-event-queue {text!r} names no queue; write QUEUE[:TYPE[,TYPE…]].")
        _check_queue("--ml-event-queue", queue)
        if unknown := [each for each in types if each not in ML_EVENTS]:
            raise SettingsError(f"--ml-event-queue {text!r}: {unknown[0]} is none of {', '.join(ML_EVENTS)}.")
        return cls(queue=queue, types=types)

    def wants(self, event_type: str) -> bool:
        """Tell whether it asked for events of a type, which is written in full."""
        return not self.types or event_type.rpartition(".")[2] in self.types


def _workspaces(_: object, __: object, value: tuple[str, ...]) -> None:
    for text in value:
        if len(parts := text.split("/")) != 3 or not all(parts):  # noqa: PLR2004  # the three are in the message
            raise SettingsError(f"--workspace {text!r} is not SUBSCRIPTION/RESOURCE_GROUP/NAME.")
        if wrong := [part for part in parts if not _PART.fullmatch(part)]:
            raise SettingsError(
                f"--workspace {text!r}: {wrong[0]!r} is no name; 1 to 255 letters, digits, '.', '_' and '-' are, that"
                " begin with no '.' or '-'."
            )


def _at_least_one(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise SettingsError(f"--{attribute.name.replace('_', '-')} {value} would run nothing; give 1 or more.")


def _some_seconds(_: object, __: object, value: float) -> None:
    if not 0 <= value <= LONGEST_NODE_START_S:
        raise SettingsError(f"--node-start {value:g} is no number of seconds from 0 to {LONGEST_NODE_START_S:g}.")


def _cores() -> int:
    """Count the machine's cores; two at least, so that jobs may wait for each other."""
    return max(2, os.cpu_count() or 1)


def _port(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not 0 <= value <= 65535:  # noqa: PLR2004  # TCP's own bound
        raise SettingsError(f"--{attribute.name.replace('_', '-')} {value} is no port; give 0 (a free one) to 65535.")


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that can be chosen. A port of 0 means a free one."""

    state_dir: Path
    host: str = "127.0.0.1"
    http_port: int = attrs.field(default=0, validator=_port)
    tls_port: int = attrs.field(default=0, validator=_port)
    proxy_port: int = attrs.field(default=0, validator=_port)
    blob_port: int = attrs.field(default=0, validator=_port)
    queue_port: int = attrs.field(default=0, validator=_port)
    azurite_blob: str = "http://127.0.0.1:10000"
    azurite_queue: str = "http://127.0.0.1:10001"
    account: str = DEV_ACCOUNT
    account_key: str = attrs.field(default=DEV_ACCOUNT_KEY, repr=False)
    location: str = "westeurope"
    workspaces: tuple[str, ...] = attrs.field(default=(DEFAULT_WORKSPACE,), validator=_workspaces)
    job_python: Path = attrs.field(factory=lambda: Path(sys.executable))
    environments: str = ENVIRONMENTS[0]
    max_steps: int = attrs.field(factory=_cores, validator=_at_least_one)
    serverless_nodes: int = attrs.field(factory=_cores, validator=_at_least_one)
    node_start_s: float = attrs.field(default=0.2, validator=_some_seconds)
    event_queues: tuple[EventQueue, ...] = ()
    ml_event_queues: tuple[MLEventQueue, ...] = ()
    control: bool = False
    throttle: bool = False
    tenant: str = ""
    clients: tuple[str, ...] = attrs.field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        """Refuse one port for two purposes: they can be bound twice, and not be served twice."""
        taken: dict[int, str] = {}
        for name in ("http", "tls", "proxy", "blob", "queue"):
            port = getattr(self, f"{name}_port")
            if port and taken.setdefault(port, name) != name:
                raise SettingsError(f"--{taken[port]}-port and --{name}-port are both {port}; each needs its own.")


@attrs.frozen(kw_only=True)
class Addresses:
    """The URLs that are really served, without a trailing slash.

    Attributes:
        http: The control plane over plain http, e.g. ``http://127.0.0.1:41234``.
        tls: The same over TLS, with the names of Azure's hosts in its certificate.
        proxy: The CONNECT proxy, which sends Azure's host names here and refuses all others.
        blob: Azurite's blob service behind the proxy that tells of new blobs.
        queue: Azurite's queue service.
    """

    http: str
    tls: str
    proxy: str
    blob: str
    queue: str

    def write(self, state_dir: Path) -> Path:
        """Say, atomically, that the emulator is ready: starters wait for this file."""
        path = addresses_path(state_dir)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({**attrs.asdict(self), "pid": os.getpid()}, indent=2))
        partial.replace(path)
        return path

    @classmethod
    def read(cls, state_dir: Path) -> Self:
        """Read where the emulator of this state directory listens.

        Raises:
            SettingsError: None is there; start it with ``azureml-emulator --state-dir``.
        """
        path = addresses_path(state_dir)
        try:
            found: dict[str, Any] = json.loads(path.read_text())
            return cls(**{name: str(found[name]) for name in attrs.fields_dict(cls)})
        except (FileNotFoundError, NotADirectoryError):
            raise SettingsError(f"No emulator is ready at {state_dir}: {path.name} is not there.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"{path} cannot be read ({error}); start the emulator anew, which writes it."
            ) from error


def addresses_path(state_dir: Path) -> Path:
    """The file that exists while an emulator serves this state directory."""
    return state_dir / "addresses.json"

"""How things are called: workspaces, generated jobs, containers and operations."""

from __future__ import annotations

import enum
import secrets
import uuid
from typing import Self

import attrs

_NAMESPACE = uuid.UUID("6f1d2f0e-8f5c-4b8e-9d55-0a1d5a3c7e11")
_ADJECTIVES = ("amiable", "brave", "calm", "clever", "gentle", "keen", "lucid", "nimble", "placid", "sincere", "witty")
_NOUNS = ("apple", "bridge", "cloud", "drum", "feather", "garden", "kettle", "lemon", "pepper", "river", "sail")
_LETTERS = "0123456789bcdfghjklmnpqrstvwxyz"

#: The tenant whose tokens and issuers the emulator shows.
TENANT = "72f988bf-0000-4000-8000-2d7cd011db47"
PROVIDER = "Microsoft.MachineLearningServices"
#: Who is asked where a registry is, in whatever region it is: azure-ai-ml knows no other.
REGISTRY_DISCOVERY = "eastus.api.azureml.ms"


@attrs.frozen
class WorkspaceName:
    """The three words that name a workspace."""

    subscription: str
    group: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``SUBSCRIPTION/RESOURCE_GROUP/NAME``."""
        subscription, group, name = text.split("/")
        return cls(subscription, group, name)

    @property
    def arm_id(self) -> str:
        """The workspace's ARM id."""
        group = f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
        return f"{group}/providers/{PROVIDER}/workspaces/{self.name}"

    @property
    def guid(self) -> str:
        """The workspace's GUID: the same for the same ARM id, whenever and wherever it is created."""
        return guid(self.arm_id)

    @property
    def short(self) -> str:
        """The form in ``azureml://`` URIs and studio links, below ``/``: lower-case ``resourcegroups``."""
        return f"subscriptions/{self.subscription}/resourcegroups/{self.group}/workspaces/{self.name}"

    @classmethod
    def of_arm_id(cls, arm_id: str) -> Self:
        """Read the workspace's part of any ARM id in it."""
        parts = arm_id.strip("/").split("/")
        return cls(parts[1], parts[3], parts[7])


@attrs.frozen
class RegistryName(WorkspaceName):
    """A registry, which is named by the same three words as a workspace; its own name alone is unique."""

    @property
    def arm_id(self) -> str:
        """The registry's ARM id."""
        group = f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
        return f"{group}/providers/{PROVIDER}/registries/{self.name}"

    @property
    def short(self) -> str:
        """The form in ``azureml://`` URIs, and what the ids of its assets are kept below."""
        return f"registries/{self.name}"


def guid(*parts: str) -> str:
    """Derive a GUID that is always the same for the same parts; case is ignored."""
    return str(uuid.uuid5(_NAMESPACE, "\n".join(parts).lower()))


def job_name(letters: int = 10) -> str:
    """Invent a job's name as the service does: ``adjective_noun_10chars``."""
    tail = "".join(secrets.choice(_LETTERS) for _ in range(letters))
    return f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_NOUNS)}_{tail}"


def blob_store_container(workspace: WorkspaceName) -> str:
    """The container behind ``workspaceblobstore``."""
    return f"azureml-blobstore-{workspace.guid}"


class Plane(enum.Enum):
    """Which of Azure's services a host name belongs to."""

    ARM = "Azure Resource Manager"
    DATA = "the workspace's data plane"
    SCORING = "a batch endpoint"
    LOGIN = "Microsoft Entra"
    STUDIO = "the studio"
    BLOB = "blob storage"
    QUEUE = "queue storage"


@attrs.frozen
class Hosts:
    """Azure's host names that are answered here.

    Attributes:
        location: The one region.
        account: The one storage account.
    """

    location: str
    account: str

    @property
    def exact(self) -> dict[str, Plane]:
        """The names that are fixed."""
        return {
            "management.azure.com": Plane.ARM,
            f"{self.location}.api.azureml.ms": Plane.DATA,
            REGISTRY_DISCOVERY: Plane.DATA,
            "login.microsoftonline.com": Plane.LOGIN,
            "login.microsoft.com": Plane.LOGIN,
            "login.windows.net": Plane.LOGIN,
            "ml.azure.com": Plane.STUDIO,
            f"{self.account}.blob.core.windows.net": Plane.BLOB,
            f"{self.account}.queue.core.windows.net": Plane.QUEUE,
        }

    @property
    def in_certificate(self) -> tuple[str, ...]:
        """All names for the certificate; a wildcard stands for one label, so scoring needs its location."""
        return (*self.exact, f"*.{self.location}.inference.ml.azure.com", "localhost")

    def plane(self, host: str) -> Plane | None:
        """Tell whose a host name (lower case, without port) is; None for one that is not answered here."""
        endpoint, _, rest = host.partition(".")
        if endpoint and rest == f"{self.location}.inference.ml.azure.com":
            return Plane.SCORING
        return self.exact.get(host)


def is_plain(name: str) -> bool:
    """Whether a name in a folder means something directly in it, and nothing else."""
    return name not in {"", ".", ".."} and not set(name) & set("/\\\0")


def is_inside(path: str) -> bool:
    """Whether a relative path stays within the folder in which it is read."""
    return all(part == "." or is_plain(part) for part in path.split("/"))

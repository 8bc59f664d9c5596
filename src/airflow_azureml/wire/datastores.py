"""The datastores of a workspace: names for places in storage."""

from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

from attrs import frozen

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages

API_VERSION = "2024-10-01"
#: The kinds that are containers of blobs, and the property with the container's name. Source: Microsoft.
#: MachineLearningServices, DatastoreType, API version 2024-10-01; the blob service answers for a Data Lake too.
CONTAINER_PROPERTY = {"AzureBlob": "containerName", "AzureDataLakeGen2": "filesystem"}


@frozen(kw_only=True)
class Datastore:
    """A datastore, as far as it takes to find its blobs.

    Attributes:
        kind: Azure's word for what is behind it.
        account: The storage account; empty where it has none.
        container: The container; empty for a kind that has none.
        domain: The domain of its storage; empty for that of the workspace's cloud.
        credentials: Azure's word for what it keeps to be opened with; ``None`` or empty where whoever uses it comes
            with an identity of their own.
        account_scope: Subscription and resource group of the account as the datastore names them; both empty where it
            does not.
    """

    name: str
    kind: str
    account: str
    container: str
    domain: str
    credentials: str = ""
    account_scope: tuple[str, str] = ("", "")

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> Self:
        """Read a datastore resource."""
        properties = raw.get("properties") or {}
        kind = str(properties.get("datastoreType") or "")
        return cls(
            name=str(raw.get("name") or ""),
            kind=kind,
            account=str(properties.get("accountName") or ""),
            container=str(properties.get(CONTAINER_PROPERTY.get(kind, "")) or ""),
            domain=str(properties.get("endpoint") or ""),
            credentials=str((properties.get("credentials") or {}).get("credentialsType") or ""),
            account_scope=(str(properties.get("subscriptionId") or ""), str(properties.get("resourceGroup") or "")),
        )

    @property
    def keeps_credentials(self) -> bool:
        """Whether a job opens it with credentials that it keeps, whatever identity the job has."""
        return self.credentials not in ("", "None")

    def container_url(self, domain: str) -> str:
        """Give the container's address, without a slash at its end.

        Args:
            domain: The storage domain of the workspace's cloud, for a datastore that names none.

        Raises:
            ConfigError: It is no container of blobs.
        """
        if not self.account or not self.container:
            kind = self.kind or "of no kind"
            raise ConfigError(f"Datastore {self.name}: it is {kind}, which is no container of blobs.")
        return f"https://{self.account}.blob.{self.domain or domain}/{self.container}"


def named(workspace: Workspace, name: str) -> Flow[Datastore]:
    """Read a datastore by its name.

    Raises:
        RefusedError: There is no such datastore, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = Request(
        doing=f"Read datastore {name} of workspace {workspace.name}",
        method="GET",
        url=f"{workspace.url}/datastores/{quote(name, safe='')}",
        params={"api-version": API_VERSION},
    )
    found = (yield look).expect(look, 200)
    return Datastore.from_wire({"name": name, **found})


def default(workspace: Workspace) -> Flow[Datastore]:
    """Find the workspace's default datastore.

    Raises:
        RefusedError: We may not list the datastores.
        UnavailableError: The service did not say; asking again is safe.
        ProtocolError: There is no default datastore.
    """
    look = Request(
        doing=f"Find the default datastore of workspace {workspace.name}",
        method="GET",
        url=f"{workspace.url}/datastores",
        params={"api-version": API_VERSION, "isDefault": "true"},
    )
    for entry in (yield from all_pages(look)):
        if (entry.get("properties") or {}).get("isDefault"):
            return Datastore.from_wire(entry)
    raise ProtocolError(f"{look.doing}: none of those listed is the default")

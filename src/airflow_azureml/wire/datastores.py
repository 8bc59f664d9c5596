"""The datastores of a workspace: names for places in storage."""

from attrs import frozen

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError
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
    """

    name: str
    kind: str
    account: str
    container: str
    domain: str


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
        properties = entry.get("properties") or {}
        if properties.get("isDefault"):
            kind = str(properties.get("datastoreType") or "")
            return Datastore(
                name=str(entry.get("name") or ""),
                kind=kind,
                account=str(properties.get("accountName") or ""),
                container=str(properties.get(CONTAINER_PROPERTY.get(kind, "")) or ""),
                domain=str(properties.get("endpoint") or ""),
            )
    raise ProtocolError(f"{look.doing}: none of those listed is the default")

"""Reading a workspace, and where its data plane answers."""

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError
from airflow_azureml.wire.http import Flow, Request

API_VERSION = "2024-10-01"


def data_plane(workspace: Workspace) -> Flow[str]:
    """Find the address of the workspace's data plane, without a slash at its end.

    Raises:
        RefusedError: There is no such workspace, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
        ProtocolError: The workspace names no data plane.
    """
    look = _look(workspace)
    properties = (yield look).expect(look, 200).get("properties") or {}
    discovery = properties.get("discoveryUrl")
    if not discovery:
        raise ProtocolError(f"Workspace {workspace.name} names no discoveryUrl")
    ask = Request(doing=f"Discover the services of workspace {workspace.name}", method="GET", url=str(discovery))
    api = (yield ask).expect(ask, 200).get("api")
    if not api:
        raise ProtocolError(f"The services of workspace {workspace.name} name no 'api'")
    return str(api).rstrip("/")


def storage_account(workspace: Workspace) -> Flow[str]:
    """Find the id of the workspace's own storage account; empty where it names none.

    Raises:
        RefusedError: There is no such workspace, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = _look(workspace)
    properties = (yield look).expect(look, 200).get("properties") or {}
    return str(properties.get("storageAccount") or "")


def region(workspace: Workspace) -> Flow[str]:
    """Find the region of a workspace, as Azure spells it: ``westeurope``.

    Raises:
        RefusedError: There is no such workspace, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    look = _look(workspace)
    return str((yield look).expect(look, 200).get("location") or "")


def _look(workspace: Workspace) -> Request:
    return Request(
        doing=f"Read workspace {workspace.name} in resource group {workspace.resource_group}",
        method="GET",
        url=workspace.url,
        params={"api-version": API_VERSION},
    )

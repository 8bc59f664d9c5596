"""Where the files of a job are: from ``azureml://`` to the address of a blob."""

from urllib.parse import quote

from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError
from airflow_azureml.wire import datastores
from airflow_azureml.wire.http import Flow


def artifact(job: str, path: str) -> str:
    """Name a file that a job wrote below its working folder's ``outputs``, whatever became of the job.

    Source: azure-ai-ml 1.35, ``jobs.download``; run history's ``artifacts``.
    """
    return f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{job}/{path}"


def blob_url(workspace: Workspace, uri: str, *, domain: str) -> Flow[str]:
    """Find the blob that a datastore's URI names.

    Args:
        workspace: Whose datastore it is.
        uri: ``azureml://…/datastores/NAME/paths/PATH``.
        domain: The storage domain of the workspace's cloud, for a datastore that names none.

    Raises:
        ConfigError: It is no such URI, is one of another workspace, or the datastore holds no blobs.
        RefusedError: There is no such datastore, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
    """
    found = in_datastore(uri)
    if found is None or not found.path:
        raise ConfigError(f"{uri!r} names no file of a datastore; expected azureml://…/datastores/NAME/paths/PATH.")
    if found.workspace and found.workspace != workspace.name.lower():
        raise ConfigError(f"{uri!r} is of workspace {found.workspace}, and the connection of {workspace.name}.")
    store = yield from datastores.named(workspace, found.name)
    return f"{store.container_url(domain)}/{quote(found.path, safe='/')}"

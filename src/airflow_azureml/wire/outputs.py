"""Where the files of a job are: from ``azureml://`` to the address of a blob."""

import re
from urllib.parse import quote

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError
from airflow_azureml.wire import datastores
from airflow_azureml.wire.http import Flow

#: The short and the long form of a datastore's URI; Azure writes ``resourcegroups`` in both cases.
#: Source: https://learn.microsoft.com/azure/machine-learning/reference-yaml-core-syntax
_URI = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resourcegroups/[^/]+/(?:providers/Microsoft\.MachineLearningServices/)?"
    r"workspaces/(?P<workspace>[^/]+)/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.+)",
    re.IGNORECASE | re.DOTALL,
)


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
    found = _URI.fullmatch(uri)
    if found is None:
        raise ConfigError(f"{uri!r} names no file of a datastore; expected azureml://…/datastores/NAME/paths/PATH.")
    if found["workspace"] and found["workspace"].lower() != workspace.name.lower():
        raise ConfigError(f"{uri!r} is of workspace {found['workspace']}, and the connection of {workspace.name}.")
    store = yield from datastores.named(workspace, found["datastore"])
    path = quote(found["path"].lstrip("/"), safe="/")
    return f"{store.container_url(domain)}/{path}"

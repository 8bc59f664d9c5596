"""What the test button of a connection tries, and which field or which right it names when that fails."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from attrs import frozen

from airflow_azureml.core import entra
from airflow_azureml.core.clouds import cloud_of
from airflow_azureml.core.workspace import Authentication, ConnectionSettings
from airflow_azureml.errors import AzureMLError, RefusedError, ServiceError
from airflow_azureml.wire import datastores, jobs, workspaces

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client

FORBIDDEN, UNAUTHORIZED = 403, 401
#: Which field of the connection an answer is about. Source: Azure Resource Manager's error codes.
FIELD_OF_CODE: Mapping[str, str] = {
    "SubscriptionNotFound": "subscription_id",
    "InvalidSubscriptionId": "subscription_id",
    "ResourceGroupNotFound": "resource_group",
    "ResourceNotFound": "workspace",
}
#: Resource Manager names the right that is missing. Source: its error ``AuthorizationFailed``.
_ACTION = re.compile(r"perform action '([^']+)'")
#: Storage that lets nobody in from here, whatever the right. Source: Azure Storage, "Common REST API error codes".
_NETWORK = frozenset({"AuthorizationFailure", "PublicNetworkAccessDisabled"})
_WORKSPACE_ROLE = "the role AzureML Data Scientist on the workspace has it"
_STORAGE_ROLE = "the role Storage Blob Data Reader on the storage account has it"
#: Why there may be no token, where Entra has not said it.
_WITHOUT_TOKEN: Mapping[Authentication, str] = {
    Authentication.MANAGED_IDENTITY: (
        "Look at authentication: the machine that ran this test has no managed identity (or none with this login), or "
        "its address, 169.254.169.254, goes through a proxy (NO_PROXY)."
    ),
    Authentication.DEFAULT: "Look at authentication: the machine that ran this test knows no identity of its own.",
}
_NO_ENTRA = "Look at the network: Microsoft Entra must be reachable, through the proxy where there is one."


@frozen(kw_only=True)
class Right:
    """A permission in Azure's words, and how one comes to have it."""

    action: str
    role: str


READ_WORKSPACE = Right(action="Microsoft.MachineLearningServices/workspaces/read", role=_WORKSPACE_ROLE)
LIST_JOBS = Right(action="Microsoft.MachineLearningServices/workspaces/jobs/read", role=_WORKSPACE_ROLE)
LIST_DATASTORES = Right(action="Microsoft.MachineLearningServices/workspaces/datastores/read", role=_WORKSPACE_ROLE)
READ_BLOBS = Right(action="Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", role=_STORAGE_ROLE)


@frozen(kw_only=True)
class Finding:
    """What one check found out, as a sentence."""

    passed: bool
    sentence: str


def check(client: "Client", settings: ConnectionSettings) -> Iterator[Finding]:
    """Read the workspace, list its jobs and look into its storage.

    A right that is missing does not end the checks, for the others may be missing too. Anything else that keeps the
    workspace from being read would be repeated by each check, and ends them.
    """
    workspace = settings.workspace
    try:
        data_plane = client.run(workspaces.data_plane(workspace))
    except AzureMLError as error:
        yield _failed(error, READ_WORKSPACE, settings)
        if not isinstance(error, RefusedError) or error.status != FORBIDDEN:
            return
    else:
        yield _same_cloud(settings, data_plane)
    try:
        client.run(jobs.list_newest(workspace))
    except AzureMLError as error:
        yield _failed(error, LIST_JOBS, settings)
    else:
        yield Finding(passed=True, sentence="Its jobs may be listed.")
    yield _storage(client, settings)


def _same_cloud(settings: ConnectionSettings, data_plane: str) -> Finding:
    cloud = cloud_of(data_plane)
    if cloud is None or cloud is settings.cloud:
        return Finding(passed=True, sentence=f"Workspace {settings.workspace.name} answers.")
    return Finding(
        passed=False,
        sentence=f"Workspace {settings.workspace.name} is in the cloud {cloud.value!r}, for its data plane is "
        f"{data_plane}: set the field cloud to {cloud.value!r}.",
    )


def _storage(client: "Client", settings: ConnectionSettings) -> Finding:
    from airflow_azureml.client.containers import look_into_container  # noqa: PLC0415  # not when a DAG is parsed

    try:
        store = client.run(datastores.default(settings.workspace))
    except AzureMLError as error:
        return _failed(error, LIST_DATASTORES, settings)
    place = f"datastore {store.name}"
    if settings.authentication is Authentication.EMULATOR:
        return Finding(
            passed=True, sentence=f"Its {place} is named; an emulator's blobs need no right and were not read."
        )
    if not store.container:
        return Finding(passed=True, sentence=f"Its default {place} is {store.kind}, no container of blobs: not read.")
    domain = store.domain or settings.addresses.storage
    try:
        look_into_container(settings, f"https://{store.account}.blob.{domain}/{store.container}")
    except AzureMLError as error:
        return _failed(error, READ_BLOBS, settings)
    return Finding(passed=True, sentence=f"Its {place} (container {store.container} of {store.account}) may be read.")


def _failed(error: AzureMLError, right: Right, settings: ConnectionSettings) -> Finding:
    return Finding(passed=False, sentence=f"{error}{hint(error, right, settings)}")


def hint(error: AzureMLError, right: Right, settings: ConnectionSettings) -> str:
    """Say which field or which right to look at, as a sentence after a space; empty where nothing is known.

    Args:
        error: What went wrong.
        right: What the request needed.
        settings: The connection.
    """
    if not isinstance(error, ServiceError):
        return ""
    look = ""
    if advice := entra.advice(str(error)):
        look = f"Look at {advice}."
    elif error.code == "no token":
        look = _WITHOUT_TOKEN.get(settings.authentication, _NO_ENTRA)
    elif field := next((name for code, name in FIELD_OF_CODE.items() if code in error.code), ""):
        look = f"Look at the field {field}."
    elif error.status == UNAUTHORIZED:
        look = "The token was refused: look at tenant_id, and at cloud and endpoint, which must belong together."
    elif error.status == FORBIDDEN:
        look = _missing(error, right)
    elif not error.status:
        look = "Look at the network: endpoint, proxy, firewall, and the names of private endpoints."
    return f" {look}" if look else ""


def _missing(error: ServiceError, right: Right) -> str:
    if right is READ_BLOBS and error.code in _NETWORK:
        return (
            "The storage account's network rules do not let this machine in (or the right is missing: "
            f"{right.action}; {right.role})."
        )
    named = _ACTION.search(str(error))
    action = named[1] if named else right.action
    return f"The identity lacks the permission {action}; {right.role}."

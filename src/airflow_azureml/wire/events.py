"""What Event Grid puts into a queue: blobs that were written, and what Azure ML tells of a workspace.

Source: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage, and for what leaves a blob complete
https://learn.microsoft.com/azure/storage/blobs/storage-blob-event-overview.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import frozen

from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.clouds import Cloud
from airflow_azureml.core.ml_events import WorkspaceEvent
from airflow_azureml.core.queues import cloud_of_storage
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.wire import ml_events
from airflow_azureml.wire.event_grid import Envelope, MalformedMessageError, envelopes, text_of

__all__ = [
    "BLOB_CREATED",
    "COMPLETING_APIS",
    "IGNORED_TYPES",
    "STARTING_APIS",
    "MalformedMessageError",
    "Message",
    "OtherAccountError",
    "OtherSourceError",
    "OtherWorkspaceError",
    "parse",
    "refuse_other_workspaces",
    "refuse_others",
]

BLOB_CREATED = "Microsoft.Storage.BlobCreated"
#: Operations after which the blob is there completely.
COMPLETING_APIS = frozenset({"PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"})
#: Operations that announce a blob that is still empty; a completing one follows.
STARTING_APIS = frozenset({"CreateFile", "SftpCreate"})
#: Events of a storage account that are no arrival.
IGNORED_TYPES = frozenset(
    f"Microsoft.Storage.{name}"
    for name in (
        "AsyncOperationInitiated",
        "BlobDeleted",
        "BlobInventoryPolicyCompleted",
        "BlobRenamed",
        "BlobRestoreCompleted",
        "BlobTierChanged",
        "DirectoryCreated",
        "DirectoryDeleted",
        "DirectoryRenamed",
        "LifecyclePolicyCompleted",
    )
)
#: A message that names one of these instead of a size leaves it open; the service's own sample of ``SftpCommit`` has
#: a length of 0 for a file with content.
_APIS_WITHOUT_SIZE = frozenset({"SftpCommit"})
#: How the containers that this provider writes by itself are called: events of them are no arrivals.
OWN_CONTAINERS = "airflow-azureml-"
#: Azure's longest blob name, in characters. Source: "Naming and referencing containers, blobs, and metadata", REST API
#: of Blob Storage.
_LONGEST_PATH = 1024
_LONGEST_CONTAINER = 63
#: What an eTag, a sequencer, a content type and an address may have: the address of the longest name, percent-encoded,
#: has 12,288 characters and its host; Azure's other fields are far shorter.
_LONGEST_FIELD = 16_384
#: Azure's sizes are signed 64-bit numbers.
_LARGEST = 2**63 - 1
_CONTAINER_OF = "/blobServices/default/containers/"
_ACCOUNT_OF = "/storageaccounts/"


class OtherSourceError(ProtocolError):
    """The message tells of a resource that nobody asked for."""


class OtherAccountError(OtherSourceError):
    """The message tells of a storage account whose arrivals nobody asked for; see the asset's ``account``."""


class OtherWorkspaceError(OtherSourceError):
    """The message tells of a workspace whose events nobody asked for; see the asset's ``workspace``."""


@frozen(kw_only=True)
class Message:
    """What one queue message told.

    Attributes:
        arrivals: Blobs that are there completely.
        ignored: How often which event or operation was no arrival.
        workspace_events: What Azure ML told of a workspace.
    """

    arrivals: tuple[Arrival, ...]
    ignored: Mapping[str, int]
    workspace_events: tuple[WorkspaceEvent, ...] = ()


def parse(text: str) -> Message:
    """Read the text of a queue message: an event or several, as JSON or as base64 of it, in either of the schemas.

    Raises:
        MalformedMessageError: It is not that, or it has an event or an operation that we do not know; the whole
            message is refused then, also its other events.
    """
    arrivals: list[Arrival] = []
    workspace_events: list[WorkspaceEvent] = []
    ignored: dict[str, int] = {}
    for event in envelopes(text):
        if ml_events.is_one(event):
            workspace_events.append(ml_events.read(event))
            continue
        read = _arrival(event)
        if isinstance(read, Arrival):
            arrivals.append(read)
        else:
            ignored[read] = ignored.get(read, 0) + 1
    return Message(arrivals=tuple(arrivals), ignored=ignored, workspace_events=tuple(workspace_events))


def refuse_others(arrivals: Collection[Arrival], *, places: Collection[tuple[str, str]], cloud: Cloud | None) -> None:
    """Refuse arrivals of a storage account or a container that nobody asked for, or of another cloud.

    An account's name is one account's, and so one tenant's, within its cloud: nothing is sent to an address that only
    a message names.

    Args:
        arrivals: What a message told.
        places: Account and container of all that was asked for.
        cloud: The cloud of the queue; None for this machine, whose queues tell of blobs on it only.

    Raises:
        OtherAccountError: There is one.
    """
    accounts = sorted({account for account, _ in places})
    others = sorted({arrival.account for arrival in arrivals} - set(accounts))
    if others:
        raise _other("storage account", others, accounts, "account")
    clouds = {cloud_of_storage(arrival.url) for arrival in arrivals} - {cloud}
    if clouds:
        found, allowed = ([each.value if each else "this machine" for each in some] for some in (clouds, [cloud]))
        raise _other("a blob in the cloud", sorted(found), allowed, "queue")
    containers = sorted({f"{arrival.account}/{arrival.container}" for arrival in arrivals})
    asked = sorted(f"{account}/{container}" for account, container in places)
    if set(containers) - set(asked):
        raise _other("container", sorted(set(containers) - set(asked)), asked, "container")


def _other(what: str, others: Sequence[str], allowed: Sequence[str], name: str) -> OtherAccountError:
    return OtherAccountError(
        f"Read a queue message: it tells of {what} {', '.join(others)}; allowed here: {', '.join(allowed) or 'none'}. "
        f"Name the {name} where the asset is declared, or remove the event subscription"
    )


def refuse_other_workspaces(told: Collection[WorkspaceEvent], *, workspaces: Collection[str]) -> None:
    """Refuse events of a workspace that nobody asked for.

    Args:
        told: The events.
        workspaces: Those asked for, as `airflow_azureml.core.ml_events.place_of` writes them.

    Raises:
        OtherWorkspaceError: There is one.
    """
    others = sorted({event.workspace for event in told} - set(workspaces))
    if others:
        allowed = ", ".join(sorted(workspaces)) or "none"
        raise OtherWorkspaceError(
            f"Read a queue message: it tells of workspace {', '.join(others)}; allowed here: {allowed}. "
            "Name the workspace where the asset is declared, or remove the event subscription"
        )


def _arrival(event: Envelope) -> Arrival | str:
    """Read one event: an arrival, or the name of what it is instead."""
    kind = event.kind
    if kind in IGNORED_TYPES:
        return kind
    if kind != BLOB_CREATED:
        raise MalformedMessageError(f"Read a queue message: unknown event type {kind!r}")
    details = event.details
    api = text_of(details, "api")
    if api in STARTING_APIS:
        return f"{kind} by {api}"
    if api not in COMPLETING_APIS:
        raise MalformedMessageError(f"Read a queue message: unknown storage operation {api!r} in an event {kind}")
    account = _account(event.source)
    container, path = _blob(event.subject)
    if container.startswith(OWN_CONTAINERS):
        return f"{kind} in a container of this provider's own"
    url = _short(details, "url")
    try:
        named = StorageUrl.parse(url).account
        if named != account:
            raise MalformedMessageError(f"Read a queue message: it names the accounts {account!r} and {named!r}")
        return Arrival(
            account=account,
            container=container,
            path=path,
            etag=_etag(details),
            size_bytes=_size(details, api),
            sequencer=_short(details, "sequencer", needed=False),
            time=event.time,
            api=api,
            url=url,
            content_type=_short(details, "contentType", needed=False),
        )
    except (ConfigError, ValueError) as error:
        raise MalformedMessageError(f"Read a queue message: {error}") from error


def _account(topic: str) -> str:
    """Take the account from the id of its resource."""
    at = topic.lower().rfind(_ACCOUNT_OF)
    account = topic[at + len(_ACCOUNT_OF) :].strip("/").lower() if at >= 0 else ""
    if not account or "/" in account:
        raise MalformedMessageError(f"Read a queue message: {topic!r} is no storage account's id")
    return account


def _blob(subject: str) -> tuple[str, str]:
    """Take container and path from the subject, which has the name as it is; the url may name another door."""
    # Blob Storage stores a slash for each backslash of a name.
    container, found, path = subject.removeprefix(_CONTAINER_OF).replace("\\", "/").partition("/blobs/")
    climbs = {".", ".."} & {container, *path.split("/")}
    named = subject.startswith(_CONTAINER_OF) and container and "/" not in container and found and path
    if not named or climbs or len(path) > _LONGEST_PATH or len(container) > _LONGEST_CONTAINER:
        raise MalformedMessageError(f"Read a queue message: {subject!r} is no blob")
    return container, path


def _short(details: Mapping[str, Any], name: str, *, needed: bool = True) -> str:
    """Read a text of a bounded length; one that is not needed may be null, empty or not there."""
    if not needed and details.get(name) in (None, ""):
        return ""
    text = text_of(details, name)
    if len(text) > _LONGEST_FIELD:
        raise MalformedMessageError(
            f"Read a queue message: the field {name} is longer than {_LONGEST_FIELD} characters"
        )
    return text


def _etag(details: Mapping[str, Any]) -> str:
    etag = _short(details, "eTag").strip('"')
    if not etag:
        raise MalformedMessageError("Read a queue message: the field eTag is missing or no text")
    return etag


def _size(details: Mapping[str, Any], api: str) -> int | None:
    size = details.get("contentLength")
    if size is None or (size == 0 and api in _APIS_WITHOUT_SIZE):
        return None
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _LARGEST:
        raise MalformedMessageError(f"Read a queue message: the contentLength {size!r:.99} is no number of bytes")
    return size

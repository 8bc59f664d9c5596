"""What Event Grid puts into a storage queue when a blob is written.

Source: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage, and for what leaves a blob complete
https://learn.microsoft.com/azure/storage/blobs/storage-blob-event-overview.
"""

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from typing import Any

from attrs import frozen

from airflow_azureml.core.arrivals import Arrival, StorageUrl, utc
from airflow_azureml.errors import ConfigError, ProtocolError

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
_CONTAINER_OF = "/blobServices/default/containers/"
_ACCOUNT_OF = "/storageaccounts/"


class MalformedMessageError(ProtocolError):
    """The message is no Event Grid message that we know; see why, and what writes to this queue."""


class OtherAccountError(ProtocolError):
    """The message tells of a storage account whose arrivals nobody asked for; see the asset's ``account``."""


@frozen(kw_only=True)
class Message:
    """What one queue message told.

    Attributes:
        arrivals: Blobs that are there completely.
        ignored: How often which event or operation was no arrival.
    """

    arrivals: tuple[Arrival, ...]
    ignored: Mapping[str, int]


def parse(text: str) -> Message:
    """Read the text of a queue message: an event or several, as JSON or as base64 of it, in either of the schemas.

    Raises:
        MalformedMessageError: It is not that, or it has an event or an operation that we do not know; the whole
            message is refused then, also its other events.
    """
    arrivals: list[Arrival] = []
    ignored: dict[str, int] = {}
    for event in _events(text):
        read = _arrival(event)
        if isinstance(read, Arrival):
            arrivals.append(read)
        else:
            ignored[read] = ignored.get(read, 0) + 1
    return Message(arrivals=tuple(arrivals), ignored=ignored)


def refuse_others(arrivals: Collection[Arrival], *, accounts: Collection[str]) -> None:
    """Refuse arrivals of a storage account that nobody asked for.

    Raises:
        OtherAccountError: There is one.
    """
    others = sorted({arrival.account for arrival in arrivals} - set(accounts))
    if others:
        allowed = ", ".join(sorted(accounts)) or "none"
        raise OtherAccountError(
            f"Read a queue message: it tells of storage account {', '.join(others)}; allowed here: {allowed}. "
            "Name the account where the asset is declared, or remove the event subscription"
        )


def _events(text: str) -> list[Mapping[str, Any]]:
    plain = text.strip().removeprefix("\ufeff")
    try:
        if not plain.startswith(("[", "{")):
            plain = base64.b64decode(plain, validate=True).decode("utf-8-sig")
        body = json.loads(plain)
    except (ValueError, RecursionError, binascii.Error) as error:
        raise MalformedMessageError(f"Read a queue message: neither JSON nor base64 of JSON: {error}") from error
    events = body if isinstance(body, list) else [body]
    if not events or not all(isinstance(event, Mapping) for event in events):
        raise MalformedMessageError("Read a queue message: expected an event or a list of events")
    return events


def _arrival(event: Mapping[str, Any]) -> Arrival | str:
    """Read one event: an arrival, or the name of what it is instead."""
    cloud = "specversion" in event
    kind = _text(event, "type" if cloud else "eventType")
    if kind in IGNORED_TYPES:
        return kind
    if kind != BLOB_CREATED:
        raise MalformedMessageError(f"Read a queue message: unknown event type {kind!r}")
    details = event.get("data")
    if not isinstance(details, Mapping):
        raise MalformedMessageError(f"Read a queue message: the event {kind} has no data")
    api = _text(details, "api")
    if api in STARTING_APIS:
        return f"{kind} by {api}"
    if api not in COMPLETING_APIS:
        raise MalformedMessageError(f"Read a queue message: unknown storage operation {api!r} in an event {kind}")
    account = _account(_text(event, "source" if cloud else "topic"))
    container, path = _blob(_text(event, "subject"))
    url = _text(details, "url")
    sequencer = details.get("sequencer") or ""
    try:
        named = StorageUrl.parse(url).account
        if named != account:
            raise MalformedMessageError(f"Read a queue message: it names the accounts {account!r} and {named!r}")
        return Arrival(
            account=account,
            container=container,
            path=path,
            etag=_text(details, "eTag").strip('"'),
            size_bytes=_size(details, api),
            sequencer=str(sequencer),
            time=utc(_text(event, "time" if cloud else "eventTime")),
            api=api,
            url=url,
            content_type=str(details.get("contentType") or ""),
        )
    except (ConfigError, ValueError) as error:
        raise MalformedMessageError(f"Read a queue message: {error}") from error


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedMessageError(f"Read a queue message: the field {name} is missing or no text")
    return value


def _account(topic: str) -> str:
    """Take the account from the id of its resource."""
    at = topic.lower().rfind(_ACCOUNT_OF)
    account = topic[at + len(_ACCOUNT_OF) :].strip("/").lower() if at >= 0 else ""
    if not account or "/" in account:
        raise MalformedMessageError(f"Read a queue message: {topic!r} is no storage account's id")
    return account


def _blob(subject: str) -> tuple[str, str]:
    """Take container and path from the subject, which has the name as it is; the url may name another door."""
    container, found, path = subject.removeprefix(_CONTAINER_OF).partition("/blobs/")
    climbs = {".", ".."} & {container, *path.split("/")}
    if not subject.startswith(_CONTAINER_OF) or not container or "/" in container or not found or not path or climbs:
        raise MalformedMessageError(f"Read a queue message: {subject!r} is no blob")
    return container, path


def _size(details: Mapping[str, Any], api: str) -> int | None:
    size = details.get("contentLength")
    if size is None or (size == 0 and api in _APIS_WITHOUT_SIZE):
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise MalformedMessageError(f"Read a queue message: the contentLength {size!r} is no number of bytes")
    return size

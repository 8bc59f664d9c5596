"""What Event Grid says when a blob is there, written to the storage queues that asked for it.

Azurite raises no events. The blob proxy sees every request and its answer, and a committed blob becomes one
``Microsoft.Storage.BlobCreated`` message in the Event Grid schema, base64-encoded JSON, as Event Grid delivers it to a
storage queue. Source: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage.

Like Event Grid, it tells of ``PutBlob`` (of all blob types: an append or page blob is told of once, when it is created
and still empty), ``PutBlockList`` and ``CopyBlob``; not of staged blocks, appended blocks, written pages, metadata,
tags, tiers, leases, snapshots, containers or failed requests. Unlike Event Grid it is done before the client has its
answer, tells of no deletions and renames, and does not see what reaches Azurite around the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

import attrs
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.queue.aio import QueueClient

from azureml_emulator.clock import utc_now
from azureml_emulator.deliveries import Deliveries
from azureml_emulator.event_faults import EventFaults
from azureml_emulator.record import Record
from azureml_emulator.settings import EventQueue, Settings

log = logging.getLogger(__name__)

#: Waits between attempts to publish, in seconds; the client's answer waits with them.
RETRY_WAITS_S = (0.1, 0.3, 0.6, 1.0)
#: How long a queue service may be away while the emulator starts, in seconds.
START_PATIENCE_S = 30.0
#: Containers of the service itself, of which Event Grid says nothing.
SILENT_CONTAINERS = frozenset({"$logs", "$blobchangefeed"})


@attrs.frozen(kw_only=True)
class Commit:
    """A blob that was just committed.

    Attributes:
        api: The operation: ``PutBlob``, ``PutBlockList`` or ``CopyBlob``.
        path: The blob's name in its container, decoded.
        url: The address that the client used, without its query.
        etag: As the service answered it; quotes do not matter.
        size_bytes: The blob's size.
    """

    api: str
    container: str
    path: str
    url: str
    etag: str
    size_bytes: int
    content_type: str
    blob_type: str
    request_id: str
    client_request_id: str


def committing_api(method: str, query: str, headers: Mapping[str, str]) -> str | None:
    """Name the operation if it commits a blob, else None.

    Args:
        method: The verb.
        query: The query string, without the question mark.
        headers: The request's headers, names in lower case.
    """
    parameters = {name.lower(): values[0].lower() for name, values in parse_qs(query, keep_blank_values=True).items()}
    if method != "PUT" or "restype" in parameters:
        return None
    match parameters.get("comp"):
        case "blocklist":
            return "PutBlockList"
        case None if "x-ms-copy-source" not in headers:
            return "PutBlob"
        case None:
            return "PutBlob" if "x-ms-blob-type" in headers else "CopyBlob"  # Put Blob From URL has a blob type
        case _:
            return None


def blob_of(path: str, host: str, account: str) -> tuple[str, str] | None:
    """Find container and blob in a request's path; None when it names no blob of this account.

    Args:
        path: The path as it came, percent-encoded.
        host: The Host header: with the account in it, or a plain address with the account in the path.
        account: The storage account.
    """
    parts = path.lstrip("/").split("/")
    if not host.lower().startswith(f"{account}.".lower()):
        if parts[0] != account:
            return None
        parts = parts[1:]
    container, blob = parts[0], "/".join(parts[1:])
    # Blob Storage stores a slash for each backslash of a name.
    return (unquote(container), unquote(blob).replace("\\", "/")) if container and blob else None


def sequencer(previous: int, now_ns: int) -> int:
    """Give the next place in the order: by the clock, and growing even where the clock stands still."""
    return max(previous + 1, now_ns)


def message(commit: Commit, *, topic: str, order: int, at: datetime) -> dict[str, Any]:
    """Write the event.

    Args:
        commit: The blob.
        topic: The storage account's ARM id.
        order: Its place in the order of the blob's events; a client compares the hex digits as a string.
        at: When it was committed, in UTC.
    """
    return {
        "topic": topic,
        "subject": f"/blobServices/default/containers/{commit.container}/blobs/{commit.path}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
        "id": str(uuid.uuid4()),
        "data": {
            "api": commit.api,
            "clientRequestId": commit.client_request_id,
            "requestId": commit.request_id,
            "eTag": commit.etag.strip('"'),
            "contentType": commit.content_type,
            "contentLength": commit.size_bytes,
            "blobType": commit.blob_type,
            "url": commit.url,
            "sequencer": f"{order:048X}",
            "storageDiagnostics": {"batchId": str(uuid.uuid4())},
        },
        "dataVersion": "",
        "metadataVersion": "1",
    }


def queues_for(commit: Commit, queues: Iterable[EventQueue]) -> list[str]:
    """Name the queues that asked for this blob, each once."""
    if commit.container in SILENT_CONTAINERS:
        return []
    wanted = (
        queue.queue
        for queue in queues
        if queue.container in ("", commit.container)
        and commit.path.startswith(queue.prefix)
        and commit.path.endswith(queue.suffix)
    )
    return list(dict.fromkeys(wanted))


class EventPublisher:
    """Writes the messages to Azurite's queue service.

    Args:
        settings: Where the queue service is, and which queues asked for what.
        faults: What is to become of which events; none by default.
        record: Where it is kept what was told.
    """

    def __init__(self, settings: Settings, faults: EventFaults | None = None, *, record: Record | None = None) -> None:
        self._settings = settings
        self._record = record or Record()
        self._deliveries = Deliveries(self._send, faults or EventFaults())
        subscription, group, _ = settings.workspaces[0].split("/") if settings.workspaces else ("", "", "")
        self._topic = (
            f"/subscriptions/{subscription}/resourceGroups/{group}"
            f"/providers/Microsoft.Storage/storageAccounts/{settings.account}"
        )
        self._order = 0
        self._clients: dict[str, QueueClient] = {}

    async def publish(self, commit: Commit) -> bool:
        """Tell all queues that asked; False when one could not be told, which is logged and not raised."""
        self._order = sequencer(self._order, time.time_ns())
        body = message(commit, topic=self._topic, order=self._order, at=utc_now())
        return await self._deliveries.deliver(body, queues_for(commit, self._settings.event_queues))

    async def tell(self, event: Mapping[str, Any], queues: Sequence[str]) -> bool:
        """Tell these queues of an event of whatever kind; False as with `publish`."""
        return await self._deliveries.deliver(dict(event), queues)

    async def _send(self, queue: str, event: Mapping[str, Any]) -> bool:
        text = base64.b64encode(json.dumps(event).encode()).decode()
        waits = iter(RETRY_WAITS_S)
        for attempt in itertools.count(1):
            try:
                await self._put(queue, text)
            except (AzureError, OSError) as error:
                wait_s = next(waits, None)
                if wait_s is None:
                    log.error(  # noqa: TRY400  # the sentence says it; a stack of the client would bury it
                        "EVENT LOST: %s of %s happened, but queue %s was not told in %d attempts: %s",
                        event["eventType"], event["subject"], queue, attempt, error,
                    )  # fmt: skip
                    self._record.told(queue, event, arrived=False)
                    return False
                await asyncio.sleep(wait_s)
            else:
                log.info("Event %s of %s to queue %s", event["eventType"], event["subject"], queue)
                self._record.told(queue, event, arrived=True)
                return True
        return False

    async def _put(self, queue: str, text: str) -> None:
        client = self._client(queue)
        try:
            await client.send_message(text)
        except ResourceNotFoundError:
            await _create(client)
            await client.send_message(text)

    def _client(self, queue: str) -> QueueClient:
        if queue not in self._clients:
            self._clients[queue] = QueueClient(
                f"{self._settings.azurite_queue}/{self._settings.account}",
                queue,
                credential={"account_name": self._settings.account, "account_key": self._settings.account_key},
                api_version="2024-11-04",  # one that an Azurite without --skipApiVersionCheck knows
                retry_total=0,
                connection_timeout=2,
                read_timeout=5,
            )
        return self._clients[queue]

    async def create_queues(self) -> None:
        """Create the queues, so that consumers find them before the first blob.

        A queue service that goes away just then is waited for, `START_PATIENCE_S` seconds in all.

        Raises:
            HttpResponseError: The queue service refused; the key or a queue's name is wrong.
            AzureError: It does not answer.
        """
        deadline = time.monotonic() + START_PATIENCE_S
        of_blobs, of_workspaces = self._settings.event_queues, self._settings.ml_event_queues
        for name in {*(each.queue for each in of_blobs), *(each.queue for each in of_workspaces)}:
            while not await self._is_created(name, deadline):  # noqa: ASYNC110  # another process sets no event
                await asyncio.sleep(RETRY_WAITS_S[-1])

    async def _is_created(self, queue: str, deadline: float) -> bool:
        """Create a queue; False when the service did not answer and may still be waited for."""
        try:
            await _create(self._client(queue))
        except (ServiceRequestError, ServiceResponseError):
            if time.monotonic() > deadline:
                raise
            return False
        return True

    async def close(self) -> None:
        """Close the connections to the queue service; events that faults hold back are lost."""
        await self._deliveries.close()
        for client in self._clients.values():
            await client.close()
        self._clients.clear()


async def _create(client: QueueClient) -> None:
    try:
        await client.create_queue()
    except ResourceExistsError:
        return
    except HttpResponseError as error:
        if error.status_code != 409:  # noqa: PLR2004  # it is there already
            raise

"""Blobs and queues of a real Azurite."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.client.listings import Lister
from airflow_azureml.client.looks import Looker
from airflow_azureml.client.storage import StorageQueue, look_at_blob
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.unit.provider.arrivals.local import SETTINGS


@pytest.fixture
def container(azurite: Azurite) -> ContainerClient:
    service = BlobServiceClient(
        f"{azurite.blob_url}/{ACCOUNT}", credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    )
    made = service.get_container_client(f"c{uuid.uuid4().hex[:12]}")
    made.create_container()
    return made


def test_a_look_shows_version_and_size(container: ContainerClient) -> None:
    uploaded = container.upload_blob("a b#1.csv", b"x" * 100_000)

    seen = look_at_blob(SETTINGS, uploaded.url)

    assert seen is not None
    assert (seen.etag, seen.size_bytes, seen.head) == (uploaded.get_blob_properties().etag.strip('"'), 100_000, b"")


@pytest.mark.parametrize(
    ("content", "head"), [(b"0123456789", b"0123"), (b"01", b"01"), (b"", b"")], ids=["larger", "smaller", "empty"]
)
def test_a_look_shows_as_many_first_bytes_as_were_asked_for(
    container: ContainerClient, content: bytes, head: bytes
) -> None:
    uploaded = container.upload_blob("a", content)

    seen = look_at_blob(SETTINGS, uploaded.url, head_bytes=4)

    assert seen is not None
    assert (seen.head, seen.size_bytes) == (head, len(content))
    assert seen.etag == uploaded.get_blob_properties().etag.strip('"')


@pytest.mark.parametrize("head_bytes", [0, 4])
def test_a_blob_or_a_container_that_is_not_there_is_nothing_and_no_error(
    container: ContainerClient, head_bytes: int
) -> None:
    assert look_at_blob(SETTINGS, f"{container.url}/never", head_bytes=head_bytes) is None
    assert look_at_blob(SETTINGS, f"{container.url}x/never", head_bytes=head_bytes) is None


@pytest.mark.parametrize(
    "url", ["http://acme.blob.core.windows.net/c/a", "https://blobs.evil.example/c/a", "http://127.0.0.1:1/acme/c/a"]
)
def test_nothing_is_sent_to_a_host_that_is_not_storage_or_has_no_key(url: str) -> None:
    with pytest.raises(ConfigError):
        look_at_blob(SETTINGS, url)


@pytest.mark.filterwarnings("error")
def test_storage_that_does_not_answer_is_an_error_that_may_be_retried() -> None:
    with pytest.raises(UnavailableError, match=r"Look at blob http://127\.0\.0\.1:1/devstoreaccount1/c/a: no answer"):
        look_at_blob(SETTINGS, "http://127.0.0.1:1/devstoreaccount1/c/a")


@pytest.mark.anyio
async def test_holding_a_message_longer_keeps_its_text_and_an_older_delivery_counts_no_more(azurite: Azurite) -> None:
    async with StorageQueue(f"{azurite.queue_url}/{ACCOUNT}/q{uuid.uuid4().hex[:12]}", None) as queue:
        await queue.send("a <&> é")
        (received,) = await queue.receive(visibility_s=30)
        held = await queue.hold(received, visibility_s=0)
        assert held is not None
        (again,) = await queue.receive(visibility_s=30)

        assert (again.text, again.deliveries) == ("a <&> é", 2)
        assert await queue.hold(received, visibility_s=30) is None
        assert await queue.delete(received) is False
        assert await queue.delete(again) is True


@pytest.mark.anyio
async def test_a_missing_queue_is_refused_with_its_code_and_the_services_request_id(azurite: Azurite) -> None:
    async with StorageQueue(f"{azurite.queue_url}/{ACCOUNT}/never-was", None) as queue:
        with pytest.raises(RefusedError) as refused:
            await queue.receive(visibility_s=30)

    assert (refused.value.status, refused.value.code, bool(refused.value.request_id)) == (404, "QueueNotFound", True)
    assert str(refused.value).startswith("Receive from queue never-was: 404 QueueNotFound")


def test_a_queue_of_the_cloud_needs_a_credential() -> None:
    with pytest.raises(ConfigError, match="needs a credential"):
        StorageQueue("https://acme.queue.core.windows.net/arrivals", None)


FORBIDDEN = (
    b'<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthorizationPermissionMismatch</Code>'
    b"<Message>This request is not authorized to perform this operation using this permission.</Message></Error>"
)


async def _receive(base: str) -> object:
    async with StorageQueue(f"{base}/arrivals", None) as queue:
        return await queue.receive(visibility_s=30)


async def _list(base: str, *include: str) -> object:
    async with Lister(SETTINGS, f"{base}/incoming") as lister:
        return await anext(lister.pages(include=include))


async def _look(base: str, *, tags: bool) -> object:
    async with Looker(SETTINGS, f"{base}/incoming") as looker:
        return await looker.look("a.csv", tags=tags)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("ask", "role"),
    [
        (_receive, "Storage Queue Data Contributor"),
        (lambda base: _list(base, "metadata"), "Storage Blob Data Reader"),
        (lambda base: _list(base, "tags"), "Storage Blob Data Owner"),
        (lambda base: _look(base, tags=False), "Storage Blob Data Reader"),
        (lambda base: _look(base, tags=True), "Storage Blob Data Owner"),
    ],
    ids=["queue", "list", "list with tags", "look", "look for tags"],
)
async def test_an_identity_that_may_not_is_told_which_role_it_needs(
    ask: Callable[[str], Awaitable[object]], role: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        body = b"" if asked.startswith(b"HEAD") else FORBIDDEN
        writer.write(b"HTTP/1.1 403 Forbidden\r\nx-ms-error-code: AuthorizationPermissionMismatch\r\n")
        writer.write(b"x-ms-request-id: r-1\r\nContent-Type: application/xml\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(RefusedError, match="403 AuthorizationPermissionMismatch") as refused:
            await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{ACCOUNT}")

    assert f"needs the role {role}, and" in str(refused.value)
    assert refused.value.request_id == "r-1"

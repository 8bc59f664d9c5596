"""Listing a container of Azurite's, and finding what the SDK finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob.aio import ContainerClient

from airflow_azureml.client.listings import Lister
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.errors import ConfigError, ProtocolError, RefusedError, UnavailableError
from airflow_azureml.wire.listings import Listed, parse_page
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from demo.processes import free_ports
from tests.unit.provider.arrivals.local import SETTINGS

NAMES = ["a&b<c>.csv", "in/1.csv", "in/2 #%?.csv", "in/3.csv", "in/grün/\u4e2d\u6587.csv", "out/4.csv"]


@pytest.fixture
async def container(azurite: Azurite) -> AsyncIterator[ContainerClient]:
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    url = f"{azurite.blob_url}/{ACCOUNT}/listed"
    async with ContainerClient.from_container_url(url, credential=key) as client:
        await client.create_container()
        for number, name in enumerate(NAMES):
            await client.upload_blob(name, b"x" * number)
        yield client
        await client.delete_container()


async def listed(url: str, *, page_size: int = 5000, **which: str) -> list[list[Listed]]:
    async with Lister(SETTINGS, url, page_size=page_size, first_wait_s=0.01) as lister:
        return [page async for page in lister.pages(**which)]


@pytest.mark.anyio
async def test_what_is_listed_is_what_the_sdk_lists(container: ContainerClient) -> None:
    (page,) = await listed(container.url)

    expected = [
        (blob.name, blob.etag.strip('"'), blob.size, blob.last_modified, blob.content_settings.content_type)
        async for blob in container.list_blobs()
    ]
    assert [(one.path, one.etag, one.size_bytes, one.modified, one.content_type) for one in page] == expected
    assert [one.path for one in page] == NAMES
    assert datetime.now(UTC) - page[0].modified < timedelta(minutes=5)


@pytest.mark.anyio
async def test_pages_are_followed_to_the_last_one(container: ContainerClient) -> None:
    pages = await listed(container.url, page_size=2)

    assert [[one.path for one in page] for page in pages] == [NAMES[:2], NAMES[2:4], NAMES[4:]]


@pytest.mark.anyio
async def test_a_prefix_and_a_place_to_begin_leave_out_the_others(container: ContainerClient) -> None:
    (page,) = await listed(container.url, prefix="in/", after="in/1.csv")

    assert [one.path for one in page] == NAMES[2:5]


@pytest.mark.anyio
async def test_a_listed_blob_is_the_same_arrival_as_its_event_would_tell(container: ContainerClient) -> None:
    (page,) = await listed(container.url, prefix="in/2")
    (arrival,) = (one.arrival(StorageUrl.parse(container.url), "listed") for one in page)

    found = await container.get_blob_client(arrival.path).get_blob_properties()
    assert arrival.uri == container.get_blob_client(arrival.path).url
    assert arrival.etag == found.etag.strip('"')
    assert type(arrival).from_wire(arrival.to_wire()) == arrival


@pytest.mark.anyio
async def test_a_container_that_is_not_there_is_refused_by_name(azurite: Azurite) -> None:
    with pytest.raises(RefusedError, match=r"List .*/never-was: 404 ContainerNotFound"):
        await listed(f"{azurite.blob_url}/{ACCOUNT}/never-was")


@pytest.mark.anyio
async def test_storage_that_does_not_answer_is_asked_again_and_then_told_of() -> None:
    (port,) = free_ports(1)

    with pytest.raises(UnavailableError, match="List http"):
        await listed(f"http://127.0.0.1:{port}/{ACCOUNT}/any")


@pytest.mark.anyio
async def test_an_address_that_is_no_storage_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="is no address of Azure Storage"):
        await listed("https://example.com/container")


def test_the_quick_and_the_thorough_way_read_the_same() -> None:
    blob = (
        "<Blob><Name>{name}</Name><Properties><Creation-Time>Sat, 31 Jan 2026 10:00:00 GMT</Creation-Time>"
        "<Last-Modified>Sat, 31 Jan 2026 10:00:01 GMT</Last-Modified><Etag>0x8D1</Etag>{odd}"
        "<Content-Length>7</Content-Length><Content-Type>text/csv; a=&quot;b&quot;</Content-Type></Properties></Blob>"
    )

    def page(*blobs: str) -> bytes:
        return f'<?xml version="1.0"?><EnumerationResults><Blobs>{"".join(blobs)}</Blobs></EnumerationResults>'.encode()

    quick = parse_page(page(blob.format(name="a &amp; b/\u4e2d", odd="")))
    thorough = parse_page(page(blob.format(name="a &amp; b/\u4e2d", odd="<CopyStatus>success</CopyStatus>")))

    assert quick == thorough
    assert (quick[0].path, quick[0].content_type) == ("a & b/\u4e2d", 'text/csv; a="b"')
    assert parse_page(page(blob.format(name="folder", odd="<ResourceType>directory</ResourceType>"))) == []
    assert parse_page(page(blob.format(name="half", odd="<CopyStatus>pending</CopyStatus>"))) == []
    encoded = blob.format(name="x%EF%BF%BF", odd="").replace("<Name>", '<Name Encoded="true">')
    assert parse_page(page(encoded))[0].path == "x\uffff"


@pytest.mark.parametrize(
    "body", [b"<html>busy</html>", b"", b'<?xml version="1.0"?><EnumerationResults><Blobs><Blob><Name>a', b"\xff" * 9]
)
def test_what_is_no_whole_listing_is_an_error_and_never_an_empty_container(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="no whole listing"):
        parse_page(body)

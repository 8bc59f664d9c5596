"""Listing a container of Azurite's, and finding what the SDK finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from azure.storage.blob.aio import ContainerClient

from airflow_azureml.client.listings import Lister
from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.filters import Details
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


async def listed(url: str, *, page_size: int = 5000, **which: Any) -> list[list[Listed]]:
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
async def test_metadata_and_tags_are_told_where_they_are_asked_for_and_unknown_where_they_are_not(
    container: ContainerClient,
) -> None:
    await container.upload_blob("in/9", b"x", metadata={"Kind": "<raw> & more"}, tags={"team": "a b", "x": "+-./:=_"})

    (plain, asked, half) = [
        (await listed(container.url, prefix="in/", include=include))[0]
        for include in ((), ("metadata", "tags"), ("tags",))
    ]

    assert {(one.details.metadata, one.details.tags) for one in plain} == {(None, None)}
    told = {one.path: one.details for one in asked}
    assert (told["in/9"].metadata, told["in/9"].tags) == ({"Kind": "<raw> & more"}, {"team": "a b", "x": "+-./:=_"})
    assert (told["in/1.csv"].metadata, told["in/1.csv"].tags) == ({}, {})
    assert {one.details.metadata for one in half} == {None}
    assert [evolve(one, details=Details(copy="")) for one in asked] == plain


@pytest.mark.anyio
async def test_a_copy_that_is_complete_is_listed_as_any_other_blob(container: ContainerClient) -> None:
    copy = container.get_blob_client("in/copy")
    await copy.start_copy_from_url(container.get_blob_client("in/1.csv").url)

    (page,) = await listed(container.url, prefix="in/copy")

    assert [(one.path, one.size_bytes, one.details.copy) for one in page] == [("in/copy", 1, "")]


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


BLOB = (
    "<Blob><Name>{name}</Name><Properties><Creation-Time>Sat, 31 Jan 2026 10:00:00 GMT</Creation-Time>"
    "<Last-Modified>Sat, 31 Jan 2026 10:00:01 GMT</Last-Modified><Etag>0x8D1</Etag>{odd}"
    "<Content-Length>7</Content-Length><Content-Type>text/csv; a=&quot;b&quot;</Content-Type>{more}</Properties></Blob>"
)


def written(*, name: str = "a", odd: str = "", more: str = "") -> str:
    return BLOB.format(name=name, odd=odd, more=more)


def a_page(*blobs: str) -> bytes:
    return f'<?xml version="1.0"?><EnumerationResults><Blobs>{"".join(blobs)}</Blobs></EnumerationResults>'.encode()


@pytest.mark.parametrize(
    "name", ["a &amp; b/\u4e2d", "&#x80;&#133;&#xD;", "&amp;lt;", "&quot;&apos;&gt;", "\x85\u2028"]
)
def test_the_quick_and_the_thorough_way_read_the_same(name: str) -> None:
    (quick,) = parse_page(a_page(written(name=name)))
    *_, thorough = parse_page(a_page(written(odd="<ResourceType>directory</ResourceType>"), written(name=name)))

    assert quick == thorough
    assert quick.content_type == 'text/csv; a="b"'
    assert parse_page(a_page(written(name=name)), {"md5"}) == [quick]


def test_folders_and_copies_that_came_to_nothing_are_no_blobs() -> None:
    odd = [
        written(odd="<ResourceType>directory</ResourceType>"),
        written(more="<CopyStatus>aborted</CopyStatus>"),
        written(more="<CopyStatus>failed</CopyStatus>"),
    ]

    assert parse_page(a_page(*odd)) == []
    (file,) = parse_page(a_page(written(odd="<ResourceType>file</ResourceType>"), *odd))
    assert file.is_complete


def test_a_copy_under_way_is_read_and_is_not_complete() -> None:
    copies = [written(name=status, more=f"<CopyStatus>{status}</CopyStatus>") for status in ("pending", "success")]

    pending, success = parse_page(a_page(*copies))

    assert (pending.path, pending.is_complete) == ("pending", False)
    assert (success.path, success.is_complete, success.details.copy) == ("success", True, "")


def test_a_name_that_xml_cannot_hold_is_decoded() -> None:
    encoded = written(name="x%EF%BF%BF").replace("<Name>", '<Name Encoded="true">')

    assert parse_page(a_page(encoded))[0].path == "x\uffff"


def test_metadata_that_is_encrypted_is_not_known() -> None:
    encrypted = written().replace("</Blob>", '<Metadata Encrypted="true"/></Blob>')

    assert parse_page(a_page(encrypted), {"metadata"})[0].details.metadata is None


@pytest.mark.parametrize("lacking", ["Etag", "Last-Modified", "Name"])
def test_a_blob_that_lacks_what_every_blob_has_is_an_error_and_never_left_out(lacking: str) -> None:
    broken = written(more="<CopyStatus>pending</CopyStatus>").replace(lacking, "Other")

    with pytest.raises(ProtocolError, match="no listing that we can read"):
        parse_page(a_page(broken))


@pytest.mark.parametrize(
    "body", [b"<html>busy</html>", b"", b'<?xml version="1.0"?><EnumerationResults><Blobs><Blob><Name>a', b"\xff" * 9]
)
def test_what_is_no_whole_listing_is_an_error_and_never_an_empty_container(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="no whole listing"):
        parse_page(body)

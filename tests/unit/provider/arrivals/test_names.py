"""Names of blobs survive the whole way: what was uploaded is listed, told of, looked at and read under the same name.

Against a real Azurite, behind the emulator that tells of what is uploaded.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_azureml.client.listings import Lister
from airflow_azureml.client.looks import complete
from airflow_azureml.client.storage import StorageQueue, look_at_blob
from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.wire import events
from airflow_azureml.wire.listings import parse_page
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite, Emulator
from tests.unit.provider.arrivals.local import SETTINGS

QUEUE = "names"
#: What XML 1.0 cannot hold: the listing of Azure writes such a name percent-encoded, Azurite's breaks on it.
NOT_IN_XML = [*map(chr, range(0x20)), "\ufffe", "\uffff"]
IN_XML = [each for each in NOT_IN_XML if each in "\t\n\r"]
#: What names are made of: parts of addresses and of XML, of patterns and of paths, and of scripts of several planes.
AWKWARD = [
    *(
        "%",
        "%2F",
        "%2f..",
        "%00",
        "..",
        ".",
        "...",
        " ",
        "+",
        "&",
        "&amp;",
        "&#x80;",
        "<",
        ">",
        '"',
        "'",
        "#",
        "?",
        ";",
    ),
    *("=", "~", "@", ":", "*", "[", "]", "{{ ds }}", "|", "^", "`", "$", "!", ",", "\t", "\n", "\r", "\x7f", "\x81"),
    *("\u0085", "\u00a0", "é", "e\u0301", "\u202e", "\u2028", "\ue000", "\u4e2d", "\U0001f600", "a", "B", "7"),
]
parts = st.lists(
    # A backslash is stored as a slash, and has a test of its own.
    st.sampled_from(AWKWARD) | st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\\"),
    min_size=1,
    max_size=6,
)
#: Any name that can be: no folder is a dot or two, and no name begins with a slash, as no address could have it.
names = (
    st.lists(parts.map("".join), min_size=1, max_size=4)
    .map("/".join)
    .flatmap(lambda name: st.sampled_from([name, f"{name}/", f"{name}.", f"{name}//x", name * (1024 // len(name))]))
    .filter(lambda name: not {".", ".."} & set(name.split("/")))
)


@pytest.fixture(scope="module")
def watched(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("names"), azurite, event_queues=(QUEUE,)) as server:
        yield server


@pytest.fixture
def container(watched: Emulator) -> Iterator[ContainerClient]:
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    url = f"{watched.blob}/{ACCOUNT}/names-{uuid.uuid4().hex[:8]}"
    with ContainerClient.from_container_url(url, credential=key, retry_total=0) as client:
        client.create_container()
        yield client
        client.delete_container()


async def _listed(container: ContainerClient, prefix: str) -> list[Arrival]:
    async with Lister(SETTINGS, container.url, first_wait_s=0.01) as lister:
        pages = [page async for page in lister.pages(prefix=prefix)]
    place = StorageUrl.parse(container.url)
    return [each.arrival(place, container.container_name) for page in pages for each in page]


async def _told(azurite: Azurite, container: ContainerClient) -> list[Arrival]:
    """Take what the queue tells of a container, in the order of the uploads."""
    async with StorageQueue(f"{azurite.queue_url}/{ACCOUNT}/{QUEUE}", None) as queue:
        received = await queue.receive(visibility_s=60)
        for message in received:
            await queue.delete(message)
    told = [arrival for message in received for arrival in events.parse(message.text).arrivals]
    return [each for each in told if each.container == container.container_name]


def _by_task(arrival: Arrival) -> Arrival:
    """Go the way of an asset event, of an XCom and of a trigger's arguments: through JSON."""
    return Arrival.from_wire(json.loads(json.dumps(arrival.to_wire())))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names)
@example("\U0001f600" * 1024)
@example("é/" * 512)
def test_a_name_is_the_same_in_listing_event_and_look_whatever_it_is(
    container: ContainerClient, azurite: Azurite, name: str
) -> None:
    content = uuid.uuid4().bytes
    etag = container.upload_blob(name, content, overwrite=True).get_blob_properties().etag.strip('"')
    *_, told = asyncio.run(_told(azurite, container))
    (listed,) = asyncio.run(_listed(container, name))

    wanted = ArrivalFilter(container=container.container_name, prefix=name, suffix=name, metadata={})
    for arrival in map(_by_task, (told, listed)):
        assert (arrival.path, arrival.etag, wanted.reason_to_skip(arrival)) == (name, etag, "")
        seen = look_at_blob(SETTINGS, arrival.uri, head_bytes=16)
        assert seen is not None
        assert (seen.etag, seen.head) == (etag, content)
    assert told.key == listed.key
    container.delete_blob(name)


def test_a_look_for_what_an_event_does_not_tell_finds_names_of_any_kind(
    container: ContainerClient, azurite: Azurite
) -> None:
    given_names = ["a/", "%2F", "a b#?.csv", "x..y/...", "\U0001f600" * 200, "in//b."]
    for name in given_names:
        container.upload_blob(name, b"x", overwrite=True, metadata={"kind": "raw"})
    arrivals = asyncio.run(_told(azurite, container))
    wanted = ArrivalFilter(container=container.container_name, metadata={"kind": "raw"})

    looked = asyncio.run(complete(SETTINGS, arrivals, wanted))

    assert sorted(each.path for each in looked.ready) == sorted(given_names)


def test_a_backslash_is_the_slash_that_storage_makes_of_it(container: ContainerClient, azurite: Azurite) -> None:
    container.upload_blob("in\\a.csv", b"x")
    (told,) = asyncio.run(_told(azurite, container))
    (listed,) = asyncio.run(_listed(container, "in"))

    assert (told.path, told.key) == ("in/a.csv", listed.key)


@pytest.mark.parametrize("name", ["..", "../names/a", "a/../b", "./a", "a/."])
def test_a_folder_that_is_a_dot_or_two_is_refused_by_storage_and_left_out_by_every_filter(
    container: ContainerClient, name: str
) -> None:
    with pytest.raises(HttpResponseError):
        container.upload_blob(name, b"x")

    arrival = Arrival(
        account=ACCOUNT,
        container=container.container_name,
        path=name,
        etag="0x1",
        size_bytes=1,
        sequencer="",
        time="2026-01-31T10:00:00+00:00",
        api="",
        url=container.url,
    )
    assert "no address can name" in ArrivalFilter(container=container.container_name).reason_to_skip(arrival)


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(NOT_IN_XML), min_size=1, max_size=40))
def test_a_name_that_xml_cannot_hold_is_read_as_azure_writes_it(name: str) -> None:
    can_stand = not set(name) & set(NOT_IN_XML)
    written = f"<Name>{escape(name)}</Name>" if can_stand else f'<Name Encoded="true">{quote(name, safe="")}</Name>'
    page = (
        '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs><Blob>'
        f"{written}<Properties><Last-Modified>Sat, 31 Jan 2026 10:00:01 GMT</Last-Modified><Etag>0x8D1</Etag>"
        "<Content-Length>7</Content-Length><Content-Type>text/csv</Content-Type></Properties></Blob></Blobs>"
        "</EnumerationResults>"
    ).encode()

    (listed,) = parse_page(page)

    assert listed.path == name

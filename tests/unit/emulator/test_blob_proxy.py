"""The proxy before Azurite: what it passes, what it tells, whom it refuses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import logging
import os
import re
import uuid
from collections.abc import AsyncIterator

import aiohttp
import attrs
import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobBlock, ContentSettings, generate_container_sas
from azure.storage.blob.aio import BlobClient, BlobServiceClient
from azure.storage.queue.aio import QueueClient
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from azureml_emulator.events import EventPublisher
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY, EventQueue, Settings
from tests.unit.emulator.serving import KEY, Front, bearer, blob_url, proxying, serving

pytestmark = pytest.mark.anyio

ACCOUNTS = "/providers/Microsoft.Storage/storageAccounts"


# what is told


async def test_a_small_upload_is_told_as_event_grid_tells_it(front: Front) -> None:
    answer = await front.blob("in/rows.csv").upload_blob(b"a,b\n", content_settings=ContentSettings("text/csv"))

    (event,) = await front.told()
    subscription, group, _ = front.settings.workspaces[0].split("/")
    data = event.pop("data")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", event.pop("eventTime"))
    assert str(uuid.UUID(event["id"])) == event.pop("id")
    assert event == {
        "topic": f"/subscriptions/{subscription}/resourceGroups/{group}{ACCOUNTS}/{DEV_ACCOUNT}",
        "subject": f"/blobServices/default/containers/{front.name}/blobs/in/rows.csv",
        "eventType": "Microsoft.Storage.BlobCreated",
        "dataVersion": "",
        "metadataVersion": "1",
    }
    assert re.fullmatch(r"[0-9A-F]{48}", data.pop("sequencer"))
    assert data.pop("storageDiagnostics").keys() == {"batchId"}
    assert data == {
        "api": "PutBlob",
        "clientRequestId": answer["client_request_id"],
        "requestId": answer["request_id"],
        "eTag": answer["etag"].strip('"'),
        "contentType": "text/csv",
        "contentLength": 4,
        "blobType": "BlockBlob",
        "url": f"{front.url}/{DEV_ACCOUNT}/{front.name}/in/rows.csv",
    }


async def test_an_upload_in_blocks_is_told_once_with_its_whole_size(front: Front) -> None:
    async with BlobClient(
        f"{front.url}/{DEV_ACCOUNT}",
        front.name,
        "big.bin",
        credential=KEY,
        max_single_put_size=1000,
        max_block_size=1000,
    ) as blob:
        answer = await blob.upload_blob(b"x" * 5500)

    (event,) = await front.told()
    told = {name: event["data"][name] for name in ("api", "contentLength", "eTag", "blobType")}
    assert told == {
        "api": "PutBlockList",
        "contentLength": 5500,
        "eTag": answer["etag"].strip('"'),
        "blobType": "BlockBlob",
    }


async def test_a_copy_is_told_with_the_copys_size(front: Front) -> None:
    source = front.blob("from.bin")
    await source.upload_blob(b"x" * 321)
    await front.told()
    sas = generate_container_sas(
        DEV_ACCOUNT, front.name, DEV_ACCOUNT_KEY, permission="r", expiry="2099-01-01T00:00:00Z"
    )

    await front.blob("to.bin").start_copy_from_url(f"{source.url}?{sas}")

    (event,) = await front.told()
    assert event["subject"].endswith("/blobs/to.bin")
    assert (event["data"]["api"], event["data"]["contentLength"]) == ("CopyBlob", 321)
    assert sas not in json.dumps(event)


async def test_every_version_of_a_blob_is_told_in_an_order_that_can_be_compared(front: Front) -> None:
    etags = [
        (await front.blob("same").upload_blob(bytes([number]), overwrite=True))["etag"].strip('"')
        for number in range(5)
    ]

    events = sorted(await front.told(), key=lambda event: str(event["data"]["sequencer"]))

    assert [event["data"]["eTag"] for event in events] == etags


async def test_a_name_of_many_letters_is_plain_in_the_subject_and_encoded_in_theblob_url(front: Front) -> None:
    name = "año 1/100% +sure?#.csv"

    await front.blob(name).upload_blob(b"x")

    (event,) = await front.told()
    assert event["subject"].endswith(f"/blobs/{name}")
    assert event["data"]["url"] == front.blob(name).url


async def test_an_append_blob_is_told_of_once_when_it_is_made_and_empty(front: Front) -> None:
    blob = front.blob("log.txt")

    await blob.create_append_blob()
    await blob.append_block(b"line\n")
    await blob.append_block(b"line\n")

    (event,) = await front.told()
    told = {name: event["data"][name] for name in ("api", "contentLength", "blobType")}
    assert told == {"api": "PutBlob", "contentLength": 0, "blobType": "AppendBlob"}


async def test_nothing_else_is_told(front: Front) -> None:
    blob = front.blob("one")
    await blob.upload_blob(b"x")
    await front.told()

    await blob.stage_block("AAAA", b"later")
    await blob.set_blob_metadata({"a": "b"})
    await blob.set_blob_tags({"a": "b"})
    await blob.create_snapshot()
    await blob.set_standard_blob_tier("Cool")
    await (await blob.acquire_lease(15)).release()
    await blob.get_blob_properties()
    await (await blob.download_blob()).readall()
    with pytest.raises(ResourceExistsError):
        await front.blob("one").upload_blob(b"y", match_condition=MatchConditions.IfMissing)
    await front.container.set_container_metadata({"a": "b"})
    await blob.delete_blob(delete_snapshots="include")

    assert await front.told() == []


async def test_staged_blocks_are_told_of_when_they_are_committed(front: Front) -> None:
    blob = front.blob("staged")
    await blob.stage_block("AAAA", b"12345")
    before = await front.told()

    await blob.commit_block_list([BlobBlock("AAAA")])

    assert before == []
    assert [event["data"]["api"] for event in await front.told()] == ["PutBlockList"]


@pytest.mark.parametrize("front", [{"prefix": "in/", "suffix": ".csv"}], indirect=True)
async def test_a_queue_hears_only_of_what_it_asked_for(front: Front) -> None:
    for name in ("in/a.csv", "out/a.csv", "in/a.txt", "in/deep/b.csv"):
        await front.blob(name).upload_blob(b"x")

    subjects = [event["subject"].partition("/blobs/")[2] for event in await front.told()]

    assert sorted(subjects) == ["in/a.csv", "in/deep/b.csv"]


async def test_a_queue_that_cannot_be_told_is_named_in_the_log_and_the_blob_stays(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    deaf = attrs.evolve(settings, azurite_queue="http://127.0.0.1:9", event_queues=(EventQueue(queue="deaf"),))
    async with (
        proxying(deaf.azurite_blob, deaf, EventPublisher(deaf)) as url,
        BlobServiceClient(f"{url}/{DEV_ACCOUNT}", credential=KEY) as service,
    ):
        container = await service.create_container(f"c{uuid.uuid4().hex}")
        with caplog.at_level(logging.ERROR):
            await container.upload_blob("in/rows.csv", b"x")
        there = await container.get_blob_client("in/rows.csv").exists()

    lost = [record.getMessage() for record in caplog.records if "EVENT LOST" in record.getMessage()]
    assert there
    assert len(lost) == 1
    assert "in/rows.csv" in lost[0]
    assert "queue deaf" in lost[0]
    assert "5 attempts" in lost[0]


# what passes


async def test_a_request_signed_with_a_wrong_key_is_refused_by_azurite_and_not_told(front: Front) -> None:
    wrong = {"account_name": DEV_ACCOUNT, "account_key": base64.b64encode(b"wrong").decode()}

    async with BlobClient(f"{front.url}/{DEV_ACCOUNT}", front.name, "x", credential=wrong) as blob:
        with pytest.raises(HttpResponseError) as refused:
            await blob.upload_blob(b"x")

    assert refused.value.status_code == 403
    assert await front.told() == []


async def test_a_sas_passes(front: Front) -> None:
    sas = generate_container_sas(
        DEV_ACCOUNT, front.name, DEV_ACCOUNT_KEY, permission="rcw", expiry="2099-01-01T00:00:00Z"
    )

    async with BlobClient(f"{front.url}/{DEV_ACCOUNT}", front.name, "in a/b+c.txt", credential=sas) as blob:
        await blob.upload_blob(b"by sas")
        read = await (await blob.download_blob()).readall()

    (event,) = await front.told()
    assert read == b"by sas"
    assert "sig=" not in json.dumps(event)


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # the storage client's own way
@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_twenty_megabytes_pass_in_one_request_and_come_back_the_same(settings: Settings, http: str) -> None:
    data = os.urandom(20 * 1024 * 1024)
    async with proxying(settings.azurite_blob, settings, http=http) as url:
        service = BlobServiceClient(f"{url}/{DEV_ACCOUNT}", credential=KEY, max_single_put_size=64 * 1024 * 1024)
        async with service:
            container = await service.create_container(f"c{uuid.uuid4().hex}")
            await container.upload_blob("big", io.BytesIO(data))
            properties = await container.get_blob_client("big").get_blob_properties()
            back = await (await container.download_blob("big")).readall()

    assert properties.size == len(data)
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_bodies_stream_both_ways(settings: Settings, http: str) -> None:
    seen, go = asyncio.Event(), asyncio.Event()

    async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
        stream = Request(scope, receive).stream()
        first = await anext(stream)
        seen.set()
        rest = b"".join([chunk async for chunk in stream])

        async def answer() -> AsyncIterator[bytes]:
            yield first
            await go.wait()
            yield rest

        await StreamingResponse(answer())(scope, receive, send)

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.wait_for(seen.wait(), 10)
        yield b"rest"

    async with (
        serving(upstream) as behind,
        proxying(behind, settings, http=http) as url,
        aiohttp.ClientSession() as client,
        client.put(url, data=body()) as answer,
    ):
        chunks = answer.content.iter_any()
        early = await asyncio.wait_for(anext(chunks), 10)
        go.set()
        late = b"".join([chunk async for chunk in chunks])

    assert (early, late) == (b"first", b"rest")


async def test_a_head_has_the_length_of_the_blob_and_no_body(front: Front) -> None:
    await front.blob("x").upload_blob(b"12345")

    async with aiohttp.ClientSession() as client, client.head(blob_url(front, "x"), headers=bearer()) as answer:
        body = await answer.read()

    assert (answer.status, answer.headers["Content-Length"], body) == (200, "5", b"")
    assert len(answer.headers.getall("Date")) == 1


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(front: Front) -> None:
    host, port = front.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = {
        "Host": f"{host}:{port}",
        **bearer(),
        "x-ms-blob-type": "BlockBlob",
        "Content-Length": "5",
        "Expect": "100-continue",
    }
    lines = [
        f"PUT /{DEV_ACCOUNT}/{front.name}/waited HTTP/1.1",
        *(f"{name}: {value}" for name, value in head.items()),
        "",
        "",
    ]

    writer.write("\r\n".join(lines).encode())
    first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.write(b"12345")
    second = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()

    assert first.startswith(b"HTTP/1.1 100 ")
    assert second.startswith(b"HTTP/1.1 201 ")
    assert [event["data"]["contentLength"] for event in await front.told()] == [5]


async def test_an_upload_that_breaks_off_leaves_no_blob_and_no_event(front: Front) -> None:
    host, port = front.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = {"Host": f"{host}:{port}", **bearer(), "x-ms-blob-type": "BlockBlob", "Content-Length": "500"}
    lines = [
        f"PUT /{DEV_ACCOUNT}/{front.name}/broken HTTP/1.1",
        *(f"{name}: {value}" for name, value in head.items()),
        "",
        "",
    ]

    writer.write("\r\n".join(lines).encode() + b"only this")
    await writer.drain()
    await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    await front.blob("whole").upload_blob(b"x")

    assert not await front.blob("broken").exists()
    assert [event["subject"].rpartition("/")[2] for event in await front.told()] == ["whole"]


async def test_azurite_that_is_not_there_is_named(settings: Settings) -> None:
    async with (
        proxying("http://127.0.0.1:9", settings) as url,
        aiohttp.ClientSession() as client,
        client.get(f"{url}/{DEV_ACCOUNT}/c") as answer,
    ):
        said = await answer.text()

    assert answer.status == 502
    assert "http://127.0.0.1:9" in said
    assert "Start Azurite" in said


async def test_the_queue_service_passes_too(settings: Settings) -> None:
    async with (
        proxying(settings.azurite_queue, settings) as url,
        QueueClient(f"{url}/{DEV_ACCOUNT}", f"q{uuid.uuid4().hex}", credential=KEY) as queue,
    ):
        await queue.create_queue()
        await queue.send_message("one")
        found = [message.content async for message in queue.receive_messages()]

    assert found == ["one"]

"""Batches staged in a real Azurite."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.client.staging import Staging, write_once
from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.staging import file_name
from airflow_azureml.errors import ConfigError
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.unit.provider.arrivals.local import SETTINGS

CSV = b"a,b\n1,2\n"
pytestmark = pytest.mark.anyio


@pytest.fixture
def service(azurite: Azurite) -> Iterator[BlobServiceClient]:
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    with BlobServiceClient(f"{azurite.blob_url}/{ACCOUNT}", credential=key) as client:
        yield client


@pytest.fixture
def incoming(service: BlobServiceClient) -> ContainerClient:
    return service.create_container(f"in{uuid.uuid4().hex[:12]}")


@pytest.fixture
def staged(service: BlobServiceClient) -> ContainerClient:
    """A container that is not there yet."""
    return service.get_container_client(f"staged{uuid.uuid4().hex[:12]}")


def put(container: ContainerClient, path: str, content: bytes = CSV) -> Arrival:
    blob = container.upload_blob(path, content, overwrite=True)
    found = blob.get_blob_properties()
    return Arrival(
        account=ACCOUNT,
        container=container.container_name,
        path=path,
        etag=found.etag.strip('"'),
        size_bytes=len(content),
        sequencer="",
        time=found.last_modified.isoformat(),
        api="PutBlob",
        url=blob.url,
    )


def names(container: ContainerClient) -> list[str]:
    return sorted(str(name) for name in container.list_blob_names())


async def stage(container: ContainerClient, *arrivals: Arrival, **more: Any) -> dict[str, str]:
    async with Staging(SETTINGS, f"{container.url}/here") as staging:
        return dict((await staging.stage("b1", arrivals, **more)).left_out)


ODD_NAMES = ["a b#?%.csv", "x/..y.csv", "grün/中文 .csv", "%2F%2e%2e.csv", 'a&b+c;d="e".csv', "n" * 1024]


async def test_blobs_of_any_name_are_copied_under_names_that_cannot_be_misread(
    incoming: ContainerClient, staged: ContainerClient
) -> None:
    arrivals = [put(incoming, name, f"a,b\n{number},2\n".encode()) for number, name in enumerate(ODD_NAMES)]

    assert await stage(staged, *arrivals, format_name="csv") == {}

    written = json.loads(staged.download_blob("here/b1/manifest.json").readall())
    assert [one["path"] for one in written["files"]] == ODD_NAMES
    for number, one in enumerate(written["files"]):
        assert staged.download_blob(f"here/b1/data/{one['file']}").readall() == f"a,b\n{number},2\n".encode()
        assert one["file"].partition(".")[0].isalnum()


async def test_staging_again_changes_nothing_even_when_the_blob_was_replaced_since(
    incoming: ContainerClient, staged: ContainerClient
) -> None:
    arrival = put(incoming, "a.csv")
    await stage(staged, arrival)
    copy = staged.get_blob_client(f"here/b1/data/{file_name(arrival)}")
    before = copy.get_blob_properties().etag

    put(incoming, "a.csv", b"a,b\n3,4\n")
    left_out = await stage(staged, arrival)

    assert (left_out, copy.get_blob_properties().etag, copy.download_blob().readall()) == ({}, before, CSV)


@pytest.mark.parametrize("format_name", ["", "csv"])
async def test_a_version_that_was_replaced_or_deleted_before_is_left_out_and_the_others_are_not(
    incoming: ContainerClient, staged: ContainerClient, format_name: str
) -> None:
    old, good, gone = put(incoming, "old.csv"), put(incoming, "good.csv"), put(incoming, "gone.csv")
    put(incoming, "old.csv", b"a,b\n3,4\n")
    incoming.delete_blob("gone.csv")

    left_out = await stage(staged, old, good, gone, format_name=format_name)

    assert left_out.keys() == {old.key, gone.key}
    assert left_out[old.key].startswith("superseded")
    assert "deleted" in left_out[gone.key]
    assert names(staged) == [f"here/b1/data/{file_name(good)}", "here/b1/manifest.json"]


@pytest.mark.parametrize(
    ("content", "why"), [(b"", "it is empty"), (b"\x00\x01", "binary"), (b"a,b\n", "no rows")], ids=["0", "1", "2"]
)
async def test_a_head_that_cannot_be_scored_keeps_its_blob_out(
    incoming: ContainerClient, staged: ContainerClient, content: bytes, why: str
) -> None:
    bad, good = put(incoming, "bad.csv", content), put(incoming, "good.csv")

    left_out = await stage(staged, bad, good, format_name="csv")

    assert left_out.keys() == {bad.key}
    assert why in left_out[bad.key]


async def test_two_who_stage_the_same_batch_at_once_make_one_folder(
    incoming: ContainerClient, staged: ContainerClient
) -> None:
    arrivals = [put(incoming, f"{number}.csv") for number in range(20)]

    one, other = await asyncio.gather(stage(staged, *arrivals), stage(staged, *arrivals))

    assert (one, other) == ({}, {})
    assert len(names(staged)) == 21


async def test_what_is_cleared_is_gone_but_for_the_manifest(incoming: ContainerClient, staged: ContainerClient) -> None:
    arrivals = [put(incoming, f"{number}.csv") for number in range(3)]
    await stage(staged, *arrivals)

    async with Staging(SETTINGS, f"{staged.url}/here") as staging:
        await staging.clear("b1", arrivals)
        await staging.clear("b1", arrivals)

    assert names(staged) == ["here/b1/manifest.json"]


async def test_blobs_of_another_account_are_refused_before_anything_is_sent(
    incoming: ContainerClient, staged: ContainerClient
) -> None:
    with pytest.raises(ConfigError, match="account another cannot be copied"):
        await stage(staged, evolve(put(incoming, "a.csv"), account="another"))


def test_a_marker_is_written_once_and_the_first_one_stays(incoming: ContainerClient) -> None:
    url = f"{incoming.url}/_published/b1.json"

    assert [write_once(SETTINGS_HERE, url, b"1"), write_once(SETTINGS_HERE, url, b"2")] == [True, False]

    assert incoming.download_blob("_published/b1.json").readall() == b"1"


SETTINGS_HERE = evolve(SETTINGS, authentication=type(SETTINGS.authentication).DEFAULT)

"""Looking at blobs of a real Azurite for what an event does not tell."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from azure.storage.blob import BlobClient, ContainerClient

from airflow_azureml.client.listings import Lister, look_for
from airflow_azureml.client.looks import Looker, complete
from airflow_azureml.client.sets import read_manifests
from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.conditions import State
from airflow_azureml.core.filters import ArrivalFilter, Details
from airflow_azureml.core.looks import Look, Outcome, judge
from airflow_azureml.core.search import Search
from airflow_azureml.core.sets import MANIFEST_BYTES, Manifest, Named, Sets
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.unit.provider.arrivals.local import SETTINGS

MODIFIED = datetime(2026, 1, 31, 10, tzinfo=UTC)


@pytest.fixture
def container(azurite: Azurite) -> Iterator[ContainerClient]:
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    url = f"{azurite.blob_url}/{ACCOUNT}/looks-{uuid.uuid4().hex[:8]}"
    with ContainerClient.from_container_url(url, credential=key, retry_total=0) as client:
        client.create_container()
        yield client
        client.delete_container()


def told(blob: BlobClient, *, api: str = "PutBlob") -> Arrival:
    """Describe a blob as the event of its last writing does."""
    properties = blob.get_blob_properties()
    return Arrival(
        account=ACCOUNT,
        container=str(blob.container_name),
        path=str(blob.blob_name),
        etag=properties.etag.strip('"'),
        size_bytes=properties.size,
        sequencer="1",
        time=properties.last_modified.astimezone(UTC).isoformat(),
        api=api,
        url=blob.url,
    )


def wanted(container: ContainerClient, **parts: Any) -> ArrivalFilter:
    return ArrivalFilter(container=container.container_name, **parts)


@pytest.mark.anyio
async def test_only_blobs_with_the_metadata_and_the_tags_are_ready_and_the_others_say_why(
    container: ContainerClient,
) -> None:
    both = told(container.upload_blob("both", b"1", metadata={"Kind": "raw"}, tags={"team": "a"}))
    metadata = told(container.upload_blob("metadata", b"1", metadata={"kind": "raw"}))
    tags = told(container.upload_blob("tags", b"1", tags={"team": "a"}))
    which = wanted(container, metadata={"kind": "raw"}, tags={"team": "a"})

    looked = await complete(SETTINGS, [tags, both, metadata], which)

    assert [each.path for each in looked.ready] == ["both"]
    assert {each.path: why for each, why in looked.left_out} == {
        "metadata": "its tag team is not 'a'",
        "tags": "its metadata kind is not 'raw'",
    }


@pytest.mark.anyio
async def test_what_the_filter_needs_no_look_for_is_ready_without_one() -> None:
    nobody_answers = "http://127.0.0.1:1/devstoreaccount1/incoming"
    known = Arrival(
        account=ACCOUNT,
        container="incoming",
        path="a.csv",
        etag="0x1",
        size_bytes=1,
        sequencer="",
        time=MODIFIED.isoformat(),
        api="PutBlob",
        url=f"{nobody_answers}/a.csv",
    )
    which = ArrivalFilter(container="incoming", suffix=".csv", metadata={"kind": "raw"})

    looked = await complete(SETTINGS, [known], attrs.evolve(which, metadata={}))
    assert looked.ready == (known,)
    skipped = await complete(SETTINGS, [attrs.evolve(known, path="a.json")], which)
    assert [why for _, why in skipped.left_out] == ["path does not end with .csv"]


@pytest.mark.anyio
async def test_a_blob_that_is_gone_and_one_that_was_overwritten_are_said_to_be_so(container: ContainerClient) -> None:
    gone, old = (told(container.upload_blob(name, b"1", metadata={"k": "v"})) for name in ("gone", "old"))
    container.delete_blob("gone")
    new = told(container.upload_blob("old", b"22", overwrite=True, metadata={"k": "v"}))

    looked = await complete(SETTINGS, [gone, old], wanted(container, metadata={"k": "v"}))

    assert looked.ready == ()
    assert [(each.etag, each.size_bytes) for each in looked.renewed] == [(new.etag, 2)]
    assert looked.renewed[0].key == new.key
    assert [why for _, why in looked.left_out] == [
        "is not there any more",
        f"was overwritten since: its eTag is {new.etag} now",
    ]


@pytest.mark.anyio
async def test_a_version_that_took_anothers_place_is_left_out_where_it_is_not_wanted(
    container: ContainerClient,
) -> None:
    old = told(container.upload_blob("a", b"1", tags={"t": "v"}))
    container.upload_blob("a", b"2", overwrite=True)

    looked = await complete(SETTINGS, [old], wanted(container, tags={"t": "v"}))

    assert (looked.ready, looked.renewed, len(looked.left_out)) == ((), (), 1)


@pytest.mark.anyio
async def test_a_blob_that_is_appended_to_waits_for_quiet_and_is_ready_in_its_last_version(
    container: ContainerClient,
) -> None:
    blob = container.get_blob_client("log")
    blob.create_append_blob()
    begun = attrs.evolve(told(blob), size_bytes=0)
    blob.append_block(b"123")
    which = wanted(container, quiet_s=3600.0)

    waits = await complete(SETTINGS, [begun], which)
    assert [why.partition(" s ago")[2] for _, why in waits.waiting] == [", and must not have been for 3600 s"]
    assert (waits.ready, waits.renewed, waits.left_out) == ((), (), ())

    async with asyncio.timeout(20):  # the account's times are whole seconds
        while not (quiet := await complete(SETTINGS, [begun], attrs.evolve(which, quiet_s=1e-9))).renewed:
            assert [each.path for each, _ in quiet.waiting] == ["log"]
    assert [(each.etag, each.size_bytes) for each in quiet.renewed] == [(told(blob).etag, 3)]


@pytest.mark.anyio
async def test_a_copy_is_looked_at_and_ready_when_it_is_complete(container: ContainerClient) -> None:
    source = container.upload_blob("source", b"123", metadata={"k": "v"})
    copy = container.get_blob_client("copy")
    copy.start_copy_from_url(source.url)

    looked = await complete(SETTINGS, [attrs.evolve(told(copy, api="CopyBlob"), size_bytes=0)], wanted(container))

    assert [(each.path, each.size_bytes) for each in looked.ready] == [("copy", 3)]


def look(**changes: Any) -> Look:
    whole = Look(
        etag="0x1",
        size_bytes=1,
        content_type="text/csv",
        modified=MODIFIED,
        now=MODIFIED + timedelta(seconds=9),
        details=Details(metadata={}, copy=""),
    )
    return attrs.evolve(whole, **changes)


@pytest.mark.parametrize(
    ("changes", "outcome", "why"),
    [
        ({}, Outcome.READY, ""),
        ({"details": Details(copy="pending")}, Outcome.WAITS, "is still being copied"),
        ({"details": Details(copy="aborted")}, Outcome.LEFT_OUT, "its copy was aborted"),
        ({"details": Details(copy="failed")}, Outcome.LEFT_OUT, "its copy failed"),
        ({"details": Details(metadata={"hdi_isfolder": "true"}, copy="")}, Outcome.LEFT_OUT, "is a folder"),
        ({"size_bytes": 0}, Outcome.LEFT_OUT, "smaller than 1 bytes"),
        ({"content_type": "image/png"}, Outcome.LEFT_OUT, "content type is none of text/*"),
        (
            {"now": MODIFIED + timedelta(seconds=4)},
            Outcome.WAITS,
            "was written 4 s ago, and must not have been for 5 s",
        ),
        ({"etag": "0x2"}, Outcome.RENEWED, "was overwritten since: its eTag is 0x2 now"),
    ],
)
def test_a_look_says_what_becomes_of_an_arrival(changes: dict[str, Any], outcome: Outcome, why: str) -> None:
    arrival = Arrival(
        account="acme",
        container="incoming",
        path="a",
        etag="0x1",
        size_bytes=None,
        sequencer="9",
        time="2020-01-01T00:00:00+00:00",
        api="SftpCommit",
        url="https://acme.blob.core.windows.net/incoming/a",
    )
    verdict = judge(arrival, look(**changes), ArrivalFilter(container="incoming", content_types="text/*", quiet_s=5.0))

    assert (verdict.outcome, verdict.why) == (outcome, why)


@pytest.mark.anyio
async def test_a_container_that_is_not_there_is_an_error_and_not_a_blob_that_is_gone(azurite: Azurite) -> None:
    async with Looker(SETTINGS, f"{azurite.blob_url}/{ACCOUNT}/never-was") as looker:
        with pytest.raises(RefusedError, match=r"Look at .*/never-was/a: 404 ContainerNotFound"):
            await looker.look("a")


@pytest.mark.anyio
async def test_storage_that_does_not_answer_is_an_error_that_may_be_retried() -> None:
    async with Looker(SETTINGS, "http://127.0.0.1:1/devstoreaccount1/any", first_wait_s=0.01) as looker:
        with pytest.raises(UnavailableError, match="Look at http"):
            await looker.look("a")


@pytest.mark.anyio
async def test_nothing_is_sent_to_a_host_that_is_no_storage() -> None:
    with pytest.raises(ConfigError, match="is no address of Azure Storage"):
        async with Looker(SETTINGS, "https://blobs.example/c"):
            pass


@pytest.mark.anyio
async def test_manifests_are_read_in_the_versions_that_were_seen_and_one_that_is_none_is_no_error(
    container: ContainerClient,
) -> None:
    good = told(container.upload_blob("a/manifest.json", json.dumps(["1.csv"])))
    bad = told(container.upload_blob("b/manifest.json", b"{"))
    large = attrs.evolve(good, path="c/manifest.json", size_bytes=MANIFEST_BYTES + 1)
    old = told(container.upload_blob("d/manifest.json", b"[]"))
    container.upload_blob("d/manifest.json", b'["x"]', overwrite=True)

    async with Looker(SETTINGS, container.url) as looker:
        read = await read_manifests(looker, [good, bad, large, old])

    assert read[good.key] == Manifest((Named(path="1.csv"),))
    assert str(read[bad.key]).startswith("it is no JSON in UTF-8")
    assert read[large.key] == "it has 4194305 bytes, and 4194304 are the most"
    assert read[old.key] == "it was overwritten or deleted before it could be read"


@pytest.mark.anyio
async def test_a_search_for_sets_reads_their_manifests_and_finds_those_that_are_complete(
    container: ContainerClient,
) -> None:
    for folder in ("a", "b"):
        container.upload_blob(f"in/{folder}/1.csv", b"1")
        container.upload_blob(f"in/{folder}/2.csv", b"22")
    md5 = "ttdn0vjtXSGkSw5YhmgMuQ=="
    named = [{"name": "1.csv", "size": 1, "md5": "xMpCOKC5I4INzFCab3WEmw=="}, {"name": "2.csv", "md5": md5}]
    container.upload_blob("in/a/manifest.json", json.dumps(["1.csv", "3.csv"]))
    container.upload_blob("in/b/manifest.json", json.dumps(named))
    search = Search(
        account_url=container.url.rpartition("/")[0],
        wanted=wanted(container, prefix="in/", suffix=".csv"),
        sets=Sets(manifest="manifest.json"),
    )

    async with Lister(SETTINGS, search.container_url, page_size=2) as lister:
        sight = await look_for(lister, search)

    assert [each["path"] for each in sight.result.get("arrivals", ())] == ["in/b/1.csv", "in/b/2.csv"], sight.told
    assert sight.state is State.MET
    assert "in/a/ (3.csv is not there, or left out by the filter, of 2 named)" in sight.told

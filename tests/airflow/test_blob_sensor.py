"""The sensor that lists blobs, in a running Airflow, against Azurite."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import ContainerClient

from airflow_azureml.core.arrivals import Arrival
from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.airflow.housekeeping import Workspace

if TYPE_CHECKING:
    from tests.airflow.conftest import Small


@pytest.fixture
def container(azurite: Azurite, small: Small, dags_folder: Path) -> Iterator[ContainerClient]:
    Workspace.with_dags(small, dags_folder)
    url = f"{azurite.blob_url}/{ACCOUNT}/sensed-{uuid.uuid4().hex[:8]}"
    key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    with ContainerClient.from_container_url(url, credential=key) as client:
        client.create_container()
        yield client
        client.delete_container()


def _conf(container: ContainerClient) -> dict[str, str]:
    account_url, _, name = container.url.rpartition("/")
    return {"account_url": account_url, "container": name}


def test_the_sensor_of_blobs_waits_until_there_are_enough_and_returns_their_versions(
    small: Small, container: ContainerClient
) -> None:
    container.upload_blob("in/1.csv", b"1")
    container.upload_blob("in/empty.csv", b"")
    container.upload_blob("in/2.json", b"2")
    run = small.begin("blob_sensor", **_conf(container))
    small.until(run, "deferred")

    container.upload_blob("in/sub/3.csv", b"3")

    assert small.until(run)["state"] == "success", small.log(run)
    found = [Arrival.from_wire(each) for each in small.xcom(run)]
    assert [(each.path, each.size_bytes) for each in found] == [("in/1.csv", 1), ("in/sub/3.csv", 1)]
    etag = container.get_blob_client("in/1.csv").get_blob_properties().etag
    assert (found[0].etag, found[0].uri) == (etag.strip('"'), container.get_blob_client("in/1.csv").url)


def test_the_sensor_of_blobs_waits_in_the_worker_when_told_to_and_returns_no_more_than_asked_for(
    small: Small, container: ContainerClient
) -> None:
    container.upload_blob("in/b.csv", b"1")
    container.upload_blob("in/a.csv", b"1", overwrite=True)
    run = small.begin("blob_sensor_in_worker", **_conf(container))

    assert small.until(run)["state"] == "success", small.log(run)
    assert len(small.xcom(run)) == 1
    assert "has 2 wanted blobs of 2" in small.log(run)


def test_the_sensor_of_blobs_waits_for_whole_sets_of_blobs_with_the_metadata_and_tags_of_its_run(
    small: Small, container: ContainerClient
) -> None:
    ours: dict[str, Any] = {"metadata": {"Kind": "raw"}, "tags": {"team": "a"}}
    container.upload_blob("in/monday/2.csv", b"2", **ours)
    container.upload_blob("in/monday/1.csv", b"1", **ours)
    container.upload_blob("in/monday/untagged.csv", b"1", metadata={"Kind": "raw"})
    container.upload_blob("in/tuesday/1.csv", b"1", **ours)
    container.upload_blob("in/tuesday/_SUCCESS", b"")
    run = small.begin("blob_sensor_of_sets", **_conf(container), day="monday", sort="raw", team="a")
    small.until(run, "deferred")

    container.upload_blob("in/monday/_SUCCESS", b"")

    assert small.until(run)["state"] == "success", small.log(run)
    assert [each["path"] for each in small.xcom(run)] == ["in/monday/1.csv", "in/monday/2.csv"]
    (told,) = small.xcom(run, "sets")
    assert (told["folder"], told["blobs"]) == ("in/monday/", 2)
    assert "in/monday/ (there is no _SUCCESS)" in small.log(run)


def test_a_search_that_is_wrong_fails_at_once_and_says_all_that_is(small: Small, container: ContainerClient) -> None:
    run = small.begin("blob_sensor_wrong", **_conf(container))

    assert small.until(run)["state"] == "failed"
    told = small.log(run)
    assert "newer_than 'yesterday' is no ISO 8601 time; at_most is 0; it must be from 1 to 1000" in told


def test_a_container_that_is_not_there_fails_at_once(small: Small, container: ContainerClient) -> None:
    run = small.begin("blob_sensor", **{**_conf(container), "container": "never-was"})

    assert small.until(run)["state"] == "failed"
    assert "404 ContainerNotFound" in small.log(run)

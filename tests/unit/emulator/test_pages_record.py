"""What queues were told of and what was answered with 501, as the pages show it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from azure.storage.blob import BlobServiceClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from azureml_emulator.events import EventPublisher
from azureml_emulator.pages import routes
from azureml_emulator.record import MOST_EVENTS, MOST_UNCOVERED, OTHERS, Record, message_of, route_of
from azureml_emulator.settings import Settings
from demo.azure import Azurite, Emulator
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import World

WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
REGISTRY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/r"
EVENT = {"eventType": "Microsoft.Storage.BlobCreated", "subject": "/blobs/a.csv", "id": "1"}


async def _page(world: World, record: Record, path: str) -> str:
    app = Starlette(routes=list(routes(world.store, world.runner, record=record)))
    async with serving(app) as url, aiohttp.ClientSession() as client, client.get(url + path) as answer:
        assert answer.status == 200
        return await answer.text()


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (f"{WORKSPACE}/featuresets", "{workspace}/featuresets"),
        (f"{WORKSPACE.replace('resourceGroups', 'resourcegroups')}/jobs/j/cancel", "{workspace}/jobs/{name}/cancel"),
        (f"/history/v1.0{WORKSPACE}/experiments/e", "/history/v1.0{workspace}/experiments/{name}"),
        (f"{REGISTRY}/models/m/versions/1", "{registry}/models/{name}/versions/{name}"),
        ("/things/0a1b2c3d-0000-4000-8000-00000000000f/x", "/things/{guid}/x"),
        ("", ""),
    ],
)
def test_requests_of_one_kind_have_one_route(path: str, route: str) -> None:
    assert route_of(path) == route


def test_requests_are_counted_by_route_the_most_frequent_first_with_the_last_one() -> None:
    record = Record()
    record.refuse("PUT", f"{WORKSPACE}/jobs/a", "PUT /x is not emulated: a distributed job.")
    for name in "abc":
        record.refuse("GET", f"{WORKSPACE}/featuresets/{name}", "GET /x is not emulated.")

    assert [(one.count, one.method, one.route, one.what) for one in record.uncovered] == [
        (3, "GET", "{workspace}/featuresets/{name}", ""),
        (1, "PUT", "{workspace}/jobs/{name}", "a distributed job"),
    ]
    assert record.uncovered[0].latest == f"{WORKSPACE}/featuresets/c"
    assert record.refused == 4


@given(st.lists(st.integers(0, 2 * MOST_UNCOVERED), max_size=40), st.booleans())
def test_no_request_is_left_uncounted_and_the_list_stays_short(numbers: list[int], fill: bool) -> None:
    asked = [*(range(MOST_UNCOVERED + 3) if fill else ()), *numbers]
    record = Record()
    for number in asked:
        record.refuse("GET", f"/nothing/{number}")

    assert record.refused == len(asked)
    assert len(record.uncovered) <= MOST_UNCOVERED + 1
    assert any(one.route == OTHERS for one in record.uncovered) == (len(set(asked)) > MOST_UNCOVERED)


def test_of_events_the_newest_are_kept() -> None:
    record = Record()
    for number in range(MOST_EVENTS + 2):
        record.told("q", EVENT | {"id": str(number)}, arrived=True)

    assert [one.id for one in record.events] == [str(number) for number in range(MOST_EVENTS + 1, 1, -1)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (json.dumps({"error": {"code": "NotEmulated", "message": "no"}}).encode(), "no"),
        (b'{"error_code": "NOT_IMPLEMENTED", "message": "neither"}', "neither"),
        (b"[1]", ""),
        (b"\xff", ""),
        (b"", ""),
    ],
)
def test_the_message_of_an_error_is_found_where_there_is_one(body: bytes, message: str) -> None:
    assert message_of(body) == message


@pytest.mark.anyio
async def test_the_page_of_events_says_which_queue_was_told_of_what_and_which_was_not(world: World) -> None:
    record = Record()
    record.told("first", EVENT, arrived=True)
    record.told("second", EVENT | {"subject": "/blobs/<b>.csv"}, arrived=False)

    page = await _page(world, record, "/ui/events")

    assert page.index(">second ") < page.index(">first<")
    assert "/blobs/&lt;b&gt;.csv" in page
    assert page.count("not told") == 1
    assert "BlobCreated" in page


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"runStatus": "Running"}, ">Running<"),
        ({"ModelIds": "net:<7>"}, ">net:&lt;7&gt;<"),
        ({"contentLength": 0}, ">0 bytes<"),
        (None, ""),
    ],
)
async def test_the_page_of_events_says_what_an_event_is_about(
    world: World, data: dict[str, Any] | None, says: str
) -> None:
    record = Record()
    record.told("first", EVENT | ({"data": data} if data else {}), arrived=True)

    assert says in await _page(world, record, "/ui/events")


@pytest.mark.anyio
async def test_pages_without_anything_to_list_say_how_something_would_come(world: World) -> None:
    assert "--event-queue" in await _page(world, Record(), "/ui/events")
    assert "Everything that was asked for is covered." in await _page(world, Record(), "/ui/uncovered")


@pytest.mark.anyio
async def test_a_queue_that_could_not_be_told_is_kept_as_such(settings: Settings) -> None:
    record = Record()
    deaf = EventPublisher(
        Settings(state_dir=settings.state_dir, azurite_queue="http://127.0.0.1:9", workspaces=settings.workspaces),
        record=record,
    )

    arrived = await deaf.tell(EVENT, ["nowhere"])
    await deaf.close()

    assert arrived is False
    assert [(one.queue, one.subject, one.arrived) for one in record.events] == [("nowhere", "/blobs/a.csv", False)]


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "counted"), [(501, 1), (200, 0), (404, 0)])
async def test_only_an_answer_of_501_is_counted_and_every_answer_passes_unchanged(status: int, counted: int) -> None:
    record, sent = Record(), []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        sent.append(message)

    answer: list[dict[str, Any]] = [
        {"type": "http.response.start", "status": status, "headers": []},
        {"type": "http.response.body", "body": b'{"error": {"message": "GET /x is not emulated: y."}}'},
    ]
    watched = record.watching({"method": "GET", "path": "/x"}, send)
    for message in answer:
        await watched(message)

    assert sent == answer
    assert [one.what for one in record.uncovered] == ["y"] * counted


def test_a_running_emulator_shows_the_events_it_sent_and_the_requests_it_does_not_cover(
    tmp_path: Path, azurite: Azurite
) -> None:
    with Emulator(tmp_path, azurite, event_queues=("pages-told:pages-in",)) as emulator:
        with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
            service.create_container("pages-in").upload_blob("new.csv", b"x")
        with httpx.Client(base_url=emulator.http, timeout=60, trust_env=False) as client:
            asked = client.get(f"{WORKSPACE}/featuresets")
            events, uncovered = client.get("/ui/events").text, client.get("/ui/uncovered").text

    assert asked.status_code == 501
    assert re.search(r"pages-told.*BlobCreated.*/containers/pages-in/blobs/new\.csv", events, re.DOTALL)
    assert "{workspace}/featuresets" in uncovered
    assert "1 request answered with 501" in uncovered

"""Which requests commit a blob, who is told of it, and in which order."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.events import Commit, blob_of, committing_api, message, queues_for, sequencer
from azureml_emulator.settings import EventQueue

BLOCK = {"x-ms-blob-type": "BlockBlob"}
SOURCE = {"x-ms-copy-source": "https://a.blob.core.windows.net/c/b"}


def _commit(container: str = "incoming", path: str = "a.csv") -> Commit:
    return Commit(
        api="PutBlob",
        container=container,
        path=path,
        url="u",
        etag='"0x1"',
        size_bytes=1,
        content_type="t",
        blob_type="BlockBlob",
        request_id="r",
        client_request_id="",
    )


@pytest.mark.parametrize(
    ("method", "query", "headers", "api"),
    [
        ("PUT", "", BLOCK, "PutBlob"),
        ("PUT", "timeout=30&sv=1&sig=x", BLOCK, "PutBlob"),
        ("PUT", "", {"x-ms-blob-type": "AppendBlob"}, "PutBlob"),
        ("PUT", "comp=blocklist", {}, "PutBlockList"),
        ("PUT", "Comp=BlockList", {}, "PutBlockList"),
        ("PUT", "", SOURCE, "CopyBlob"),
        ("PUT", "", BLOCK | SOURCE, "PutBlob"),
        ("PUT", "comp=block&blockid=AAAA", {}, None),
        ("PUT", "comp=appendblock", {}, None),
        ("PUT", "comp=page", {}, None),
        ("PUT", "comp=metadata", {}, None),
        ("PUT", "comp=tags", {}, None),
        ("PUT", "comp=lease", {}, None),
        ("PUT", "comp=snapshot", {}, None),
        ("PUT", "comp=copy&copyid=1", {}, None),
        ("PUT", "restype=container", {}, None),
        ("GET", "comp=blocklist", {}, None),
        ("DELETE", "", {}, None),
        ("POST", "comp=batch", {}, None),
    ],
)
def test_only_what_commits_a_blob_is_told(method: str, query: str, headers: dict[str, str], api: str | None) -> None:
    assert committing_api(method, query, headers) == api


@pytest.mark.parametrize(
    ("path", "host", "blob"),
    [
        ("/acc/c/a/b.csv", "127.0.0.1:1", ("c", "a/b.csv")),
        ("/acc/c/a%20b%25.csv", "127.0.0.1:1", ("c", "a b%.csv")),
        ("/c/a//b", "acc.blob.core.windows.net", ("c", "a//b")),
        ("/acc/x", "acc.blob.core.windows.net:443", ("acc", "x")),
        ("/acc/c", "127.0.0.1:1", None),
        ("/acc/c/", "127.0.0.1:1", None),
        ("/other/c/b", "127.0.0.1:1", None),
        ("/", "127.0.0.1:1", None),
    ],
)
def test_a_blob_is_found_in_both_kinds_of_address(path: str, host: str, blob: tuple[str, str] | None) -> None:
    assert blob_of(path, host, "acc") == blob


@given(st.lists(st.integers(0, 2**62), min_size=2))
def test_sequencers_grow_as_text_whatever_the_clock_does(clock_ns: list[int]) -> None:
    order, seen = 0, []
    for now_ns in clock_ns:
        order = sequencer(order, now_ns)
        seen.append(message(_commit(), topic="", order=order, at=datetime.now(UTC))["data"]["sequencer"])

    assert seen == sorted(set(seen))
    assert {len(text) for text in seen} == {48}


def test_a_sequencer_after_a_restart_is_greater_than_those_before() -> None:
    before = sequencer(0, 1_700_000_000_000_000_000)

    assert sequencer(0, 1_700_000_000_000_000_001) > before


def test_the_services_own_containers_are_not_told_of() -> None:
    assert queues_for(_commit("$logs"), [EventQueue(queue="q")]) == []


@pytest.mark.parametrize(
    ("queue", "hears"),
    [
        (EventQueue(queue="q"), True),
        (EventQueue(queue="q", container="incoming"), True),
        (EventQueue(queue="q", container="other"), False),
        (EventQueue(queue="q", prefix="in/"), True),
        (EventQueue(queue="q", prefix="out/"), False),
        (EventQueue(queue="q", suffix=".csv"), True),
        (EventQueue(queue="q", suffix=".txt"), False),
    ],
)
def test_a_queue_hears_what_fits_all_it_asked_for(queue: EventQueue, *, hears: bool) -> None:
    assert queues_for(_commit(path="in/a.csv"), [queue]) == (["q"] if hears else [])


def test_a_queue_that_asked_twice_hears_once() -> None:
    asked = [EventQueue(queue="q", prefix="a"), EventQueue(queue="q", suffix=".csv"), EventQueue(queue="p")]

    assert queues_for(_commit(), asked) == ["q", "p"]

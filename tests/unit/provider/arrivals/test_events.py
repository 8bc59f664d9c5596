from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.clouds import Cloud
from airflow_azureml.wire.events import (
    COMPLETING_APIS,
    IGNORED_TYPES,
    STARTING_APIS,
    MalformedMessageError,
    OtherAccountError,
    parse,
    refuse_others,
)

DETAILS: dict[str, Any] = {
    "api": "PutBlockList",
    "clientRequestId": "6d79dbfb-0e37-4fc4-981f-442c9ca65760",
    "requestId": "831e1650-001e-001b-66ab-eeb76e000000",
    "eTag": '"0x8D4BCC2E4835CD0"',
    "contentType": "text/plain",
    "contentLength": 524288,
    "blobType": "BlockBlob",
    "url": "https://acme.blob.core.windows.net/incoming/in/new%20file.csv",
    "sequencer": "00000000000004420000000000028963",
    "storageDiagnostics": {"batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0"},
}
TOPIC = "/subscriptions/s/resourceGroups/Storage/providers/Microsoft.Storage/storageAccounts/Acme"
SUBJECT = "/blobServices/default/containers/incoming/blobs/in/new file.csv"


def event_grid(**changes: Any) -> dict[str, Any]:
    details = {**DETAILS, **changes.pop("data", {})}
    event = {
        "topic": TOPIC,
        "subject": SUBJECT,
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-01-31T18:41:00.9584103Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": details,
        "dataVersion": "",
        "metadataVersion": "1",
    }
    return {**event, **changes}


def cloud_event() -> dict[str, Any]:
    return {
        "source": TOPIC,
        "subject": SUBJECT,
        "type": "Microsoft.Storage.BlobCreated",
        "time": "2026-01-31T18:41:00.9584103Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": DETAILS,
        "specversion": "1.0",
    }


def encoded(body: object) -> str:
    return base64.b64encode(json.dumps(body).encode()).decode()


@pytest.mark.parametrize("write", [json.dumps, encoded])
@pytest.mark.parametrize("body", [event_grid(), [event_grid()], cloud_event(), [cloud_event()]])
def test_both_schemas_are_read_plain_or_as_base64_alone_or_in_a_list(body: object, write: Any) -> None:
    (arrival,) = parse(write(body)).arrivals

    assert arrival.to_wire() == {
        "account": "acme",
        "container": "incoming",
        "path": "in/new file.csv",
        "etag": "0x8D4BCC2E4835CD0",
        "size_bytes": 524288,
        "sequencer": "00000000000004420000000000028963",
        "time": "2026-01-31T18:41:00.958410+00:00",
        "api": "PutBlockList",
        "url": "https://acme.blob.core.windows.net/incoming/in/new%20file.csv",
        "content_type": "text/plain",
    }


@pytest.mark.parametrize("api", sorted(COMPLETING_APIS))
def test_an_operation_that_completes_a_blob_is_an_arrival(api: str) -> None:
    assert [arrival.api for arrival in parse(json.dumps(event_grid(data={"api": api}))).arrivals] == [api]


@pytest.mark.parametrize("api", sorted(STARTING_APIS))
def test_a_file_that_was_only_begun_is_no_arrival(api: str) -> None:
    told = parse(json.dumps(event_grid(data={"api": api, "contentLength": 0})))

    assert told.arrivals == ()
    assert told.ignored == {f"Microsoft.Storage.BlobCreated by {api}": 1}


@pytest.mark.parametrize("kind", sorted(IGNORED_TYPES))
def test_an_event_that_is_no_arrival_is_counted_by_its_name(kind: str) -> None:
    told = parse(json.dumps([event_grid(eventType=kind), event_grid(), event_grid(eventType=kind)]))

    assert len(told.arrivals) == 1
    assert told.ignored == {kind: 2}


def test_a_length_of_nought_says_nothing_about_a_file_that_came_by_sftp() -> None:
    (arrival,) = parse(json.dumps(event_grid(data={"api": "SftpCommit", "contentLength": 0}))).arrivals

    assert arrival.size_bytes is None


def test_a_length_of_nought_is_an_empty_blob_otherwise() -> None:
    (arrival,) = parse(json.dumps(event_grid(data={"contentLength": 0}))).arrivals

    assert arrival.size_bytes == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither JSON nor base64"),
        ("hello", "neither JSON nor base64"),
        ("{", "neither JSON nor base64"),
        ("[" * 100_000, "neither JSON nor base64"),
        ("[]", "an event or a list of events"),
        ("[1]", "an event or a list of events"),
        (encoded("text"), "an event or a list of events"),
        (json.dumps(event_grid(eventType="Microsoft.Storage.BlobPainted")), "unknown event type .*BlobPainted"),
        (json.dumps(event_grid(data={"api": "PaintBlob"})), "unknown storage operation 'PaintBlob'"),
        (json.dumps(event_grid(data={"eTag": ""})), "eTag is missing"),
        (json.dumps(event_grid(data={"eTag": 7})), "eTag is missing"),
        (json.dumps(event_grid(data={"contentLength": "10"})), "no number of bytes"),
        (json.dumps(event_grid(data={"contentLength": -1})), "no number of bytes"),
        (json.dumps(event_grid(data={"contentLength": 2**63})), "no number of bytes"),
        (json.dumps(event_grid(data={"contentLength": float("nan")})), "no number of bytes"),
        (json.dumps(event_grid(data={"eTag": '"'})), "eTag is missing"),
        (json.dumps(event_grid(data={"sequencer": ["0"]})), "sequencer is missing or no text"),
        (json.dumps(event_grid(data={"contentType": 7})), "contentType is missing or no text"),
        (json.dumps(event_grid(data={"url": "https://" + "x" * 20_000})), "url is longer than"),
        (json.dumps(event_grid(subject=f"{SUBJECT}\ud800")), "subject is missing or no text"),
        (json.dumps(event_grid(subject=f"{SUBJECT}{'x' * 1024}")), "is no blob"),
        (json.dumps({**event_grid(), "data": None}), "has no data"),
        (json.dumps(event_grid(subject="/blobServices/default/containers/incoming")), "is no blob"),
        (json.dumps(event_grid(subject="/elsewhere/blobs/a")), "is no blob"),
        (json.dumps(event_grid(subject="/blobServices/default/containers/c/blobs/../other/a")), "is no blob"),
        (json.dumps(event_grid(topic="/subscriptions/s")), "no storage account's id"),
        (json.dumps(event_grid(eventTime="yesterday")), "yesterday"),
        (json.dumps(event_grid(eventTime="2026-01-31T18:41:00")), "no time zone"),
        (json.dumps(event_grid(data={"url": "https://evil.example/incoming/a"})), "no address of Azure Storage"),
        (
            json.dumps(event_grid(data={"url": "https://other.blob.core.windows.net/incoming/a"})),
            "names the accounts 'acme' and 'other'",
        ),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_why(text: str, reason: str) -> None:
    with pytest.raises(MalformedMessageError, match=reason):
        parse(text)


def test_one_bad_event_refuses_its_whole_message() -> None:
    with pytest.raises(MalformedMessageError, match="unknown event type"):
        parse(json.dumps([event_grid(), event_grid(eventType="Custom.Type")]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.text() | st.builds(json.dumps, json_values) | st.builds(encoded, json_values))
def test_whatever_is_in_the_queue_is_read_or_refused_and_never_anything_else(text: str) -> None:
    try:
        parse(text)
    except MalformedMessageError as error:
        assert str(error).startswith("Read a queue message")  # noqa: PT017  # both ends are fine, this is one


@given(st.sampled_from([*event_grid(), *(f"data.{name}" for name in DETAILS)]), json_values)
def test_an_event_with_one_field_changed_is_read_or_refused_and_never_anything_else(name: str, value: object) -> None:
    outer, _, inner = name.partition(".")
    changes: dict[str, Any] = {"data": {inner: value}} if inner else {}
    event = {**event_grid(**changes), **({} if inner else {outer: value})}
    try:
        told = parse(json.dumps(event))
    except MalformedMessageError:
        return

    assert len(told.arrivals) == 1


PLACES = {("acme", "incoming"), ("another", "x")}


@pytest.mark.parametrize(
    ("event", "places", "cloud", "reason"),
    [
        (event_grid(), {("another", "incoming")}, Cloud.PUBLIC, "storage account acme; allowed here: another"),
        (event_grid(), {("acme", "x")}, Cloud.PUBLIC, "container acme/incoming; allowed here: acme/x"),
        (event_grid(), set(), Cloud.PUBLIC, "storage account acme; allowed here: none"),
        (event_grid(), PLACES, Cloud.CHINA, "a blob in the cloud public; allowed here: china"),
        (event_grid(), PLACES, None, "a blob in the cloud public; allowed here: this machine"),
        (
            event_grid(data={"url": "https://acme.blob.core.chinacloudapi.cn/incoming/a"}),
            PLACES,
            Cloud.PUBLIC,
            "a blob in the cloud china; allowed here: public",
        ),
        (
            event_grid(data={"url": "http://127.0.0.1:10000/acme/incoming/a"}),
            PLACES,
            Cloud.PUBLIC,
            "a blob in the cloud this machine; allowed here: public",
        ),
    ],
)
def test_arrivals_of_what_nobody_asked_for_are_refused_by_name(
    event: dict[str, Any], places: set[tuple[str, str]], cloud: Cloud | None, reason: str
) -> None:
    told = parse(json.dumps(event))

    with pytest.raises(OtherAccountError, match=reason):
        refuse_others(told.arrivals, places=places, cloud=cloud)


def test_arrivals_of_the_places_asked_for_pass() -> None:
    refuse_others(parse(json.dumps(event_grid())).arrivals, places=PLACES, cloud=Cloud.PUBLIC)


def test_blobs_that_this_provider_writes_are_no_arrivals() -> None:
    told = parse(json.dumps(event_grid(subject="/blobServices/default/containers/airflow-azureml-ledger/blobs/a")))

    assert told.arrivals == ()
    assert told.ignored == {"Microsoft.Storage.BlobCreated in a container of this provider's own": 1}

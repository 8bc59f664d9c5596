from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival, StorageUrl, latest, utc
from airflow_azureml.errors import ConfigError, ProtocolError

ARRIVAL = Arrival(
    account="acme",
    container="incoming",
    path="in/a b#1.csv",
    etag="0x8D1",
    size_bytes=10,
    sequencer="00000000000004420000000000028963",
    time="2026-01-31T10:00:00+00:00",
    api="PutBlob",
    url="https://acme.dfs.core.windows.net/incoming/in/a%20b%231.csv",
)

arrivals = st.builds(
    Arrival,
    account=st.just("acme"),
    container=st.sampled_from(["one", "two"]),
    path=st.sampled_from(["a", "b"]),
    etag=st.sampled_from(["0x1", "0x2", "0x3"]),
    size_bytes=st.none() | st.integers(0, 9),
    sequencer=st.sampled_from(["", "9", "0A", "0b", "00000000000000000000000000000010", "x1", "X2"]),
    time=st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00"]),
    api=st.just("PutBlob"),
    url=st.just("https://acme.blob.core.windows.net/any"),
)


@given(arrivals)
def test_what_is_written_is_read_again(arrival: Arrival) -> None:
    assert Arrival.from_wire(arrival.to_wire()) == arrival


@pytest.mark.parametrize(
    "change",
    [{"path": 1}, {"size_bytes": "10"}, {"size_bytes": True}, {"colour": "red"}],
)
def test_a_field_that_is_unknown_or_of_another_type_is_an_error(change: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="Read an arrival"):
        Arrival.from_wire({**ARRIVAL.to_wire(), **change})


def test_a_missing_field_is_an_error() -> None:
    body = ARRIVAL.to_wire()
    del body["etag"]

    with pytest.raises(ProtocolError, match="etag"):
        Arrival.from_wire(body)


def test_the_uri_is_quoted_and_names_the_blob_service_even_where_the_event_named_dfs() -> None:
    assert ARRIVAL.uri == "https://acme.blob.core.windows.net/incoming/in/a%20b%231.csv"


def test_the_uri_on_this_machine_keeps_host_and_port_of_the_event() -> None:
    local = attrs.evolve(ARRIVAL, url="http://127.0.0.1:10000/devstoreaccount1/incoming/in/a%20b%231.csv")

    assert local.uri == "http://127.0.0.1:10000/devstoreaccount1/incoming/in/a%20b%231.csv"


def test_the_key_depends_on_place_and_version_and_on_nothing_else() -> None:
    again = attrs.evolve(ARRIVAL, sequencer="FF", time="2026-02-01T00:00:00+00:00", api="CopyBlob", size_bytes=None)
    newer = attrs.evolve(ARRIVAL, etag="0x8D2")

    assert again.key == ARRIVAL.key
    assert newer.key != ARRIVAL.key
    assert len(ARRIVAL.key) == 32
    assert int(ARRIVAL.key, 16)


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.blob.core.windows.net/c/b",
        "https://acme.blob.core.windows.net.evil.example/c/b",
        "https://evil.example/acme.blob.core.windows.net",
        "https://a.b.blob.core.windows.net/c",
        "https://acme.file.core.windows.net/c",
        "https://acme.blob.core.windows.net:8443/c",
        "https://acme.blob.core.windows.net/c/b?sig=secret",
        "https://me:secret@acme.blob.core.windows.net/c/b",
        "http://127.0.0.1:10000",
        "ftp://127.0.0.1/devstoreaccount1/c",
        "https://acme.blob.core.windows.net:no/c",
        "",
    ],
)
def test_a_url_outside_azure_storage_is_refused_and_a_secret_in_it_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        StorageUrl.parse(url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "account"),
    [
        ("https://acme.blob.core.chinacloudapi.cn/c", "acme"),
        ("https://acme.z07.blob.storage.azure.net/c", "acme"),
        ("http://localhost:10000/devstoreaccount1/c", "devstoreaccount1"),
    ],
)
def test_other_clouds_and_this_machine_are_azure_storage_too(url: str, account: str) -> None:
    place = StorageUrl.parse(url)

    assert (place.account, place.path) == (account, "c")


def test_sequencers_are_compared_as_numbers_whatever_their_length_and_case() -> None:
    older = attrs.evolve(ARRIVAL, etag="0x1", sequencer="00000000000004420000000000028963")
    newer = attrs.evolve(ARRIVAL, etag="0x2", sequencer="0000000000000000000000000000044200000000000289aF")

    assert latest([newer, older]).kept == (newer,)
    assert latest([older, newer]).superseded == (older,)


def test_where_there_is_no_sequencer_the_later_version_wins() -> None:
    older = attrs.evolve(ARRIVAL, etag="0x9", sequencer="")
    newer = attrs.evolve(ARRIVAL, etag="0x1", sequencer="", time="2026-01-31T10:00:01+00:00")

    assert latest([newer, older]).kept == (newer,)


@given(st.lists(arrivals, max_size=12))
def test_every_arrival_is_kept_or_repeated_or_superseded_and_each_blob_is_kept_once(given_ones: list[Arrival]) -> None:
    found = latest(given_ones)

    assert sorted(map(repr, found.kept + found.repeated + found.superseded)) == sorted(map(repr, given_ones))
    assert {each.place for each in found.kept} == {each.place for each in given_ones}
    assert len(found.kept) == len({each.place for each in found.kept})


@given(st.lists(arrivals, max_size=8), st.randoms())
def test_the_order_in_which_events_come_changes_nothing(given_ones: list[Arrival], random: object) -> None:
    mixed = list(given_ones)
    random.shuffle(mixed)  # type: ignore[attr-defined]  # Hypothesis' own Random

    assert {each.key for each in latest(mixed).kept} == {each.key for each in latest(given_ones).kept}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017-06-26T18:41:00.9584103Z", "2017-06-26T18:41:00.958410+00:00"),
        ("2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00+00:00"),
    ],
)
def test_times_are_written_in_utc(text: str, expected: str) -> None:
    assert utc(text) == expected


def test_a_time_without_a_zone_is_no_time() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        utc("2026-01-31T10:00:00")

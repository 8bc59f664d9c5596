"""What describes a scan: its layout, its options, its state, and the asset that it feeds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from airflow.sdk import Asset
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.layouts import ANY, NAMES, Layout, dates
from airflow_azureml.core.scan import Scan, Scanning
from airflow_azureml.core.scan_state import REMEMBERED, Pass, ScanState, beyond, resume_point
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.watchers import blob_arrivals

ACCOUNT_URL = "https://acme.blob.core.windows.net"
NOON = datetime(2026, 2, 28, 12, tzinfo=UTC)
SCAN = Scan(account_url=ACCOUNT_URL, wanted=ArrivalFilter(container="incoming", prefix="in/"))

#: Up to 1,024 characters, of which few are drawn: that is quick.
names = st.builds(
    lambda text, times: (text * times)[:1024],
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from([1, 1, 30, 1024]),
)
times = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # it gets one
passes = st.builds(Pass, began=times, spans=st.integers(0, 10_000), after=names.map(resume_point))
digests = st.text("0123456789abcdef", min_size=16, max_size=16)
states = st.builds(
    ScanState,
    since=st.none() | times,
    floor=names.map(resume_point),
    last=names.map(beyond),
    scan=st.none() | passes,
    reconciled=st.none() | times,
    reconciliation=st.none() | passes,
    told=st.lists(digests, max_size=REMEMBERED).map(tuple),
)


@settings(max_examples=50, deadline=None)
@given(states)
def test_a_state_comes_back_as_it_went_and_is_below_two_thousand_bytes(state: ScanState) -> None:
    text = json.dumps(state.to_wire())

    assert ScanState.from_wire(json.loads(text)) == state
    assert len(text) < 2000


def test_the_largest_state_is_below_two_thousand_bytes() -> None:
    place = Pass(began=NOON, spans=99_999, after=resume_point("\u20ac" * 1024))
    last = beyond("\u20ac" * 1024)
    told = ("f" * 16,) * REMEMBERED
    largest = ScanState(
        since=NOON, floor=place.after, last=last, scan=place, reconciled=NOON, reconciliation=place, told=told
    )

    assert 1800 < len(json.dumps(largest.to_wire())) < 2000


@pytest.mark.parametrize("body", [{}, [], "x", {"since": 1}, {**ScanState().to_wire(), "floor": None}])
def test_what_is_no_state_is_said_to_be_none(body: Any) -> None:
    with pytest.raises(ProtocolError, match="is no state of a scan"):
        ScanState.from_wire(body)


@settings(max_examples=50, deadline=None)
@given(names, st.lists(names, max_size=5), st.sampled_from(["utf-8", "utf-16-be"]))
def test_no_order_of_names_leaves_one_out_that_comes_after_a_resume_point(
    name: str, others: list[str], encoding: str
) -> None:
    point = resume_point(name)

    for other in [name, *others, name + "a", name[:3] + "\uff01", name[:3] + "\U0001f600"]:
        assert (other.encode(encoding) >= point.encode(encoding)) == (other >= point)
    assert point <= name <= beyond(name)
    assert len(json.dumps(point)) <= 240


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["in/%Y/", "in/%Y-%m/", "in/%Y/%m/%d/", "%d.%m.%Y/x-", "%Y/%m/%d/%H-"]),
    times,
    st.timedeltas(timedelta(0), timedelta(days=70)),
    st.timedeltas(timedelta(0), timedelta(days=40)),
)
def test_every_partition_that_a_blob_may_have_been_written_to_is_listed_and_none_twice(
    template: str, since: datetime, until: timedelta, late: timedelta
) -> None:
    layout = dates(template, late=late, early=timedelta(0))
    listed = list(layout.partitions(since, since + until))

    for age in (timedelta(0), late / 2, late):
        assert (since - age).strftime(template) in listed
    assert (since + until).strftime(template) == listed[-1]
    assert len(set(listed)) == len(listed)
    assert listed[0] == (since - late).strftime(template)


def test_partitions_of_writers_whose_day_begins_before_utcs_are_listed_too() -> None:
    late_in_the_day = NOON.replace(hour=20)

    assert list(dates("%Y/%m/%d/").partitions(late_in_the_day, late_in_the_day)) == [
        "2026/02/27/",
        "2026/02/28/",
        "2026/03/01/",
    ]


@pytest.mark.parametrize(
    "how",
    [
        Scanning(),
        Scanning(layout=NAMES, reconcile_every=None, renames=False),
        Scanning(layout=dates("in/%Y/%m/%d/%H/"), every=timedelta(seconds=0.5), newer_than=NOON),
    ],
)
def test_a_scan_comes_back_from_json_as_it_went(how: Scanning) -> None:
    scan = attrs.evolve(SCAN, how=how)

    assert Scan.from_wire(json.loads(json.dumps(scan.to_wire()))) == scan
    assert scan.faults() == []


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(SCAN, account_url="https://other.blob.core.windows.net"),
        attrs.evolve(SCAN, wanted=ArrivalFilter(container="incoming", prefix="in/", suffix=".csv")),
        attrs.evolve(SCAN, how=Scanning(layout=NAMES)),
        attrs.evolve(SCAN, how=Scanning(newer_than=NOON)),
    ],
)
def test_another_scan_is_remembered_under_another_key_and_another_pace_is_not(other: Scan) -> None:
    assert other.key != SCAN.key
    assert attrs.evolve(SCAN, how=Scanning(every=timedelta(hours=1))).key == SCAN.key


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (dates("in/%Y/%d/"), "skips a part"),
        (dates("in/"), "skips a part"),
        (dates("in/%Y/%B/"), "has %B; it may have"),
        (dates("in/%Y%"), "has %; it may have"),
        (dates("/in/%Y/"), "begins with a slash"),
        (dates("out/%Y/"), "no path begins with 'in/' and with 'out/'"),
        (dates("in/%Y/", late=timedelta(days=-1)), "must not be negative"),
        (Layout(kind="Any"), "is none of any, names and dates"),
    ],
)
def test_a_layout_that_is_wrong_says_so(layout: Layout, said: str) -> None:
    (fault, *_) = layout.faults("in/")

    assert said in fault


def watchers_of(asset: Asset) -> dict[str, Any]:
    return {watcher.name: watcher.trigger for watcher in asset.watchers}


def test_an_asset_may_be_fed_by_a_scan_alone_or_beside_a_queue() -> None:
    queue_url = "https://acme.queue.core.windows.net/arrivals"
    which: dict[str, Any] = {"container": "incoming", "prefix": "in/"}
    alone = watchers_of(blob_arrivals("a", account_url=ACCOUNT_URL, scan=Scanning(layout=NAMES), **which))
    beside = watchers_of(blob_arrivals("b", account_url=ACCOUNT_URL, queue_url=queue_url, **which))

    assert list(alone) == ["blob_scan"]
    assert alone["blob_scan"].serialize() == (
        "airflow_azureml.triggers.scan.BlobScanTrigger",
        {
            "asset": "a",
            "scan": attrs.evolve(SCAN, how=Scanning(layout=NAMES)).to_wire(),
            "conn_id": "azureml_default",
        },
    )
    assert sorted(beside) == ["blob_arrivals", "blob_scan"]
    assert beside["blob_arrivals"].account == "acme"


def test_assets_do_not_share_a_scan() -> None:
    one, other = (
        watchers_of(blob_arrivals(name, account_url=ACCOUNT_URL, container="incoming"))["blob_scan"] for name in "ab"
    )

    assert one.shared_stream_key() != other.shared_stream_key()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"account_url": ""}, "queue_url and account_url are empty; give one of them, or both"),
        ({"account_url": "", "queue_url": "https://acme.queue.core.windows.net/q"}, "scan needs an account_url"),
        ({"account_url": "https://acme.queue.core.windows.net"}, "must be the account's alone"),
        ({"account_url": f"{ACCOUNT_URL}/incoming"}, "must be the account's alone"),
        ({"account_url": f"{ACCOUNT_URL}?sig=x"}, "must carry no user, no query"),
        ({"container": "In"}, "no container's name"),
        ({"scan": Scanning(every=timedelta(0))}, "every must be longer than nothing"),
        ({"scan": Scanning(reconcile_every=timedelta(0))}, "reconcile_every must be longer"),
        ({"scan": Scanning(overlap=timedelta(seconds=29))}, "overlap must be 30 s or longer"),
        ({"scan": Scanning(newer_than=NOON.replace(tzinfo=None))}, "newer_than has no time zone"),
        ({"scan": Scanning(layout=dates("x/%Y/")), "prefix": "in/"}, "no path begins with"),
        ({"scan": timedelta(minutes=1)}, "scan is datetime.timedelta.*, not a Scanning"),
        ({"scan": Scanning(every=60)}, "every is 60, not a timedelta"),  # type: ignore[arg-type]  # on purpose, as below
        ({"scan": Scanning(reconcile_every=1)}, "reconcile_every is 1, not a timedelta"),  # type: ignore[arg-type]
        ({"scan": Scanning(newer_than="2026-01-01")}, "newer_than is '2026-01-01', not a datetime"),  # type: ignore[arg-type]
        ({"scan": Scanning(layout="dates")}, "layout is 'dates', and none of"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_an_error_when_the_dag_is_parsed(wrong: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"account_url": ACCOUNT_URL, "container": "incoming", "scan": Scanning(layout=ANY)}

    with pytest.raises(ConfigError, match=said):
        blob_arrivals("x", **{**right, **wrong})

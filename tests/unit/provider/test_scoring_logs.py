"""How time is cut into windows, and which files are logs of which time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.scoring_logs import HOURLY, Dated, Published, Segment, segments_in_marker, segments_of
from airflow_azureml.core.staging import FileReport, Publication
from airflow_azureml.core.windows import Windows
from airflow_azureml.errors import ConfigError, ProtocolError
from tests.unit.provider.arrivals.ledger_world import arrival

AT = datetime(2026, 1, 31, 5, 30, tzinfo=UTC)
STORE = "azureml://datastores/s/paths"
times = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # its zone follows
lengths = st.sampled_from([1, 7, 60, 90, 1440, 2880, 10080]).map(lambda minutes: timedelta(minutes=minutes))
lates = st.integers(0, 300).map(lambda minutes: timedelta(minutes=minutes))


@given(times, lengths)
def test_each_time_is_in_one_window_and_the_next_begins_where_it_ends(time: datetime, every: timedelta) -> None:
    windows = Windows(every=every)

    span = windows.of(time)

    assert time in span
    assert span.until - span.since == every
    assert windows.of(span.until).since == span.until
    assert span.until not in span
    assert windows.of(span.until - timedelta(microseconds=1)) == span


@given(times, lengths, lates, st.integers(1, 5))
def test_the_last_windows_are_over_and_the_next_is_not(
    now: datetime, every: timedelta, late: timedelta, count: int
) -> None:
    windows = Windows(every=every, late=late)

    spans = windows.over(now=now, count=count)

    assert [each.since for each in spans[1:]] == [each.until for each in spans[:-1]]
    assert windows.is_over(spans[-1], now=now)
    assert not windows.is_over(windows.of(spans[-1].until), now=now)
    assert len({each.key for each in spans}) == count


@given(times, st.integers(-12, 12))
def test_windows_do_not_depend_on_the_zone_of_a_time(time: datetime, hours: int) -> None:
    elsewhere = time.astimezone(timezone(timedelta(hours=hours)))

    assert Windows().of(elsewhere).key == Windows().of(time).key == time.strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("every", "key"),
    [
        (timedelta(days=1), "2026-01-31"),
        (timedelta(hours=1), "2026-01-31T05"),
        (timedelta(hours=6), "2026-01-31T00"),
        (timedelta(minutes=10), "2026-01-31T0530"),
    ],
)
def test_a_window_is_called_by_its_beginning(every: timedelta, key: str) -> None:
    assert Windows(every=every).of(AT).key == key


@pytest.mark.parametrize(
    ("layout", "path", "begins", "hours"),
    [
        (HOURLY, "2026/01/31/05/i-1.jsonl", datetime(2026, 1, 31, 5, tzinfo=UTC), 1),
        ("%Y/%m/%d/", "2026/01/31/a.csv", datetime(2026, 1, 31, tzinfo=UTC), 24),
        ("date=%Y-%m-%d/", "date=2026-01-31/sub/a.csv", datetime(2026, 1, 31, tzinfo=UTC), 24),
    ],
)
def test_a_folders_name_tells_the_time_of_its_files(layout: str, path: str, begins: datetime, hours: int) -> None:
    assert Dated(folder=f"{STORE}/x", layout=layout).slot(path) == (begins, begins + timedelta(hours=hours))


@pytest.mark.parametrize("path", ["a.csv", "2026/13/01/05/a.csv", "2026/1/1/5/a.csv", "x/2026/01/31/05/a.csv"])
def test_a_folder_that_tells_no_time_holds_no_logs(path: str) -> None:
    logs = Dated(folder=f"{STORE}/x", layout=HOURLY)
    written = Segment.written(f"x/{path}", at=AT, etag="e", size_bytes=1)

    assert logs.slot(path) is None
    assert list(segments_of([written], logs, folder="x/")) == []


def test_a_file_counts_as_of_the_end_of_its_hour_or_of_when_it_was_written_later() -> None:
    logs = Dated(folder=f"{STORE}/x", layout=HOURLY)
    path = "x/2026/01/31/05/a.jsonl"
    early, late = (Segment.written(path, at=AT + timedelta(hours=hours), size_bytes=1) for hours in (0, 3))

    found = list(segments_of([early, late], logs, folder="x/"))

    assert [each.time for each in found] == [datetime(2026, 1, 31, 6, tzinfo=UTC), AT + timedelta(hours=3)]
    assert {each.logged for each in found} == {datetime(2026, 1, 31, 5, tzinfo=UTC)}


def test_hidden_and_empty_files_are_no_logs() -> None:
    names = {"a.csv": 1, "_temporary/b.csv": 1, "sub/.c.csv": 1, "empty.csv": 0, "sub/d.csv": 1}
    written = [Segment.written(f"x/{name}", at=AT, size_bytes=size) for name, size in names.items()]

    found = segments_of(written, Dated(folder=f"{STORE}/x"), folder="x/")

    assert [each.path for each in found] == ["x/a.csv", "x/sub/d.csv"]


def marker(output: str = f"{STORE}/scored/batches/b/") -> bytes:
    scored = [(arrival("a.csv"), FileReport(scored=1))]
    return Publication(batch_id="b", job="j", output=output, scored=scored).marker().encode()


@pytest.mark.parametrize(("file", "ending"), [("predictions.csv", "/predictions.csv"), ("", "")])
def test_a_marker_names_the_files_of_its_batch(file: str, ending: str) -> None:
    logs = Published(folder=f"{STORE}/scored", file=file)

    (found,) = segments_in_marker(marker(), logs, at=AT, doing="Read it")

    assert found == Segment.written(f"scored/batches/b/{arrival('a.csv').key}.csv{ending}", at=AT)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", json.dumps({"schema": 2, "output": "", "files": []}).encode()])
def test_a_marker_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError, match="Read it"):
        segments_in_marker(content, Published(folder=f"{STORE}/s"), at=AT, doing="Read it")


def test_results_outside_of_datastores_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"its output 'https://x/y/' is in no datastore"):
        segments_in_marker(marker("https://x/y/"), Published(folder=f"{STORE}/s"), at=AT, doing="Read it")


@pytest.mark.parametrize(
    ("logs", "fault"),
    [
        (Published(folder="scored"), "folder is 'scored/'"),
        (Published(folder=""), "folder is ''"),
        (Dated(folder=f"{STORE}/x", layout="%d/%m"), "layout is '%d/%m'"),
        (Dated(folder=f"{STORE}/x", format="xml"), "format is 'xml'; it is none of csv, parquet, jsonl, collected"),
    ],
)
def test_logs_that_cannot_be_say_so(logs: Published | Dated, fault: str) -> None:
    (said,) = logs.faults()
    assert fault in said

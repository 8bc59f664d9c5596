"""Which blobs count."""

from __future__ import annotations

import inspect
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.filters import ArrivalFilter, Details, FilterOptions
from airflow_azureml.sensors.arrivals import BlobArrivalSensor

NOW = datetime(2026, 1, 31, 10, 1, tzinfo=UTC)
ARRIVAL = Arrival(
    account="acme",
    container="incoming",
    path="in/2026/a b#1.csv",
    etag="0x8D1",
    size_bytes=10,
    sequencer="",
    time="2026-01-31T10:00:00+00:00",
    api="PutBlob",
    url="https://acme.blob.core.windows.net/incoming/in/2026/a%20b%231.csv",
    content_type="Text/CSV; charset=utf-8",
)

parts = st.text(alphabet="ab.*?-_é ", min_size=1, max_size=4)
paths = (
    st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda path: not {".", ".."} & set(path.split("/")))
)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"prefix": "in/", "suffix": ".csv"}, ""),
        ({"container": "other"}, "not in container other"),
        ({"prefix": "out/"}, "path does not begin with out/"),
        ({"suffix": ".json"}, "path does not end with .json"),
        ({"glob": "*.csv"}, ""),
        ({"glob": "in/*/*.csv"}, ""),
        ({"glob": "**/2026/*.csv"}, ""),
        ({"glob": "in/*.csv"}, "path does not match in/*.csv"),
        ({"glob": "*.CSV"}, "path does not match *.CSV"),
        ({"regex": r"in/\d{4}/.+"}, ""),
        ({"regex": r"\d{4}"}, r"path does not match the expression \d{4}"),
        ({"min_size_bytes": 11}, "smaller than 11 bytes"),
        ({"max_size_bytes": 9}, "larger than 9 bytes"),
        ({"max_size_bytes": 10, "min_size_bytes": 10}, ""),
        ({"content_types": ["text/csv"]}, ""),
        ({"content_types": ["application/json", "text/*"]}, ""),
        ({"content_types": ["application/*"]}, "content type is none of application/*"),
        ({"metadata": {"KIND": "raw"}, "tags": {"team": "a"}}, ""),
    ],
)
def test_a_filter_says_why_an_arrival_is_not_wanted(parts: dict[str, Any], reason: str) -> None:
    wanted = ArrivalFilter(**{"container": "incoming", **parts})

    assert wanted.faults() == []
    assert wanted.reason_to_skip(ARRIVAL) == reason


def test_what_is_not_known_yet_is_no_reason_to_leave_a_blob_out() -> None:
    unknown = attrs.evolve(ARRIVAL, size_bytes=None, content_type="")
    wanted = ArrivalFilter(container="incoming", min_size_bytes=10**9, content_types=("image/png",))

    assert wanted.reason_to_skip(unknown) == ""


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"metadata": {"KIND": "raw", "n": "1"}}, ""),
        ({"metadata": {"kind": "Raw"}}, "its metadata kind is not 'Raw'"),
        ({"metadata": {"other": "raw"}}, "its metadata other is not 'raw'"),
        ({"tags": {"team": "a"}}, ""),
        ({"tags": {"Team": "a"}}, "its tag Team is not 'a'"),
        ({"tags": {"team": "a", "x": ""}}, "its tag x is not ''"),
    ],
)
def test_metadata_and_tags_must_have_exactly_these_values_and_the_case_of_a_metadata_name_does_not_count(
    parts: dict[str, Any], reason: str
) -> None:
    known = Details(metadata={"Kind": "raw", "n": "1", "more": ""}, tags={"team": "a", "more": ""})
    wanted = ArrivalFilter(container="incoming", **parts)

    assert wanted.faults() == []
    assert wanted.reason_to_skip(ARRIVAL, known) == reason
    assert wanted.reason_to_skip(ARRIVAL) == ""
    assert wanted.needs_look(ARRIVAL)
    assert wanted.include == set(parts)


@pytest.mark.parametrize(("copy", "reason"), [("aborted", "its copy was aborted"), ("failed", "its copy failed")])
def test_a_copy_that_came_to_nothing_never_counts(copy: str, reason: str) -> None:
    assert ArrivalFilter(container="incoming").reason_to_skip(ARRIVAL, Details(copy=copy)) == reason


def test_a_copy_under_way_and_a_blob_written_just_now_wait() -> None:
    wanted = ArrivalFilter(container="incoming", quiet_s=61)

    assert wanted.reason_to_wait(ARRIVAL, Details(copy="pending"), now=NOW) == "is still being copied"
    assert wanted.reason_to_wait(ARRIVAL, Details(copy=""), now=NOW) == (
        "was written 60 s ago, and must not have been for 61 s"
    )
    assert wanted.reason_to_wait(ARRIVAL, Details(copy=""), now=NOW + timedelta(seconds=1)) == ""
    plain = ArrivalFilter(container="incoming")
    assert plain.reason_to_wait(ARRIVAL, Details(copy=""), now=NOW - timedelta(hours=1)) == ""


def test_the_size_that_an_event_tells_of_a_blob_that_is_still_written_is_no_reason() -> None:
    empty = attrs.evolve(ARRIVAL, size_bytes=0)
    appended = ArrivalFilter(container="incoming", quiet_s=60)
    plain = ArrivalFilter(container="incoming")

    assert appended.reason_to_skip(empty) == ""
    assert appended.reason_to_skip(empty, Details(copy="")) == "smaller than 1 bytes"
    assert plain.reason_to_skip(empty) == "smaller than 1 bytes"
    assert plain.reason_to_skip(attrs.evolve(empty, api="CopyBlob")) == ""


@pytest.mark.parametrize(
    ("change", "parts", "needed"),
    [
        ({}, {}, False),
        ({"api": "CopyBlob"}, {}, True),
        ({"size_bytes": None}, {}, True),
        ({"size_bytes": None}, {"min_size_bytes": 0}, False),
        ({"size_bytes": None}, {"min_size_bytes": 0, "max_size_bytes": 9}, True),
        ({"content_type": ""}, {"content_types": ["text/*"]}, True),
        ({"content_type": ""}, {}, False),
        ({}, {"quiet_s": 1.0}, True),
        ({}, {"tags": {"a": "b"}}, True),
    ],
)
def test_a_blob_is_looked_at_only_where_the_filter_asks_for_what_its_event_does_not_tell(
    change: dict[str, Any], parts: dict[str, Any], needed: bool
) -> None:
    assert ArrivalFilter(container="incoming", **parts).needs_look(attrs.evolve(ARRIVAL, **change)) is needed


@pytest.mark.parametrize("path", ["..", "../other/a", "a/../b", "./a", "a/."])
def test_a_folder_that_is_a_dot_or_two_is_left_out_as_every_address_of_it_is_anothers(path: str) -> None:
    wanted = ArrivalFilter(container="incoming")

    assert "no address can name" in wanted.reason_to_skip(attrs.evolve(ARRIVAL, path=path))
    assert wanted.reason_to_skip(attrs.evolve(ARRIVAL, path=path.replace(".", "..."))) == ""


def test_every_option_has_its_sentence_and_is_an_option_of_the_sensor_too() -> None:
    options = set(FilterOptions.__annotations__)
    told = inspect.getdoc(FilterOptions) or ""
    signature = inspect.signature(BlobArrivalSensor.__init__).parameters

    assert [name for name in sorted(options) if f"{name}:" not in told] == []
    assert options <= set(signature)
    fields = {each.name for each in attrs.fields(ArrivalFilter)}
    assert options - {"quiet_for"} == fields - {"quiet_s"}
    defaults = {name: signature[name].default for name in options - {"container"}}
    assert ArrivalFilter.of(container="incoming", **defaults) == ArrivalFilter(container="incoming")


@given(paths)
def test_a_glob_of_plain_text_takes_that_path_and_a_longer_one_only_below_it(path: str) -> None:
    plain = re.sub(r"[*?.\s]", "x", path)
    wanted = ArrivalFilter(container="incoming", glob=f"/{plain}")

    assert wanted.reason_to_skip(attrs.evolve(ARRIVAL, path=plain)) == ""
    assert wanted.reason_to_skip(attrs.evolve(ARRIVAL, path=f"{plain}x")) != ""


@pytest.mark.parametrize(
    ("glob", "path", "passes"),
    [
        ("*.csv", "in\n1/a.csv", True),
        ("*.csv", "in/a\n1.csv", True),
        ("*.csv", "in/a.csv\n", False),
        ("**/2026/?.csv", "a\nb/2026/\n.csv", True),
        ("/in/*.csv", "in/a.csv", True),
        ("/in/*.csv", "/in/a.csv", False),
        ("in/*.csv", "//in/a.csv", False),
    ],
)
def test_a_glob_reads_a_name_as_it_is_with_line_ends_and_with_a_slash_at_its_beginning(
    glob: str, path: str, *, passes: bool
) -> None:
    named = attrs.evolve(ARRIVAL, path=path)

    assert (ArrivalFilter(container="incoming", glob=glob).reason_to_skip(named) == "") is passes


@given(paths, st.integers(0, 20), st.sampled_from(["text/csv", "", "application/json"]))
def test_one_more_part_never_lets_another_arrival_in(path: str, size_bytes: int, content_type: str) -> None:
    arrival = attrs.evolve(ARRIVAL, path=path, size_bytes=size_bytes, content_type=content_type)
    some = ArrivalFilter(container="incoming", prefix=path[:1])
    more = [
        attrs.evolve(some, suffix="b"),
        attrs.evolve(some, glob="*/*"),
        attrs.evolve(some, regex="a.*"),
        attrs.evolve(some, max_size_bytes=10),
        attrs.evolve(some, content_types=("text/csv",)),
        attrs.evolve(some, metadata={"kind": "raw"}),
        attrs.evolve(some, tags={"team": "a"}),
    ]

    assert some.reason_to_skip(arrival) == ("" if size_bytes else "smaller than 1 bytes")
    known = Details(metadata={}, tags={"team": "a"}, copy="")
    for details in (Details(), known):
        assert not [
            each for each in more if some.reason_to_skip(arrival, details) and not each.reason_to_skip(arrival, details)
        ]


@given(paths)
def test_what_is_written_makes_the_same_filter_again(glob: str) -> None:
    wanted = ArrivalFilter(
        container="incoming", glob=glob, content_types=("text/*",), metadata={"b": glob, "a": ""}, quiet_s=1.5
    )

    assert ArrivalFilter(**json.loads(json.dumps(wanted.to_wire()))) == wanted


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"container": "C"}, "container 'C' is no container's name"),
        ({"prefix": "/in"}, "prefix begins with a slash, which a blob's path in its container does not"),
        ({"regex": "("}, "regex '(' cannot be read: missing ), unterminated subpattern at position 0"),
        ({"glob": "!*.csv"}, "glob '!*.csv' must be one pattern, and none that excludes"),
        ({"glob": "a\nb"}, "glob 'a\\nb' must be one pattern, and none that excludes"),
        ({"min_size_bytes": True}, "min_size_bytes is True, not a number from 0 on"),
        ({"min_size_bytes": None}, "min_size_bytes is None, not a number from 0 on"),
        ({"max_size_bytes": "1"}, "max_size_bytes is '1', not a number from 0 on"),
        ({"min_size_bytes": 2, "max_size_bytes": 1}, "max_size_bytes is smaller than min_size_bytes"),
        ({"content_types": ("csv",)}, "content type 'csv' is none (for example text/csv or text/*)"),
        ({"metadata": {"9": "a"}}, "metadata '9' is no name (letters, digits and _, no digit first)"),
        ({"metadata": {"a": "ä"}}, "metadata a cannot be 'ä' (printable ASCII, no space at either end)"),
        ({"metadata": {"a": "b "}}, "metadata a cannot be 'b ' (printable ASCII, no space at either end)"),
        ({"metadata": {"a": "1", "A": "2"}}, "metadata a is given more than once"),
        ({"metadata": {"a": 1}}, "metadata has ('a', 1), which is no name with a value of text"),
        ({"metadata": "kind=raw"}, "metadata has ('kind=raw',), which is no name with a value of text"),
        ({"metadata": 5}, "metadata has (5,), which is no name with a value of text"),
        ({"content_types": None}, "content type None is none (for example text/csv or text/*)"),
        ({"suffix": (".csv", ".tsv")}, "suffix is ('.csv', '.tsv'), not a text"),
        ({"prefix": "\ud800"}, "prefix is '\\ud800', not a text"),
        ({"container": None}, "container is None, not a text"),
        (
            {"tags": {"ä": "b"}},
            (
                "tag 'ä' = 'b' cannot be: a name has up to 128 characters, a value up to 256, letters, digits, spaces "
                "and + - . / : = _"
            ),
        ),
        ({"tags": {str(n): "" for n in range(11)}}, "11 tags are given, and a blob has 10 at most"),
        ({"quiet_s": -1.0}, "quiet_for is -1.0, no time from 0 seconds on"),
        ({"quiet_s": "1"}, "quiet_for is '1', no time from 0 seconds on"),
    ],
)
def test_a_filter_that_is_wrong_says_so(wrong: dict[str, Any], told: str) -> None:
    assert ArrivalFilter(**{"container": "incoming", **wrong}).faults() == [told]


def test_all_that_is_wrong_with_a_filter_is_said_at_once() -> None:
    wrong = ArrivalFilter.of(
        container="C", prefix="/", regex="(", metadata={"9": "ä"}, tags={"": ""}, quiet_for=timedelta(seconds=-1)
    )

    assert len(wrong.faults()) == 7

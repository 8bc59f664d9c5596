"""Which blobs count."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.filters import ArrivalFilter

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
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)


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


@given(paths)
def test_a_glob_of_plain_text_takes_that_path_and_a_longer_one_only_below_it(path: str) -> None:
    plain = re.sub(r"[*?.\s]", "x", path)
    wanted = ArrivalFilter(container="incoming", glob=f"/{plain}")

    assert wanted.reason_to_skip(attrs.evolve(ARRIVAL, path=plain)) == ""
    assert wanted.reason_to_skip(attrs.evolve(ARRIVAL, path=f"{plain}x")) != ""


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
    ]

    assert some.reason_to_skip(arrival) == ("" if size_bytes else "smaller than 1 bytes")
    assert not [each for each in more if some.reason_to_skip(arrival) and not each.reason_to_skip(arrival)]


@given(paths)
def test_what_is_written_makes_the_same_filter_again(glob: str) -> None:
    wanted = ArrivalFilter(container="incoming", glob=glob, content_types=("text/*",))

    assert ArrivalFilter(**wanted.to_wire()) == wanted


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
    ],
)
def test_a_filter_that_is_wrong_says_so(wrong: dict[str, Any], told: str) -> None:
    assert ArrivalFilter(**{"container": "incoming", **wrong}).faults() == [told]

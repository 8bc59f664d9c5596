"""When blobs that belong together are there together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.filters import ArrivalFilter, Details
from airflow_azureml.core.sets import Found, Gathered, Manifest, Named, Sets, gather
from airflow_azureml.errors import ProtocolError

START = datetime(2026, 1, 31, 10, tzinfo=UTC)
MD5 = "ndTkYSaMgDT1yFZOFVxnpg=="
WANTED = ArrivalFilter(container="incoming", prefix="in/", suffix=".csv")


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def blob(path: str, *, written: float = 0, etag: str = "0x1", size: int = 1, waits: str = "", md5: str = "") -> Found:
    arrival = Arrival(
        account="acme",
        container="incoming",
        path=path,
        etag=etag,
        size_bytes=size,
        sequencer="",
        time=at(written).isoformat(),
        api="",
        url=f"https://acme.blob.core.windows.net/incoming/{path}",
    )
    return Found(arrival=arrival, details=Details(copy="", md5=md5), waits=waits)


def members(gathered: Gathered) -> list[list[str]]:
    return [[each.path for each in one.members] for one in gathered.ready]


def test_a_set_is_complete_when_its_marker_is_there_which_is_no_member() -> None:
    rule = Sets(marker="_SUCCESS")
    found = [blob("a/2.csv"), blob("a/_SUCCESS", written=1), blob("a/1.csv"), blob("b/1.csv")]

    gathered = gather(found, rule, at(9))

    assert members(gathered) == [["a/1.csv", "a/2.csv"]]
    assert gathered.ready[0].folder == "a/"
    assert gathered.ready[0].time == at(1).isoformat()
    assert gathered.waiting == (("b/", "there is no _SUCCESS"),)


def test_what_is_written_after_the_marker_waits_for_the_marker_to_be_written_again() -> None:
    rule = Sets(marker="_SUCCESS")
    found = [blob("a/1.csv"), blob("a/2.csv", written=2), blob("a/_SUCCESS", written=1)]

    assert gather(found, rule, at(9)).waiting == (
        ("a/", "a/2.csv is written after _SUCCESS, which has to be written again"),
    )
    assert members(gather([*found, blob("a/_SUCCESS", written=2)], rule, at(9))) == [["a/1.csv", "a/2.csv"]]


def test_a_marker_alone_is_no_set() -> None:
    assert gather([blob("a/_SUCCESS")], Sets(marker="_SUCCESS"), at(9)) == Gathered(ready=())


def test_a_set_is_complete_when_as_many_blobs_as_were_said_are_there() -> None:
    found = [blob("a/1"), blob("a/2"), blob("b/1"), blob("c/1"), blob("c/2"), blob("c/3")]

    gathered = gather(found, Sets(count=2), at(9))

    assert members(gathered) == [["a/1", "a/2"], ["c/1", "c/2", "c/3"]]
    assert gathered.waiting == (("b/", "1 of 2 blobs are there"),)


def test_a_set_is_complete_when_nothing_was_written_for_a_while() -> None:
    rule = Sets(quiet_for=timedelta(seconds=5))
    found = [blob("a/1", written=1), blob("a/2", written=3), blob("b/1", written=4)]

    gathered = gather(found, rule, at(8))

    assert members(gathered) == [["a/1", "a/2"]]
    assert gathered.waiting == (("b/", "the last blob was written 4 s ago, and 5 s of quiet are asked for"),)


@pytest.mark.parametrize(
    "rule", [Sets(marker="_SUCCESS"), Sets(count=2), Sets(quiet_for=timedelta(seconds=1)), Sets(manifest="_SUCCESS")]
)
@pytest.mark.parametrize("late", ["a/1", "a/_SUCCESS"])
def test_a_blob_that_is_not_complete_lets_its_set_wait(rule: Sets, late: str) -> None:
    paths = ["a/1", "a/2", *(["a/_SUCCESS"] if rule.marker or rule.manifest else [])]
    found = [blob(path, waits="is still being copied" if path == late else "") for path in paths]
    manifests = {found[-1].arrival.key: Manifest((Named(path="1"), Named(path="2")))}

    gathered = gather(found, rule, at(9), manifests=manifests)

    assert bool(gathered.waiting) == (late in paths)
    assert bool(gathered.ready) == (late not in paths)
    assert all(why.endswith("is still being copied") for _, why in gathered.waiting)


@pytest.mark.parametrize(
    ("depth", "path", "folder"),
    [
        (None, "in/2026/a/1.csv", "in/2026/a/"),
        (None, "1.csv", ""),
        (0, "in/2026/a/1.csv", ""),
        (2, "in/2026/a/1.csv", "in/2026/"),
        (2, "in/1.csv", None),
        (1, "/1.csv", "/"),
        (2, "in//b/1.csv", "in//"),
    ],
)
def test_the_folder_of_a_set_is_the_one_its_blobs_lie_in_or_so_many_from_the_root_on(
    depth: int | None, path: str, folder: str | None
) -> None:
    assert Sets(count=1, depth=depth).folder(path) == folder


def test_with_a_depth_blobs_in_folders_below_belong_to_the_set_and_its_sign_lies_at_its_top() -> None:
    rule = Sets(marker="_SUCCESS", depth=1)
    found = [blob("a/x/1"), blob("a/y/2"), blob("a/_SUCCESS", written=1), blob("a/x/_SUCCESS"), blob("stray")]

    assert members(gather(found, rule, at(9))) == [["a/x/1", "a/x/_SUCCESS", "a/y/2"]]
    assert not rule.is_sign("a/x/_SUCCESS")


@pytest.mark.parametrize(
    ("path", "container", "reason"),
    [
        ("in/a/1.csv", "incoming", ""),
        ("in/a/1.json", "incoming", "path does not end with .csv"),
        ("in/a/_SUCCESS", "incoming", ""),
        ("out/a/_SUCCESS", "incoming", "path does not begin with in/"),
        ("in/a/_SUCCESS", "other", "not in container incoming"),
    ],
)
def test_a_sign_need_not_look_like_the_blobs_of_its_set(path: str, container: str, reason: str) -> None:
    arrival = attrs.evolve(blob(path, size=0 if "_S" in path else 1).arrival, container=container)

    assert Sets(marker="_SUCCESS").reason_to_skip(WANTED, arrival) == reason


MANIFEST = Sets(manifest="manifest.json")


def by_manifest(manifest: Manifest | str, *found: Found) -> Gathered:
    sign = blob("a/manifest.json")
    return gather([*found, sign], MANIFEST, at(9), manifests={sign.arrival.key: manifest})


def test_a_manifest_says_which_blobs_are_the_set_and_others_in_the_folder_are_none_of_it() -> None:
    manifest = Manifest((Named(path="2.csv", size_bytes=7, etag="0x7", md5=MD5), Named(path="sub/1.csv")))
    rule = attrs.evolve(MANIFEST, depth=1)
    sign = blob("a/manifest.json", written=2)
    found = [blob("a/2.csv", size=7, etag="0x7", md5=MD5), blob("a/sub/1.csv"), blob("a/3.csv", written=8), sign]

    (one,) = gather(found, rule, at(9), manifests={sign.arrival.key: manifest}).ready

    assert [each.path for each in one.members] == ["a/2.csv", "a/sub/1.csv"]
    assert one.time == at(2).isoformat()


@pytest.mark.parametrize(
    ("named", "why"),
    [
        (Named(path="2"), "2 is not there, or left out by the filter, of 2 named"),
        (Named(path="1", size_bytes=2), "1 has 1 bytes, and 2 are named"),
        (Named(path="1", etag="0x2"), "1 has eTag 0x1, and 0x2 is named"),
        (Named(path="1", md5=MD5), f"1 has the MD5 (none that Azure knows), and {MD5} is named"),
    ],
)
def test_a_set_waits_for_what_its_manifest_names_and_says_for_which(named: Named, why: str) -> None:
    gathered = by_manifest(Manifest((Named(path="0"), named)), blob("a/0"), blob("a/1"))

    assert gathered == Gathered(ready=(), waiting=(("a/", why),))


def test_a_manifest_that_names_much_that_is_not_there_names_a_few_of_it() -> None:
    gathered = by_manifest(Manifest(tuple(Named(path=str(number)) for number in range(9))), blob("a/8"))

    assert gathered.waiting == (("a/", "0, 1, 2 and 5 more are not there, or left out by the filter, of 9 named"),)


def test_a_manifest_that_cannot_be_read_lets_its_own_set_wait_and_no_other() -> None:
    first, second = blob("a/manifest.json"), blob("b/manifest.json")
    manifests: dict[str, Manifest | str] = {
        first.arrival.key: "it is no JSON",
        second.arrival.key: Manifest((Named(path="1"),)),
    }

    gathered = gather([first, second, blob("a/1"), blob("b/1"), blob("c/1")], MANIFEST, at(9), manifests=manifests)

    assert members(gathered) == [["b/1"]]
    assert gathered.waiting == (
        ("a/", "a/manifest.json cannot be used: it is no JSON"),
        ("c/", "there is no manifest"),
    )


def test_a_manifest_is_a_list_of_names_or_of_objects_with_a_name() -> None:
    written = ["1.csv", {"name": "sub/2.csv", "size": 7, "eTag": '"0x7"', "md5": MD5}, {"name": "3.csv", "md5": None}]

    assert Manifest.parse(b"\xef\xbb\xbf" + json.dumps(written).encode()).named == (
        Named(path="1.csv"),
        Named(path="sub/2.csv", size_bytes=7, etag="0x7", md5=MD5),
        Named(path="3.csv"),
    )


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        (b"{", "it is no JSON in UTF-8: "),
        (b"\xff", "it is no JSON in UTF-8: "),
        (b"[" * 100_000, "it is no JSON in UTF-8: "),
        ([], "it must be a list of names, or of objects with a name, and not be empty"),
        ({"blobs": ["a"]}, "it must be a list of names, or of objects with a name, and not be empty"),
        (["a", 7], "entry 1: neither a name nor an object"),
        ([""], "entry 0: '' is no name in the set's folder"),
        (["/a"], "entry 0: '/a' is no name in the set's folder"),
        (["../b/a"], "entry 0: '../b/a' is no name in the set's folder"),
        ([{"size": 1}], "entry 0: None is no name in the set's folder"),
        ([{"name": "a", "bytes": 1}], "entry 0: unknown bytes"),
        ([{"name": "a", "size": -1}], "entry 0: the size -1 is no number of bytes"),
        ([{"name": "a", "size": True}], "entry 0: the size True is no number of bytes"),
        ([{"name": "a", "eTag": 1}], "entry 0: the eTag 1 is no text"),
        ([{"name": "a", "md5": "abc"}], "entry 0: the md5 'abc' is none in base64"),
        (["\ud800.csv"], r"entry 0: '\ud800.csv' is no name in the set's folder"),
        ([{"name": "a", "eTag": "\ud800"}], r"entry 0: the eTag '\ud800' is no text"),
        (["a", {"name": "a"}], "a name is there more than once"),
        (
            [1, 2, 3, 4],
            "; ".join(f"entry {number}: neither a name nor an object" for number in range(3)) + "; and 1 more",
        ),
    ],
)
def test_a_manifest_that_is_wrong_says_all_that_is(written: Any, fault: str) -> None:
    content = written if isinstance(written, bytes) else json.dumps(written).encode()

    with pytest.raises(ProtocolError) as refused:
        Manifest.parse(content)

    assert str(refused.value).startswith(fault)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "size", "eTag", "md5", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=20) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_manifest_holds_it_is_read_or_refused_and_never_anything_else(content: bytes) -> None:
    try:
        manifest = Manifest.parse(content)
    except ProtocolError:
        return

    assert all(each.path for each in manifest.named)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (Sets(), "sets need one of marker, manifest, count, quiet_for; got none"),
        (Sets(marker="a", count=1), "sets need one of marker, manifest, count, quiet_for; got ['marker', 'count']"),
        (Sets(marker="a/b"), "the marker of a set is a name in its folder, without a slash"),
        (Sets(count=-1), "the count of a set is negative"),
        (Sets(quiet_for=timedelta(-1)), "the quiet time of a set is negative"),
        (Sets(count=1, depth=-1), "the depth of a set is -1, not a number of folders"),
        (Sets(marker=".."), "the marker of a set is a name in its folder, without a slash"),
        (Sets(count="24"), "sets: count is '24', not a number"),  # type: ignore[arg-type]  # on purpose, as below
        (Sets(count=True), "sets: count is True, not a number"),
        (Sets(count=1, depth=1.5), "sets: depth is 1.5, not a number"),  # type: ignore[arg-type]
        (Sets(quiet_for=300), "sets: quiet_for is 300, not a timedelta"),  # type: ignore[arg-type]
        (Sets(marker=None, count=1), "sets: marker is None, not a text"),  # type: ignore[arg-type]
    ],
)
def test_a_rule_that_is_wrong_says_so(rule: Sets, fault: str) -> None:
    assert rule.faults() == [fault]


@pytest.mark.parametrize("rule", [Sets(marker="_SUCCESS", depth=2), Sets(quiet_for=timedelta(seconds=1.5))])
def test_what_is_written_makes_the_same_rule_again(rule: Sets) -> None:
    assert Sets.from_wire(json.loads(json.dumps(rule.to_wire()))) == rule
    assert rule.faults() == []


def test_the_key_of_a_set_is_of_its_blobs_and_their_versions_and_not_of_its_sign() -> None:
    found = [blob("a/1"), blob("a/2"), blob("a/_SUCCESS", written=1)]
    rule = Sets(marker="_SUCCESS")

    def key(*changed: Found) -> str:
        (one,) = gather([*found, *changed], rule, at(9)).ready
        return one.key

    assert key() == key(blob("a/_SUCCESS", written=5, etag="0x9"))
    assert key() != key(blob("a/1", etag="0x2"))
    assert len({key(), key(blob("a/3")), key(blob("a/1", etag="0x2"))}) == 3


# What a writer does, and what is told of it whenever somebody looks.

#: Versions of a set: which of its blobs each writes anew, the first one all.
versions = st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=4)
QUIET_S = 10
#: Seconds between one blob and the next; a version is followed by quiet.
gaps = st.lists(st.integers(1, QUIET_S - 1), min_size=1, max_size=6)


@attrs.frozen
class Story:
    """A folder at each second, and the versions of it that are complete.

    Attributes:
        moments: What is there after each step of the writer, and when that was.
        complete: The eTags of each version that was written to its end.
        manifests: What each manifest says, by its key.
    """

    moments: list[tuple[float, dict[str, Found]]]
    complete: list[dict[str, str]]
    manifests: dict[str, Manifest | str]


def told_by(rule: Sets, plan: list[set[int]], pauses: Iterator[int], *, manifest_last: bool) -> Story:
    """Write version after version, one blob every few seconds, and rest between them for as long as quiet lasts."""
    now: dict[str, Found] = {}
    story = Story([(0.0, {})], [], {})
    second = 0.0
    for number, parts in enumerate(plan):
        written = set(range(4)) if number == 0 else parts
        steps: list[str] = [f"a/{part}.csv" for part in sorted(written)]
        etags = {path: each.arrival.etag for path, each in now.items()} | dict.fromkeys(steps, f"0x{number}")
        etags = {path: etag for path, etag in etags.items() if path.endswith(".csv")}
        if rule.marker or rule.manifest:
            sign = f"a/{rule.marker or rule.manifest}"
            steps = [*steps, sign] if manifest_last or rule.marker else [sign, *steps]
        for path in steps:
            second += next(pauses)
            now = {**now, path: blob(path, written=second, etag=f"0x{number}")}
            if rule.manifest and path.endswith(rule.manifest):
                named = [Named(path=each.removeprefix("a/"), etag=etag) for each, etag in etags.items()]
                story.manifests[now[path].arrival.key] = Manifest(tuple(named))
            story.moments.append((second, now))
        story.complete.append(etags)
        second += QUIET_S
    return story


@settings(max_examples=100)
@given(
    st.sampled_from([Sets(marker="_SUCCESS"), MANIFEST, Sets(count=4), Sets(quiet_for=timedelta(seconds=QUIET_S))]),
    versions,
    gaps,
    st.booleans(),
    st.lists(st.integers(0, 300), max_size=12) | st.just(list(range(0, 300, 3))),
    st.randoms(use_true_random=False),
)
def test_whenever_somebody_looks_each_version_of_a_set_is_told_once_and_never_before_it_is_complete(
    rule: Sets, plan: list[set[int]], pauses: list[int], manifest_last: bool, looks: list[int], random: Any
) -> None:
    if rule.count:
        plan = plan[:1]  # a count says nothing of blobs that are overwritten
    story = told_by(rule, plan, itertools.cycle(pauses), manifest_last=manifest_last)
    end = story.moments[-1][0] + QUIET_S
    told: dict[str, Mapping[str, str]] = {}
    for look in [*(end * share / 300 for share in sorted(looks)), end]:
        _, there = [each for each in story.moments if each[0] <= look][-1]
        found = list(there.values())
        random.shuffle(found)
        for one in gather(found, rule, at(look), manifests=story.manifests).ready:
            etags = {each.path: each.etag for each in one.members}
            assert told.setdefault(one.key, etags) == etags
            assert etags in story.complete

    assert len(told) == len({json.dumps(etags, sort_keys=True) for etags in told.values()})
    assert story.complete[-1] in told.values()

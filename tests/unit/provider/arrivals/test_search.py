"""What a sensor looks for in a container."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.conditions import State
from airflow_azureml.core.filters import ArrivalFilter, Details
from airflow_azureml.core.search import Finds, Search, SetFinds
from airflow_azureml.core.sets import Sets
from airflow_azureml.errors import ConfigError
from airflow_azureml.sensors.arrivals import BlobArrivalSensor

NOW = datetime(2026, 1, 31, 10, tzinfo=UTC)
SEARCH = Search(account_url="https://acme.blob.core.windows.net", wanted=ArrivalFilter(container="incoming"))
OF_TWO = attrs.evolve(SEARCH, sets=Sets(count=2))
WHOLE = Details(metadata={}, tags={}, copy="")


def arrival(path: str, *, age_s: float = 100, size_bytes: int = 1) -> Arrival:
    return Arrival(
        account="acme",
        container="incoming",
        path=path,
        etag="0x1",
        size_bytes=size_bytes,
        sequencer="",
        time=(NOW - timedelta(seconds=age_s)).isoformat(),
        api="",
        url=f"https://acme.blob.core.windows.net/incoming/{path}",
    )


def found(search: Search, *arrivals: Arrival) -> Finds:
    finds = Finds(search)
    finds.add([(each, WHOLE) for each in arrivals], now=NOW)
    return finds


def sets_found(search: Search, *blobs: Arrival, page: int = 3) -> SetFinds:
    """Go through a listing, page by page, in the order of the names."""
    assert search.sets is not None
    finds = SetFinds(search, search.sets)
    in_order = sorted(blobs, key=lambda one: one.path)
    for start in range(0, len(in_order), page):
        left = finds.add([(each, WHOLE) for each in in_order[start : start + page]], now=NOW)
        finds.judge(left, {}, now=NOW)
    finds.judge(finds.rest(), {}, now=NOW)
    return finds


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 8))
def test_the_oldest_are_kept_in_the_order_of_their_times(ages: list[int], at_most: int) -> None:
    arrivals = [arrival(f"{number:02}", age_s=age) for number, age in enumerate(ages)]
    finds = found(attrs.evolve(SEARCH, at_most=at_most), *arrivals)

    expected = sorted(arrivals, key=lambda one: (one.time, one.path))[:at_most]
    assert finds.oldest == expected
    assert finds.counted == len(ages)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2)), max_size=12), st.integers(1, 4), st.integers(0, 12))
def test_a_search_is_met_when_enough_blobs_count_and_not_before(
    blobs: list[tuple[int, int]], at_least: int, quiet_s: int
) -> None:
    arrivals = [arrival(str(number), age_s=age, size_bytes=size) for number, (age, size) in enumerate(blobs)]
    wanted = attrs.evolve(SEARCH.wanted, quiet_s=quiet_s)
    sight = found(attrs.evolve(SEARCH, at_least=at_least, wanted=wanted), *arrivals).sight()

    counting = sum(size >= 1 and age >= quiet_s for age, size in blobs)
    assert (sight.state is State.MET) == (counting >= at_least)


def test_what_was_written_before_the_given_time_does_not_count() -> None:
    search = attrs.evolve(SEARCH, newer_than=NOW - timedelta(seconds=50))

    finds = found(search, arrival("old", age_s=51), arrival("new", age_s=50))

    assert [one.path for one in finds.oldest] == ["new"]


def test_a_look_says_how_many_of_how_many_count() -> None:
    search = attrs.evolve(SEARCH, at_least=3, wanted=attrs.evolve(SEARCH.wanted, quiet_s=10))
    sight = found(search, arrival("a"), arrival("empty", size_bytes=0), arrival("young", age_s=1)).sight()

    assert f"{sight.what} {sight.told}" == (
        "Container incoming has 1 wanted blobs of 3, and 1 that are still written or copied; 3 are waited for"
    )


def test_a_blob_without_the_metadata_and_one_that_is_still_being_copied_do_not_count() -> None:
    finds = Finds(attrs.evolve(SEARCH, wanted=ArrivalFilter(container="incoming", metadata={"kind": "raw"})))

    whole = Details(metadata={"Kind": "raw"}, copy="")
    finds.add(
        [
            (arrival("raw"), whole),
            (arrival("other"), attrs.evolve(whole, metadata={})),
            (arrival("half"), attrs.evolve(whole, copy="pending")),
            (arrival("spoilt"), attrs.evolve(whole, copy="failed")),
        ],
        now=NOW,
    )

    assert [one.path for one in finds.oldest] == ["raw"]
    assert (finds.counted, finds.unsettled) == (1, 1)


@given(
    st.dictionaries(
        st.sampled_from(["", "a/", "a/b/", "a!/", "b/"]), st.tuples(st.integers(1, 4), st.integers(1, 9)), max_size=5
    ),
    st.integers(1, 9),
    st.integers(1, 5),
)
@example({"a/": (3, 9), "a/b/": (3, 8), "b/": (2, 7)}, 5, 5)
@example({"a/": (2, 9), "a/b/": (2, 8)}, 9, 1)
def test_sets_are_returned_whole_oldest_first_and_no_more_than_asked_for(
    sets: dict[str, tuple[int, int]], at_most: int, page: int
) -> None:
    # Names before and after those of the folders below.
    blobs = [
        arrival(f"{folder}{'0z'[number % 2]}{number}", age_s=age)
        for folder, (size, age) in sets.items()
        for number in range(size)
    ]
    finds = sets_found(attrs.evolve(OF_TWO, at_most=at_most), *blobs, page=page)

    sizes = {folder: size for folder, (size, _) in sets.items() if size >= 2}
    in_order = sorted(sizes, key=lambda folder: (-sets[folder][1], folder))
    fitting = [folder for folder in in_order if sizes[folder] <= at_most]
    returned = [one.folder for one in finds.oldest]
    assert finds.counted == len(sizes)
    assert returned == fitting[: len(returned)]
    assert all(len(one.members) == sizes[one.folder] for one in finds.oldest)
    assert sum(sizes[name] for name in returned) <= at_most
    assert sum(sizes[name] for name in fitting[: len(returned) + 1]) > at_most or returned == fitting
    assert (finds.too_large is not None) == (len(fitting) < len(sizes))


def test_a_look_for_sets_says_which_are_not_complete_and_why() -> None:
    sight = sets_found(OF_TWO, arrival("a/1"), arrival("a/2"), arrival("b/1"), arrival("1")).sight()

    assert f"{sight.what} {sight.told}" == (
        "Container incoming has 1 complete sets, of 4 blobs, and 2 that are not: the root (1 of 2 blobs are there); "
        "b/ (1 of 2 blobs are there)"
    )
    assert [one["path"] for one in sight.result["arrivals"]] == ["a/1", "a/2"]
    (told,) = sight.result["sets"]
    assert (told["folder"], told["blobs"], len(told["key"])) == ("a/", 2, 32)


def test_fewer_complete_sets_than_asked_for_are_waited_for() -> None:
    search = attrs.evolve(OF_TWO, at_least=2)

    assert sets_found(search, arrival("a/1"), arrival("a/2")).sight().state is State.MISSING
    assert sets_found(search, *(arrival(each) for each in ("a/1", "a/2", "b/1", "b/2"))).sight().state is State.MET


def test_a_set_with_more_blobs_than_may_be_returned_is_an_error_and_never_cut() -> None:
    sight = sets_found(attrs.evolve(OF_TWO, at_most=2), *(arrival(f"a/{number}") for number in range(3))).sight()

    assert (sight.state, sight.result) == (State.FAILED, {})
    assert sight.told == "has a set of 3 blobs in a/, and at_most is 2: a part of a set is never returned"


def test_a_set_counts_as_new_when_any_of_its_blobs_is_and_is_never_cut_by_time() -> None:
    search = attrs.evolve(OF_TWO, newer_than=NOW - timedelta(seconds=50))

    blobs = [arrival("a/1", age_s=60), arrival("a/2", age_s=10), arrival("b/1", age_s=60), arrival("b/2", age_s=60)]
    assert [one.folder for one in sets_found(search, *blobs).oldest] == ["a/"]


def test_what_was_listed_is_let_go_as_soon_as_its_folder_is_left() -> None:
    finds = SetFinds(OF_TWO, Sets(count=2))

    for number in range(50):
        left = finds.add([(arrival(f"a/{number:02}/{part}"), WHOLE) for part in range(2)], now=NOW)
        assert len(finds.rest()) == 2
        assert len(left) == (2 if number else 0)


@pytest.mark.parametrize("newer_than", [None, NOW])
@pytest.mark.parametrize("sets", [None, Sets(marker="_SUCCESS", depth=1)])
def test_what_is_written_makes_the_same_search_again(newer_than: datetime | None, sets: Sets | None) -> None:
    wanted = ArrivalFilter(container="incoming", quiet_s=1.5, metadata={"a": "b"})
    search = attrs.evolve(SEARCH, newer_than=newer_than, wanted=wanted, sets=sets, at_most=7)

    assert Search.from_wire(json.loads(json.dumps(search.to_wire()))) == search


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"at_least": 0}, "at_least is 0; it must be 1 or more"),
        ({"at_most": 1001}, "at_most is 1001; it must be from 1 to 1000"),
        ({"sets": Sets(count=-1)}, "the count of a set is negative"),
        (
            {"account_url": "https://acme.queue.core.windows.net"},
            "account_url 'https://acme.queue.core.windows.net' must end with the account's blob service",
        ),
        (
            {"account_url": "https://acme.blob.core.windows.net/incoming"},
            "account_url 'https://acme.blob.core.windows.net/incoming' must end with the account's blob service",
        ),
        ({"wanted": ArrivalFilter(container="C")}, "container 'C' is no container's name"),
    ],
)
def test_a_search_that_is_wrong_says_so(wrong: dict[str, object], told: str) -> None:
    assert attrs.evolve(SEARCH, **wrong).faults() == [told]  # type: ignore[arg-type]  # what a person may write


def test_what_the_sensor_looks_for_is_written_in_templates_and_built_when_they_are_rendered() -> None:
    sensor = BlobArrivalSensor(
        task_id="found",
        account_url="https://{{ account }}.blob.core.windows.net",
        container="{{ kind }}ing",
        prefix="{{ day }}/",
        suffix=".{{ kind }}",
        glob="*.{{ kind }}",
        regex=r"{{ day }}/\d{4}.+",
        content_types=["{{ kind }}/*"],
        metadata={"kind": "{{ kind }}"},
        tags={"day": "{{ day }}"},
        quiet_for=timedelta(seconds=3),
        sets=Sets(marker="_SUCCESS"),
        newer_than="{{ day }}T00:00:00Z",
    )

    sensor.render_template_fields({"account": "acme", "kind": "incom", "day": "2026-01-31"})  # type: ignore[typeddict-unknown-key]  # all a template may ask for

    kind, arguments = sensor.condition()
    assert (kind, Search.from_wire(arguments)) == (
        "blobs",
        Search(
            account_url="https://acme.blob.core.windows.net",
            wanted=ArrivalFilter(
                container="incoming",
                prefix="2026-01-31/",
                suffix=".incom",
                glob="*.incom",
                regex=r"2026-01-31/\d{4}.+",
                content_types=("incom/*",),
                metadata={"kind": "incom"},
                tags={"day": "2026-01-31"},
                quiet_s=3.0,
            ),
            sets=Sets(marker="_SUCCESS"),
            newer_than=datetime(2026, 1, 31, tzinfo=UTC),
        ),
    )


def test_all_that_is_wrong_with_a_sensor_is_said_at_once() -> None:
    sensor = BlobArrivalSensor(
        task_id="found",
        account_url="acme",
        container="C",
        metadata={"9": ""},
        sets=Sets(),
        newer_than="yesterday",
        at_most=0,
    )

    with pytest.raises(ConfigError) as refused:
        sensor.condition()

    said = str(refused.value)
    wrong = [
        "newer_than 'yesterday'",
        "account_url: 'acme'",
        "container 'C'",
        "metadata '9'",
        "sets need one",
        "at_most",
    ]
    assert [each for each in wrong if each not in said] == []

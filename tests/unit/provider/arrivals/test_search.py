"""What a sensor looks for in a container."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.conditions import State
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.search import Finds, Search

NOW = datetime(2026, 1, 31, 10, tzinfo=UTC)
SEARCH = Search(account_url="https://acme.blob.core.windows.net", wanted=ArrivalFilter(container="incoming"))


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
    finds.add(arrivals, now=NOW)
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
    sight = found(attrs.evolve(SEARCH, at_least=at_least, quiet_s=quiet_s), *arrivals).sight()

    counting = sum(size >= 1 and age >= quiet_s for age, size in blobs)
    assert (sight.state is State.MET) == (counting >= at_least)


def test_what_was_written_before_the_given_time_does_not_count() -> None:
    search = attrs.evolve(SEARCH, newer_than=NOW - timedelta(seconds=50))

    finds = found(search, arrival("old", age_s=51), arrival("new", age_s=50))

    assert [one.path for one in finds.oldest] == ["new"]


def test_a_look_says_how_many_of_how_many_count() -> None:
    search = attrs.evolve(SEARCH, at_least=3, quiet_s=10)
    sight = found(search, arrival("a"), arrival("empty", size_bytes=0), arrival("young", age_s=1)).sight()

    assert f"{sight.what} {sight.told}" == (
        "Container incoming has 1 wanted blobs of 3, and 1 that were written just now; 3 are waited for"
    )


@pytest.mark.parametrize("newer_than", [None, NOW])
def test_what_is_written_makes_the_same_search_again(newer_than: datetime | None) -> None:
    search = attrs.evolve(SEARCH, newer_than=newer_than, quiet_s=1.5, at_most=7)

    assert Search.from_wire(search.to_wire()) == search


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"at_least": 0}, "at_least is 0; it must be 1 or more"),
        ({"at_most": 1001}, "at_most is 1001; it must be from 1 to 1000"),
        ({"quiet_s": -1.0}, "the quiet time is negative"),
        ({"wanted": ArrivalFilter(container="C")}, "container 'C' is no container's name"),
    ],
)
def test_a_search_that_is_wrong_says_so(wrong: dict[str, object], told: str) -> None:
    assert attrs.evolve(SEARCH, **wrong).faults() == [told]  # type: ignore[arg-type]  # what a person may write

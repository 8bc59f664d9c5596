from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diabetes_csv import FEATURES, TARGET, InputError
from partitions import began, in_window
from prepare import Values, divide

Step = Callable[..., CompletedProcess[str]]
FIRST, LAST = datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
times = st.integers(int(FIRST.timestamp()), int(LAST.timestamp())).map(lambda at: datetime.fromtimestamp(at, UTC))


def write(path: Path, *, first: int, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[repr(row / 7 + column) for column in range(11)] for row in range(first, first + count)]
    path.write_text("\n".join(",".join(row) for row in [[*FEATURES, TARGET], *rows]) + "\n")


def rows_of(path: Path) -> set[tuple[str, ...]]:
    return {tuple(row) for row in csv.reader(path.read_text().splitlines()[1:])}


@given(times)
def test_a_partition_begins_with_the_hour_or_the_day_in_its_name(time: datetime) -> None:
    minute = time.replace(second=0)
    hour = minute.replace(minute=0)

    assert began(f"{time:%Y-%m-%dT%H%M}/part.csv") == minute
    assert began(f"{time:%Y-%m-%dT%H}.csv") == began(f"north/{time:%Y-%m-%dT%H}/part-0.csv") == hour
    assert began(f"{time:%Y-%m-%d}.csv") == began(f"{time:%Y-%m-%d}-rows.csv") == hour.replace(hour=0)


@pytest.mark.parametrize("path", ["rows.csv", "2026-13-01.csv", "12026-01-31.csv", "2026-01-3.csv"])
def test_a_name_without_a_date_is_no_partition(path: str) -> None:
    assert began(path) is None


@given(days=st.sets(st.integers(0, 40), min_size=1), low=st.integers(0, 40), high=st.integers(0, 41))
def test_a_window_has_the_partitions_from_its_beginning_until_before_its_end(
    tmp_path_factory: pytest.TempPathFactory, days: set[int], low: int, high: int
) -> None:
    folder = tmp_path_factory.mktemp("partitions")
    day = {number: f"{datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number):%Y-%m-%d}" for number in range(42)}
    for number in days:
        (folder / f"{day[number]}.csv").touch()
    wanted = sorted(number for number in days if low <= number < high)

    if wanted:
        found = in_window(folder, day[low], f"{day[high]}T00:00:00+00:00")
        assert [path.stem for path in found] == [day[number] for number in wanted]
    else:
        with pytest.raises(InputError, match=rf"none of the {len(days)} CSV files in .* is a partition from"):
            in_window(folder, day[low], day[high])


def test_a_bound_that_is_no_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'last week' is no time of ISO 8601"):
        in_window(tmp_path, "last week", "")


@given(counts=st.lists(st.integers(3, 60), min_size=2, max_size=5), seed=st.integers(0, 9), data=st.data())
def test_a_row_stays_on_its_side_whatever_the_window_is(counts: list[int], seed: int, data: st.DataObject) -> None:
    parts: list[list[Values]] = [
        [(float(part), float(row)) for row in range(count + 20)] for part, count in enumerate(counts)
    ]
    low = data.draw(st.integers(0, len(parts) - 1))
    high = data.draw(st.integers(low + 1, len(parts)))

    whole, some = divide(parts, 1.0, seed), divide(parts[low:high], 1.0, seed)

    assert set(some[0]) <= set(whole[0])
    assert set(some[1]) <= set(whole[1])
    assert sorted(some[0] + some[1]) == sorted(row for part in parts[low:high] for row in part)


def test_the_rows_of_the_partitions_in_the_window_are_prepared(step: Step, tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"raw/2026-01-0{number + 1}.csv", first=100 * number, count=15)

    done = step(
        "prepare", partitions=tmp_path / "raw", since="2026-01-02", until="2026-01-04", prepared=tmp_path / "prepared"
    )
    prepared = rows_of(tmp_path / "prepared/train.csv") | rows_of(tmp_path / "prepared/test.csv")

    assert done.stdout == "prepare: 30 rows read, 24 to train on, 6 to test with\n", done.stderr
    assert prepared == rows_of(tmp_path / "raw/2026-01-02.csv") | rows_of(tmp_path / "raw/2026-01-03.csv")


@pytest.mark.parametrize(
    ("given_too", "sentence"),
    [
        ({"data": "raw/2026-01-01.csv"}, "prepare: data and partitions are both given; which of them is meant?\n"),
        ({"until": "2026-01-01"}, "none of the 1 CSV files in raw is a partition from the beginning until 2026-01-01."),
        ({}, "prepare: a fraction of 1.0 leaves 19 of 19 rows; 20 are needed.\n"),
    ],
)
def test_a_window_that_cannot_be_used_is_refused(
    step: Step, tmp_path: Path, given_too: dict[str, str], sentence: str
) -> None:
    write(tmp_path / "raw/2026-01-01.csv", first=0, count=19)
    more = {name: tmp_path / value if name == "data" else value for name, value in given_too.items()}

    done = step("prepare", partitions=tmp_path / "raw", prepared=tmp_path / "prepared", **more)

    assert done.returncode == 1
    assert sentence in done.stderr
    assert not (tmp_path / "prepared").exists()


def test_a_window_without_partitions_is_refused(step: Step, tmp_path: Path) -> None:
    done = step("prepare", since="2026-01-01", prepared=tmp_path / "prepared")

    assert done.stderr == "prepare: since and until choose among partitions, and there is no folder of them.\n"

"""A subset has the same rows for the same seed, whatever the order, and is like its whole."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_azureml.core.subsets import Subset, quotas
from airflow_azureml.errors import ConfigError
from airflow_azureml.quality.profile import Profile
from airflow_azureml.quality.subset import UNITS, Ranks, Subsetting

HEADER = ("patient", "sex", "age", "note")
Row = tuple[str, ...]

rows = st.lists(
    st.tuples(
        st.integers(0, 40).map(str),
        st.sampled_from("fm"),
        st.integers(0, 99).map(str),
        st.sampled_from(["", "a,b", 'q"']),
    ),
    min_size=20,
    max_size=60,
)
sizes: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict, fraction=st.floats(0.1, 0.9)), st.builds(dict, rows=st.integers(1, 60))
)
subsets = st.builds(
    lambda size, by, stratify, seed: Subset(**size, by=by, stratify=stratify, seed=seed),
    sizes,
    st.sampled_from([(), ("patient",), ("patient", "age")]),
    st.sampled_from([(), ("sex",)]),
    st.integers(-5, 5),
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(path: Path, lines: Iterable[Row], *, header: Sequence[str] = HEADER) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    return path


def read(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return [tuple(line) for line in csv.reader(file)][1:]


def made(subset: Subset, files: Sequence[Path], folder: Path) -> tuple[list[Row], Subsetting]:
    """Make the subset of files, in their order; its rows."""
    work = Subsetting(subset)
    for file in files if subset.counts_first else ():
        work.count(file, "csv")
    found: list[Row] = []
    for file in files:
        cut = work.cut(file, "csv", folder / "out.csv")
        part = read(folder / "out.csv")
        assert (cut.rows, cut.of) == (len(part), len(read(file)))
        found += part
    return found, work


@quick
@given(rows, subsets, st.randoms(use_true_random=False), st.integers(1, 19))
def test_the_same_rows_are_chosen_whatever_the_order_of_rows_and_files(
    tmp_path: Path, lines: list[Row], subset: Subset, random: object, at: int
) -> None:
    mixed = list(lines)
    random.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis' own
    one = written(tmp_path / "one.csv", lines)
    two = [written(tmp_path / "a.csv", mixed[at:]), written(tmp_path / "b.csv", mixed[:at])]

    assert Counter(made(subset, [one], tmp_path)[0]) == Counter(made(subset, two, tmp_path)[0])


@quick
@given(rows, subsets)
def test_rows_that_belong_together_are_all_chosen_or_none_and_stay_as_they_are(
    tmp_path: Path, lines: list[Row], subset: Subset
) -> None:
    found, _ = made(subset, [written(tmp_path / "one.csv", lines)], tmp_path)

    columns = [HEADER.index(name) for name in (*(subset.by or HEADER), *subset.stratify)]
    units = {tuple(row[at] for at in columns) for row in found}
    assert found == [row for row in lines if tuple(row[at] for at in columns) in units]


@quick
@given(rows, st.integers(1, 60), st.integers(-5, 5))
def test_there_are_never_more_rows_than_were_wanted_and_only_a_units_fewer(
    tmp_path: Path, lines: list[Row], wanted: int, seed: int
) -> None:
    found, _ = made(Subset(rows=wanted, by="patient", seed=seed), [written(tmp_path / "a.csv", lines)], tmp_path)

    largest = max(Counter(row[0] for row in lines).values())
    assert min(wanted, len(lines)) - largest < len(found) <= wanted


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 500), min_size=1), st.integers(1, 2000))
def test_strata_have_their_shares_of_the_rows_to_the_row(there: dict[str, int], wanted: int) -> None:
    given_to = quotas(Subset(rows=wanted), there)

    whole = sum(there.values())
    assert sum(given_to.values()) == min(wanted, whole)
    assert all(abs(given_to[name] - min(wanted, whole) * size / whole) < 1 for name, size in there.items())
    assert all(given_to[name] <= size for name, size in there.items())


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 500), min_size=1), st.floats(0.001, 1.0))
def test_no_stratum_is_left_without_a_row(there: dict[str, int], share: float) -> None:
    given_to = quotas(Subset(fraction=share, stratify="x"), there)

    assert all(1 <= given_to[name] <= size for name, size in there.items())
    assert all(given_to[name] <= max(1, share * size + 0.5) for name, size in there.items())


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_a_fraction_is_within_its_sampling_error(tmp_path: Path, fraction: float, seed: int) -> None:
    count = 20_000
    whole = written(tmp_path / "a.csv", [(str(number),) for number in range(count)], header=["id"])

    found, work = made(Subset(fraction=fraction, seed=seed), [whole], tmp_path)

    assert abs(len(found) - fraction * count) < 4.5 * math.sqrt(count * fraction * (1 - fraction))
    assert work.selection.size(len(found)).passed
    assert not work.selection.size(round(len(found) * 1.5)).passed


def test_another_seed_chooses_others_and_a_smaller_fraction_chooses_among_those_of_a_larger(tmp_path: Path) -> None:
    whole = [written(tmp_path / "a.csv", [(str(number),) for number in range(5000)], header=["id"])]

    tenth, other = (set(made(Subset(fraction=0.1, seed=seed), whole, tmp_path)[0]) for seed in (1, 2))
    third = set(made(Subset(fraction=0.3, seed=1), whole, tmp_path)[0])

    assert tenth < third
    assert len(tenth & other) < 0.3 * len(tenth)


def test_the_rows_of_a_seed_are_the_same_for_ever(tmp_path: Path) -> None:
    whole = [written(tmp_path / "a.csv", [(str(number),) for number in range(40)], header=["id"])]

    found, _ = made(Subset(fraction=0.2, seed=7), whole, tmp_path)

    assert [int(row[0]) for row in found] == [0, 8, 12, 17, 27, 31, 33]


def test_a_fair_subset_resembles_its_whole_and_an_unfair_one_does_not(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    lines = [(str(number), str(random.normal()), str(random.choice(["x", "y"]))) for number in range(8000)]
    whole = written(tmp_path / "a.csv", lines, header=["id", "size", "kind"])

    _, fair = made(Subset(fraction=0.2, by="id", stratify="kind"), [whole], tmp_path)
    verdict = fair.verdict()
    fair.sample = Profile.of([fair._typed(pl.read_csv(whole, infer_schema=False).filter(pl.col("size") > "0"))])

    assert verdict.accepted, verdict.sentence
    assert verdict.facts == {"rows": str(fair_rows(lines)), "reference_rows": "8000", "strata": "2"}
    assert any(each.subject == "size" for each in fair.verdict().failed)
    assert "<svg" in fair.report(verdict, title="subset")


def fair_rows(lines: Sequence[Row]) -> int:
    return sum(math.floor(0.2 * count + 0.5) for count in Counter(line[2] for line in lines).values())


def test_parquet_gives_the_same_rows_whatever_the_order_and_keeps_its_types(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "id": range(3000),
            "value": [number / 7 for number in range(3000)],
            "tags": [[number % 3] for number in range(3000)],
        }
    )
    table.write_parquet(tmp_path / "a.parquet")
    table.sample(fraction=1.0, shuffle=True, seed=1).write_parquet(tmp_path / "b.parquet", row_group_size=100)

    found = []
    for name in ("a", "b"):
        work = Subsetting(Subset(fraction=0.1, seed=4))
        work.cut(tmp_path / f"{name}.parquet", "parquet", tmp_path / "out.parquet")
        found.append(pl.read_parquet(tmp_path / "out.parquet").sort("id"))

    assert found[0].equals(found[1])
    assert found[0].schema == table.schema
    assert 200 < found[0].height < 400


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=400), st.integers(0, 500), st.integers(1, 60))
def test_ranks_are_the_same_in_any_order_and_exact_while_few(found: list[int], wanted: int, at: int) -> None:
    ranks, mixed = Ranks(), Ranks()
    ranks.add(np.array(found, np.uint64))
    for part in (found[::-1][:at], found[::-1][at:]):
        mixed.add(np.array(part, np.uint64))

    bound = ranks.bound(wanted)
    assert bound == mixed.bound(wanted)
    below = sum(each < bound for each in found)
    assert below <= wanted
    assert below == len(found) or below + found.count(min(each for each in found if each >= bound)) > wanted


def test_many_more_units_than_are_kept_are_cut_as_exactly_as_one_in_65536() -> None:
    random = np.random.default_rng(5)
    found = random.integers(0, 2**64, 1_000_000, np.uint64)
    ranks, mixed = Ranks(), Ranks()
    for part in np.array_split(found, 7):
        ranks.add(part)
    for part in np.array_split(found[::-1], 3):
        mixed.add(part)

    assert (ranks.shift, ranks.bound(100_000)) == (mixed.shift, mixed.bound(100_000))
    assert len(ranks.keys) <= UNITS
    chosen = int((found < np.uint64(ranks.bound(100_000))).sum())
    assert 100_000 - ranks.largest <= chosen <= 100_000
    assert ranks.largest < 60


@pytest.mark.parametrize(
    ("subset", "fault"),
    [
        (Subset(), "give one of fraction and rows"),
        (Subset(fraction=0.1, rows=3), "give one of fraction and rows"),
        (Subset(fraction=0.0), "fraction is 0.0; it must be above 0 and at most 1"),
        (Subset(fraction=math.nan), "fraction is nan; it must be above 0 and at most 1"),
        (Subset(rows=0), "rows is 0, not a whole number above 0"),
        (Subset(rows=5, by="a", stratify="a"), "a is in both by and stratify"),
        (Subset(rows=5, seed=1 << 63), "seed is no whole number of 64 bits"),
    ],
)
def test_what_is_wrong_with_a_subset_is_said(subset: Subset, fault: str) -> None:
    assert subset.faults() == [fault]


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.csv", [("1", "f", "2", "")])

    with pytest.raises(ConfigError, match="There is no column 'person' to choose rows by; there are 'patient', 'sex'"):
        made(Subset(fraction=0.5, by="person"), [whole], tmp_path)


def test_strata_without_end_are_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.csv", [(str(number),) for number in range(1500)], header=["id"])

    with pytest.raises(ConfigError, match="id has more than 1000 values; stratify by columns with few"):
        made(Subset(fraction=0.5, stratify="id"), [whole], tmp_path)


def test_json_lines_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')

    with pytest.raises(ConfigError, match=r"made of CSV and Parquet, and a\.jsonl is jsonl; convert it first"):
        Subsetting(Subset(fraction=0.5)).cut(tmp_path / "a.jsonl", "jsonl", tmp_path / "out")


def test_a_column_that_is_empty_at_first_and_has_numbers_later_is_one_of_numbers(tmp_path: Path) -> None:
    files = [written(tmp_path / "a.csv", [("1", "")], header=["id", "x"])]
    files.append(written(tmp_path / "b.csv", [("2", "5"), ("3", "6.5")], header=["id", "x"]))
    files.append(written(tmp_path / "c.csv", [("4", "odd")], header=["id", "x"]))

    _, work = made(Subset(fraction=1), files, tmp_path)

    assert (work.whole.columns["x"].kind, work.whole.columns["x"].present) == ("number", 2)

"""Which prediction and which label go together, whatever comes when, in whatever pieces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from attrs import asdict, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_azureml.core.compaction import Counts, Matching
from airflow_azureml.core.windows import Windows
from airflow_azureml.errors import ConfigError
from airflow_azureml.quality.joining import Joined, Source, join, piles_for

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOWS = Windows(every=HOUR)


@frozen
class File:
    """A file of predictions or labels: when it came, and its keys."""

    hour: float
    keys: tuple[int, ...]

    @property
    def time(self) -> datetime:
        return START + self.hour * HOUR


files = st.builds(
    File,
    # Few times and few bounds, so that bounds are met exactly about as often as they are missed.
    st.integers(0, 10).map(lambda halves: halves / 2),
    st.lists(st.integers(0, 2), max_size=4).map(tuple),
)
many = st.lists(files, max_size=6).map(lambda found: sorted(found, key=lambda each: each.hour))
bounds = st.integers(0, 6).map(lambda halves: halves * HOUR / 2)
rules = st.builds(Matching, keys=st.just("id"), labels_within=bounds, predictions_within=bounds)


def sources(found: Sequence[File], column: str, span: range) -> list[Source]:
    """The files of an hour; each row says in which file and where it is, so that rows can be told apart."""
    return [
        Source(
            name=f"{column}-{number}",
            time=each.time,
            batches=[
                pl.DataFrame(
                    {
                        "id": [str(key) for key in each.keys],
                        column: [f"{number}.{row}" for row in range(len(each.keys))],
                    }
                )
            ],
        )
        for number, each in enumerate(found)
        if int(each.hour) in span
    ]


def compacted(
    predictions: Sequence[File], labels: Sequence[File], matching: Matching, *, hours: Sequence[range], piles: int
) -> tuple[dict[int, set[tuple[str, str, str]]], list[Joined]]:
    """Join window by window; the rows by the hour in which their window ends, and what each join came to."""
    parts: dict[int, set[tuple[str, str, str]]] = {}
    done: list[Joined] = []
    with TemporaryDirectory() as scratch:
        state = None
        for number, span in enumerate(hours):
            folder = Path(scratch, str(number))
            folder.mkdir()
            window = Windows(every=len(span) * HOUR).of(START + span.start * HOUR)
            done.append(
                join(
                    matching=matching,
                    span=window,
                    predictions=sources(predictions, "prediction", span),
                    labels=sources(labels, "label", span),
                    state=state,
                    folder=folder,
                    output="csv",
                    piles=piles,
                )
            )
            state = folder / "waiting.parquet" if done[-1].remembered else None
            part = folder / "part.csv"
            rows = pl.read_csv(part, infer_schema=False).rows() if part.exists() else []
            assert len(rows) == len(set(rows)) == done[-1].counts.joined
            parts[span.start] = set(rows)
    return parts, done


def expected(
    predictions: Sequence[File], labels: Sequence[File], matching: Matching
) -> dict[int, set[tuple[str, str, str]]]:
    """Say the same in plain words, key by key, with all files at hand."""
    came: dict[int, list[tuple[float, int, str, str]]] = defaultdict(list)
    for kind, some in (("label", labels), ("prediction", predictions)):
        for number, each in enumerate(some):
            for row, key in enumerate(each.keys):
                came[key].append((each.hour, number * 100 + row, kind, f"{number}.{row}"))
    found: dict[int, set[tuple[str, str, str]]] = defaultdict(set)
    for key, events in came.items():
        left = sorted(events)
        while left:
            life = [each for each in left if (each[0] - left[0][0]) * HOUR <= matching.remembered]
            left = left[len(life) :]
            first = {kind: next((each for each in life if each[2] == kind), None) for kind in ("prediction", "label")}
            prediction, label = first["prediction"], first["label"]
            if prediction is None or label is None:
                continue
            late = (label[0] - prediction[0]) * HOUR
            if -matching.predictions_within <= late <= matching.labels_within:
                found[int(max(label[0], prediction[0]))].add((str(key), prediction[3], label[3]))
    return found


def joined_in(parts: dict[int, set[tuple[str, str, str]]]) -> set[tuple[str, str, str]]:
    return set().union(*parts.values())


@settings(deadline=None, max_examples=30)
@given(many, many, rules, st.sampled_from([1, 3]))
@example([File(0, (1,)), File(1, (1,))], [File(2, (1,))], Matching(keys="id"), 1)
@example([File(0, (1,)), File(4, (1,))], [File(5, (1,))], Matching(keys="id", labels_within=HOUR), 1)
@example([File(0, (1,))], [File(1, (1,))], Matching(keys="id", labels_within=HOUR, predictions_within=0 * HOUR), 1)
@example([File(1, (1,))], [File(0, (1,))], Matching(keys="id", labels_within=0 * HOUR, predictions_within=HOUR), 1)
@example([File(0, (1,)), File(1, (1,))], [], Matching(keys="id", labels_within=HOUR, predictions_within=HOUR), 1)
@example([File(0.5, (1,)), File(0.5, (1,))], [File(0.5, (1,)), File(0.5, (1,))], Matching(keys="id"), 3)
def test_each_pair_lands_in_the_window_in_which_the_later_of_both_came_and_nowhere_else(
    predictions: list[File], labels: list[File], matching: Matching, piles: int
) -> None:
    parts, _ = compacted(predictions, labels, matching, hours=[range(hour, hour + 1) for hour in range(6)], piles=piles)

    wanted = expected(predictions, labels, matching)
    assert {hour: rows for hour, rows in parts.items() if rows} == {hour: rows for hour, rows in wanted.items() if rows}


@settings(deadline=None, max_examples=30)
@given(many, many, rules)
def test_windows_of_another_length_hold_the_same_pairs(
    predictions: list[File], labels: list[File], matching: Matching
) -> None:
    hourly, _ = compacted(predictions, labels, matching, hours=[range(hour, hour + 1) for hour in range(6)], piles=1)
    longer, _ = compacted(predictions, labels, matching, hours=[range(3), range(3, 6)], piles=1)

    assert joined_in(hourly) == joined_in(longer)


@settings(deadline=None, max_examples=30)
@given(many, many, rules)
def test_whatever_was_read_is_joined_expired_ignored_or_waiting(
    predictions: list[File], labels: list[File], matching: Matching
) -> None:
    _, done = compacted(predictions, labels, matching, hours=[range(hour, hour + 1) for hour in range(6)], piles=1)

    so_far = Counts()
    for each in done:
        so_far += each.counts
        assert min(asdict(each.counts).values()) >= 0
        gone = so_far.joined + so_far.expired_predictions + so_far.ignored_predictions
        assert so_far.predictions == gone + each.waiting[0]
        gone = so_far.joined + so_far.expired_labels + so_far.ignored_labels
        assert so_far.labels == gone + each.waiting[1]
    assert so_far.predictions == sum(len(each.keys) for each in predictions)


def run(folder: Path, predictions: Sequence[Source], labels: Sequence[Source], **more: object) -> Joined:
    told = {"matching": Matching(keys=("id",)), "state": None, "output": "csv", **more}
    span = WINDOWS.of(START)
    return join(span=span, predictions=predictions, labels=labels, folder=folder, **told)  # type: ignore[arg-type]


def one(name: str, **columns: Sequence[object]) -> Source:
    return Source(name=name, time=START, batches=[pl.DataFrame(columns)])


def test_rows_without_a_key_are_counted_and_left_out(tmp_path: Path) -> None:
    joined = run(tmp_path, [one("p", id=["1", "", None], x=["a", "b", "c"])], [one("l", id=["1", ""], y=["d", "e"])])

    assert joined.counts == Counts(predictions=1, labels=1, joined=1, without_key=3)
    assert (tmp_path / "part.csv").read_text() == "id,x,y\n1,a,d\n"


def test_keys_of_several_columns_are_never_mixed_up(tmp_path: Path) -> None:
    predictions = [one("p", a=["1:x", "1"], b=["2", "x\x1f2"], x=["first", "second"])]
    labels = [one("l", a=["1", "1:x"], b=["x\x1f2", "2"], y=["SECOND", "FIRST"])]

    run(tmp_path, predictions, labels, matching=Matching(keys=("a", "b")))

    found = pl.read_csv(tmp_path / "part.csv").select("x", "y").rows()
    assert sorted(found) == [("first", "FIRST"), ("second", "SECOND")]


def test_a_column_that_is_in_both_and_in_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"both have 'target', which is none of the key's"):
        run(tmp_path, [one("p", id=["1"], target=["2"])], [one("l", id=["1"], target=["3"])])


def test_a_file_that_lacks_the_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"labels/a\.csv lacks 'id' of the key; it has ident, y"):
        run(tmp_path, [], [one("labels/a.csv", ident=["1"], y=["2"])])


def test_columns_that_only_some_files_have_are_empty_in_rows_of_the_others(tmp_path: Path) -> None:
    predictions = [one("p1", id=["1"], x=["a"]), one("p2", id=["2"], z=["b"])]

    run(tmp_path, predictions, [one("l", id=["1", "2"], y=["c", "d"])], piles=4)

    found = pl.read_csv(tmp_path / "part.csv", infer_schema=False).sort("id").to_dicts()
    assert found == [{"id": "1", "x": "a", "z": None, "y": "c"}, {"id": "2", "x": None, "z": "b", "y": "d"}]


def test_parquet_keeps_the_types_of_the_logs(tmp_path: Path) -> None:
    run(tmp_path, [one("p", id=["1"], x=[1.5])], [one("l", id=["1"], y=[7])], output="parquet")

    assert pl.read_parquet(tmp_path / "part.parquet").schema == {"id": pl.String, "x": pl.Float64, "y": pl.Int64}


def test_nothing_is_written_where_there_is_nothing(tmp_path: Path) -> None:
    joined = run(tmp_path, [], [])

    assert (joined.remembered, list(tmp_path.iterdir())) == (0, [])


def test_more_bytes_make_more_piles_up_to_a_bound() -> None:
    assert [piles_for(size) for size in (0, 1, 32 << 20, (32 << 20) + 1, 1 << 50)] == [1, 1, 1, 2, 512]

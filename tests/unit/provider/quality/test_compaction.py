"""Each prediction with its label lands in one partition, whoever dies, and however many race."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from airflow_azureml.client.compaction import LEFT
from airflow_azureml.client.scoring_logs import segments
from airflow_azureml.core.compaction import Compaction, Counts, Matching, Partition, Watermark
from airflow_azureml.core.scoring_logs import Published, Segment
from airflow_azureml.core.windows import Windows
from airflow_azureml.errors import ConfigError, ProtocolError
from tests.unit.provider.quality.compaction_world import HOUR, START, Blobs, MemoryFolder, compactor, done, table
from tests.unit.provider.quality.test_joining import File, expected

MATCHING = Matching(keys="id", labels_within=3 * HOUR, predictions_within=2 * HOUR)


class Workers(RuleBasedStateMachine):
    """Files come, the clock goes on, and workers do their steps in any order, and stop after any."""

    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.blobs = Blobs()
        self.came: dict[str, list[File]] = {"p": [], "l": []}

    @rule(kind=st.sampled_from("pl"), keys=st.lists(st.integers(0, 3), min_size=1, max_size=3))
    def come(self, kind: str, keys: list[int]) -> None:
        """Write a file, now."""
        number, column = len(self.came[kind]), {"p": "prediction", "l": "label"}[kind]
        self.came[kind].append(File((self.blobs.now - START) / HOUR, tuple(keys)))
        told: dict[str, list[object]] = {"id": [*keys], column: [f"{number}.{row}" for row in range(len(keys))]}
        self.blobs.write(f"{kind}/{number:04}.csv", table(**told))

    @rule(minutes=st.sampled_from([20, 60, 60, 200]))
    def wait(self, minutes: int) -> None:
        self.blobs.now += timedelta(minutes=minutes)

    @rule(target=workers)
    def begin(self) -> Iterator[str]:
        return compactor(self.blobs, matching=MATCHING).work()

    @rule(worker=workers, steps=st.integers(1, 9))
    def go_on(self, worker: Iterator[str], steps: int) -> None:
        for _ in range(steps):
            next(worker, "")

    @rule(worker=consumes(workers))
    def die(self, worker: Iterator[str]) -> None:
        """Never go on."""

    @invariant()
    def each_partition_is_written_once(self) -> None:
        parts = [name for name in self.blobs.puts if not name.startswith("t/_compaction/")]
        assert len(parts) == len(set(parts))

    def teardown(self) -> None:
        """Let one more worker do what is left: then every pair is there, once."""
        self.blobs.now += 2 * HOUR
        done(compactor(self.blobs, matching=MATCHING))

        found = [(row["id"], row["prediction"], row["label"]) for row in self.blobs.rows("t/2026")]
        wanted = expected(self.came["p"], self.came["l"], MATCHING)
        assert sorted(found) == sorted(set().union(*wanted.values()))


Workers.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestWorkers = Workers.TestCase


@pytest.fixture
def blobs() -> Blobs:
    """An hour in which two were predicted, and one in which the labels came."""
    made = Blobs()
    made.write("p/1.csv", table(id=[1, 2], x=["a", "b"]))
    made.now += HOUR
    made.write("l/1.csv", table(id=[2, 1], y=["B", "A"], extra=["-", "-"]))
    made.now += 2 * HOUR
    return made


def test_a_partition_lies_in_the_window_in_which_labels_came(blobs: Blobs) -> None:
    worker = done(compactor(blobs))

    assert blobs.written["t/2026-01-01T01/part.csv"][0] == b"id,x,y,extra\n1,a,A,-\n2,b,B,-\n"
    assert [(made.window, made.rows) for made in worker.made] == [("2026-01-01T00", 0), ("2026-01-01T01", 2)]
    assert worker.watermark is not None
    assert worker.watermark.counts == Counts(predictions=2, labels=2, joined=2)
    assert worker.watermark.until == START + 2 * HOUR


def test_whoever_was_overtaken_does_not_say_that_it_made_a_partition(blobs: Blobs) -> None:
    slow = compactor(blobs)
    steps = slow.work()
    while not next(steps).startswith("move the watermark"):
        pass
    fast = done(compactor(blobs))

    for _ in steps:
        pass

    assert ([made.rows for made in fast.made], slow.made) == ([0, 2], [])


def test_a_second_run_has_nothing_to_do(blobs: Blobs) -> None:
    done(compactor(blobs))
    puts = list(blobs.puts)

    assert done(compactor(blobs)).made == []
    assert blobs.puts == puts


def test_a_window_that_is_not_over_is_left(blobs: Blobs) -> None:
    blobs.now = START + HOUR + timedelta(seconds=59)

    assert done(compactor(blobs)).made == []


def test_a_worker_that_stops_at_any_step_is_followed_by_one_that_does_the_rest(blobs: Blobs) -> None:
    steps = len(list(compactor(_copy(blobs)).work()))

    for count in range(1, steps + 1):
        mine = _copy(blobs)
        worker = compactor(mine).work()
        for _ in range(count):
            next(worker)
        done(compactor(mine))
        assert [row["x"] for row in mine.rows("t/2026")] == ["a", "b"]


def _copy(blobs: Blobs) -> Blobs:
    return Blobs(now=blobs.now, written=dict(blobs.written))


def test_a_label_that_comes_after_its_partition_goes_to_a_later_one(blobs: Blobs) -> None:
    blobs.write("l/0.csv", table(id=[1], y=["late"], extra=["-"]))
    blobs.write("p/2.csv", table(id=[3], x=["c"]))
    blobs.now += 2 * HOUR
    done(compactor(blobs))
    blobs.write("l/2.csv", table(id=[3], y=["C"], extra=["-"]))
    blobs.now += 2 * HOUR

    done(compactor(blobs))

    assert blobs.written["t/2026-01-01T05/part.csv"][0] == b"id,x,y,extra\n3,c,C,-\n"


def test_only_the_columns_asked_for_are_taken_of_labels(blobs: Blobs) -> None:
    done(compactor(blobs, columns=("y",)))

    assert blobs.rows("t/2026") == [{"id": "1", "x": "a", "y": "A"}, {"id": "2", "x": "b", "y": "B"}]


def test_a_column_asked_for_that_is_not_there_stops_before_anything_is_written(blobs: Blobs) -> None:
    with pytest.raises(ConfigError, match=r"l/1\.csv lacks 'z'; it has id, y, extra"):
        done(compactor(blobs, columns=("z",)))
    assert not [name for name in blobs.puts if name.endswith("part.csv")]


def test_files_from_before_the_beginning_do_not_count(blobs: Blobs) -> None:
    done(compactor(blobs, since=START + timedelta(minutes=30)))

    assert blobs.rows("t/2026") == []


def test_rules_that_have_changed_are_refused(blobs: Blobs) -> None:
    done(compactor(blobs))

    with pytest.raises(ConfigError, match="have changed since the first partition was made"):
        done(compactor(blobs, matching=Matching(keys="x")))


def test_something_else_in_the_place_of_a_partition_is_an_error_and_stays(blobs: Blobs) -> None:
    blobs.write("t/2026-01-01T01/part.csv", b"mine")

    with pytest.raises(ConfigError, match=r"t/2026-01-01T01/part\.csv is there already, and is not what"):
        done(compactor(blobs))
    assert blobs.written["t/2026-01-01T01/part.csv"][0] == b"mine"


def test_what_waits_and_was_deleted_is_an_error(blobs: Blobs) -> None:
    done(compactor(blobs))
    for name in [name for name in blobs.written if name.endswith("waiting.parquet")]:
        del blobs.written[name]
    blobs.write("p/3.csv", table(id=[9], x=["z"]))
    blobs.now += 2 * HOUR

    with pytest.raises(ProtocolError, match="it is gone, and the watermark still names it"):
        done(compactor(blobs))


def test_what_was_staged_in_vain_is_deleted_after_a_day(blobs: Blobs) -> None:
    blobs.write("t/_compaction/old/part.csv", b"")
    blobs.now += LEFT
    blobs.write("t/_compaction/new/part.csv", b"")
    blobs.now += HOUR

    done(compactor(blobs))

    assert "t/_compaction/old/part.csv" not in blobs.written
    assert "t/_compaction/new/part.csv" in blobs.written


def test_a_label_file_that_is_replaced_after_it_was_listed_counts_as_it_is_then(blobs: Blobs) -> None:
    worker = compactor(blobs)
    steps = worker.work()
    while next(steps) != "join window 2026-01-01T01":
        pass
    blobs.write("l/1.csv", table(id=[1], y=["new"], extra=["-"]))

    for _ in steps:
        pass
    blobs.now += 2 * HOUR
    done(compactor(blobs))

    assert [(row["id"], row["y"]) for row in blobs.rows("t/2026")] == [("1", "new")]


def published(blobs: Blobs, output: str) -> list[Segment]:
    blobs.write(f"{output}one.csv/predictions.csv", b"12345")
    files = [{"file": "one.csv"}, {"file": "two.csv"}]
    where = f"azureml://datastores/s/paths/{output}"
    blobs.write("scored/_published/b.json", json.dumps({"schema": 1, "output": where, "files": files}).encode())
    folder = MemoryFolder(blobs, "scored/")
    return list(segments(folder, Published(folder="azureml://datastores/s/paths/scored")))


def test_files_of_a_batch_have_their_sizes() -> None:
    found = published(Blobs(), "scored/batches/b/")

    assert [(each.path, each.size_bytes) for each in found] == [
        ("scored/batches/b/one.csv/predictions.csv", 5),
        ("scored/batches/b/two.csv/predictions.csv", 0),
    ]


def test_results_that_are_not_below_their_marker_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"it names elsewhere/b/one\.csv/predictions\.csv, which is not below scored/"
    ):
        published(Blobs(), "elsewhere/b/")


def test_a_watermark_reads_back_what_it_wrote() -> None:
    partition = Partition(window="2026-01-01", file="a/b", rows=3, size_bytes=9, sha256="0")
    written = Watermark(until=START, rules="r", state="s", partition=partition, counts=Counts(joined=3), waiting=(1, 2))

    assert Watermark.parse(written.text) == written
    assert Watermark.parse(evolve(written, partition=None).text).files == {"s"}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 7}'])
def test_a_document_that_is_no_watermark_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="watermark"):
        Watermark.parse(text)


@pytest.mark.parametrize(
    ("compaction", "fault"),
    [
        (Compaction(matching=Matching(keys=())), "keys is empty"),
        (Compaction(matching=Matching(keys=("a", "a"))), "keys names a column twice"),
        (Compaction(matching=Matching(keys="__key")), "keys has '__key', which cannot be a key's column"),
        (Compaction(matching=Matching(keys="a"), output="json"), "output is 'json'; it is none of csv, parquet"),
        (
            Compaction(matching=Matching(keys="a"), windows=Windows(every=timedelta(seconds=90))),
            "every is 0:01:30; it must be whole minutes, at least one",
        ),
    ],
)
def test_rules_that_make_no_sense_say_so(compaction: Compaction, fault: str) -> None:
    assert compaction.faults() == [fault]

"""The driver of scoring jobs and its workers, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.batch_driver import NOTHING_SUCCEEDED, Tally, mini_batches, unreadable
from azureml_emulator.batch_worker import rows_of
from azureml_emulator.scoring import DRIVER

NAMES = """
import os
def init():
    print("ready")
def run(mini_batch):
    return [os.path.basename(file) for file in mini_batch]
"""


@attrs.frozen
class Scored:
    """How the driver ended, and what it left."""

    code: int
    said: str
    folder: Path

    @property
    def rows(self) -> list[str]:
        return (self.folder / "out" / "predictions.csv").read_text().splitlines()

    def log(self, name: str) -> str:
        return (self.folder / "code" / "logs" / name).read_text()


@attrs.frozen
class Bench:
    """The folders of one run of the driver."""

    folder: Path

    def score(self, script: str, files: int = 3, **settings: Any) -> Scored:
        """Score that many files, named 0.txt and so on, with a script; an empty one is a model of MLflow."""
        process = self.start(script, files, **settings)
        said, _ = process.communicate(timeout=120)
        return Scored(process.returncode, said, self.folder)

    def start(self, script: str, files: int = 3, **settings: Any) -> subprocess.Popen[str]:
        for name in ("code", "data", "out", "tmp", "model"):
            (self.folder / name).mkdir(exist_ok=True)
        for number in range(files):
            (self.folder / "data" / f"{number}.txt").write_text(str(number))
        (self.folder / "model" / "weights.txt").write_text("0.5")
        if script:
            (self.folder / "code" / "score.py").write_text(script)
        told = json.dumps({"script": "score.py" if script else "", **settings})
        places = "\n".join(str(self.folder / name) for name in ("data", "model", "out"))
        process = subprocess.Popen(
            [sys.executable, str(DRIVER)],
            cwd=self.folder / "code",
            env={"PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "tmp")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(f"{told}\n{places}\n")
        process.stdin.close()
        process.stdin = None
        return process


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# mini-batches


@given(st.lists(st.text(max_size=3), max_size=40), st.integers(1, 12))
def test_mini_batches_are_full_but_for_the_last_and_leave_no_file_out(files: list[str], size: int) -> None:
    batches = mini_batches(files, size)

    assert [file for batch in batches for file in batch] == files
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches)


def test_each_file_is_given_to_run_once_and_the_answers_are_the_rows_of_the_output(bench: Bench) -> None:
    scored = bench.score(NAMES, files=7, mini_batch_size=3)

    assert (scored.code, scored.rows) == (0, [f"{number}.txt" for number in range(7)])
    assert "7 files in 3 mini-batches of at most 3." in scored.log("job_progress_overview.txt")
    assert "Mini-batches: 3 in all, 3 processed, 0 failed." in scored.said


def test_init_is_called_once_in_each_worker_process(bench: Bench) -> None:
    script = """
import os, pathlib, time
pids = pathlib.Path("pids")
def init():
    pids.mkdir(exist_ok=True)
    (pids / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    while len(list(pids.iterdir())) < 4:
        time.sleep(0.01)
def run(mini_batch):
    return [str(os.getpid())]
"""
    scored = bench.score(script, files=9, mini_batch_size=1, processes_per_node=2, nodes=2, timeout_s=60)

    begun = [path.name.partition("-")[0] for path in (bench.folder / "code" / "pids").iterdir()]
    assert len(scored.rows) == 9
    assert len(set(begun)) == len(begun) == 4
    assert set(scored.rows) <= set(begun)
    outputs = (bench.folder / "code" / "logs" / "user" / "stdout").rglob("*.txt")
    assert sorted("/".join(path.parts[-2:]) for path in outputs) == [
        f"node{node}/process00{process}.stdout.txt" for node in (0, 1) for process in (0, 1)
    ]


def test_the_script_finds_model_output_and_its_own_modules(bench: Bench) -> None:
    script = """
import argparse, os, sys
import neighbour
def init():
    parser = argparse.ArgumentParser()
    parser.add_argument("--logging_level")
    print("level", parser.parse_known_args()[0].logging_level)
def run(mini_batch):
    with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "own.txt"), "w") as file:
        file.write(neighbour.word)
    weights = os.path.join(os.environ["AZUREML_MODEL_DIR"], "net", "weights.txt")
    return [open(weights).read(), __name__]
"""
    (bench.folder / "code").mkdir()
    (bench.folder / "code" / "neighbour.py").write_text("word = 'beside'")

    scored = bench.score(script, files=1, model_name="net", logging_level="DEBUG")

    assert scored.rows == ["0.5", "score"]
    assert (bench.folder / "out" / "own.txt").read_text() == "beside"
    assert "level DEBUG" in scored.log("user/stdout/node0/process000.stdout.txt")
    assert "level DEBUG" in scored.said


def test_a_file_in_a_folder_is_scored_too(bench: Bench) -> None:
    (bench.folder / "data" / "deep").mkdir(parents=True)
    (bench.folder / "data" / "deep" / "z.txt").touch()

    assert bench.score(NAMES, files=1).rows == ["0.txt", "z.txt"]


# what run returns


@given(st.lists(st.one_of(st.integers(), st.text(st.characters(exclude_characters="\r\n"), max_size=9))))
def test_a_list_is_a_line_for_each_element(items: list[Any]) -> None:
    assert rows_of(items) == (len(items), "".join(f"{item}\n" for item in items))
    assert rows_of(tuple(items)) == rows_of(items)


def test_a_data_frame_is_written_without_names_and_index_separated_by_spaces() -> None:
    pandas = pytest.importorskip("pandas")

    frame = pandas.DataFrame({"file": ["a.csv", "b c.csv"], "score": [0.5, 1.0]}, index=[7, 8])

    assert rows_of(frame) == (2, 'a.csv 0.5\n"b c.csv" 1.0\n')
    assert rows_of(frame["score"]) == (2, "0.5\n1.0\n")
    assert rows_of(frame["score"].to_numpy()) == (2, "0.5\n1.0\n")


@pytest.mark.parametrize("result", [None, "text", {"a": 1}, 3.5])
def test_anything_else_is_no_answer(result: Any) -> None:
    with pytest.raises(TypeError, match=r"run\(\) must return a pandas.DataFrame, an array or a list; it returned"):
        rows_of(result)


def test_a_mini_batch_whose_answer_is_none_has_failed(bench: Bench) -> None:
    scored = bench.score("def init(): pass\ndef run(mini_batch): return None", max_tries=1)

    assert scored.code == 1
    assert "it returned None" in scored.said
    assert scored.said.splitlines()[-1] == f"The job failed: {NOTHING_SUCCEEDED}"


def test_summary_only_writes_nothing_and_succeeds(bench: Bench) -> None:
    scored = bench.score(NAMES, output_file="")

    assert scored.code == 0
    assert list((bench.folder / "out").iterdir()) == []


# failures and tries

_batches = st.lists(st.tuples(st.integers(1, 9), st.one_of(st.none(), st.integers(0, 12))), max_size=12)


@given(_batches, st.integers(-1, 40))
def test_a_job_fails_of_more_failed_files_than_its_threshold_or_of_no_success(
    batches: list[tuple[int, int | None]], threshold: int
) -> None:
    tally = Tally(total=len(batches))
    for files, returned in batches:
        tally.lost(files) if returned is None else tally.answered(files, returned)

    failed = sum(files if returned is None else max(0, files - returned) for files, returned in batches)
    succeeded = sum(returned or 0 for _, returned in batches)
    assert bool(tally.fault(threshold)) == (threshold != -1 and failed > threshold)
    assert (tally.verdict(threshold) == "") == (not tally.fault(threshold) and succeeded > 0)
    assert Tally(total=len(batches) + 1, succeeded_items=1).verdict(threshold), "one was never finished"


COUNTING = """
import pathlib, time
def init(): pass
def run(mini_batch):
    (name,) = map(pathlib.Path, mini_batch)
    tried = pathlib.Path("tried-" + name.stem)
    with tried.open("a") as file:
        file.write("x")
    count = len(tried.read_text())
    {body}
    return [f"{{name.name}} {{count}}"]
"""


def test_a_mini_batch_that_raises_is_tried_again(bench: Bench) -> None:
    body = "if count < 3: raise RuntimeError(f'not yet {name.name}')"

    scored = bench.score(COUNTING.format(body=body), files=2, mini_batch_size=1, max_tries=3, error_threshold=0)

    assert (scored.code, sorted(scored.rows)) == (0, ["0.txt 3", "1.txt 3"])
    assert "RuntimeError: not yet 0.txt" in scored.log("user/error.txt")
    assert "raise RuntimeError(f'not yet" in scored.log("user/error/node0/process000.txt")


def test_a_mini_batch_that_takes_too_long_is_ended_and_tried_again_in_a_new_process(bench: Bench) -> None:
    body = "if count == 1 and name.stem == '1': time.sleep(600)"

    scored = bench.score(COUNTING.format(body=body), files=2, mini_batch_size=1, max_tries=2, timeout_s=2)

    assert (scored.code, sorted(scored.rows)) == (0, ["0.txt 1", "1.txt 2"])
    assert "run() took longer than 2 s; its process was ended." in scored.log("user/error.txt")


@pytest.mark.parametrize(("end", "told"), [("__import__('os')._exit(9)", "exit code 9"), ("exit(4)", "SystemExit: 4")])
def test_a_process_that_ends_by_itself_is_a_failed_try(bench: Bench, end: str, told: str) -> None:
    scored = bench.score(COUNTING.format(body=f"if count == 1: {end}"), files=1, max_tries=2)

    assert (scored.code, scored.rows) == (0, ["0.txt 2"])
    assert told in scored.said


def test_failed_files_count_against_the_threshold_and_end_the_job(bench: Bench) -> None:
    body = "if name.stem != '0': raise ValueError('broken')"
    script = COUNTING.format(body=body)

    scored = bench.score(script, files=4, mini_batch_size=1, max_tries=2, error_threshold=1)

    assert scored.code == 1
    assert scored.rows == ["0.txt 1"]
    assert (
        scored.said.splitlines()[-1] == "The job failed: 2 items failed, which is more than the error threshold of 1."
    )
    tried = [len((bench.folder / "code" / f"tried-{number}").read_text()) for number in (1, 2)]
    assert max(tried) == 2, "no more often than max_tries"


def test_without_a_threshold_any_number_may_fail_as_long_as_one_succeeds(bench: Bench) -> None:
    body = "if name.stem != '0': raise ValueError('broken')"

    scored = bench.score(COUNTING.format(body=body), files=4, mini_batch_size=1, max_tries=1)

    assert scored.code == 0
    assert "Items: 1 succeeded, 3 failed." in scored.said


def test_an_answer_that_is_shorter_than_its_mini_batch_has_failed_files(bench: Bench) -> None:
    script = "def init(): pass\ndef run(mini_batch): return mini_batch[:1]"

    assert bench.score(script, files=4, mini_batch_size=4, error_threshold=2).code == 1


# scripts that cannot be used


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("def init(): pass", "AttributeError: The scoring script score.py has no function run."),
        ("x = 1", "The scoring script score.py has no function init and no function run."),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("def init(): raise OSError('no weights')\ndef run(mini_batch): return []", "OSError: no weights"),
        ("def init(): import os; os._exit(3)\ndef run(mini_batch): return []", "exit code 3 before it answered"),
        ("def run(:", "SyntaxError"),
    ],
)
def test_a_script_that_cannot_be_used_fails_the_job_at_once_with_the_reason(
    bench: Bench, script: str, told: str
) -> None:
    scored = bench.score(script, files=9, mini_batch_size=1, processes_per_node=2)

    assert scored.code == 1
    assert scored.said.splitlines()[-1].startswith("The job failed: The scoring script cannot be used: ")
    assert told in scored.said.splitlines()[-1]
    assert "0 processed, 0 failed" in scored.said


# models of MLflow


def test_an_mlflow_model_without_a_script_needs_mlflow_where_jobs_run(bench: Bench) -> None:
    (bench.folder / "code" / "mlflow").mkdir(parents=True)
    (bench.folder / "code" / "mlflow" / "__init__.py").write_text("raise ImportError('no mlflow in this environment')")
    (bench.folder / "data").mkdir()
    (bench.folder / "data" / "rows.csv").write_text("a,b\n1,2\n")

    scored = bench.score("", files=0)

    assert scored.code == 1
    assert "cannot be used: ImportError: no mlflow in this environment" in scored.said.splitlines()[-1]


def test_an_mlflow_model_without_a_script_scores_each_row_of_each_table(bench: Bench) -> None:
    data = bench.folder / "data"
    (data / "nested").mkdir(parents=True)
    for name, rows in (("b.csv", "1,2\n3,4\n"), ("a.csv", "5,6\n"), ("nested/not-looked-at.csv", "7,8\n")):
        (data / name).write_text(f"x,y\n{rows}")
    model = bench.folder / "model"
    model.mkdir()
    (model / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: adding\n    code: code\n")
    (model / "code").mkdir()
    (model / "code" / "adding.py").write_text(
        "class Model:\n    def predict(self, table):\n        return table.x + table.y\n"
        "def _load_pyfunc(path):\n    return Model()\n"
    )

    scored = bench.score("", files=0)

    assert scored.code == 0, scored.said
    assert scored.rows == ["0 11 a.csv", "0 3 b.csv", "1 7 b.csv"]


@given(st.lists(st.sampled_from(["a.csv", "b.CSV", "c.parquet", "d.pqt", "e.txt", "f"])))
def test_a_file_that_an_mlflow_model_cannot_read_fails_the_job(files: list[str]) -> None:
    bad = [file for file in files if file in ("e.txt", "f")]

    assert bool(unreadable(files)) == bool(bad)
    assert not bad or f"Error processing input file: '{bad[0]}'" in unreadable(files)

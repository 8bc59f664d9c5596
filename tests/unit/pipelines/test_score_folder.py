from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Step = Callable[..., CompletedProcess[str]]
Score = Callable[[], CompletedProcess[str]]

HEAD = "age,sex,bmi,bp,s1,s2,s3,s4,s5,s6"
GOOD = ",".join(["0.01"] * 10)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def score(step: Step, trained: Path, tmp_path: Path, data: Path) -> Score:
    return lambda: step("score_folder", data=data, model=trained / "model", predictions=tmp_path / "out")


def report(tmp_path: Path) -> dict[str, dict[str, Any]]:
    told = json.loads((tmp_path / "out/report.json").read_text())["files"]
    return {one["file"]: one for one in told}


def test_every_file_is_scored_into_a_folder_of_its_own(score: Score, data: Path, tmp_path: Path) -> None:
    for number in range(3):
        (data / f"{number}.csv").write_text(f"id,{HEAD}\n" + "".join(f"{number}-{row},{GOOD}\n" for row in range(2)))

    done = score()

    assert (done.returncode, done.stderr) == (0, "")
    for number in range(3):
        rows = list(csv.reader((tmp_path / f"out/{number}.csv/predictions.csv").read_text().splitlines()))
        assert [row[0] for row in rows] == ["id", f"{number}-0", f"{number}-1"]
    assert {name: one["scored"] for name, one in report(tmp_path).items()} == {f"{n}.csv": 2 for n in range(3)}


def test_a_bad_file_and_a_bad_row_fail_nothing_else_and_are_told_of(score: Score, data: Path, tmp_path: Path) -> None:
    (data / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (data / "empty.csv").write_bytes(b"")
    (data / "half.csv").write_text(f"{HEAD}\n{GOOD}\n{GOOD[:-4]}tall\n")
    (data / "whole.csv").write_text(f"{HEAD}\n{GOOD}\n{GOOD}\n")

    done = score()

    assert done.returncode == 0
    told = report(tmp_path)
    assert {name: (one["scored"], one["rejected"]) for name, one in told.items()} == {
        "empty.csv": (0, 0),
        "half.csv": (1, 1),
        "picture.csv": (0, 0),
        "whole.csv": (2, 0),
    }
    assert told["picture.csv"]["fault"] == "picture.csv is not a CSV file: its line 1 is not text."
    assert "is empty" in told["empty.csv"]["fault"]
    assert told["half.csv"]["fault"] == told["whole.csv"]["fault"] == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["half.csv", "report.json", "whole.csv"]


def test_the_same_folder_again_writes_the_same_bytes(score: Score, data: Path, tmp_path: Path) -> None:
    (data / "a.csv").write_text(f"{HEAD}\n{GOOD}\nx\n")
    written = []
    for _ in range(2):
        assert score().returncode == 0
        written.append({path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()})

    assert written[0] == written[1]
    assert len(written[0]) == 3


def test_a_folder_without_files_fails_with_one_sentence_and_writes_nothing(score: Score, tmp_path: Path) -> None:
    done = score()

    assert (done.returncode, done.stderr) == (1, "score_folder: the folder data has no files to score.\n")
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_used_fails_the_whole(step: Step, data: Path, tmp_path: Path) -> None:
    (data / "a.csv").write_text(f"{HEAD}\n{GOOD}\n")

    done = step("score_folder", data=data, model=data, predictions=tmp_path / "out")

    assert done.returncode == 1
    assert "has no model.json" in done.stderr

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.publish import FOLDER, versions

EVERYTHING = set(versions())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "diabetes", ignore=shutil.ignore_patterns("__pycache__")))


def test_the_same_files_have_the_same_versions_wherever_they_lie(copy: Path) -> None:
    assert versions(copy) == versions()


@pytest.mark.parametrize(
    ("changed", "renewed"),
    [
        ("components/score.yml", {"diabetes_score", "diabetes_scoring"}),
        ("components/train.yml", {"diabetes_train", "diabetes_training"}),
        ("score_pipeline.yml", {"diabetes_scoring"}),
        ("components/evaluate.yml", {"diabetes_evaluate", "diabetes_training", "diabetes_evaluation"}),
        ("components/score_folder.yml", {"diabetes_score_folder", "diabetes_batch_scoring"}),
        ("src/diabetes_csv.py", EVERYTHING - {"diabetes"}),
        ("conda.yml", EVERYTHING),
        ("environment.yml", EVERYTHING),
        ("train_job.yml", set()),
    ],
)
def test_a_change_makes_new_versions_of_what_it_is_in_and_of_nothing_else(
    copy: Path, changed: str, renewed: set[str]
) -> None:
    before = versions(copy)
    with (copy / changed).open("a") as file:
        file.write("# changed\n")
    after = versions(copy)

    assert {name for name in before if before[name] != after[name]} == renewed


def test_a_renamed_file_of_code_makes_new_versions(copy: Path) -> None:
    before = versions(copy)
    (copy / "src/score.py").rename(copy / "src/scoring.py")

    assert versions(copy)["diabetes_score"] != before["diabetes_score"]

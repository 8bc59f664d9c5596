from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diabetes_csv import InputError
from prepare import split

Step = Callable[..., CompletedProcess[str]]


def rows_of(path: Path) -> list[tuple[str, ...]]:
    return [tuple(row) for row in csv.reader(path.read_text().splitlines())][1:]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_all_rows_of_scikit_learns_data_are_split_into_training_and_test_rows(trained: Path) -> None:
    from sklearn.datasets import load_diabetes

    train, test = rows_of(trained / "prepared/train.csv"), rows_of(trained / "prepared/test.csv")
    data = load_diabetes()
    expected = {
        (*map(repr, row), repr(target)) for row, target in zip(data.data.tolist(), data.target.tolist(), strict=True)
    }

    assert (len(train), len(test)) == (353, 89)
    assert {*train, *test} == expected


def test_the_figures_are_those_that_scikit_learn_computes_on_its_own(trained: Path) -> None:
    from sklearn.linear_model import Ridge
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    train = np.array(rows_of(trained / "prepared/train.csv"), dtype=float)
    test = np.array(rows_of(trained / "prepared/test.csv"), dtype=float)
    predicted = Ridge(alpha=0.5).fit(train[:, :10], train[:, 10]).predict(test[:, :10])
    evaluation = json.loads((trained / "evaluation/evaluation.json").read_text())

    figures = {name: evaluation["metrics"][name] for name in ("rmse", "mae", "r2")}
    assert figures == pytest.approx(
        {
            "rmse": mean_squared_error(test[:, 10], predicted) ** 0.5,
            "mae": mean_absolute_error(test[:, 10], predicted),
            "r2": r2_score(test[:, 10], predicted),
        }
    )


def test_the_model_says_what_it_was_trained_on_and_with(trained: Path) -> None:
    import sklearn

    card = json.loads((trained / "model/model.json").read_text())

    assert card["features"] == ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    assert (card["alpha"], card["training_rows"]) == (0.5, 353)
    assert card["libraries"]["scikit-learn"] == sklearn.__version__


def test_the_same_training_writes_the_same_bytes(trained: Path, step: Step, tmp_path: Path) -> None:
    step("prepare", prepared=tmp_path / "prepared")
    step("train", prepared=tmp_path / "prepared", model=tmp_path / "model")
    step("evaluate", prepared=tmp_path / "prepared", model=tmp_path / "model", evaluation=tmp_path / "evaluation")

    for name in ("prepared", "model"):
        assert files_of(tmp_path / name) == files_of(trained / name)
    assert (tmp_path / "evaluation/losses.csv").read_bytes() == (trained / "evaluation/losses.csv").read_bytes()


def test_a_fraction_takes_rows_that_stay_on_their_side_of_the_split(trained: Path, step: Step, tmp_path: Path) -> None:
    done = step("prepare", prepared=tmp_path, fraction=0.25)
    train, test = rows_of(tmp_path / "train.csv"), rows_of(tmp_path / "test.csv")

    assert done.returncode == 0
    assert len(train) + len(test) == 110
    assert set(train) < set(rows_of(trained / "prepared/train.csv"))
    assert set(test) < set(rows_of(trained / "prepared/test.csv"))


def test_another_seed_takes_other_rows(trained: Path, step: Step, tmp_path: Path) -> None:
    step("prepare", prepared=tmp_path, seed=7)

    assert set(rows_of(tmp_path / "test.csv")) != set(rows_of(trained / "prepared/test.csv"))


def test_a_file_takes_the_place_of_scikit_learns_data(trained: Path, step: Step, tmp_path: Path) -> None:
    done = step("prepare", data=trained / "prepared/train.csv", prepared=tmp_path)

    assert done.stdout == "prepare: 353 rows read, 282 to train on, 71 to test with\n"


@pytest.mark.parametrize(
    ("fraction", "sentence"),
    [
        (0.0, "fraction is 0.0; it must be over 0 and at most 1."),
        (1.5, "fraction is 1.5; it must be over 0 and at most 1."),
        (math.nan, "fraction is nan; it must be over 0 and at most 1."),
        (0.01, "a fraction of 0.01 leaves 4 of 442 rows; 20 are needed."),
    ],
)
def test_a_fraction_that_makes_no_sense_is_refused(fraction: float, sentence: str) -> None:
    with pytest.raises(InputError) as refusal:
        split(442, fraction, seed=42)

    assert str(refusal.value) == sentence


@given(count=st.integers(40, 500), small=st.floats(0.5, 1), large=st.floats(0.5, 1), seed=st.integers())
def test_a_smaller_fraction_is_a_part_of_a_larger_one_on_both_sides(
    count: int, small: float, large: float, seed: int
) -> None:
    small, large = sorted((small, large))
    few, many = split(count, small, seed), split(count, large, seed)

    assert set(few[0]) <= set(many[0])
    assert set(few[1]) <= set(many[1])
    assert not set(many[0]) & set(many[1])
    assert sorted(many[0] + many[1]) == sorted(set(many[0] + many[1]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda text: text.replace("bmi", "weight", 1),
            "prepare: raw.csv lacks the columns bmi: its header, line 1, is ",
        ),
        (lambda text: text + "1,2,3,4,5,6,7,8,9,10,nan\n", "the first is line 355: target is not a number: 'nan'."),
    ],
)
def test_raw_data_that_fails_its_test_is_refused(
    trained: Path, step: Step, tmp_path: Path, change: Callable[[str], str], sentence: str
) -> None:
    raw = tmp_path / "raw.csv"
    raw.write_text(change((trained / "prepared/train.csv").read_text()))

    done = step("prepare", data=raw, prepared=tmp_path / "prepared")

    assert done.returncode == 1
    assert sentence in done.stderr
    assert not (tmp_path / "prepared").exists()


def test_an_alpha_that_makes_no_sense_is_refused(trained: Path, step: Step, tmp_path: Path) -> None:
    done = step("train", prepared=trained / "prepared", model=tmp_path / "model", alpha="nan")

    assert done.returncode == 1
    assert done.stderr == "train: alpha is nan; it must be a finite number over 0.\n"


def test_test_rows_of_one_target_are_refused(trained: Path, step: Step, tmp_path: Path) -> None:
    row = ",".join(["1"] * 11)
    (tmp_path / "test.csv").write_text(f"age,sex,bmi,bp,s1,s2,s3,s4,s5,s6,target\n{row}\n{row}\n")

    done = step("evaluate", prepared=tmp_path, model=trained / "model", evaluation=tmp_path / "evaluation")

    assert done.returncode == 1
    assert done.stderr == "evaluate: all 2 test rows have the target 1.0; R2 is not defined for them.\n"

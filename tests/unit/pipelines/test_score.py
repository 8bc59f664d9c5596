from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diabetes_csv import InputError, Rejected
from model_folder import load, read_card
from score import begin
from score import score as judge

Step = Callable[..., CompletedProcess[str]]
Score = Callable[[], CompletedProcess[str]]

HEAD = "age,sex,bmi,bp,s1,s2,s3,s4,s5,s6"
GOOD = ",".join(["0.01"] * 10)


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data.csv"


@pytest.fixture
def score(step: Step, trained: Path, tmp_path: Path, data: Path) -> Score:
    return lambda: step("score", data=data, model=trained / "model", predictions=tmp_path / "out")


def test_every_row_gets_the_prediction_of_the_model(score: Score, trained: Path, data: Path, tmp_path: Path) -> None:
    data.write_bytes((trained / "prepared/test.csv").read_bytes())
    given_rows = read(data)

    done = score()
    scored = read(tmp_path / "out/predictions.csv")
    model = joblib.load(trained / "model/model.joblib")
    expected = model.predict(np.array(given_rows[1:], dtype=float)[:, :10])

    assert (done.returncode, done.stdout) == (0, "score: 89 rows of data.csv scored, 0 rejected\n")
    assert [row[:-1] for row in scored] == given_rows
    assert scored[0][-1] == "prediction"
    assert [float(row[-1]) for row in scored[1:]] == pytest.approx(expected)
    assert read(tmp_path / "out/rejected.csv") == [["line", "reason", "row"]]


def test_a_half_broken_file_is_split_into_predictions_and_rejections(score: Score, data: Path, tmp_path: Path) -> None:
    data.write_bytes(
        f'id,{HEAD}\r\n"a, b",{GOOD}\r\nb,{GOOD[:-4]}tall\n\nc,{GOOD},9\nd,0.01\n"e,{GOOD}\n'.encode()
        + b"f\xff," + GOOD.encode() + f"\ng,{GOOD[:-4]}1e300\ni, {GOOD} ".encode()
    )  # fmt: skip

    done = score()

    assert (done.returncode, done.stderr) == (0, "")
    assert [row[0] for row in read(tmp_path / "out/predictions.csv")] == ["id", "a, b", "g", "i"]
    assert [row[:2] for row in read(tmp_path / "out/rejected.csv")] == [
        ["line", "reason"],
        ["3", "s6 is not a number: 'tall'"],
        ["5", "12 instead of 11 cells"],
        ["6", "2 instead of 11 cells"],
        ["7", "it cannot be read as CSV (unexpected end of data)"],
        ["8", "it is not UTF-8"],
    ]


def test_a_prediction_that_overflows_is_rejected(score: Score, data: Path, tmp_path: Path) -> None:
    data.write_text(f"{HEAD}\n{','.join(['1.7e308'] * 10)}\n{GOOD}\n")

    score()

    assert read(tmp_path / "out/rejected.csv")[1][:2] == ["2", "its prediction is too large for a number"]
    assert len(read(tmp_path / "out/predictions.csv")) == 2


def test_a_file_without_a_usable_row_succeeds_with_all_rows_rejected(score: Score, data: Path, tmp_path: Path) -> None:
    data.write_text(f"{HEAD}\nx\ny\n")

    assert score().returncode == 0
    assert read(tmp_path / "out/predictions.csv") == [[*HEAD.split(","), "prediction"]]
    assert len(read(tmp_path / "out/rejected.csv")) == 3


def test_columns_may_come_in_any_order(trained: Path, data: Path) -> None:
    card = read_card(trained / "model")
    cells = [str(number) for number in range(10)]
    predictions = []
    for names, values in ((card.features, cells), (card.features[::-1], cells[::-1])):
        data.write_text(f"{','.join(names)}\n{','.join(values)}\n")
        (verdict,) = judge(load(card), card.features, *begin(data, card.features))
        assert not isinstance(verdict, Rejected)
        predictions.append(verdict[1])

    assert predictions[0] == predictions[1]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", f"data.csv is empty; it needs a header with the columns {HEAD.replace(',', ', ')}."),
        (b"\n \n", f"data.csv is empty; it needs a header with the columns {HEAD.replace(',', ', ')}."),
        (HEAD.encode(), "data.csv has a header but no rows."),
        (f"{HEAD}\n\n  \n".encode(), "data.csv has a header but no rows."),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "data.csv is not a CSV file: its line 1 is not text."),
        (b"PK\x03\x04\x14", "data.csv is not a CSV file: its line 1 is not text."),
        (b'"age,sex', "data.csv is not a CSV file: its line 1 cannot be read (unexpected end of data)."),
        (
            f"{HEAD.replace('bmi', 'BMI').replace('s6', 'S6')}\n{GOOD}\n".encode(),
            "data.csv lacks the columns bmi, s6: its header, line 1, is 'age,sex,BMI,bp,s1,s2,s3,s4,s5,S6'",
        ),
        (
            f"{HEAD.replace(',', ';')}\n{GOOD}\n".encode(),
            f"data.csv lacks the columns {HEAD.replace(',', ', ')}: its header, line 1, is '{HEAD.replace(',', ';')}'",
        ),
        (f"{HEAD},age\n{GOOD},1\n".encode(), "data.csv has the columns age more than once."),
        (
            f"{HEAD},prediction\n{GOOD},1\n".encode(),
            "data.csv has a column prediction already; rename it or leave it out.",
        ),
    ],
)
def test_a_file_that_cannot_be_scored_at_all_is_refused_with_one_sentence(
    data: Path, content: bytes, sentence: str
) -> None:
    data.write_bytes(content)

    with pytest.raises(InputError) as refusal:
        begin(data, tuple(HEAD.split(",")))

    assert str(refusal.value).removesuffix(" (columns are separated by commas).") == sentence


def test_a_refused_file_fails_the_step_with_that_sentence_and_writes_nothing(
    score: Score, data: Path, tmp_path: Path
) -> None:
    data.write_text(HEAD)

    done = score()

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "score: data.csv has a header but no rows.\n")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_fails_with_one_sentence(score: Score) -> None:
    done = score()

    assert (done.returncode, done.stderr) == (1, "score: data.csv cannot be read: No such file or directory.\n")


CARD = json.dumps({"features": ["age"]})


@pytest.mark.parametrize(
    ("card", "model", "sentence"),
    [
        (None, None, "the model folder broken has no model.json; pass the folder that train wrote."),
        ("[]", None, "the model.json in broken is not one that train writes: TypeError("),
        (CARD, None, "the model.joblib in broken cannot be loaded: FileNotFoundError("),
        (CARD, b"no", "the model.joblib in broken cannot be loaded: "),
        (CARD, b"\x80\x04}\x94.", "the model.joblib in broken does not fit its model.json (1 features)."),
    ],
)
def test_a_folder_that_train_did_not_write_is_refused(
    tmp_path: Path, card: str | None, model: bytes | None, sentence: str
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    if card is not None:
        (folder / "model.json").write_text(card)
    if model is not None:
        (folder / "model.joblib").write_bytes(model)

    with pytest.raises(InputError) as refusal:
        load(read_card(folder))

    assert str(refusal.value).startswith(sentence)
    assert len(str(refusal.value).splitlines()) == 1


def test_scoring_the_same_file_again_writes_the_same_bytes(score: Score, data: Path, tmp_path: Path) -> None:
    data.write_text(f"{HEAD}\n{GOOD}\nno\n" * 3)
    score()
    first = [(tmp_path / f"out/{name}.csv").read_bytes() for name in ("predictions", "rejected")]
    score()

    assert [(tmp_path / f"out/{name}.csv").read_bytes() for name in ("predictions", "rejected")] == first


lines = st.one_of(
    st.just(GOOD),
    st.sampled_from(["", "  ", "x", f"{GOOD},1", ",".join(["1.7e308"] * 10), GOOD[:-4] + "nan", f'"{GOOD}']),
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(found=st.lists(lines, min_size=1, max_size=12), at_once=st.integers(1, 5))
def test_every_row_lands_in_exactly_one_of_the_two_files_in_its_order(
    trained: Path, data: Path, found: list[str], at_once: int
) -> None:
    data.write_text("\n".join([HEAD, GOOD, *found]), encoding="utf-8", newline="")
    rows = [2, *(line for line, text in enumerate(found, start=3) if text.strip())]
    card = read_card(trained / "model")

    verdicts = list(judge(load(card), card.features, *begin(data, card.features), at_once=at_once))
    scored = [verdict for verdict in verdicts if not isinstance(verdict, Rejected)]

    assert [verdict.line if isinstance(verdict, Rejected) else verdict[0].line for verdict in verdicts] == rows
    assert all(",".join(row.cells) == GOOD for row, _ in scored)
    assert len(scored) == 1 + found.count(GOOD)
    assert len({round(prediction, 9) for _, prediction in scored}) == 1

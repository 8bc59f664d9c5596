"""Score a CSV file: predictions.csv has the rows that could be scored, rejected.csv the others with the reason."""

import argparse
import csv
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from diabetes_csv import Header, InputError, Rejected, Row, start
from model_folder import load, read_card

PREDICTION = "prediction"
CHUNK = 10_000


def begin(data: Path, features: tuple[str, ...]) -> tuple[Header, Iterator[tuple[int, str]]]:
    """Begin to read the file.

    Raises:
        InputError: It cannot be scored as a whole, or there is a column of the predictions' name in it.
    """
    head, found = start(data, features)
    if PREDICTION in head.columns:
        raise InputError(f"{data.name} has a column {PREDICTION} already; rename it or leave it out.")
    return head, found


def score(
    regression: Any, features: tuple[str, ...], head: Header, found: Iterator[tuple[int, str]], *, at_once: int = CHUNK
) -> Iterator[tuple[Row, float] | Rejected]:
    """Judge each line, in the order of the file: a row and its prediction, or a rejection.

    Args:
        regression: The model.
        features: What it was trained on, each a column of the header.
        head: The header of the file.
        found: The lines under it.
        at_once: How many of them are in memory at a time.
    """
    while chunk := list(itertools.islice(found, at_once)):
        read = [head.read(line, text, features) for line, text in chunk]
        predictions = predict(regression, [row for row in read if isinstance(row, Row)])
        for (line, text), row in zip(chunk, read, strict=True):
            if isinstance(row, Rejected):
                yield row
            elif math.isfinite(prediction := next(predictions)):
                yield row, prediction
            else:
                yield Rejected(line, text, "its prediction is too large for a number")


def predict(regression: Any, rows: list[Row]) -> Iterator[float]:
    """Predict in the order of the rows; a number that overflows is infinite or NaN."""
    if not rows:
        return iter(())
    with np.errstate(over="ignore", invalid="ignore"):
        return map(float, regression.predict(np.array([row.numbers for row in rows], dtype=np.float64)))


def write(folder: Path, columns: tuple[str, ...], judged: Iterator[tuple[Row, float] | Rejected]) -> tuple[int, int]:
    """Write both files, also one without rows; give the numbers of rows scored and rejected."""
    folder.mkdir(parents=True, exist_ok=True)
    scored = rejected = 0
    with (
        (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as good,
        (folder / "rejected.csv").open("w", encoding="utf-8", newline="", errors="backslashreplace") as bad,
    ):
        predictions, rejections = csv.writer(good, lineterminator="\n"), csv.writer(bad, lineterminator="\n")
        predictions.writerow((*columns, PREDICTION))
        rejections.writerow(("line", "reason", "row"))
        for verdict in judged:
            if isinstance(verdict, Rejected):
                rejections.writerow((verdict.line, verdict.reason, verdict.text))
                rejected += 1
            else:
                row, prediction = verdict
                predictions.writerow((*row.cells, repr(prediction)))
                scored += 1
    return scored, rejected


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CSV file with the features among its columns")
    parser.add_argument("--model", type=Path, required=True, help="folder that train wrote")
    parser.add_argument("--predictions", type=Path, required=True, help="folder for predictions.csv and rejected.csv")
    asked = parser.parse_args()
    try:
        card = read_card(asked.model)
        head, found = begin(asked.data, card.features)
        regression = load(card)
    except InputError as error:
        sys.exit(f"score: {error}")
    scored, rejected = write(asked.predictions, head.columns, score(regression, card.features, head, found))
    print(f"score: {scored} rows of {asked.data.name} scored, {rejected} rejected")


if __name__ == "__main__":
    main()

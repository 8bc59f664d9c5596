"""Score every CSV file of a folder: each has a folder of its own with predictions.csv and rejected.csv.

A file that cannot be scored at all fails no other: report.json says of each what became of it.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diabetes_csv import InputError
from model_folder import Card, load, read_card
from score import begin, score, write

REPORT = "report.json"


def files(folder: Path) -> list[str]:
    """Name the files of a folder and of those in it, in their order.

    Raises:
        InputError: There is none.
    """
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if not found:
        raise InputError(f"the folder {folder.name} has no files to score.")
    return found


def score_file(data: Path, card: Card, regression: Any, folder: Path) -> dict[str, Any]:
    """Score one file into a folder of its own, and tell what became of it; a file with a fault leaves nothing."""
    try:
        head, found = begin(data, card.features)
        scored, rejected = write(folder, head.columns, score(regression, card.features, head, found))
    except (InputError, OSError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return {"scored": 0, "rejected": 0, "fault": str(error)}
    return {"scored": scored, "rejected": rejected, "fault": ""}


def score_folder(data: Path, model: Path, predictions: Path) -> Iterator[dict[str, Any]]:
    """Score all files, one after the other, and tell what became of each.

    Raises:
        InputError: The model cannot be used, or there are no files.
    """
    card = read_card(model)
    regression = load(card)
    for name in files(data):
        yield {"file": name, **score_file(data / name, card, regression, predictions / name)}


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of CSV files with the features in each")
    parser.add_argument("--model", type=Path, required=True, help="folder that train wrote")
    parser.add_argument("--predictions", type=Path, required=True, help="where a folder for each file goes")
    asked = parser.parse_args()
    told = []
    try:
        for one in score_folder(asked.data, asked.model, asked.predictions):
            told.append(one)
            why = f": {one['fault']}" if one["fault"] else ""
            print(f"score_folder: {one['file']}: {one['scored']} rows scored, {one['rejected']} rejected{why}")
    except InputError as error:
        sys.exit(f"score_folder: {error}")
    asked.predictions.mkdir(parents=True, exist_ok=True)
    (asked.predictions / REPORT).write_text(json.dumps({"files": told}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Test the raw data, take the wanted share of it, and split it into training and test rows."""

import argparse
import random
import sys
from pathlib import Path

from diabetes_csv import InputError, table, write_table

#: One row in five is a test row.
TEST_EVERY = 5
#: Below this a ridge regression on ten features, and its R2, say nothing.
FEWEST_ROWS = 20


def bundled() -> list[tuple[float, ...]]:
    """Read the 442 rows that come with scikit-learn."""
    from sklearn.datasets import load_diabetes  # noqa: PLC0415  # slow to import; not needed when there is a file

    found = load_diabetes()
    return [
        (*map(float, row), float(target))
        for row, target in zip(found.data.tolist(), found.target.tolist(), strict=True)
    ]


def split(count: int, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Choose training and test rows, each in the order of the file.

    With the same seed, the rows of a smaller fraction are among those of a larger one, and a row never changes sides:
    a model trained on a part of the data has not seen a test row of the whole.

    Args:
        count: Rows there are.
        fraction: Share of the rows to use, over 0 and at most 1.
        seed: What the order of choice depends on.

    Raises:
        InputError: The fraction is out of its bounds, or too few rows are left.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction is {fraction}; it must be over 0 and at most 1.")
    order = list(range(count))
    random.Random(seed).shuffle(order)  # noqa: S311  # no secret: it must be the same in every run
    kept = order[: round(count * fraction)]
    if len(kept) < FEWEST_ROWS:
        raise InputError(f"a fraction of {fraction} leaves {len(kept)} of {count} rows; {FEWEST_ROWS} are needed.")
    test = sorted(kept[::TEST_EVERY])
    return sorted(set(kept) - set(test)), test


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="raw CSV file; scikit-learn's diabetes data when absent")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the rows to use, over 0 and at most 1")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--prepared", type=Path, required=True, help="folder for train.csv and test.csv")
    asked = parser.parse_args()
    try:
        rows = table(asked.data) if asked.data else bundled()
        train, test = split(len(rows), asked.fraction, asked.seed)
    except InputError as error:
        sys.exit(f"prepare: {error}")
    asked.prepared.mkdir(parents=True, exist_ok=True)
    write_table(asked.prepared / "train.csv", [rows[index] for index in train])
    write_table(asked.prepared / "test.csv", [rows[index] for index in test])
    print(f"prepare: {len(rows)} rows read, {len(train)} to train on, {len(test)} to test with")


if __name__ == "__main__":
    main()

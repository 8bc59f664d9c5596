"""Test the raw data, take the wanted share of it, and split it into training and test rows.

Each partition is split by itself, so that its rows stay on their side whatever else is in the window.
"""

import argparse
import random
import sys
from pathlib import Path

from diabetes_csv import InputError, table, write_table
from partitions import in_window

#: Features and target.
Values = tuple[float, ...]

#: One row in five is a test row.
TEST_EVERY = 5
#: Below this a ridge regression on ten features, and its R2, say nothing.
FEWEST_ROWS = 20


def bundled() -> list[Values]:
    """Read the 442 rows that come with scikit-learn."""
    from sklearn.datasets import load_diabetes  # noqa: PLC0415  # slow to import; not needed when there is a file

    found = load_diabetes()
    return [
        (*map(float, row), float(target))
        for row, target in zip(found.data.tolist(), found.target.tolist(), strict=True)
    ]


def split(count: int, fraction: float, seed: int, *, fewest: int = FEWEST_ROWS) -> tuple[list[int], list[int]]:
    """Choose training and test rows, each in the order of the file.

    With the same seed, the rows of a smaller fraction are among those of a larger one, and a row never changes sides:
    a model trained on a part of the data has not seen a test row of the whole.

    Args:
        count: Rows there are.
        fraction: Share of the rows to use, over 0 and at most 1.
        seed: What the order of choice depends on.
        fewest: How many rows have to be left.

    Raises:
        InputError: The fraction is out of its bounds, or fewer rows are left.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"fraction is {fraction}; it must be over 0 and at most 1.")
    order = list(range(count))
    random.Random(seed).shuffle(order)  # noqa: S311  # no secret: it must be the same in every run
    kept = order[: round(count * fraction)]
    if len(kept) < fewest:
        raise InputError(f"a fraction of {fraction} leaves {len(kept)} of {count} rows; {fewest} are needed.")
    test = sorted(kept[::TEST_EVERY])
    return sorted(set(kept) - set(test)), test


def divide(found: list[list[Values]], fraction: float, seed: int) -> tuple[list[Values], list[Values]]:
    """Divide each part into training and test rows, and put them together; see `split`.

    Raises:
        InputError: The fraction is out of its bounds, or too few rows are left of all parts together.
    """
    count = sum(map(len, found))
    split(count, fraction, seed)
    train: list[Values] = []
    test: list[Values] = []
    for rows in found:
        ours, theirs = split(len(rows), fraction, seed, fewest=0)
        train += [rows[index] for index in ours]
        test += [rows[index] for index in theirs]
    return train, test


def parts(data: Path | None, partitions: Path | None, *, since: str, until: str) -> list[list[Values]]:
    """Read the raw data, in the parts that are split each by itself.

    Args:
        data: A CSV file that is all of it.
        partitions: A folder with partitions.
        since: Where the window of partitions begins; see `partitions.in_window`.
        until: Where it ends.

    Raises:
        InputError: The data cannot be used, or it is not clear which is meant.
    """
    if partitions is None and (since or until):
        raise InputError("since and until choose among partitions, and there is no folder of them.")
    if data is not None and partitions is not None:
        raise InputError("data and partitions are both given; which of them is meant?")
    if partitions is not None:
        return [table(path) for path in in_window(partitions, since, until)]
    return [table(data) if data is not None else bundled()]


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="raw CSV file; scikit-learn's diabetes data when absent")
    parser.add_argument("--partitions", type=Path, help="folder of CSV files named by date, instead of one file")
    parser.add_argument("--since", default="", help="leave out partitions that begin before, ISO 8601")
    parser.add_argument("--until", default="", help="leave out partitions that begin then or later, ISO 8601")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the rows to use, over 0 and at most 1")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--prepared", type=Path, required=True, help="folder for train.csv and test.csv")
    asked = parser.parse_args()
    try:
        found = parts(asked.data, asked.partitions, since=asked.since, until=asked.until)
        train, test = divide(found, asked.fraction, asked.seed)
    except InputError as error:
        sys.exit(f"prepare: {error}")
    asked.prepared.mkdir(parents=True, exist_ok=True)
    write_table(asked.prepared / "train.csv", train)
    write_table(asked.prepared / "test.csv", test)
    print(f"prepare: {sum(map(len, found))} rows read, {len(train)} to train on, {len(test)} to test with")


if __name__ == "__main__":
    main()

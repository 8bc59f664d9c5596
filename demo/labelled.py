"""Training data that arrives in the demonstration: weekly partitions of scikit-learn's diabetes data, labelled."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs

from demo.patients import FEATURES

#: Where partitions lie in the container of the workspace's default datastore.
FOLDER = "training-data/diabetes"
#: What their distributions are compared with.
REFERENCE = "training-data/reference.csv"
#: Of how many weeks there is data.
WEEKS = 3
TARGET = "target"
#: The column that a new device measures in another unit, and what it makes of the old one: ``factor * old + offset``.
SHIFTED, FACTOR, OFFSET = "bmi", 1.0, 0.12


@attrs.frozen
class Partition:
    """A CSV file with the labelled rows of one week.

    Attributes:
        path: Where in the container it goes.
        content: Its bytes.
        rows: How many rows it has.
    """

    path: str
    content: bytes
    rows: int


def partitions(now: datetime) -> list[Partition]:
    """Cut the data into one partition for each of the weeks before a time, oldest first, rows in their order."""
    rows = _rows()
    bounds = [len(rows) * number // WEEKS for number in range(WEEKS + 1)]
    return [
        _partition(now - timedelta(weeks=WEEKS - number), rows[bounds[number] : bounds[number + 1]])
        for number in range(WEEKS)
    ]


def whole() -> Partition:
    """Make the file that distributions are compared with: all rows."""
    return attrs.evolve(_partition(datetime.now(UTC), _rows()), path=REFERENCE)


def shifted(now: datetime) -> Partition:
    """Make a partition of the day before a time, one column of which is measured in another unit."""
    at = FEATURES.index(SHIFTED)
    rows = [list(row) for row in _rows()]
    for row in rows:
        row[at] = FACTOR * row[at] + OFFSET
    return _partition(now - timedelta(days=1), rows)


def _partition(day: datetime, rows: Sequence[Sequence[float]]) -> Partition:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*FEATURES, TARGET))
    writer.writerows([repr(cell) for cell in row] for row in rows)
    name = f"{FOLDER}/{day.astimezone(UTC):%Y-%m-%d}/part.csv"
    return Partition(path=name, content=text.getvalue().encode(), rows=len(rows))


def _rows() -> list[list[float]]:
    from sklearn.datasets import load_diabetes  # a second that only who needs rows waits

    data = load_diabetes()
    return [
        [*map(float, row), float(target)] for row, target in zip(data.data.tolist(), data.target.tolist(), strict=True)
    ]

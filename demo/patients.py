"""The files that arrive in the demonstration: rows of scikit-learn's diabetes data, without their target."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import attrs

#: The ten features, in the order of scikit-learn's ``load_diabetes``.
FEATURES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


@attrs.frozen
class PatientFile:
    """A CSV file, and what has to become of it.

    Attributes:
        path: Where in the container it goes.
        content: Its bytes.
        good: How many of its rows can be scored.
        bad: How many cannot.
        is_broken: Whether it cannot be scored as a whole.
    """

    path: str
    content: bytes
    good: int
    bad: int = 0
    is_broken: bool = False


def whole(path: str, *, first: int, count: int) -> PatientFile:
    """Make a file of `count` rows in order, from row `first` (0 to 441) of the data on."""
    return PatientFile(path, _csv(_rows(first, count)), good=count)


def half_broken(path: str, *, first: int, count: int) -> PatientFile:
    """Make one in which every other row cannot be scored, each for another reason than the one before."""
    rows = _rows(first, count)
    for number, row in enumerate(rows[1::2]):
        match number % 4:
            case 0:
                row[2] = ""
            case 1:
                row[3] = "n/a"
            case 2:
                row[5] = "1e999"
            case _:
                row.pop()
    bad = len(rows[1::2])
    return PatientFile(path, _csv(rows), good=count - bad, bad=bad)


def picture(path: str) -> PatientFile:
    """Make a file that is no CSV at all, whatever it is called: the beginning of an image."""
    return PatientFile(path, b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64), good=0, is_broken=True)


def arriving_files() -> tuple[PatientFile, ...]:
    """Make the demonstration's, in the order in which they arrive; the second one is replaced by the last."""
    return (
        whole("patients/ward-a.csv", first=0, count=40),
        whole("patients/ward-b.csv", first=40, count=60),
        half_broken("patients/ward-c.csv", first=100, count=24),
        picture("patients/ward-d.csv"),
        whole("patients/ward-b.csv", first=40, count=50),
    )


def _rows(first: int, count: int) -> list[list[str]]:
    from sklearn.datasets import load_diabetes  # a second that only who needs rows waits

    return [[repr(float(cell)) for cell in row] for row in load_diabetes().data[first : first + count]]


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FEATURES)
    writer.writerows(rows)
    return text.getvalue().encode()

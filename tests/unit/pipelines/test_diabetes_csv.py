from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diabetes_csv import FEATURES, Header, InputError, Rejected, Row, number, start, table, write_table

HEADER = Header(FEATURES)
ones = ["1"] * len(FEATURES)

finite = st.floats(allow_nan=False, allow_infinity=False)
good_cells = st.one_of(finite.map(repr), st.integers(-999, 999).map(str), finite.map(lambda value: f" {value!r} "))
any_cells = st.one_of(
    st.sampled_from(["1e999", "nan", "1_0", ""]),
    good_cells,
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=6),
)
ten_cells = st.lists(good_cells, min_size=10, max_size=10)
texts = st.one_of(
    ten_cells.map(",".join),
    st.tuples(ten_cells, st.integers(0, 9), any_cells).map(
        lambda drawn: ",".join([*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :]])
    ),
    st.lists(any_cells, min_size=8, max_size=12).map(",".join),
)


@given(ten_cells)
def test_a_line_of_ten_finite_numbers_is_a_row_with_those_numbers(cells: list[str]) -> None:
    row = HEADER.read(7, ",".join(cells), FEATURES)

    assert row == Row(7, tuple(cells), tuple(float(cell) for cell in cells))


@given(texts)
def test_a_line_is_either_a_row_of_finite_numbers_or_rejected_with_its_text_and_a_reason(text: str) -> None:
    read = HEADER.read(2, text, FEATURES)

    if isinstance(read, Row):
        assert len(read.cells) == 10
        assert all(map(math.isfinite, read.numbers))
    else:
        assert read.text == text
        assert read.reason


@given(st.text(max_size=12))
def test_what_is_read_as_a_number_is_what_python_reads_too(cell: str) -> None:
    found = number(cell)

    assert isinstance(found, str) or found == float(cell)


@pytest.mark.parametrize(
    "cell", ["nan", "inf", "-Infinity", "1_000", "0x10", "١٢", "1,5", "12 3", "1e999", "", "  ", "."]
)
def test_what_is_no_finite_number_is_not_read_as_one(cell: str) -> None:
    assert isinstance(number(cell), str)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (",".join(["", *ones[1:]]), "age is empty"),
        (",".join([*ones[:2], "tall", *ones[3:]]), "bmi is not a number: 'tall'"),
        (",".join([*ones[:9], "1e999"]), "s6 is too large: '1e999'"),
        (",".join(ones[:9]), "9 instead of 10 cells"),
        (",".join([*ones, "1"]), "11 instead of 10 cells"),
        (",".join([*ones[:9], '"1']), "it cannot be read as CSV (unexpected end of data)"),
        (",".join([*ones[:9], "\udcff"]), "it is not UTF-8"),
        (",".join([*ones[:9], "x" * 50]), f"s6 is not a number: '{'x' * 40}…'"),
    ],
)
def test_a_rejection_says_what_is_wrong(text: str, reason: str) -> None:
    assert HEADER.read(2, text, FEATURES) == Rejected(2, text, reason)


@given(st.lists(st.tuples(*[finite] * 11), min_size=1, max_size=5))
def test_a_written_table_is_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    write_table(path, rows)

    assert table(path) == rows


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"\xef\xbb\xbf\r\na,b\r\n1,2\r\n\r\n3,4")

    head, found = start(path, ("b",))

    assert head == Header(("a", "b"))
    assert list(found) == [(3, "1,2"), (5, "3,4")]


def test_a_table_tells_how_many_rows_are_unusable_and_which_is_the_first(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    good = ",".join([*ones, "5"])
    path.write_text(f"{','.join(FEATURES)},target\n{good}\n{good},\n{good[:-1]}nan\n")

    with pytest.raises(
        InputError, match=r"data\.csv has 2 unusable of 3 rows; the first is line 3: 12 instead of 11 cells"
    ):
        table(path)

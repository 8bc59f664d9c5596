import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.quality import records
from airflow_azureml.quality.reading import Reading, UnreadableError, batches, parts
from airflow_azureml.quality.records import BLOCK_BYTES, blocks
from airflow_azureml.quality.values import DTYPES, inferred, read_as

cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from('",\n;'), max_size=6)


def _table(path: Path, content: bytes | str, form: str = "csv", **how: Any) -> pl.DataFrame:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return pl.concat(batches(path, form, **how), how="vertical_relaxed")


def _fault(path: Path, content: bytes | str, form: str = "csv", **how: Any) -> str:
    with pytest.raises(UnreadableError) as raised:
        _table(path, content, form, **how)
    assert str(path) in str(raised.value)
    return str(raised.value).removeprefix(f"{path}: ")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table"


def test_texts_become_what_all_of_a_column_are(file: Path) -> None:
    content = (
        "i,f,b,d,t,s\n1,1.5,true,2026-01-01,2026-01-01T10:00:00Z,x\n2,-inf,False,2026-01-02,2026-01-01 11:30,\n,,,,,7\n"
    )

    table = _table(file, content)

    assert table.rows() == [
        (1, 1.5, True, date(2026, 1, 1), datetime(2026, 1, 1, 10, tzinfo=UTC), "x"),
        (2, float("-inf"), False, date(2026, 1, 2), datetime(2026, 1, 1, 11, 30, tzinfo=UTC), None),
        (None, None, None, None, None, "7"),
    ]


def test_json_lines_are_read_with_the_keys_of_all_rows(file: Path) -> None:
    content = '{"a": 1, "b": "ü"}\n\n{"a": 2.5, "c": {"d": [1]}}\n{"b": null}\n'

    table = _table(file, content, "jsonl")

    assert table.columns == ["a", "b", "c"]
    assert table["a"].to_list() == [1.0, 2.5, None]
    assert table["b"].to_list() == ["ü", None, None]
    assert json.loads(table["c"][1]) == {"d": [1]}


def test_parquet_keeps_its_types(file: Path) -> None:
    stored = pl.DataFrame({"a": [1, None], "b": [[1], []], "c": ["x", "y"]}, schema_overrides={"c": pl.Categorical})
    stored.write_parquet(file)

    (table,) = batches(file, "parquet")

    assert table.schema == stored.schema
    assert table.equals(stored)


def test_declared_types_are_kept_to(file: Path) -> None:
    table = _table(file, "a,b\n1,1\n2,2\n", types={"a": pl.String(), "b": pl.Float64()})

    assert table.schema == {"a": pl.String, "b": pl.Float64}


def test_great_whole_numbers_are_exact(file: Path) -> None:
    numbers = [2**53 + 1, 10**20, -(10**30)]

    assert _table(file, "a\n" + "\n".join(map(str, numbers)))["a"].to_list() == numbers


def test_whole_numbers_may_be_padded_or_written_with_a_point_where_they_are_declared(file: Path) -> None:
    content = "a,b\n 41,41.0\n42 ,42\n"

    assert _table(file, content).schema == {"a": pl.Int64, "b": pl.Float64}
    assert _table(file, content, types={"b": pl.Int64()}).rows() == [(41, 41), (42, 42)]


def test_numbers_may_be_whole_at_first(file: Path) -> None:
    content = "a\n" + "1\n" * (BLOCK_BYTES // 2) + "2.5\n"

    frames = list(batches((file.write_text(content), file)[1], "csv"))

    assert [frame["a"].dtype for frame in frames] == [pl.Int64, pl.Float64]
    assert sum(frame.height for frame in frames) == BLOCK_BYTES // 2 + 1


def test_quotes_hide_separators_quotes_and_ends_of_lines(file: Path) -> None:
    assert _table(file, 'a,b\r\n"x,\n""y""",2\r\n"",3\r\n').rows() == [('x,\n"y"', 2), ("", 3)]


def test_texts_that_mean_nothing_may_be_named(file: Path) -> None:
    assert _table(file, "a,b\nNA,1\n2,-\n", null_values=["NA", "-"]).rows() == [(None, 1), (2, None)]


def test_a_header_alone_is_a_table_without_rows(file: Path) -> None:
    (table,) = batches((file.write_text("a,b\n"), file)[1], "csv")

    assert (table.columns, table.height) == (["a", "b"], 0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "It is empty; not even a header is there."),
        (b"a,b\n1,2\n1\n3,4\n", "Row 2 has 1 fields, and the header has 2."),
        (b"a,b\n1,2\n1,2,3\n", "Row 2 has 3 fields, and the header has 2."),
        (b"a,b\n1\n1,2,3\n", "Row 1 has 1 fields, and the header has 2."),
        (b"a,b\n1,2\n\n3,4\n", "Row 2 has 1 fields, and the header has 2."),
        (b"a,a,b\n1,2,3\n", "The header names 'a' more than once."),
        (b"a,b\r1,2\r3,4\r", "The header is empty, or lines end with a carriage return alone."),
        (b"\na,b\n1,2\n", "The header is empty, or lines end with a carriage return alone."),
        (b"a;b\n1;2\n", "The header has one column, 'a;b': is ';' the separator?"),
        (b"a,b\n1,x\n2,\xff\n", "Row 2 is no text in UTF-8: byte 0xff."),
        (b"a,\xe4\n1,x\n", "The header is no text in UTF-8: byte 0xe4."),
        ("a\nü\n".encode("utf-16"), "It is text in UTF-16; write it in UTF-8."),
        (b"\x1f\x8b\x08\x00", "It is compressed by gzip; decompress it first."),
        (b"PAR1", "It is a Parquet file; say that format."),
        (b'a,b\n1,"2\n3,4\n', "A quote is open at the end of the file."),
        (b'a,b\n1,x"2\n3"\n', "From row 1 on it is no CSV"),
    ],
)
def test_what_is_no_csv_is_told_with_its_row(file: Path, content: bytes, told: str) -> None:
    assert told in _fault(file, content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "It is empty; there is no row."),
        (b'{"a": 1}\n\n{"a": }\n', "Row 2 is no JSON: "),
        (b'{"a": 1}\n[1]\n', "Row 2 is no JSON object."),
        (b'{"a": NaN}\n', "Row 1 is no JSON: NaN is not among its numbers; write null."),
        (b'{"a": "\xff"}\n', "Row 1 is no JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"[" * 100_000 + b"\n", "Row 1 is no JSON: "),
    ],
)
def test_what_is_no_json_is_told_with_its_row(file: Path, content: bytes, told: str) -> None:
    assert told in _fault(file, content, "jsonl")


def test_what_is_no_parquet_is_told(file: Path) -> None:
    made = io.BytesIO()
    pl.DataFrame({"a": list(range(1000))}).write_parquet(made)

    assert _fault(file, b"", "parquet") == "It is empty."
    assert "It is no parquet" in _fault(file, b"a,b\n1,2\n3,4\n", "parquet")
    assert "It is no parquet" in _fault(file, made.getvalue()[:-9], "parquet")


@pytest.mark.parametrize("at", [-700, -333])
def test_a_parquet_file_that_makes_polars_panic_is_told_like_any_other(file: Path, at: int) -> None:
    made = io.BytesIO()
    pl.DataFrame({"a": list(range(20)), "b": ["x", "y"] * 10}).write_parquet(made)
    content = bytearray(made.getvalue())
    content[at] ^= 0xFF

    assert _fault(file, bytes(content), "parquet").startswith("It is no parquet: ")


def test_a_value_of_another_type_is_told_with_its_row(file: Path) -> None:
    told = "row 2, column 'a': 'x' is not a whole number, as the others are."

    assert _fault(file, "a\n1\nx\n", types={"a": pl.Int64()}) == told


def test_a_missing_file_and_an_unknown_format_are_no_matter_of_the_table(file: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        list(batches(file, "csv"))
    with pytest.raises(ConfigError, match="No format is called 'xlsx'; there are csv, parquet, jsonl"):
        list(batches(file, "xlsx"))


def test_values_of_the_wrong_type_are_counted_where_they_are_asked_for(file: Path) -> None:
    file.write_text("a,b\n1,x\ny,2\n,\n1.5,3\n")

    (part,) = parts(file, "csv", Reading(types={"a": pl.Int64(), "b": pl.Int64()}))

    assert part.frame.rows() == [(1, None), (None, 2), (None, None), (None, 3)]
    assert part.misfits["a"].to_list() == [False, True, False, True]
    assert part.examples == {"a": ("'y'", "'1.5'"), "b": ("'x'",)}
    assert part.wanted["a"] == "a whole number"


def test_stored_values_are_taken_where_they_are_as_good(file: Path) -> None:
    stored = pl.DataFrame(
        {"a": [1.0, 2.5, float("nan")], "b": ["1", "2", "3"], "c": [1, 2, 3], "d": [date(2026, 1, 1)] * 3}
    )
    stored.write_parquet(file)
    types = {"a": pl.Int64(), "b": pl.Float64(), "c": pl.Float64(), "d": DTYPES["time"]}  # type: ignore[index]  # a word

    (part,) = parts(file, "parquet", Reading(types=types))

    assert part.frame["a"].to_list() == [1, None, None]
    assert {name: rows.to_list() for name, rows in part.misfits.items()} == {"a": [False, True, True], "b": [True] * 3}
    assert part.frame["d"][0] == datetime(2026, 1, 1, tzinfo=UTC)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=12), st.integers(8, 64))
def test_blocks_of_any_size_hold_whole_records_and_lose_nothing(rows: list[list[str]], size: int) -> None:
    table = pl.DataFrame(rows, schema=["a", "b"], orient="row")
    content = table.write_csv(quote_style="always").encode()

    found = list(_blocks(content, size))

    # Blank lines at the end are left out, and there are none.
    assert b"".join(block.data for block in found) == content
    assert sum(len(block.ends()) for block in found) == len(rows) + 1
    assert all((block.fields(",") == 2).all() for block in found)


def _blocks(content: bytes, size: int) -> Any:
    class Small(io.BytesIO):
        def read(self, _: int | None = -1, /) -> bytes:
            return super().read(size)

    return blocks(Small(content), quoted=True)


def test_a_record_without_an_end_is_given_up() -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return b'"' + b"x" * ((size or 0) - 1)

    with pytest.raises(UnreadableError, match="After 64 MB a record has no end"):
        list(records.blocks(Endless(), quoted=True))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False),
            st.dates(date(1, 1, 1)),
            st.booleans(),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_what_is_written_is_read_back(values: list[Any]) -> None:
    texts = pl.Series([str(value) for value in values])

    read = read_as(texts, inferred(texts))

    if len({type(value) for value in values}) == 1:
        assert read.to_list() == values
    assert read.null_count() == 0


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60), st.sampled_from(["csv", "jsonl", "parquet"]), st.integers(0, 200), st.integers(0, 8))
def test_any_bytes_are_a_table_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, added: bytes, form: str, at: int, dropped: int
) -> None:
    file = tmp_path_factory.getbasetemp() / f"any.{form}"
    sound = pl.DataFrame({"a": [1, 2, 3], "b": ['x"', "y,", None]})
    made = io.BytesIO()
    writing: dict[str, Callable[[io.BytesIO], object]] = {
        "csv": sound.write_csv,
        "jsonl": sound.write_ndjson,
        "parquet": sound.write_parquet,
    }
    writing[form](made)
    content = made.getvalue()
    file.write_bytes(content[:at] + added + content[at + dropped :])
    try:
        for frame in batches(file, form):
            assert isinstance(frame, pl.DataFrame)
    except AzureMLError as error:
        assert str(file) in str(error)  # noqa: PT017  # either is right

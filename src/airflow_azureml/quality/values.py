"""What the values of a column are: texts read as numbers, dates and the like, and stored values of another type."""

from collections.abc import Callable, Mapping

import polars as pl

from airflow_azureml.core.data_tests import Type

DataType = pl.DataType | type[pl.DataType]

#: Points in time, as they are here.
TIME = pl.Datetime("us", "UTC")
DTYPES: Mapping[Type, DataType] = {
    Type.INTEGER: pl.Int64(),
    Type.NUMBER: pl.Float64(),
    Type.TEXT: pl.String(),
    Type.BOOLEAN: pl.Boolean(),
    Type.DATE: pl.Date(),
    Type.TIME: TIME,
}
#: What texts of ISO 8601 look like, with an offset and without.
_WITH_OFFSET = "%Y-%m-%dT%H:%M:%S%.f%#z"
_WITHOUT_OFFSET = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
#: Beyond it, not every whole number is among the floating-point numbers.
_EXACT = 2.0**53
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def read_as(texts: pl.Series, wanted: DataType) -> pl.Series:
    """Read texts as values of a type; what is none of it is null, and so is an empty text that is to be no text."""
    if wanted == pl.String:
        return texts
    read = _READERS[_family(wanted)]
    texts = _kept(texts, texts != "")
    found = read(texts, wanted)
    if found.null_count() == texts.null_count():
        return found
    # What is left may be padded, or a whole number that was written as 41.0.
    left = _kept(texts, found.is_null()).str.strip_chars()
    again = read(left, wanted)
    if _family(wanted) == "integer" and again.null_count() > texts.null_count():
        again = pl.select(pl.coalesce(again, taken_as(left.cast(pl.Float64, strict=False), pl.Int64()))).to_series()
    if again.null_count() == len(again):
        return found
    return pl.select(pl.coalesce(found, again)).to_series().alias(texts.name)


def taken_as(values: pl.Series, wanted: DataType) -> pl.Series:
    """Take stored values as ones of a type, where theirs is as good; otherwise all are null."""
    stored = values.dtype
    if stored == wanted or stored == pl.Null:  # noqa: PLR1714  # types are equal to their classes, and hash otherwise
        return values.cast(wanted)
    taken: pl.Series | None = None
    match _family(wanted):
        case "integer" if stored.is_integer():
            taken = values
        case "integer" if stored.is_float():
            taken = _kept(values, (values == values.floor()) & (values.abs() <= _EXACT)).cast(pl.Int64, strict=False)
        case "number" if stored.is_numeric():
            taken = values.cast(pl.Float64, strict=False)
        case "text" if stored.base_type() in {pl.Categorical, pl.Enum}:
            taken = values.cast(pl.String)
        case "time" if stored == pl.Date:
            taken = values.cast(TIME)
        case "time" if isinstance(stored, pl.Datetime):
            at = values if stored.time_zone else values.dt.replace_time_zone("UTC")
            taken = at.dt.convert_time_zone("UTC").cast(TIME)
    return pl.Series(values.name, [None], dtype=wanted).new_from_index(0, len(values)) if taken is None else taken


def _kept(values: pl.Series, mask: pl.Series) -> pl.Series:
    """Make null what is not in the mask."""
    return pl.select(pl.when(mask).then(values)).to_series().alias(values.name)


def inferred(texts: pl.Series) -> DataType:
    """Tell what texts are, all of them; without any they are texts."""
    values = texts.drop_nulls()
    values = values.filter(values != "").str.strip_chars()
    if not len(values):
        return pl.String()
    for wanted in (pl.Int64(), pl.Float64(), pl.Boolean(), pl.Date(), TIME):
        if not _READERS[_family(wanted)](values, wanted).null_count():
            return wanted
    return pl.String()


def is_wider(texts: pl.Series) -> bool:
    """Tell whether what was taken for whole numbers is made of numbers, some of them not whole."""
    return not read_as(texts.drop_nulls(), pl.Float64()).null_count()


def named(dtype: DataType) -> str:
    """Name a type for people."""
    words = {"integer": "a whole number", "number": "a number", "text": "a text", "boolean": "true or false"}
    return {**words, "date": "a date", "time": "a time"}.get(_family(dtype), f"of type {dtype}")


def _family(dtype: DataType) -> str:
    found = dtype if isinstance(dtype, pl.DataType) else dtype()
    if found.is_integer():
        return "integer"
    if found.is_numeric():
        return "number"
    families = {pl.String: "text", pl.Boolean: "boolean", pl.Date: "date", pl.Datetime: "time"}
    return families.get(found.base_type(), "other")


def _integers(texts: pl.Series, wanted: DataType) -> pl.Series:
    """Read whole numbers; a batch with great ones has them in 128 bits."""
    read = texts.cast(wanted, strict=False)
    if wanted == pl.Int64 and read.null_count() > texts.null_count():
        wide = texts.cast(pl.Int128, strict=False)
        return wide if wide.null_count() < read.null_count() else read
    return read


def _numbers(texts: pl.Series, wanted: DataType) -> pl.Series:
    return texts.cast(wanted, strict=False)


def _booleans(texts: pl.Series, _: DataType) -> pl.Series:
    return texts.str.to_lowercase().replace_strict(_TRUTHS, default=None, return_dtype=pl.Boolean)


def _dates(texts: pl.Series, _: DataType) -> pl.Series:
    return texts.str.to_date("%Y-%m-%d", strict=False)


def _times(texts: pl.Series, _: DataType) -> pl.Series:
    texts = texts.str.replace(" ", "T", literal=True)
    read = texts.str.to_datetime(_WITH_OFFSET, time_unit="us", strict=False).dt.convert_time_zone("UTC")
    for form in _WITHOUT_OFFSET:
        if read.null_count() == texts.null_count():
            break
        plain = texts.str.to_datetime(form, time_unit="us", strict=False).dt.replace_time_zone("UTC")
        read = pl.select(pl.coalesce(read, plain)).to_series()
    return read.alias(texts.name)


def _others(texts: pl.Series, wanted: DataType) -> pl.Series:
    return texts.cast(wanted, strict=False)


_READERS: Mapping[str, Callable[[pl.Series, DataType], pl.Series]] = {
    "integer": _integers,
    "number": _numbers,
    "boolean": _booleans,
    "date": _dates,
    "time": _times,
    "other": _others,
}

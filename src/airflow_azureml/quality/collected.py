"""What Azure ML's data collector writes, as tables: JSON lines, each with the rows of one request.

Source: https://learn.microsoft.com/azure/machine-learning/how-to-collect-production-data, "Store collected data in a
blob": an event in the form of CloudEvents 1.0, with ``data``, a list of rows, and ``correlationid``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from airflow_azureml.quality import reading

#: What is added to each row, unless the rows have such a column: the request's id, and the row's place in it.
REQUEST, ROW = "correlationid", "row"
#: Rows of a batch.
AT_ONCE = 20_000


def batches(path: Path, format_name: str) -> Iterator[pl.DataFrame]:
    """Read a file of scoring logs in batches; texts of CSV stay as they are written.

    Args:
        path: The file.
        format_name: One of `airflow_azureml.core.scoring_logs.FORMATS`.

    Raises:
        UnreadableError: It is none; the message names the row.
    """
    if format_name == "collected":
        return _collected(path)
    if format_name == "csv":
        return reading.batches(path, format_name, types=_texts(path))
    return reading.batches(path, format_name)


def typed_batches(path: Path, format_name: str) -> Iterator[pl.DataFrame]:
    """Read likewise, with numbers as numbers, all batches with the same columns."""
    if format_name == "collected":
        return _collected(path)
    return reading.batches(path, format_name)


def _texts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        header = file.readline()
    names = pl.read_csv(header, infer_schema=False).columns if header.strip() else []
    return dict.fromkeys(names, pl.String())


def _collected(path: Path) -> Iterator[pl.DataFrame]:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                rows += _rows(line, f"{path}: row {number}")
            if len(rows) >= AT_ONCE:
                yield pl.DataFrame(rows, infer_schema_length=None, strict=False)
                rows = []
    if rows:
        yield pl.DataFrame(rows, infer_schema_length=None, strict=False)


def _rows(line: str, doing: str) -> list[dict[str, Any]]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise reading.UnreadableError(f"{doing} is no JSON: {error}.") from error
    found = event.get("data") if isinstance(event, dict) else None
    if isinstance(event, dict) and found is None and event.get("dataref"):
        raise reading.UnreadableError(
            f"{doing} has a dataref: its request was too large for the collector to log its rows with it."
        )
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise reading.UnreadableError(f"{doing} has no rows in 'data', as the collector writes of a data frame.")
    request = str(event.get(REQUEST) or "")
    return [{REQUEST: request, ROW: place, **each} for place, each in enumerate(found)]

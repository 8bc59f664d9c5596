"""The losses of single rows: read from whatever a pipeline wrote, and paired by key or refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_azureml.errors import ProtocolError
from airflow_azureml.quality.bootstrap import Resampling, interval
from airflow_azureml.quality.losses import LossesFile, differences

SMALL = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _file(folder: Path, whose: str, content: str | bytes | pl.DataFrame, *, ending: str = "csv") -> LossesFile:
    file = folder / f"{whose}.{ending}"
    if isinstance(content, pl.DataFrame):
        content.write_parquet(file) if ending == "parquet" else content.write_csv(file)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return LossesFile(file=file, whose=f"the {whose}'s losses", column="loss", key="row")


def _differences(folder: Path, ours: Any, theirs: Any, **more: Any) -> list[float]:
    found = differences(_file(folder, "challenger", ours, **more), _file(folder, "champion", theirs))
    return [float(each) for each in found]


def test_losses_are_paired_by_key_whatever_stands_beside_them(tmp_path: Path) -> None:
    ours = "fold,loss,row\n1,4,b\n1,2,a\n2,9,c\n"
    theirs = "row,loss\na,1\nc,10\nb,1\n"

    assert _differences(tmp_path, ours, theirs) == [1, 3, -1]


def test_a_number_in_parquet_is_the_key_that_is_written_so_in_csv(tmp_path: Path) -> None:
    ours = pl.DataFrame({"row": [10, 9], "loss": [3, 5]})

    assert _differences(tmp_path, ours, "row,loss\n9,1\n10,1\n", ending="parquet") == [2, 4]


@SMALL
@given(
    losses=st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=30), order=st.randoms()
)
def test_the_interval_does_not_depend_on_the_order_of_the_rows(
    tmp_path: Path, losses: list[tuple[float, float]], order: Any
) -> None:
    frames = [
        pl.DataFrame(
            {"row": [f"row {number}" for number in range(len(losses))], "loss": [pair[who] for pair in losses]}
        )
        for who in (0, 1)
    ]
    shuffled = [frame[order.sample(range(len(losses)), len(losses))] for frame in frames]

    found = [
        interval(
            differences(_file(tmp_path, "challenger", ours), _file(tmp_path, "champion", theirs)),
            Resampling(resamples=100),
        )
        for ours, theirs in (frames, shuffled)
    ]

    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("row,loss\na,1\nc,2\n", "not of the same rows: of 2 and 2 keys, 1 only in the challenger's losses, 1 only in"),
        ("row,loss\na,1\n", "of 1 and 2 keys, 1 only in the champion's losses"),
        ("row,loss\na,1\nb,2\na,3\n", "of 3 rows 1 have the key of another, column 'row'"),
        ("row,loss\na,1\n,2\n", "of 2 rows 1 have no key"),
        ("row,loss\na,NaN\nb,2\n", "1 of 2 are missing or no finite numbers"),
        ("row,loss\na,-inf\nb,2\n", "1 of 2 are missing or no finite numbers"),
        ("row,loss\na,\nb,2\n", "1 of 2 are missing or no finite numbers"),
        ("row,loss\na,1\nb,much\n", "cannot be read: conversion from `str` to `f64` failed"),
        ("row,error\na,1\nb,2\n", "lack the column loss; there are row, error"),
        ("row,loss\n", "have no rows"),
        ("", "cannot be read"),
        (b"\x00\xff\xfe\x01", "lack the column row, loss"),
    ],
)
def test_losses_that_cannot_be_compared_are_refused_with_the_counts(
    tmp_path: Path, content: str | bytes, told: str
) -> None:
    with pytest.raises(ProtocolError, match=told):
        _differences(tmp_path, content, "row,loss\na,1\nb,2\n")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(40) + b"PAR1", b"row,loss\na,1\n"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ProtocolError, match="The challenger's losses cannot be read"):
        _differences(tmp_path, content, "row,loss\na,1\nb,2\n", ending="parquet")


def test_parquet_that_was_damaged_on_its_way_is_read_right_or_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    whole = pl.DataFrame({"row": ["a", "b"], "loss": [3.0, 5.0]})
    content = _file(tmp_path, "whole", whole, ending="parquet").file.read_bytes()
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= random.integers(1, 256)
        try:
            found = _differences(tmp_path, bytes(damaged), "row,loss\na,1\nb,1\n", ending="parquet")
        except ProtocolError:
            refused += 1
        else:
            assert all(math.isfinite(each) for each in found)

    assert refused > 20

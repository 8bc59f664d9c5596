"""How much memory it takes to test 2 GB of data, as CSV and as Parquet, beside pandas and pandera.

The file has twenty columns: whole numbers that must be unique, numbers within bounds, texts of a few values, times.
The tests are a type, bounds, allowed values and uniqueness of one column, as `airflow_azureml.quality` and as pandera's
own schema for pandas have them. Ours also makes the profile of all columns and the SHA-256 of the file.

The peer reads a file at once, so that it is given a smaller one, of the same columns; its memory is told for each GB of
file, and so is ours. Each run is a process of its own, which tells its peak (VmHWM), the interpreter and all libraries
included. `BENCH_BYTES` and `BENCH_PEER_BYTES` set other sizes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.report import Report

BYTES, PEER_BYTES = (
    int(os.environ.get("BENCH_BYTES", "2000000000")),
    int(os.environ.get("BENCH_PEER_BYTES", "500000000")),
)
MOST_MB = 500
_ROWS = 200_000
SPEC = """\
schema: 1
columns:
  id: {type: integer, unique: true}
  x0: {type: number, at_least: -10, at_most: 10}
  x1: {type: number, nullable: true, nulls_at_most: 0.1}
  colour: {allowed: [red, green, "blue, dark"]}
  seen: {type: time}
freshness: {within: 26h, column: seen}
"""
_PEAK = """
from pathlib import Path
(line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM")]
print(line.split()[1])
"""
_OURS = f"""
import sys
from airflow_azureml.quality.__main__ import main
status = main(sys.argv[1:])
{_PEAK}
sys.exit(status)
"""
_PEER = f"""
import sys
import pandas as pd
import pandera.pandas as pa
schema = pa.DataFrameSchema({{
    "id": pa.Column(int, unique=True),
    "x0": pa.Column(float, pa.Check.in_range(-10, 10)),
    "x1": pa.Column(float, nullable=True),
    "colour": pa.Column(str, pa.Check.isin(["red", "green", "blue, dark"])),
    "seen": pa.Column(pd.DatetimeTZDtype("us", "UTC"), coerce=True),
}})
table = schema.validate(pd.read_csv(sys.argv[1]), lazy=True)
assert table["seen"].max().year == 2026
print("accepted")
{_PEAK}
"""


def measure() -> Report:
    """Test both files, and let the peer test its own."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as named:
        folder = Path(named)
        spec = folder / "tests.yaml"
        spec.write_text(SPEC)
        peers = _csv(folder / "peer.csv", PEER_BYTES)
        peer = _run(_PEER, str(peers))
        peer |= {"gb": peers.stat().st_size / 1e9}
        ours = {}
        for form, write in (("csv", _csv), ("parquet", _parquet)):
            path = write(folder / f"table.{form}", BYTES)
            ours[form] = _run(_OURS, str(spec), str(path), "--out", str(folder), "--now", "2026-01-02")
            ours[form] |= {"gb": path.stat().st_size / 1e9}
            path.unlink()
    most = max(one["peak_mb"] for one in ours.values())
    ratio = (peer["peak_mb"] / peer["gb"]) / (ours["csv"]["peak_mb"] / ours["csv"]["gb"])
    return Report(
        benchmark="data_tests",
        ours=most,
        peer=peer["peak_mb"],
        ratio=ratio,
        unit=f"MB at the peak, ours for {BYTES / 1e9:g} GB, pandas and pandera for {PEER_BYTES / 1e9:g} GB of CSV",
        goal=f"at most {MOST_MB} MB; ratio: the peer's MB for each GB of CSV / ours",
        ok=most <= MOST_MB,
        beside={
            "peak_mb": {form: round(one["peak_mb"]) for form, one in ours.items()},
            "gb": {form: round(one["gb"], 2) for form, one in ours.items()},
            "wall_s": {form: round(one["wall_s"], 1) for form, one in ours.items()},
            "wall_s_peer": round(peer["wall_s"], 1),
            "s_for_each_gb": round(ours["csv"]["wall_s"] / ours["csv"]["gb"], 1),
            "s_for_each_gb_peer": round(peer["wall_s"] / peer["gb"], 1),
        },
    )


def _run(program: str, *arguments: str) -> dict[str, float]:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True)
    *_, sentence, peak = ["", *done.stdout.strip().split("\n")]
    if done.returncode or "accepted" not in sentence:
        raise RuntimeError(f"the tests did not end well: {json.dumps(done.stdout[-500:])} {done.stderr[-2000:]}")
    return {"peak_mb": int(peak) / 1000, "wall_s": time.perf_counter() - began}


def _table(number: int) -> pl.DataFrame:
    rng = np.random.default_rng(number)
    numbers = {f"x{column}": rng.standard_normal(_ROWS).round(6) for column in range(17)}
    return pl.DataFrame(
        {
            "id": np.arange(number * _ROWS, (number + 1) * _ROWS),
            **numbers,
            "colour": rng.choice(["red", "green", "blue, dark"], _ROWS),
            "seen": np.full(_ROWS, "2026-01-01T10:00:00Z"),
        }
    )


def _csv(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        number = 0
        while file.tell() < size:
            _table(number).write_csv(file, include_header=number == 0)
            number += 1
    return path


def _parquet(path: Path, size: int) -> Path:
    """Write it uncompressed, in row groups as large as pandas writes them."""
    parts: list[Path] = []
    written = 0
    while written < size:
        part = path.with_name(f"part-{len(parts)}.parquet")
        table = _table(len(parts)).with_columns(pl.col("seen").str.to_datetime("%Y-%m-%dT%H:%M:%S%#z", time_unit="us"))
        table.write_parquet(part, compression="uncompressed")
        written += part.stat().st_size
        parts.append(part)
    pl.scan_parquet(parts).sink_parquet(path, compression="uncompressed", row_group_size=1_048_576)
    for part in parts:
        part.unlink()
    return path

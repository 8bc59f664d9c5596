"""What an interval costs: 1,000 resamples of the differences of 1,000,000 rows, against scipy's bootstrap.

The peer is ``scipy.stats.bootstrap`` with the same data in the same process, in batches of one resample: more at
once would take more memory. It is measured with fewer resamples, and its time counted for as many as ours. Both
have to find the same standard error. Beside it: what it takes to read the two files of losses and to pair them by key,
and the most memory that the process had until then, this script's own data included.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats  # type: ignore[import-untyped]  # it has no types

from airflow_azureml.quality.bootstrap import Resampling, interval
from airflow_azureml.quality.losses import LossesFile, differences
from benchmarks.report import Report

ROWS, RESAMPLES, PEERS = 1_000_000, 1_000, 50
LEAST_RATIO, MOST_S = 4.0, 10.0
#: Of a normal mean: how many standard errors a 95 % interval is wide.
_WIDTH = 3.92
#: What chance makes of a standard error of so few resamples, three times; share.
_ALIKE = 0.5


def measure() -> Report:
    """Compute both, one after the other; times are the processor's, so that a busy machine changes little."""
    random = np.random.default_rng(1)
    losses = random.normal(size=(2, ROWS)) ** 2
    read_s, paired = _read(losses)
    began, clock = time.process_time(), time.monotonic()
    found = interval(paired, Resampling(resamples=RESAMPLES))
    ours_s, wall_s = time.process_time() - began, time.monotonic() - clock
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    theirs = stats.bootstrap((paired,), np.mean, n_resamples=PEERS, batch=1, method="percentile", rng=1)
    peer_s = (time.process_time() - began) / PEERS * RESAMPLES
    error = (found.high - found.low) / _WIDTH
    alike = abs(float(theirs.standard_error) / error - 1) < _ALIKE
    ratio = peer_s / ours_s
    return Report(
        benchmark="bootstrap",
        ours=ours_s,
        peer=peer_s,
        ratio=ratio,
        unit=f"s of one core for {RESAMPLES} resamples of {ROWS} rows",
        goal=f"scipy's / ours >= {LEAST_RATIO:.0f}, and ours <= {MOST_S:.0f} s",
        ok=ratio >= LEAST_RATIO and ours_s <= MOST_S and alike,
        beside={
            "wall_s": round(wall_s, 2),
            "read_and_pair_s": round(read_s, 2),
            "peak_mb": round(peak_mb),
            "peer_resamples": PEERS,
            "standard_errors": [round(error, 6), round(float(theirs.standard_error), 6)],
        },
    )


def _read(losses: np.ndarray) -> tuple[float, np.ndarray]:
    """Write both models' losses, each in an order of its own, and time how they are read and paired."""
    random = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for whose, column in zip(("challenger", "champion"), losses, strict=True):
            order = random.permutation(ROWS)
            file = Path(folder) / f"{whose}.csv"
            pl.DataFrame({"row": order, "loss": column[order]}).write_csv(file)
            files.append(LossesFile(file=file, whose=f"the {whose}'s losses", column="loss", key="row"))
        began = time.process_time()
        paired = differences(*files)
        return time.process_time() - began, paired

"""The losses of single rows that an evaluation wrote, and what two models' losses differ by, row for row."""

from pathlib import Path

import numpy as np
import polars as pl
from attrs import frozen
from numpy.typing import NDArray

from airflow_azureml.errors import ProtocolError

#: Most rows that are read; they are held in memory, at about 130 bytes each.
MOST_ROWS = 5_000_000
_KEY, _LOSS = "key", "loss"


@frozen(kw_only=True)
class LossesFile:
    """A file of losses.

    Attributes:
        file: CSV with a header, or Parquet where its name ends in ``.parquet``.
        whose: What to call it in messages: ``the challenger's losses``.
        column: The column of the losses.
        key: The column that names the row; the same row has the same key in both models' files.
    """

    file: Path
    whose: str
    column: str
    key: str


def differences(challenger: LossesFile, champion: LossesFile) -> NDArray[np.float64]:
    """Subtract the champion's loss from the challenger's for each row, in the order of their keys as text.

    Raises:
        ProtocolError: A file cannot be read or lacks a column, a key is missing or stands twice, a row is in one file
            only, or a loss is no finite number; the message has the counts.
    """
    ours, theirs = _read(challenger), _read(champion)
    if not ours[_KEY].equals(theirs[_KEY]):
        alone = {
            challenger.whose: len(ours.join(theirs, on=_KEY, how="anti")),
            champion.whose: len(theirs.join(ours, on=_KEY, how="anti")),
        }
        told = ", ".join(f"{count} only in {whose}" for whose, count in alone.items() if count)
        raise ProtocolError(f"The losses are not of the same rows: of {len(ours)} and {len(theirs)} keys, {told}.")
    return (ours[_LOSS] - theirs[_LOSS]).to_numpy()


def _read(losses: LossesFile) -> pl.DataFrame:
    """Read keys and losses in the order of the keys; each key once, each loss finite."""
    try:
        frame = _scan(losses).collect(engine="streaming").sort(_KEY)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise ProtocolError(f"{_start(losses)} cannot be read: {words[0]:.300}") from error
    if len(frame) > MOST_ROWS:
        raise ProtocolError(f"{_start(losses)} have more than {MOST_ROWS} rows, which is more than is read.")
    if not len(frame):
        raise ProtocolError(f"{_start(losses)} have no rows.")
    unnamed, twice = frame[_KEY].null_count(), int((frame[_KEY] == frame[_KEY].shift()).sum())
    if unnamed or twice:
        told = f"{unnamed} have no key" if unnamed else f"{twice} have the key of another"
        raise ProtocolError(f"{_start(losses)}: of {len(frame)} rows {told}, column {losses.key!r}.")
    wrong = len(frame) - int(frame[_LOSS].is_finite().sum())
    if wrong:
        raise ProtocolError(f"{_start(losses)}: {wrong} of {len(frame)} are missing or no finite numbers.")
    return frame


def _scan(losses: LossesFile) -> pl.LazyFrame:
    """Ask for the two columns, of one row more than may be.

    Raises:
        ProtocolError: One of them is not there.
    """
    if losses.file.suffix.lower() == ".parquet":
        frame = pl.scan_parquet(losses.file)
    else:
        frame = pl.scan_csv(losses.file, infer_schema=False)
    there = frame.collect_schema().names()
    missing = [name for name in (losses.key, losses.column) if name not in there]
    if missing:
        columns = ", ".join(there[:10]) or "none"
        raise ProtocolError(f"{_start(losses)} lack the column {', '.join(missing)}; there are {columns}.")
    key, loss = pl.col(losses.key).cast(pl.String), pl.col(losses.column).cast(pl.Float64)
    return frame.select(key.alias(_KEY), loss.alias(_LOSS)).head(MOST_ROWS + 1)


def _start(losses: LossesFile) -> str:
    return losses.whose[:1].upper() + losses.whose[1:]

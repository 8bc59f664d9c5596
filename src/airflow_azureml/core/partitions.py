"""Partitions: files in a folder, whose paths say when what is in them began."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.batches import Window

#: ``2026-01-31.csv``, ``2026-01-31T05.csv``, ``2026-01-31T0530/part.csv``: the first part of a path that begins so.
_KEY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:T(\d{2})(\d{2})?)?(?=[^\dT]|$)", re.ASCII)


def partition_time(path: str) -> datetime | None:
    """Read when a partition begins, UTC, from its path below the folder; None where no part of it is a date."""
    for part in path.split("/"):
        if found := _KEY.match(part):
            try:
                day = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
                return day.replace(hour=int(found[2] or 0), minute=int(found[3] or 0))
            except ValueError:
                return None
    return None


def in_window(blobs: Iterable[Arrival], folder: str, window: Window) -> list[Arrival]:
    """Choose the partitions that begin in a window, in the order of their beginnings.

    Args:
        blobs: What is in the folder, each once.
        folder: The folder's path in the container, with a slash at its end.
        window: Of the times at which partitions begin; not of those at which they were written.
    """
    dated = [(partition_time(blob.path.removeprefix(folder)), blob) for blob in blobs]
    chosen = [(time, blob) for time, blob in dated if time is not None and window.holds(time.isoformat())]
    return [blob for _, blob in sorted(chosen, key=lambda each: (each[0], each[1].path))]

"""A folder of partitions: CSV files whose names begin with a date, and those of them that lie in a window."""

import re
from datetime import UTC, datetime
from pathlib import Path

from diabetes_csv import InputError

#: ``2026-01-31.csv``, ``2026-01-31T05.csv``, ``2026-01-31T0530/rows.csv``: the first part of a path that begins so.
_KEY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:T(\d{2})(\d{2})?)?(?=[^\dT]|$)", re.ASCII)


def time_of(text: str) -> datetime:
    """Read a bound of a window: a time of ISO 8601, in UTC where it has no zone.

    Raises:
        InputError: It is none.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no time of ISO 8601, such as 2026-01-31.") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def began(path: str) -> datetime | None:
    """Read when a partition begins from its path below the folder; None where no part of it is a date."""
    for part in path.split("/"):
        found = _KEY.match(part)
        if found is not None:
            try:
                return datetime.fromisoformat(f"{found[1]}T{found[2] or '00'}:{found[3] or '00'}+00:00")
            except ValueError:
                return None
    return None


def in_window(folder: Path, since: str, until: str) -> list[Path]:
    """Find the partitions of a window, in the order of their dates.

    Args:
        folder: Where they are, and in folders below it.
        since: Those that begin before are left out; empty for none.
        until: Those that begin then or later are left out; empty for none.

    Raises:
        InputError: A bound is no time, or there is no partition between them.
    """
    low, high = (time_of(text) if text else None for text in (since, until))
    dated = [(began(path.relative_to(folder).as_posix()), path) for path in sorted(folder.rglob("*.csv"))]
    found = [
        (begin, path)
        for begin, path in dated
        if begin is not None and (low is None or begin >= low) and (high is None or begin < high)
    ]
    if not found:
        window = f"from {since or 'the beginning'} until {until or 'now'}"
        raise InputError(f"none of the {len(dated)} CSV files in {folder.name} is a partition {window}.")
    return [path for _, path in sorted(found)]

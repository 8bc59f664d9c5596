"""Files that are there whole or not at all, whenever the process may die."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file beside, and put it into its place at once.

    Args:
        path: The place.
        data: All of it.
        mode: Who may read it, from the first moment on.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    partial.replace(path)

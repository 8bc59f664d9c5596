"""What all stories have: chapters, of which one that fails is told with its traceback and does not end the story."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

FINAL = {"Completed", "Failed", "Canceled"}
#: What each chapter told, by its name.
found: dict[str, Any] = {}


def chapter(tell: Callable[[], Any]) -> Callable[[], Any]:
    """Run one chapter and keep what it returns."""
    start = time.monotonic()
    try:
        found[tell.__name__] = tell()
    except Exception:  # noqa: BLE001  # the test of this chapter shows it
        found[tell.__name__] = {"traceback": traceback.format_exc()}
    sys.stderr.write(f"{tell.__name__}: {time.monotonic() - start:.1f} s\n")
    return tell


def ended(ml: Any, name: str, patience_s: float = 120) -> Any:
    """Wait for a job's end with a client of azure-ai-ml, and return the job."""
    deadline = time.monotonic() + patience_s
    while (job := ml.jobs.get(name)).status not in FINAL:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} is still {job.status}")
        time.sleep(0.2)
    return job

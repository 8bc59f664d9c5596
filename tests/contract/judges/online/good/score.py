"""A scoring script as Azure documents it: a straight line whose slope is the model."""

import json
import os
import time
from pathlib import Path
from typing import Any

found: dict[str, float] = {}


def init() -> None:
    """Read the slope."""
    found["slope"] = float((Path(os.environ["AZUREML_MODEL_DIR"]) / "slope.txt").read_text())
    print("slope", found["slope"], os.environ.get("GREETING", ""))  # noqa: T201  # into the log of its process


def run(raw_data: str) -> dict[str, Any]:
    """Return a score for each number; the process ends, or takes its time, where it is asked to."""
    asked = json.loads(raw_data)
    if "crash" in asked:
        os._exit(9)
    time.sleep(asked.get("sleep_s", 0))
    return {"scores": [found["slope"] * value for value in asked["data"]], "process": os.getpid()}

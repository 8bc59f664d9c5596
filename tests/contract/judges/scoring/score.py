"""Adds a weight to the number in each file; one that holds no number is broken."""

import os
from pathlib import Path

import pandas as pd  # noqa: TID253  # a scoring script, which a job runs

found: dict[str, float] = {}


def init() -> None:
    """Read the weight."""
    weights = Path(os.environ["AZUREML_MODEL_DIR"]) / "net" / "weight.txt"
    found["weight"] = float(weights.read_text())
    print("weight", found["weight"], os.environ["GREETING"])  # noqa: T201  # into the log of its process


def run(mini_batch: list[str]) -> pd.DataFrame:
    """Return the file's name and its sum."""
    rows = [(Path(file).name, float(Path(file).read_text()) + found["weight"]) for file in mini_batch]
    return pd.DataFrame(rows, columns=["file", "sum"])

"""Measure a model on the test rows: the whole, slices of it, and each row; log the figures through mlflow.

What is written is an evaluation document (schema 1), by which a gate compares two models.
"""

import argparse
import csv
import hashlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from diabetes_csv import FEATURES, InputError, digest, table
from model_folder import load, read_card

#: The schema of evaluation.json.
SCHEMA = 1
LOSSES, LOSS, KEY = "losses.csv", "squared_error", "row"
#: A feature with at most so many values has a slice for each; another has three, of as many rows each.
MOST_VALUES = 5
THIRDS = ("low", "middle", "high")
#: By what rows are put into slices.
SLICED = ("sex", "age")
#: Of how many predictions of a single row the latency is the median.
TIMED = 50

Rows = list[tuple[float, ...]]


def misses(regression: Any, values: Any) -> Any:
    """Give the target less the prediction, for each row."""
    return values[:, -1] - regression.predict(values[:, :-1])


def measure(regression: Any, rows: Rows) -> dict[str, float]:
    """Compute RMSE and MAE (in units of the target) and R2.

    Raises:
        InputError: All rows have the same target, so that R2 is not defined.
    """
    values = np.array(rows, dtype=np.float64)
    target, missed = values[:, -1], misses(regression, values)
    spread = float(np.sum((target - target.mean()) ** 2))
    if not spread:
        raise InputError(f"all {len(rows)} test rows have the target {target[0]}; R2 is not defined for them.")
    return {**errors(missed), "r2": 1 - float(np.sum(missed**2)) / spread}


def errors(missed: Any) -> dict[str, float]:
    """Compute RMSE and MAE of what predictions missed by."""
    return {"rmse": math.sqrt(float(np.mean(missed**2))), "mae": float(np.mean(np.abs(missed)))}


def slices(values: Any, missed: Any) -> dict[str, Any]:
    """Measure each slice of the rows; the same rows are sliced alike, whatever the model."""
    found = {}
    for name in SLICED:
        for label, where in _slices_of(values[:, FEATURES.index(name)]):
            found[f"{name}={label}"] = {"rows": int(where.sum()), "metrics": errors(missed[where])}
    return found


def _slices_of(column: Any) -> Iterator[tuple[str, Any]]:
    kinds = np.unique(column)
    if len(kinds) <= MOST_VALUES:
        yield from ((f"{kind:.3g}", column == kind) for kind in kinds)
        return
    third = np.searchsorted(np.quantile(column, (1 / 3, 2 / 3)), column, side="left")
    yield from ((label, third == number) for number, label in enumerate(THIRDS) if (third == number).any())


def latency_ms(regression: Any, rows: Rows) -> float:
    """Time the prediction of one row, in milliseconds: the median of `TIMED` calls."""
    one = np.array(rows[:1], dtype=np.float64)[:, :-1]
    took = []
    for _ in range(TIMED):
        began = time.perf_counter()
        regression.predict(one)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def evaluate(model: Path, source: Path, *, environment: Mapping[str, str]) -> tuple[dict[str, Any], list[float]]:
    """Make the evaluation document, and each row's loss.

    Args:
        model: The folder that train wrote.
        source: The test rows.
        environment: Where ``GIT_SHA`` may name the commit that the code is of.

    Raises:
        InputError: The model or the test rows cannot be used.
    """
    rows = table(source)
    regression = load(read_card(model))
    metrics = measure(regression, rows)
    values = np.array(rows, dtype=np.float64)
    missed = misses(regression, values)
    pickled = (model / "model.joblib").read_bytes()
    document = {
        "schema": SCHEMA,
        "metrics": {**metrics, "latency_ms": latency_ms(regression, rows), "model_bytes": len(pickled)},
        "data": {"version": f"sha256:{digest(source)}", "rows": len(rows)},
        "slices": slices(values, missed),
        "losses": {"path": LOSSES, "column": LOSS, "key": KEY},
        "model": {"sha256": hashlib.sha256(pickled).hexdigest()},
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    commit = environment.get("GIT_SHA", "")
    return document | ({"git_sha": commit} if commit else {}), [float(each) for each in missed**2]


def write(folder: Path, document: dict[str, Any], losses: list[float]) -> None:
    """Write both files; a loss is written so that it is read back exactly."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOSSES).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((KEY, LOSS))
        writer.writerows((number, repr(loss)) for number, loss in enumerate(losses))
    (folder / "evaluation.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def log(metrics: dict[str, float]) -> None:
    """Log to the run of this step and to the run of the whole pipeline, where a caller looks first.

    Azure ML names both in the environment of the step; where it names none, nothing is logged.
    """
    runs = dict.fromkeys(filter(None, (os.environ.get("MLFLOW_RUN_ID"), os.environ.get("AZUREML_ROOT_RUN_ID"))))
    if not runs:
        print("evaluate: there is no run to log to (MLFLOW_RUN_ID is not set)")
        return
    from mlflow import MlflowClient  # noqa: PLC0415  # seconds to import; not needed without a run
    from mlflow.entities import Metric  # noqa: PLC0415

    client, now = MlflowClient(), int(time.time() * 1000)
    for run in runs:
        client.log_batch(run, metrics=[Metric(key, value, now, 0) for key, value in metrics.items()])


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepared", type=Path, required=True, help="folder with test.csv")
    parser.add_argument("--model", type=Path, required=True, help="folder that train wrote")
    parser.add_argument("--evaluation", type=Path, required=True, help=f"folder for evaluation.json and {LOSSES}")
    asked = parser.parse_args()
    try:
        document, losses = evaluate(asked.model, asked.prepared / "test.csv", environment=os.environ)
    except InputError as error:
        sys.exit(f"evaluate: {error}")
    write(asked.evaluation, document, losses)
    metrics = document["metrics"]
    print(f"evaluate: {', '.join(f'{key} {value:.4f}' for key, value in metrics.items())} on {len(losses)} rows")
    log(metrics)


if __name__ == "__main__":
    main()

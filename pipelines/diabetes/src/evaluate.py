"""Measure a model on the test rows, and log the figures through mlflow."""

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from diabetes_csv import InputError, digest, table
from model_folder import load, read_card


def measure(regression: Any, rows: list[tuple[float, ...]]) -> dict[str, float]:
    """Compute RMSE and MAE (in units of the target) and R2.

    Raises:
        InputError: All rows have the same target, so that R2 is not defined.
    """
    values = np.array(rows, dtype=np.float64)
    target = values[:, -1]
    missed = target - regression.predict(values[:, :-1])
    spread = float(np.sum((target - target.mean()) ** 2))
    if not spread:
        raise InputError(f"all {len(rows)} test rows have the target {target[0]}; R2 is not defined for them.")
    return {
        "rmse": math.sqrt(float(np.mean(missed**2))),
        "mae": float(np.mean(np.abs(missed))),
        "r2": 1 - float(np.sum(missed**2)) / spread,
    }


def log(metrics: dict[str, float]) -> None:
    """Log to the run of this step and to the run of the whole pipeline, where a caller looks first.

    Azure ML names both in the environment of the step; where it names none, nothing is logged.
    """
    runs = dict.fromkeys(filter(None, (os.environ.get("MLFLOW_RUN_ID"), os.environ.get("AZUREML_ROOT_RUN_ID"))))
    if not runs:
        print("evaluate: there is no run to log to (MLFLOW_RUN_ID is not set)")
        return
    import time  # noqa: PLC0415  # with mlflow

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
    parser.add_argument("--evaluation", type=Path, required=True, help="folder for evaluation.json")
    asked = parser.parse_args()
    source = asked.prepared / "test.csv"
    try:
        rows = table(source)
        card = read_card(asked.model)
        metrics = measure(load(card), rows)
    except InputError as error:
        sys.exit(f"evaluate: {error}")
    evaluation = {"metrics": metrics, "test_rows": len(rows), "test_data_sha256": digest(source), "model": card.text}
    asked.evaluation.mkdir(parents=True, exist_ok=True)
    (asked.evaluation / "evaluation.json").write_text(json.dumps(evaluation, indent=2) + "\n", encoding="utf-8")
    print(f"evaluate: {', '.join(f'{key} {value:.4f}' for key, value in metrics.items())} on {len(rows)} rows")
    log(metrics)


if __name__ == "__main__":
    main()

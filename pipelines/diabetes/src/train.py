"""Fit a ridge regression."""

import argparse
import json
import platform
import sys
from pathlib import Path

import joblib
import numpy as np
import sklearn
from sklearn.linear_model import Ridge

from diabetes_csv import FEATURES, TARGET, InputError, digest, table


def fit(rows: list[tuple[float, ...]], alpha: float) -> Ridge:
    """Fit the model.

    Args:
        rows: Features and target.
        alpha: Strength of the regularisation, over 0.

    Raises:
        InputError: Alpha is out of its bounds.
    """
    if not 0 < alpha < float("inf"):
        raise InputError(f"alpha is {alpha}; it must be a finite number over 0.")
    values = np.array(rows, dtype=np.float64)
    return Ridge(alpha=alpha, solver="cholesky").fit(values[:, :-1], values[:, -1])


def main() -> None:
    """Run the step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prepared", type=Path, required=True, help="folder with train.csv")
    parser.add_argument("--alpha", type=float, default=0.5, help="strength of the regularisation, over 0")
    parser.add_argument("--model", type=Path, required=True, help="folder for model.joblib and model.json")
    asked = parser.parse_args()
    source = asked.prepared / "train.csv"
    try:
        rows = table(source)
        model = fit(rows, asked.alpha)
    except InputError as error:
        sys.exit(f"train: {error}")
    asked.model.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, asked.model / "model.joblib")
    card = {
        "features": list(FEATURES),
        "target": TARGET,
        "alpha": asked.alpha,
        "training_rows": len(rows),
        "training_data_sha256": digest(source),
        "libraries": {
            "joblib": joblib.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
        },
    }
    (asked.model / "model.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(f"train: ridge regression with alpha {asked.alpha} on {len(rows)} rows x {len(FEATURES)} features")


if __name__ == "__main__":
    main()

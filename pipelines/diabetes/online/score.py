"""Answer requests: rows of the ten features become predictions.

A request is JSON, ``{"data": [[age, sex, bmi, bp, s1, s2, s3, s4, s5, s6], …]}``; the answer is a list with a number
for each row, in their order. What cannot be scored is answered with 400 and one sentence, and never with a number.
"""

import json
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from azureml_inference_server_http.api.aml_response import (  # type: ignore[import-not-found]  # of its deployment
    AMLResponse,
)

#: Rows of one request, at most.
MOST_ROWS = 1000

_log = logging.getLogger(__name__)
_loaded: dict[str, Any] = {}


def init() -> None:
    """Load the model once, when the deployment starts.

    Raises:
        FileNotFoundError: The model has no model.json, or no model.joblib beside it.
        ValueError: The two do not belong together.
    """
    card_file = min(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.json"), default=None)
    if card_file is None:
        raise FileNotFoundError("The model has no model.json; deploy one that diabetes-training has made.")
    features = tuple(json.loads(card_file.read_text(encoding="utf-8"))["features"])
    regression = joblib.load(card_file.with_name("model.joblib"))
    if regression.n_features_in_ != len(features):
        raise ValueError(f"The model takes {regression.n_features_in_} features, and its card names {len(features)}.")
    _loaded.update(features=features, regression=regression, inputs=_collector("model_inputs"))
    _loaded["outputs"] = _collector("model_outputs") if _loaded["inputs"] else None


def run(raw: str) -> Any:
    """Answer one request."""
    rows = _rows(raw, _loaded["features"])
    if isinstance(rows, str):
        return AMLResponse(rows, 400)
    with np.errstate(over="ignore", invalid="ignore"):
        predictions = [float(each) for each in _loaded["regression"].predict(rows)]
    if not all(map(math.isfinite, predictions)):
        return AMLResponse("A prediction is too large for a number.", 400)
    _collect(rows, predictions)
    return predictions


def _rows(raw: str, features: tuple[str, ...]) -> "np.ndarray[Any, Any] | str":
    """Read a request; a text says what is wrong with it."""
    try:
        said = json.loads(raw)
    except ValueError:
        return "The request is no JSON."
    rows = said.get("data") if isinstance(said, dict) else None
    if not isinstance(rows, list) or not 1 <= len(rows) <= MOST_ROWS:
        return f'The request must be {{"data": [[…], …]}}, with 1 to {MOST_ROWS} rows.'
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(features):
            return f"Row {number} must have {len(features)} numbers: {', '.join(features)}."
        for name, value in zip(features, row, strict=True):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
                return f"Row {number}: {name} is not a finite number."
    return np.array(rows, dtype=np.float64)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _collector(name: str) -> Callable[..., Any] | None:
    """Open what collects data, where the deployment has it; see ``data_collector`` in deployment.yml."""
    try:
        from azureml.ai.monitoring import (  # type: ignore[import-not-found]  # noqa: PLC0415  # it is not everywhere
            Collector,
        )
    except ImportError:
        return None
    collect: Callable[..., Any] = Collector(name=name, on_error=_not_collected).collect
    return collect


def _not_collected(error: Exception) -> None:
    """Answer all the same."""
    _log.warning("A request was not collected: %s", error)


def _collect(rows: "np.ndarray[Any, Any]", predictions: list[float]) -> None:
    """Keep what was asked and answered, for whoever compares models by it."""
    if _loaded["inputs"] is None:
        return
    import pandas as pd  # noqa: PLC0415  # only where it is collected

    context = _loaded["inputs"](pd.DataFrame(rows, columns=list(_loaded["features"])))
    _loaded["outputs"](pd.DataFrame({"prediction": predictions}), context)

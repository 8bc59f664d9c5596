"""Answer with a multiple of a number, in the way that model.json says: soundly, slowly, wrongly, or not for some."""  # noqa: INP001  # a folder of its own, no package

import json
import os
import time
from pathlib import Path
from typing import Any

import pandas as pd  # noqa: TID253  # a scoring script, which a deployment runs
from azureml.ai.monitoring import (  # type: ignore[import-not-found]  # of its deployment
    Collector,
)
from azureml_inference_server_http.api.aml_response import (  # type: ignore[import-not-found]  # likewise
    AMLResponse,
)

_loaded: dict[str, Any] = {}


def init() -> None:
    """Read the model."""
    card = min(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("model.json"))
    _loaded.update(json.loads(card.read_text(encoding="utf-8")))
    _loaded["collect"] = Collector(name="model_outputs", on_error=print).collect


def run(raw: str) -> Any:
    """Answer one request.

    Raises:
        ArithmeticError: The model breaks down over this number.
    """
    x = json.loads(raw).get("x")
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        return AMLResponse("x is not a number", 400)
    if x % 100 in _loaded["breaks_over"]:
        raise ArithmeticError(f"{x} is too much for this model.")
    time.sleep(_loaded["wait_s"])
    answer = _loaded["slope"] * x + _loaded["offset"]
    _loaded["collect"](pd.DataFrame({"prediction": [answer]}))
    return [answer]

"""A scoring script that collects what it is given and what it answers, as Azure documents it; and can go wrong."""

import json
import os
import time
from typing import Any

import pandas as pd  # noqa: TID253  # what a scoring script works with
from azureml.ai.monitoring import Collector  # type: ignore[import-not-found]  # there where it runs

collectors: dict[str, Collector] = {}


def init() -> None:
    """Open the collections that the deployment asks for; without one there is nothing to collect."""
    if os.environ.get("AZUREML_MDC_CONFIG_PATH"):
        collectors.update({name: Collector(name=name) for name in ("model_inputs", "model_outputs")})


def run(raw_data: str) -> dict[str, Any]:
    """Return who answers; it fails, or takes its time, where it is asked to."""
    asked = json.loads(raw_data)
    time.sleep(asked.get("sleep_s", 0))
    if "fail" in asked:
        message = "the model has failed"
        raise RuntimeError(message)
    rows = pd.DataFrame(asked.get("data", []))
    if collectors:
        context = collectors["model_inputs"].collect(rows)
        collectors["model_outputs"].collect(pd.DataFrame({"prediction": [1] * len(rows)}), context)
    return {"color": os.environ.get("COLOR", ""), "rows": len(rows)}

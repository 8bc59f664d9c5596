"""A good body for each of MLflow's routes about experiments, lineage and logged models."""

from __future__ import annotations

from typing import Any

_ROOT = "/mlflow/v2.0{workspace}/api/2.0"
_RUN = {"run_id": "command"}
_PAIRS = [{"key": "a", "value": "b"}]
_DATASET = {"name": "rows", "digest": "d", "source_type": "local", "source": "{}", "schema": "{}"}
#: A model that is not there: ids are made by the service.
_MODEL = f"{_ROOT}/mlflow/logged-models/m-none"

MLFLOW_BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", f"{_ROOT}/preview/mlflow/runs/log-batch-async", {**_RUN, "metrics": [], "params": [], "tags": _PAIRS}),
    ("POST", f"{_ROOT}/mlflow/runs/delete", _RUN),
    ("POST", f"{_ROOT}/mlflow/runs/restore", _RUN),
    (
        "POST",
        f"{_ROOT}/mlflow/runs/log-inputs",
        {**_RUN, "datasets": [{"tags": _PAIRS, "dataset": _DATASET}], "models": [{"model_id": "m-none"}]},
    ),
    ("POST", f"{_ROOT}/mlflow/runs/outputs", {**_RUN, "models": [{"model_id": "m-none", "step": 1}]}),
    ("POST", f"{_ROOT}/mlflow/runs/log-model", {**_RUN, "model_json": '{"artifact_path": "model"}'}),
    (
        "POST",
        f"{_ROOT}/mlflow/experiments/set-experiment-tag",
        {"experiment_id": "0", "key": "a", "value": "b"},
    ),
    ("POST", f"{_ROOT}/mlflow/experiments/delete-experiment-tag", {"experiment_id": "0", "key": "a"}),
    ("POST", f"{_ROOT}/mlflow/experiments/update", {"experiment_id": "0", "new_name": "other"}),
    ("POST", f"{_ROOT}/mlflow/experiments/delete", {"experiment_id": "0"}),
    ("POST", f"{_ROOT}/mlflow/experiments/restore", {"experiment_id": "0"}),
    (
        "POST",
        f"{_ROOT}/mlflow/logged-models",
        {
            "experiment_id": "0",
            "name": "model",
            "model_type": "agent",
            "source_run_id": "command",
            "params": _PAIRS,
            "tags": _PAIRS,
        },
    ),
    (
        "POST",
        f"{_ROOT}/mlflow/logged-models/search",
        {
            "experiment_ids": ["0"],
            "filter": "params.a = 'b'",
            "max_results": 3,
            "order_by": [{"field_name": "creation_timestamp", "ascending": False}],
        },
    ),
    ("PATCH", _MODEL, {"model_id": "m-none", "status": "LOGGED_MODEL_READY"}),
    ("POST", f"{_MODEL}/params", {"model_id": "m-none", "params": _PAIRS}),
    ("PATCH", f"{_MODEL}/tags", {"tags": _PAIRS}),
]

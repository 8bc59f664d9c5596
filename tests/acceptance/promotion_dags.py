"""A promotion by the hybrid way, through three environments: published and trained in the first, and no further."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_azureml.task_groups.promotion import Environment, Training, promote_hybrid

FOLDER = Path(os.environ["PROMOTION_FOLDER"])
STORE = "azureml://datastores/workspaceblobstore/paths"

with DAG("promote_hybrid", schedule=None, params={"sha": Param("HEAD", type="string")}, max_active_runs=1):
    promote_hybrid(
        "diabetes",
        environments=[
            Environment("development", conn_id="azureml_development", suffix="-development"),
            Environment("staging", conn_id="azureml_staging", suffix="-staging"),
            Environment("production", conn_id="azureml_production", protected=True),
        ],
        folder=str(FOLDER),
        sha="{{ params.sha }}",
        registry=os.environ["PROMOTION_REGISTRY"],
        training=Training(
            model="diabetes-hybrid",
            pipeline="diabetes-training",
            policy=FOLDER / "gate.yaml",
            outputs=f"{STORE}/retraining/diabetes-hybrid/",
        ),
        approval={"approvers": os.environ["PROMOTION_APPROVERS"].split(","), "deadline": timedelta(days=1)},
        publish_options={"only": ["diabetes-training"]},
    )

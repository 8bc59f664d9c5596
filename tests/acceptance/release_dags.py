"""A release of whichever version to whichever endpoint, as quick as Azure Monitor's minutes let it be."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_azureml.core.rollout import Limits, Policy, Predictions
from airflow_azureml.task_groups.drift import Distribution, Drift
from airflow_azureml.task_groups.release import Stage, release

FILES = Path(os.environ["RELEASE_FILES"])

with DAG("release_of", schedule=None, params={"model": Param(type="string"), "endpoint": Param(type="string")}):
    release(
        "release",
        model="{{ params.model }}",
        spec=FILES / "deployment.yml",
        tests=FILES / "smoke.yaml",
        production=Stage(endpoint="{{ params.endpoint }}"),
        policy=Policy(
            steps=(10, 100),
            looks=1,
            look_every=timedelta(seconds=5),
            least_requests=30,
            least_time=timedelta(0),
            soak=timedelta(0),
            limits=Limits(failures_at_most=0.002, p95_ms_at_most=1000, p95_times_champion=None),
            predictions=Predictions(
                tests=Distribution(columns={"prediction": Drift(psi=0.5)}, rows_at_least=30), needed_from=10
            ),
        ),
        task_options={"retry_delay": timedelta(seconds=5)},
    )

"""Promotions of code that trains within a second: through four environments with a release, and through two without."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param

from airflow_azureml.core.rollout import Limits, Policy
from airflow_azureml.operators.publish import AzureMLPublishPipelineOperator
from airflow_azureml.operators.serving import AzureMLServingOperator
from airflow_azureml.task_groups.promotion import Environment, Training, promote_code
from airflow_azureml.task_groups.release import Stage, release

FILES = Path(os.environ["CHAIN_FILES"])
STORE = "azureml://datastores/workspaceblobstore/paths"
#: In their order; production is the last.
NAMES = ("dev", "test", "staging", "production")
ENVIRONMENTS = {
    name: Environment(
        name,
        conn_id=f"azureml_{name}",
        suffix="" if name == "production" else f"-{name}",
        protected=name == "production",
    )
    for name in NAMES
}
#: Two who publish at once may meet: one of them tries again.
RETRIES = {"retries": 3, "retry_delay": timedelta(seconds=1)}
GATE = {
    "schema": 1,
    "name": "numbers",
    "version": "1",
    "no_champion": "accept",
    "thresholds": [{"metric": "rmse", "at_most": 60}],
    "comparisons": [{"metric": "rmse", "better": "lower"}],
}
QUICK = Policy(
    steps=(50, 100),
    looks=1,
    look_every=timedelta(seconds=1),
    least_requests=0,
    least_time=timedelta(0),
    soak=timedelta(0),
    limits=Limits(failures_at_most=0, p95_times_champion=None),
)


def patient(dag: DAG) -> DAG:
    """Let tasks wait in their worker.

    ``dag.test()`` of Airflow 3.3.2 hands a task that was deferred the event alone, and nothing that it kept.
    """
    for task in dag.tasks:
        if isinstance(task, AzureMLPublishPipelineOperator | AzureMLServingOperator):
            task.deferrable = False
    return dag


def promoted(dag_id: str, names: tuple[str, ...], **more: Any) -> DAG:
    """Make a DAG that takes a commit through these environments."""
    with DAG(dag_id, schedule=None, params={"sha": Param("HEAD", type="string")}) as made:
        promote_code(
            "numbers",
            environments=[ENVIRONMENTS[name] for name in names],
            folder=os.environ["CHAIN_FOLDER"],
            sha="{{ params.sha }}",
            training=Training(
                model="numbers",
                pipeline="numbers",
                policy=GATE,
                rehearsal_policy={name: value for name, value in GATE.items() if name != "comparisons"},
                outputs=f"{STORE}/trained/",
                inputs={"slope": "2"},
            ),
            task_options=RETRIES,
            **more,
        )
    return patient(made)


#: Four environments, and the release at the end of them.
chain = promoted(
    "chain",
    NAMES,
    release=lambda model: release(
        "release",
        model=model,
        spec=FILES / "deployment.yml",
        tests=FILES / "smoke.yaml",
        production=Stage(endpoint="numbers-online", conn_id=ENVIRONMENTS["production"].conn_id),
        policy=QUICK,
        task_options=RETRIES,
    ),
)
#: Two of them, and no release: as a run that died before it.
unreleased = promoted("unreleased", NAMES[-2:])

with DAG("cluster", schedule=None, params={"sha": Param("1", type="string", title="The version")}) as cluster:
    # On an attached Kubernetes cluster, with a file of its own and no copies of requests.
    release(
        "numbers",
        model="numbers:{{ params.sha }}",
        spec=Path(os.environ["CHAIN_KUBERNETES"]),
        tests=FILES / "smoke.yaml",
        production=Stage(
            endpoint="numbers-cluster",
            conn_id=ENVIRONMENTS["production"].conn_id,
            compute="aks-production",
            instance_type="small",
            instances=2,
        ),
        policy=QUICK,
        task_options=RETRIES,
    )
patient(cluster)

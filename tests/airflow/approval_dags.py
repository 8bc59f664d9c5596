"""DAGs that ask a person: anybody, one person, and anybody for a moment only."""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_azureml.operators.approval import AzureMLApprovalOperator

VERDICT = {
    "schema": 1,
    "accepted": True,
    "subject": "m",
    "policy": "p",
    "findings": [{"check": "rmse at most 60", "passed": True, "reason": "It is 50."}],
    "facts": {},
}
#: A worker that does not start on a busy machine is tried again, as anybody's would be.
TRIES = {"retries": 3, "retry_delay": timedelta(seconds=1)}
WAYS: dict[str, dict[str, Any]] = {
    "anybody": {},
    "ada": {"approvers": ["ada"]},
    "moment": {"deadline": timedelta(seconds=3)},
}

for way, options in WAYS.items():
    with DAG(f"approval_{way}", schedule=None, is_paused_upon_creation=False, default_args=TRIES):
        approve = AzureMLApprovalOperator(
            task_id="approve",
            what="promote diabetes to production",
            sha="{{ dag_run.conf['sha'] }}",
            diff_url="https://example.com/compare/{{ dag_run.conf['sha'] }}",
            verdicts={"gate": VERDICT},
            result={"job": "train-1", "metrics": {"rmse": 50.0}, "url": "https://ml.azure.com/runs/train-1"},
            facts={"Cost": "12.40 EUR"},
            **options,
        )
        approve >> EmptyOperator(task_id="publish") >> EmptyOperator(task_id="release")
        approve >> EmptyOperator(task_id="clean").as_teardown()

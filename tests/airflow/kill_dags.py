"""DAGs of one task each, whose jobs go on until somebody ends them; the endpoint is in the run's conf."""

import time
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.execution_time import task_runner
from attrs import evolve

from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint


class TimedByAirflow(AzureMLPipelineOperator):
    """Lets Airflow itself end the waiting, as a subclass of somebody's may."""

    def defer(self, **options: Any) -> Any:
        """Defer for six seconds."""
        super().defer(timeout=timedelta(seconds=6), **options)


class Broken(AzureMLPipelineOperator):
    """Defers to a trigger that breaks, as one does whose triggerer has an older version of this package."""

    def _trigger(self, *arguments: Any) -> Any:
        made = super()._trigger(*arguments)
        return evolve(made, policy={**made.policy, "added_tomorrow_s": 1.0})


class Speaking(AzureMLPipelineOperator):
    """Is in the middle of a question to Airflow when it is killed."""

    def _watch(self, *_: Any) -> Any:
        with task_runner.SUPERVISOR_COMMS._thread_lock:  # what a question to Airflow holds
            time.sleep(120)


KINDS: dict[str, dict[str, Any]] = {
    "waiting": {},
    "leaving": {"on_kill_action": "leave"},
    "execution_timeout": {"execution_timeout": timedelta(seconds=8)},
    "impatient": {"patience": timedelta(seconds=5)},
    "impatient_leaving": {"patience": timedelta(seconds=5), "on_kill_action": "leave"},
    "fail_only": {"timeout": timedelta(seconds=5), "on_timeout": {"whole": "fail_only"}},
    "timed_by_airflow": {"kind": TimedByAirflow},
    "broken": {"kind": Broken},
    "limited_cancel": {"phase_timeouts": {"cancel": timedelta(seconds=5)}},
    "overdue": {"dag": {"dagrun_timeout": timedelta(seconds=40)}},
}
IN_WORKER: dict[str, dict[str, Any]] = {
    "waiting": {},
    "leaving": {"on_kill_action": "leave"},
    "execution_timeout": {"execution_timeout": timedelta(seconds=15)},
    "timeout": {"timeout": timedelta(seconds=5)},
    "overdue": {"dag": {"dagrun_timeout": timedelta(seconds=40)}},
    "retried": {"retries": 1, "retry_delay": timedelta(seconds=1)},
    "speaking": {"kind": Speaking},
}


def add(name: str, *, kind: Any = AzureMLPipelineOperator, dag: Any = None, **options: Any) -> None:
    """Define a DAG."""
    with DAG(f"small_{name}", schedule=None, is_paused_upon_creation=False, **(dag or {})) as made:
        kind(
            task_id="run",
            conn_id="azureml_kills",
            pipeline=BatchEndpoint("{{ dag_run.conf['endpoint'] }}"),
            poll_interval=timedelta(seconds=1),
            **options,
        )
    globals()[made.dag_id] = made


for one, options in KINDS.items():
    add(f"kill_{one}", **options)
for one, options in IN_WORKER.items():
    add(f"kill_in_worker_{one}", deferrable=False, **options)

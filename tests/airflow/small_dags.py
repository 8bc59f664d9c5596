"""DAGs of one task each, which run the pipeline ``small``; what it does is in the run's conf."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_azureml.operators.job import AzureMLJobOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint, PipelineComponent
from airflow_azureml.triggers.job import JobTrigger


class Misled(AzureMLPipelineOperator):
    """Is told of another job first, as where its trigger got the id of one that was deleted a moment before."""

    template_fields = (*AzureMLPipelineOperator.template_fields, "other")
    is_resumed = False

    def __init__(self, *, other: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.other = other

    def resume_execution(self, *args: Any, **kwargs: Any) -> Any:
        self.is_resumed = True
        return super().resume_execution(*args, **kwargs)

    def _trigger(self, *args: Any, **kwargs: Any) -> JobTrigger:
        made = super()._trigger(*args, **kwargs)
        made.job = made.job if self.is_resumed else self.other
        return made


INPUTS = {
    "word": "{{ dag_run.conf.get('word', 'hello') }}",
    "seconds": "{{ dag_run.conf.get('seconds', 0) }}",
    "code": "{{ dag_run.conf.get('code', 0) }}",
}
RETRIED: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=1)}
KINDS: dict[str, dict[str, Any]] = {
    # Airflow 3.3.2 may fail a task whose job is fine; a retry then finds that job.
    "plain": {"pipeline": BatchEndpoint("small"), **RETRIED},
    "named": {"pipeline": BatchEndpoint("{{ dag_run.conf['endpoint'] }}", "{{ dag_run.conf['deployment'] }}")},
    "waiting_in_the_worker": {"pipeline": BatchEndpoint("small"), "deferrable": False, **RETRIED},
    "retried": {"pipeline": BatchEndpoint("small"), **RETRIED},
    "keyed": {"pipeline": BatchEndpoint("small"), "idempotency_key": "{{ dag_run.conf['key'] }}", **RETRIED},
    "component": {"pipeline": PipelineComponent("{{ dag_run.conf.get('name', 'small') }}"), **RETRIED},
    "short": {"pipeline": BatchEndpoint("small"), "timeout": timedelta(seconds=4)},
    "wrong_inputs": {"pipeline": BatchEndpoint("small"), "inputs": {"wrod": "x", "code": "many"}},
    "elsewhere": {"pipeline": BatchEndpoint("small"), "conn_id": "azureml_elsewhere"},
    "leaving": {"pipeline": BatchEndpoint("small"), "on_kill_action": "leave"},
    "misled": {"kind": Misled, "other": "{{ dag_run.conf['other'] }}", "pipeline": BatchEndpoint("small"), **RETRIED},
}
SOURCES: dict[str, Any] = {
    "file": str(Path(__file__).parent / "small_job" / "{{ dag_run.conf.get('file', 'job.yml') }}"),
    "mapping": {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json",
        "command": "echo saying {{ dag_run.conf.get('word', 'hello') }} && exit {{ dag_run.conf.get('code', 0) }}",
        "environment": {"image": "debian:bookworm"},
        "experiment_name": "small",
    },
}
for kind, source in SOURCES.items():
    with DAG(f"small_{kind}", schedule=None, is_paused_upon_creation=False) as dag:
        AzureMLJobOperator(task_id="run", job=source, poll_interval=timedelta(seconds=2), **RETRIED)
    globals()[dag.dag_id] = dag

for kind, options in KINDS.items():
    with DAG(f"small_{kind}", schedule=None, is_paused_upon_creation=False) as dag:
        options.pop("kind", AzureMLPipelineOperator)(
            task_id="run",
            **{
                "inputs": INPUTS,
                "outputs": {"result": "azureml://datastores/workspaceblobstore/paths/small/{key}/"},
                "poll_interval": timedelta(seconds=2),
                **options,
            },
        )
    globals()[dag.dag_id] = dag

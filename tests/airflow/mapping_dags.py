"""A DAG whose pipelines are mapped, in a group, given what other tasks returned, and a setup and a teardown."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, TaskGroup, task

from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint, PipelineComponent

#: Airflow 3.3.2 on SQLite may tell a task what befell another's job; a retry then finds the job.
OPTIONS: dict[str, Any] = {
    "conn_id": "azureml_mapping",
    "poll_interval": timedelta(seconds=1),
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
}
MANY = 100
AT_ONCE: dict[str, Any] = {"emulator.script": '[["Completed", 0]]'}
LATER: dict[str, Any] = {"emulator.script": '[["Running", 4], ["Completed", 0]]'}

with DAG("mapping", schedule=None, is_paused_upon_creation=False) as dag:

    @task
    def words() -> Any:
        """Make what the pipelines are mapped over."""
        return [{"word": f"word {number}"} for number in range(MANY)]

    @task
    def sets() -> Any:
        """Make arguments of the operator itself."""
        return [{"inputs": {"word": f"set {number}"}, "settings": LATER} for number in range(3)]

    @task
    def word() -> str:
        """Make one input."""
        return "one word"

    before = AzureMLPipelineOperator(
        task_id="before", pipeline=PipelineComponent("mapping"), inputs={"word": "a"}, settings=AT_ONCE, **OPTIONS
    )
    after = AzureMLPipelineOperator(
        task_id="after", pipeline=PipelineComponent("mapping"), inputs={"word": "z"}, settings=AT_ONCE, **OPTIONS
    ).as_teardown(setups=before)
    with TaskGroup("group") as group:
        many = AzureMLPipelineOperator.partial(task_id="many", pipeline=BatchEndpoint("mapping"), **OPTIONS)
        many.expand(inputs=words())
        few = AzureMLPipelineOperator.partial(task_id="few", pipeline=PipelineComponent("mapping"), **OPTIONS)
        few.expand_kwargs(sets())
        AzureMLPipelineOperator(
            task_id="given",
            pipeline=PipelineComponent("mapping"),
            inputs={"word": word()},
            settings=AT_ONCE,
            **OPTIONS,
        )
    before >> group >> after

"""DAGs whose tasks are functions that run as Azure ML jobs."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_azureml.operators.task import azureml_task
from airflow_azureml.retries import AzureMLRetryPolicy

OPTIONS: dict[str, Any] = {
    "environment": "debian:bookworm",
    # A job that ends while the worker that deferred is still leaving is taken for a failure by Airflow's scheduler
    # ("finished with state success, but the task instance's state attribute is running").
    "poll_interval": timedelta(seconds=5),
    "experiment": "functions",
}
RETRIED: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=1)}
FACTOR = 3


@azureml_task(**OPTIONS, packages=["requests>=2"])
def compute(numbers: Any, *, word: str, ds: str | None = None, run_id: str | None = None) -> dict[str, Any]:
    """Compute with what it is given."""
    import os  # noqa: PLC0415  # only what stands in the function is shipped

    text = """two
lines"""
    return {"sum": sum(numbers), "word": word, "text": text, "ds": ds, "run_id": run_id, "pid": os.getpid()}


with DAG("task_computes", schedule=None, is_paused_upon_creation=False):

    @task
    def numbers_of() -> Any:
        """Make numbers in a task of Airflow's own."""
        return [1, 2, 3.5]

    @task
    def receive(value: Any) -> str:
        """Show that the value arrived."""
        return f"{value['sum']} for {value['word']}"

    receive(compute.override(task_id="run")(numbers_of(), word="{{ dag_run.conf.get('word', '$(false)') }}"))

with DAG("task_raises", schedule=None, is_paused_upon_creation=False):

    @azureml_task(task_id="run", **OPTIONS, **RETRIED, retry_policy=AzureMLRetryPolicy())
    def divides(by: int) -> float:
        """Divide, in a function of its own, so that there is something to trace."""

        def divided(one: int) -> float:
            return one / by

        return divided(1)

    divides(by=0)

with DAG("task_mapped", schedule=None, is_paused_upon_creation=False):

    @azureml_task(task_id="run", **OPTIONS, **RETRIED)
    def doubled(number: int) -> int:
        """Double a number."""
        return number * 2

    @task
    def added(numbers: Any) -> int:
        """Add what all the jobs returned."""
        return sum(numbers)

    added(doubled.expand(number=[1, 2, 3]))

with DAG("task_too_large", schedule=None, is_paused_upon_creation=False):

    @azureml_task(task_id="run", **OPTIONS)
    def large() -> str:
        """Return more than XCom should hold."""
        return "x" * 60_000

    large()

with DAG("task_closure", schedule=None, is_paused_upon_creation=False):

    def made(factor: int) -> Any:
        """Make a function that uses a variable of this one."""

        @azureml_task(task_id="run", **OPTIONS, **RETRIED)
        def scaled(number: int) -> int:
            return number * factor * FACTOR

        return scaled

    made(3)(1)

with DAG("task_lambda", schedule=None, is_paused_upon_creation=False):
    azureml_task(lambda: 1, task_id="run", **OPTIONS, **RETRIED)()

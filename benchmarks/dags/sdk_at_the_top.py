"""The bare DAG with azure-ai-ml imported at its top, as DAGs that call the SDK do it."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable
from azure.ai.ml import MLClient

patients = Asset("patients", extra={"client": MLClient.__name__})


class Task(BaseOperator):
    """An operator with one field."""

    template_fields = ("inputs",)

    def __init__(self, *, inputs: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs

    def execute(self, context: Any) -> Any:
        """Return the field."""
        del context
        return self.inputs


with DAG(
    "sdk_at_the_top",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 * * * *", timezone="UTC"), assets=[patients]),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["bench"],
):
    claim = Task(task_id="claim")
    Task.partial(task_id="score", retries=3, retry_delay=timedelta(seconds=30)).expand(
        inputs=claim.output.map(lambda blob: {"data": blob})
    )

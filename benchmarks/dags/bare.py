"""A DAG of the same shape as ``score_on_arrival``, which uses nothing but Airflow."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable

patients = Asset("patients")


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
    "bare",
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

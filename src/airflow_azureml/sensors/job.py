"""Waiting for a job that somebody else started."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.conditions import Settled
from airflow_azureml.core.jobs import JobSnapshot, Phase
from airflow_azureml.core.waiting import Limit
from airflow_azureml.errors import AzureMLError, ConfigError, UnavailableError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.links import JOB_URL_KEY, AzureMLJobLink
from airflow_azureml.sensors.base import AzureMLSensor, for_airflow
from airflow_azureml.triggers.job import JobTrigger, event_of
from airflow_azureml.wire import jobs, workspaces

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

__all__ = ["AzureMLJobSensor"]


class AzureMLJobSensor(AzureMLSensor):
    """Waits until a job has ended; only ``Completed`` passes. The job is never cancelled: it is somebody else's.

    A job that does not exist fails the task at once. One that failed or was cancelled fails it with the job's own
    words, and is not looked at again: a job that has ended does not come back. Returns ``job``, ``status`` and ``url``.

    Args:
        job: The job's name, templated; for example another task's result: ``{{ ti.xcom_pull('train')['job'] }}``.
        kwargs: What `airflow_azureml.sensors.base.AzureMLSensor` takes (``conn_id``, ``deferrable``, ``timeout``,
            ``patience``, ``poll_interval``, ``soft_fail``), and Airflow's own.
    """

    template_fields: Sequence[str] = ("job", "conn_id")
    operator_extra_links = (AzureMLJobLink(),)

    def __init__(self, *, job: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Wait for the job's end."""
        if not self.job:
            raise ConfigError("job is empty; it must be the name of a job.")
        return "job", {"name": self.job}

    def trigger(self) -> "BaseTrigger":
        """Wait among those that wait for jobs."""
        return JobTrigger(
            conn_id=self.conn_id,
            job=self.job,
            submitted_at=time.time(),
            deferred_at=time.time(),
            policy=self.policy().to_wire(),
            on_kill_action="leave",
        )

    def finish(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Look once more, and say how the job ended."""
        job, gave_up, timed_out = _read(event, self.job)
        workspace = AzureMLHook(self.conn_id).settings.workspace
        try:
            with AzureMLHook(self.conn_id).get_conn() as client:
                try:
                    job = client.run(jobs.get(workspace, self.job))
                except UnavailableError as error:
                    self.log.warning("The end of job %s is judged by the last look at it: %s", self.job, error)
                if job.phase in (Phase.FAILED, Phase.CANCELED):
                    job = client.run(jobs.explain(workspace, job, client.run(workspaces.data_plane(workspace))))
        except AzureMLError as error:
            raise for_airflow(error) from error
        self.log.info("Job %s is %s: %s", job.name, job.status, job.studio_url)
        context["ti"].xcom_push(key=JOB_URL_KEY, value=job.studio_url)
        if job.phase is Phase.SUCCEEDED:
            return {"job": job.name, "status": job.status, "url": job.studio_url}
        if job.phase.is_final:
            reason = job.message or "nobody says why"
            raise AirflowFailException(f"Job {job.name} ended as {job.status}: {reason}\nThe job: {job.studio_url}")
        self.raise_if_given_up(f"Job {job.name}: {gave_up or f'still {job.status}'}", timed_out=timed_out)
        return {}


def _read(event: dict[str, Any], name: str) -> tuple[JobSnapshot, str, bool]:
    """Read the event of a `JobTrigger`, or of a look of our own."""
    if "job" in event:
        job, gave_up = event_of(event)
        return job, gave_up, bool(gave_up) and event.get("limit") != Limit.PATIENCE
    settled = Settled.from_wire(event)
    result = settled.sight.result
    job = JobSnapshot(**result) if result else JobSnapshot(name=name, status="Unknown", message=settled.sight.told)
    return job, settled.gave_up, settled.timed_out

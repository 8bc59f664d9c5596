"""Running any Azure ML job: whatever azure-ai-ml can submit."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from airflow_azureml.core.jobs import JobKey, JobSnapshot, StopFirst
from airflow_azureml.core.plain import held, released
from airflow_azureml.core.reports import Report
from airflow_azureml.core.results import PipelineResult
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.operators.base import AzureMLWaitingOperator
from airflow_azureml.operators.plain import AzureExpressionsOperator, submit_named
from airflow_azureml.operators.start import Try, find_or_start
from airflow_azureml.operators.tries import map_index, try_of
from airflow_azureml.wire import named

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client
    from airflow_azureml.client.sdk import JobSource

__all__ = ["AzureMLJobOperator"]


class AzureMLJobOperator(AzureExpressionsOperator, AzureMLWaitingOperator):
    """Runs any job that azure-ai-ml can submit (command, pipeline, sweep, ...), and waits for it without a worker slot.

    The job's name is its key, so submitting twice is submitting once. azure-ai-ml is imported in the worker, when the
    task runs; it reads the job, uploads its code (content that is there already is not uploaded again) and submits.
    Needs the extra ``sdk`` where tasks run.

    Args:
        job: The job: the path of a YAML file on the worker, its content as a mapping, an object of azure-ai-ml, or a
            callable that returns one of these, which is called in the worker; paths and mappings are templated. Azure
            ML's own ``${{inputs.x}}`` in them stays as it is.
        experiment: The experiment to list the job under, templated; by default the job's own.
        idempotency_key: What makes two submissions the same, templated; by default the task instance.
        if_exists: ``reattach``, ``new_attempt`` or ``fail``, as for `AzureMLPipelineOperator`.
        preflight: Whether to look first for what the job needs, as for `AzureMLPipelineOperator`; False by default.
        follow: What the task's log tells of the job while it runs: ``log`` unless told otherwise, since the code is the
            DAG's own; ``steps`` or ``none``, as for other operators.
        kwargs: What `airflow_azureml.operators.base.AzureMLWaitingOperator` takes (``conn_id``, ``deferrable``,
            ``on_kill_action``, ``timeout``, ``patience``, ``poll_interval``, ``on_reuse``), and Airflow's own.
    """

    template_fields: Sequence[str] = ("job", "experiment", "idempotency_key", "conn_id")
    template_fields_renderers = {"job": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(
        self,
        *,
        job: "JobSource",
        experiment: str = "",
        idempotency_key: str = "",
        if_exists: str = "reattach",
        preflight: bool = False,
        follow: str = "log",
        **kwargs: Any,
    ) -> None:
        super().__init__(follow=follow, **kwargs)
        self.job = held(job)
        self.experiment = experiment
        self.idempotency_key = idempotency_key
        self.if_exists = if_exists
        self.preflight = preflight

    def find_or_start(
        self, context: "Context", client: "Client", settings: ConnectionSettings
    ) -> JobSnapshot | StopFirst:
        """Find the job of this try's key, or submit it."""
        this = try_of(
            context,
            self._key(context),
            if_exists=self.if_exists,
            cancels_on_kill=self.on_kill_action == "cancel",
            preflight=self.preflight,
        )
        backend = SdkBackend(client=client, settings=settings, source=self.job, experiment=self.experiment)
        return find_or_start(client, settings.workspace, this, backend)

    def result(self, context: "Context", job: JobSnapshot, report: Report) -> dict[str, Any]:
        """Return the small result."""
        key = self._key(context)
        return PipelineResult(job=job, pipeline="job", key=key.digest, report=report).to_wire()

    def _key(self, context: "Context") -> JobKey:
        ti = context["ti"]
        if self.idempotency_key:
            return JobKey.given(ti.dag_id, ti.task_id, self.idempotency_key)
        return JobKey.of_task(ti.dag_id, ti.run_id, ti.task_id, map_index(ti))


@define(kw_only=True)
class SdkBackend:
    """Jobs that azure-ai-ml submits, under names of ours."""

    client: "Client"
    settings: ConnectionSettings
    source: Any
    experiment: str
    _job: Any = None

    def check(self) -> None:
        """Do nothing: the SDK, which takes four seconds, is needed only when there is something to submit."""

    def find(self, key: JobKey) -> Sequence[JobSnapshot]:
        """Look for the names that attempts have."""
        return self.client.run(named.named(self.settings.workspace, key))

    def submit(self, this: Try, attempt: int) -> JobSnapshot:
        """Read the job, and submit it; one of that name that is there already is adopted."""
        from airflow_azureml.client import sdk  # noqa: PLC0415  # not for DAG parsing

        job = sdk.load(released(self.source))
        job.experiment_name = self.experiment or job.experiment_name
        return submit_named(self.client, self.settings, job, this=this, attempt=attempt)

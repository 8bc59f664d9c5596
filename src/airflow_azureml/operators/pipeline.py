"""Running a published pipeline."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_azureml.core.jobs import JobKey, JobSnapshot, StopFirst
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import BatchEndpoint, Pipeline, PipelineComponent
from airflow_azureml.core.reports import Report
from airflow_azureml.core.results import PipelineResult, check_outputs_fit
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.operators.backends import Order, backend_of
from airflow_azureml.operators.base import AzureMLWaitingOperator
from airflow_azureml.operators.start import find_or_start
from airflow_azureml.operators.tries import map_index, try_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client

__all__ = ["AzureMLPipelineOperator", "BatchEndpoint", "PipelineComponent"]


class AzureMLPipelineOperator(AzureMLWaitingOperator):
    """Runs a published Azure ML pipeline, and waits for it without a worker slot.

    Submitting twice is submitting once, across retries, crashes and repeated events: every job carries an idempotency
    key, and whoever may not be the first looks for it before posting. Only ``Completed`` is a success. What the task
    returns (XCom, less than 4 kB) is described at `airflow_azureml.core.results.PipelineResult.to_wire`.

    Args:
        pipeline: The published pipeline: a `BatchEndpoint` or a `PipelineComponent`; its fields may be templates.
        inputs: The pipeline's inputs, templated: literals, URIs (``azureml://``, ``https://``,
            ``azureml:NAME:VERSION``), or mappings with a ``uri``. An arrival (`ClaimArrivalsOperator` returns a list of
            them) is pinned by its eTag: a blob that is gone fails the task, one that was replaced skips it, and nothing
            is submitted.
        outputs: URIs for the pipeline's outputs, templated; ``{key}`` in one becomes the idempotency key, the same on
            every try.
        formats: Names of inputs and the format (``csv``) that the head of an arrived blob must have, before anything is
            submitted.
        idempotency_key: What makes two submissions the same, templated. By default the versions of the arrived blobs
            among the inputs; where there are none, the task instance.
        if_exists: What to do when a job with the key is there already: ``reattach`` (wait for it, or take its result),
            ``new_attempt`` (start another; a live one is ended first) or ``fail``, unless it is this task instance's
            own, from before a crash.
        experiment: The Azure ML experiment to list the job under, templated; by default the back end's.
        settings: Settings of the job of a `PipelineComponent`, such as ``default_compute``; ``force_rerun`` is true
            unless told otherwise, since a score out of another run's cache is a success that was not. The deployment
            of a `BatchEndpoint` has settings of its own.
        kwargs: What `airflow_azureml.operators.base.AzureMLWaitingOperator` takes (``conn_id``, ``deferrable``,
            ``on_kill_action``, ``timeout``, ``patience``, ``poll_interval``, ``on_reuse``), and Airflow's own.
    """

    template_fields: Sequence[str] = (
        "pipeline",
        "inputs",
        "outputs",
        "idempotency_key",
        "experiment",
        "settings",
        "conn_id",
    )
    template_fields_renderers = {"inputs": "json", "outputs": "json", "settings": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        pipeline: Pipeline,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, str] | None = None,
        formats: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        if_exists: str = "reattach",
        experiment: str = "",
        settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.inputs = inputs
        self.outputs = outputs
        self.formats = formats
        self.idempotency_key = idempotency_key
        self.if_exists = if_exists
        self.experiment = experiment
        self.settings = settings

    def find_or_start(
        self, context: "Context", client: "Client", settings: ConnectionSettings
    ) -> JobSnapshot | StopFirst:
        """Find the job of this try's key, or start it."""
        passed = self._passed()
        key = self._key(context, passed)
        outputs = self._outputs(key)
        check_outputs_fit(outputs)
        order = Order(
            passed=passed,
            outputs=outputs,
            experiment=self.experiment,
            settings={"force_rerun": True, **(self.settings or {})},
        )
        this = try_of(context, key, if_exists=self.if_exists, cancels_on_kill=self.on_kill_action == "cancel")
        return find_or_start(client, settings.workspace, this, backend_of(client, settings, self.pipeline, order))

    def result(self, context: "Context", job: JobSnapshot, report: Report) -> dict[str, Any]:
        """Return the small result."""
        key = self._key(context, self._passed())
        return PipelineResult(
            job=job, pipeline=str(self.pipeline), key=key.digest, asked=self._outputs(key), report=report
        ).to_wire()

    def _passed(self) -> Passed:
        return Passed.parse(self.inputs or {}, self.formats or {})

    def _key(self, context: "Context", passed: Passed) -> JobKey:
        ti = context["ti"]
        if self.idempotency_key:
            return JobKey.given(ti.dag_id, ti.task_id, self.idempotency_key)
        if passed.arrivals:
            return JobKey.of_blobs(ti.dag_id, ti.task_id, [arrival.key for arrival in passed.arrivals.values()])
        return JobKey.of_task(ti.dag_id, ti.run_id, ti.task_id, map_index(ti))

    def _outputs(self, key: JobKey) -> dict[str, str]:
        return {name: str(uri).replace("{key}", key.digest) for name, uri in (self.outputs or {}).items()}

"""Running a pipeline, published or not."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_azureml.core.jobs import JobKey, JobSnapshot, StopFirst
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import BatchEndpoint, PipelineComponent
from airflow_azureml.core.plain import AnyPipeline, PipelineFile, held, named
from airflow_azureml.core.published import PipelineEndpoint, PublishedPipeline
from airflow_azureml.core.repair import check
from airflow_azureml.core.reports import Report
from airflow_azureml.core.results import PipelineResult, check_outputs_fit
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.operators.backends import Order, backend_of
from airflow_azureml.operators.base import AzureMLWaitingOperator
from airflow_azureml.operators.plain import AzureExpressionsOperator
from airflow_azureml.operators.preflight import looking_first
from airflow_azureml.operators.start import find_or_start
from airflow_azureml.operators.tries import map_index, try_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client

__all__ = [
    "AzureMLPipelineOperator",
    "BatchEndpoint",
    "PipelineComponent",
    "PipelineEndpoint",
    "PipelineFile",
    "PublishedPipeline",
]


class AzureMLPipelineOperator(AzureExpressionsOperator, AzureMLWaitingOperator):
    """Runs an Azure ML pipeline, and waits for it without a worker slot.

    Submitting twice is submitting once, across retries, crashes and repeated events: every job carries an idempotency
    key, and whoever may not be the first looks for it before posting. Only ``Completed`` is a success. What the task
    returns (XCom, less than 4 kB) is described at `airflow_azureml.core.results.PipelineResult.to_wire`.

    Args:
        pipeline: The published pipeline: a `BatchEndpoint` or a `PipelineComponent`, or what SDK v1 published, a
            `PublishedPipeline` or a `PipelineEndpoint`; its fields may be templates. Or a pipeline job that is
            published nowhere, which azure-ai-ml submits: a `PipelineFile` on the worker, the content of such a file
            (templated; Azure ML's own ``${{parent.inputs.x}}`` stays as it is), a pipeline job of azure-ai-ml, or a
            callable that returns one of these, which is called in the worker. Needs the extra ``sdk`` there.
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
        settings: Settings of the job of a `PipelineComponent` or of one that is published nowhere, such as
            ``default_compute``; ``force_rerun`` is true unless told otherwise here, since a score out of another run's
            cache is a success that was not. The deployment of a `BatchEndpoint` has settings of its own, and what SDK
            v1 published takes ``continue_on_step_failure``.
        repair: Whether a new attempt takes over the steps that completed in the attempts before it, instead of running
            them again. Then no attempt has ``force_rerun``; see ``docs/how-to/retries.md``, and ``on_reuse`` for
            results that are another's. Of a `PipelineComponent` and of what is published nowhere; what else is
            published decides itself. False by default, since only ``force_rerun`` rules out another's results.
        preflight: Whether to look, before anything is submitted, whether computes, quota, environments, datastores and
            inputs are there, and complain once of all that is not; see ``docs/how-to/preflight.md``. False by default:
            it costs about ten requests, and where a job is short its own failure says as much.
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
        pipeline: AnyPipeline,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, str] | None = None,
        formats: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        if_exists: str = "reattach",
        experiment: str = "",
        settings: Mapping[str, Any] | None = None,
        repair: bool = False,
        preflight: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = held(pipeline)
        self.inputs = inputs
        self.outputs = outputs
        self.formats = formats
        self.idempotency_key = idempotency_key
        self.if_exists = if_exists
        self.experiment = experiment
        self.settings = settings
        self.repair = repair
        self.preflight = preflight

    def find_or_start(
        self, context: "Context", client: "Client", settings: ConnectionSettings
    ) -> JobSnapshot | StopFirst:
        """Find the job of this try's key, or start it."""
        passed = self._passed()
        key = self._key(context, passed)
        outputs = self._outputs(key)
        check_outputs_fit(outputs)
        decides = not isinstance(self.pipeline, BatchEndpoint | PublishedPipeline | PipelineEndpoint)
        check(wanted=self.repair, settings=self.settings or {}, decides=decides, pipeline=named(self.pipeline))
        order = Order(
            passed=passed,
            outputs=outputs,
            experiment=self.experiment,
            settings={"force_rerun": True, **(self.settings or {})},
            repair=self.repair,
        )
        this = try_of(
            context,
            key,
            if_exists=self.if_exists,
            cancels_on_kill=self.on_kill_action == "cancel",
            preflight=self.preflight,
        )
        backend = backend_of(client, settings, self.pipeline, order)
        if self.preflight:
            backend = looking_first(backend, client, settings, pipeline=self.pipeline, order=order)
        return find_or_start(client, settings.workspace, this, backend)

    def result(self, context: "Context", job: JobSnapshot, report: Report) -> dict[str, Any]:
        """Return the small result."""
        key = self._key(context, self._passed())
        return PipelineResult(
            job=job, pipeline=named(self.pipeline), key=key.digest, asked=self._outputs(key), report=report
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

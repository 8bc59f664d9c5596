"""Scoring one batch."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException
from attrs import evolve

from airflow_azureml.core.files import FAULT_OF_FORMAT
from airflow_azureml.core.jobs import JobKey, JobSnapshot, StopFirst
from airflow_azureml.core.ledger import Batch, BatchState
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.reports import Report, fit
from airflow_azureml.core.results import MOST_BYTES
from airflow_azureml.core.staging import Publication
from airflow_azureml.core.triage import REACTION_OF_CAUSE, Action, Cause
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, ConfigError, FencedError, JobError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import BatchWork, for_airflow, key_of
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator
from airflow_azureml.wire import jobs

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client

__all__ = ["AzureMLScoreBatchOperator"]


class BatchFailedError(JobError):
    """The job failed, and its blobs are open again, in smaller batches: another try of this task has nothing to do."""

    retryable = False


class AzureMLScoreBatchOperator(BatchWork, AzureMLPipelineOperator):
    """Scores one batch that was claimed: stages its blobs, runs the pipeline on their folder, publishes the result.

    The job's key is the batch's id, so that whoever goes on with the batch finds the job. Before a job is submitted,
    and again before its result is published, the ledger is asked whether the batch is still ours.

    A job that failed for a reason that another try may mend is tried again as the task's ``retries`` say. Otherwise the
    batch has failed: its blobs go into smaller batches with the next claim, so that one bad blob is found, and the
    others are scored.

    Returns less than 4 kB: the result of the pipeline, as `airflow_azureml.core.results.PipelineResult.to_wire` writes
    it, and ``batch``, ``blobs``, ``rejected_blobs``, ``gone_blobs``, ``rows``, ``rejected_rows``.

    Args:
        batch: The batch's id, templated.
        format: What a blob must be by its first bytes, ``csv``; one that is not is rejected before it is staged. Empty
            for anything.
        kwargs: What `airflow_azureml.operators.batch_work.BatchWork` takes and, but for ``outputs``, ``formats``,
            ``idempotency_key`` and ``if_exists``, `airflow_azureml.operators.pipeline.AzureMLPipelineOperator`.
    """

    template_fields: Sequence[str] = (*AzureMLPipelineOperator.template_fields, *BatchWork.batch_fields, "batch")

    def __init__(self, *, batch: str, format: str = "csv", **kwargs: Any) -> None:  # noqa: A002  # the input's format
        super().__init__(**kwargs)
        self.batch = batch
        self.format = format
        # Whether this try has entered the batch as submitted itself: then no job of it can be there already.
        self._is_first = False

    def execute(self, context: "Context") -> Any:
        """Stage the batch, enter it as submitted, and go on as with every pipeline."""
        try:
            settings = self._connection = AzureMLHook(self.conn_id).settings
            batch = asyncio.run(self._enter(context, settings))
            if batch.state is BatchState.SCORED or (batch.state is BatchState.SUBMITTED and not batch.accepted):
                publication = asyncio.run(self._publish(settings, batch.job))
                return {"batch": self.batch, "job": batch.job, **publication.counts}
        except AzureMLError as error:
            raise for_airflow(error) from error
        if batch.state.is_final:
            raise AirflowSkipException(
                f"Batch {batch.id} is {batch.state.value} ({batch.reason}): its blobs are open again, for other batches"
            )
        return super().execute(context)

    def find_or_start(
        self, context: "Context", client: "Client", settings: ConnectionSettings
    ) -> JobSnapshot | StopFirst:
        """Find the batch's job, or start it, and tell the ledger which it is."""
        found = super().find_or_start(context, client, settings)
        if isinstance(found, StopFirst):
            return found
        try:
            asyncio.run(self._submit(context, settings, job=found.name))
        except FencedError:
            if not found.phase.is_final:
                client.run(jobs.cancel(settings.workspace, found.name))
                self.log.warning("Asked Azure ML to cancel job %s, since the batch is in other hands", found.name)
            raise
        return found

    def failed(self, context: "Context", job: JobSnapshot, error: JobError) -> JobError:
        """Settle the batch, unless another try may mend it."""
        ti: Any = context["ti"]
        cause = Cause(error.cause) if error.cause else Cause.UNKNOWN
        if ti.try_number <= ti.max_tries and REACTION_OF_CAUSE[cause].action is not Action.FAIL:
            return super().failed(context, job, error)
        asyncio.run(self._fail(AzureMLHook(self.conn_id).settings, job.name, str(error)))
        return BatchFailedError(
            f"{error}\nBatch {self.batch} has failed; the next run takes its blobs in smaller batches.",
            cause=error.cause,
        )

    def result(self, context: "Context", job: JobSnapshot, report: Report) -> dict[str, Any]:
        """Publish, and return the small result."""
        settings = AzureMLHook(self.conn_id).settings
        publication = asyncio.run(self._publish(settings, job.name))
        result = super().result(context, job, report)
        for arrival, reason in publication.rejected:
            self.log.warning("Not scored: %s, eTag %s: %s", arrival.uri, arrival.etag, reason)
        wanted = {**result, "batch": self.batch, **publication.counts}
        fitted = fit(wanted, MOST_BYTES, kept_outputs=[self.output_name])
        return {**fitted, "left_out": result["left_out"] + fitted["left_out"]}

    async def _enter(self, context: "Context", settings: ConnectionSettings) -> Batch:
        """Stage a batch that is claimed, and enter it as submitted; nobody else can submit it from then on."""
        if self.format and self.format not in FAULT_OF_FORMAT:
            raise ConfigError(f"format is {self.format!r}; it is none of {', '.join(FAULT_OF_FORMAT)}.")
        async with self.desk(settings) as desk:
            batch = await desk.ledger.batch(self.batch)
            if batch.state.is_final:
                return batch
            rejected: Mapping[str, str] = {}
            self._is_first = batch.state is BatchState.CLAIMED
            if self._is_first:
                rejected = await self._stage(settings, batch)
            return await desk.ledger.submit(batch.id, owner=self.owner_in(context), rejected=rejected)

    async def _stage(self, settings: ConnectionSettings, batch: Batch) -> Mapping[str, str]:
        from airflow_azureml.client.staging import Staging  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

        async with Staging(settings, self.places.staging) as staging:
            staged = await staging.stage(batch.id, batch.accepted, format_name=self.format)
        self.log.info("Batch %s: %d blobs are staged in %s", batch.id, len(staged.files), self.places.data(batch.id))
        for each in batch.accepted:
            if each.key in staged.left_out:
                self.log.warning("Left out: %s, eTag %s: %s", each.uri, each.etag, staged.left_out[each.key])
        return staged.left_out

    async def _submit(self, context: "Context", settings: ConnectionSettings, *, job: str) -> None:
        async with self.desk(settings) as desk:
            await desk.ledger.submit(self.batch, owner=self.owner_in(context), job=job)

    async def _publish(self, settings: ConnectionSettings, job: str) -> Publication:
        async with self.desk(settings) as desk:
            return await desk.publish(await desk.ledger.batch(self.batch), job)

    async def _fail(self, settings: ConnectionSettings, job: str, reason: str) -> None:
        async with self.desk(settings) as desk:
            await desk.ledger.failed(self.batch, job=job, reason=reason)

    def _passed(self) -> Passed:
        return Passed.parse(self.passed_for(self.batch, self.inputs), {})

    def _key(self, context: "Context", passed: Passed) -> JobKey:  # noqa: ARG002  # as of every pipeline
        return evolve(key_of(self.batch), lasting=not self._is_first)

    def _outputs(self, key: JobKey) -> dict[str, str]:
        return {self.output_name: self.places.output(key.digest)}

"""Settling batches: publishing what is scored, and opening again what is not.

A batch is settled in the ledger first, which fences off whoever comes too late; then its marker is written, and only
then it leaves the index of unsettled batches. Whoever dies on the way is followed by the next claim.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from airflow_azureml.core.batches import Case, Ruling, rule, same_group
from airflow_azureml.core.ledger import Batch, BatchState
from airflow_azureml.core.staging import MOST_REPORT, REPORT, BatchReport, Places, Publication
from airflow_azureml.errors import AzureMLError, ConfigError, FencedError, JobError, ProtocolError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow_azureml.client.ledger import Ledger
    from airflow_azureml.client.unsettled import Unsettled
    from airflow_azureml.core.jobs import JobSnapshot
    from airflow_azureml.core.workspace import ConnectionSettings
    from airflow_azureml.hooks.ledgers import AnyLedger

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Desk:
    """What is needed to work on batches, opened.

    Attributes:
        settings: The connection.
        places: Where batches are staged and published.
        ledger: The ledger.
        unsettled: Which batches still have consequences to come.
    """

    settings: "ConnectionSettings"
    places: Places
    ledger: "Ledger"
    unsettled: "Unsettled"

    async def publish(self, batch: Batch, job: str) -> Publication:
        """Settle a batch whose job is completed, and write the marker; again changes nothing.

        Args:
            batch: It was submitted, or is scored already.
            job: The job's name; empty where nothing was left to score.

        Raises:
            FencedError: It was settled otherwise; nothing is published.
            JobError: What the pipeline reports cannot be read.
        """
        output = self.places.output(batch.id) if job else ""
        publication = Publication.of(
            batch.id,
            job=job,
            output=output,
            arrivals=batch.arrivals,
            rejected=batch.rejected,
            report=self._report(batch, job) if job else BatchReport(),
        )
        await self.ledger.scored(batch.id, job=job, output=output, rejected=publication.reasons)
        self._write_marker(publication)
        await self.unsettled.remove([batch.id])
        await self._clear(batch)
        return publication

    def _report(self, batch: Batch, job: str) -> BatchReport:
        from airflow_azureml.client.small_files import read_small  # noqa: PLC0415  # not when a DAG is parsed

        uri = f"{self.places.output(batch.id)}{REPORT}"
        try:
            return BatchReport.parse(read_small(self.settings, self._address(uri), most_bytes=MOST_REPORT))
        except ProtocolError as error:
            raise JobError(f"Job {job} is completed, but what it reports in {uri} cannot be used: {error}") from error

    def _write_marker(self, publication: Publication) -> None:
        from airflow_azureml.client.staging import write_once  # noqa: PLC0415  # not when a DAG is parsed

        uri = self.places.marker(publication.batch_id)
        if write_once(self.settings, self._address(uri), publication.marker().encode()):
            log.info("Batch %s is published by %s", publication.batch_id, uri)

    def _address(self, uri: str) -> str:
        with AzureMLHook.open(self.settings) as client:
            workspace = self.settings.workspace
            return client.run(outputs.blob_url(workspace, uri, domain=self.settings.addresses.storage))

    async def _clear(self, batch: Batch) -> None:
        """Delete what was staged; what cannot be deleted costs storage, and fails nothing."""
        from airflow_azureml.client.staging import Staging  # noqa: PLC0415  # not when a DAG is parsed

        try:
            async with Staging(self.settings, self.places.staging) as staging:
                await staging.clear(batch.id, batch.arrivals)
        except AzureMLError as error:
            log.warning("What was staged for batch %s is left there: %s", batch.id, error)


@contextlib.asynccontextmanager
async def desk(
    settings: "ConnectionSettings", ledger: "AnyLedger", places: Places, *, account_url: str
) -> AsyncIterator[Desk]:
    """Open what is needed to work on batches.

    Args:
        settings: The connection.
        ledger: Which ledger.
        places: Where batches are staged and published.
        account_url: The blobs' account.
    """
    from airflow_azureml.client.unsettled import Unsettled  # noqa: PLC0415  # not when a DAG is parsed

    async with ledger.open(settings, account_url) as opened:
        yield Desk(settings=settings, places=places, ledger=opened, unsettled=Unsettled(opened))


@frozen(kw_only=True)
class Settlement:
    """Settles what dead runs have left.

    Attributes:
        desk: What it takes.
        owner: Who settles.
        lives: Tells whether an owner is still at work.
        find_job: Looks for the last job of a batch; None where there is none.
        grace_s: See `Case`.
    """

    desk: Desk
    owner: str
    lives: Callable[[str], bool]
    find_job: Callable[[Batch], "JobSnapshot | None"]
    grace_s: float

    async def settle(self) -> list[Batch]:
        """Settle all that can be; return the batches whose blobs are open again."""
        ledger = self.desk.ledger
        known = await self.desk.unsettled.ids()
        found = {each.id: each for each in await ledger.open_batches()}
        await self.desk.unsettled.add(found.keys() - set(known))
        for batch_id in known:
            if batch_id not in found:
                with contextlib.suppress(KeyError):
                    found[batch_id] = await self._recall(batch_id)
        settled = [(each, await self._settle_one(each)) for each in found.values()]
        return [await ledger.batch(each.id) for each, ruling in settled if ruling is Ruling.REOPENED]

    async def _recall(self, batch_id: str) -> Batch:
        """Read a batch of the index; one that the ledger has forgotten leaves it.

        Raises:
            KeyError: It is forgotten.
        """
        try:
            return await self.desk.ledger.batch(batch_id)
        except ConfigError as error:
            log.info("Batch %s is settled: %s", batch_id, error)
            await self.desk.unsettled.remove([batch_id])
            raise KeyError(batch_id) from error

    async def _settle_one(self, batch: Batch) -> Ruling:
        """Settle one; that somebody else was faster is fine, and what goes wrong with one hinders no other."""
        ended_for_good = batch.state in {BatchState.FAILED, BatchState.VOID}
        case = Case(
            state=batch.state,
            is_ours=same_group(batch.owner, self.owner),
            owner_lives=not ended_for_good and self.lives(batch.owner),
            grace_s=self.grace_s,
        )
        try:
            job = self.find_job(batch) if case.asks_for_job else None
            case = evolve(case, phase=job.phase if job else None, quiet_s=await self._quiet_s(batch))
            return await self._carry_out(rule(case), batch, job)
        except FencedError as error:
            log.info("Batch %s is left to others: %s", batch.id, error)
        except AzureMLError as error:
            log.warning("Batch %s is left to the next claim: %s", batch.id, error)
        return Ruling.LEFT

    async def _carry_out(self, ruling: Ruling, batch: Batch, job: "JobSnapshot | None") -> Ruling:
        ledger = self.desk.ledger
        told: dict[str, Any] = {"job": job.name if job else ""}
        match ruling:
            case Ruling.PUBLISHED:
                return await self._publish(batch, told["job"] or batch.job)
            case Ruling.FAILED:
                words = f"job {job.name} ended as {job.status}" if job else "its job failed"
                await ledger.failed(batch.id, reason=f"{words}, and its run was over", **told)
            case Ruling.VOIDED:
                await ledger.void(batch.id, reason=f"its run was over before a job was submitted ({batch.owner})")
            case Ruling.LEFT | Ruling.REOPENED:
                return ruling
        log.info("Batch %s of %s is %s; its blobs are open again", batch.id, batch.owner, ruling.value)
        return Ruling.REOPENED

    async def _publish(self, batch: Batch, job: str) -> Ruling:
        try:
            await self.desk.publish(batch, job)
        except JobError as error:
            await self.desk.ledger.failed(batch.id, reason=str(error), job=job)
            return Ruling.REOPENED
        log.info("Batch %s of %s, whose job %s was completed, is published", batch.id, batch.owner, job)
        return Ruling.PUBLISHED

    async def _quiet_s(self, batch: Batch) -> float:
        """Tell for how long nothing has happened to a batch, by the ledger's own clock."""
        if batch.state is not BatchState.SUBMITTED:
            return 0.0
        now = await self.desk.ledger.documents.now()
        last = datetime.fromisoformat(batch.times.get(batch.state.value, now.isoformat()))
        return (now.astimezone(UTC) - last.astimezone(UTC)).total_seconds()

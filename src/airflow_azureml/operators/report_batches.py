"""Telling what came of the batches of a run, and waking the next one."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_azureml.core.batches import summary
from airflow_azureml.core.ledger import Batch, BatchState
from airflow_azureml.core.staging import DELETED, SUPERSEDED
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import BatchWork, for_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AzureMLMoreBatchesOperator", "AzureMLReportBatchesOperator"]

ON_REJECTED = ("warn", "fail")
#: Rejected blobs that the result names, and how much of a name and a reason it has.
NAMED, LONGEST = 10, 120
REPORT = "report"
#: The XCom in which a claim says how many blobs it left open.
LEFT = "left"


class AzureMLReportBatchesOperator(BatchWork):
    """Tells what came of the batches that a run has claimed: how many blobs and rows, and which were rejected.

    Fails when a batch was not scored, or when nobody knows what was claimed. Returns less than 4 kB: ``batches``,
    ``failed_batches``, ``blobs``, ``rejected_blobs``, ``gone_blobs`` (replaced or deleted since), ``rows``,
    ``rejected_rows``, and ``rejected``, the first ten with their reasons; that is also the XCom ``report`` of a task
    that fails.

    Args:
        batches: The ids of the batches, templated.
        results: What scoring each of them returned, templated.
        on_rejected: ``warn``, or ``fail`` when a blob was rejected.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: What `BatchWork` takes, and Airflow's own.
    """

    template_fields: Sequence[str] = ("batches", "scored", "conn_id", *BatchWork.batch_fields)

    def __init__(
        self,
        *,
        batches: Any,
        scored: Any,
        on_rejected: str = "warn",
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batches = batches
        self.scored = scored
        self.on_rejected = on_rejected
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Read the ledger, and tell."""
        ti: Any = context["ti"]
        if self.batches is None:
            raise AirflowFailException("What was claimed is not known, since the claim did not end well.")
        try:
            if self.on_rejected not in ON_REJECTED:
                raise ConfigError(f"on_rejected is {self.on_rejected!r}; it must be one of {', '.join(ON_REJECTED)}.")
            batches = asyncio.run(self._read(AzureMLHook(self.conn_id).settings))
        except AzureMLError as error:
            raise for_airflow(error) from error
        told = self._tell(batches)
        ti.xcom_push(key=REPORT, value=told)
        unscored = [each for each in batches if each.state is not BatchState.SCORED]
        if unscored:
            words = "; ".join(f"{each.id} is {each.state.value}" for each in unscored[:NAMED])
            raise AirflowFailException(
                f"{len(unscored)} of {len(batches)} batches were not scored: {words}. The next run goes on with them."
            )
        if told["rejected_blobs"] and self.on_rejected == "fail":
            raise AirflowFailException(f"{told['rejected_blobs']} blobs were rejected; the log names them.")
        return told

    async def _read(self, settings: ConnectionSettings) -> list[Batch]:
        async with self.desk(settings) as desk:
            return list(await asyncio.gather(*(desk.ledger.batch(each) for each in self.batches)))

    def _tell(self, batches: Sequence[Batch]) -> dict[str, Any]:
        rejected = [
            (arrival, batch.rejected[arrival.key])
            for batch in batches
            for arrival in batch.arrivals
            if arrival.key in batch.rejected
        ]
        for arrival, reason in rejected:
            self.log.warning("Not scored: %s, eTag %s: %s", arrival.uri, arrival.etag, reason)
        named = [each for each in rejected if not each[1].startswith((SUPERSEDED, DELETED))][:NAMED]
        told = {
            "batches": len(batches),
            "failed_batches": sum(each.state is not BatchState.SCORED for each in batches),
            **summary(list(_there(self.scored))),
        }
        self.log.info("%s", ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in told.items()))
        return {
            **told,
            "rejected": [{"path": one.path[-LONGEST:], "reason": reason[:LONGEST]} for one, reason in named],
        }


class AzureMLMoreBatchesOperator(BatchWork):
    """Wakes the DAG once more, by an event of its own asset, where a run has left something to do; is skipped else.

    That is so when the claim was full and something of it was scored, and when a batch has failed: its blobs are tried
    again in smaller batches. A run that got nothing done wakes nobody; the schedule does.

    Args:
        batches: The ids of the batches, templated.
        claim: The task that claimed; a retry of it does not say how many blobs it left open: then one more run looks.
        asset: The asset that wakes the DAG.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: What `BatchWork` takes, and Airflow's own.
    """

    template_fields: Sequence[str] = ("batches", "conn_id", *BatchWork.batch_fields)

    def __init__(
        self,
        *,
        batches: Any,
        claim: str,
        asset: Asset,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(outlets=[asset], **kwargs)
        self.batches = batches
        self.claim = claim
        self.conn_id = conn_id

    def execute(self, context: "Context") -> None:
        """Look whether there is more; ending well is the event."""
        ti: Any = context["ti"]
        try:
            states = asyncio.run(self._states(AzureMLHook(self.conn_id).settings))
        except AzureMLError as error:
            raise for_airflow(error) from error
        has_more = ti.xcom_pull(task_ids=self.claim, key=LEFT) != 0 and BatchState.SCORED in states
        if not has_more and BatchState.FAILED not in states:
            raise AirflowSkipException("Nothing is left that another run could do at once.")
        self.log.info("More is open; the DAG is woken once more")

    async def _states(self, settings: ConnectionSettings) -> set[BatchState]:
        async with self.desk(settings) as desk:
            found = await asyncio.gather(*(desk.ledger.batch(each) for each in self.batches or ()))
        return {each.state for each in found}


def _there(results: Iterable[Any] | None) -> Iterable[dict[str, Any]]:
    """Leave out the batches whose task returned nothing."""
    return (each for each in results or () if isinstance(each, dict))

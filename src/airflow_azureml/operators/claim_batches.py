"""Claiming batches of what has arrived."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from airflow_azureml.core.batches import GRACE_S, Batching, Linger, Take, Window, choose
from airflow_azureml.core.cursor import Claim, Cursor
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.jobs import JobSnapshot, Phase
from airflow_azureml.core.ledger import Batch
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.plain import AnyPipeline, held
from airflow_azureml.core.sets import Sets
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.backends import Order, backend_of
from airflow_azureml.operators.batch_work import BatchWork, for_airflow, key_of
from airflow_azureml.operators.events import StoredEvents
from airflow_azureml.operators.gathering import Gathering
from airflow_azureml.operators.owners import Owners
from airflow_azureml.operators.plain import AzureExpressionsOperator
from airflow_azureml.operators.report_batches import LEFT
from airflow_azureml.operators.settling import Desk, Settlement
from airflow_azureml.triggers.pause import PauseTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["AzureMLClaimBatchesOperator"]

#: The tasks of a group that work on its batches.
CLAIM, SCORE = "claim", "score"
#: How often a claim that lingers looks whether more has arrived. Seconds.
LOOK_S = 60.0
#: How long a claim with nothing to claim waits for blobs that are not complete yet. Seconds.
INCOMPLETE_S = 600.0


class AzureMLClaimBatchesOperator(BatchWork, AzureExpressionsOperator):
    """Claims what is open, in batches; the first task of a group that scores them.

    What is open is asked of the asset's events since the cursor, of a listing of the container, and of what runs that
    are over have left; the ledger decides. Settles what those runs have left first.

    Returns the ids of the batches. A retry, and the task cleared by a person, return those of its batches again that
    have not ended.

    Args:
        pipeline: The pipeline that scores a batch; see `airflow_azureml.operators.pipeline.AzureMLPipelineOperator`.
        inputs: The pipeline's other inputs, templated.
        wanted: Which blobs count, as `ArrivalFilter.to_wire` writes it, templated.
        asset: The asset whose events tell of blobs; None where only the listing does.
        sets: What says that blobs which belong together are all there, as `Sets.to_wire` writes it; None where each
            blob stands for itself.
        batching: How much goes into a batch.
        since: Blobs that were written before do not count, templated; see `airflow_azureml.core.batches.Window.parse`.
            With a window, events are not asked: the listing tells all that is in it.
        until: Blobs that were written then or later do not count, templated.
        late: How much earlier than ``since`` the window begins, for what came late.
        reconcile_every: How often the container is listed beside the events.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: What `BatchWork` takes, and Airflow's own.
    """

    #: For how long a batch of a run that is over, and has no job, may still get one. Seconds.
    grace_s: float = GRACE_S

    template_fields: Sequence[str] = (
        *("pipeline", "inputs", "wanted", "since", "until", "conn_id"),
        *BatchWork.batch_fields,
    )
    template_fields_renderers = {"inputs": "json", "wanted": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        pipeline: AnyPipeline,
        wanted: Mapping[str, Any],
        inputs: Mapping[str, Any] | None = None,
        asset: Asset | None = None,
        sets: Mapping[str, Any] | None = None,
        batching: Batching | None = None,
        since: str = "",
        until: str = "",
        late: timedelta = timedelta(0),
        reconcile_every: timedelta = timedelta(hours=1),
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        inlets = [asset] if asset is not None else []
        super().__init__(inlets=inlets, **{"max_active_tis_per_dag": 1, **kwargs})
        self.pipeline = held(pipeline)
        self.inputs = inputs
        self.wanted = wanted
        self.asset = asset
        self.sets = sets
        self.batching = batching or Batching()
        self.since = since
        self.until = until
        self.late = late
        self.reconcile_every = reconcile_every
        self.conn_id = conn_id

    def execute(self, context: "Context") -> list[str] | None:
        """Claim what is open, or return what this run has claimed before."""
        return self._execute(context, began_at=time.time())

    def look_again(self, context: "Context", event: dict[str, Any]) -> list[str] | None:
        """Look once more, when a claim has lingered."""
        return self._execute(context, began_at=float(event["began_at"]))

    def _execute(self, context: "Context", *, began_at: float) -> list[str] | None:
        try:
            claimed = asyncio.run(self._claim(context, AzureMLHook(self.conn_id).settings, began_at=began_at))
        except AzureMLError as error:
            raise for_airflow(error) from error
        if isinstance(claimed, Linger):
            now = time.time()
            self.log.info("Waiting for %.0f s at most: %s", claimed.seconds, claimed.why)
            until = now + min(claimed.seconds, LOOK_S)
            self.defer(trigger=PauseTrigger(until=until, began_at=began_at, deferred_at=now), method_name="look_again")
        return claimed

    async def _claim(self, context: "Context", settings: ConnectionSettings, *, began_at: float) -> list[str] | Linger:
        """Claim; whoever dies on the way leaves it all to the retry, or to the next claim."""
        async with self.desk(settings) as desk:
            mine = await desk.ledger.mine(self.owner_in(context))
            if mine:
                await desk.unsettled.add(each.id for each in mine)
                self.log.info("This run has %d open batches already; they are returned once more", len(mine))
                return [each.id for each in mine]
            gathering = self._gathering(context, desk)
            settlement = Settlement(
                desk=desk,
                owner=gathering.owner,
                lives=Owners(context["ti"], (CLAIM, SCORE)).live,
                find_job=lambda batch: self._find_job(settings, batch),
                grace_s=self.grace_s,
            )
            await gathering.take_back(await settlement.settle())
            heard = await self._hear(context, gathering)
            listed_at = await self._look(context, gathering)
            gathering.tell()
            choice = choose(list(gathering.open.values()), self.batching, now=datetime.now(UTC))
            if not gathering.open and gathering.waiting and time.time() - began_at < INCOMPLETE_S:
                return Linger(LOOK_S, f"{len(gathering.waiting)} blobs are not complete yet")
            if isinstance(choice, Linger):
                return choice
            return await self._take(context, gathering, choice, heard=heard, listed_at=listed_at)

    async def _take(
        self, context: "Context", gathering: Gathering, choice: Take, *, heard: Claim, listed_at: datetime | None
    ) -> list[str]:
        """Claim what was chosen, and note what need not be asked again; whatever is left open is."""
        ti: Any = context["ti"]
        desk = gathering.desk
        batches = await desk.ledger.claim([each.members for each in choice.packs], owner=gathering.owner)
        await desk.unsettled.add(each.id for each in batches)
        claimed = {each.key for one in choice.packs for each in one.members}
        await desk.unsettled.remove(gathering.settled(claimed))
        if gathering.is_heard(claimed, patience=self.reconcile_every):
            self._enter(context, heard)
        if listed_at is not None and not choice.left:
            self._store(context, "listed", listed_at.isoformat())
        ti.xcom_push(key=LEFT, value=choice.left)
        blobs = sum(len(each.items) for each in batches)
        self.log.info("Claimed %d blobs in %d batches; %d are left open", blobs, len(batches), choice.left)
        return [each.id for each in batches]

    def _gathering(self, context: "Context", desk: Desk) -> Gathering:
        from airflow_azureml.client.finding import Finder  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

        wanted = ArrivalFilter(**self.wanted)
        sets = None if self.sets is None else Sets.from_wire(self.sets)
        faults = [*wanted.faults(), *self.batching.faults(), *(sets.faults() if sets else [])]
        if faults:
            raise ConfigError(f"{self.task_id}: {'; '.join(faults)}.")
        finder = Finder(
            settings=desk.settings, account_url=self.account_url, wanted=wanted, sets=sets, window=self._window
        )
        return Gathering(desk=desk, finder=finder, owner=self.owner_in(context), most=self.batching.most)

    @property
    def _window(self) -> Window:
        return Window.parse(self.since, self.until, late=self.late)

    async def _hear(self, context: "Context", gathering: Gathering) -> Claim:
        """Read what the asset's events tell; within a window, the listing tells all."""
        if self.asset is None or not self._window.is_open:
            return Claim()
        stored = StoredEvents(asset=self.asset, query=context["inlet_events"])
        claim, events, _ = stored.choose(self._cursor(context), at_most=self.batching.most)
        await gathering.hear(claim.arrivals(events))
        return claim

    async def _look(self, context: "Context", gathering: Gathering) -> datetime | None:
        """List the container where that is due; when that began, if it came to its end."""
        began = datetime.now(UTC)
        listed: Any = self._stored(context, "listed")
        if self._window.is_open and listed and began - datetime.fromisoformat(listed) < self.reconcile_every:
            return None
        return began if await gathering.look() else None

    def _cursor(self, context: "Context") -> Cursor:
        return Cursor.from_wire(self._stored(context, "claimed"))

    def _enter(self, context: "Context", heard: Claim) -> None:
        """Move the cursor on."""
        if self.asset is not None:
            cursor = self._cursor(context)
            entered = StoredEvents(asset=self.asset, query=None).enter(cursor, heard)
            if entered != cursor:
                self._store(context, "claimed", entered.to_wire())

    def _stored(self, context: "Context", what: str) -> Any:
        """Read what this task keeps with its asset; None where it has no asset."""
        if self.asset is None:
            return None
        return context["asset_state_store"][self.asset].get(f"{what} by {self.dag_id}.{self.task_id}")

    def _store(self, context: "Context", what: str, value: Any) -> None:
        if self.asset is not None:
            context["asset_state_store"][self.asset].set(f"{what} by {self.dag_id}.{self.task_id}", value)

    def _find_job(self, settings: ConnectionSettings, batch: Batch) -> JobSnapshot | None:
        """Look for the last job of a batch."""
        order = Order(
            passed=Passed.parse(self.passed_for(batch.id, self.inputs), {}),
            outputs={self.output_name: self.places.output(batch.id)},
        )
        with AzureMLHook.open(settings) as client:
            found = backend_of(client, settings, self.pipeline, order).find(key_of(batch.id))
        living = [job for job in found if not job.phase.is_final]
        done = [job for job in found if job.phase is Phase.SUCCEEDED]
        return max(living or done or found, key=lambda job: job.attempt, default=None)

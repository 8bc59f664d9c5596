"""Claiming what has arrived."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from airflow_azureml.core.arrivals import latest
from airflow_azureml.core.cursor import Claim, Cursor, Event
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.operators.events import StoredEvents

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

__all__ = ["ClaimArrivalsOperator"]

#: Where a task instance keeps its claim.
CLAIM = "claim"


class ClaimArrivalsOperator(BaseOperator):
    """Take everything that has arrived and nobody has taken: the first task of a DAG that an asset wakes.

    Returns the arrivals, oldest first, each blob once and in its newest version; map the next task over them with
    ``expand``. What is returned is what `airflow_azureml.core.arrivals.Arrival.to_wire` writes; nothing to do is an
    empty list. A retry, and the task cleared by a person, return the same claim again.

    Every task that claims has a cursor of its own, in the asset's state store, by its DAG and its id. The first claim
    takes everything that Airflow has ever stored for the asset; so does a task under a new name.

    Two tasks that claim at the same moment read the same cursor and take the same arrivals: nothing is lost then, but
    work is done twice. So Airflow runs one at a time (``max_active_tis_per_dag=1``), whatever the number of active runs
    of the DAG. With ``max_active_runs=1`` an arrival waits until the work on those before it has ended.

    An event wakes the DAG; give it a slow tick beside the asset (``AssetOrTimeSchedule``), for what no event will wake:
    arrivals that a full claim left open, and those of a run that died before it claimed.

    Args:
        asset: The asset, made by `airflow_azureml.watchers.blob_arrivals`.
        at_most: Arrivals after which a claim is full, at least 1; the rest is left open to the next run, and the log
            says so. Airflow maps no task over more than ``[core] max_map_length`` values, 1,024 unless
            changed.

    Raises:
        ConfigError: The asset's filter asks for what only a look at its blobs can tell: ``metadata``, ``tags`` or
            ``quiet_for``. This operator returns what events told, and looks at nothing;
            `airflow_azureml.task_groups.arrivals.score_arrivals` does.
    """

    def __init__(self, *, asset: Asset, at_most: int = 1000, **kwargs: Any) -> None:
        for_looks = sorted({name for each in asset.watchers for name in _for_looks(each.trigger)})
        if for_looks:
            raise ConfigError(
                f"ClaimArrivalsOperator: asset {asset.name!r} is filtered by {', '.join(for_looks)}, for which blobs "
                "have to be looked at, and this operator looks at none; use score_arrivals, or another filter."
            )
        super().__init__(inlets=[asset], **{"max_active_tis_per_dag": 1, **kwargs})
        self.asset = asset
        self.at_most = at_most

    def execute(self, context: "Context") -> list[dict[str, Any]]:
        """Claim what is open, or return what this run has claimed before."""
        try:
            return self._claim(context)
        except AzureMLError as error:
            if error.retryable:
                raise
            raise AirflowFailException(str(error)) from error

    def _claim(self, context: "Context") -> list[dict[str, Any]]:
        """Choose, note the choice, enter it into the cursor, return it; a crash between any two loses nothing."""
        stored = StoredEvents(asset=self.asset, query=context["inlet_events"])
        cursor_store = context["asset_state_store"][self.asset]
        cursor_key = f"claimed by {self.dag_id}.{self.task_id}"
        memory = context["task_state_store"]
        cursor = Cursor.from_wire(cursor_store.get(cursor_key))
        noted = memory.get(CLAIM)
        if noted is None:
            claim, events = self._choose(stored, cursor)
            memory.set(CLAIM, claim.to_wire(), retention=NEVER_EXPIRE)
        else:
            claim = Claim.from_wire(noted)
            events = stored.look_up(claim)
            log.info("This run has claimed %d events before; they are returned once more", len(claim.marks))
        entered = stored.enter(cursor, claim)
        if entered != cursor:
            cursor_store.set(cursor_key, entered.to_wire())
        return self._newest(claim, events)

    def _choose(self, stored: StoredEvents, cursor: Cursor) -> tuple[Claim, list[Event]]:
        """Read on from the cursor until the claim is full or nothing is left."""
        claim, taken, left = stored.choose(cursor, at_most=self.at_most)
        for event in taken:
            if not event.arrivals:
                log.warning("Event %d of asset %s was made by hand; it tells of no arrival", event.id, self.asset.name)
        if left:
            log.warning("The claim is full with %d arrivals; the next run claims what is left open", self.at_most)
        return claim, taken

    def _newest(self, claim: Claim, events: Sequence[Event]) -> list[dict[str, Any]]:
        """Leave each blob once, and say what was left out."""
        newest = latest(claim.arrivals(events))
        again = [arrival for event in events for arrival in event.arrivals if arrival.key in claim.told]
        for arrival in again:
            log.info("Claimed by an earlier run, delivered once more: %s, eTag %s", arrival.uri, arrival.etag)
        for arrival in newest.repeated:
            log.info("Told twice: %s, eTag %s", arrival.uri, arrival.etag)
        for arrival in newest.superseded:
            log.info("Replaced since by a newer version: %s, eTag %s", arrival.uri, arrival.etag)
        if newest.kept:
            log.info("Claimed %d arrivals of %d events", len(newest.kept), len(events))
        else:
            log.info("Nothing is open: no new arrivals in %d new events", len(events))
        return [arrival.to_wire() for arrival in newest.kept]


def _for_looks(trigger: Any) -> set[str]:
    """Name what a watcher's filter asks for, and no event tells."""
    wanted = getattr(trigger, "wanted", None) or (getattr(trigger, "scan", None) or {}).get("wanted", {})
    told = {"metadata": "metadata", "tags": "tags", "quiet_s": "quiet_for"}
    return {name for field, name in told.items() if "container" in wanted and field in wanted}

"""From a queue to asset events: what Azure ML tells of a workspace; and the earlier end of waits for its jobs."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import attrs
from airflow.triggers.base import TriggerEvent

from airflow_azureml.core.ml_events import JobEvent, WorkspaceEvent, place_of
from airflow_azureml.core.ml_filters import AnyFilter, filter_from_wire
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.arrivals import EVENT_SIZE, QueueTrigger
from airflow_azureml.triggers.poller import POLLERS
from airflow_azureml.triggers.sources import Page
from airflow_azureml.wire.events import Message

log = logging.getLogger(__name__)

#: Seconds between two tries to read the connection that names the workspace: the first, and the longest.
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class WorkspaceEventTrigger(QueueTrigger):
    """Tells what happens in a workspace; at most one event for each page of messages, in which nothing stands twice.

    Whatever it is after, it also hastens the looks at those jobs of its workspace that this triggerer waits for, and of
    which a message tells. That is all that a message can do to a wait: what a look shows decides.

    Attributes:
        workspace: ``subscription/resource group/name``; empty for the workspace of the connection.
        wanted: Which events: what a filter's ``to_wire`` wrote.
    """

    workspace: str = ""
    wanted: dict[str, Any]

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Pick this asset's events from each page, and say how many are not and why."""
        place = self.workspace.lower() or await self._place_of_connection()
        wanted = filter_from_wire(self.wanted)
        async for page in shared_stream:
            page.workspaces.add(place)
            mine = self._pick(page, place, wanted)
            for start in range(0, len(mine), EVENT_SIZE):
                yield TriggerEvent([event.to_wire() for event in mine[start : start + EVENT_SIZE]])

    def _pick(self, page: Page, place: str, wanted: AnyFilter) -> list[WorkspaceEvent]:
        picked: dict[object, WorkspaceEvent] = {}
        skipped: Counter[str] = Counter()

        def _of(told: Message) -> list[WorkspaceEvent]:
            mine: list[WorkspaceEvent] = []
            for event in told.workspace_events:
                if event.workspace != place:
                    skipped[f"of workspace {event.workspace}"] += 1
                    continue
                if isinstance(event, JobEvent):
                    POLLERS.nudge(place, event.job)
                if reason := wanted.reason_to_skip(event):
                    skipped[reason] += 1
                else:
                    mine.append(event)
            return mine

        for event in self.picked(page, _of):
            picked.setdefault(event.key, event)
        if skipped:
            skips = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
            log.info("Taken %d events of workspace %s; left out: %s", len(picked), place, skips)
        return list(picked.values())

    async def _place_of_connection(self) -> str:
        """Read which workspace the connection names; pages wait for that, so that no event is refused meanwhile."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return place_of((await AzureMLHook.aget(self.conn_id)).workspace)
            except Exception as error:  # noqa: BLE001  # Airflow's secrets backends raise what they like
                log.error("Events of connection %s wait: it cannot be read: %r", self.conn_id, error)  # noqa: TRY400  # the sentence says it all
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

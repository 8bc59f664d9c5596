"""Watching a rollout in the triggerer: it looks, and changes nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import attrs
from airflow.triggers.base import TriggerEvent

from airflow_azureml.core.rollout import Act, LookAgain, Progress, decide
from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.core.rollout_record import Rollout
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger, settled
from airflow_azureml.wire.rollout import look

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import AsyncClient
    from airflow_azureml.core.workspace import Workspace


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class RolloutTrigger(DeclaredTrigger):
    """Looks at an endpoint until there is something to do; a worker does it.

    What must outlive it is written down by a worker: it says so, and another one of its kind goes on. A triggerer that
    starts anew goes on from that.

    Attributes:
        conn_id: The Airflow connection.
        rollout: What `Rollout.to_text` wrote.
        policy: What `Policy.to_wire` wrote.
        progress: The members of a `Progress`.
        may_advance: Whether a step that is complete is followed by the next; else it is watched on.
        deferred_at: When the worker deferred: seconds since 1970, UTC. See `settled`.
    """

    conn_id: str
    rollout: str
    policy: dict[str, Any]
    progress: dict[str, Any]
    may_advance: bool = True
    deferred_at: float = 0.0

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, wait, look again; the one event tells what to do, and of which state of what is written."""
        rollout = Rollout.from_text(self.rollout)
        settings = await AzureMLHook.aget(self.conn_id)
        async with AzureMLHook.open_async(settings) as client:
            act = await self._watch(client, settings.workspace, rollout)
        await settled(self.deferred_at)
        seen = {"count": rollout.count, "step": rollout.step, "rollout": self.rollout}
        yield TriggerEvent({**seen, "act": act.to_wire()})

    async def _watch(self, client: "AsyncClient", workspace: "Workspace", rollout: Rollout) -> Act:
        policy, last_told = Policy.from_wire(self.policy), ""
        progress = Progress(**self.progress).taken_up(time.time(), handed_on_at=self.deferred_at)
        while True:
            now = time.time()
            seen = await client.run(look(workspace, rollout, until=now))
            match decide(rollout, progress, seen, policy=policy, now=now, may_advance=self.may_advance):
                case Act() as act:
                    return act
                case LookAgain(after_s=after_s, progress=later, told=told):
                    if told and told != last_told:
                        self.log.info("%s", told)
                    progress, last_told = later, told
                    await asyncio.sleep(after_s)

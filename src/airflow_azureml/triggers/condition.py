"""Waiting in the triggerer for something that is not a job."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import attrs
from airflow.triggers.base import TriggerEvent

from airflow_azureml.core.conditions import Settled, Sight, State, decide
from airflow_azureml.core.waiting import LookAgain, WaitPolicy
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger, settled
from airflow_azureml.wire import conditions

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import AsyncClient


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class ConditionTrigger(DeclaredTrigger):
    """Looks at something until it is as wanted, has failed, or we give up.

    A look that fails is an uncertain look, never a failure of what is looked at.

    Attributes:
        conn_id: The Airflow connection.
        condition: What to look for; see `airflow_azureml.wire.conditions.look`.
        arguments: What that is told, by name.
        began_at: When the waiting began: seconds since 1970, UTC.
        policy: What `WaitPolicy.to_wire` wrote.
    """

    conn_id: str
    condition: str
    arguments: dict[str, Any]
    began_at: float
    policy: dict[str, Any]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, wait, look again; the one event is what `Settled.to_wire` writes."""
        policy = WaitPolicy.from_wire(self.policy)
        settings = await AzureMLHook.aget(self.conn_id)
        looks, last_told = 0, ""
        certain_at = time.monotonic()
        async with AzureMLHook.open_async(settings) as client:
            while True:
                sight = await self._look(client, settings.workspace)
                looks += 1
                now = time.monotonic()
                if sight.state is not State.UNCERTAIN:
                    certain_at = now
                if sight.told != last_told:
                    self.log.info("%s %s", sight.what, sight.told)
                    last_told = sight.told
                age_s, uncertain_s = time.time() - self.began_at, now - certain_at
                match decide(sight, looks=looks, age_s=age_s, uncertain_s=uncertain_s, policy=policy):
                    case Settled() as found:
                        await settled(self.began_at)
                        yield TriggerEvent(found.to_wire())
                        return
                    case LookAgain(after_s=after_s):
                        await asyncio.sleep(after_s)

    async def _look(self, client: "AsyncClient", workspace: Workspace) -> Sight:
        try:
            return await client.run(conditions.look(workspace, self.condition, self.arguments))
        except AzureMLError as error:
            return Sight(what="What is waited for", state=State.UNCERTAIN, told=str(error))

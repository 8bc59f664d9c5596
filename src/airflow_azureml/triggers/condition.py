"""Waiting in the triggerer for something that is not a job."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
from airflow.triggers.base import TriggerEvent

from airflow_azureml.core.conditions import Settled, Sight, State, decide
from airflow_azureml.core.search import Search
from airflow_azureml.core.waiting import LookAgain, WaitPolicy
from airflow_azureml.errors import AzureMLError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger, settled
from airflow_azureml.wire import conditions


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class SightTrigger(DeclaredTrigger):
    """Base of triggers that look at something until it is as wanted, has failed, or we give up.

    Attributes:
        conn_id: The Airflow connection.
        began_at: When the waiting began: seconds since 1970, UTC.
        policy: What `WaitPolicy.to_wire` wrote.
    """

    conn_id: str
    began_at: float
    policy: dict[str, Any]

    async def until_settled(self, look: Callable[[], Awaitable[Sight]]) -> TriggerEvent:
        """Look, wait, look again; the event is what `Settled.to_wire` writes.

        Args:
            look: Looks once; a look that raises an error of ours is an uncertain look, never a failure of what is
                looked at.
        """
        policy = WaitPolicy.from_wire(self.policy)
        looks, last_told = 0, ""
        certain_at = time.monotonic()
        while True:
            try:
                sight = await look()
            except AzureMLError as error:
                sight = Sight(what="What is waited for", state=State.UNCERTAIN, told=str(error))
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
                    return TriggerEvent(found.to_wire())
                case LookAgain(after_s=after_s):
                    await asyncio.sleep(after_s)


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class ConditionTrigger(SightTrigger):
    """Looks at something in the workspace.

    Attributes:
        condition: What to look for; see `airflow_azureml.wire.conditions.look`.
        arguments: What that is told, by name.
    """

    condition: str
    arguments: dict[str, Any]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, with one client; there is one event."""
        settings = await AzureMLHook.aget(self.conn_id)
        async with AzureMLHook.open_async(settings) as client:
            yield await self.until_settled(
                lambda: client.run(conditions.look(settings.workspace, self.condition, self.arguments))
            )


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class BlobSearchTrigger(SightTrigger):
    """Lists a container until enough blobs count.

    Attributes:
        search: What `Search.to_wire` wrote.
    """

    search: dict[str, Any]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, with one client; there is one event."""
        from airflow_azureml.client.listings import Lister, look_for  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

        search = Search.from_wire(self.search)
        async with Lister(await AzureMLHook.aget(self.conn_id), search.container_url) as lister:
            yield await self.until_settled(lambda: look_for(lister, search))

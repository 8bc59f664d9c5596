"""Looking after rollouts that nobody works on any more."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.instance import this_instance
from airflow_azureml.operators.rollout_work import in_reach, rollout_lives, told

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.core.rollout_record import Rollout
    from airflow_azureml.core.workspace import ConnectionSettings

__all__ = ["AzureMLRolloutGuardOperator"]


class AzureMLRolloutGuardOperator(BaseOperator):
    """Ends the rollouts of a workspace whose runs are over, or have died: what served before serves again.

    It is for what no teardown has done: a run that was deleted, a teardown that failed. Put it into a DAG of its own
    that runs every few minutes, in each Airflow that rolls out. A rollout whose run may still go on is left alone; so
    is one of another Airflow, until nothing was heard of it for two days. One whose new deployment is proven is
    finished: the deployments that it replaces are removed.

    A rollout that has ended less than ten minutes ago is looked at once more: traffic that a task which is no more has
    set late, to one of the rollout's own steps, is set right.

    Returns what each rollout came to that it ended: ``endpoint``, ``deployment``, ``phase``, ``traffic``, ``why``.

    Args:
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color = "#e8f1fb"

    def __init__(self, *, conn_id: str = AzureMLHook.default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id

    def execute(self, context: "Context") -> list[dict[str, Any]]:
        """Look after them."""

        async def _guard(settings: "ConnectionSettings") -> list["Rollout"]:
            from airflow_azureml.client.rollout_guard import Guard  # noqa: PLC0415  # not when a DAG is parsed
            from airflow_azureml.client.rollouts import helm  # noqa: PLC0415  # as above

            async with helm(settings) as opened:
                guard = Guard(
                    helm=opened,
                    instance=this_instance(),
                    lives=lambda owner: rollout_lives(context["ti"], owner),
                )
                return await guard.look_after()

        mended = in_reach(self.conn_id, lambda settings: asyncio.run(_guard(settings)))
        for each in mended:
            self.log.warning("Endpoint %s: the rollout of %s is %s", each.endpoint, each.deployment, each.phase)
        return [told(each) for each in mended]

"""What every task of a rollout does alike."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator

from airflow_azureml.core.batches import owner_of
from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.errors import AzureMLError, ConfigError, RolledBackError, RolloutError, TrafficChangedError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.instance import this_instance
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.owners import Owners

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.rollouts import Helm
    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T")

#: Most parts that approvals cut a rollout into.
MOST_PARTS = 20
#: The tasks of a group that rolls out: while one of them may go on, the rollout is its.
TASKS = (
    *("begin", "roll", "restore"),
    *(f"{name}_{part}" for part in range(2, MOST_PARTS + 1) for name in ("roll", "approve", "watch")),
)


def rollout_lives(ti: Any, owner: str) -> bool:
    """Tell whether a run still works on its rollout.

    Args:
        ti: The task instance that runs; Airflow is asked through it.
        owner: The run, ``dag/run/group``.
    """
    return Owners(ti, TASKS).live(owner)


class RolloutWork(BaseOperator):
    """Base of the tasks of a rollout.

    Args:
        endpoint: The online endpoint, templated.
        group: The group's id; it and the run are whose the rollout is.
        policy: How traffic is moved.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own, and those of the operator beside this one.
    """

    template_fields: Sequence[str] = ("endpoint", "conn_id")
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        endpoint: str,
        group: str,
        policy: Policy | None = None,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.group = group
        self.policy = policy or Policy()
        self.conn_id = conn_id

    def owner_in(self, context: "Context") -> str:
        """Name whose the rollout of this run is."""
        ti: Any = context["ti"]
        return owner_of(ti.dag_id, ti.run_id, self.group)

    def at_helm(self, do: Callable[["Helm"], Awaitable[T]]) -> T:
        """Do something with what moves traffic.

        Raises:
            AirflowFailException: It failed, and a retry cannot help.
            AzureMLError: It failed, and a retry may help.
        """
        return at_helm(self.conn_id, do)

    def check_mine(self, found: Rollout, owner: str) -> None:
        """See to it that a rollout is this run's.

        Raises:
            ConfigError: It is not; nothing was changed.
        """
        if (found.owner, found.instance) != (owner, this_instance()):
            raise ConfigError(
                f"The last rollout on endpoint {self.endpoint} is of {found.owner or 'nobody'}, not of this run: its"
                " task begin has to come before."
            )


def at_helm(conn_id: str, do: Callable[["Helm"], Awaitable[T]]) -> T:
    """Do something with what moves traffic in a workspace; raises as `in_reach` does."""
    return in_reach(conn_id, lambda settings: asyncio.run(_steered(settings, do)))


def in_reach(conn_id: str, do: Callable[["ConnectionSettings"], T]) -> T:
    """Do something with the workspace in reach.

    Raises:
        AirflowFailException: It failed, and a retry cannot help.
        AzureMLError: It failed, and a retry may help.
    """
    from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # not when a DAG is parsed

    try:
        settings = AzureMLHook(conn_id).settings
        with emulator_in_reach(settings):
            return do(settings)
    except AzureMLError as error:
        raise for_airflow(error) from error


async def _steered(settings: "ConnectionSettings", do: Callable[["Helm"], Awaitable[T]]) -> T:
    from airflow_azureml.client.rollouts import helm  # noqa: PLC0415  # not when a DAG is parsed

    async with helm(settings) as opened:
        return await do(opened)


def told(found: Rollout) -> dict[str, Any]:
    """Write what a task returns of a rollout."""
    step = str(found.steps[found.step]) if found.step >= 0 else ""
    return {
        "endpoint": found.endpoint,
        "deployment": found.deployment,
        "phase": str(found.phase),
        "step": step,
        "traffic": dict(found.split.traffic),
        "why": list(found.why),
    }


def failure(found: Rollout) -> RolloutError:
    """Make the error of a rollout that has not ended with the new deployment."""
    why = " ".join(found.why)
    if found.phase is Phase.LEFT:
        return TrafficChangedError(f"{why} It stays so, and deployment {found.deployment} is rolled out no further.")
    return RolledBackError(
        f"Deployment {found.deployment} was rolled back. {why} Endpoint {found.endpoint} serves as before:"
        f" {found.before}. The deployment is still there, without traffic: look at its log, mend it, or delete it."
    )

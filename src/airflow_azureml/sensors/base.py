"""What every sensor does alike."""

import abc
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException

from airflow_azureml.core.conditions import Settled, Sight, State
from airflow_azureml.core.waiting import WaitPolicy
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, ConfigError, SilenceError, UnavailableError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.condition import ConditionTrigger
from airflow_azureml.wire import conditions

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from airflow_azureml.client.azureml import Client


class AzureMLSensor(BaseSensorOperator, abc.ABC):
    """Base of sensors: one look in the worker, and then the waiting in the triggerer.

    A look that gets no answer is uncertain and fails nothing; what is wrong at the first look (the connection, a
    permission, a name) fails the task at once, and no retry follows. A sensor changes nothing in Azure, and a kill
    leaves everything as it is.

    Args:
        conn_id: The Airflow connection of type ``azureml``.
        deferrable: Whether to wait in the triggerer. Airflow's ``mode``, ``exponential_backoff``, ``max_wait`` and
            ``silent_fail`` are refused: this is what they are for.
        timeout: How long to wait; then the task fails and is not retried, as other sensors do. The shorter of this and
            ``execution_timeout`` holds; each try begins anew.
        patience: How long there may be no answer that says anything.
        poll_interval: Time between the first two looks; it grows up to twelve times that.
        kwargs: Airflow's own, among them ``soft_fail``: skip the task when what is waited for ends badly or too late.
            A mistake in the connection or the DAG fails it nevertheless.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        conn_id: str = AzureMLHook.default_conn_name,
        deferrable: bool = True,
        timeout: timedelta = timedelta(days=7),
        patience: timedelta = timedelta(minutes=30),
        poll_interval: timedelta = timedelta(seconds=5),
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **{"poke_interval": poll_interval, **kwargs})
        self.conn_id = conn_id
        self.deferrable = deferrable
        self.patience = patience
        self.poll_interval = poll_interval

    @abc.abstractmethod
    def condition(self) -> tuple[str, dict[str, Any]]:
        """Name the condition, with its arguments, when templates are rendered.

        Raises:
            ConfigError: They make no sense.
        """

    def execute(self, context: "Context") -> Any:
        """Look once; wait unless that was enough."""
        try:
            self._check_options()
            hook = AzureMLHook(self.conn_id)
            with hook.get_conn() as client:
                sight = self._first_look(client, hook.settings)
                self.log.info("%s %s", sight.what, sight.told)
                settled = None
                if sight.state in (State.MET, State.FAILED):
                    settled = Settled(sight=sight)
                elif not self.deferrable:
                    settled = self._watch(client, hook.settings)
        except AzureMLError as error:
            raise for_airflow(error) from error
        if settled is None:
            self.defer(trigger=self.trigger(), method_name="finish")
            return None
        try:
            return self.finish(context, settled.to_wire())
        except (AirflowFailException, AirflowSensorTimeout) as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def finish(self, context: "Context", event: dict[str, Any]) -> Any:
        """Say how the waiting ended."""
        del context
        settled = Settled.from_wire(event)
        self.raise_if_given_up(settled.gave_up, timed_out=settled.timed_out)
        if settled.sight.state is not State.MET:
            raise AirflowFailException(f"{settled.sight.what} {settled.sight.told}; waiting longer would not help.")
        return dict(settled.sight.result)

    def raise_if_given_up(self, why: str, *, timed_out: bool) -> None:
        """Fail: for good when the time was up, so that a retry may help when nothing could be seen."""
        if why and timed_out:
            raise AirflowSensorTimeout(why)
        if why:
            raise SilenceError(why)

    def trigger(self) -> "BaseTrigger":
        """Make what waits in the triggerer."""
        condition, arguments = self.condition()
        return ConditionTrigger(
            conn_id=self.conn_id,
            condition=condition,
            arguments=arguments,
            began_at=time.time(),
            policy=self.policy().to_wire(),
        )

    def look(self, client: "Client", settings: ConnectionSettings) -> Sight:
        """Look once.

        Raises:
            ConfigError: What is looked for makes no sense.
            RefusedError: It may not be looked at.
            UnavailableError: Nobody answers.
        """
        condition, arguments = self.condition()
        return client.run(conditions.look(settings.workspace, condition, arguments))

    def policy(self) -> WaitPolicy:
        """Say how long to wait."""
        limit = self.execution_timeout
        seconds = float(self.timeout) if limit is None else min(float(self.timeout), limit.total_seconds())
        first_s = self.poll_interval.total_seconds()
        return WaitPolicy(
            deadline_s=seconds, patience_s=self.patience.total_seconds(), first_s=first_s, longest_s=first_s * 12
        )

    def _first_look(self, client: "Client", settings: ConnectionSettings) -> Sight:
        try:
            return self.look(client, settings)
        except UnavailableError as error:
            return Sight(what="What is waited for", state=State.UNCERTAIN, told=f"could not be seen: {error}")

    def _watch(self, client: "Client", settings: ConnectionSettings) -> Settled:
        """Wait in this worker, as the trigger does in the triggerer."""
        from airflow_azureml.client.watching import watch  # noqa: PLC0415  # not when a DAG is parsed

        return watch(lambda: self.look(client, settings), policy=self.policy())

    def _check_options(self) -> None:
        odd: Mapping[str, bool] = {
            "mode": self.mode != "poke",
            "exponential_backoff": bool(self.exponential_backoff),
            "max_wait": self.max_wait is not None,
            "silent_fail": bool(self.silent_fail),
            "poke_interval": self.poke_interval != self.poll_interval.total_seconds(),
        }
        refused = ", ".join(name for name, is_set in odd.items() if is_set)
        if refused:
            raise ConfigError(f"{refused}: not for this sensor; set deferrable, poll_interval, patience and timeout.")


def for_airflow(error: AzureMLError) -> Exception:
    """Let Airflow retry what a retry can help, and nothing else."""
    return error if error.retryable else AirflowFailException(str(error))

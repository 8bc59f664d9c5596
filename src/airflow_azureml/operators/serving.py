"""What every operator does alike that changes an endpoint and waits until Azure is done."""

import abc
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from attrs import evolve, field, frozen

from airflow_azureml.core.conditions import Settled, Sight, State
from airflow_azureml.core.deploying import OUT_OF_QUOTA, failure, lacks_capacity
from airflow_azureml.core.triage import Cause, cause_of, may_pass
from airflow_azureml.core.waiting import WaitPolicy
from airflow_azureml.core.workspace import ConnectionSettings, Workspace
from airflow_azureml.errors import (
    AzureMLError,
    DeploymentTimeoutError,
    NotReadyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.condition import ConditionTrigger
from airflow_azureml.wire import conditions, online_sights

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client

CONFLICT = 409
#: A task that has come so often to look what is still to do goes in circles.
MOST_ROUNDS = 6
MOST_GROWTH = 12


@frozen(kw_only=True)
class Wait:
    """What Azure is to be done with before one looks again what is still to do.

    Attributes:
        condition: What to look for; see `airflow_azureml.wire.conditions.look`.
        arguments: What that is told, by name.
        done: What was done, as the result will say it.
    """

    condition: str
    arguments: Mapping[str, Any]
    done: str = ""


@frozen(kw_only=True)
class Round:
    """Where a task is: it looks, does one thing, waits, and looks again.

    Attributes:
        began_at: When the try began: seconds since 1970, UTC.
        done: What was done so far.
        number: How many rounds there have been.
    """

    began_at: float
    done: Sequence[str] = field(factory=tuple)
    number: int = 0

    def after(self, wait: Wait) -> "Round":
        """Count a round."""
        done = (*self.done, wait.done) if wait.done else tuple(self.done)
        return Round(began_at=self.began_at, done=done, number=self.number + 1)


@frozen(kw_only=True)
class At:
    """What a round works with.

    Attributes:
        done: What was done so far.
    """

    client: "Client"
    settings: ConnectionSettings
    done: Sequence[str] = ()

    @property
    def workspace(self) -> Workspace:
        """Where it is."""
        return self.settings.workspace


class AzureMLServingOperator(BaseOperator, abc.ABC):
    """Base of operators that change an endpoint: what is as wanted already is left as it is.

    Azure's part of a change takes seconds to half an hour; it is waited for in the triggerer. A kill leaves Azure to
    finish, and the next try goes on from what is there.

    Args:
        conn_id: The Airflow connection of type ``azureml``, templated.
        deferrable: Whether to wait in the triggerer.
        timeout: How long this try may take; then the task fails, and Azure goes on. One hour by default.
        patience: How long there may be no answer that says anything.
        poll_interval: Time between the first two looks; it grows up to twelve times that.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("conn_id",)
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        conn_id: str = AzureMLHook.default_conn_name,
        deferrable: bool = True,
        timeout: timedelta = timedelta(hours=1),
        patience: timedelta = timedelta(minutes=15),
        poll_interval: timedelta = timedelta(seconds=5),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.deferrable = deferrable
        self.timeout = timeout
        self.patience = patience
        self.poll_interval = poll_interval

    @abc.abstractmethod
    def act(self, context: "Context", at: At) -> Wait | dict[str, Any]:
        """Look what is still to do, and do the next part of it.

        Args:
            context: The task's.
            at: The workspace, and what this try has done so far.

        Returns:
            What to wait for before this is asked again, or what the task returns.

        Raises:
            ConfigError: What is wanted makes no sense; nothing was changed.
            RefusedError: Azure refuses; with status 409, another change is under way.
            UnavailableError: Azure does not answer; asking again is safe.
        """

    @abc.abstractmethod
    def endpoint_name(self) -> str:
        """Name the endpoint of which an error tells the truth; empty for none."""

    def execute(self, context: "Context") -> dict[str, Any] | None:
        """Make it so, and wait for it."""
        return self._go(context, Round(began_at=time.time()))

    def resume(self, context: "Context", event: dict[str, Any], **where: Any) -> dict[str, Any] | None:
        """Go on when Azure is done."""
        try:
            self._check(Settled.from_wire(event))
        except AzureMLError as error:
            raise _for_airflow(error) from error
        return self._go(context, Round(**where))

    def _go(self, context: "Context", this: Round) -> dict[str, Any] | None:
        try:
            settings = AzureMLHook(self.conn_id).settings
            with AzureMLHook.open(settings) as client:
                found = self._rounds(context, At(client=client, settings=settings), this)
        except AzureMLError as error:
            raise _for_airflow(error) from error
        if isinstance(found, dict):
            return found
        wait, after = found
        self.defer(
            trigger=ConditionTrigger(
                conn_id=self.conn_id,
                condition=wait.condition,
                arguments=dict(wait.arguments),
                began_at=this.began_at,
                policy=self._policy().to_wire(),
            ),
            method_name="resume",
            kwargs={"began_at": after.began_at, "done": list(after.done), "number": after.number},
        )
        return None

    def _rounds(self, context: "Context", at: At, this: Round) -> dict[str, Any] | tuple[Wait, Round]:
        """Act until there is nothing left to do, or Azure must be waited for."""
        while this.number < MOST_ROUNDS:
            step = self._acted(context, evolve(at, done=this.done))
            if isinstance(step, dict):
                return {**step, "done": list(this.done)}
            if step.done:
                self.log.info("%s: %s", self.task_id, step.done)
            sight = self._look(at, step)
            settled = Settled(sight=sight) if sight.state in (State.MET, State.FAILED) else None
            if settled is None and self.deferrable:
                return step, this.after(step)
            self._check(settled or self._watched(at, step, age_s=time.time() - this.began_at))
            this = this.after(step)
        raise ProtocolError(f"Task {self.task_id} has done {', '.join(this.done)}, and it is still not as wanted.")

    def _acted(self, context: "Context", at: At) -> Wait | dict[str, Any]:
        try:
            return self.act(context, at)
        except RefusedError as error:
            if error.status == CONFLICT:
                raise NotReadyError(
                    f"{error}. Azure is at another change; nothing was changed by this task."
                ) from error
            if cause_of(error) is Cause.QUOTA or lacks_capacity(error.code):
                raise failure(error.doing, f"was refused. {error}", codes=OUT_OF_QUOTA, truth=self._truth()) from error
            raise

    def _look(self, at: At, wait: Wait) -> Sight:
        try:
            return at.client.run(conditions.look(at.workspace, wait.condition, wait.arguments))
        except UnavailableError as error:
            return Sight(what="What is waited for", state=State.UNCERTAIN, told=f"could not be seen: {error}")

    def _watched(self, at: At, wait: Wait, *, age_s: float) -> Settled:
        from airflow_azureml.client.watching import watch  # noqa: PLC0415  # not when a DAG is parsed

        return watch(lambda: self._look(at, wait), policy=self._policy(), age_s=age_s)

    def _check(self, settled: Settled) -> None:
        """See how the waiting ended.

        Raises:
            ServingError: Not well; the message says what is true now.
        """
        sight = settled.sight
        if settled.gave_up:
            raise DeploymentTimeoutError(
                f"{settled.gave_up} {self._truth()} Azure may still be at it: look at the log in the studio, or try "
                "again to wait on."
            )
        if sight.state is State.FAILED:
            codes = str(sight.result.get(online_sights.CODES) or "")
            raise failure(sight.what, sight.told, codes=codes, truth=self._truth())

    def _truth(self) -> str:
        """Say what the endpoint does now; empty where that makes no sense."""
        name = self.endpoint_name()
        if not name:
            return ""
        try:
            settings = AzureMLHook(self.conn_id).settings
            with AzureMLHook.open(settings) as client:
                return client.run(online_sights.truth(settings.workspace, name))
        except AzureMLError as error:
            return f"What online endpoint {name} does now could not be seen: {error}."

    def _policy(self) -> WaitPolicy:
        limit = self.execution_timeout
        whole = self.timeout if limit is None else min(self.timeout, limit)
        first_s = self.poll_interval.total_seconds()
        return WaitPolicy(
            deadline_s=whole.total_seconds(),
            patience_s=self.patience.total_seconds(),
            first_s=first_s,
            longest_s=first_s * MOST_GROWTH,
        )


def _for_airflow(error: AzureMLError) -> Exception:
    """Let Airflow retry what a retry can help, and nothing else."""
    return error if may_pass(error) else AirflowFailException(str(error))

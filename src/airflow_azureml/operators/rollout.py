"""Giving a new deployment its traffic step by step, and giving it back where that does not go well."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowSkipException
from attrs import asdict, evolve, frozen

from airflow_azureml.core.findings import Finding
from airflow_azureml.core.rolled_back import is_again
from airflow_azureml.core.rollout import Act, Deed, Progress
from airflow_azureml.core.rollout_limits import Figures, Judgement
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Step, steps_before
from airflow_azureml.errors import AzureMLError, RollbackFailedError, UnavailableError
from airflow_azureml.hooks.instance import this_instance
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.rollout_work import RolloutWork, failure, in_reach, rollout_lives, told
from airflow_azureml.triggers.rollout import RolloutTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.rollouts import Helm

__all__ = [
    "AzureMLBeginRolloutOperator",
    "AzureMLRestoreTrafficOperator",
    "AzureMLRolloutOperator",
    "StepSeen",
]

#: What a task that finds its rollout given back does.
ON_ROLLBACK = ("fail", "skip")


@frozen(kw_only=True)
class StepSeen:
    """What a check of one's own is told at the end of a step.

    Attributes:
        champion_deployment: The deployment with most of the traffic before; empty for none.
        new: How the new deployment answered at this step.
        champion: How the other did; None where it took nothing.
        since: Since when the step is in force, UTC.
    """

    endpoint: str
    deployment: str
    champion_deployment: str
    step: Step
    new: Figures
    champion: Figures | None
    since: datetime


#: A check of one's own: it returns what it found, and what does not pass is a violation.
Check = Callable[[StepSeen], Finding | Iterable[Finding]]


class AzureMLBeginRolloutOperator(RolloutWork):
    """Begins a rollout: writes down the traffic before, and changes none; the setup of a group that rolls out.

    Refuses, before anything changes, where another run rolls out on the endpoint, the deployment is not there, not
    ready or takes traffic already, was rolled back there before, or metrics may not be read. What a run that is over
    has left is ended first.

    Returns ``endpoint``, ``deployment``, ``before`` (the traffic), and ``steps``.

    Args:
        deployment: The new deployment, templated.
        again: Whether it may be rolled out though it was rolled back before, templated.
        kwargs: What `RolloutWork` takes, and Airflow's own.
    """

    template_fields: Sequence[str] = (*RolloutWork.template_fields, "deployment", "again")

    def __init__(self, *, deployment: str, again: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deployment = deployment
        self.again = again

    def execute(self, context: "Context") -> dict[str, Any]:
        """Begin it."""
        from airflow_azureml.client.rollout_start import Plan, begin  # noqa: PLC0415  # not when a DAG is parsed

        plan = Plan(
            endpoint=self.endpoint,
            deployment=self.deployment,
            policy=self.policy,
            owner=self.owner_in(context),
            instance=this_instance(),
            lives=lambda owner: rollout_lives(context["ti"], owner),
            again=self._is_again(),
        )
        begun = self.at_helm(lambda helm: begin(helm, plan))
        self.log.info("Deployment %s is rolled out on %s; before: %s", self.deployment, self.endpoint, begun.before)
        return {
            "endpoint": self.endpoint,
            "deployment": self.deployment,
            "before": dict(begun.before.traffic),
            "steps": [str(each) for each in begun.steps],
        }

    def _is_again(self) -> bool:
        try:
            return is_again(self.again)
        except AzureMLError as error:
            raise for_airflow(error) from error


class AzureMLRolloutOperator(RolloutWork):
    """Moves traffic to the new deployment step by step, and gives it back by itself where a limit is violated.

    Waits in the triggerer, and holds a worker slot only while something is changed or predictions are compared. A retry
    goes on where the rollout is. A kill changes nothing: the group's teardown gives the traffic back, or the guard.

    Returns ``endpoint``, ``deployment``, ``phase`` (``released``; ``rolling`` where it stopped before a step),
    ``step``, ``traffic`` and ``why``. Where traffic was given back the task fails, and is not retried; or is skipped.

    Args:
        checks: Checks of one's own, asked at the end of each step; each is given a `StepSeen`.
        stop_before: The step before which to stop, as the policy has it; None to go to the end.
        watches_only: Whether to take no step, and watch the present one until somebody goes on.
        on_rollback: Whether to ``fail``, or ``skip`` what follows, where traffic was given back.
        kwargs: What `RolloutWork` takes, and Airflow's own.
    """

    def __init__(
        self,
        *,
        checks: Sequence[Check] = (),
        stop_before: object = None,
        watches_only: bool = False,
        on_rollback: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.checks = tuple(checks)
        self.stop_before = stop_before
        self.watches_only = watches_only
        self.on_rollback = on_rollback

    def execute(self, context: "Context") -> dict[str, Any]:
        """Go on with what this run has begun."""
        whose = (self.owner_in(context), this_instance())

        def _allowed(found: Rollout, now: datetime) -> Rollout | None:
            upto = steps_before(found.steps, self.stop_before) - 1
            is_mine = found.is_open and (found.owner, found.instance) == whose
            is_to_be = is_mine and not self.watches_only and upto > found.upto
            return evolve(found, upto=upto).written(now=now) if is_to_be else None

        async def _allow(helm: "Helm") -> Rollout:
            return await helm.written.change(self.endpoint, _allowed)

        return self._go_on(context, self.at_helm(_allow), Progress.new(time.time()))

    def look_again(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Do what a look came to; where that is that nothing can be seen, and nothing be written, wait on."""
        act = Act.from_wire(event["act"])
        try:
            return self._looked(context, event, act)
        except UnavailableError as error:
            if act.deed is not Deed.LOST:
                raise
            self.log.warning("%s", error)
            self._wait(Rollout.from_text(event["rollout"]), self._rested(act))

    def _looked(self, context: "Context", event: dict[str, Any], act: Act) -> dict[str, Any]:
        async def _read(helm: "Helm") -> Rollout:
            return await helm.written.read(self.endpoint)

        found = self.at_helm(_read)
        if found.count == event["count"]:
            return self._do(context, found, self.checked(found, act))
        if self.watches_only and (found.step != event["step"] or found.phase is not Phase.ROLLING):
            return told(found)
        is_same = found.step == event["step"] and found.phase is Phase.ROLLING
        now = time.time()
        return self._go_on(context, found, evolve(act.progress, began_at=now) if is_same else Progress.new(now))

    def _go_on(self, context: "Context", found: Rollout, progress: Progress) -> dict[str, Any]:
        """Wait for the next thing to do, or end."""
        try:
            self.check_mine(found, self.owner_in(context))
        except AzureMLError as error:
            raise for_airflow(error) from error
        if not found.phase.is_final:
            self._wait(found, progress)
        return self._ended(found)

    def _wait(self, found: Rollout, progress: Progress) -> NoReturn:
        """Let the triggerer look."""
        self.log.info("%s of %s: traffic is to be %s", found.phase.capitalize(), found.deployment, found.split)
        self.defer(
            trigger=RolloutTrigger(
                conn_id=self.conn_id,
                rollout=found.to_text(),
                policy=self.policy.to_wire(),
                progress=asdict(progress),
                may_advance=not self.watches_only,
                deferred_at=time.time(),
            ),
            method_name="look_again",
        )

    def _do(self, context: "Context", found: Rollout, act: Act) -> dict[str, Any]:
        """Do it; a step that may not be taken ends the task."""
        for words in act.why:
            self.log.warning("%s", words)
        if act.deed is Deed.GIVE_UP:
            raise RollbackFailedError(f"{' '.join(act.why)} Traffic should be {found.split}; a retry goes on.")
        stops = act.deed is Deed.ADVANCE and found.step >= found.upto and not found.is_last
        self.log.info("Endpoint %s: %s", self.endpoint, "this step has passed" if stops else act.deed)

        async def _act(helm: "Helm") -> Rollout:
            if stops:
                return await helm.passed(found, policy=self.policy)
            return await helm.do(found, act, policy=self.policy)

        now = self.at_helm(_act)
        if stops and now.phase is Phase.ROLLING and now.has_passed:
            return told(now)
        if now.count != found.count:
            return self._go_on(context, now, Progress.new(time.time()))
        return self._go_on(context, now, self._rested(act))

    def _rested(self, act: Act) -> Progress:
        """Go on with what is waited for; what was tried is tried again after a look's time."""
        now = time.time()
        rested = act.progress.rested(now, self.policy)
        return evolve(rested, began_at=now) if act.deed is Deed.ASK else rested

    def checked(self, found: Rollout, act: Act) -> Act:
        """Ask what no look asks, before the next step is taken.

        Args:
            found: What is written.
            act: What the look came to.
        """
        since = found.since_s
        if act.deed is not Deed.ADVANCE or since is None or found.has_passed:
            return act
        judged = self._compared(found)
        seen = StepSeen(
            endpoint=found.endpoint,
            deployment=found.deployment,
            champion_deployment=found.main,
            step=found.steps[found.step],
            new=act.new,
            champion=act.champion,
            since=datetime.fromtimestamp(since, tz=UTC),
        )
        findings = [*judged.findings, *(each for check in self.checks for each in _several(check(seen)))]
        for each in findings:
            self.log.info("%s: %s", "yes" if each.passed else "no", each.reason)
        violated = tuple(each.reason for each in findings if not each.passed)
        is_over = time.time() - since >= self.policy.most_s(is_last=found.is_last)
        why = violated or (judged.open if is_over else ())
        if why:
            return evolve(act, deed=Deed.BACK, why=tuple(why))
        return evolve(act, deed=Deed.ASK) if judged.open else act

    def _compared(self, found: Rollout) -> Judgement:
        """Compare predictions, where that is asked for; in the last step there is nothing to compare with."""
        predictions = self.policy.predictions
        if predictions is None or found.is_last:
            return Judgement()
        from airflow_azureml.client.rollout_predictions import compare_predictions  # noqa: PLC0415  # not for parsing

        now = datetime.now(UTC)
        return in_reach(self.conn_id, lambda settings: compare_predictions(settings, predictions, found, now=now))

    def _ended(self, found: Rollout) -> dict[str, Any]:
        """Tell how it ended."""
        if found.phase is Phase.RELEASED:
            self.log.info("Endpoint %s: %s", self.endpoint, found.split)
            return told(found)
        error = failure(found)
        if self.on_rollback == "skip":
            raise AirflowSkipException(str(error))
        raise for_airflow(error)


class AzureMLRestoreTrafficOperator(RolloutWork):
    """Gives the traffic back that this run's rollout has moved, unless that has ended well; make it a teardown.

    A rollout whose new deployment is proven, and whose old one is being removed, is seen to its end instead.

    Args:
        at_most_s: How long to stay at it. Seconds.
        kwargs: What `RolloutWork` takes, and Airflow's own.
    """

    def __init__(self, *, at_most_s: float = 900.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.at_most_s = at_most_s

    def execute(self, context: "Context") -> dict[str, Any]:
        """Give it back, where that is needed."""
        owner, instance = self.owner_in(context), this_instance()

        async def _restore(helm: "Helm") -> Rollout:
            def _mine(found: Rollout, _now: datetime) -> bool:
                return (found.owner, found.instance) == (owner, instance)

            why = "The run ended before the rollout did."
            found = await helm.give_back(self.endpoint, why, mine=_mine)
            if not _mine(found, datetime.now(UTC)):
                return found
            return await helm.end(found, policy=self.policy, at_most_s=self.at_most_s)

        found = self.at_helm(_restore)
        self.log.info("Endpoint %s: the rollout is %s, traffic is %s", self.endpoint, found.phase, found.split)
        return told(found)


def _several(found: Finding | Iterable[Finding]) -> Iterable[Finding]:
    return [found] if isinstance(found, Finding) else found

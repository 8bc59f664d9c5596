"""Beginning a rollout: nobody else is at the endpoint, and all that it takes is there, before anything changes."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from attrs import frozen

from airflow_azureml.client.rollouts import Helm
from airflow_azureml.core.online import WHOLE, OnlineDeployment, OnlineEndpoint
from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.core.rollout_record import Phase, Rollout, Standing
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.errors import ConfigError, RolledBackBeforeError, RolloutBusyError
from airflow_azureml.wire import online
from airflow_azureml.wire.rollout import figures

#: How long seeing a forsaken rollout to its end may take. Seconds.
END_S = 900.0
#: Of which time metrics are asked for, to see whether they may be read. Seconds.
_GLANCE_S = 300.0


@frozen(kw_only=True)
class Plan:
    """What is to be rolled out, and by whom.

    Attributes:
        owner: The run, ``dag/run/group``.
        instance: Its Airflow.
        lives: Tells whether another run of this Airflow still works on its rollout.
        again: Whether it may be rolled out though it was rolled back before.
    """

    endpoint: str
    deployment: str
    policy: Policy
    owner: str
    instance: str
    lives: Callable[[str], bool]
    again: bool = False

    def may_end(self, found: Rollout, now: datetime) -> bool:
        """Tell whether a rollout that is open is nobody's any more."""
        match found.standing(self.owner, self.instance, now=now):
            case Standing.ANOTHER:
                return not self.lives(found.owner)
            case Standing.FORSAKEN:
                return True
            case Standing.MINE:
                return found.deployment != self.deployment
            case Standing.FREE | Standing.FOREIGN:
                return False

    def is_under_way(self, found: Rollout, now: datetime) -> bool:
        """Tell whether this very rollout has begun, and has not ended."""
        is_mine = found.standing(self.owner, self.instance, now=now) is Standing.MINE
        return is_mine and found.deployment == self.deployment


async def begin(helm: Helm, plan: Plan) -> Rollout:
    """Write down that a rollout begins, with the traffic before; traffic stays as it is. Again changes nothing.

    A rollout whose run has died is seen to its end first.

    Returns:
        What is written now: it has ended already where the deployment takes all traffic.

    Raises:
        RolloutBusyError: Another run rolls out on that endpoint.
        ConfigError: There is no such endpoint or deployment, or it is not ready, or takes traffic already.
        RolledBackBeforeError: It was rolled back on that endpoint, and nobody said that it may be tried again.
        RollbackFailedError: What a dead run has left could not be put right.
        RefusedError: We may not look, or not read metrics (role Monitoring Reader).
        UnavailableError: The service did not say; trying again is safe.
    """
    found = await helm.written.read(plan.endpoint)
    if plan.is_under_way(found, await helm.written.documents.now()):
        return found
    await take_over(helm, plan, found)
    endpoint = await helm.client.run(online.read_endpoint(helm.workspace, plan.endpoint))
    deployments = await helm.client.run(online.list_deployments(helm.workspace, plan.endpoint))
    before = _sound(plan, endpoint, deployments)
    model = next(each.model for each in deployments if each.name == plan.deployment)
    now = time.time()
    await helm.client.run(figures(helm.workspace, plan.endpoint, plan.deployment, since=now - _GLANCE_S, until=now))

    def _change(found: Rollout, now: datetime) -> Rollout | None:
        if found.is_open:
            return None
        has_all = before == Split(traffic={plan.deployment: WHOLE})
        if not (plan.again or has_all):
            _refuse_what_was_rolled_back(plan, found, model)
        whose = {"owner": plan.owner, "instance": plan.instance, "model": model}
        begun = found.begun(plan.deployment, before, plan.policy.steps, now=now, **whose)
        return begun.moved(Phase.RELEASED, "It took all traffic already.", now=now) if has_all else begun

    written = await helm.written.change(plan.endpoint, _change)
    if (written.owner, written.instance) != (plan.owner, plan.instance):
        raise _busy(written)
    return written


async def take_over(helm: Helm, plan: Plan, found: Rollout) -> Rollout:
    """See a rollout that is nobody's any more to its end; one that has ended stays as it is.

    Raises:
        RolloutBusyError: It is somebody's.
        RollbackFailedError: It could not be ended.
        AzureMLError: See `Helm.end`.
    """
    if not found.is_open:
        return found
    now = await helm.written.documents.now()
    if not plan.may_end(found, now):
        raise _busy(found)
    why = f"The run {found.owner} that rolled out {found.deployment} is over without having ended it."
    given = await helm.give_back(plan.endpoint, why, mine=plan.may_end)
    if given.is_open and given.phase is Phase.ROLLING:
        raise _busy(given)
    return await helm.end(given, policy=plan.policy, at_most_s=END_S)


def _refuse_what_was_rolled_back(plan: Plan, found: Rollout, model: str) -> None:
    """See to it that nothing is rolled out again by itself that was not good enough.

    Raises:
        RolledBackBeforeError: It would be.
    """
    known = found.rolled_back_before(plan.deployment, model)
    if known is not None:
        raise RolledBackBeforeError(
            f"Deployment {plan.deployment} is not rolled out again by itself. {known.told(plan.endpoint)} Nothing was"
            " changed. To roll it out all the same, give rollout(..., again=True), or mend it and deploy it under"
            " another name."
        )


def _busy(found: Rollout) -> RolloutBusyError:
    return RolloutBusyError(
        f"Deployment {found.deployment} is being rolled out on endpoint {found.endpoint} by {found.owner}, since"
        f" {found.began}. Nothing was changed; wait for its end, or end that run."
    )


def _sound(plan: Plan, endpoint: OnlineEndpoint | None, deployments: Sequence[OnlineDeployment]) -> Split:
    """Check that the deployment can be rolled out; the traffic before.

    Raises:
        ConfigError: It cannot be; the message lists all that is wrong.
    """
    if endpoint is None:
        raise ConfigError(f"There is no online endpoint {plan.endpoint}; nothing can be rolled out on it.")
    before = Split.of(endpoint)
    new = next((each for each in deployments if each.name == plan.deployment), None)
    share = before.traffic.get(plan.deployment, 0)
    copies = before.mirror.get(plan.deployment, 0)
    is_mirrored = any(each.mirrored for each in plan.policy.steps)
    wrong = [
        *([] if endpoint.is_ready else [f"the endpoint {endpoint.told()}; mend it first"]),
        *([] if new else [f"there is no deployment {plan.deployment}; deploy it first"]),
        *([] if new is None or new.is_ready else [f"deployment {plan.deployment} is {new.state or 'in no state'}"]),
        *([f"deployment {plan.deployment} takes {share} % already; set it to 0 first"] if 0 < share < WHOLE else []),
        *([f"{copies} % is mirrored to it already; set that to 0 first"] if copies else []),
        *(["a Kubernetes endpoint mirrors nothing; leave out mirror:N"]
          if is_mirrored and endpoint.kind == "Kubernetes" else []),
    ]  # fmt: skip
    if wrong:
        raise ConfigError(
            f"Roll out {plan.deployment} on endpoint {plan.endpoint}: {'; '.join(wrong)}. Nothing was changed."
        )
    return before

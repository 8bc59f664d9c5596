"""Rolling out: a new deployment gets its traffic step by step, and loses it where it is not good enough."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup

from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.core.rollout_steps import Step
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.approval import AzureMLApprovalOperator
from airflow_azureml.operators.rollout import (
    ON_ROLLBACK,
    AzureMLBeginRolloutOperator,
    AzureMLRestoreTrafficOperator,
    AzureMLRolloutOperator,
    Check,
)
from airflow_azureml.operators.rollout_work import MOST_PARTS

__all__ = ["rollout"]

#: What every task of a group is told, unless it is told otherwise. Giving traffic back must not queue behind others.
TASK_OPTIONS: Mapping[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=30), "priority_weight": 1000}


def rollout(  # noqa: PLR0913  # a group's options are its face, and all by name
    group_id: str,
    *,
    endpoint: str,
    deployment: str,
    policy: Policy | None = None,
    checks: Sequence[Check] = (),
    approval_at: Iterable[object] = (),
    approval: Mapping[str, Any] | None = None,
    on_rollback: str = "fail",
    again: bool | str = False,
    conn_id: str = AzureMLHook.default_conn_name,
    task_options: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Give a new deployment the traffic of an endpoint, step by step, and give it back where a limit is violated.

    ``begin`` writes down the traffic before; ``roll`` takes the steps; ``restore`` gives the traffic back where the run
    did not come to a good end. Before each step that needs an approval, ``roll`` stops: ``approve_2`` asks, ``watch_2``
    looks at the endpoint meanwhile, and gives the traffic back as ``roll`` does; ``roll_2`` goes on. A no, and no
    answer, give the traffic back and end the run well.

    Args:
        group_id: The group's id.
        endpoint: The online endpoint, templated.
        deployment: The new deployment, which is ready and takes no traffic, templated. The first one of an endpoint
            takes all at once.
        policy: The steps, and what the new deployment must be like.
        checks: Checks of one's own at the end of each step; see
            `airflow_azureml.operators.rollout.AzureMLRolloutOperator`.
        approval_at: Before which steps a person is asked: percentages, or ``mirror:N``.
        approval: More options of `airflow_azureml.operators.approval.AzureMLApprovalOperator`: ``approvers``,
            ``deadline``, ``facts`` …
        on_rollback: Where traffic was given back, whether the run is to ``fail``, or ``skip`` what follows.
        again: Whether the deployment may be rolled out though it was rolled back on this endpoint before, templated;
            otherwise ``begin`` fails with `RolledBackBeforeError`.
        conn_id: The Airflow connection of type ``azureml``.
        task_options: Airflow's own options for every task of the group; three ``retries`` unless told otherwise.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    rules = policy or Policy()
    stops = _stops(group_id, rules, approval_at, on_rollback)
    options = {**TASK_OPTIONS, **(task_options or {})}
    with TaskGroup(group_id) as group:
        shared = {**options, "endpoint": endpoint, "group": group.group_id, "policy": rules, "conn_id": conn_id}
        rolling = {**shared, "checks": checks, "on_rollback": on_rollback}
        begin = AzureMLBeginRolloutOperator(task_id="begin", deployment=deployment, again=again, **shared)
        roll = AzureMLRolloutOperator(task_id="roll", stop_before=next(iter(stops), None), **rolling)
        begin >> roll
        for part, stop in enumerate(stops, start=2):
            following = next(iter(stops[part - 1 :]), None)
            told = {
                "what": f"give {deployment} {_share(stop)} of the requests to {endpoint}",
                "facts": {"Traffic now": f"{{{{ ti.xcom_pull(task_ids={roll.task_id!r})['traffic'] }}}}"},
            }
            approve = AzureMLApprovalOperator(task_id=f"approve_{part}", **{**options, **told, **(approval or {})})
            roll >> [approve, AzureMLRolloutOperator(task_id=f"watch_{part}", watches_only=True, **rolling)]
            roll = AzureMLRolloutOperator(task_id=f"roll_{part}", stop_before=following, **rolling)
            approve >> roll
        restore = AzureMLRestoreTrafficOperator(task_id="restore", **shared)
        # With on_failure_fail_dagrun the teardown alone would say how the run ended, and a rollback would be a success.
        roll >> restore.as_teardown(setups=begin)
    return group


def _stops(group_id: str, policy: Policy, approval_at: Iterable[object], on_rollback: str) -> list[Step]:
    """Read before which steps a person is asked.

    Raises:
        ConfigError: There is no such step.
    """
    asked = [Step.parse(each) for each in approval_at]
    stops = [each for each in policy.steps if each in asked]
    unknown = [str(each) for each in asked if each not in policy.steps]
    wrong = [
        *([f"approval_at names {', '.join(unknown)}, which is no step of the policy"] if unknown else []),
        *([] if len(stops) < MOST_PARTS else [f"at most {MOST_PARTS - 1} approvals are asked for"]),
        *([] if on_rollback in ON_ROLLBACK else [f"on_rollback is {on_rollback!r}; it is one of {ON_ROLLBACK}"]),
    ]
    if wrong:
        raise ConfigError(f"rollout({group_id!r}): {'; '.join(wrong)}.")
    return stops


def _share(step: Step) -> str:
    return f"copies of {step.share} %" if step.mirrored else f"{step.share} %"

"""The task group that rolls out: what follows what, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_azureml.core.rollout import Policy
from airflow_azureml.errors import ConfigError
from airflow_azureml.operators.rollout import AzureMLRolloutOperator
from airflow_azureml.operators.rollout_work import TASKS
from airflow_azureml.task_groups.rollout import rollout


def group(**options: Any) -> DAG:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        rollout("g", **{"endpoint": "shop", "deployment": "green", **options})
    return dag


def behind(dag: DAG) -> dict[str, set[str]]:
    short = {task.task_id: task.task_id.removeprefix("g.") for task in dag.tasks}
    return {short[task.task_id]: {short[each] for each in task.downstream_task_ids} for task in dag.tasks}


def test_traffic_is_restored_by_a_teardown_whatever_happened_and_the_last_step_says_how_the_run_ended() -> None:
    dag = group()

    assert behind(dag) == {"begin": {"roll", "restore"}, "roll": {"restore"}, "restore": set()}
    assert dag.get_task("g.begin").is_setup
    assert dag.get_task("g.restore").is_teardown
    assert not dag.get_task("g.restore").on_failure_fail_dagrun


def test_before_each_approval_the_rollout_stops_and_is_watched_while_somebody_is_asked() -> None:
    dag = group(approval_at=(10, 100))

    follows = behind(dag)

    assert follows["roll"] == {"approve_2", "watch_2"}
    assert follows["approve_2"] == {"roll_2"}
    assert follows["roll_2"] == {"approve_3", "watch_3"}
    assert follows["approve_3"] == {"roll_3"}
    assert follows["roll_3"] == {"restore"}
    assert follows["watch_2"] == follows["watch_3"] == set()
    rolls = [task for task in dag.tasks if isinstance(task, AzureMLRolloutOperator) and not task.watches_only]
    assert [str(task.stop_before) for task in rolls] == ["10", "100", "None"]


def test_a_rollout_lives_while_any_of_its_tasks_may_go_on() -> None:
    dag = group(approval_at=(10, 50, 100))

    assert {task.task_id.removeprefix("g.") for task in dag.tasks} <= set(TASKS)


def test_what_is_no_step_of_the_policy_needs_no_approval() -> None:
    with pytest.raises(ConfigError, match="approval_at names 25, mirror:5, which is no step of the policy"):
        group(approval_at=(25, "mirror:5"), policy=Policy(steps=(10, 100)))


def test_what_is_to_become_of_a_run_that_was_rolled_back_is_one_of_two_things() -> None:
    with pytest.raises(ConfigError, match="on_rollback is 'ignore'"):
        group(on_rollback="ignore")

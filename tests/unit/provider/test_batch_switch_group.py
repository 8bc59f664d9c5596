"""The task group that switches a batch endpoint: what follows what, and what is passed on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from airflow.sdk import DAG

from airflow_azureml.operators.batch_switch import AzureMLBatchSwitchOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator, BatchEndpoint
from airflow_azureml.task_groups.batch_switch import OutputRules, batch_switch

RULES = OutputRules(key=["row"], changed_at_most=0.1)


@pytest.fixture(scope="module")
def dag() -> DAG:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as made:
        batch_switch(
            "g", endpoint="scoring", deployment="green", inputs={"data": "azureml://x"}, output="predictions",
            rules=RULES, conn_id="mine", task_options={"retries": 1},
        )  # fmt: skip
    return made


def test_both_run_before_the_switch_and_the_default_is_known_before_both(dag: DAG) -> None:
    follows = {task.task_id: task.downstream_task_ids for task in dag.tasks}

    assert follows["g.default"] == {"g.run_default", "g.run_candidate", "g.switch"}
    assert follows["g.run_default"] == follows["g.run_candidate"] == {"g.switch"}


def test_the_switch_runs_though_there_was_nothing_to_compare_and_not_after_a_failure(dag: DAG) -> None:
    rules = {task.task_id: task.trigger_rule.value for task in dag.tasks}

    assert rules.pop("g.switch") == "none_failed"
    assert set(rules.values()) == {"all_success"}


def test_each_runs_the_deployment_that_is_compared_on_the_same_input(dag: DAG) -> None:
    default, candidate, switch = (dag.get_task(f"g.{name}") for name in ("run_default", "run_candidate", "switch"))
    assert isinstance(default, AzureMLPipelineOperator)
    assert isinstance(candidate, AzureMLPipelineOperator)
    assert isinstance(switch, AzureMLBatchSwitchOperator)

    assert default.pipeline == BatchEndpoint("scoring", "{{ ti.xcom_pull(task_ids='g.default') }}")
    assert candidate.pipeline == BatchEndpoint("scoring", "green")
    assert default.inputs == candidate.inputs == {"data": "azureml://x"}
    assert (switch.output_name, switch.rules, switch.deployment) == ("predictions", RULES, "green")
    assert {(task.retries, getattr(task, "conn_id", "")) for task in dag.tasks} == {(1, "mine")}

"""Batch endpoints, blue and green: both deployments score the same, their outputs are compared, the default moves."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup

from airflow_azureml.core.output_rules import OutputRules
from airflow_azureml.core.pipelines import BatchEndpoint
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_switch import AzureMLBatchDefaultOperator, AzureMLBatchSwitchOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator

__all__ = ["OutputRules", "batch_switch"]

#: What every task of a group is told, unless it is told otherwise.
TASK_OPTIONS: Mapping[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=30)}


def batch_switch(  # noqa: PLR0913  # what a group needs, and all but its id by name
    group_id: str,
    *,
    endpoint: str,
    deployment: str,
    inputs: Mapping[str, Any],
    output: str,
    rules: OutputRules | None = None,
    conn_id: str = AzureMLHook.default_conn_name,
    task_options: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Make a deployment of a batch endpoint the default, if it makes of an input what the default makes of it.

    Tasks: ``default`` finds the default; ``run_default`` and ``run_candidate`` score the same input, each under a name
    of its own; ``switch`` compares and changes the default, and returns what `AzureMLBatchSwitchOperator` does. Where
    the deployment is the default already, or there is none, nothing is run.

    Args:
        group_id: The group's id.
        endpoint: The batch endpoint, templated.
        deployment: The deployment that is to become the default, templated.
        inputs: What both score, templated; see `AzureMLPipelineOperator`.
        output: The output of both with the tables.
        rules: How alike they must be; by default every column's distribution.
        conn_id: The Airflow connection of type ``azureml``.
        task_options: What every task is told besides, such as ``pool``; ``retries`` are three unless told otherwise.

    Returns:
        The group; its task ``switch`` is ``group["switch"]``'s.
    """
    options = {**TASK_OPTIONS, **(task_options or {}), "conn_id": conn_id}
    with TaskGroup(group_id) as group:
        default = AzureMLBatchDefaultOperator(task_id="default", endpoint=endpoint, candidate=deployment, **options)
        named = f"{{{{ ti.xcom_pull(task_ids='{default.task_id}') }}}}"
        ran = {
            name: AzureMLPipelineOperator(
                task_id=name, pipeline=BatchEndpoint(endpoint, deployment=which), inputs=inputs, **options
            )
            for name, which in (("run_default", named), ("run_candidate", deployment))
        }
        switch = AzureMLBatchSwitchOperator(
            task_id="switch",
            endpoint=endpoint,
            deployment=deployment,
            expected=default.output,
            current=ran["run_default"].output,
            candidate=ran["run_candidate"].output,
            output_name=output,
            rules=rules or OutputRules(),
            trigger_rule="none_failed",
            **options,
        )
        default >> list(ran.values()) >> switch
    return group

"""What the page on online endpoints says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attrs import fields

from airflow_azureml import errors
from airflow_azureml.core.deploying import DIGEST_TAG
from airflow_azureml.core.online import LiveMetrics
from airflow_azureml.core.output_rules import OutputRules
from airflow_azureml.operators.batch_switch import (
    PREVIOUS_TAG,
    AzureMLBatchDefaultOperator,
    AzureMLBatchSwitchOperator,
)
from airflow_azureml.operators.online import (
    AzureMLDeleteDeploymentOperator,
    AzureMLOnlineDeploymentOperator,
    AzureMLOnlineEndpointOperator,
    AzureMLOnlineTrafficOperator,
)
from airflow_azureml.operators.serving import AzureMLServingOperator
from airflow_azureml.task_groups.batch_switch import batch_switch
from tests.docs.reading import without_a_sentence

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/online-endpoints.md").read_text()
OPERATORS = (
    AzureMLOnlineEndpointOperator,
    AzureMLOnlineDeploymentOperator,
    AzureMLOnlineTrafficOperator,
    AzureMLDeleteDeploymentOperator,
    AzureMLBatchDefaultOperator,
    AzureMLBatchSwitchOperator,
    AzureMLServingOperator,
)


@pytest.mark.parametrize("what", [*OPERATORS, batch_switch], ids=lambda what: what.__name__)
def test_every_argument_has_its_sentence(what: object) -> None:
    assert without_a_sentence(what) == []


def test_every_figure_of_the_live_metrics_is_described() -> None:
    figures = [each.name for each in fields(LiveMetrics) if each.name not in {"deployment", "since", "until"}]

    assert [name for name in figures if f"`{name}`" not in PAGE] == []


def test_the_errors_of_serving_are_retried_or_not_as_the_page_says() -> None:
    retried = dict(re.findall(r"^\| `(\w+Error)` \|.*\| (yes|no) \|$", PAGE, re.MULTILINE))

    assert {"DeploymentFailedError", "DeploymentTimeoutError", "EndpointFailedError", "NoCapacityError"} <= set(retried)
    assert {name: answer == "yes" for name, answer in retried.items()} == {
        name: getattr(errors, name).retryable for name in retried
    }


def test_every_rule_for_outputs_is_described() -> None:
    assert [
        each.name for each in fields(OutputRules) if f"`{each.name}`" not in PAGE and f"{each.name}=" not in PAGE
    ] == []


def test_the_tags_are_called_as_the_page_says() -> None:
    assert f"`{DIGEST_TAG}`" in PAGE
    assert f"`{PREVIOUS_TAG}`" in PAGE


def test_the_python_of_the_page_builds_its_tasks() -> None:
    from airflow.sdk import DAG  # noqa: PLC0415  # slow to import, and for this test alone

    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)):
        with DAG(f"page_{number}", schedule=None) as dag:
            exec(block, {})  # noqa: S102  # the page's own words
        assert len(dag.tasks) == 4

"""What the page about the gate shows is what the code reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_azureml.core import gate_policy
from airflow_azureml.core.evaluation import Evaluation
from airflow_azureml.operators.gate import AzureMLGateOperator, AzureMLReevaluateOperator
from tests.docs.reading import without_a_sentence

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/gate.md"


def _shown(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def test_the_policy_that_is_shown_is_one() -> None:
    policy = gate_policy.parse(_shown("yaml"), name="gate.md")

    assert all(policy.sections.values()), "each kind of rule is shown"


def test_the_evaluation_that_is_shown_can_be_read() -> None:
    found = Evaluation.parse(_shown("json").encode())

    assert found.faults == ()
    assert found.losses is not None
    assert sorted(found.slices) == ["sex=female", "sex=male"]


def test_the_dag_that_is_shown_is_one_and_its_gate_stands_between_training_and_registration() -> None:
    names: dict[str, Any] = {}
    exec(compile(_shown("python"), str(PAGE), "exec"), names)  # noqa: S102  # our own page

    dag = names["gate"].dag
    assert isinstance(dag, DAG)
    assert {name: sorted(task.downstream_task_ids) for name, task in dag.task_dict.items()} == {
        "train": ["gate", "reevaluate", "register"],
        "champion": ["reevaluate"],
        "reevaluate": ["gate"],
        "gate": ["register"],
        "register": [],
    }


@pytest.mark.parametrize("operator", [AzureMLGateOperator, AzureMLReevaluateOperator], ids=lambda one: one.__name__)
def test_every_argument_has_its_sentence(operator: Any) -> None:
    assert without_a_sentence(operator, but={"kwargs"}) == []

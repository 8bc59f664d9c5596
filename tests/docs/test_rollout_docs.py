"""What the page on rollouts says is so, and the guard that users copy can be parsed anywhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_azureml.core.rolled_back import MOST_REMEMBERED
from airflow_azureml.core.rollout import Limits, Policy
from airflow_azureml.operators.rollout import AzureMLBeginRolloutOperator, AzureMLRolloutOperator
from airflow_azureml.operators.rollout_guard import AzureMLRolloutGuardOperator
from airflow_azureml.task_groups.rollout import rollout
from tests.docs.reading import told_of, without_a_sentence

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/rollout.md").read_text()
FILE = ROOT / "dags/rollout_guard.py"


@pytest.mark.parametrize(
    "what",
    [rollout, Policy, AzureMLBeginRolloutOperator, AzureMLRolloutOperator, AzureMLRolloutGuardOperator],
    ids=lambda what: what.__name__,
)
def test_every_argument_has_its_sentence(what: object) -> None:
    assert without_a_sentence(what) == []


def test_every_limit_is_described() -> None:
    limits = [name for name in inspect.signature(Limits).parameters if f"`{name}`" not in PAGE]

    assert limits == []


def test_the_table_names_every_task_of_the_group() -> None:
    with DAG("d", schedule=None) as dag:
        rollout("rollout", endpoint="shop", deployment="green", approval_at=(50,))
    table = re.findall(r"^\| (`[^|]*) \|", PAGE.partition("## Steps")[0], re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(table)))

    assert named == {each.removeprefix("rollout.") for each in dag.task_ids}


def test_the_page_says_how_many_are_remembered() -> None:
    assert f"the {MOST_REMEMBERED} latest of each endpoint" in PAGE


def test_the_guard_is_parsed_without_what_its_task_needs_and_looks_after_each_connection(tmp_path: Path) -> None:
    ask = """
(task,) = dag.tasks
connections = task.expand_input.value["conn_id"]
print(dag.dag_id, dag.catchup, dag.max_active_runs, task.task_id, connections, heavy)
"""
    told = told_of(FILE, ask, home=tmp_path, ROLLOUT_CONNECTIONS="azureml_qa, azureml_production")

    assert told.splitlines()[-1] == "rollout_guard False 1 guard ['azureml_qa', 'azureml_production'] []"
    assert len(FILE.read_text().splitlines()) < 80


@pytest.mark.parametrize("file", sorted((ROOT / "dags").glob("*.py")), ids=lambda file: file.stem)
def test_every_dag_that_users_copy_has_its_place_in_the_docs(file: Path) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]

    assert [page.name for page in pages if f"dags/{file.name}" in page.read_text()] != []

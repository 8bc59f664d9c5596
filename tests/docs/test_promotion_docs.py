"""What the page about promotions shows is so, and its DAG files are short and can be parsed anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_azureml.core.environments import RequiredEvidence
from airflow_azureml.core.promotion_outcomes import Promoted, PromotionOutcome
from airflow_azureml.operators.promotion import (
    AzureMLEnterEnvironmentOperator,
    AzureMLModelDigestOperator,
    AzureMLPromotionOutcomeOperator,
    AzureMLPromotionPlanOperator,
)
from airflow_azureml.task_groups.promotion import Environment, Training, promote_code, promote_hybrid, promote_model
from tests.docs.reading import told_of, without_a_sentence

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/how-to/promotion.md").read_text()
MOST_LINES = 80


@pytest.mark.parametrize(
    "what",
    [
        *(promote_code, promote_model, promote_hybrid, Environment, RequiredEvidence, Training),
        *(AzureMLPromotionPlanOperator, AzureMLEnterEnvironmentOperator),
        *(AzureMLModelDigestOperator, AzureMLPromotionOutcomeOperator),
    ],
    ids=lambda what: what.__name__,
)
def test_every_argument_has_its_sentence(what: object) -> None:
    assert without_a_sentence(what) == []


def test_the_dag_that_is_shown_is_one_with_the_tasks_of_the_table_in_each_environment() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    begun = shown.replace('type="string")}):', 'type="string")}) as dag:')
    exec(compile(begun, "promotion.md", "exec"), names)  # noqa: S102  # the page's own code
    rows = re.findall(r"^\| `(\w+)` \|", _section("What happens").partition("In production:")[0], re.MULTILINE)

    made = [name.removeprefix("diabetes.") for name in names["dag"].task_ids]
    staging = {name.removeprefix("staging.") for name in made if name.startswith("staging.")}
    assert set(rows) == staging - {"passed"} | {"plan", "require"}
    assert {"production.require", "production.publish", "production.crowned", "production.evidence", "outcome"} <= set(
        made
    )


def test_every_outcome_is_told_and_every_field_of_it() -> None:
    section = _section("What happens")

    assert set(re.findall(r"^\| `([\w ]+)` \| [^|]*\|$", section.partition("| `outcome` |")[2], re.MULTILINE)) == {
        each.value for each in Promoted
    }
    fields = PromotionOutcome(what="Model m", sha="abc", outcome=Promoted.NOTHING).to_wire()
    assert [name for name in fields if f"`{name}`" not in section] == []


@pytest.mark.parametrize("name", ["promote_code", "promote_model", "release_on_registration"])
def test_a_dag_that_users_copy_is_short_has_its_page_and_is_parsed_without_what_its_tasks_need(
    name: str, tmp_path: Path
) -> None:
    file = ROOT / f"dags/{name}.py"
    ask = "print(dag.dag_id, bool(dag.doc_md), heavy)"
    told = told_of(file, ask, home=tmp_path)

    assert told.splitlines()[-1] == f"{name} True []"
    assert len(file.read_text().splitlines()) < MOST_LINES
    pages = [page.read_text() for page in (ROOT / "docs/how-to").glob("*.md")]
    assert any(f"](../../dags/{name}.py)" in page for page in pages)


def _section(title: str) -> str:
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]

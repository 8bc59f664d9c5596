"""What the pages on drift and on training data say is so."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import fields

from airflow_azureml.core.compaction import Counts
from airflow_azureml.core.drift import DriftPolicy, WindowVerdict, decide, table
from airflow_azureml.core.findings import Finding
from airflow_azureml.operators.compaction import AzureMLCompactionOperator
from airflow_azureml.task_groups.drift import drift_watch
from tests.docs.reading import told_of, without_a_sentence

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs/how-to"


@pytest.mark.parametrize("what", [AzureMLCompactionOperator, drift_watch], ids=lambda what: what.__name__)
def test_every_argument_has_its_sentence(what: object) -> None:
    assert without_a_sentence(what) == []


def test_every_count_is_described() -> None:
    text = (HOW_TO / "training-data.md").read_text()

    assert [each.name for each in fields(Counts) if f"`{each.name}`" not in text] == []


def test_the_table_that_is_shown_is_what_is_written() -> None:
    (shown,) = re.findall(r"```\n(window .*?)\n```", (HOW_TO / "drift.md").read_text(), re.DOTALL)
    drifted = [
        Finding(check=f"{name}: PSI", passed=False, reason="", subject=name, value=0.5)
        for name in ("bmi", "prediction")
    ]
    held = [Finding(check="bmi: PSI", passed=True, reason="", subject="bmi", value=0.1)]
    seen = [
        WindowVerdict(window=f"2026-03-0{day}", rows=2000, findings=held if day == 1 else drifted) for day in (1, 2, 3)
    ]
    policy = DriftPolicy(violated=2, of=3, cool_down=timedelta(days=7), min_rows=200)
    now = datetime(2026, 3, 4, 5, 30, tzinfo=UTC)

    decision = decide(seen, policy, now=now, retrained_at=datetime(2026, 2, 28, 5, 30, tzinfo=UTC))

    assert shown == table(decision, policy)


@pytest.mark.parametrize(
    ("name", "tasks", "outlet"),
    [
        ("drift_watch", ["drift.look", "drift.decide", "drift.retrain"], "drift of diabetes-ridge"),
        ("collect_training_data", ["compact"], "diabetes training data"),
    ],
)
def test_a_dag_that_is_shown_is_parsed_without_what_its_tasks_need(
    name: str, tasks: list[str], outlet: str, tmp_path: Path
) -> None:
    outlets = "[outlet.name for task in dag.tasks for outlet in task.outlets]"
    ask = f"print(dag.dag_id, [task.task_id for task in dag.tasks], {outlets}, heavy)"
    told = told_of(ROOT / f"dags/{name}.py", ask, home=tmp_path)

    assert told.splitlines()[-1] == f"{name} {tasks} {[outlet]} []"
    assert len((ROOT / f"dags/{name}.py").read_text().splitlines()) < 80

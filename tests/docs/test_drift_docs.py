"""What the pages on drift and on training data say is so."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import fields

from airflow_azureml.core.compaction import Counts
from airflow_azureml.core.drift import DriftPolicy, WindowVerdict, decide, table
from airflow_azureml.core.findings import Finding
from airflow_azureml.operators.compaction import AzureMLCompactionOperator
from airflow_azureml.task_groups.drift import drift_watch

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs/how-to"

#: Parse a DAG file, and say what is in it: its tasks, what they update, and what schedules it.
TELL = """
import runpy, sys
from airflow.sdk.definitions._internal.contextmanager import DagContext
DagContext.current_autoregister_module_name = "__main__"
runpy.run_path(sys.argv[1])
(dag,) = [dag for dag, _ in DagContext.autoregistered_dags]
outlets = [outlet.name for task in dag.tasks for outlet in task.outlets]
print(dag.dag_id, [task.task_id for task in dag.tasks], outlets, "numpy" in sys.modules, "polars" in sys.modules)
"""


@pytest.mark.parametrize("what", [AzureMLCompactionOperator, drift_watch], ids=lambda what: what.__name__)
def test_every_argument_has_its_sentence(what: object) -> None:
    told = inspect.getdoc(what) or ""
    arguments = set(inspect.signature(what).parameters)  # type: ignore[arg-type]  # both are callable

    assert [name for name in sorted(arguments) if f"{name}:" not in told] == []


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
    done = subprocess.run(
        [sys.executable, "-c", TELL, str(ROOT / f"dags/{name}.py")],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == f"{name} {tasks} {[outlet]} False False"
    assert len((ROOT / f"dags/{name}.py").read_text().splitlines()) < 80

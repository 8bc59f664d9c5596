"""What the page on releases says is so, and the DAG that it shows can be parsed anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_azureml.core.profiling import Goal
from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.core.smoke_file import parse
from airflow_azureml.operators.profile import AzureMLProfileOperator, AzureMLSetDeploymentOperator
from airflow_azureml.operators.release import AzureMLPlanReleaseOperator
from airflow_azureml.operators.smoke import AzureMLSmokeTestOperator
from airflow_azureml.task_groups.release import Profiling, Stage, release
from tests.docs.reading import told_of, without_a_sentence

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/how-to/release.md"
FILE = ROOT / "dags/release_on_registration.py"


@pytest.mark.parametrize(
    "what",
    [
        *(AzureMLSmokeTestOperator, AzureMLProfileOperator, AzureMLSetDeploymentOperator),
        *(AzureMLPlanReleaseOperator, Stage, Goal, Profiling, release),
    ],
    ids=lambda what: what.__name__,
)
def test_every_argument_has_its_sentence(what: object) -> None:
    assert without_a_sentence(what) == []


def test_the_smoke_tests_that_are_shown_are_smoke_tests() -> None:
    (shown,) = re.findall(r"```yaml\n(schema: 1\n.*?)```", PAGE.read_text(), re.DOTALL)

    tests = parse(shown, name="release.md")

    assert [case.status for case in tests.cases] == ["200", "400", "400"]
    assert tests.latency is not None


def test_the_table_names_every_task_of_the_group() -> None:
    with DAG("d", schedule=None) as dag:
        release(
            "release",
            model="m:1",
            spec="deployment.yml",
            tests="smoke.yaml",
            qa=Stage(endpoint="qa"),
            production=Stage(endpoint="scoring"),
            profiling=Profiling(goal=Goal(rate_per_s=1, latency_ms=1)),
        )
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(), re.MULTILINE))))

    assert named == {each.removeprefix("release.").partition(".")[0] for each in dag.task_ids}


def test_the_dag_that_is_shown_is_parsed_without_what_its_tasks_need(tmp_path: Path) -> None:
    ask = "print(dag.dag_id, len(dag.tasks), heavy)"
    told = told_of(FILE, ask, home=tmp_path)

    # The champion, eight tasks of the release, and of its rollout: to 10 %, an approval, the rest, and the end.
    assert told.splitlines()[-1] == "release_on_registration 15 []"
    assert len(FILE.read_text().splitlines()) < 80


def test_the_stage_on_kubernetes_that_is_shown_is_one_with_the_file_that_is_there() -> None:
    (shown,) = re.findall(r"```python\n(production = .*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"Stage": Stage, "Policy": Policy}
    exec(shown, names)  # noqa: S102  # the page's own code

    with DAG("d", schedule=None) as dag:
        release(
            "release",
            model="m:1",
            spec=None,
            tests="smoke.yaml",
            **{name: names[name] for name in ("production", "policy")},
        )
    endpoint, deploy = (dag.get_task(f"release.{name}") for name in ("endpoint", "deploy"))
    assert getattr(endpoint, "compute", "") == "aks-production"
    assert "type: kubernetes\n" in (ROOT / getattr(deploy, "spec", "")).read_text()

"""The task group of a release: which tasks there are, in which order, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_azureml.core.profiling import Goal
from airflow_azureml.errors import ConfigError
from airflow_azureml.task_groups.release import Profiling, Stage, release

PROFILING = Profiling(goal=Goal(rate_per_s=10, latency_ms=100))
QA, PRODUCTION = Stage(endpoint="qa"), Stage(endpoint="scoring")


def made(**options: Any) -> DAG:
    with DAG("d", schedule=None) as dag:
        given: dict[str, Any] = {"model": "m:1", "spec": "deployment.yml", "tests": "smoke.yaml", **options}
        release("release", **{"production": PRODUCTION, **given})
    return dag


def before(dag: DAG, task: str) -> set[str]:
    """Name all that comes before a task, without the group."""
    found = dag.get_task(f"release.{task}").get_flat_relative_ids(upstream=True)
    return {each.removeprefix("release.") for each in found}


def test_nothing_is_done_in_production_before_all_tests_in_qa_were_passed() -> None:
    dag = made(qa=QA, profiling=PROFILING)

    assert before(dag, "endpoint") == {"plan", "qa_endpoint", "deploy_qa", "test_qa", "profile"}
    assert before(dag, "rollout.begin") == before(dag, "test") | {"test"}
    assert {"deploy", "set"} <= before(dag, "test")


def test_what_was_deployed_for_a_test_is_taken_away_whatever_happened() -> None:
    dag = made(qa=QA)
    remove = dag.get_task("release.remove_qa")

    assert remove.is_teardown
    assert dag.get_task("release.deploy_qa").is_setup
    assert before(dag, "remove_qa") == {"plan", "qa_endpoint", "deploy_qa", "test_qa"}


def test_without_qa_the_first_test_is_in_production_before_any_traffic() -> None:
    assert before(made(), "rollout.begin") == {"plan", "endpoint", "deploy", "test"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spec": None}, "production has neither a deployment's file"),
        ({"production": Stage(endpoint="")}, "production.endpoint is empty"),
        ({"qa": Stage(endpoint="scoring")}, "qa and production are the same endpoint"),
        ({"profiling": PROFILING}, "profiling measures in qa, which is missing"),
        (
            {"production": Stage(endpoint="scoring", compute="aks")},
            "Azure copies no requests to a Kubernetes endpoint: give a policy without the step mirror:10",
        ),
        (
            {"profiling": PROFILING, "qa": Stage(endpoint="qa", instance_type="Standard_DS1_v2")},
            "they are Standard_DS1_v2 and those of the file",
        ),
        (
            {"profiling": PROFILING, "qa": QA, "production": Stage(endpoint="scoring", instances=3)},
            "production.instances is what profiling finds",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_when_the_dag_is_read(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=r"release\('release'\)") as error:
        made(**options)

    assert words in str(error.value)


def test_one_workspace_may_hold_both_stages_and_two_may_name_them_alike() -> None:
    dag = made(qa=Stage(endpoint="scoring", conn_id="azureml_qa"))

    assert getattr(dag.get_task("release.deploy_qa"), "conn_id", "") == "azureml_qa"
    assert getattr(dag.get_task("release.deploy"), "conn_id", "") == "azureml_default"


def test_whoever_says_again_says_so_to_the_plan_and_to_the_rollout() -> None:
    dag = made(again="{{ params.again }}")

    assert [getattr(dag.get_task(f"release.{task}"), "again", None) for task in ("plan", "rollout.begin")] == [
        "{{ params.again }}",
        "{{ params.again }}",
    ]

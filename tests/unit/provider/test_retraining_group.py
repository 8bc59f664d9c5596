"""The task group that retrains: what follows what, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_azureml.core.gate import Policy
from airflow_azureml.errors import ConfigError
from airflow_azureml.operators.pipeline import BatchEndpoint
from airflow_azureml.operators.retraining import TASKS
from airflow_azureml.task_groups.retraining import Outputs, TrainingData, train_evaluate_register

FOLDER = "azureml://datastores/workspaceblobstore/paths/training-data/"
TRAINING, EVALUATION = BatchEndpoint("training"), BatchEndpoint("evaluation")


def group(**options: Any) -> DAG:
    told = {"pipeline": TRAINING, "model": "m", "policy": "gate.yaml", "outputs": f"{FOLDER}out/", **options}
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        train_evaluate_register("g", **told)
    return dag


def behind(dag: DAG) -> dict[str, set[str]]:
    short = {task.task_id: task.task_id.removeprefix("g.") for task in dag.tasks}
    return {short[task.task_id]: {short[each] for each in task.downstream_task_ids} for task in dag.tasks}


@pytest.fixture(scope="module")
def whole() -> DAG:
    data = TrainingData(uri=FOLDER, since="2026-01-01", until="2026-02-01", tests="tests.yaml")
    return group(data=data, evaluation_pipeline=EVALUATION)


def test_data_is_tested_before_the_training_and_the_gate_stands_before_the_registration(whole: DAG) -> None:
    follows = behind(whole)

    assert follows["take"] == {"partitions", "give_back"}
    assert follows["partitions"] == {"test_data"}
    assert "train" in follows["test_data"]
    assert follows["train"] >= {"champion", "reevaluate", "gate", "register"}
    assert follows["gate"] == {"register", "outcome"}
    assert follows["register"] == {"outcome"}
    assert follows["outcome"] == {"give_back"}


def test_only_the_outcome_runs_though_something_before_it_was_skipped(whole: DAG) -> None:
    rules = {task.task_id.removeprefix("g."): task.trigger_rule.value for task in whole.tasks}

    assert {task for task, rule in rules.items() if rule == "none_failed"} == {"outcome"}
    assert {rule for task, rule in rules.items() if task not in {"outcome", "give_back"}} == {"all_success"}


def test_the_model_is_given_back_by_a_teardown_whatever_happened(whole: DAG) -> None:
    assert whole.get_task("g.take").is_setup
    assert whole.get_task("g.give_back").is_teardown


def test_every_task_that_works_on_the_model_is_asked_after(whole: DAG) -> None:
    assert {task.task_id.removeprefix("g.") for task in whole.tasks} == {*TASKS, "give_back"}


def test_the_training_is_passed_the_window_that_was_tested(whole: DAG) -> None:
    train: Any = whole.get_task("g.train")
    partitions: Any = whole.get_task("g.partitions")

    assert train.inputs == {
        "partitions": {"uri": FOLDER, "type": "uri_folder"},
        "since": "2026-01-01",
        "until": "2026-02-01",
    }
    assert (partitions.data, partitions.since, partitions.until) == (FOLDER, "2026-01-01", "2026-02-01")
    assert train.outputs == {name: f"{FOLDER}out/{{key}}/{name}/" for name in ("model", "evaluation", "prepared")}


def test_without_data_tests_and_without_a_second_evaluation_those_tasks_are_not_there() -> None:
    dag = group(data=TrainingData(uri=f"{FOLDER}all.csv"), output_names=Outputs(test_data=""))
    train: Any = dag.get_task("g.train")

    assert behind(dag).keys() == {"take", "train", "champion", "gate", "register", "outcome", "give_back"}
    assert behind(dag)["take"] == {"train", "give_back"}
    assert train.inputs == {"data": {"uri": f"{FOLDER}all.csv", "type": "uri_file"}}


def test_a_run_may_be_skipped_where_another_one_retrains() -> None:
    take: Any = group(on_busy="skip").get_task("g.take")

    assert take.on_busy == "skip"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"model": "a model"}, "model 'a model' is no model's name"),
        ({"outputs": "https://acme"}, "outputs is 'https://acme', no folder of a datastore"),
        ({"on_busy": "hope"}, "on_busy is 'hope'; it must be one of wait, skip"),
        ({"data": TrainingData(uri="incoming/x.csv")}, "data is 'incoming/x.csv', not azureml://datastores/"),
        ({"data": TrainingData(uri=f"{FOLDER}x.csv", since="2026-01-01")}, "is a single file"),
        ({"policy": Policy(name="p", version="1")}, "its policy: there is no rule"),
        (
            {"evaluation_pipeline": EVALUATION, "output_names": Outputs(test_data="")},
            "a champion is measured on test_data; name it",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_when_the_dag_is_parsed(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=r"train_evaluate_register\('g'\): ") as refusal:
        group(**options)

    assert fault in str(refusal.value)

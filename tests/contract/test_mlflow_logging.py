"""MLflow's ``log_model``, datasets, and runs and experiments that are deleted, by MLflow's own client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Emulator, of, tell

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("mlflow-logging")
    return tell(emulator, "mlflow_logging_story.py", scratch, emulator.addresses.http, patience_s=360)


@of("log_model")
def test_a_model_that_is_logged_and_registered_is_loaded_by_every_address_it_has(chapter: dict[str, Any]) -> None:
    assert chapter["predicted"] == [[2.0, 4.0]] * 5
    assert chapter["status"] == "READY"
    assert chapter["told"] == ["model", {"depth": "3"}, "blue", True]
    assert chapter["metrics"] == [["rmse", 0.5]]
    assert chapter["versions"] == [{"name": "doubling", "version": "1"}]
    assert chapter["outputs"] == [True]


@of("log_model")
def test_a_logged_model_is_a_model_of_its_run_for_azure_resource_manager(chapter: dict[str, Any]) -> None:
    assert chapter["arm"] == ["mlflow_model", True, "model"]


@of("same_name_twice")
def test_two_models_of_one_name_in_a_run_do_not_overwrite_each_other(chapter: dict[str, Any]) -> None:
    assert chapter == {"apart": 2, "predicted": [[2.0, 4.0]] * 2, "first": True}


@of("without_a_run")
def test_a_model_can_be_logged_without_a_run(chapter: dict[str, Any]) -> None:
    assert chapter == {"status": "READY", "files": ["note.txt"]}


@of("searched")
def test_logged_models_are_searched_tagged_and_deleted(chapter: dict[str, Any]) -> None:
    assert [chapter["found"], chapter["newest"], chapter["oldest"]] == [True, "alone", True]
    assert chapter["tags"] == ["b", False]
    assert [chapter[name][0] for name in ("deleted", "missing", "nowhere")] == ["RESOURCE_DOES_NOT_EXIST"] * 3


@of("in_a_job")
def test_a_job_logs_a_model_with_nothing_but_what_its_environment_has(chapter: dict[str, Any]) -> None:
    assert chapter == {
        "status": "Completed",
        "model": ["mlflow_model", "adding-job"],
        "predicted": [2.0, 3.0],
        "files": ["artifacts/adding/MLmodel"],
        "children": ["Completed"],
    }


@of("datasets")
def test_a_dataset_that_is_logged_twice_is_an_input_once(chapter: dict[str, Any]) -> None:
    assert chapter == {"name": "two rows", "tags": [["mlflow.data.context", "training"]]}


@of("deleted_run")
def test_a_run_that_is_deleted_is_archived_until_it_is_restored(chapter: dict[str, Any]) -> None:
    assert chapter == {"after": [False, True, True], "listed": False, "stage": "deleted", "back": True}


@of("experiments")
def test_experiments_are_tagged_searched_archived_and_never_renamed(chapter: dict[str, Any]) -> None:
    assert chapter["tags"] == {"a": "1", "b": "2"}
    assert [chapter["found"], chapter["stage"], chapter["active"], chapter["gone"]] == [
        ["mine"],
        "deleted",
        False,
        ["mine"],
    ]
    assert chapter["rename"][0] == "NOT_IMPLEMENTED"

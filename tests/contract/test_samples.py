"""Steps, outputs, inputs and assets as the public samples of Azure ML use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.conftest import Emulator, of, tell

pytestmark = pytest.mark.timeout(400)
ROOT = (
    "azureml://subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/contract-group/workspaces/contract-ws"
)


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A workspace that nobody else has touched."""
    made = Emulator(tmp_path_factory.mktemp("samples-emulator") / "state", *azurite)
    made.start()
    yield made
    made.end()


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(emulator, "samples_story.py", tmp_path_factory.mktemp("samples"), patience_s=360)


@of("parallel_in_python")
def test_a_parallel_step_hands_out_mini_batches_with_its_own_arguments_and_hands_on_what_it_made(
    chapter: dict[str, Any],
) -> None:
    rows = [f"f{number}.txt two words {2 if number < 4 else 1}" for number in range(5)]
    assert chapter["status"] == "Completed"
    assert chapter["log"] == [*rows, "f0.txt", "f2.txt", "f4.txt", ""]


@of("parallel_in_python")
def test_a_parallel_step_is_reused_as_others_are(chapter: dict[str, Any]) -> None:
    assert chapter["reused"] == ["true", "true"]


@of("parallel_that_fails")
def test_a_parallel_step_fails_when_more_mini_batches_do_than_may(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Failed"
    assert "failed on try 2 of 2: ValueError: 1" in chapter["log"]
    assert "2 mini-batches failed, which is more than the error threshold of 1." in chapter["log"]


@of("steps_from_yaml")
def test_a_sweep_step_hands_on_what_its_best_trial_made(chapter: dict[str, Any]) -> None:
    trials = [f"  tune_{number} Completed" for number in range(3)]
    steps = ["count Completed", "labelled Completed", "show Completed", "sum Completed", "tune Completed", *trials]
    assert chapter["status"] == "Completed"
    assert chapter["tree"] == steps
    assert chapter["best"] == "0.25 linear\n"


@of("steps_from_yaml")
def test_a_component_by_its_default_label_is_its_newest_version(chapter: dict[str, Any]) -> None:
    assert chapter["labelled"] == "second\n"


@of("steps_from_yaml")
def test_rows_of_a_parallel_step_are_in_a_file_of_its_folder(chapter: dict[str, Any]) -> None:
    assert chapter["rows"] == ["2", "2", "3", "3", "3"]


@of("sweep_without_its_metric")
def test_a_sweep_step_whose_trials_log_no_metric_fails_since_it_has_nothing_to_hand_on(
    chapter: dict[str, Any],
) -> None:
    assert chapter == {"status": "Failed", "tree": ["step Failed", "  step_0 Completed", "  step_1 Completed"]}


@of("named_outputs")
def test_an_output_with_a_name_becomes_a_model_or_data_by_its_type(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Completed"
    assert chapter["model"] == ["1", "mlflow_model", True, True]
    assert chapter["rows"] == ["3", "uri_folder"]
    assert chapter["second"] == ["2", "custom_model", "second"]
    assert chapter["listed"] == [True, True]


@of("deployment_from_a_job")
def test_a_pipeline_job_becomes_a_component_whose_defaults_are_the_values_it_was_given(
    chapter: dict[str, Any],
) -> None:
    assert [chapter["status"], chapter["steps"]] == ["Completed", ["shout Completed"]]
    assert chapter["inputs"] == {"rows": ["uri_folder", None], "word": ["string", "hello"]}
    assert chapter["outputs"] == {"out": "uri_folder"}


@of("modes")
def test_a_job_is_given_the_uri_of_a_direct_input_and_the_paths_of_all_as_variables(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Completed"
    direct, three, *variables = chapter["log"][:-1]
    told = dict(one.split("=", 1) for one in variables)

    assert [direct, three] == [chapter["path"], "3"]
    assert direct.startswith(f"{ROOT}/datastores/workspaceblobstore/paths/LocalUpload/")
    assert sorted(told) == ["AZURE_ML_INPUT_brought", "AZURE_ML_INPUT_direct", "AZURE_ML_OUTPUT_made"]
    assert told["AZURE_ML_INPUT_direct"] == direct
    assert told["AZURE_ML_INPUT_brought"].endswith("/f3.txt")


@of("modes")
def test_a_node_says_how_its_input_is_given_and_else_its_component(chapter: dict[str, Any]) -> None:
    assert chapter["of_component"].strip() == chapter["path"]
    assert chapter["of_node"].startswith("/")


@of("datastores")
def test_datastores_of_all_kinds_are_kept_with_their_secrets_and_jobs_read_blobs_alone(
    chapter: dict[str, Any],
) -> None:
    types = [word.rpartition(".")[2].replace("_", "").lower() for word in chapter["types"].values()]
    assert types == ["azureblob", "azurefile", "azuredatalakegen2"]
    assert chapter["sas"] == "?sv=x"
    assert chapter["secret"] == ["c", "s"]
    assert chapter["job"] == "Failed"


@of("curated_environment")
def test_curated_environments_are_there_without_being_listed(chapter: dict[str, Any]) -> None:
    assert chapter["versions"] == ["1", "32"]
    assert chapter["image"] == "mcr.microsoft.com/azureml/curated/sklearn-1.0-ubuntu20.04-py38-cpu:32"
    assert [chapter["listed"], chapter["job"]] == [False, "Completed"]


@of("workspace_as_it_was_got")
def test_a_workspace_that_was_got_and_changed_is_sent_back_whole(chapter: dict[str, Any]) -> None:
    assert [chapter["name"], chapter["tags"]] == ["As samples do", {"a": "b"}]


@of("workspace_as_it_was_got")
def test_a_workspace_is_deleted_with_all_that_is_its_own(chapter: dict[str, Any]) -> None:
    assert chapter["left"] == []


@of("workspace_as_it_was_got")
def test_a_managed_network_that_nobody_has_is_not_active(chapter: dict[str, Any]) -> None:
    assert chapter["network"] == ["Inactive", False]

"""Every kind of job that azure-ai-ml can submit, told by azure-ai-ml: sweeps really run, others fail honestly."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Emulator, of, tell

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="session")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(emulator, "job_kinds_story.py", tmp_path_factory.mktemp("kinds"), patience_s=360)


@of("grid")
def test_a_sweep_runs_every_trial_and_names_the_best(chapter: dict[str, Any]) -> None:
    tried = chapter["tried"]

    assert chapter["first"] == ["sweep", True]
    assert chapter["status"] == "Completed"
    assert chapter["children"] == [[f"grid_{number}", "Completed"] for number in range(4)]
    values = [[tried[f"_aml_system_grid_{number}"][name] for name in ("rate", "depth")] for number in range(4)]
    assert values == [[0.5, 2], [0.5, 3], [0.25, 2], [0.25, 3]]
    assert [chapter["best"], chapter["score"]] == ["grid_1", "1.5"]


@of("grid")
def test_a_sweep_is_shown_as_it_was_submitted(chapter: dict[str, Any]) -> None:
    assert chapter["space"] == {"rate": [0.5, 0.25], "depth": [2, 3]}
    assert chapter["limits"] == [4, 2, 300]
    assert chapter["objective"] == ["accuracy", "maximize"]
    assert "grid" in chapter["sampling"].lower()


@of("grid")
def test_the_files_of_a_sweep_are_those_of_its_best_trial(chapter: dict[str, Any]) -> None:
    files = chapter["files"]
    log, model = "artifacts/user_logs/std_log.txt", "named-outputs/model/model.txt"
    assert {log, model, "hd-artifacts/azureml-logs/hyperdrive.txt"} <= set(files)
    assert [files[log].splitlines()[0], files[model]] == ["rate 0.5 depth 3", "1.5"]


@of("grid")
def test_a_sweep_can_be_followed_and_its_trials_are_not_listed_as_jobs(chapter: dict[str, Any]) -> None:
    assert chapter["streamed"]["error"] == ""
    assert "The best trial is grid_1: accuracy is 1.5." in chapter["streamed"]["said"]
    assert "grid" in chapter["listed"]
    assert "grid_0" not in chapter["listed"]
    assert chapter["child"] == "Completed"


@of("minimized")
def test_the_least_is_the_best_where_that_is_the_goal(chapter: dict[str, Any]) -> None:
    assert chapter == {"status": "Completed", "best": {"rate": 0.25, "depth": 2}}


@of("drawn")
def test_random_values_are_of_the_search_space_and_trials_that_fail_do_not_fail_the_sweep(
    chapter: dict[str, Any],
) -> None:
    assert chapter["status"] == "Completed"
    assert len(chapter["trials"]) == 8
    assert len({rate for rate, _, _ in chapter["trials"]}) == 8
    for rate, depth, status in chapter["trials"]:
        assert 0.5 <= rate <= 1.0
        assert status == ("Completed" if depth < 3 else "Failed")


@of("drawn")
def test_where_no_trial_has_logged_the_metric_none_is_the_best(chapter: dict[str, Any]) -> None:
    assert chapter["best"] is None


@of("cancelled")
def test_a_sweep_that_is_cancelled_ends_with_all_its_trials(chapter: dict[str, Any]) -> None:
    assert chapter == {"status": "Canceled", "children": {"cancelled_0": "Canceled"}}


@of("timed_out")
def test_a_sweep_whose_time_is_up_is_cancelled(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Canceled"


@of("none_completed")
def test_a_sweep_of_which_no_trial_is_completed_fails(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Failed"
    assert "No trial of the sweep was completed: none_completed_0 is Failed" in chapter["error"]


@of("wrong")
def test_a_grid_of_what_is_no_choice_is_refused(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == 400
    assert "Grid sampling takes choices only, which rate is not." in chapter["text"]


@of("bayesian")
def test_a_bayesian_sweep_is_accepted_and_fails_saying_that_it_is_not_run(chapter: dict[str, Any]) -> None:
    assert [chapter["type"], chapter["status"], chapter["listed"]] == ["sweep", "Failed", True]
    assert "by grid and by random sampling, not by Bayesian sampling" in chapter["error"]


@pytest.mark.parametrize(
    ("chapter", "kind", "told"),
    [
        ("spark_job", "spark", "a job of type Spark"),
        ("automl_job", "automl", "a job of type AutoML"),
        ("spark_step", "pipeline", "a pipeline with node count of type spark"),
    ],
    indirect=["chapter"],
)
def test_what_the_emulator_does_not_run_is_accepted_and_fails_saying_so(
    chapter: dict[str, Any], kind: str, told: str
) -> None:
    assert [chapter["type"], chapter["status"], chapter["listed"]] == [kind, "Failed", True]
    assert f"The emulator accepts {told}, and does not run it" in chapter["error"]

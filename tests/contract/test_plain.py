"""Pipeline jobs that are published nowhere, from a worker's back end to the job that really runs."""

from __future__ import annotations

from typing import Any

import pytest

from demo.azure import ACCOUNT, ACCOUNT_KEY
from tests.contract.conftest import Emulator, of, tell

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="session")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    service = (emulator.addresses.http, emulator.addresses.blob, ACCOUNT, ACCOUNT_KEY)
    return tell(emulator, "plain_story.py", tmp_path_factory.mktemp("plain"), *service, patience_s=360)


def assert_ran(job: dict[str, Any]) -> None:
    """See that the job completed, that it was given what was passed, and that it reuses no old result."""
    assert job["status"] == "Completed", job
    assert job["inputs"]["word"]["value"] == "rows"
    assert job["inputs"]["rows"]["uri"].endswith("/plain/rows.csv")
    assert job["inputs"]["rows"]["jobInputType"] == "uri_file"
    assert job["settings"]["force_rerun"] is True
    assert job["properties"]["airflow.attempt"] == "1"


@of("adopted")
def test_a_job_that_is_there_is_adopted_without_the_sdk(chapter: dict[str, Any]) -> None:
    assert chapter == {"same": True, "sdk": False}


@of("misfit")
def test_what_does_not_fit_is_told_at_once_without_the_sdk_and_nothing_is_submitted(chapter: dict[str, Any]) -> None:
    assert [chapter["type"], chapter["sdk"]] == ["ConfigError", False]
    for words in ("input 'wrod'", "output 'reslut'", "input 'rows' is a uri_file", "output 'result' is a uri_folder"):
        assert words in chapter["text"]
    assert chapter["jobs"] == chapter["before"]


@of("replaced")
def test_a_blob_that_was_replaced_is_not_scored_in_its_old_version(chapter: dict[str, Any]) -> None:
    assert [chapter["type"], chapter["sdk"]] == ["SupersededError", False]
    assert "was replaced after it arrived" in chapter["text"]
    assert chapter["jobs"] == chapter["before"]


@of("no_file")
def test_a_file_that_is_missing_or_no_yaml_or_no_job_is_told(chapter: dict[str, Any]) -> None:
    assert "missing.yml does not exist on this worker" in chapter["missing"]["text"]
    assert "torn.yml cannot be read" in chapter["torn"]["text"]
    assert "list.yml holds a list, not a mapping" in chapter["list"]["text"]
    assert {one["type"] for one in chapter.values()} == {"ConfigError"}


@of("from_file")
def test_a_file_runs_with_its_own_code_under_a_name_of_ours(chapter: dict[str, Any]) -> None:
    assert_ran(chapter)
    assert chapter["name"] == chapter["expected"]
    assert chapter["experimentName"] == "of the task"
    assert chapter["outputs"]["result"]["uri"] == chapter["result"]
    assert chapter["inputs"]["rows"]["mode"] == "Download"


@of("twice")
def test_submitting_twice_is_submitting_once(chapter: dict[str, Any]) -> None:
    assert chapter["name"] == chapter["expected"]


@of("from_mapping", "from_callable")
def test_a_mapping_and_a_callable_run_as_a_file_does(chapter: dict[str, Any]) -> None:
    assert_ran(chapter)
    assert chapter["experimentName"] == "of the file"


@of("from_callable")
def test_a_callable_is_called_once_and_what_it_returns_is_checked(chapter: dict[str, Any]) -> None:
    assert chapter["calls"] == 1
    assert chapter["wrong"]["type"] == "ConfigError"
    assert "input 'wrod' is not declared (declared: rows, word)" in chapter["wrong"]["text"]


@of("from_object")
def test_an_object_of_the_sdk_runs_and_keeps_nothing_of_what_was_passed_before(chapter: dict[str, Any]) -> None:
    assert_ran(chapter["first"])
    assert chapter["second"]["inputs"]["word"]["value"] == "nothing"


@of("no_pipelines")
def test_what_is_no_pipeline_job_is_told(chapter: dict[str, Any]) -> None:
    assert "The pipeline is a int; give a BatchEndpoint" in chapter["number"]["text"]
    assert "The pipeline is a int; give a BatchEndpoint" in chapter["made"]["text"]
    assert "AzureMLJobOperator runs it" in chapter["job"]["text"]
    assert "AzureMLJobOperator runs it" in chapter["command"]["text"] or "is a Command" in chapter["command"]["text"]
    assert {one["type"] for one in chapter.values()} == {"ConfigError"}

"""Tasks that test data, on a real Azurite and a real emulator: what fails is kept, and nothing of it goes on."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_azureml.client import versions
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.quarantine import CONTAINER
from airflow_azureml.core.results import MOST_BYTES
from airflow_azureml.errors import NotReadyError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.data_test_engine import EngineError
from airflow_azureml.operators.data_test_plan import address
from airflow_azureml.operators.data_tests import AzureMLDataTestOperator
from demo.azure import ACCOUNT, ACCOUNT_KEY, Emulator
from demo.stack import airflow_environment
from tests.unit.provider.arrivals.scoring import Store, TaskInstance
from tests.unit.provider.data_tests_world import BAD, DRIFT, GOOD, RULES, World, table, world_of


@pytest.fixture
def world(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in airflow_environment(emulator).items():
        monkeypatch.setenv(name, value)
    with world_of(emulator) as made:
        yield made


def test_data_that_is_as_it_should_be_passes_with_its_version_and_its_report(world: World) -> None:
    etag = world.put("a.csv", GOOD)

    told = world.test(world.uri("a.csv"))

    assert (told["accepted"], told["rows"], told["etag"], told["path"]) == (True, 400, etag, world.uri("a.csv"))
    assert told["digest"].startswith("sha256:")
    assert len(json.dumps(told)) < MOST_BYTES
    assert Verdict.from_wire(json.loads(world.read(told["verdict"]))).accepted
    assert b"passed</span>" in world.read(told["report"])
    assert world.in_quarantine() == {}


def test_data_that_fails_fails_the_task_without_a_retry_and_says_what_was_found(world: World) -> None:
    world.put("a.csv", BAD)

    with pytest.raises(AirflowFailException, match="checks failed") as error:
        world.test(world.uri("a.csv"))

    assert "age: " in str(error.value)
    assert world.told["accepted"] is False
    assert {each["column"] for each in world.told["failed"]} == {"id", "age"}
    assert b"failed</span>" in world.read(world.told["report"])
    assert world.in_quarantine() == {}


def test_data_that_fails_skips_the_task_where_that_is_asked_for(world: World) -> None:
    world.put("a.csv", BAD)

    with pytest.raises(AirflowSkipException, match="checks failed"):
        world.test(world.uri("a.csv"), on_fail="skip")

    assert world.told["accepted"] is False
    assert world.in_quarantine() == {}


def test_data_that_fails_is_copied_to_quarantine_with_its_report_and_stays_where_it_was(world: World) -> None:
    etag = world.put("2026/a.csv", BAD)

    with pytest.raises(AirflowSkipException, match="checks failed"):
        world.test(world.arrival("2026/a.csv", etag), on_fail="quarantine")

    folder = f"{world.incoming.container_name}/2026/a.csv/{etag}"
    kept = world.in_quarantine()
    assert set(kept) == {f"{folder}/data/a.csv", f"{folder}/report.html", f"{folder}/verdict.json"}
    assert kept[f"{folder}/data/a.csv"] == BAD == world.incoming.download_blob("2026/a.csv").readall()
    assert world.told["quarantine"].endswith(f"/{world.kept}/{folder}/data/a.csv")
    assert json.loads(kept[f"{folder}/verdict.json"])["accepted"] is False


def test_a_retry_after_a_death_between_the_copy_and_its_report_finishes_and_doubles_nothing(world: World) -> None:
    etag = world.put("a.csv", BAD)
    folder = f"{world.incoming.container_name}/a.csv/{etag}"
    with pytest.raises(AirflowSkipException):
        world.test(world.uri("a.csv"), on_fail="quarantine")
    container = world.service.get_container_client(world.kept)
    made = container.get_blob_client(f"{folder}/data/a.csv").get_blob_properties().etag
    for name in ("report.html", "verdict.json"):
        container.delete_blob(f"{folder}/{name}")

    with pytest.raises(AirflowSkipException):
        world.test(world.uri("a.csv"), on_fail="quarantine")

    assert set(world.in_quarantine()) == {f"{folder}/{name}" for name in ("data/a.csv", "report.html", "verdict.json")}
    assert container.get_blob_client(f"{folder}/data/a.csv").get_blob_properties().etag == made


def test_without_a_place_for_it_quarantine_is_a_container_of_its_own(world: World) -> None:
    world.put("a.csv", BAD)

    with pytest.raises(AirflowSkipException):
        world.test(world.uri("a.csv"), on_fail="quarantine", quarantine="")

    assert f"/{CONTAINER}/{world.incoming.container_name}/a.csv/" in world.told["quarantine"]


def test_a_blob_of_a_datastore_is_tested_and_put_away_by_the_names_that_azure_has(world: World) -> None:
    uri = f"azureml://datastores/workspaceblobstore/paths/{world.incoming.container_name}/a.csv"
    settings = AzureMLHook().settings
    with AzureMLHook.open(settings) as client:
        versions.write_blob(settings, address(client, settings, uri), BAD)

    with pytest.raises(AirflowSkipException):
        world.test(uri, on_fail="quarantine", quarantine="azureml://datastores/workspaceblobstore/paths/kept/")

    assert world.told["path"] == uri
    assert ".blob.core.windows.net/" in world.told["quarantine"]
    assert versions.version_now(settings, world.told["quarantine"]).size_bytes == len(BAD)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.parquet", b"no parquet at all", "the file can be read"),
        ("a.csv", b"", "the file can be read"),
        ("a.csv", b"id,sex\n1,f\n2,m\n", "age"),
    ],
)
def test_what_cannot_be_read_and_what_has_lost_a_column_is_put_into_quarantine(
    world: World, name: str, content: bytes, told: str
) -> None:
    world.put(name, content)

    with pytest.raises(AirflowSkipException):
        world.test(world.uri(name), on_fail="quarantine")

    found = [(each["column"], each["check"]) for each in world.told["failed"]]
    assert any(told in pair for pair in found), found
    assert content in world.in_quarantine().values()


def test_an_arrival_that_was_replaced_is_left_to_the_newer_one(world: World) -> None:
    etag = world.put("a.csv", BAD)
    world.put("a.csv", GOOD)

    with pytest.raises(AirflowSkipException, match="was replaced after it arrived"):
        world.test(world.arrival("a.csv", etag), on_fail="quarantine")

    assert world.in_quarantine() == {}
    assert "return_value" not in world.ti.pushed


class ReplacedWhileRead(AzureMLDataTestOperator):
    """Its blob is replaced while it is tested."""

    replace: Any = None

    def _test_here(self, client: Any, settings: Any, plan: Any) -> Any:
        type(self).replace()
        return super()._test_here(client, settings, plan)


class ReplacedAtTheEnd(AzureMLDataTestOperator):
    """Its blob is replaced after the engine has read it."""

    replace: Any = None

    def _end(self, context: Any, settings: Any, found: Any) -> Any:
        type(self).replace()
        return super()._end(context, settings, found)


def test_what_was_found_in_a_version_that_is_gone_meanwhile_does_not_count_and_is_tried_again(world: World) -> None:
    world.put("a.csv", BAD)
    kind = type("Replaced", (ReplacedWhileRead,), {"replace": lambda: world.put("a.csv", table(seed=2))})

    with pytest.raises(NotReadyError, match=r"Read version .*Its version is"):
        world.test(world.uri("a.csv"), kind=kind, on_fail="quarantine")

    assert "return_value" not in world.ti.pushed
    assert world.in_quarantine() == {}
    assert world.test(world.uri("a.csv"))["accepted"] is True


def test_a_version_that_is_replaced_before_it_is_put_away_is_not_mistaken_for_the_new_one(world: World) -> None:
    world.put("a.csv", BAD)
    kind = type("Replaced", (ReplacedAtTheEnd,), {"replace": lambda: world.put("a.csv", GOOD)})

    with pytest.raises(NotReadyError, match="into quarantine"):
        world.test(world.uri("a.csv"), kind=kind, on_fail="quarantine")

    assert world.in_quarantine() == {}


# Distributions


def test_a_shifted_column_is_found_against_a_file_whose_profile_is_kept_beside_it(world: World) -> None:
    world.put("was.csv", table(2000, seed=3))
    world.put("now.csv", table(2000, age=75, seed=4))
    given = {"spec": DRIFT, "reference": world.uri("was.csv"), "on_fail": "quarantine"}

    with pytest.raises(AirflowSkipException, match="age"):
        world.test(world.uri("now.csv"), **given)

    assert [each["column"] for each in world.told["failed"]] == ["age"]
    assert b"<svg" in world.read(world.told["report"])
    [profile] = [name for name in world.incoming.list_blob_names() if name.endswith(".profile.json")]
    made = world.incoming.get_blob_client(profile).get_blob_properties().etag
    world.put("same.csv", table(2000, seed=5))
    assert world.test(world.uri("same.csv"), **given)["accepted"] is True
    assert world.incoming.get_blob_client(profile).get_blob_properties().etag == made
    assert world.test(world.uri("same.csv"), **{**given, "reference": world.uri(profile)})["accepted"] is True


def test_a_reference_that_is_no_profile_is_a_clear_error_and_no_verdict(world: World) -> None:
    world.put("was.json", b"no json")
    world.put("now.csv", GOOD)

    with pytest.raises(AirflowFailException, match=r"The reference .*was.json cannot be used as a profile"):
        world.test(world.uri("now.csv"), spec=DRIFT, reference=world.uri("was.json"), on_fail="quarantine")

    assert "return_value" not in world.ti.pushed


# What is wrong with the task itself; nothing is read, and nothing is said of the data


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"spec": {"schema": 1, "name": "x", "columns": {"age": {"typo": 1}}}}, "typo"),
        ({"spec": "/nowhere/rules.yaml"}, "The data tests in /nowhere/rules.yaml cannot be read"),
        ({"spec": 7}, "spec is a int"),
        ({"spec": None}, "Give one of spec"),
        ({"on_fail": "delete"}, "on_fail is 'delete'; it must be one of fail, skip, quarantine"),
        ({"run_on": "moon"}, "run_on is 'moon'; it must be one of worker, job"),
        ({"job_options": {"inputs": {}, "command": "rm"}}, "job_options must not have command, inputs"),
    ],
)
def test_what_is_wrong_with_the_rules_is_said_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], told: str
) -> None:
    extra = {"subscription_id": "s", "resource_group": "g", "workspace": "w", "endpoint": "http://127.0.0.1:9"}
    connection = {"conn_type": "azureml", "extra": {**extra, "authentication": "emulator"}}
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", json.dumps(connection))
    operator = AzureMLDataTestOperator(
        task_id="test", data="azureml://datastores/x/paths/a.csv", **{"spec": RULES, **wrong}
    )

    context: Any = {"ti": TaskInstance(), "task_state_store": Store()}

    with pytest.raises(AirflowFailException, match=told):
        operator.execute(context)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"format": "xlsx"}, "format is 'xlsx'; it is none of csv, parquet, jsonl"),
        ({"spec": DRIFT}, "give reference, the URI of what is compared with"),
        ({"reference": "https://a/b"}, "have no distribution that is compared with it"),
        ({"reports": "https://acme.blob.core.windows.net/r/"}, "it must be a folder of a datastore"),
        ({"quarantine": "https://other.blob.core.windows.net/q", "on_fail": "quarantine"}, "is in account other"),
        ({"schema": "no_colon"}, "expected module:attribute"),
        ({"schema": "gone.py:schema"}, "gone.py is not there on this worker"),
    ],
)
def test_what_is_wrong_with_the_places_is_said_before_the_data_is_read(
    world: World, wrong: dict[str, Any], told: str
) -> None:
    world.put("a.csv", GOOD)

    with pytest.raises(AirflowFailException, match=told):
        world.test(world.uri("a.csv"), **wrong)

    assert "return_value" not in world.ti.pushed


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("gone.csv", "There is no such blob"),
        ("azureml://datastores/gone/paths/a.csv", "Read datastore gone"),
        ("https://example.com/a.csv", "is no address of Azure Storage"),
        ("https://acme.blob.core.windows.net/in/a.csv?sig=s3cr3t", "must carry no user, no query"),
        ([], "expand the task"),
        ({"etag": "x"}, "looks like an arrival and is none"),
    ],
)
def test_data_that_is_not_there_or_is_no_blob_is_a_clear_error(world: World, data: Any, told: str) -> None:
    given = world.uri(data) if data == "gone.csv" else data

    with pytest.raises(AirflowFailException, match=told) as error:
        world.test(given)

    assert "s3cr3t" not in str(error.value)


def test_a_quarantine_that_cannot_be_written_is_an_error_after_which_nothing_goes_on(world: World) -> None:
    world.put("a.csv", BAD)

    with pytest.raises(AirflowFailException, match=r"into quarantine .*No_Container.*\[request "):
        world.test(world.uri("a.csv"), on_fail="quarantine", quarantine=f"{world.emulator.blob}/{ACCOUNT}/No_Container")


class Disturbed(AzureMLDataTestOperator):
    """Something happens while a process tests its data."""

    disturb: Any = None

    def _test_here(self, client: Any, settings: Any, plan: Any) -> Any:
        thread = threading.Thread(target=self._wait_and_disturb)
        thread.start()
        try:
            return super()._test_here(client, settings, plan)
        finally:
            thread.join()

    def _wait_and_disturb(self) -> None:
        while self._child is None or self._child.pid is None:
            threading.Event().wait(0.01)
        type(self).disturb(self._child.pid)


def test_a_yes_for_a_version_that_was_replaced_while_it_was_tested_does_not_count(world: World) -> None:
    world.put("a.csv", GOOD)
    kind = type("Replaced", (Disturbed,), {"disturb": lambda _: world.put("a.csv", BAD)})

    with pytest.raises(NotReadyError, match="was replaced: its version was"):
        world.test(world.uri("a.csv"), kind=kind)


def test_an_engine_that_is_killed_for_its_memory_is_no_verdict_and_may_be_tried_again(world: World) -> None:
    world.put("a.csv", GOOD)

    kind = type("Killed", (Disturbed,), {"disturb": lambda pid: os.kill(pid, signal.SIGKILL)})

    with pytest.raises(EngineError, match="ended by signal 9, most likely for want of memory"):
        world.test(world.uri("a.csv"), kind=kind)

    assert "return_value" not in world.ti.pushed


def test_no_secret_is_in_what_is_left_behind(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.put("a.csv", BAD)

    with pytest.raises(AirflowSkipException):
        world.test(world.uri("a.csv"), on_fail="quarantine")

    left = [json.dumps(world.told).encode(), *world.in_quarantine().values(), caplog.text.encode()]
    left += [world.read(world.told[name]) for name in ("report", "verdict")]
    for secret in (ACCOUNT_KEY.encode(), b"sig=", b"Bearer "):
        assert not [each for each in left if secret in each and each != BAD]

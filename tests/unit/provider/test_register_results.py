"""What registering takes from a finished pipeline and leaves behind, and how it speaks with workspace and registry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from airflow_azureml.core.evaluation import Evaluation
from airflow_azureml.core.lineage import Lineage
from airflow_azureml.core.models import Coronation, Register, Registration
from airflow_azureml.core.register_results import JobOutput, RegisterResult, is_told
from airflow_azureml.core.workspace import ConnectionSettings, Workspace
from airflow_azureml.errors import ConfigError, ProtocolError, RefusedError
from airflow_azureml.links import AzureMLModelLink
from airflow_azureml.provider import get_provider_info
from airflow_azureml.watchers import registered_model
from airflow_azureml.wire import models, registries
from airflow_azureml.wire.registries import Registry
from tests.unit.provider.conversation import Talk, answer

NAMED = {"subscription_id": "s", "resource_group": "g", "workspace": "w"}
WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
REGISTRY = Registry(name="all", url="https://x.azure.com/r", api="https://westeurope.api.azureml.ms")
ONE = Registration(model="diabetes", job="j", output="model")
RESULT = {
    "job": "j",
    "status": "Completed",
    "pipeline": "p",
    "outputs": {"model": "azureml://datastores/a/paths/m/", "evaluation": "azureml://datastores/a/paths/e/"},
    "metrics": {"loss": 0.5, "odd": "no number", "flag": True},
}


def test_the_job_and_its_output_are_read_from_what_the_pipelines_task_returned() -> None:
    assert JobOutput.of_result(RESULT, "model") == JobOutput(
        job="j",
        uri="azureml://datastores/a/paths/m/",
        pipeline="p",
        evaluation="azureml://datastores/a/paths/e/",
        metrics={"loss": 0.5},
    )


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (None, "result is None"),
        ("{'job': 'j'}", "as an object"),
        ({}, "result is {}"),
        ({**RESULT, "status": "Running"}, "Job j is Running"),
        ({"job": "j"}, "Job j is of no status"),
        ({**RESULT, "outputs": {}}, "has no output 'model'; it has none"),
        ({**RESULT, "outputs": None}, "has no output 'model'; it has none"),
        ({**RESULT, "outputs": {"model": ""}}, "has no output 'model'"),
        ({**RESULT, "outputs": {"a": "b"}, "left_out": 2}, r"it has a \(some were left out of the result"),
    ],
)
def test_what_is_no_result_of_a_completed_pipeline_is_refused(raw: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        JobOutput.of_result(raw, "model")


def test_an_event_is_told_once_for_each_version_and_stage() -> None:
    told = RegisterResult(registration=ONE, version="3", uri="u")
    event = told.to_event()

    assert is_told(event, told)
    for other in (None, {}, {**event, "version": "4"}, {**event, "model": "x"}, {**event, "stage": "champion"}):
        assert not is_told(other, told)


def test_the_digest_is_that_of_the_models_content_where_the_evaluation_tells_it() -> None:
    known = evolve(ONE, lineage=Lineage(evaluated=Evaluation(model_sha256="feed")))

    assert RegisterResult(registration=known, version="3", uri="u").digest == "feed"
    assert RegisterResult(registration=ONE, version="3", uri="u").digest == ONE.key


def test_who_is_not_crowned_did_not_become_what_it_was_to_become() -> None:
    refused = Coronation(register=Register(model="diabetes", champion="9"), crowned=False, reason="Look again.")
    told = RegisterResult(registration=ONE, version="3", uri="u").after(refused)

    assert not told.became
    assert (told.to_wire()["stage"], told.to_wire()["champion"]) == ("challenger", "9")
    assert len(json.dumps(told.to_wire())) < 4096


def test_the_link_leads_to_the_versions_page_in_the_studio_of_the_cloud() -> None:
    told = RegisterResult(registration=ONE, version="3", uri="u")
    public = ConnectionSettings.parse(NAMED, conn_id="c")
    china = ConnectionSettings.parse({**NAMED, "cloud": "china"}, conn_id="c")
    local = ConnectionSettings.parse(
        {**NAMED, "authentication": "emulator", "endpoint": "http://127.0.0.1:1"}, conn_id="c"
    )

    assert told.page(public) == f"https://ml.azure.com/model/diabetes:3/details?wsid={WORKSPACE.arm_id}"
    assert told.page(china).startswith("https://ml.azure.cn/model/")
    assert told.page(local) == ""
    link = AzureMLModelLink
    assert f"{link.__module__}.{link.__qualname__}" in get_provider_info()["extra-links"]


def test_the_asset_of_a_model_is_named_after_it_and_of_none_there_is_none() -> None:
    assert registered_model("diabetes").name == "azureml-model-diabetes"
    with pytest.raises(ConfigError, match="a model's name has up to 255"):
        registered_model("a b")


@pytest.mark.parametrize(
    ("properties", "highest"),
    [
        ({"latestVersion": "3", "nextVersion": "4"}, 3),
        ({"latestVersion": "three", "nextVersion": "4"}, 3),
        ({"latestVersion": "7"}, 7),
        ({"latestVersion": None, "nextVersion": None}, 0),
        ({}, 0),
    ],
)
def test_the_highest_number_is_read_from_the_container(properties: dict[str, Any], highest: int) -> None:
    talk = Talk()

    assert talk.hold(models.highest(WORKSPACE, "m"), [answer(200, {"properties": properties})]) == highest


def test_a_model_that_there_is_not_has_no_number() -> None:
    missing = {"error": {"code": "UserError", "message": "Model container with name: m not found."}}

    assert Talk().hold(models.highest(WORKSPACE, "m"), [answer(404, missing)]) == 0


def test_a_change_keeps_all_that_may_be_written_and_nothing_that_is_azures_own() -> None:
    properties = {
        "modelUri": "u",
        "modelType": "custom_model",
        "jobName": "j",
        "tags": {"a": "b"},
        "stage": "Staging",
        "description": None,
        "provisioningState": "Succeeded",
        "intellectualProperty": {},
    }
    found = models.ModelVersion.from_wire({"name": "3", "properties": properties})
    talk = Talk()
    talk.hold(models.change(WORKSPACE, "m", found, tags={"a": "c"}), [answer(200, {"name": "3", "properties": {}})])

    assert talk.asked[0].json == {
        "properties": {
            "modelUri": "u",
            "modelType": "custom_model",
            "jobName": "j",
            "tags": {"a": "c"},
            "stage": "Staging",
        }
    }


def test_an_import_is_asked_for_once_and_followed_only_where_the_registry_is() -> None:
    talk = Talk()
    flow = registries.begin_import(REGISTRY, "m", "2", source="azureml://x")
    link = f"{REGISTRY.api}/assetstore/v1.0/operations/1"

    assert talk.hold(flow, [answer(202, None, location=link)]) == link
    assert not talk.asked[0].repeatable
    assert talk.asked[0].json == {
        "properties": {
            "referenceType": "Id",
            "destinationName": "m",
            "destinationVersion": "2",
            "sourceAssetId": "azureml://x",
        }
    }
    for astray in ("https://elsewhere.example/1?sig=secret", ""):
        flow = registries.begin_import(REGISTRY, "m", "2", source="azureml://x")
        with pytest.raises(ProtocolError, match="which is not its own") as raised:
            Talk().hold(flow, [answer(202, None, location=astray)])
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("status", "is_done"), [(202, False), (200, True), (204, True)])
def test_an_import_is_done_when_the_registry_says_so(status: int, is_done: bool) -> None:
    assert Talk().hold(registries.is_done(REGISTRY, f"{REGISTRY.api}/1"), [answer(status)]) == is_done


def test_an_import_that_failed_is_told_in_the_registrys_words() -> None:
    failed = {"error": {"code": "UserError", "message": "The storage account has a firewall."}}

    with pytest.raises(RefusedError, match="The storage account has a firewall"):
        Talk().hold(registries.is_done(REGISTRY, f"{REGISTRY.api}/1"), [answer(400, failed)])

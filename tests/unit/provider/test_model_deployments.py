"""Invoking a deployment of a model: one input, the output ``score``, and a job that is marked as ours."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.jobs import ATTEMPT_PROPERTY, KEY_PROPERTY, OWNER_PROPERTY, JobKey, JobSnapshot
from airflow_azureml.core.passed import Passed
from airflow_azureml.core.pipelines import BatchEndpoint, Interface, Invocation, Target
from airflow_azureml.core.scoring import INTERFACE, bind
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, UnavailableError
from airflow_azureml.wire import endpoints, reports
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
ASSETS = WORKSPACE.arm_id
FOLDER = "azureml://datastores/blobs/paths/in/"
FILE = "azureml://datastores/blobs/paths/in/a.csv"
TARGET = Target(
    endpoint="scoring",
    deployment="net",
    scoring_uri="https://scoring.westeurope.inference.ml.azure.com/jobs",
    data_plane="https://westeurope.api.azureml.ms",
    interface=INTERFACE,
    serves_model=True,
)
KEY = JobKey.of_blobs("dag", "task", ["a"])
SUBMISSION = endpoints.Submission(key=KEY, attempt=2, owner="o", invocation=Invocation(inputs={}, outputs={}))


def bound(inputs: dict[str, Any], outputs: dict[str, Any] | None = None, experiment: str = "") -> Invocation:
    passed = Passed.parse(inputs, {})
    return bind(passed, outputs=outputs or {}, assets=ASSETS, deployment="scoring/net", experiment=experiment)


# what is passed


@pytest.mark.parametrize(
    ("inputs", "written"),
    [
        ({"anything": FOLDER}, {"UriFolder": {"jobInputType": "UriFolder", "uri": FOLDER}}),
        ({"uri_file": FILE}, {"UriFile": {"jobInputType": "UriFile", "uri": FILE}}),
        ({"uri_folder": FILE}, {"UriFolder": {"jobInputType": "UriFolder", "uri": FILE}}),
        ({"x": {"uri": FILE, "type": "uri_file"}}, {"UriFile": {"jobInputType": "UriFile", "uri": FILE}}),
        ({"x": {"uri": FOLDER, "type": "uri_file"}}, {"UriFile": {"jobInputType": "UriFile", "uri": FOLDER}}),
        (
            {"uri_folder": "azureml:patients:3", "left out": None},
            {"UriFolder": {"jobInputType": "UriFolder", "uri": f"{ASSETS}/data/patients/versions/3"}},
        ),
    ],
)
def test_the_one_input_is_written_as_the_sdk_writes_a_single_one(
    inputs: dict[str, Any], written: dict[str, Any]
) -> None:
    assert bound(inputs).inputs == written


def test_an_arrived_blob_is_a_file_whatever_its_name() -> None:
    arrival = Arrival(
        account="acct",
        container="in",
        path="a.csv",
        etag="0x1",
        size_bytes=5,
        sequencer="01",
        time="2026-01-01T00:00:00+00:00",
        api="PutBlob",
        url="https://acct.blob.core.windows.net/in/a.csv",
    )

    assert bound({"uri_folder": arrival.to_wire()}).inputs == {
        "UriFile": {"jobInputType": "UriFile", "uri": arrival.uri}
    }


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({}, "takes exactly one input, a file or a folder; passed: none"),
        ({"b": FOLDER, "a": FOLDER}, "takes exactly one input, a file or a folder; passed: a, b"),
        ({"a": FILE}, r"does not say whether a model is to score a file or a folder: '.*/in/a.csv'. End a folder's"),
        ({"a": "azureml:patients:3"}, "does not say whether"),
        ({"a": {"uri": FILE, "type": "mltable"}}, "Its type is 'mltable'"),
        ({"a": 3}, "does not say whether a model is to score a file or a folder: '3'"),
        ({"uri_file": 3}, "input 'UriFile' is a uri_file, and 3 is no URI"),
    ],
)
def test_what_does_not_fit_a_model_is_told_before_anything_is_submitted(inputs: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        bound(inputs)


def test_the_one_output_is_score() -> None:
    wish = "azureml://datastores/blobs/paths/out/"

    assert bound({"a": FOLDER}, {"score": wish}).outputs == {"score": {"jobOutputType": "UriFolder", "uri": wish}}
    with pytest.raises(ConfigError, match=r"output 'scores' is not declared \(declared: score\)"):
        bound({"a": FOLDER}, {"scores": wish})


def test_an_experiment_that_would_have_no_effect_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the experiment .mine. would have no effect\. Leave it out"):
        bound({"a": FOLDER}, experiment="mine")


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from([FOLDER, FILE, None, 1]), max_size=4))
def test_whatever_is_passed_is_one_input_of_a_known_type_or_an_error(inputs: dict[str, Any]) -> None:
    try:
        written = bound(inputs).inputs
    except ConfigError:
        assert [value for value in inputs.values() if value is not None] != [FOLDER]
        return
    ((name, one),) = written.items()
    assert (name, one["uri"]) == (one["jobInputType"], FOLDER)


# the conversation


def describing(served: dict[str, Any]) -> list[Any]:
    endpoint = {"defaults": {"deploymentName": "net"}, "scoringUri": TARGET.scoring_uri}
    return [
        answer(200, {"properties": {"discoveryUrl": "https://x/d"}}),
        answer(200, {"api": TARGET.data_plane}),
        answer(200, {"properties": endpoint}),
        answer(200, {"properties": served}),
    ]


def test_a_deployment_of_a_model_is_described_without_another_question() -> None:
    served = {"model": {"referenceType": "Id", "assetId": f"{ASSETS}/models/m/versions/1"}}

    found = Talk().hold(endpoints.describe(WORKSPACE, BatchEndpoint("scoring")), describing(served))

    assert found == evolve(TARGET, deployment_is_named=False)


def posted(properties: dict[str, str]) -> Any:
    return answer(201, {"name": "batchjob-1", "properties": {"status": "Preparing", "properties": properties}})


def test_a_job_that_came_back_without_our_properties_is_marked() -> None:
    talk = Talk()

    job = talk.hold(endpoints.invoke(WORKSPACE, TARGET, SUBMISSION), [posted({"its": "own"}), answer(200, {})])

    post, patch = talk.asked
    marks = {KEY_PROPERTY: KEY.digest, ATTEMPT_PROPERTY: "2", OWNER_PROPERTY: "o"}
    assert post.json["properties"]["properties"] == marks
    assert post.json["properties"]["tags"] == {KEY_PROPERTY: KEY.digest, ATTEMPT_PROPERTY: "2"}
    assert (patch.method, patch.json, patch.repeatable) == ("PATCH", {"properties": marks}, True)
    assert patch.url == f"{TARGET.data_plane}/history/v1.0{ASSETS}/experiments/scoring/runs/batchjob-1"
    assert (job.key, job.attempt, job.properties["its"]) == (KEY.digest, 2, "own")


def test_a_job_that_came_back_with_our_properties_is_not_marked_again() -> None:
    talk = Talk()

    talk.hold(endpoints.invoke(WORKSPACE, TARGET, SUBMISSION), [posted(SUBMISSION.marks)])

    assert [request.method for request in talk.asked] == ["POST"]


def test_a_pipelines_job_is_never_marked() -> None:
    pipeline, talk = evolve(TARGET, serves_model=False, interface=Interface()), Talk()

    talk.hold(endpoints.invoke(WORKSPACE, pipeline, SUBMISSION), [posted({})])

    (post,) = talk.asked
    assert "tags" not in post.json["properties"]


def test_after_a_lost_answer_the_job_is_known_by_its_tags() -> None:
    lost = UnavailableError("Invoke", message="connection reset")
    tags = {KEY_PROPERTY: KEY.digest, ATTEMPT_PROPERTY: "2"}
    mine = {"name": "mine", "properties": {"status": "Running", "tags": tags, "properties": {}}}
    other = {"name": "other", "properties": {"status": "Running", "tags": {}, "properties": {}}}

    job = Talk().hold(
        endpoints.invoke(WORKSPACE, TARGET, SUBMISSION), [lost, answer(200, {"value": [other, mine]}), answer(200, {})]
    )

    assert (job.name, job.key, job.properties[OWNER_PROPERTY]) == ("mine", KEY.digest, "o")


@pytest.mark.parametrize("refusal", [answer(403), answer(503), UnavailableError("Mark", message="reset")])
def test_a_job_that_cannot_be_marked_runs_all_the_same(refusal: Any) -> None:
    job = Talk().hold(endpoints.invoke(WORKSPACE, TARGET, SUBMISSION), [posted({}), refusal])

    assert (job.name, job.key) == ("batchjob-1", "")
    assert "Mark" in job.message


def outputs(*names: str) -> Any:
    return answer(200, {"runMetadata": {"outputs": {name: {"assetId": f"asset-{name}"} for name in names}}})


@pytest.mark.parametrize("of_job", [("score",), (), ("other",)])
def test_the_score_is_found_on_the_job_or_on_the_step_that_scores(of_job: tuple[str, ...]) -> None:
    resolved = answer(200, {"values": {f"asset-{name}": {"uri": f"azureml://{name}"} for name in ("score", "other")}})
    asked = [outputs(*of_job), *([resolved] if of_job else [])]
    asked += [] if "score" in of_job else [outputs("score"), resolved]
    step = {"runId": "child", "displayName": "batchscoring", "status": "Completed"}
    metrics = answer(200, {"run": {}})

    report = Talk().hold(
        reports.read(WORKSPACE, JobSnapshot(name="j", status="Completed"), TARGET.data_plane),
        [answer(200, {"value": [step]}), metrics, metrics, *asked],
    )

    assert report.outputs["score"] == "azureml://score"
    assert not report.unread

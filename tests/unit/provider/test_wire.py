import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.jobs import ATTEMPT_PROPERTY, KEY_PROPERTY, JobKey, JobSnapshot
from airflow_azureml.core.pipelines import BatchEndpoint, Interface, Invocation, PipelineComponent, Target
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError, RefusedError, UnavailableError
from airflow_azureml.wire import components, endpoints, jobs, named, reports, workspaces
from airflow_azureml.wire.http import TRANSIENT, Request, Response
from airflow_azureml.wire.paging import all_pages
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
TARGET = Target(
    endpoint="scoring",
    deployment="ridge",
    scoring_uri="https://scoring.westeurope.inference.ml.azure.com/jobs",
    data_plane="https://westeurope.api.azureml.ms",
    interface=Interface(),
)
KEY = JobKey.of_blobs("dag", "task", ["a"])
SUBMISSION = endpoints.Submission(key=KEY, attempt=2, owner="o", invocation=Invocation(inputs={}, outputs={}))
LOST = UnavailableError("Invoke", message="connection reset")


def entry(name: str, status: str = "Running", *, key: str = KEY.digest, attempt: int = 2) -> dict[str, object]:
    properties = {KEY_PROPERTY: key, ATTEMPT_PROPERTY: str(attempt)}
    return {"name": name, "properties": {"status": status, "properties": properties}}


def test_an_invocation_is_posted_once_and_carries_its_key() -> None:
    talk = Talk()

    job = talk.hold(endpoints.invoke(WORKSPACE, TARGET, SUBMISSION), [answer(201, entry("j"))])

    (post,) = talk.asked
    assert job.name == "j"
    assert not post.repeatable
    assert post.headers["repeatability-request-id"] == KEY.repeatability_id(2)
    assert post.headers["azureml-model-deployment"] == "ridge"
    assert post.json["properties"]["properties"][KEY_PROPERTY] == KEY.digest


@pytest.mark.parametrize("lost", [LOST, answer(503), answer(500, {"error": {"code": "ServiceError"}})])
def test_after_a_lost_answer_the_job_is_looked_for_and_not_posted_again(lost: object) -> None:
    talk = Talk()

    job = talk.hold(
        endpoints.invoke(WORKSPACE, TARGET, SUBMISSION),
        [lost, answer(200, {"value": [entry("other", key="x"), entry("old", attempt=1), entry("mine")]})],  # type: ignore[list-item]
    )

    assert job.name == "mine"
    assert [request.method for request in talk.asked] == ["POST", "GET"]


def test_a_lost_answer_whose_job_is_not_to_be_seen_is_left_to_the_next_try() -> None:
    talk = Talk()

    with pytest.raises(UnavailableError, match="connection reset"):
        talk.hold(endpoints.invoke(WORKSPACE, TARGET, SUBMISSION), [LOST, answer(200, {"value": []})])

    assert [request.method for request in talk.asked] == ["POST", "GET"]


def test_a_refused_invocation_says_what_was_done_what_came_back_and_its_id() -> None:
    body = {
        "error": {
            "code": "UserError",
            "message": "Unknown input x.",
            "additionalInfo": [
                {"type": "InnerError", "info": {"value": {"code": "BadArgument", "innerError": {"code": "Invalid"}}}}
            ],
        }
    }

    with pytest.raises(RefusedError) as caught:
        Talk().hold(endpoints.invoke(WORKSPACE, TARGET, SUBMISSION), [answer(400, body)])

    assert str(caught.value) == (
        "Invoke deployment ridge of batch endpoint scoring: 400 UserError/BadArgument/Invalid. Unknown input x."
        " [request req-1]"
    )


def test_a_list_that_hides_its_properties_is_looked_into_job_by_job() -> None:
    talk = Talk()
    listed = {"value": [{"name": "a", "properties": {"status": "Running"}}]}

    found = talk.hold(endpoints.jobs_of(WORKSPACE, TARGET), [answer(200, listed), answer(200, entry("a"))])

    assert [job.key for job in found] == [KEY.digest]


def test_pages_are_followed_to_the_end() -> None:
    talk = Talk()
    first = Request(doing="List", method="GET", url="https://x/1", params={"a": "b"})

    found = talk.hold(
        all_pages(first),
        [answer(200, {"value": [{"n": 1}], "nextLink": "https://x/2"}), answer(200, {"value": [{"n": 2}]})],
    )

    assert found == [{"n": 1}, {"n": 2}]
    assert [(request.url, dict(request.params)) for request in talk.asked] == [
        ("https://x/1", {"a": "b"}),
        ("https://x/2", {}),
    ]


def test_an_unknown_endpoint_is_a_mistake_in_the_dag_and_says_where_to_look() -> None:
    plane = [answer(200, {"properties": {"discoveryUrl": "https://x/d"}}), answer(200, {"api": "https://x/"})]
    missing = answer(404, {"error": {"code": "NotFound", "message": "There is no endpoint"}})

    with pytest.raises(ConfigError, match=r"Read batch endpoint nope in workspace w: 404 NotFound.*Check the name"):
        Talk().hold(endpoints.describe(WORKSPACE, BatchEndpoint("nope")), [*plane, missing])


def test_an_endpoint_without_a_default_deployment_is_told_before_anything_is_posted() -> None:
    plane = [answer(200, {"properties": {"discoveryUrl": "https://x/d"}}), answer(200, {"api": "https://x/"})]
    bare = answer(200, {"properties": {"defaults": {"deploymentName": None}, "scoringUri": "https://x/jobs"}})

    with pytest.raises(ConfigError, match="has no default deployment"):
        Talk().hold(endpoints.describe(WORKSPACE, BatchEndpoint("e")), [*plane, bare])


def test_a_deployment_of_neither_pipeline_nor_model_cannot_be_run() -> None:
    answers = [
        answer(200, {"properties": {"discoveryUrl": "https://x/d"}}),
        answer(200, {"api": "https://x/"}),
        answer(200, {"properties": {"defaults": {"deploymentName": "m"}}}),
        answer(200, {"properties": {}}),
    ]

    with pytest.raises(ConfigError, match="Deployment m of batch endpoint e serves neither a pipeline component nor"):
        Talk().hold(endpoints.describe(WORKSPACE, BatchEndpoint("e")), answers)


@given(st.integers(min_value=400, max_value=599), st.binary(max_size=60))
def test_every_bad_answer_is_an_error_of_ours_and_only_passing_ones_are_retried(status: int, body: bytes) -> None:
    request = Request(doing="Do", method="GET", url="https://x")
    response = answer(status)

    with pytest.raises(AzureMLError) as caught:
        type(response)(status=status, headers=response.headers, body=body).expect(request, 200)

    assert caught.value.retryable == (status in TRANSIENT)
    assert str(caught.value).startswith(f"Do: {status}")


@pytest.mark.parametrize("body", [b"[]", b"<html>", b"3"])
def test_a_body_that_is_no_object_is_an_error_and_not_an_empty_answer(body: bytes) -> None:
    request = Request(doing="Do", method="GET", url="https://x")

    with pytest.raises(ProtocolError, match="no JSON object"):
        type(answer(200))(status=200, body=body).expect(request, 200)


def test_an_explanation_tells_the_jobs_own_error_and_that_of_each_failed_step() -> None:
    run = {"status": "Failed", "error": {"error": {"code": "UserError", "message": "Failed nodes: /score."}}}
    step = {"displayName": "score", "status": "Failed", "error": {"error": {"message": "exit code 1: boom"}}}
    fine = {"displayName": "prepare", "status": "Completed", "error": None}

    told = Talk().hold(
        jobs.explain(WORKSPACE, JobSnapshot(name="j", status="Failed"), "https://x"),
        [answer(200, run), answer(200, {"value": [fine, step]})],
    )

    assert told.message == "UserError: Failed nodes: /score.\nStep score: exit code 1: boom"


def test_an_explanation_that_cannot_be_had_does_not_hide_the_end() -> None:
    told = Talk().hold(jobs.explain(WORKSPACE, JobSnapshot(name="j", status="Failed"), "https://x"), [answer(503)])

    assert told.status == "Failed"
    assert "its error could not be read (Read the error of job j: 503" in told.message


def test_a_workspace_that_names_no_data_plane_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="names no discoveryUrl"):
        Talk().hold(workspaces.data_plane(WORKSPACE), [answer(200, {"properties": {}})])


def test_a_report_tells_steps_metrics_and_outputs() -> None:
    step = {"displayName": "train", "runId": "r1", "status": "Completed", "properties": {}}
    of_job = {"run": {"data": {"metrics": [{"key": "rmse", "value": 5}]}}}
    of_step = {"run": {"data": {"metrics": [{"key": "loss", "value": 1}]}}}
    outputs = {"default": {"assetId": "d"}, "model": {"assetId": "a"}}
    answers = [
        answer(200, {"value": [step]}),
        answer(200, of_job),
        answer(200, of_step),
        answer(200, {"runMetadata": {"outputs": outputs}}),
        answer(200, {"values": {"a": {"uri": "azureml://m"}}}),
    ]

    report = Talk().hold(reports.read(WORKSPACE, JobSnapshot(name="j", status="Completed"), "https://x"), answers)

    assert [one.name for one in report.steps] == ["train"]
    assert report.metrics == {"rmse": 5.0, "train.loss": 1.0}
    assert report.outputs == {"model": "azureml://m"}
    assert report.unread == ()


def test_what_cannot_be_read_of_a_job_is_said_and_the_rest_is_read() -> None:
    answers = [answer(503), answer(404), answer(200, {"runMetadata": {"outputs": {}}})]

    report = Talk().hold(reports.read(WORKSPACE, JobSnapshot(name="j", status="Completed"), "https://x"), answers)

    assert [words.partition(":")[0] for words in report.unread] == [
        "Read the steps of job j",
        "Read the metrics of run j",
    ]


def test_the_jobs_of_a_key_are_looked_for_by_name_until_one_is_missing() -> None:
    talk = Talk()

    found = talk.hold(named.named(WORKSPACE, KEY), [answer(200, entry("a")), answer(200, entry("b")), answer(404)])

    assert [job.name for job in found] == ["a", "b"]
    assert [request.url.rsplit("/", 1)[1] for request in talk.asked] == [KEY.job_name(number) for number in (1, 2, 3)]


@pytest.mark.parametrize(
    "refused",
    [
        answer(400, {"error": {"code": "UserError", "message": "A job with this name already exists."}}),
        answer(409, {"error": {"code": "UserError", "innerError": {"code": "JobPropertyImmutable"}}}),
    ],
)
def test_a_name_that_is_taken_means_that_the_job_is_ours_already(refused: Response) -> None:
    talk = Talk()

    job = talk.hold(named.put(WORKSPACE, KEY, 1, {}, owner="o"), [refused, answer(200, entry("mine"))])

    assert job.name == "mine"
    assert [request.method for request in talk.asked] == ["PUT", "GET"]


def test_a_put_whose_answer_was_lost_is_looked_for() -> None:
    job = Talk().hold(named.put(WORKSPACE, KEY, 1, {}, owner="o"), [LOST, answer(200, entry("mine"))])

    assert job.name == "mine"
    with pytest.raises(UnavailableError, match="connection reset"):
        Talk().hold(named.put(WORKSPACE, KEY, 1, {}, owner="o"), [LOST, answer(404)])


def test_a_component_becomes_a_pipeline_job_with_its_defaults() -> None:
    spec = {
        "type": "pipeline",
        "jobs": {"say": {"componentId": "c"}},
        "inputs": {"word": {"type": "string"}, "code": {"type": "integer", "default": "0"}},
        "outputs": {"result": {"type": "uri_folder"}},
    }
    component = {"name": "1", "properties": {"componentSpec": spec}}

    found = Talk().hold(components.describe(WORKSPACE, PipelineComponent("small")), [answer(200, component)])
    bound = Invocation.bind(found.interface, inputs={"word": "x"}, outputs={}, assets="", pipeline="p")
    job = components.job_of(found, bound, experiment="", settings={"force_rerun": True})

    assert job["inputs"] == {
        "code": {"jobInputType": "literal", "value": "0"},
        "word": {"jobInputType": "literal", "value": "x"},
    }
    assert job["outputs"] == {"result": {"jobOutputType": "uri_folder"}}
    assert job["jobs"] == {"say": {"componentId": "c"}}
    assert job["settings"]["force_rerun"] is True


def test_a_component_that_is_no_pipeline_is_refused() -> None:
    command = {"name": "1", "properties": {"componentSpec": {"type": "command"}}}

    with pytest.raises(ConfigError, match="The pipeline component small is a command, not a pipeline"):
        Talk().hold(components.describe(WORKSPACE, PipelineComponent("small")), [answer(200, command)])

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.jobs import JobKey, Phase
from airflow_azureml.core.published import (
    Assignments,
    DataPath,
    Kind,
    Parameter,
    PipelineEndpoint,
    Places,
    Published,
    PublishedPipeline,
)
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, ProtocolError, RefusedError, UnavailableError
from airflow_azureml.wire import published
from tests.unit.provider.conversation import Talk, answer

GUID = "11111111-2222-3333-4444-555555555555"
SAVED = "99999999-2222-3333-4444-555555555555"
WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
KEY = JobKey.of_task("d", "r", "t", -1)
ENTITY = {
    "Id": GUID,
    "Name": "Score all",
    "GraphId": "graph",
    "ParameterAssignments": {"rows": "20", "loud": "True", "old": "x"},
    "DataSetDefinitionValueAssignments": {"ds": {"SavedDataSetReference": {"Id": SAVED}}},
    "TotalRunSteps": 2,
    "ContinueRunOnStepFailure": True,
}
INTERFACE = {
    "Parameters": [
        {"Name": "rows", "DefaultValue": "10", "IsOptional": True, "Type": 0},
        {"Name": "loud", "DefaultValue": "True", "IsOptional": True, "Type": "0"},
        {"Name": "rate", "DefaultValue": "0.5", "IsOptional": True, "Type": "Double"},
        {"Name": "sure", "DefaultValue": "False", "IsOptional": True, "Type": "2"},
        {"Name": "word", "DefaultValue": None, "IsOptional": False, "Type": "String"},
        {"Name": "new", "DefaultValue": None, "IsOptional": True, "Type": "SomethingNew"},
    ],
    "DataPathParameters": [
        {"Name": "data", "DefaultValue": {"DataStoreName": "blobs", "RelativePath": "in/"}, "IsOptional": True},
        {"Name": "out", "DefaultValue": None, "IsOptional": True},
    ],
    "DataPathParameterList": [{"Name": "ds", "DefaultValue": {"SavedDataSetReference": {"Id": SAVED}}}],
}
PUBLISHED = Published.from_wire(ENTITY, INTERFACE)
PLACES = Places(workspace="w", datastores={("acct", "incoming"): "arrived"})
STORED = "azureml://datastores/blobs/paths/"


def bind(inputs: dict[str, Any], outputs: dict[str, Any] | None = None) -> Assignments:
    return Assignments.bind(PUBLISHED, inputs={"word": "w", **inputs}, outputs=outputs or {}, places=PLACES)


def test_types_come_from_the_graph_and_values_from_the_pipeline_as_it_was_published() -> None:
    assert PUBLISHED.parameters == {
        "rows": Parameter(kind=Kind.INTEGER, default="20"),
        "loud": Parameter(kind=Kind.INTEGER, default="True"),
        "old": Parameter(kind=Kind.ANY, default="x"),
        "rate": Parameter(kind=Kind.NUMBER, default="0.5"),
        "sure": Parameter(kind=Kind.BOOLEAN, default="False"),
        "word": Parameter(kind=Kind.STRING, required=True),
        "new": Parameter(kind=Kind.ANY),
        "data": Parameter(kind=Kind.DATA_PATH, default=f"{STORED}in/"),
        "out": Parameter(kind=Kind.DATA_PATH),
        "ds": Parameter(kind=Kind.DATASET, default=SAVED),
    }
    assert (PUBLISHED.steps, PUBLISHED.continues_on_step_failure) == (2, True)


def test_a_pipeline_without_an_id_is_nothing_to_be_read() -> None:
    with pytest.raises(ProtocolError, match="without its Id"):
        Published.from_wire({"Name": "x"}, {})


def test_what_fits_is_written_as_v1_wants_it() -> None:
    bound = bind(
        {"rows": 3, "loud": True, "data": f"{STORED}in/a b.csv", "ds": GUID, "old": None},
        {"out": {"uri": f"{STORED}out/"}, "new": f"{STORED}as text/"},
    )

    assert bound.to_wire() == {
        "ParameterAssignments": {"word": "w", "rows": "3", "loud": "True", "new": f"{STORED}as text/"},
        "DataPathAssignments": {
            "data": {"DataStoreName": "blobs", "RelativePath": "in/a b.csv"},
            "out": {"DataStoreName": "blobs", "RelativePath": "out/"},
        },
        "DataSetDefinitionValueAssignments": {"ds": {"SavedDataSetReference": {"Id": GUID}}},
    }


@pytest.mark.parametrize(
    ("inputs", "outputs", "told"),
    [
        ({"rwos": 1}, {}, "input 'rwos' is no parameter of it (its parameters: data, ds, loud, new"),
        ({"rows": "many"}, {}, "input 'rows' is a integer, and 'many' is none"),
        ({"rows": 2.5}, {}, "input 'rows' is a integer"),
        ({"rate": True}, {}, "input 'rate' is a number"),
        ({"rate": "nan"}, {}, "input 'rate' is a number"),
        ({"rows": "inf"}, {}, "input 'rows' is a integer"),
        ({"sure": 1}, {}, "input 'sure' is a boolean"),
        ({"word": ["x"]}, {}, "input 'word' is a string, not list"),
        ({"word": None}, {}, "required parameter 'word' (string) is missing"),
        ({"data": "in.csv"}, {}, "input 'data' is a DataPath, and 'in.csv' is none"),
        ({"data": "azureml:patients:3"}, {}, "input 'data' is a DataPath"),
        ({"data": "azureml://jobs/j/outputs/o"}, {}, "input 'data' is a DataPath"),
        ({"data": "https://example.com/x"}, {}, "is no address of Azure Storage"),
        (
            {"data": "https://acct.blob.core.windows.net/other/x.csv"},
            {},
            "container other of storage account acct is no datastore of workspace w",
        ),
        (
            {"data": "azureml://subscriptions/s/resourcegroups/g/workspaces/v/datastores/blobs/paths/x"},
            {},
            "input 'data' is in workspace v, and the pipeline in w",
        ),
        ({"ds": "azureml:patients:3"}, {}, "input 'ds' is a dataset of v1"),
        ({}, {"nowhere": STORED}, "output 'nowhere' is no parameter of it"),
        ({}, {"rows": STORED}, "output 'rows': the parameter is a integer, which cannot say where to write"),
        ({"out": STORED}, {"out": STORED}, "output 'out' is passed as an input, too"),
    ],
)
def test_what_does_not_fit_is_told(inputs: dict[str, Any], outputs: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind(inputs, outputs)

    assert told in str(caught.value)
    assert f"does not fit the published pipeline Score all ({GUID})" in str(caught.value)


def test_one_error_lists_everything() -> None:
    with pytest.raises(ConfigError) as caught:
        bind({"rwos": 1, "rows": "many", "word": None}, {"nowhere": STORED})

    assert str(caught.value).count(";") == 3


paths = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30).map(
    lambda path: path.lstrip("/") or "x"
)


@given(paths)
def test_a_blob_is_the_same_place_by_every_name_that_it_has(path: str) -> None:
    names = [
        f"azureml://datastores/arrived/paths/{path}",
        f"azureml://subscriptions/s/resourceGroups/g/workspaces/W/datastores/arrived/paths/{path}",
        f"https://acct.blob.core.windows.net/incoming/{quote(path)}",
        f"https://acct.dfs.core.windows.net/incoming/{quote(path)}",
    ]

    found = {bind({"data": name}).data_paths["data"] for name in names}

    assert found == {DataPath(datastore="arrived", path=path)}


words = st.one_of(st.text(max_size=5), st.sampled_from([" x ", "", STORED, GUID, "1"]))
fitting: dict[str, st.SearchStrategy[Any]] = {
    "rows": st.one_of(st.integers(), st.integers().map(str), st.booleans()),
    "rate": st.one_of(st.floats(allow_nan=False), st.integers().map(str)),
    "sure": st.one_of(st.booleans(), st.sampled_from(["true", "False"])),
    "word": words,
    "new": st.one_of(words, st.integers(), st.booleans()),
    "data": paths.map(lambda path: f"{STORED}{path}"),
    "ds": st.just(GUID),
}


@given(st.fixed_dictionaries({"word": words}, optional={name: fitting[name] for name in fitting if name != "word"}))
def test_what_fits_is_passed_once_as_it_is_and_nothing_is_left_out(inputs: dict[str, Any]) -> None:
    bound = bind(inputs)

    places = {name: path.uri for name, path in bound.data_paths.items()}
    assert {**bound.literals, **places, **bound.datasets} == {name: str(value) for name, value in inputs.items()}
    assert len(inputs) == sum(len(each) for each in (bound.literals, places, bound.datasets))


# conversations


WHERE = [
    answer(200, {"properties": {"discoveryUrl": "https://x/discovery"}}),
    answer(200, {"api": "https://eu.api.azureml.ms"}),
]
ENDPOINT = {
    "Id": SAVED,
    "DefaultVersion": "1",
    "PipelineVersionList": [{"Version": "0", "PipelineId": "zero"}, {"Version": "1", "PipelineId": GUID}],
}
JOB = {"name": "run", "properties": {"status": "Running", "services": {"Studio": {"endpoint": "https://studio/run"}}}}
RUN = {"runId": "run", "status": "Running", "properties": {"airflow.idempotency_key": KEY.digest}}


def found(**more: Any) -> published.Found:
    described = {
        "published": PUBLISHED,
        "data_plane": "https://dp",
        "submit_path": "PipelineSubmit/x",
        "params": {},
        "experiment": "e",
    }
    return published.Found(**{**described, **more})


def submission(attempt: int = 1) -> published.Submission:
    return published.Submission(key=KEY, attempt=attempt, owner="o", assignments=Assignments(), experiment="e")


def test_a_published_pipeline_is_read_with_the_types_of_its_graph() -> None:
    talk = Talk()

    target = talk.hold(
        published.describe(WORKSPACE, PublishedPipeline(GUID)), [*WHERE, answer(200, ENTITY), answer(200, INTERFACE)]
    )

    root = f"https://eu.api.azureml.ms/pipelines/v1.0{WORKSPACE.arm_id}"
    assert [request.url for request in talk.asked[2:]] == [f"{root}/Pipelines/{GUID}", f"{root}/Graphs/graph/Interface"]
    assert target.published == PUBLISHED
    assert (target.submit_path, target.experiment) == (f"PipelineSubmit/{GUID}", "Score-all")


@pytest.mark.parametrize(
    ("named", "asked"),
    [
        (PipelineEndpoint("scoring now"), ("PipelineEndpoints/Name", {"Name": "scoring now"})),
        (PipelineEndpoint(SAVED, "1"), (f"PipelineEndpoints/Id/{SAVED}", {})),
    ],
)
def test_an_endpoint_is_submitted_in_the_version_that_was_read(named: PipelineEndpoint, asked: Any) -> None:
    talk = Talk()

    target = talk.hold(
        published.describe(WORKSPACE, named), [*WHERE, *(answer(200, body) for body in (ENDPOINT, ENTITY, INTERFACE))]
    )

    assert (talk.asked[2].url.partition(f"{WORKSPACE.arm_id}/")[2], talk.asked[2].params) == asked
    assert target.submit_path == f"PipelineEndpointSubmit/Id/{SAVED}/1"
    assert target.params == {"pipelineVersion": "1"}


def test_a_disabled_pipeline_is_not_submitted() -> None:
    body = {**ENTITY, "EntityStatus": "Disabled", "GraphId": None}

    with pytest.raises(ConfigError, match="is disabled"):
        Talk().hold(published.describe(WORKSPACE, PublishedPipeline(GUID)), [*WHERE, answer(200, body)])


def test_the_runs_of_a_key_are_asked_for_in_all_pages_and_steps_are_none_of_them() -> None:
    step = {**RUN, "runId": "step", "parentRunId": "run"}
    another = {**RUN, "runId": "another", "properties": {"airflow.idempotency_key": "x"}}
    tagged = {"runId": "tagged", "status": "Failed", "tags": RUN["properties"], "parentRunId": None}
    pages = [{"value": [step, RUN], "continuationToken": "more"}, {"value": [another, tagged]}]
    gone = {"error": {"code": "NotFound", "message": "Job tagged not found."}}
    talk = Talk()

    runs = talk.hold(
        published.runs_of(WORKSPACE, "https://dp", "my exp", KEY),
        [*(answer(200, page) for page in pages), answer(200, JOB), answer(404, gone)],
    )

    wanted = (
        f'((Properties/airflow.idempotency_key eq "{KEY.digest}") or (Tags/airflow.idempotency_key eq "{KEY.digest}"))'
    )
    assert talk.asked[0].url == f"https://dp/history/v1.0{WORKSPACE.arm_id}/experiments/my%20exp/runs:query"
    assert talk.asked[0].json == {"filter": wanted, "top": 100}
    assert talk.asked[1].json == {"filter": wanted, "top": 100, "continuationToken": "more"}
    assert [(run.name, run.phase, run.studio_url, run.key) for run in runs] == [
        ("run", Phase.RUNNING, "https://studio/run", KEY.digest),
        ("tagged", Phase.FAILED, "", KEY.digest),
    ]


def test_an_experiment_that_is_not_there_has_no_runs() -> None:
    body = {"error": {"code": "UserError", "message": "Experiment e was not found."}}

    assert Talk().hold(published.runs_of(WORKSPACE, "https://dp", "e", KEY), [answer(404, body)]) == []


def test_an_address_that_is_not_there_does_not_mean_that_there_are_no_runs() -> None:
    with pytest.raises(RefusedError, match="404"):
        Talk().hold(published.runs_of(WORKSPACE, "https://dp", "e", KEY), [answer(404)])


@pytest.mark.parametrize(
    ("code", "phase"),
    [
        ("0", Phase.WAITING),
        (1, Phase.RUNNING),
        ("Finished", Phase.SUCCEEDED),
        ("3", Phase.SUCCEEDED),
        ("Failed", Phase.FAILED),
        ("4", Phase.CANCELED),
        ("SomethingNew", Phase.UNCERTAIN),
        (None, Phase.WAITING),
    ],
)
def test_a_run_that_cannot_be_seen_as_a_job_yet_is_known_by_v1s_own_words(code: Any, phase: Phase) -> None:
    taken = answer(200, {"Id": "run", "Status": {"StatusCode": code}})
    talk = Talk()

    run = talk.hold(published.submit(WORKSPACE, found(), submission(3)), [taken, UnavailableError("Look at job run")])

    assert (run.name, run.phase, run.key, run.attempt) == ("run", phase, KEY.digest, 3)
    assert talk.asked[0].repeatable is False


def test_the_submission_says_whose_run_it_is_in_both_places_that_run_history_shows() -> None:
    body = submission(2).to_wire()

    whose = {"airflow.idempotency_key": KEY.digest, "airflow.attempt": "2", "airflow.owner": "o"}
    assert (body["tags"], body["Properties"]) == (whose, whose)
    assert "ContinueRunOnStepFailure" not in body


def test_a_lost_answer_is_looked_for_by_the_attempt_and_never_posted_again() -> None:
    older = {**RUN, "runId": "older"}
    mine = {**RUN, "properties": {**RUN["properties"], "airflow.attempt": "2"}}  # type: ignore[dict-item]  # a dict
    talk = Talk()

    run = talk.hold(
        published.submit(WORKSPACE, found(), submission(2)),
        [
            UnavailableError("Submit"),
            answer(200, {"value": [older, mine]}),
            answer(200, {**JOB, "name": "older"}),
            answer(200, JOB),
        ],
    )

    assert run.name == "run"
    assert [request.method for request in talk.asked].count("POST") == 2, "the submission, and the query"


def test_an_answer_that_names_no_run_is_told_as_such() -> None:
    with pytest.raises(ProtocolError, match="the answer names no run"):
        Talk().hold(published.submit(WORKSPACE, found(), submission()), [answer(200, {})])


def test_several_datastores_of_one_container_are_one_place() -> None:
    body = {"datastoreType": "AzureBlob", "accountName": "a", "containerName": "c"}
    files = {"datastoreType": "AzureFile", "accountName": "a", "fileShareName": "f"}
    listed = [{"name": name, "properties": body} for name in ("zeta", "alpha", "mid")]

    places = Talk().hold(
        published.blob_datastores(WORKSPACE), [answer(200, {"value": [*listed, {"name": "f", "properties": files}]})]
    )

    assert places == {("a", "c"): "alpha"}

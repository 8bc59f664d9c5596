"""Pipelines of SDK v1, published from components, and the queries of run history by which their runs are found."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.names import PROVIDER, WorkspaceName
from azureml_emulator.routes.application import application
from azureml_emulator.routes.calls import Services
from azureml_emulator.routes.run_queries import FilterError, condition
from azureml_emulator.store import Run
from azureml_emulator.tokens import Lifetime
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import ADDRESSES, World, eventually, node

pytestmark = pytest.mark.anyio


@attrs.frozen(kw_only=True)
class V1:
    """A workspace as SDK v1 sees it."""

    world: World
    client: httpx.AsyncClient

    @property
    def root(self) -> str:
        return f"/pipelines/v1.0{self.world.workspace}"

    @property
    def ours(self) -> str:
        return f"/emulator/published{self.world.workspace}"

    async def publish(self, **spec: Any) -> str:
        """Publish a pipeline component, and give its id."""
        component = self.world.put_component({"type": "pipeline", **spec})
        answer = await self.client.post(f"{self.ours}/Pipelines", json={"component": component})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["Id"])

    async def sleeping(self) -> str:
        return await self.publish(jobs={"nap": node(self.world.component("sleep 300"))})

    async def submit(self, pipeline: str, **more: Any) -> httpx.Response:
        body = {"ExperimentName": "exp", **more}
        return await self.client.post(f"{self.root}/PipelineRuns/PipelineSubmit/{pipeline}", json=body)

    async def query(self, experiment: str = "exp", **body: Any) -> httpx.Response:
        path = f"/history/v1.0{self.world.workspace}/experiments/{experiment}/runs:query"
        return await self.client.post(path, json=body)


@pytest.fixture
async def v1(world: World) -> AsyncIterator[V1]:
    kind = {"type": f"{PROVIDER}/workspaces", "id": world.workspace}
    world.store.put(world.workspace, {**kind, "name": WorkspaceName.of_arm_id(world.workspace).name})
    services = Services(
        store=world.store,
        settings=world.settings,
        addresses=ADDRESSES,
        runner=world.runner,
        storage=world.storage,
    )
    app = application(services, identity_header="x", lifetime=Lifetime())
    async with serving(app) as url, httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
        yield V1(world=world, client=client)


async def test_a_component_is_published_with_v1s_words_for_its_types(v1: V1) -> None:
    inputs = {
        "word": {"type": "string", "default": "w", "description": "what to say"},
        "rows": {"type": "integer"},
        "rate": {"type": "number", "optional": "True"},
        "loud": {"type": "boolean", "default": "False"},
        "data": {"type": "uri_file"},
        "model": {"type": "custom_model", "default": "azureml://datastores/d/paths/m/"},
    }
    pipeline = await v1.publish(inputs=inputs, outputs={"out": {"type": "uri_folder"}}, jobs={"a": {}})

    entity = (await v1.client.get(f"{v1.root}/Pipelines/{pipeline}")).json()
    told = (await v1.client.get(f"{v1.root}/Graphs/{entity['GraphId']}/Interface")).json()

    assert (entity["ParameterAssignments"], entity["TotalRunSteps"]) == ({"word": "w", "loud": "False"}, 1)
    assert entity["Url"].endswith(f"{v1.root}/PipelineRuns/PipelineSubmit/{pipeline}")
    assert [(one["Name"], one["Type"], one["IsOptional"], one["DefaultValue"]) for one in told["Parameters"]] == [
        ("word", "String", True, "w"),
        ("rows", "Int", False, None),
        ("rate", "Double", True, None),
        ("loud", "Bool", True, "False"),
    ]
    assert [
        (one["Name"], one["DataTypeId"], one["IsOptional"], one["DefaultValue"]) for one in told["DataPathParameters"]
    ] == [
        ("data", "AnyFile", False, None),
        ("model", "AnyDirectory", True, {"DataStoreName": "d", "RelativePath": "m/"}),
        ("out", "AnyDirectory", True, None),
    ]


async def test_the_same_component_is_published_once_under_each_name(v1: V1) -> None:
    component = v1.world.put_component({"type": "pipeline", "jobs": {}})
    names = ["one", "one", "other"]
    made = [
        (await v1.client.post(f"{v1.ours}/Pipelines", json={"component": component, "name": name})).json()["Id"]
        for name in names
    ]

    listed = (await v1.client.get(f"{v1.root}/Pipelines")).json()

    assert made[0] == made[1] != made[2]
    assert [one["Id"] for one in listed] == [made[0], made[2]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "Publish {component, name, description}"),
        ({"component": "c", "nmae": "x"}, "unknown: nmae"),
        ({"component": "c"}, "write NAME:VERSION"),
        ({"component": "never:1"}, "is no pipeline component of workspace testing"),
    ],
)
async def test_what_cannot_be_published_is_refused(v1: V1, body: dict[str, str], told: str) -> None:
    answer = await v1.client.post(f"{v1.ours}/Pipelines", json=body)

    assert answer.status_code == 400
    assert told in answer.text


async def test_a_name_that_is_an_input_and_an_output_cannot_be_published(v1: V1) -> None:
    both = {"x": {"type": "uri_folder"}}
    component = v1.world.put_component({"type": "pipeline", "inputs": both, "outputs": both, "jobs": {}})

    answer = await v1.client.post(f"{v1.ours}/Pipelines", json={"component": component})

    assert "v1 tells inputs and outputs by name alone, and x is both" in answer.text


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [
        ({"ExperimentName": ""}, 400, "names no experiment"),
        ({"ParameterAssignments": {"nope": "1"}}, 400, "has no parameter nope"),
        ({"ParameterAssignments": {}}, 400, "needs input rows (integer)"),
        ({"ParameterAssignments": {"rows": "many"}}, 400, "is of type integer, but was given 'many'"),
        ({"ParameterAssignments": {"rows": "1", "out": "text"}}, 400, "out is a DataPath"),
        ({"DataSetDefinitionValueAssignments": {"d": {}}}, 501, "a dataset of SDK v1"),
    ],
)
async def test_what_does_not_fit_is_refused_and_nothing_runs(
    v1: V1, sent: dict[str, Any], status: int, told: str
) -> None:
    pipeline = await v1.publish(
        inputs={"rows": {"type": "integer"}}, outputs={"out": {"type": "uri_folder"}}, jobs={"a": {}}
    )

    answer = await v1.submit(pipeline, **sent)

    assert (answer.status_code, told in answer.text) == (status, True), answer.text
    assert v1.world.store.runs(v1.world.workspace) == []


@pytest.mark.parametrize(("method", "tail"), [("POST", "Cancel"), ("DELETE", "Execution")])
async def test_a_run_is_cancelled_in_both_ways_that_v1_knows(v1: V1, method: str, tail: str) -> None:
    run = (await v1.submit(await v1.sleeping())).json()["Id"]
    path = f"{v1.root}/PipelineRuns/{run}"

    answer = await v1.client.request(method, f"{path}/{tail}")

    assert answer.status_code == 200
    found = v1.world.store.run(v1.world.workspace, run)
    assert found is not None
    await v1.world.ended(found)
    assert (await v1.client.get(path)).json()["Status"]["StatusCode"] == "Canceled"


async def test_what_is_not_published_is_not_found(v1: V1) -> None:
    nobody = str(uuid.uuid4())
    for path in (
        f"Pipelines/{nobody}",
        f"Graphs/{nobody}/Interface",
        f"PipelineEndpoints/Id/{nobody}",
        "PipelineEndpoints/Name?Name=nobody",
        f"PipelineRuns/{nobody}",
    ):
        assert (await v1.client.get(f"{v1.root}/{path}")).status_code == 404, path
    assert (await v1.submit(nobody)).status_code == 404


async def test_an_endpoint_counts_its_versions_and_keeps_its_default_if_told_so(v1: V1) -> None:
    pipelines = [await v1.publish(jobs={}) for _ in range(2)]
    bodies: list[dict[str, Any]] = [{"pipelineId": pipelines[0]}, {"pipelineId": pipelines[1], "default": False}]
    for body in bodies:
        await v1.client.post(f"{v1.ours}/PipelineEndpoints", json={"name": "e", **body})

    (endpoint,) = (await v1.client.get(f"{v1.root}/PipelineEndpoints")).json()

    assert endpoint["DefaultVersion"] == "0"
    assert endpoint["PipelineVersionList"] == [
        {"Version": str(number), "PipelineId": pipeline} for number, pipeline in enumerate(pipelines)
    ]


async def test_the_runs_of_an_experiment_are_found_by_property_or_tag_in_pages_with_their_steps(v1: V1) -> None:
    pipeline = await v1.sleeping()
    runs = [
        (await v1.submit(pipeline, **{where: {"who": "me"}})).json()["Id"]
        for where in ("Properties", "tags", "Properties")
    ]
    await v1.submit(pipeline, ExperimentName="other", Properties={"who": "me"})
    wanted = '((Properties/who eq "me") or (Tags/who eq "me"))'

    found: list[str] = []
    token = None
    while token or not found:
        page = (await v1.query(filter=wanted, top=2, continuationToken=token)).json()
        found += [one["runId"] for one in page["value"]]
        token = page["continuationToken"]
    first = v1.world.workspace, runs[0]
    await eventually(lambda: bool(v1.world.store.runs(first[0], parent=first[1])), "the first run has a step")
    everything = (await v1.query()).json()["value"]

    assert found == runs[::-1]
    assert {one["runId"] for one in everything if one["parentRunId"] is None} == set(runs)
    assert runs[0] in {one["parentRunId"] for one in everything}


async def test_a_query_that_is_not_understood_says_so(v1: V1) -> None:
    await v1.submit(await v1.sleeping())

    missing, odd, ordered, token = (
        await v1.query("never-was"),
        await v1.query(filter="Status like 'x'"),
        await v1.query(orderBy="CreatedUtc desc"),
        await v1.query(continuationToken="made-up"),
    )

    assert (missing.status_code, missing.json()["error"]["innerError"]["innerError"]["code"]) == (
        404,
        "ExperimentNotFound",
    )
    assert (odd.status_code, "is not understood from" in odd.text) == (501, True)
    assert ordered.status_code == 501
    assert token.status_code == 400


RUN = Run(workspace="/w", name="r", kind="Pipeline", status="Failed", properties={"a.b": "1"}, tags={"t": "x y"})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ('(Properties/a.b eq "1")', True),
        ('Properties/a.b eq "2"', False),
        ("Properties/a.b ne null", True),
        ("(Properties/zzz eq null)", True),
        ('Tags/t eq "x y"', True),
        ("Status eq Failed and RunId eq r", True),
        ("(ParentRunId eq null)", True),
        ('Properties/a.b eq "2" or Status eq Failed and RunId eq other', False),
        ('(Properties/a.b eq "1" or Status eq Failed) and RunId eq other', False),
        ('Properties/a.b eq "1" or (Status eq Failed and RunId eq other)', True),
    ],
)
def test_a_filter_holds_as_odata_says(text: str, holds: bool) -> None:
    assert condition(text)(RUN) is holds


@pytest.mark.parametrize("text", ["Status", "(Status eq x", "Status eq x)", "Status gt x", "Nobody eq x", "and", "()"])
def test_a_filter_that_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(FilterError):
        condition(text)


atoms = st.sampled_from([('Properties/a.b eq "1"', True), ("Status eq Running", False)])
filters = st.recursive(
    atoms,
    lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
        lambda parts: (
            f"({parts[0][0]}) {parts[1]} ({parts[2][0]})",
            (parts[0][1] and parts[2][1]) if parts[1] == "and" else (parts[0][1] or parts[2][1]),
        )
    ),
    max_leaves=8,
)


@given(filters)
def test_any_filter_of_brackets_and_words_is_read_as_it_is_meant(written: tuple[str, bool]) -> None:
    text, holds = written

    assert condition(text)(RUN) is holds

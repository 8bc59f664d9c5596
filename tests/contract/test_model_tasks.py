"""The tasks that find the champion and register models, on the real emulator; Airflow's part is a few lines."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs
import httpx
import pytest
from airflow.sdk import AssetAlias, Context
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_azureml.client.models import open_registrar
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.errors import NotReadyError
from airflow_azureml.operators.models import AzureMLChampionOperator, AzureMLRegisterModelOperator
from airflow_azureml.watchers import registered_model
from tests.contract.conftest import WORKSPACE, Emulator
from tests.contract.registering import BEARER, Trained, Workspace, settings_of

EVALUATION = {
    "schema": 1,
    "metrics": {"rmse": 54.1},
    "data": {"version": "sha256:test", "rows": 89},
    "model": {"sha256": "feed"},
    "git_sha": "0a1b2c",
}
WRITE = (
    "mkdir ${{outputs.model}}/a && echo x > ${{outputs.model}}/a/model.txt"
    f" && mkdir ${{{{outputs.model}}}}/evaluation && echo '{json.dumps(EVALUATION)}'"
    " > ${{outputs.model}}/evaluation/evaluation.json"
)


class Told(list[Any]):
    """Events of an asset, as a task reads them."""

    def ascending(self, _: bool) -> Told:
        return self

    def limit(self, _: int) -> Told:
        return self


@attrs.frozen
class Event:
    extra: Mapping[str, Any]


@attrs.define
class TaskInstance:
    run_id: str = "run"
    try_number: int = 1
    dag_id: str = "dag"
    task_id: str = "register"
    map_index: int = -1
    pushed: dict[str, Any] = attrs.field(factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@attrs.define
class World:
    """The workspace, and what Airflow has heard of the asset."""

    workspace: Workspace
    trained: Trained
    model: str
    events: Told = attrs.field(factory=Told)

    def result(self, **more: Any) -> dict[str, Any]:
        """Write what the task of the training pipeline returned."""
        outputs = {"model": self.trained.source, "evaluation": f"{self.trained.source}evaluation"}
        told = {"schema": 1, "job": self.trained.job, "status": "Completed", "pipeline": "p", "outputs": outputs}
        return {**told, "metrics": {"train.loss": 0.5}, "left_out": 0, **more}

    def verdict(self, *, passed: bool = True, champion: str = "none", **facts: str) -> dict[str, Any]:
        finding = Finding(check="rmse at most 60", passed=passed, reason="It is 54.1.")
        facts = {"job": self.trained.job, "champion": champion, **facts}
        told = Verdict(subject="The challenger", policy="diabetes 3", findings=[finding], facts=facts).to_wire()
        return {**told, "verdict_uri": "https://a/verdict.json"}

    def register(self, *, ti: TaskInstance | None = None, **options: Any) -> dict[str, Any]:
        """Run the task; what it tells the asset is heard when it ends well."""
        asset = registered_model(self.model)
        given = {"result": self.result(), "verdict": self.verdict(), "path": "a", "model": self.model, **options}
        task = AzureMLRegisterModelOperator(task_id="register", asset=asset, **given)
        outlets = OutletEventAccessors()
        inlets = {asset: self.events}
        context = {"ti": ti or TaskInstance(), "outlet_events": outlets, "inlet_events": inlets}
        told = task.execute(cast("Context", context))
        alias = outlets[AssetAlias(f"{asset.name}:registered")]
        assert {each.dest_asset_key.name for each in alias.asset_alias_events} <= {asset.name}
        self.events += [Event(each.extra) for each in alias.asset_alias_events]
        return told

    def champion(self) -> dict[str, str]:
        return AzureMLChampionOperator(task_id="champion", model=self.model).execute(cast("Context", {}))


@pytest.fixture(scope="module")
def workspace(emulator: Emulator) -> Iterator[Workspace]:
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        yield Workspace(emulator, http)


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> Trained:
    return workspace.train(command=WRITE)


@pytest.fixture
def world(emulator: Emulator, workspace: Workspace, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> World:
    subscription, group, name = WORKSPACE.split("/")
    extra = {"subscription_id": subscription, "resource_group": group, "workspace": name}
    extra |= {"authentication": "emulator", "endpoint": emulator.addresses.http}
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_DEFAULT", json.dumps({"conn_type": "azureml", "extra": extra}))
    return World(workspace, trained, f"m-{uuid.uuid4().hex[:10]}")


def test_a_better_model_is_registered_crowned_and_told_of_with_how_it_came_about(world: World) -> None:
    data = {"schema": 1, "accepted": True, "path": "train.csv", "etag": "0x1", "rows": 442, "digest": "sha256:d"}
    told = world.register(data=data, tags={"team": "ward 4"}, ti=TaskInstance(try_number=2))

    asset, job = f"azureml:{world.model}:1", world.trained.job
    (uri,) = {one["modelUri"] for one in world.workspace.versions(world.model).values()}
    assert told == {
        "schema": 1,
        "model": world.model,
        "version": "1",
        "stage": "champion",
        "champion": "1",
        "reason": "",
        "asset": asset,
        "uri": uri,
        "job": job,
        "output": "model",
        "digest": "feed",
        "registered_in": "",
    }
    version = world.workspace.versions(world.model)["1"]
    assert version["tags"] == {"team": "ward 4", "stage": "champion"}
    assert version["stage"] == "Production"
    expected = {
        "airflow.owner": "dag/run/register/-1/2",
        "job": job,
        "git_sha": "0a1b2c",
        "pipeline": "p",
        "data_version": "sha256:test",
        "verdict": "The challenger: accepted, 1 of 1 checks passed.",
        "verdict_uri": "https://a/verdict.json",
        "training_data.0": '{"path": "train.csv", "etag": "0x1", "rows": 442, "digest": "sha256:d"}',
        "metric.rmse": "54.1",
        "metric.train.loss": "0.5",
    }
    assert expected.items() <= version["properties"].items()
    assert version["description"].startswith(f"# {world.model}\n")
    assert [each.extra for each in world.events] == [
        {"model": world.model, "version": "1", "stage": "champion", "job": job, "digest": "feed"}
    ]
    assert world.champion() == {
        "model": world.model,
        "version": "1",
        "uri": uri,
        "job": job,
        "evaluation": f"{world.trained.source}evaluation",
        "data_version": "sha256:test",
    }


def test_there_is_no_champion_yet(world: World) -> None:
    assert world.champion() == {}


def test_a_task_that_is_run_again_returns_the_same_and_tells_the_asset_once(world: World) -> None:
    first = world.register()
    again = [world.register(ti=TaskInstance(run_id=run, try_number=number)) for run, number in (("run", 2), ("x", 1))]

    assert [first, first] == again
    assert len(world.events) == 1
    assert set(world.workspace.versions(world.model)) == {"1"}


def test_a_task_that_died_before_airflow_heard_of_it_tells_the_asset_when_it_is_tried_again(world: World) -> None:
    world.register()
    world.events.clear()
    world.register(ti=TaskInstance(try_number=2))

    assert [each.extra["version"] for each in world.events] == ["1"]


def test_who_was_compared_with_a_champion_that_was_replaced_is_a_challenger_and_wakes_nobody(world: World) -> None:
    world.register()
    world.workspace.put(world.model, "2")
    with open_registrar(settings_of(world.workspace.emulator)) as registrar:
        registrar.crown(world.model, "2", expected="1")
    told = world.register(path="", verdict=world.verdict(champion="1", model=world.model))

    assert (told["version"], told["stage"], told["champion"]) == ("3", "challenger", "2")
    assert told["reason"] == (
        "It was compared with version 1, and the champion is version 2 now: the gate must look again."
    )
    assert len(world.events) == 1
    assert world.workspace.stages(world.model) == {"1": "retired", "2": "champion", "3": "challenger"}


def test_when_the_gate_has_looked_again_the_challenger_is_crowned_under_the_version_that_it_has(world: World) -> None:
    world.register()
    late = world.register(path="", verdict=world.verdict(champion="none"))
    again = world.register(path="", verdict=world.verdict(champion="1"))

    assert (late["stage"], again["stage"]) == ("challenger", "champion")
    assert late["version"] == again["version"] == "2"
    assert [each.extra["version"] for each in world.events] == ["1", "2"]


def test_a_model_may_be_registered_as_a_challenger_or_without_a_gate_where_that_is_said(world: World) -> None:
    challenger = world.register(verdict=None, without_verdict=True, crown=False)
    crowned = world.register(verdict=None, without_verdict=True, expected="")

    assert (challenger["stage"], crowned["stage"], crowned["version"]) == ("challenger", "champion", "1")
    assert "verdict" not in world.workspace.versions(world.model)["1"]["properties"]
    assert [each.extra["stage"] for each in world.events] == ["challenger", "champion"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"verdict": None}, "There is no verdict"),
        ({"verdict": "yes"}, "The verdict is 'yes'"),
        ({"verdict": {"accepted": True}}, "The verdict cannot be read"),
        ({"verdict": None, "without_verdict": True}, "give expected="),
        ({"result": None}, "result is None; give what the task of the training pipeline returned"),
        ({"result": "{'job': 'j'}"}, "render_template_as_native_obj"),
        ({"output_name": "modell"}, "has no output 'modell'; it has evaluation, model"),
        ({"kind": "pickle"}, "kind is 'pickle'; it must be one of mlflow, custom, triton"),
        ({"model": "a b"}, "model is 'a b'"),
        ({"path": "nowhere"}, "has nothing at"),
        ({"kind": "mlflow"}, "has no file MLmodel"),
        ({"data": [{"etag": "e"}]}, "each of it is a path"),
        ({"tags": {"stage": "champion"}}, "kept by the register"),
        ({"register": "elsewhere"}, "register is 'elsewhere'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(world: World, options: dict[str, Any], told: str) -> None:
    with pytest.raises(AirflowFailException, match=told):
        world.register(**options)

    assert world.workspace.versions(world.model) == {}
    assert world.events == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"passed": False}, "The verdict is a no: The challenger: rejected, 1 of 1 checks failed"),
        ({"job": "another"}, "The verdict is about job another"),
        ({"model": "another"}, "the champion of model another"),
    ],
)
def test_a_verdict_that_does_not_let_this_model_pass_is_refused(world: World, change: Any, told: str) -> None:
    with pytest.raises(AirflowFailException, match=told):
        world.register(verdict=world.verdict(**change))

    assert world.workspace.versions(world.model) == {}


def test_a_job_that_is_not_completed_is_refused_whatever_its_result_says(world: World) -> None:
    failed = world.workspace.train(command="exit 3")
    running = world.workspace.train(command="sleep 30", ends=["Running"])

    with pytest.raises(AirflowFailException, match="is Failed; only what a completed job made"):
        world.register(result=world.result(status="Failed"))
    with pytest.raises(AirflowFailException, match="is Failed; only what a completed job made"):
        world.register(result=world.result(job=failed.job), verdict=world.verdict(job=failed.job))
    with pytest.raises(NotReadyError, match="is Running; only what a completed job made"):
        world.register(result=world.result(job=running.job), verdict=world.verdict(job=running.job))
    assert world.workspace.versions(world.model) == {}


def test_an_evaluation_that_is_not_there_leaves_the_lineage_without_it(world: World) -> None:
    told = world.register(evaluation=f"{world.trained.source}nowhere")

    properties = world.workspace.versions(world.model)["1"]["properties"]
    assert told["stage"] == "champion"
    assert "metric.rmse" not in properties
    assert properties["evaluation"].endswith("/nowhere")

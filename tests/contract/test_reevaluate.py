"""The champion, really evaluated anew on the challenger's test data, or passed through."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from airflow.sdk import DAG
from attrs import define, field

from airflow_azureml.core.gate_results import GONE
from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.reports import Report, Step
from airflow_azureml.operators.gate import AzureMLReevaluateOperator
from airflow_azureml.operators.pipeline import PipelineComponent
from tests.contract.conftest import ARM_ID, Emulator
from tests.contract.controlled import controlled_emulator
from tests.contract.gating import CONN, ROWS, Bench, Instance, champion_at, opened, publish, trained


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("gate"), azurite) as made:
        yield made


@pytest.fixture
def bench(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with opened(emulator, monkeypatch) as made:
        yield made


@define
class Store:
    """What Airflow keeps for a task instance."""

    kept: dict[str, Any] = field(factory=dict)

    def get(self, key: str) -> Any:
        return self.kept.get(key)

    def set(self, key: str, value: Any, *, retention: object = None) -> None:
        del retention
        self.kept[key] = json.loads(json.dumps(value))


@define
class Reached(Instance):
    """What a task that starts a job sees of its instance."""

    dag_id: str = "evaluating"
    run_id: str = field(factory=lambda: uuid.uuid4().hex)
    task_id: str = "reevaluate"
    try_number: int = 1
    max_tries: int = 0


def _register(bench: Bench, *, version: str = "1", archived: bool = False) -> str:
    """Register a model whose file says how good it is, and return its name."""
    model = f"model-{bench.folder}"
    bench.put("registered/model.txt", "70")
    uri = bench.uri("registered")
    properties = {"modelUri": uri, "modelType": "custom_model", "isArchived": archived}
    answer = bench.http.put(
        f"{ARM_ID}/models/{model}/versions/{version}?api-version=2023-08-01-preview", json={"properties": properties}
    )
    assert answer.status_code in {200, 201}, answer.text
    return model


def _reevaluate(bench: Bench, challenger: str, champion: Mapping[str, Any]) -> Any:
    folder = {"type": "uri_folder"}
    name = f"evaluate-{uuid.uuid4().hex[:10]}"
    command = (
        'printf \'{"schema": 1, "metrics": {"rmse": %s}, "data": {"version": "%s", "rows": 60}}\''
        " $(cat ${{inputs.model}}/model.txt) $(cat ${{inputs.test}}/version.txt)"
        " > ${{outputs.evaluation}}/evaluation.json"
    )
    publish(bench, name, command, {"model": folder, "test": folder})
    bench.put("test/version.txt", "sha256:2")
    with DAG("evaluating", schedule=None):
        task = AzureMLReevaluateOperator(
            task_id="reevaluate",
            pipeline=PipelineComponent(name),
            challenger=trained(challenger, outputs={"evaluation": challenger, "test_data": bench.uri("test")}),
            champion=champion,
            challenger_outputs={"test": "test_data"},
            outputs={"evaluation": f"{bench.uri('anew')}{{key}}/"},
            deferrable=False,
            follow="none",
            conn_id=CONN,
        )
    context: Any = {"ti": Reached(task), "task_state_store": Store()}
    return task.execute(context)


def test_a_champion_of_other_data_is_really_evaluated_on_the_challengers_and_the_gate_compares(bench: Bench) -> None:
    model = _register(bench)
    ours = bench.evaluate("new", rmse=49.0, data={"version": "sha256:2", "rows": ROWS})
    champion = champion_at(bench.evaluate("old", rmse=40.0), model=model, version="1", uri=bench.uri("registered"))

    anew = _reevaluate(bench, ours, champion)

    assert anew["reevaluated"].startswith("airflow-")
    assert anew["evaluation"].startswith(bench.uri("anew"))
    told = bench.gate(ours, anew)
    assert told.verdict.accepted, told.reasons
    assert [one.against for one in told.verdict.findings if one.subject == "rmse" and one.against] == [70.0]
    assert not bench.gate(ours, champion).verdict.accepted


def test_a_champion_of_the_same_data_and_none_at_all_pass_through_and_nothing_is_run(bench: Bench) -> None:
    champion = champion_at(bench.evaluate("old"), model=_register(bench), version="1")

    assert _reevaluate(bench, bench.evaluate("new"), champion) == champion
    assert _reevaluate(bench, bench.evaluate("new"), {}) == {}


def test_where_the_challenger_has_no_evaluation_no_money_is_spent_on_the_champion(bench: Bench) -> None:
    champion = champion_at(bench.evaluate("old"), model=_register(bench), version="1")

    assert _reevaluate(bench, bench.uri("nowhere"), champion) == champion


@pytest.mark.parametrize(("archived", "became"), [(True, "archived"), (False, "deleted")])
def test_a_champion_that_is_gone_meanwhile_is_a_finding_of_the_gate(bench: Bench, archived: bool, became: str) -> None:
    model, version = _register(bench, archived=archived), "1" if archived else "2"
    ours = bench.evaluate("new", data={"version": "sha256:2", "rows": ROWS})
    champion = champion_at(bench.evaluate("old"), model=model, version=version)

    told = bench.gate(ours, _reevaluate(bench, ours, champion))

    assert not told.verdict.accepted
    assert f"Version {version} of model {model}, the champion, was {became} meanwhile." in told.reasons


@pytest.mark.parametrize(
    ("options", "steps", "outputs", "told"),
    [
        (
            {},
            [True],
            {"evaluation": "azureml://e"},
            "did not evaluate it anew: Azure ML took the results of an earlier",
        ),
        ({"on_reuse": "allow"}, [True], {"evaluation": "azureml://e"}, None),
        ({}, [False], {"evaluation": "azureml://e"}, None),
        ({}, [False], {}, "has no output 'evaluation'"),
    ],
)
def test_an_evaluation_that_was_not_made_anew_or_is_nowhere_compares_nothing(
    options: dict[str, Any], steps: list[bool], outputs: dict[str, str], told: str | None
) -> None:
    with DAG("evaluating", schedule=None):
        task = AzureMLReevaluateOperator(
            task_id="reevaluate",
            pipeline=PipelineComponent("p"),
            challenger=trained("azureml://c"),
            champion=champion_at("azureml://old"),
            conn_id=CONN,
            **options,
        )
    context: Any = {"ti": Reached(task)}
    report = Report(
        steps=[Step(name="evaluate", run="r", status="Completed", reused=each, reused_job="j0") for each in steps],
        outputs=outputs,
    )

    found = task.result(context, JobSnapshot(name="j1", status="Completed"), report)

    assert (found["model"], found["version"], found["reevaluated"]) == ("ridge", "3", "j1")
    assert found["evaluation"] == outputs.get("evaluation", "")
    assert (told or "") in found.get(GONE, "")
    assert (GONE in found) == (told is not None)

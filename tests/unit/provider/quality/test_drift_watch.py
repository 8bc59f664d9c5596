"""A group that watches for drift, task by task: Azurite and the emulator are real, Airflow's part is a few lines."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError, AirflowSkipException
from airflow.sdk.execution_time.comms import ErrorResponse
from attrs import define, field
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.client.drift import shelf
from airflow_azureml.client.retraining import holdings
from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.core.drift_watch import Entry, Life, Outcome, Watch
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.drift import (
    AzureMLDriftDecisionOperator,
    AzureMLDriftWindowsOperator,
    AzureMLRetrainOperator,
    DriftWork,
    life_of,
)
from airflow_azureml.quality.profile import Profile
from airflow_azureml.task_groups.drift import (
    TESTS,
    Dated,
    Distribution,
    Drift,
    DriftPolicy,
    Windows,
    collected,
    drift_of,
    drift_watch,
)
from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID, Emulator
from demo.stack import airflow_environment

STORE = "azureml://datastores/workspaceblobstore/paths"
DAYS = Windows(every=timedelta(days=1), late=timedelta(0))
POLICY = DriftPolicy(violated=2, of=3, cool_down=timedelta(days=3), min_rows=100)
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAG_ID, GROUP = "drift_watch", "drift"


def patients(rows: int, *, seed: int, shift: float = 0.0) -> pl.DataFrame:
    """Rows as they were in training, or with a body mass that has gone up."""
    chance = np.random.default_rng(seed)
    bmi = chance.normal(26 + shift, 4, rows)
    return pl.DataFrame({"age": chance.integers(20, 80, rows), "bmi": bmi, "prediction": 80 + 3 * bmi})


@define
class Airflow:
    """What Airflow knows of runs, and of the tasks with which they ask."""

    runs: dict[str, str] = field(factory=dict)
    tasks: dict[str, str | None] = field(factory=dict)
    retraining: dict[str, int] = field(factory=dict)
    events: list[tuple[str, dict[str, Any]]] = field(factory=list)
    dag_id: str = DAG_ID
    run_id: str = ""

    def get_task_states(self, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        if dag_id != DAG_ID:
            return {}
        return {run: {task_ids[0]: self.tasks[run]} for run in run_ids if run in self.tasks}

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        assert dag_id in {DAG_ID, "other"}
        if run_id not in self.runs:
            raise AirflowRuntimeError(ErrorResponse(detail={"status_code": 404}))
        return self.runs[run_id]

    def get_dr_count(self, dag_id: str, states: Sequence[str]) -> int:
        assert set(states) == {"queued", "running"}
        return self.retraining.get(dag_id, 0)


@define
class Told:
    extra: dict[str, Any] = field(factory=dict)


@define
class World:
    """One model, what was scored with it day by day, and the runs that watch it."""

    container: ContainerClient
    airflow: Airflow = field(factory=Airflow)
    name: str = field(factory=lambda: f"m{uuid.uuid4().hex[:12]}")
    reference: str = "reference.csv"
    more: dict[str, Any] = field(factory=dict)

    def put(self, path: str, content: bytes) -> None:
        self.container.upload_blob(f"{self.name}/{path}", content, overwrite=True)

    def score(self, day: int, *, shift: float = 0.0, rows: int = 2000) -> None:
        """Write what was scored on a day, in two files."""
        date = (FIRST + timedelta(days=day)).strftime("%Y/%m/%d")
        for part in (0, 1):
            frame = patients(rows // 2, seed=1000 * day + part, shift=shift)
            self.put(f"scored/{date}/{part}.csv", frame.write_csv().encode())

    def task(self, kind: type[DriftWork], day: int, **more: Any) -> DriftWork:
        """One of the group's tasks, in the morning after a day."""
        told: dict[str, Any] = {
            "task_id": "task",
            "group": GROUP,
            "model": self.name,
            "recent": [Dated(folder=f"{STORE}/{self.name}/scored/", layout="%Y/%m/%d/")],
            "windows": DAYS,
            "policy": POLICY,
            "at": (FIRST + timedelta(days=day + 1, hours=5)).isoformat(),
        }
        return kind(**{**told, **self.more, **more})

    def context(self, run: str) -> Any:
        self.airflow.run_id = run
        self.airflow.runs.setdefault(run, "running")
        self.airflow.tasks.setdefault(run, None)
        return {"ti": self.airflow, "outlet_events": {drift_of(self.name): Told()}}

    def look(self, run: str, day: int) -> dict[str, int]:
        found: dict[str, int] = self.task(AzureMLDriftWindowsOperator, day).execute(self.context(run))
        return found

    def decide(self, run: str, day: int, **more: Any) -> dict[str, Any]:
        told = {"reference": f"{STORE}/{self.name}/{self.reference}", "tests": TESTS, "retraining": ["weekly"], **more}
        result: dict[str, Any] = self.task(AzureMLDriftDecisionOperator, day, **told).execute(self.context(run))
        return result

    def retrain(self, run: str, day: int) -> bool:
        """Whether the event was emitted."""
        context = self.context(run)
        try:
            self.task(AzureMLRetrainOperator, day, asset=drift_of(self.name)).execute(context)
        except AirflowSkipException:
            self.airflow.tasks[run] = "skipped"
            return False
        self.airflow.tasks[run] = "success"
        self.airflow.events.append((run, context["outlet_events"][drift_of(self.name)].extra))
        return True

    def run(self, run: str, day: int) -> dict[str, Any]:
        """A whole run."""
        self.look(run, day)
        decided = self.decide(run, day)
        self.retrain(run, day)
        self.airflow.runs[run] = "success"
        return decided

    @property
    def asked(self) -> list[str]:
        """The days that have asked for a retraining."""
        return [event["window"] for _, event in self.airflow.events]


def day(number: int) -> str:
    return (FIRST + timedelta(days=number)).strftime("%Y-%m-%d")


@pytest.fixture
def world(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in airflow_environment(emulator).items():
        monkeypatch.setenv(name, value)
    url = f"{emulator.http}{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01"
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    found = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
    with BlobServiceClient.from_connection_string(emulator.connection_string) as service:
        made = World(container=service.get_container_client(found["properties"]["containerName"]))
        made.put("reference.csv", patients(5000, seed=7).write_csv().encode())
        yield made


@pytest.fixture
def drifted(world: World) -> World:
    """Two days that have drifted, after one that has not."""
    for number, shift in enumerate((0.0, 4.0, 4.0)):
        world.score(number, shift=shift)
    return world


def test_on_known_drift_a_retraining_is_asked_for_exactly_when_it_should_be(world: World) -> None:
    shifts = {2: 4.0, 4: 4.0, 5: 4.0, 6: 4.0, 8: 4.0, 10: 4.0}
    decided = {}
    for number in range(12):
        world.score(number, shift=shifts.get(number, 0.0), rows=40 if number == 7 else 2000)
        decided[number] = world.run(f"r{number}", number)

    # 4: two of the days 2 to 4 violate. Until 7, it is too soon. 8: two of the days 6 to 8. 10: too soon again.
    assert world.asked == [day(4), day(8)]
    assert [number for number, each in decided.items() if each["decision"] == "retrain"] == [4, 8]
    assert "the cool-down ends at 2026-03-09T05:00:00+00:00" in decided[5]["why"]
    assert "has 40 rows, and 100 are the least" in decided[7]["why"]
    assert "The latest window, 2026-03-04, is within its bounds" in decided[3]["why"]
    assert decided[4]["windows"][-1]["columns"] == ["bmi", "prediction"]
    assert max(len(json.dumps(each)) for each in decided.values()) < 4000


def test_a_window_asks_once_however_often_the_dag_runs(drifted: World) -> None:
    first = drifted.run("r1", 2)
    again = drifted.run("r2", 2)

    assert drifted.asked == [day(2)]
    assert again == first


def test_of_two_runs_that_race_one_asks(drifted: World) -> None:
    drifted.look("r1", 2)
    drifted.look("r2", 2)
    decided = [drifted.decide(run, 2) for run in ("r2", "r1")]

    assert [drifted.retrain(run, 2) for run in ("r1", "r2")] == [False, True]
    assert decided[0] == decided[1]


def test_of_two_runs_that_decide_at_the_same_moment_one_decision_stands(drifted: World) -> None:
    settings = AzureMLHook().settings
    both_have_read = threading.Barrier(2, timeout=60)

    def _decided(run: str) -> Outcome:
        asked: list[int] = []

        def _decide(watch: Watch) -> Outcome:
            if not asked:
                both_have_read.wait()
            asked.append(1)
            entry = Entry(window=day(2), at=FIRST, owner=run, told={"decision": "retrain"})
            known = watch.decided.get(day(2))
            return Outcome(watch=watch.entered(entry), entry=known or entry, is_new=known is None)

        opened = shelf(settings, model=drifted.name, recent=recent, windows=DAYS)
        return opened.settle(_decide)

    recent = [Dated(folder=f"{STORE}/{drifted.name}/scored/", layout="%Y/%m/%d/")]
    with emulator_in_reach(settings), ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(_decided, ["r1", "r2"]))

    assert sorted(each.is_new for each in outcomes) == [False, True]
    assert outcomes[0].entry == outcomes[1].entry


def test_a_request_whose_run_died_is_emitted_by_the_next_run_and_once(drifted: World) -> None:
    drifted.look("dead", 2)
    drifted.decide("dead", 2)
    drifted.airflow.runs["dead"], drifted.airflow.tasks["dead"] = "failed", "failed"
    drifted.score(3, shift=4.0)

    decided = drifted.run("next", 3)

    assert drifted.asked == [day(2)]
    assert decided["decision"] == "wait"
    assert "the one that window 2026-03-03 asked for is about to begin" in decided["why"]
    assert not drifted.retrain("dead", 2)


def test_a_request_whose_run_may_still_emit_it_is_left_to_it(drifted: World) -> None:
    drifted.look("slow", 2)
    drifted.decide("slow", 2)

    drifted.run("next", 2)

    assert drifted.asked == []
    assert drifted.retrain("slow", 2)


def test_nothing_is_asked_for_while_a_dag_retrains(drifted: World) -> None:
    drifted.airflow.retraining["weekly"] = 1

    assert "A retraining is under way: DAG weekly." in drifted.run("r1", 2)["why"]
    assert drifted.asked == []


def test_nothing_is_asked_for_while_a_run_holds_the_model_nor_soon_after(drifted: World) -> None:
    settings = AzureMLHook().settings
    drifted.airflow.runs["training"] = "running"

    async def _hold(*, take: bool) -> None:
        async with holdings(settings) as opened:
            owner = "other/training/group"
            if take:
                await opened.take(drifted.name, owner, instance="here", lives=lambda _: False)
            else:
                await opened.give_back(drifted.name, owner, instance="here")

    with emulator_in_reach(settings):
        asyncio.run(_hold(take=True))
    drifted.look("r1", 2)
    held = drifted.decide("r1", 2)
    with emulator_in_reach(settings):
        asyncio.run(_hold(take=False))
    drifted.score(3, shift=4.0)
    after = drifted.run("r2", 3)

    assert "A retraining is under way: other/training/group." in held["why"]
    assert "the cool-down ends at" in after["why"]
    assert drifted.asked == []


def test_a_window_keeps_what_it_was_found_to_be(drifted: World) -> None:
    assert drifted.look("r1", 2) == {day(0): 2000, day(1): 2000, day(2): 2000}
    drifted.score(2, rows=10)

    assert drifted.look("r2", 2) == {day(0): 2000, day(1): 2000, day(2): 2000}


def test_a_profile_is_as_good_a_reference_as_the_data(drifted: World) -> None:
    profile = Profile.of([patients(5000, seed=7)])
    drifted.put("reference.json", json.dumps(profile.to_wire()).encode())
    drifted.reference = "reference.json"

    assert drifted.run("r1", 2)["decision"] == "retrain"


def test_inputs_and_predictions_may_be_collections_of_their_own(drifted: World) -> None:
    for number, shift in enumerate((0.0, 4.0, 4.0)):
        date = (FIRST + timedelta(days=number)).strftime("%Y/%m/%d")
        frame = patients(1000, seed=number, shift=shift)
        for name, columns in {"model_inputs": ["age", "bmi"], "model_outputs": ["prediction"]}.items():
            event = {"correlationid": f"r{number}", "data": frame.select(columns).to_dicts()}
            drifted.put(f"mdc/{name}/{date}/07/i.jsonl", json.dumps(event).encode())
    folder = f"{STORE}/{drifted.name}/mdc"
    drifted.more["recent"] = [collected(f"{folder}/model_inputs/"), collected(f"{folder}/model_outputs/")]

    decided = drifted.run("r1", 2)

    assert [each["columns"] for each in decided["windows"]] == [[], ["bmi", "prediction"], ["bmi", "prediction"]]
    assert drifted.asked == [day(2)]


def test_a_day_without_files_is_missing_and_asks_for_nothing(drifted: World) -> None:
    decided = drifted.run("r1", 3)

    assert "The latest window, 2026-03-04, has no rows" in decided["why"]
    assert decided["windows"][-1] == {"window": day(3), "rows": 0, "verdict": "no rows", "columns": []}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"reference": f"{STORE}/nowhere/reference.json"}, "There is no reference"),
        ({"reference": f"{STORE}/nowhere/reference.csv"}, "There is no reference"),
        ({"reference": f"{STORE}/model.pkl"}, "is none of .json, .csv, .parquet, .jsonl"),
        ({"policy": DriftPolicy(violated=4)}, "violated is 4 of 3"),
        ({"recent": []}, "recent is empty"),
        ({"model": "my model"}, "model is 'my model'; it may have letters"),
        ({"at": "soon"}, "is no time"),
    ],
)
def test_what_cannot_be_used_fails_for_good(drifted: World, more: dict[str, Any], words: str) -> None:
    drifted.look("r1", 2)

    with pytest.raises(AirflowFailException, match=words):
        drifted.decide("r1", 2, **more)


@pytest.mark.parametrize(
    ("state", "run", "life"),
    [
        ("success", "running", Life.EMITTED),
        ("failed", "running", Life.OVER),
        ("upstream_failed", "failed", Life.OVER),
        (None, "failed", Life.OVER),
        (None, "running", Life.MAY_EMIT),
        ("up_for_retry", "running", Life.MAY_EMIT),
        (None, "", Life.EMITTED),
    ],
)
def test_what_became_of_a_request_is_asked_of_airflow(state: str | None, run: str, life: Life) -> None:
    airflow = Airflow(runs={"r": run} if run else {}, tasks={"r": state} if run else {})

    assert life_of(airflow, f"{DAG_ID}/r/{GROUP}") is life


def test_the_group_says_what_is_wrong_with_it_when_the_dag_is_parsed() -> None:
    with (
        DAG("any", schedule=None),
        pytest.raises(ConfigError, match=r"model is empty; folder is 'here/'.*; reference is empty"),
    ):
        drift_watch("drift", model=" ", recent=Dated(folder="here"), reference="")


def test_the_group_updates_the_asset_of_its_model() -> None:
    with DAG("any", schedule=None) as dag:
        drift_watch(
            "drift",
            model="ridge",
            recent=Dated(folder=f"{STORE}/x/"),
            reference=f"{STORE}/r.json",
            tests=Distribution(columns={"bmi": Drift(psi=0.1)}),
        )

    assert dag.get_task("drift.retrain").outlets == [Asset("drift of ridge")]
    assert dag.get_task("drift.decide").upstream_task_ids == {"drift.look"}

"""Rolling out in a running Airflow: the triggerer dies, the run is ended by a person, somebody says no."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from attrs import frozen

from demo.azure import ROOT, WORKSPACE_ID
from demo.processes import wait_until
from demo.serving import SOUND, Serving

if TYPE_CHECKING:
    from demo.stack import Airflow, Emulator

HERE = Path(__file__).resolve().parent
VERSION = {"api-version": "2024-04-01"}
OLD: tuple[dict[str, int], dict[str, int]] = ({"old": 100}, {})
HALF: tuple[dict[str, int], dict[str, int]] = ({"old": 50, "new": 50}, {})

#: azure-ai-ml, which deploys in this process, is behind its dependencies.
pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


@frozen
class Shop:
    """An endpoint whose deployment `old` takes all requests, and `new` none yet."""

    airflow: Airflow
    http: httpx.Client
    endpoint: str

    def begin(self, dag: str) -> str:
        self.airflow.unpause(dag)
        runs, body = f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": {"endpoint": self.endpoint}}
        return f"{runs}/{self.airflow.call('POST', runs, body)['dag_run_id']}"

    def split(self) -> tuple[dict[str, int], dict[str, int]]:
        found = self.http.get(self.url).raise_for_status().json()["properties"]
        return found["traffic"], found["mirrorTraffic"]

    def deployments(self) -> list[str]:
        return sorted(
            each["name"] for each in self.http.get(f"{self.url}/deployments").raise_for_status().json()["value"]
        )

    def until_split(self, traffic: dict[str, int], mirror: dict[str, int], run: str) -> None:
        def _there() -> bool:
            now = self.split()
            assert sum(now[0].values()) == 100
            return now == (traffic, mirror)

        assert wait_until(_there, deadline_s=120), (self.split(), self.log(run, "rollout.roll"))

    def until(self, run: str, *states: str) -> str:
        assert wait_until(lambda: self.airflow.get(run)["state"] in states, deadline_s=240), self.states(run)
        return str(self.airflow.get(run)["state"])

    def states(self, run: str) -> dict[str, str]:
        found = self.airflow.get(f"{run}/taskInstances")["task_instances"]
        return {each["task_id"].removeprefix("rollout."): each["state"] for each in found}

    def has_heard(self, task: str, words: str) -> bool:
        """Tell whether the scheduler knows that the worker of a task is gone."""
        lines = (self.airflow.folder / "parts" / "scheduler.log").read_text().splitlines()
        ended = f"state success for task instance TaskInstanceKey(dag_id='asks_first', task_id='{task}'"
        return any(ended in line and words in line for line in lines)

    def log(self, run: str, task: str) -> str:
        number = self.airflow.get(f"{run}/taskInstances/{task}")["try_number"]
        lines = self.airflow.get(f"{run}/taskInstances/{task}/logs/{number}", full_content=True)["content"]
        return "\n".join(f"{line.get('event', '')} {line.get('error_detail', '')}" for line in lines)

    @property
    def url(self) -> str:
        return f"{WORKSPACE_ID}/onlineEndpoints/{self.endpoint}"


@pytest.fixture(scope="module")
def serving(emulator: Emulator, dags_folder: Path) -> Iterator[Serving]:
    for file in (HERE / "rollout_dags.py", ROOT / "dags/rollout_guard.py"):
        shutil.copy(file, dags_folder / file.name)
    with Serving(emulator) as made:
        made.register("rolled", "1", SOUND)
        yield made


@pytest.fixture
def shop(airflow: Airflow, serving: Serving) -> Iterator[Shop]:
    endpoint = f"shop-{uuid.uuid4().hex[:8]}"
    for name in ("new", "old"):
        serving.deploy(endpoint, name, "rolled:1")
    headers = dict(serving.headers)
    with httpx.Client(
        base_url=serving.emulator.http, headers=headers, params=VERSION, trust_env=False, timeout=60
    ) as http:
        made = Shop(airflow, http, endpoint)
        yield made
        http.delete(made.url)


def test_a_rollout_goes_on_where_it_was_though_the_triggerer_is_killed_in_the_middle(shop: Shop) -> None:
    run = shop.begin("rolls_out")
    shop.until_split(*HALF, run)
    shop.airflow.kill("triggerer")
    during = shop.split()
    shop.airflow.start("triggerer")

    assert during == HALF
    assert shop.until(run, "success", "failed") == "success", shop.log(run, "rollout.roll")
    assert shop.split() == ({"new": 100}, {})
    assert shop.deployments() == ["new"]
    assert shop.states(run) == {"begin": "success", "roll": "success", "restore": "success"}


def test_a_run_that_a_person_marks_failed_gives_the_traffic_back(shop: Shop) -> None:
    run = shop.begin("rolls_out")
    shop.until_split(*HALF, run)
    shop.airflow.call("PATCH", run, {"state": "failed"})

    shop.until_split(*OLD, run)
    assert shop.until(run, "failed") == "failed"
    assert shop.deployments() == ["new", "old"]


def test_what_a_run_has_left_is_completed_by_the_guard_that_users_copy(shop: Shop, serving: Serving) -> None:
    run = shop.begin("rolls_out")
    shop.until_split(*HALF, run)
    for task, state in (("restore", "success"), ("roll", "failed")):
        shop.airflow.call("PATCH", f"{run}/taskInstances/rollout.{task}", {"new_state": state})
    assert shop.until(run, "failed") == "failed"
    assert (shop.split(), serving.rollout(shop.endpoint)) == (HALF, "rolling")

    guard = shop.begin("rollout_guard")

    assert shop.until(guard, "success", "failed") == "success"
    shop.airflow.call("PATCH", "/api/v2/dags/rollout_guard", {"is_paused": True})
    assert (shop.split(), serving.rollout(shop.endpoint)) == (OLD, "reverted")


def test_a_no_before_a_step_gives_the_traffic_back_and_ends_the_run_well(shop: Shop) -> None:
    run = shop.begin("asks_first")
    assert wait_until(lambda: shop.states(run)["approve_2"] == "awaiting_input", deadline_s=120), shop.states(run)
    # Airflow 3.3.2 takes the end of the worker that asked for that of the one that goes on, where an answer is faster.
    asked = f"run_id='{run.rpartition('/')[2]}', "
    assert wait_until(lambda: shop.has_heard("rollout.approve_2", asked), deadline_s=60)
    asked_at = shop.split()
    details = f"{run}/taskInstances/rollout.approve_2/-1/hitlDetails"
    shop.airflow.call("PATCH", details, {"chosen_options": ["Reject"], "params_input": {}})

    assert asked_at == HALF
    assert shop.until(run, "success", "failed") == "success", shop.log(run, "rollout.approve_2")
    assert shop.split() == OLD
    states = shop.states(run)
    assert (states["roll_2"], states["restore"]) == ("skipped", "success")
    assert states["watch_2"] == "success", shop.log(run, "rollout.watch_2")

"""A person's approval in a running Airflow: a yes, a no, nobody, and those who may not."""

from __future__ import annotations

import json
import shutil
import sys
from collections import ChainMap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.processes import Child, free_ports, wait_until
from demo.stack import Airflow

HERE = Path(__file__).resolve().parent
SHA = "c0ffee" + "0" * 34
PATIENCE_S = 120
TASKS = ("approve", "publish", "release", "clean")


@pytest.fixture(scope="module")
def asking(airflow: Airflow, dags_folder: Path) -> Airflow:
    """Airflow with the DAGs that ask."""
    shutil.copy(HERE / "approval_dags.py", dags_folder / "approval_dags.py")
    for way in ("anybody", "ada", "moment"):
        airflow.unpause(f"approval_{way}")
    return airflow


@pytest.fixture(scope="module")
def guarded(asking: Airflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One more API server of the same Airflow, where people have passwords and are not all administrators."""
    passwords = tmp_path_factory.mktemp("people") / "passwords.json"
    passwords.write_text(json.dumps({name: f"{name}'s" for name in ("ada", "eve", "vic")}))
    (port,) = free_ports(1)
    own = {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ada:op,eve:op,vic:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    child = Child(
        name="the guarded API server",
        command=[sys.executable, "-m", "airflow", "api-server"],
        environment=ChainMap(own, asking.children["api-server"].environment),  # type: ignore[arg-type]  # both are read only
        log=asking.folder / "parts" / "guarded.log",
    )
    child.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:

        def _is_up() -> bool:
            try:
                return client.get("/api/v2/monitor/health").is_success
            except httpx.HTTPError:
                return False

        try:
            child.wait_until(_is_up, deadline_s=PATIENCE_S)
            yield client
        finally:
            child.kill()


def _begin(airflow: Airflow, way: str) -> str:
    body = {"logical_date": None, "conf": {"sha": SHA}}
    begun = airflow.call("POST", f"/api/v2/dags/approval_{way}/dagRuns", body)
    return f"dags/approval_{way}/dagRuns/{begun['dag_run_id']}"


def _states(airflow: Airflow, run: str) -> dict[str, str]:
    listed = airflow.get(f"/api/v2/{run}/taskInstances")["task_instances"]
    return {one["task_id"]: one["state"] for one in listed}


def _until_asked(airflow: Airflow, run: str) -> dict[str, Any]:
    """Wait until the question is asked, and the scheduler knows that the worker is gone; what is shown.

    Airflow 3.3.2 takes the end of the worker that asked for that of the one that goes on, where an answer is faster.
    """
    log, name = airflow.folder / "parts" / "scheduler.log", run.rpartition("/")[2]
    words = f"state success for task instance TaskInstanceKey(dag_id='{run.split('/')[1]}', task_id='approve'"
    asked = wait_until(lambda: _states(airflow, run).get("approve") == "awaiting_input", deadline_s=PATIENCE_S)
    assert asked, _states(airflow, run)

    def _is_gone() -> bool:
        return any(words in line and name in line for line in log.read_text().splitlines())

    assert wait_until(_is_gone, deadline_s=PATIENCE_S), "the worker that asked is gone"
    shown: dict[str, Any] = airflow.get(f"/api/v2/{run}/taskInstances/approve/-1/hitlDetails")
    return shown


def _answer(airflow: Airflow, run: str, chosen: str, note: str = "") -> None:
    body = {"chosen_options": [chosen], "params_input": {"note": note}}
    airflow.call("PATCH", f"/api/v2/{run}/taskInstances/approve/-1/hitlDetails", body)


def _until_ended(airflow: Airflow, run: str) -> tuple[str, dict[str, str]]:
    """Wait for the end of a run: its state, and those of its tasks."""
    ended = wait_until(lambda: airflow.get(f"/api/v2/{run}")["state"] in ("success", "failed"), deadline_s=PATIENCE_S)
    states = _states(airflow, run)
    assert ended, states
    return airflow.get(f"/api/v2/{run}")["state"], {name: states[name] for name in TASKS}


def _told(airflow: Airflow, run: str) -> Any:
    return airflow.get(f"/api/v2/{run}/taskInstances/approve/xcomEntries/return_value")["value"]


def test_a_yes_goes_on_a_no_and_silence_end_well_and_all_say_who_decided(asking: Airflow) -> None:
    yes, no, silence = _begin(asking, "anybody"), _begin(asking, "anybody"), _begin(asking, "moment")
    shown = _until_asked(asking, yes)
    _answer(asking, yes, "Approve", "looks good")
    _until_asked(asking, no)
    _answer(asking, no, "Reject", "too slow")

    assert shown["subject"] == "Approve to promote diabetes to production?"
    for words in (SHA, "[what changes](https://example.com/compare/c0ffee", "It is 50.", "12.40 EUR", "| rmse | 50 |"):
        assert words in shown["body"]
    skipped = {"approve": "success", "publish": "skipped", "release": "skipped", "clean": "success"}
    assert _until_ended(asking, yes) == ("success", dict.fromkeys(TASKS, "success"))
    assert _until_ended(asking, no) == ("success", skipped)
    assert _until_ended(asking, silence) == ("success", skipped)
    agreed, refused, nobody = (_told(asking, run) for run in (yes, no, silence))
    assert (agreed["approved"], agreed["note"]) == (True, "looks good")
    assert (refused["approved"], refused["note"]) == (False, "too slow")
    assert agreed["by"] == refused["by"] != "nobody"
    assert (nobody["approved"], nobody["by"]) == (False, "nobody")
    assert nobody["note"] == "Nobody answered within 0:00:03."


def test_whoever_may_not_is_refused_and_whoever_may_is_named(asking: Airflow, guarded: httpx.Client) -> None:
    run = _begin(asking, "ada")
    assert _until_asked(asking, run)["assigned_users"] == [{"id": "ada", "name": "ada"}]

    def _as(name: str) -> httpx.Response:
        who = {"username": name, "password": f"{name}'s"}
        token = guarded.post("/auth/token", json=who).raise_for_status().json()["access_token"]
        return guarded.patch(
            f"/api/v2/{run}/taskInstances/approve/-1/hitlDetails",
            json={"chosen_options": ["Approve"], "params_input": {"note": ""}},
            headers={"Authorization": f"Bearer {token}"},
        )

    assert [_as("eve").status_code, _as("vic").status_code] == [403, 403]
    assert _states(asking, run)["approve"] == "awaiting_input"
    assert _as("ada").status_code == 200
    assert _until_ended(asking, run) == ("success", dict.fromkeys(TASKS, "success"))
    assert _told(asking, run)["by"] == "ada"


def test_a_yes_that_airflow_let_pass_from_somebody_who_may_not_fails_the_task(asking: Airflow) -> None:
    run = _begin(asking, "ada")
    _until_asked(asking, run)
    _answer(asking, run, "Approve")

    _, states = _until_ended(asking, run)
    tried = asking.get(f"/api/v2/{run}/taskInstances/approve")["try_number"]
    log = json.dumps(asking.get(f"/api/v2/{run}/taskInstances/approve/logs/{tried}", full_content=True)["content"])
    assert (states["approve"], states["publish"], states["release"]) == ("failed", "upstream_failed", "upstream_failed")
    assert "has approved, and only ada may. Nothing was done." in log

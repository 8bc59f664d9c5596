"""`@task.azureml` in a running Airflow: the function runs on the emulator, and its value or traceback comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.processes import wait_until
from demo.stack import Airflow, Emulator, airflow_environment
from tests.airflow.conftest import OVER, Small

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def tasks(airflow: Airflow, emulator: Emulator, dags_folder: Path) -> Small:
    """The running whole, with the DAGs of functions."""
    shutil.copy(HERE / "task_dags.py", dags_folder / "task_dags.py")
    airflow.unpause("task_computes")
    return Small(airflow, emulator)


def _begin(tasks: Small, dag: str, **conf: Any) -> tuple[str, str]:
    tasks.airflow.unpause(dag)
    body = {"logical_date": None, "conf": conf}
    return dag, tasks.airflow.call("POST", f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"]


def _until_over(tasks: Small, run: tuple[str, str]) -> str:
    path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}"
    assert wait_until(lambda: tasks.airflow.get(path)["state"] in OVER, deadline_s=150)
    return str(tasks.airflow.get(path)["state"])


def _log(tasks: Small, run: tuple[str, str], map_index: int = -1) -> list[dict[str, Any]]:
    path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/run/logs/1"
    found: list[dict[str, Any]] = tasks.airflow.get(path, full_content=True, map_index=map_index)["content"]
    return found


def _errors(tasks: Small, run: tuple[str, str]) -> list[Any]:
    """Read what the mapped instances of the task complained of."""
    return [
        (map_index, line["event"], line.get("error_detail"))
        for map_index in range(3)
        for line in _log(tasks, run, map_index)
        if line.get("level") in ("warning", "error")
    ]


def _value(tasks: Small, run: tuple[str, str], task: str) -> Any:
    path = f"/api/v2/dags/{run[0]}/dagRuns/{run[1]}/taskInstances/{task}/xcomEntries/return_value"
    return tasks.airflow.get(path)["value"]


def test_a_function_computes_in_a_job_with_its_arguments_and_its_value_goes_on(tasks: Small) -> None:
    run = _begin(tasks, "task_computes", word='it\'s $(false) "quoted"')

    assert _until_over(tasks, run) == "success", tasks.log(run)
    value = tasks.xcom(run)
    assert (value["sum"], value["word"], value["text"]) == (6.5, 'it\'s $(false) "quoted"', "two\nlines")
    assert value["run_id"] == run[1]
    assert _value(tasks, run, "receive") == '6.5 for it\'s $(false) "quoted"'
    assert [job["status"] for job in tasks.jobs(run)] == ["Completed"]
    assert tasks.xcom(run, "azureml_job_result")["job"] == tasks.jobs(run)[0]["name"]


def test_what_a_function_raises_is_in_the_log_with_the_remote_traceback_and_is_not_retried_by_policy(
    tasks: Small,
) -> None:
    run = _begin(tasks, "task_raises")

    ended = tasks.until(run, deadline_s=150)
    log = tasks.log(run)
    assert (ended["state"], ended["try_number"]) == ("failed", 1), log
    assert "divides raised in the job: ZeroDivisionError: division by zero" in log
    assert "return one / by" in log
    assert "in divided" in log
    decided = [line for line in _log(tasks, run) if line["event"] == "Retry policy decision"]
    assert [line["reason"] for line in decided] == ["Azure ML: user code; fail now"]
    assert [job["status"] for job in tasks.jobs(run)] == ["Failed"]


def test_a_mapped_function_is_one_job_for_each_value(tasks: Small) -> None:
    run = _begin(tasks, "task_mapped")

    assert _until_over(tasks, run) == "success", _errors(tasks, run)
    assert _value(tasks, run, "added") == 12
    assert [job["status"] for job in tasks.jobs(run)] == ["Completed"] * 3
    assert {job["airflow.owner"].split("/")[3] for job in tasks.jobs(run)} == {"0", "1", "2"}


def test_a_return_value_that_is_too_large_fails_and_says_what_to_do(tasks: Small) -> None:
    run = _begin(tasks, "task_too_large")

    assert tasks.until(run, deadline_s=150)["state"] == "failed"
    assert "49152 are the most. Write it to storage, and return its URI" in tasks.log(run)


@pytest.mark.parametrize(
    ("dag", "told"),
    [
        ("task_closure", "it uses factor of the function around it"),
        ("task_lambda", "it is a lambda"),
    ],
)
def test_a_function_that_does_not_stand_alone_is_refused_and_nothing_is_submitted(
    tasks: Small, dag: str, told: str
) -> None:
    run = _begin(tasks, dag)

    ended = tasks.until(run, deadline_s=150)
    assert (ended["state"], ended["try_number"]) == ("failed", 1)
    assert told in tasks.log(run)
    assert tasks.jobs(run) == []


def test_dag_test_runs_a_function_without_a_triggerer(tasks: Small, tmp_path: Path, emulator: Emulator) -> None:
    script = (
        "import json, sys; from airflow.dag_processing.dagbag import DagBag;"
        "dag = DagBag(dag_folder=sys.argv[1]).dags['task_mapped'];"
        "run = dag.test(); print('STATE', run.state)"
    )
    settings = {**tasks.airflow.environment, **airflow_environment(emulator)}
    alone = Airflow(tmp_path / "airflow", dags=HERE, environment=airflow_environment(emulator))
    alone.migrate()
    environment = {**os.environ, **settings, **alone.environment}

    done = subprocess.run(
        [sys.executable, "-c", script, str(HERE / "task_dags.py")],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )

    assert "STATE success" in done.stdout.replace("DagRunState.SUCCESS", "success"), (
        done.stdout[-3000:] + done.stderr[-3000:]
    )

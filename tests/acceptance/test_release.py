"""A release under load, every part of it real: sound models take over, bad ones go, and nobody is left unanswered."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.azure import ROOT
from demo.pressing import Seen
from demo.processes import wait_until
from demo.serving import BETTER, CRASHING, FILES, SLOW, SOUND, WRONG, Serving
from demo.stack import Stack

DAG = "release_on_registration"
MODEL = "numbers"
#: Seconds that one release may take on a busy machine; Azure Monitor counts by the minute.
DEADLINE_S = 900.0
RATE_PER_S = 100.0
QUICK = """policy=Policy(
            steps=("mirror:10", 10, 100),
            looks=1,
            look_every=timedelta(seconds=5),
            least_requests=100,
            least_time=timedelta(0),
            soak=timedelta(0),
            limits=Limits(failures_at_most=0, p95_ms_at_most=1000, p95_times_champion=None),
        ),
        approval_at=(),
"""

#: azure-ai-ml and what it uses, which deploy in this process, are behind their dependencies.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore")]


def quick(text: str) -> str:
    """The DAG that users copy, with another model and endpoint, and a policy that does not take its time."""
    text, policies = re.subn(r"policy=Policy\(.*?approval_at=\(50,\),\n", QUICK, text, flags=re.DOTALL)
    text, names = re.subn(r'"diabetes(-qa)?"', rf'"{MODEL}\1"', text)
    assert (policies, names) == (1, 2)
    return text.replace('"diabetes-ridge"', f'"{MODEL}"')


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    dags = tmp_path_factory.mktemp("dags")
    (dags / f"{DAG}.py").write_text(quick((ROOT / f"dags/{DAG}.py").read_text()))
    shutil.copy(Path(__file__).with_name("release_dags.py"), dags)
    # Nobody listens for Azure ML's own events here: the queue is none of this machine's.
    settings = {"RELEASE_FILES": str(FILES), "AIRFLOW__CORE__PARALLELISM": "6"}
    with Stack(tmp_path_factory.mktemp("stack"), dags=dags, environment=settings) as running:
        yield running


@pytest.fixture(scope="module")
def serving(stack: Stack) -> Iterator[Serving]:
    """Three endpoints, each with a sound model that serves all requests."""
    with Serving(stack.emulator) as made:
        versions = {"1": SOUND, "2": BETTER, "3": SLOW, "4": WRONG, "5": CRASHING}
        for version, behaviour in versions.items():
            made.register(MODEL, version, behaviour)
        made.crown(MODEL, "1")
        for endpoint in (MODEL, "wrong", "crashing"):
            made.deploy(endpoint, f"{MODEL}-1", f"{MODEL}:1")
        yield made


def begin(stack: Stack, version: str, endpoint: str) -> str:
    stack.airflow.unpause("release_of")
    conf = {"model": f"{MODEL}:{version}", "endpoint": endpoint}
    body = {"logical_date": None, "conf": conf}
    return str(stack.airflow.call("POST", "/api/v2/dags/release_of/dagRuns", body)["dag_run_id"])


def state(stack: Stack, dag: str, run: str) -> str:
    return str(stack.airflow.get(f"/api/v2/dags/{dag}/dagRuns/{run}")["state"])


def until_over(stack: Stack, dag: str, *runs: str) -> list[str]:
    end = time.monotonic() + DEADLINE_S
    while not {state(stack, dag, run) for run in runs} <= {"success", "failed"}:
        if time.monotonic() > end:
            pytest.fail(f"Not over after {DEADLINE_S:.0f} s: {[tasks(stack, dag, run) for run in runs]}")
        stack.check()
        time.sleep(2)
    return [state(stack, dag, run) for run in runs]


def tasks(stack: Stack, dag: str, run: str) -> dict[str, str]:
    found = stack.airflow.get(f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances", limit=100)["task_instances"]
    return {each["task_id"]: str(each["state"]) for each in found}


def log(stack: Stack, dag: str, run: str, task: str) -> str:
    """Read what a task's last try said."""
    path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}"
    number = stack.airflow.get(path)["try_number"]
    lines = stack.airflow.get(f"{path}/logs/{number}", full_content=True)["content"]
    return "\n".join(f"{line.get('event', '')} {line.get('error_detail', '')}" for line in lines)


def told_of_registration(stack: Stack, version: str) -> str:
    """Tell Airflow that a version was registered, and wait for the run that this starts."""
    stack.airflow.unpause(DAG)
    name = f"azureml-model-{MODEL}"

    def _assets() -> list[dict[str, Any]]:
        return [each for each in stack.airflow.get("/api/v2/assets")["assets"] if each["name"] == name]

    assert wait_until(lambda: bool(_assets()), deadline_s=60)
    body = {"asset_id": _assets()[0]["id"], "extra": {"model": MODEL, "version": version}}
    stack.airflow.call("POST", "/api/v2/assets/events", body)

    def _runs() -> list[str]:
        return [each["dag_run_id"] for each in stack.airflow.get(f"/api/v2/dags/{DAG}/dagRuns")["dag_runs"]]

    assert wait_until(lambda: bool(_runs()), deadline_s=60)
    return _runs()[0]


def test_bad_models_are_rolled_back_by_themselves_and_callers_of_slow_and_wrong_ones_are_all_answered(
    stack: Stack, serving: Serving
) -> None:
    with (
        serving.under_load(MODEL, rate_per_s=RATE_PER_S) as (on_slow, slow_traffic),
        serving.under_load("wrong", rate_per_s=10) as (on_wrong, wrong_traffic),
        serving.under_load("crashing", rate_per_s=50) as (on_crashing, crashing_traffic),
    ):
        versions = {MODEL: "3", "wrong": "4", "crashing": "5"}
        runs = {endpoint: begin(stack, version, endpoint) for endpoint, version in versions.items()}
        states = until_over(stack, "release_of", *runs.values())

    reasons = {endpoint: log(stack, "release_of", run, "release.rollout.roll") for endpoint, run in runs.items()}
    assert states == ["failed"] * 3, reasons
    assert "p95 is" in reasons[MODEL]
    assert "prediction" in reasons["wrong"]
    assert "requests failed" in reasons["crashing"]
    for watch, new in ((slow_traffic, "3"), (wrong_traffic, "4"), (crashing_traffic, "5")):
        before, at_ten = Seen(((f"{MODEL}-1", 100),), ()), Seen(((f"{MODEL}-1", 90), (f"{MODEL}-{new}", 10)), ())
        assert watch.states == [before, at_ten, before]
    assert (on_slow.tally.failed, on_wrong.tally.failed) == (0, 0), on_slow.tally.failures
    assert on_slow.tally.deployments[f"{MODEL}-3"] > 0
    assert {each.partition(" ")[0] for each in on_crashing.tally.failures} <= {f"{MODEL}-5"}
    assert on_crashing.tally.deployments[f"{MODEL}-1"] > 9 * on_crashing.tally.deployments[f"{MODEL}-5"] > 0


def test_a_registered_champion_takes_over_step_by_step_and_no_request_fails(stack: Stack, serving: Serving) -> None:
    serving.crown(MODEL, "2", instead_of="1")

    with serving.under_load(MODEL, rate_per_s=RATE_PER_S) as (pressure, watch):
        run = told_of_registration(stack, "2")
        (ended,) = until_over(stack, DAG, run)
        # What serves now is asked for a while, too.
        time.sleep(2)

    assert ended == "success", tasks(stack, DAG, run)
    old, new = f"{MODEL}-1", f"{MODEL}-2"
    assert watch.states == [
        Seen(((old, 100),), ()),
        Seen(((old, 100),), ((new, 10),)),
        Seen(((old, 90), (new, 10)), ()),
        Seen(((new, 100),), ()),
    ]
    assert pressure.tally.failed == 0, pressure.tally.to_wire()
    assert pressure.tally.requests > RATE_PER_S * 60
    assert min(pressure.tally.deployments[each] for each in (old, new)) > 0
    assert old not in serving.deployments(MODEL), "what was replaced is not paid for"
    assert serving.deployments(f"{MODEL}-qa") == {}, "nor is what was for a test"

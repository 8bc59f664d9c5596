"""The tasks of a release on the real emulator: smoke tests, profiling, and what is to be released."""

from __future__ import annotations

import asyncio
import json
import os
import re
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as ET

import attrs
import httpx
import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.evaluations import EvaluationFolder
from airflow_azureml.client.rollouts import helm
from airflow_azureml.client.sdk import emulator_in_reach, environment
from airflow_azureml.client.small_files import read_small
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.online import model_id
from airflow_azureml.core.rollout import Policy
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import NotReadyError
from airflow_azureml.operators.online import (
    AzureMLOnlineDeploymentOperator,
    AzureMLOnlineEndpointOperator,
    AzureMLOnlineTrafficOperator,
)
from airflow_azureml.operators.profile import (
    AzureMLProfileOperator,
    AzureMLSetDeploymentOperator,
    Goal,
    Profiling,
)
from airflow_azureml.operators.release import AzureMLPlanReleaseOperator
from airflow_azureml.operators.smoke import AzureMLSmokeTestOperator
from airflow_azureml.wire import outputs
from tests.contract.conftest import WORKSPACE, Emulator
from tests.contract.registering import BEARER, Workspace, settings_of

#: azure-ai-ml and what it uses, which deploy in this process, are behind their dependencies.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

EVIDENCE = "azureml://datastores/workspaceblobstore/paths/releases/"
#: Answers each request after some milliseconds, and a word with 400.
SCORE = """
import json, time
from azureml_inference_server_http.api.aml_response import AMLResponse

def init():
    pass

def run(raw):
    said = json.loads(raw)
    if not isinstance(said.get("x"), (int, float)):
        return AMLResponse("x is no number", 400)
    time.sleep(said.get("wait_s", 0))
    return [said["x"] * 2]
"""
TESTS = {
    "schema": 1,
    "name": "doubling",
    "cases": [
        {"name": "a number", "request": {"x": 2}, "expected": [4]},
        {"name": "a word", "request": {"x": "two"}, "status": 400, "says": "no number"},
    ],
    "latency": {"requests": 5, "p95_ms": 5000},
}


@attrs.define
class Task:
    """What a task finds in its context."""

    kept: dict[str, Any] = attrs.field(factory=dict)

    def get(self, name: str) -> Any:
        return self.kept.get(name)

    def set(self, name: str, value: Any) -> None:
        self.kept[name] = json.loads(json.dumps(value))

    @property
    def context(self) -> Context:
        return cast("Context", {"task_state_store": self})


@attrs.define
class World:
    """An endpoint with deployments, and the tasks about it."""

    workspace: Workspace
    code: Path
    endpoint: str
    model: str

    def deploy(self, name: str, *, traffic: int = 0) -> None:
        """Deploy, as the tasks before would have."""
        spec = {
            "name": name,
            "endpoint_name": self.endpoint,
            "model": f"azureml:{self.model}:1",
            "code_configuration": {"code": str(self.code), "scoring_script": "score.py"},
            "environment": {"image": "mcr.microsoft.com/azureml/minimal-py311-inference:latest"},
            "instance_type": "Standard_DS2_v2",
            "instance_count": 1,
        }
        for task in (
            AzureMLOnlineEndpointOperator(task_id="e", endpoint=self.endpoint, deferrable=False, **QUICK),
            AzureMLOnlineDeploymentOperator(
                task_id="d", endpoint=self.endpoint, deployment=name, spec=spec, deferrable=False, **QUICK
            ),
        ):
            task.execute(cast("Context", {}))
        if traffic:
            AzureMLOnlineTrafficOperator(
                task_id="t", endpoint=self.endpoint, traffic={name: traffic}, deferrable=False, **QUICK
            ).execute(cast("Context", {}))

    def smoke(self, tests: Any = TESTS, **options: Any) -> dict[str, Any]:
        task = AzureMLSmokeTestOperator(
            task_id="smoke", **{"endpoint": self.endpoint, "deployment": "green", "tests": tests, **options}
        )
        return task.execute(cast("Context", {}))

    def profile(self, profiling: Profiling, *, task: Task | None = None, **options: Any) -> dict[str, Any]:
        given = {"endpoint": self.endpoint, "deployment": "green", "profiling": profiling, **options}
        operator = AzureMLProfileOperator(task_id="profile", poll_interval=timedelta(seconds=0.2), **given)
        return operator.execute((task or Task()).context)

    def setting(self, name: str = "green") -> tuple[int, int]:
        found = self.workspace.call("GET", f"onlineEndpoints/{self.endpoint}/deployments/{name}")
        asked = found["properties"]["requestSettings"]["maxConcurrentRequestsPerInstance"]
        return found["sku"]["capacity"], asked

    def read(self, uri: str) -> bytes:
        settings = settings_of(self.workspace.emulator)
        with Client(settings) as client:
            url = client.run(outputs.blob_url(settings.workspace, uri, domain=settings.addresses.storage))
        content = read_small(settings, url, most_bytes=1 << 20)
        assert content is not None, uri
        return content


QUICK: dict[str, Any] = {"poll_interval": timedelta(seconds=0.2)}


@pytest.fixture(scope="module")
def world(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An endpoint whose deployment green takes no traffic."""
    subscription, group, name = WORKSPACE.split("/")
    extra = {"subscription_id": subscription, "resource_group": group, "workspace": name}
    extra |= {"authentication": "emulator", "endpoint": emulator.addresses.http}
    connection = json.dumps({"conn_type": "azureml", "extra": extra})
    code = tmp_path_factory.mktemp("code")
    (code / "score.py").write_text(SCORE)
    with (
        environment({**os.environ, "AIRFLOW_CONN_AZUREML_DEFAULT": connection}),
        httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http,
    ):
        ident = uuid.uuid4().hex[:8]
        made = World(Workspace(emulator, http), code, f"release-{ident}", f"doubling-{ident}")
        settings = settings_of(emulator)
        uri = f"azureml://datastores/workspaceblobstore/paths/{made.model}"
        with Client(settings) as client:
            EvaluationFolder(client, settings, uri).write("model.txt", b"two")
        made.workspace.put(made.model, "1", modelUri=uri)
        made.deploy("green")
        yield made


def test_a_deployment_that_answers_as_it_should_passes_whatever_the_traffic(world: World) -> None:
    told = world.smoke(evidence=f"{EVIDENCE}{world.model}/smoke")

    verdict = Verdict.from_wire(told)
    assert verdict.accepted
    assert verdict.subject == f"The answers of deployment green of endpoint {world.endpoint}"
    kept = Verdict.from_wire(json.loads(world.read(told["verdict_uri"])))
    assert kept.accepted
    assert len(kept.findings) == 6


def test_a_wrong_answer_fails_for_good_and_says_what_was_answered(world: World) -> None:
    wrong = {**TESTS, "cases": [{"name": "a number", "request": {"x": 2}, "expected": [5], "tolerance": 0.5}]}

    with pytest.raises(AirflowFailException, match=r"answer\[0\] is 4; expected was 5"):
        world.smoke(wrong)


def test_bad_input_that_is_answered_like_good_input_fails(world: World) -> None:
    naive = {**TESTS, "cases": [TESTS["cases"][0], {"name": "half", "request": {"x": 0.5}, "status": 400}]}  # type: ignore[index]

    with pytest.raises(AirflowFailException, match=r"It answered 200 \[1.0\]"):
        world.smoke(naive)


def test_an_endpoint_that_does_not_answer_in_time_is_asked_again_by_a_retry(world: World) -> None:
    slow = {"schema": 1, "name": "slow", "cases": [{"name": "slow", "request": {"x": 1, "wait_s": 1.5}}]}

    with pytest.raises(NotReadyError, match="There was no answer"):
        world.smoke(slow, answer_within=timedelta(seconds=0.3))


def test_the_cheapest_setting_that_holds_is_found_and_the_deployment_is_set_back(world: World) -> None:
    # An instance that works on one request of 100 ms at a time answers ten a second; twenty a second take two and more.
    tests = {"schema": 1, "name": "busy", "cases": [{"name": "busy", "request": {"x": 1, "wait_s": 0.1}}]}
    goal = Goal(rate_per_s=15, latency_ms=4000)
    profiling = Profiling(goal=goal, instances=(1, 3), concurrency=(1,), seconds=2, warm_up_s=0, price_per_hour=0.2)
    task = Task()

    told = world.profile(profiling, tests=tests, task=task, evidence=f"{EVIDENCE}{world.model}/profile")

    assert (told["holds"], told["instances"], told["cost_per_hour"]) == (True, 3, pytest.approx(0.6))
    assert [(each["instances"], each["failed"] > 0) for each in told["measured"]] == [(1, True), (3, False)]
    assert world.setting() == (1, 1)
    assert "3 instances" in " ".join(ET.fromstring(world.read(told["picture_uri"])).itertext())  # noqa: S314  # our own
    again = world.profile(profiling, tests={**tests, "name": "never asked"}, task=task)
    assert again["measured"] == told["measured"]


def test_where_no_setting_holds_the_task_fails_unless_it_is_to_tell_so(world: World) -> None:
    profiling = Profiling(
        goal=Goal(rate_per_s=5, latency_ms=0.01), instances=(1,), concurrency=(1,), seconds=0.4, warm_up_s=0
    )

    with pytest.raises(AirflowFailException, match="None of those measured does"):
        world.profile(profiling, tests=TESTS)

    told = world.profile(profiling, tests=TESTS, on_miss="pass")
    assert told["holds"] is False
    assert world.setting() == (1, 1)


def test_a_deployment_is_set_as_it_was_measured_to_be_best_and_left_where_it_is_so(world: World) -> None:
    def set_as(setting: dict[str, Any]) -> dict[str, Any]:
        task = AzureMLSetDeploymentOperator(
            task_id="set", endpoint=world.endpoint, deployment="green", setting=setting, deferrable=False, **QUICK
        )
        return task.execute(cast("Context", {})) or {}

    first = set_as({"holds": True, "instances": 2, "concurrency": 3})
    again = set_as({"holds": True, "instances": 2, "concurrency": 3})
    missed = set_as({"holds": False})

    assert (first["done"], again["done"], missed["done"]) == (["set to 2 instances, 3 at once"], [], [])
    assert world.setting() == (2, 3)
    assert world.smoke()["accepted"], "it serves as before"
    set_as({"holds": True, "instances": 1, "concurrency": 1})


def test_what_serves_all_requests_is_not_released_again_nor_measured(world: World) -> None:
    def plan() -> dict[str, Any]:
        task = AzureMLPlanReleaseOperator(
            task_id="plan", model=f"{world.model}:1", endpoint=world.endpoint, deployment="blue"
        )
        return task.execute(cast("Context", {}))

    before = plan()
    world.deploy("blue")
    beside = plan()
    world.deploy("blue", traffic=100)

    assert before == beside
    assert (before["model"], before["deployment"], before["share"]) == (f"{world.model}:1", "blue", 0)
    with pytest.raises(AirflowSkipException, match="serves all requests"):
        plan()
    with pytest.raises(AirflowFailException, match="takes 100 % of its traffic"):
        world.profile(Profiling(goal=Goal(rate_per_s=1, latency_ms=1)), tests=TESTS, deployment="blue")


def test_a_version_that_was_rolled_back_is_not_released_again_by_itself(world: World) -> None:
    rolled_out, settings = "release-back", settings_of(world.workspace.emulator)
    asyncio.run(_rolled_back(settings, world.endpoint, rolled_out, f"{world.model}:1"))

    def plan(**options: Any) -> dict[str, Any]:
        told = {"model": f"{world.model}:1", "endpoint": world.endpoint, "deployment": rolled_out, **options}
        return AzureMLPlanReleaseOperator(task_id="plan", **told).execute(cast("Context", {}))

    with pytest.raises(AirflowSkipException) as skipped:
        plan()
    told = str(skipped.value)
    assert told.startswith(f"RolledBackBeforeError: Version 1 of model {world.model} is not released again by itself.")
    assert re.search(r"It was rolled back on endpoint \S+ at 20\S+, by d/r/g: p95 is 900 ms, and may be 500 ms\.", told)
    assert "To release it all the same, give release(..., again=True)" in told
    assert plan(again="True")["deployment"] == rolled_out
    assert plan(model=f"{world.model}:2")["version"] == "2"
    with pytest.raises(AirflowSkipException, match="RolledBackBeforeError"):
        plan(again="False")
    with pytest.raises(AirflowFailException, match="again is 'maybe'; it must be true or false"):
        plan(again="maybe")


async def _rolled_back(settings: ConnectionSettings, endpoint: str, deployment: str, model: str) -> None:
    """Write down what a rollout does that did not go well."""

    def _change(found: Rollout, now: datetime) -> Rollout:
        steps, before = Policy().steps, Split(traffic={"blue": 100})
        whose = model_id(settings.workspace, model)
        begun = found.begun(deployment, before, steps, owner="d/r/g", instance="a", now=now, model=whose)
        back = begun.given_back("p95 is 900 ms, and may be 500 ms.", now=now, is_verdict=True)
        return back.moved(Phase.REVERTED, now=now)

    with emulator_in_reach(settings):
        async with helm(settings) as opened:
            await opened.written.change(endpoint, _change)


def test_without_a_champion_there_is_nothing_to_release(world: World) -> None:
    task = AzureMLPlanReleaseOperator(task_id="plan", model={}, endpoint=world.endpoint)

    with pytest.raises(AirflowSkipException, match="no champion"):
        task.execute(cast("Context", {}))
